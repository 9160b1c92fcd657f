"""The record of model calls: written before a call is made, never changed, kept its time, and held against itself."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit.transaction import Database, DatabaseBusy, Transaction
from commerce_api.cli import main
from commerce_api.cli.init import make_commerce_keys
from commerce_api.models import model_call
from commerce_api.offering import model_calls
from commerce_api.offering.call_report import DAY_MS, UNDER_WAY_MS, records_of, report_of, told
from commerce_api.offering.model_calls import KEPT_SECONDS, ModelCallRecorder, NotRecorded
from commerce_api.offering.saying import open_saying
from commerce_api.settings import CommerceSettings, SettingsRefused
from commerce_api.sweeps import sweep
from offer_engine.models.records import CallEnded, CallJudged, CallOpened, reconcile
from tests.commerce_api.talking import MODELS, says, shop
from tests.commerce_api.world import BRAND, BRAND_NAME, OFFER_KEY, START_MS, STORE, World
from tests.offer_engine.fake_provider import WORDS
from tokenization.clock import now_milliseconds

pytestmark = pytest.mark.anyio


def opened(call: str = "call_a", at_ms: int = START_MS, brand: str = BRAND) -> CallOpened:
    """A call that is about to be made."""
    return CallOpened(call, at_ms, "local", "small-1", "presentation", "b" * 64, False, brand, "off_x")


def ended(call: str = "call_a", outcome: str = "ok", **more: Any) -> CallEnded:
    """How it ended."""
    told_ = {"first_token_ms": 400, "total_ms": 1_600, "input_tokens": 300, "output_tokens": 40, "cost_micros": 69}
    return CallEnded(call=call, outcome=outcome, currency="USD", **{**told_, **more})


class Failing:
    """A database that fails as often as it is told to; then it is the world's own."""

    def __init__(self, world: World, failures: int, failure: Exception, *, commits: bool = False) -> None:
        self.left, self._failure, self._commits = failures, failure, commits
        self._database = world.commerce.database

    async def maintain(self, work: Any) -> Any:
        if not self.left:
            return await self._database.maintain(work)
        self.left -= 1
        if self._commits:
            await self._database.maintain(work)
        raise self._failure


async def test_what_is_written_comes_back_as_it_was(world_on_each: World) -> None:
    world = world_on_each
    recorder = ModelCallRecorder(world.commerce.database)
    written = [opened(), ended(), CallJudged("call_a", "ok")]
    await recorder.opened(opened())
    assert len(await world.rows(model_call)) == 1, "it is durable when opened() returns"
    recorder.write(ended())
    recorder.write(CallJudged("call_a", "ok"))
    await recorder.close()
    rows = await world.rows(model_call)
    order = {"opened": 0, "ended": 1, "judged": 2}
    found = records_of(sorted(rows, key=lambda row: order[row.record]))
    assert found == written
    assert reconcile(found) == []


@pytest.mark.parametrize("failure", [OSError("disk"), DatabaseBusy()])
async def test_an_opening_that_cannot_be_written_is_told_and_leaves_nothing(world: World, failure: Exception) -> None:
    recorder = ModelCallRecorder(cast(Database, Failing(world, 1, failure)))
    with pytest.raises(NotRecorded):
        await recorder.opened(opened())
    await recorder.opened(opened("call_b"))
    await recorder.close()
    assert [row.call for row in await world.rows(model_call)] == ["call_b"]


async def test_an_end_that_cannot_be_written_waits_and_is_written_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_calls, "RETRY_SECONDS", 0.01)
    failing = Failing(world, 0, OSError("disk"))
    recorder = ModelCallRecorder(cast(Database, failing))
    await recorder.opened(opened())
    failing.left = 3
    recorder.write(ended())
    recorder.write(CallJudged("call_a", "ok"))
    async with asyncio.timeout(10):
        while failing.left:
            await asyncio.wait([asyncio.create_task(_next_turn())])
    await recorder.close()
    assert reconcile(records_of(await world.rows(model_call))) == []


async def test_what_was_written_by_a_try_whose_answer_was_lost_is_not_written_twice(world_on_each: World) -> None:
    failing = Failing(world_on_each, 0, OSError("the line broke"), commits=True)
    recorder = ModelCallRecorder(cast(Database, failing))
    await recorder.opened(opened())
    failing.left = 1
    recorder.write(ended())
    recorder.write(CallJudged("call_a", "ok"))
    await recorder.close()
    assert reconcile(records_of(await world_on_each.rows(model_call))) == []


async def test_while_too_much_waits_no_call_is_opened(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_calls, "WAITING_MAXIMUM", 2)
    recorder = ModelCallRecorder(cast(Database, Failing(world, 10**9, OSError("disk"))))
    recorder.write(ended())
    recorder.write(CallJudged("call_a", "ok"))
    with pytest.raises(NotRecorded):
        await recorder.opened(opened())
    await recorder.close()
    with pytest.raises(NotRecorded):
        await recorder.opened(opened())


