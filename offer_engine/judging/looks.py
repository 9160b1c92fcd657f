"""When guards are looked at, and how much each look may claim: at set moments, so that looking again and again misleads nobody.

What holds:
 1. Looks are at fixed ages of a stage, each half as late again as the last; where the stage has no end, at most EVERY_MS apart.
    No look depends on what an earlier one showed.
 2. A look sees what was known at its moment, whenever it is taken and by whom: it comes out the same.
 3. The k-th look may be wrong with 1 / (k (k + 1)) of the whole probability, and the guards share that evenly. Over all looks,
    however long a stage lasts, that adds up to 1: the chance that a guard is ever found worse in a stage and is not is at most
    1 - LEVEL (Bonferroni).
 4. A stage without an end is seen lately as well as whole: a model that turns bad after a good year is not hidden by that year.
    These windows share what a look may be wrong by.
 5. Nothing is seen that is older than LONGEST_MS: of what is older only decisions that were taken are kept.
"""

from dataclasses import dataclass
from typing import Final

LEVEL: Final = 0.95
FIRST_MS: Final = 15 * 60_000
_DAY_MS: Final = 86_400_000
EVERY_MS: Final = _DAY_MS
LATELY_DAYS: Final = (1, 4, 16, 64)
LONGEST_MS: Final = 364 * _DAY_MS
_GROWTH: Final = 1.5
_GROWING: Final = 14  # looks; the step to the next one would be more than EVERY_MS


@dataclass(frozen=True, slots=True)
class Look:
    """The number of a look, from 1, its moment, and the last days that it sees by themselves, beside the whole stage (4)."""

    number: int
    at_ms: int
    lately_days: tuple[int, ...] = ()

    def level(self, bounds: int) -> float:
        """The level of a two-sided interval where ``bounds`` one-sided ones share what a window may be wrong by (3) (4)."""
        windows = 1 + len(self.lately_days)
        return 1 - 2 * (1 - LEVEL) / (self.number * (self.number + 1) * bounds * windows)

    def sees_from(self, began_ms: int) -> int:
        """From when on it sees a stage that began then (5)."""
        return max(began_ms, self.at_ms - LONGEST_MS)


def look(began_ms: int, number: int, *, lasts: bool = False) -> Look:
    """A look at a stage (1), which ``lasts`` where it has no end."""
    if not lasts or number <= _GROWING:
        at_ms = began_ms + int(FIRST_MS * _GROWTH ** (number - 1))
    else:
        at_ms = look(began_ms, _GROWING).at_ms + (number - _GROWING) * EVERY_MS
    whole_ms = at_ms - began_ms
    return Look(number, at_ms, tuple(days for days in LATELY_DAYS if lasts and days * _DAY_MS < whole_ms))


def newest_look(began_ms: int, now_ms: int, *, lasts: bool = False) -> Look | None:
    """The last look that is due, or None before the first (2)."""
    newest, following = None, look(began_ms, 1, lasts=lasts)
    while following.at_ms <= now_ms:
        newest, following = following, look(began_ms, following.number + 1, lasts=lasts)
    return newest
