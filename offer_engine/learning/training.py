"""Training: a log becomes statistics, in as many processes as there are files and cores, and statistics a model."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from offer_engine.features import Schema
from offer_engine.learning.files import read_lines, size_bytes
from offer_engine.learning.linear import Statistics
from offer_engine.learning.log import Reading
from offer_engine.learning.rewards import RewardRule

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """What is trained on. ``now_ms`` is when the log was exported; ``share`` is that of Reading."""

    paths: tuple[Path, ...]
    schema: Schema
    rule: RewardRule
    now_ms: int
    share: tuple[int, int] = (0, 100)

    def reading(self) -> Reading:
        """A reading of it that has not begun."""
        return Reading(self.schema, self.rule, self.now_ms, self.share)


@dataclass(frozen=True, slots=True)
class Counted:
    """Statistics, and the reading they came from, which says what was left out."""

    statistics: Statistics
    reading: Reading


def count(source: Source, told: Told = lambda _: None) -> Counted:
    """The statistics of a source, in this process. Raises LogInvalid, OSError."""
    reading = source.reading()
    statistics = Statistics(source.schema.width, reading.arms)
    for batch in reading.batches(read_lines(source.paths, told)):
        statistics.add(batch)
    return Counted(statistics, reading)


def count_in_processes(source: Source, jobs: int, told: Told = lambda _: None) -> Counted:
    """The same, each file in one of ``jobs`` processes. The order in which they end changes nothing but rounding."""
    if jobs < 2 or len(source.paths) < 2:
        return count(source, told)
    parts = [Source((path,), source.schema, source.rule, source.now_ms, source.share) for path in source.paths]
    found: dict[int, Counted] = {}
    done = 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(count, part): place for place, part in enumerate(parts)}
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            done += size_bytes(parts[waiting[future]].paths)
            told(done)
    return merged([found[place] for place in range(len(parts))])


def merged(parts: Sequence[Counted]) -> Counted:
    """The parts' sums and counts as one. There is at least one part."""
    first, *others = parts
    reading = first.reading
    for part in others:
        first.statistics.merge(part.statistics)
        other = part.reading
        reading.lines += other.lines
        reading.used += other.used
        reading.not_presented += other.not_presented
        reading.immature += other.immature
        reading.other_share += other.other_share
        reading.erased += other.erased
        moments = [each for each in (reading.first_ms, other.first_ms) if each is not None]
        reading.first_ms = min(moments, default=None)
        moments = [each for each in (reading.last_ms, other.last_ms) if each is not None]
        reading.last_ms = max(moments, default=None)
    return first