async def test_a_record_that_the_database_does_not_take_keeps_no_other_from_being_written(world_on_each: World) -> None:
    recorder = ModelCallRecorder(world_on_each.commerce.database)
    await recorder.opened(opened())
    recorder.write(ended(input_tokens=10**30))
    recorder.write(CallJudged("call_a", "ok"))
    await recorder.opened(opened("call_b"))
    recorder.write(ended("call_b"))
    recorder.write(CallJudged("call_b", "ok"))
    await recorder.close()
    rows = await world_on_each.rows(model_call)
    assert {(row.call, row.record) for row in rows} == {
        *(("call_a", record) for record in ("opened", "judged")),
        *(("call_b", record) for record in ("opened", "ended", "judged")),
    }


async def test_many_at_once_are_each_on_record_once(world_on_each: World) -> None:
    world = world_on_each
    recorder = ModelCallRecorder(world.commerce.database)

    async def call(name: str) -> None:
        await recorder.opened(opened(name))
        recorder.write(ended(name))
        recorder.write(CallJudged(name, "ok"))

    await asyncio.gather(*(call(f"call_{number:03}") for number in range(300)))
    await recorder.close()
    rows = await world.rows(model_call)
    assert len(rows) == 900
    assert reconcile(records_of(rows)) == []


@pytest.mark.parametrize("statement", ["UPDATE model_call SET verdict = 'ok'", "DELETE FROM model_call"])
async def test_the_database_refuses_to_change_or_delete_what_is_on_record(
    world_by_owner: World, statement: str
) -> None:
    world = world_by_owner
    await _write(world, opened(at_ms=now_milliseconds()))
    before = await world.rows(model_call)
    wholesale = "INSERT OR REPLACE INTO model_call SELECT * FROM model_call"
    for each in (statement, wholesale if world.commerce.database.is_sqlite else "TRUNCATE model_call"):
        with pytest.raises(DBAPIError, match="append-only"):
            await world.commerce.database.maintain(partial(_execute, statement=each))
    assert await world.rows(model_call) == before


async def test_a_row_is_deleted_when_its_time_is_over_and_not_before(world_on_each: World) -> None:
    """By both clocks: commerce's, which sweeps, and the database's, which allows it."""
    world = world_on_each
    world.clock.now_ms = now_milliseconds()
    kept_ms = KEPT_SECONDS * 1000
    await _write(world, opened("call_old", world.clock.now_ms - kept_ms - 60_000))
    await _write(world, opened("call_young", world.clock.now_ms - kept_ms + 3_600_000))
    await sweep(world.commerce.database, world.commerce.payments)
    assert [row.call for row in await world.rows(model_call)] == ["call_young"]


