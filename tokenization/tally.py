"""Counts what anybody can make happen, so that the record tells of it without growing by it."""

from tokenization.clock import Clock

INTERVAL_SECONDS = 60


class Tally:
    """The first occurrence is recorded at once; the ones that follow within a minute are recorded together, by their number."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting = 0
        self._recorded_ms = -INTERVAL_SECONDS * 1000

    def count(self) -> int:
        """Counts one; returns how many to record now, or 0 to record nothing yet."""
        self._waiting += 1
        now_ms = self._clock()
        if now_ms - self._recorded_ms < INTERVAL_SECONDS * 1000:
            return 0
        self._recorded_ms, due, self._waiting = now_ms, self._waiting, 0
        return due

    def keep(self, number: int) -> None:
        """What count() gave out could not be recorded: it is recorded with those that follow."""
        self._waiting += number
