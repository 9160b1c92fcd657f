"""`cordon offers models` as a merchant meets it: where the model stands, what its guards show, and what comes next."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from commerce_api.cli import main
from commerce_api.settings import sqlite_url
from offer_engine.judging.promotion import Stage
from offer_engine.judging.standing import WORDS
from offer_engine.learning.registry import Change
from offer_engine.market import NOW_MS
from tests.commerce_api.test_ramping import BEST, WORST, registry_of, staged
from tests.commerce_api.world import BRAND, commerce_world
from tests.offer_engine.stages import HOUR_MS

CORDON = Path(sys.executable).with_name("cordon")


class Shop:
    """A command line over a shop of which two days of a stage are on record, at the moment of a clock."""

    def __init__(self, data: Path, url: str, stage: Stage | None) -> None:
        self._options = ["--data", str(data), "--database-url", url]
        asyncio.run(self._made(data, url, stage))

    async def _made(self, data: Path, url: str, stage: Stage | None) -> None:
        async with commerce_world(data / "commerce", url) as world:
            if stage is not None:
                await staged(world, BEST, WORST, stage=stage)
                self.registry = registry_of(world)

    def models(self, brand: str = BRAND) -> int:
        return main(["offers", "models", brand, *self._options])

    def as_a_process(self, brand: str = BRAND) -> "subprocess.CompletedProcess[str]":
        command = [str(CORDON), "offers", "models", brand, *self._options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def _two_days_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenization.clock.now_milliseconds", lambda: NOW_MS + 50 * HOUR_MS)


@pytest.mark.usefixtures("_two_days_on")
@pytest.mark.parametrize(
    ("stage", "share", "following"), [(Stage.RAMP_50, 50, "may go on to full"), (Stage.FULL, 95, "nothing")]
)
def test_it_says_where_the_model_stands_on_either_database(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str], stage: Stage, share: int, following: str
) -> None:
    shop = Shop(tmp_path, database_url, stage)
    assert shop.models() == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    name = shop.registry.history()[0].model
    assert lines[:3] == [
        f"{BRAND}: model {name[:16]}",
        f"  stage      {stage.value.replace('_', ' ')}, {share} % of shoppers, since 2026-11-18 11:06 UTC",
        "  look       14, of 2026-11-20 11:45 UTC",
    ]
    guards = {words: line.split()[-1] for words in WORDS.values() for line in lines if words in line}
    assert guards.keys() == set(WORDS.values())
    assert guards["sales lost, a decision"] == "fine"
    assert any(line.startswith(f"next: {following}") for line in lines)
    assert ("the last day alone" in out) is (stage is Stage.FULL)
    assert len(shop.registry.history()) == 1, "it moves nothing"


@pytest.mark.usefixtures("_two_days_on")
def test_a_model_that_was_taken_back_decides_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(tmp_path, sqlite_url(tmp_path), Stage.RAMP_50)
    began = shop.registry.history()[0]
    shop.registry.record(Change(began.at_ms + 1, began.model, "rolled_back", "ana", "complaints"))
    assert shop.models() == 0
    assert capsys.readouterr().out == f"{BRAND}: no model decides; the priorities do\n"


@pytest.mark.usefixtures("_two_days_on")
def test_a_stage_that_nobody_knows_is_told_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(tmp_path, sqlite_url(tmp_path), Stage.RAMP_50)
    began = shop.registry.history()[0]
    shop.registry.record(Change(began.at_ms + 1, began.model, "ramp_7", "ana", "by hand"))
    assert shop.models() == 1
    assert "line 2 of the history" in capsys.readouterr().err


def test_the_program_answers_without_a_model_and_refuses_a_brand_that_is_not_there(
    tmp_path: Path, database_url: str
) -> None:
    shop = Shop(tmp_path, database_url, None)
    answered = shop.as_a_process()
    assert (answered.returncode, answered.stdout) == (0, f"{BRAND}: no model decides; the priorities do\n")
    refused = shop.as_a_process("nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no brand of this name" in refused.stderr
