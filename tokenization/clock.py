"""The only place that asks the machine what time it is; everything else is told."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

# Milliseconds since the Unix epoch, UTC. The one form in which time is stored and passed on.
Clock = Callable[[], int]


def now_milliseconds() -> int:
    """The wall clock, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def monotonic_seconds() -> float:
    """A clock that never goes back, for durations and deadlines inside one process."""
    return time.monotonic()


def as_datetime(milliseconds: int) -> datetime:
    """The moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def as_text(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-22T09:30:00.000Z``."""
    return as_datetime(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
