"""Whatever goes wrong around the charge engine, no history breaks it; and bugs of the kind that cost others money are found."""

import multiprocessing
import os

import pytest

from tests.simulation.history import History, Template
from tests.simulation.planted import PLANTED
from tests.simulation.playing import CHUNK, play_all
from tests.simulation.store import Disk
from tests.simulation.template import make_template

HISTORIES = 2_000
IN_ONE_TEST = 250
FOUND_WITHIN = 150  # histories; the slowest of the planted bugs took 66 when this was written


@pytest.fixture(scope="module")
def template() -> Template:
    """What every history starts from."""
    return make_template()


@pytest.mark.parametrize("first", range(0, HISTORIES, IN_ONE_TEST))
def test_every_history_holds(first: int) -> None:
    chunks = [range(at, at + CHUNK) for at in range(first, first + IN_ONE_TEST, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(chunks))) as pool:
        played = pool.map(play_all, chunks)
    assert [one.failure for one in played if one.failure] == [], "see it: python -m tests.simulation --seed N"
    assert sum(one.histories for one in played) == IN_ONE_TEST
    assert sum(one.crashes for one in played) > 0, "a history without a crash shows little"


def test_a_seed_is_the_same_history_every_time(template: Template) -> None:
    for seed in range(5):
        told = []
        for _ in range(2):
            history = History(template, Disk(), seed)
            history.play()
            told.append(history.trace)
        assert told[0] == told[1]


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(template: Template, bug: str) -> None:
    disk = Disk()
    with PLANTED[bug]():
        for seed in range(FOUND_WITHIN):
            try:
                History(template, disk, seed).play()
            except Exception:  # noqa: BLE001  # Broken, or what the engine raises when its ground is gone
                return
    pytest.fail(f"not found in {FOUND_WITHIN} histories: {bug}")
