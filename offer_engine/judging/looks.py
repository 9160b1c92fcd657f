"""When guards are looked at, and how much each look may claim: at set moments, so that looking again and again misleads nobody.

What holds:
 1. Looks are at fixed ages of a stage, each half as late again as the last. No look depends on what an earlier one showed.
 2. A look sees what was known at its moment, whenever it is taken and by whom: it comes out the same.
 3. The k-th look may be wrong with 1 / (k (k + 1)) of the whole probability, and the guards share that evenly. Over all looks
    that adds up to 1: the chance that a guard is ever found worse in a stage and is not is at most 1 - LEVEL (Bonferroni).
"""

from dataclasses import dataclass
from typing import Final

LEVEL: Final = 0.95
FIRST_MS: Final = 15 * 60_000
_GROWTH: Final = 1.5


@dataclass(frozen=True, slots=True)
class Look:
    """The number of a look, from 1, and its moment."""

    number: int
    at_ms: int

    def level(self, bounds: int) -> float:
        """The level of a two-sided interval where ``bounds`` one-sided ones share what this look may be wrong by (3)."""
        return 1 - 2 * (1 - LEVEL) / (self.number * (self.number + 1) * bounds)


def look(began_ms: int, number: int) -> Look:
    """A look at a stage (1)."""
    return Look(number, began_ms + int(FIRST_MS * _GROWTH ** (number - 1)))


def newest_look(began_ms: int, now_ms: int) -> Look | None:
    """The last look that is due, or None before the first (2)."""
    newest, following = None, look(began_ms, 1)
    while following.at_ms <= now_ms:
        newest, following = following, look(began_ms, following.number + 1)
    return newest
