"""Training: a log becomes sums or rows, in as many processes as there are files and cores, and those a model.

Both kinds of model are trained on the subjects of ``trained_share``; of the other subjects a sample is kept for the card.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from offer_engine.features import Schema
from offer_engine.learning.files import read_lines, size_bytes
from offer_engine.learning.linear import Statistics
from offer_engine.learning.log import Batch, Reading, share_of
from offer_engine.learning.rewards import RewardRule
from offer_engine.learning.summary import Summary

Told = Callable[[int, int], None]  # bytes and decisions that are done
_Part = TypeVar("_Part", bound="_Read")
COUNTERS: Final = ("lines", "used", "not_presented", "immature", "erased")


@dataclass(frozen=True, slots=True)
class Source:
    """What is trained on. ``now_ms`` is when the log was exported; ``trained_share`` is of subjects, as Reading's ``share``."""

    paths: tuple[Path, ...]
    schema: Schema
    rule: RewardRule
    now_ms: int
    trained_share: tuple[int, int] = (0, 100)

    def reading(self) -> Reading:
        """A reading of all its subjects that has not begun."""
        return Reading(self.schema, self.rule, self.now_ms, only_chosen=True)

    def parts(self) -> "list[Source]":
        """A source for each file."""
        return [replace(self, paths=(path,)) for path in self.paths]

    def read(self, reading: Reading, summary: Summary, told: Told) -> Iterator[tuple[Batch, npt.NDArray[np.bool_]]]:
        """The batches, and which of their decisions are trained on; all are in the summary. Raises LogInvalid, OSError."""
        batches = reading.batches(read_lines(self.paths, lambda done: told(done, reading.lines)))
        for batch in batches:
            share = share_of(batch.subject)
            trained = (self.trained_share[0] <= share) & (share < self.trained_share[1])
            summary.add(batch, trained)
            yield batch, trained


class _Read(Protocol):
    @property
    def reading(self) -> Reading: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """Statistics, and the reading and the summary that came with them."""

    statistics: Statistics
    reading: Reading
    summary: Summary


def untold(done_bytes: int, decisions: int) -> None:
    """Tells nobody how far it is."""


def count(source: Source, told: Told = untold) -> Counted:
    """The statistics of a source, in this process. Raises LogInvalid, OSError."""
    reading = source.reading()
    summary = Summary(source.schema.width, reading.arms)
    statistics = Statistics(source.schema.width, reading.arms)
    for batch, trained in source.read(reading, summary, told):
        statistics.add(batch, trained)
    return Counted(statistics, reading, summary)


def count_in_processes(source: Source, jobs: int, told: Told = untold) -> Counted:
    """The same, each file in one of ``jobs`` processes. The order in which they end changes nothing but rounding."""
    if jobs < 2 or len(source.paths) < 2:
        return count(source, told)
    parts = in_processes(count, source.parts(), jobs, told)
    first = next(parts)
    for part in parts:
        merge(first, part)
    return first


def in_processes(
    work: Callable[[Source], _Part], parts: Sequence[Source], jobs: int, told: Told = untold
) -> Iterator[_Part]:
    """What ``work`` makes of each part, in the parts' order, so that no more of it is held than is worked on."""
    done_bytes = decisions = 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for part, found in zip(parts, pool.map(work, parts), strict=True):
            done_bytes += size_bytes(part.paths)
            decisions += found.reading.lines
            told(done_bytes, decisions)
            yield found


def merge(first: Counted, other: Counted) -> None:
    """Adds another's sums and counts."""
    first.statistics.merge(other.statistics)
    first.summary.merge(other.summary)
    add_reading(first.reading, other.reading)


def add_reading(reading: Reading, other: Reading) -> None:
    """Adds another's counts; the offers' names are merged with their sums."""
    for name in COUNTERS:
        setattr(reading, name, getattr(reading, name) + getattr(other, name))
    reading.first_ms = min((each for each in (reading.first_ms, other.first_ms) if each is not None), default=None)
    reading.last_ms = max((each for each in (reading.last_ms, other.last_ms) if each is not None), default=None)
