"""Honest intervals: subjects are drawn anew, not decisions, and rare large weights are allowed for.

What holds for an interval:
 1. What one subject did stays together: the unit that is drawn is the subject (or a group of subjects, which is coarser).
 2. It is never narrower than the empirical Bernstein bound (Maurer and Pontil 2009) over subjects, in both directions.
    A bootstrap sees only what happened; the bound's last term stands for what did not, and shrinks with their number alone.
 3. Where the width of what one decision can add is known, it counts, though nothing so wide was seen: of a few decisions that
    all came out the same, the range that was observed is 0 and tells nothing.
 4. The same sums and seed give the same interval.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_CHUNK: Final = 100  # replicates drawn at once: memory is this many times the number of groups


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its bounds. ``bootstrap_*`` is the bootstrap's part, ``lower`` and ``upper`` hold the floor as well."""

    value: float
    lower: float
    upper: float
    bootstrap_lower: float
    bootstrap_upper: float

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two have a value in common."""
        return self.lower <= other.upper and other.lower <= self.upper


def intervals(numerators: Matrix, denominators: Matrix, *, level: float, replicates: int, seed: int) -> list[Interval]:
    """One interval for each column. Both arguments are sums by group, shape (groups, columns); empty groups have been left out.

    Columns share the draws, so a difference of two policies is a column of its own. Raises ValueError for less than two groups.
    """
    each, unknown = np.eye(numerators.shape[1]), np.zeros(numerators.shape[1])
    return contrasts(numerators, denominators, each, unknown, level=level, replicates=replicates, seed=seed)


def contrasts(
    numerators: Matrix,
    denominators: Matrix,
    weights: Matrix,
    spans: Vector,
    *,
    level: float,
    replicates: int,
    seed: int,
) -> list[Interval]:
    """One interval for each row of ``weights``: of the columns' quotients, added up with these weights.

    Sums are as those of ``intervals``. ``spans`` is the width of what one decision can add to each column's numerator, 0 where
    that is not known (3). Raises ValueError for less than two groups.
    """
    groups = numerators.shape[0]
    if groups < 2:
        raise ValueError("an interval needs at least two subjects")
    quotients = _quotients(numerators.sum(axis=0), denominators.sum(axis=0))
    values = weights @ quotients
    drawn = np.concatenate(
        [
            _quotients(counts @ numerators, counts @ denominators) @ weights.T
            for counts in _draws(groups, replicates, np.random.default_rng(seed))
        ]
    )
    tail = (1 - level) / 2
    lows, highs = np.quantile(drawn, [tail, 1 - tail], axis=0)
    means = denominators.mean(axis=0)
    means = np.where(means > 0, means, 1.0)
    contributions = (numerators - quotients * denominators) / means
    halves = _bernstein(contributions @ weights.T, np.abs(weights) @ (spans / means), tail)
    return [
        Interval(float(v), float(min(lo, v - half)), float(max(hi, v + half)), float(lo), float(hi))  # (2)
        for v, lo, hi, half in zip(values, lows, highs, halves, strict=True)
    ]


def _draws(groups: int, replicates: int, rng: np.random.Generator) -> Iterator[Matrix]:
    """How often each group is drawn in each replicate: Poisson(1), which a multinomial draw comes to for many groups."""
    sizes = [min(_CHUNK, replicates - done) for done in range(0, replicates, _CHUNK)]
    return (rng.poisson(1.0, size=(size, groups)).astype(np.float64) for size in sizes)


def _bernstein(contributions: Matrix, least_ranges: Vector, tail: float) -> Vector:
    """Half the bound's width for each column, on the groups' linearised contributions to it."""
    groups = contributions.shape[0]
    log_term = math.log(2 / tail)
    spread = np.sqrt(2 * contributions.var(axis=0, ddof=1) * log_term / groups)
    ranges = np.maximum(np.ptp(contributions, axis=0), least_ranges)  # (3)
    half: Vector = spread + 7 * ranges * log_term / (3 * (groups - 1))
    return half


def _quotients(numerators: npt.NDArray[np.float64], denominators: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0)
