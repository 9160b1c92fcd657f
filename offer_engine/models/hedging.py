"""When a second provider is asked because the first is slow with its first words, and how often that may happen.

The wait is the 95th percentile of the times to the first token seen last, within bounds; while too few were seen, a fixed one.
A bucket bounds what it costs: each call earns a part of a hedge, and a hedge spends a whole one.
"""

from collections import deque
from typing import Final

_REMEMBERED: Final = 200
_ENOUGH: Final = 20
_FIRST_WAIT_SECONDS: Final = 1.5
_SHORTEST_WAIT_SECONDS: Final = 0.05
_LONGEST_WAIT_SECONDS: Final = (
    3.0  # times of calls that were given up are as long as others waited: they must not add up
)
_PERCENTILE: Final = 0.95
_EARNED_BY_A_CALL: Final = 0.1
_MOST_SAVED: Final = 5.0


class Hedging:
    """Learns how long first words take. One for each provider and process."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._saved = 1.0

    def wait_seconds(self) -> float:
        """How long to wait for the first words before another is asked."""
        if len(self._times) < _ENOUGH:
            return _FIRST_WAIT_SECONDS
        ordered = sorted(self._times)
        wait_seconds = ordered[min(int(len(ordered) * _PERCENTILE), len(ordered) - 1)]
        return min(max(wait_seconds, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)

    def saw(self, seconds: float) -> None:
        """A call's first words came after this long, or had not come when it was given up after this long."""
        self._times.append(seconds)

    def earn(self) -> None:
        """A call was begun."""
        self._saved = min(self._saved + _EARNED_BY_A_CALL, _MOST_SAVED)

    def spend(self) -> bool:
        """Whether there is a hedge left to spend; it is spent then."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
