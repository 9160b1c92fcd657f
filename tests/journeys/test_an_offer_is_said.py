"""An offer is said by a model, over real processes: heard as it comes, on record, in no file; and after kill -9 it goes on."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn

from audit.transaction import Database
from commerce_api.offering.call_report import UNDER_WAY_MS, Report, report_of
from commerce_api.settings import sqlite_url
from tests.journeys.running import BRAND, POLL_SECONDS, START_SECONDS, STORE, Running, cordon, running_stack
from tests.offer_engine.fake_provider import WORDS, Script, app_of, fault, stream_of
from tokenization.clock import now_milliseconds

MARKER = "aubergine-coloured"
TALK = [{"role": "user", "text": f"Something {MARKER} for my mother"}]


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        return


class Provider:
    """A provider of models on this machine. ``script`` is how it answers next."""

    def __init__(self) -> None:
        self.script = fault("none", "openai")

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Its port."""
        app = app_of(lambda _: self.script)
        running = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=running.run, daemon=True)
        thread.start()
        while not running.started:
            thread.join(0.01)
        yield int(running.servers[0].sockets[0].getsockname()[1])
        running.should_exit = True
        running.force_exit = True  # one of its answers never ends
        thread.join(10)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Running, Provider]]:
    """A running stack whose brand has offers worded by a model."""
    policy = json.loads((STORE / "policy.json").read_text(encoding="utf-8"))
    policy |= {"offer_wording": "free", "offer_wording_seconds": 20}
    (tmp_path / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    given = ("--feed", str(STORE / "products.csv"), "--policy", str(tmp_path / "policy.json"), "--data", str(tmp_path))
    done = cordon("brand", "add", "Harbour & Pine", *given)
    assert done.returncode == 0, done.stderr
    provider = Provider()
    with provider.serving() as port:
        model = {"name": "local", "dialect": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "model": "small-1"}
        (tmp_path / "commerce" / "models.json").write_text(json.dumps({"models": [model]}), encoding="utf-8")
        with running_stack(tmp_path) as running:
            yield running, provider


def test_an_offer_is_said_by_a_model_and_on_record_through_a_kill(shop: tuple[Running, Provider]) -> None:
    running, provider = shop
    with running.agent() as agent:
        offer = agent.post("/offers", json={"lines": [{"variant_id": "hp-kettle-oat"}], "deferred": True}).json()
        path = f"/offers/{offer['offers'][0]['offer_id']}/said"
        said = agent.post(path, json={"talk": TALK}).json()
        assert said["by"] == "model"
        assert "$67.15" in said["said"]
        begun = stream_of("openai", [WORDS + " "], ends=False)
        provider.script = Script([*begun.pieces, (3_600, b"")])
        old = running.pids()["commerce"]
        with pytest.raises(httpx.HTTPError):
            hear_and_kill(running, agent, path)
        running.await_restart("commerce", old)
        provider.script = fault("none", "openai")
        assert agent.post(path, json={"talk": TALK}).json()["by"] == "model"
    late = asyncio.run(report_later(running.data, problems=2))
    assert sum(day.calls for day in late.days) == 3
    assert [problem.partition(": ")[2] for problem in late.problems] == ["ended 0 times", "judged 0 times"]
    assert files_with(running.data, MARKER) == []
    assert files_with(running.data, path.split("/")[2]) != [], "the search finds what is kept"


def hear_and_kill(running: Running, agent: httpx.Client, path: str) -> None:
    """Hears the first words of a stream, and kills who says them."""
    with agent.stream("POST", path, json={"talk": TALK, "stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                running.kill("commerce")


async def report_later(data: Path, problems: int) -> Report:
    """What the report says when nothing can be under way any more. Ends of calls are written behind their answers."""
    database = Database.open(sqlite_url(data / "commerce"), now_milliseconds)
    deadline = time.monotonic() + START_SECONDS
    try:
        while True:
            now_ms = now_milliseconds() + UNDER_WAY_MS
            report = await database.read(partial(report_of, brand=BRAND, since_ms=0, now_ms=now_ms))
            if len(report.problems) <= problems or time.monotonic() > deadline:
                return report
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await database.close()


def files_with(directory: Path, word: str) -> list[Path]:
    """The files below that hold a word."""
    return [path for path in directory.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]
