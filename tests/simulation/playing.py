"""Plays many seeds in one process."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.simulation.history import History, Template
from tests.simulation.store import Disk
from tests.simulation.template import make_template

CHUNK = 125  # histories that a process plays from one template


class Played(NamedTuple):
    """How many histories, steps and crashes, and the first seed that broke with what it said."""

    histories: int
    steps: int
    crashes: int
    failure: tuple[int, str] | None


def play_all(seeds: range) -> Played:
    """Plays the seeds up to the first that breaks."""
    steps = crashes = 0
    for count, (seed, history) in enumerate(_histories(make_template(), Disk(), seeds), 1):
        try:
            history.play()
        except BaseException as failure:  # noqa: BLE001  # whatever it is, it is what the seed shows
            return Played(count, steps, crashes, (seed, f"{type(failure).__name__}: {failure}"))
        steps, crashes = steps + history.steps, crashes + history.crashes
    return Played(len(seeds), steps, crashes, None)


def _histories(template: Template, disk: Disk, seeds: range) -> Iterator[tuple[int, History]]:
    for seed in seeds:
        yield seed, History(template, disk, seed)
