"""Which processors are well enough to be asked first: a circuit breaker for each, in this process's memory.

What holds for a breaker:
 1. Closed, it lets everything through, and opens when in the last window at least ``calls_minimum`` calls were made and that
    share of them went wrong.
 2. Open, it lets nothing through until ``open_seconds`` have passed.
 3. Then it is half open: one call at a time is let through; the first that goes well closes it, one that goes wrong opens it
    again.

A call went wrong when no answer came that can be believed. A decline is an answer.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Position(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and for how long."""

    window_seconds: float = 60.0
    calls_minimum: int = 5
    failed_share: float = 0.5
    open_seconds: float = 30.0


@dataclass(slots=True)
class _Breaker:
    calls: deque[tuple[float, bool]] = field(default_factory=deque)
    failed: int = 0  # of these calls
    opened_seconds: float | None = None
    is_probing: bool = False


class Breakers:
    """The breakers of all processors, by name. Not for several threads."""

    def __init__(self, now_seconds: Callable[[], float], limits: BreakerLimits | None = None) -> None:
        self._now_seconds = now_seconds
        self._limits = limits or BreakerLimits()
        self._of: dict[str, _Breaker] = {}

    def position(self, name: str) -> Position:
        """Where the breaker of a processor stands now."""
        breaker = self._of.get(name)
        if breaker is None or breaker.opened_seconds is None:
            return Position.CLOSED
        waited_seconds = self._now_seconds() - breaker.opened_seconds
        return Position.HALF_OPEN if waited_seconds >= self._limits.open_seconds else Position.OPEN

    def lets_through(self, name: str) -> bool:
        """Whether the processor may be asked now, as one that is well. Who asks before the probe begins is let through too."""
        position = self.position(name)
        if position is Position.HALF_OPEN:
            return not self._of[name].is_probing  # (3)
        return position is Position.CLOSED  # (2)

    def begin(self, name: str) -> None:
        """A call of the processor begins."""
        if self.position(name) is Position.HALF_OPEN:
            self._of[name].is_probing = True

    def end(self, name: str, *, well: bool) -> None:
        """The call is over."""
        breaker = self._of.setdefault(name, _Breaker())
        now_seconds = self._now_seconds()
        if breaker.opened_seconds is not None:
            breaker.is_probing = False
            if well:  # (3)
                breaker.opened_seconds = None
                breaker.calls.clear()
                breaker.failed = 0
            else:
                breaker.opened_seconds = now_seconds
            return
        breaker.calls.append((now_seconds, well))
        breaker.failed += not well
        while breaker.calls[0][0] <= now_seconds - self._limits.window_seconds:
            breaker.failed -= not breaker.calls.popleft()[1]
        enough = len(breaker.calls) >= self._limits.calls_minimum
        if enough and breaker.failed >= self._limits.failed_share * len(breaker.calls):  # (1)
            breaker.opened_seconds = now_seconds