async def test_planted_fault_a_sweep_that_takes_too_much_is_refused_by_the_database(
    world_on_each: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_on_each
    world.clock.now_ms = now_milliseconds()
    await _write(world, opened(at_ms=world.clock.now_ms - DAY_MS))
    monkeypatch.setattr(model_calls, "KEPT_SECONDS", 3_600)
    with pytest.raises(DBAPIError, match="append-only"):
        await sweep(world.commerce.database, world.commerce.payments)
    assert len(await world.rows(model_call)) == 1


async def test_a_report_tells_costs_times_and_verdicts_by_day(world_on_each: World) -> None:
    world = world_on_each
    yesterday_ms = START_MS - DAY_MS
    other = await world.add_brand("Salt Shed")
    for number, (at_ms, outcome, verdict) in enumerate(
        [
            (yesterday_ms, "ok", "ok"),
            (START_MS, "ok", "ok"),
            (START_MS, "ok", "currency"),
            (START_MS, "stalled", "stalled"),
        ]
    ):
        call = f"call_{number}"
        told_ = {} if outcome == "ok" else {"first_token_ms": None, "cost_micros": None, "input_tokens": None}
        await _write(world, opened(call, at_ms))
        await _write(world, ended(call, outcome, total_ms=1_000 * (number + 1), **told_))
        await _write(world, CallJudged(call, verdict))
    await _write(world, opened("call_other", brand=other))
    report = await _report(world, START_MS + UNDER_WAY_MS)
    first, second = report.days
    assert (first.calls, first.cost_micros, first.total_ms) == (1, {"USD": 69}, (1_000, 1_000, 1_000))
    assert (second.calls, second.input_tokens, second.output_tokens) == (3, 600, 120)
    assert (second.cost_micros, second.cost_untold) == ({"USD": 138}, 1)
    assert (second.first_token_ms, second.total_ms) == ((400, 400, 400), (2_000, 3_000, 3_000))
    assert second.outcomes == {"ok": 2, "stalled": 1}
    assert second.verdicts == {"ok": 1, "currency": 1, "stalled": 1}
    assert report.problems == []
    lines = "\n".join(told(BRAND, report))
    assert "0.000138 USD (1 untold)" in lines
    assert lines.endswith("calls and verdicts agree")
    only_today = await _report(world, START_MS + UNDER_WAY_MS, since_ms=START_MS)
    assert len(only_today.days) == 1


async def test_planted_faults_in_the_record_are_told(world: World) -> None:
    await _write(world, opened("call_a"))
    await _write(world, ended("call_a"))
    await _write(world, opened("call_b"))
    await _write(world, CallJudged("call_c", "ok"))
    under_way = await _report(world, START_MS + UNDER_WAY_MS - 1)
    assert (under_way.under_way, len(under_way.problems)) == (2, 2)
    late = await _report(world, START_MS + UNDER_WAY_MS)
    assert late.under_way == 0
    assert late.problems == [
        "call_a: judged 0 times",
        "call_b: ended 0 times",
        "call_b: judged 0 times",
        "call_c: opened 0 times",
        "call_c: ended 0 times",
    ]
    assert told(BRAND, late)[-1] == "calls and verdicts do not agree"


def test_the_command_ends_with_1_where_calls_and_verdicts_do_not_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = ["--feed", str(STORE / "products.csv"), "--policy", str(STORE / "policy.json")]
    assert main(["brand", "add", BRAND_NAME, *feed, "--data", str(tmp_path)]) == 0
    asked = ["models", "calls", BRAND, "--data", str(tmp_path)]
    capsys.readouterr()
    assert main(asked) == 0
    assert capsys.readouterr().out == f"no calls of {BRAND} in this time\ncalls and verdicts agree\n"

    async def plant() -> None:
        database = Database.open(f"sqlite:///{tmp_path / 'commerce' / 'commerce.sqlite3'}", now_milliseconds)
        recorder = ModelCallRecorder(database)
        await recorder.opened(opened(at_ms=now_milliseconds() - 2 * UNDER_WAY_MS))
        await recorder.close()
        await database.close()

    asyncio.run(plant())
    assert main([*asked, "--days", "2"]) == 1
    assert "call_a: ended 0 times" in capsys.readouterr().out
    assert main([*asked, "--days", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["call_a: ended 0 times", "call_a: judged 0 times"]
    assert main(["models", "calls", "nobody", "--data", str(tmp_path)]) == 1
    assert main([*asked, "--days", "0"]) == 1
    assert "from 1 to 400" in capsys.readouterr().err


async def test_what_runs_leaves_a_record_that_the_report_agrees_with(world: World) -> None:
    async with shop(world, says(WORDS)) as at:
        await asyncio.gather(*(at.said(offer) for offer in [await at.offer() for _ in range(5)]))
    report = await _report(world, START_MS)
    assert (report.days[0].calls, report.days[0].verdicts, report.problems) == (5, {"ok": 5}, [])
    assert report.days[0].cost_micros == {"USD": 5 * 69}


def settings(data: Path) -> CommerceSettings:
    """Settings as a process reads them."""
    return CommerceSettings.read(
        data=data,
        database_url=None,
        host="127.0.0.1",
        port=8704,
        public_url=None,
        mcp_url=None,
        zone_url="https://zone:8702",
        capture_url="https://pay.brand.example",
        environ={},
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A commerce data directory with everything in it, and a good file of models."""
    make_commerce_keys(tmp_path)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "commerce.crt").touch()
    (tmp_path / "models.json").write_text(json.dumps(MODELS), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"models": [{"name": "x", "api_key": "sk-secret"}]}', b'{"model": []}'],
)
async def test_a_damaged_file_of_models_stops_the_start_with_what_to_do(data: Path, content: bytes) -> None:
    assert settings(data).models_file == data / "models.json"
    (data / "models.json").write_bytes(content)
    with pytest.raises(SettingsRefused) as refused:
        settings(data)
    [problem] = refused.value.problems
    assert str(data / "models.json") in problem
    assert "or take it away to have offers said by templates" in problem
    assert "sk-secret" not in problem


def test_a_model_s_key_that_is_not_there_or_open_to_others_stops_the_start(data: Path) -> None:
    model = {**MODELS["models"][0], "key_file": "keys/local.key"}
    (data / "models.json").write_text(json.dumps({"models": [model]}), encoding="utf-8")
    key = data / "keys" / "local.key"
    for prepare in (lambda: None, lambda: key.write_text("sk-secret"), lambda: key.chmod(0o640)):
        prepare()
        with pytest.raises(SettingsRefused) as refused:
            settings(data)
        assert refused.value.problems == [
            f"{key} must hold a model's key and be its owner's alone: write it and `chmod 600` it"
        ]
    key.chmod(0o600)
    assert settings(data).data == data


@pytest.mark.parametrize("content", [None, '{"models": []}'])
async def test_without_a_model_nothing_is_opened(world: World, content: str | None) -> None:
    path = world.directory / "models.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    async with open_saying(path, world.commerce.database, OFFER_KEY, world.clock) as desk:
        assert desk.router is None


def _execute(tx: Transaction, statement: str) -> None:
    tx.execute(text(statement))


async def _next_turn() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


async def _write(world: World, record: CallOpened | CallEnded | CallJudged) -> None:
    recorder = ModelCallRecorder(world.commerce.database)
    if isinstance(record, CallOpened):
        await recorder.opened(record)
    else:
        recorder.write(record)
    await recorder.close()


async def _report(world: World, now_ms: int, since_ms: int = START_MS - 3 * DAY_MS) -> Any:
    return await world.commerce.database.read(lambda connection: report_of(connection, BRAND, since_ms, now_ms))
