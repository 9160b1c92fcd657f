"""A circuit breaker for each provider: one that fails again and again, or asks to be left alone, is not asked for a while."""

from dataclasses import dataclass
from typing import Final

from offer_engine.models.events import FailureKind, ModelFailed

_FAILURES: Final = 3  # in a row
_FIRST_PAUSE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 120.0
_NOT_ITS_FAULT: Final = frozenset({FailureKind.CARD_TEXT})


@dataclass(slots=True)
class Breaker:
    """Closed, open until a moment, or half-open: after the pause one call tries, and the others wait for its outcome."""

    failures: int = 0
    pauses: int = 0
    closed_until_seconds: float = 0.0
    is_trying: bool = False

    def may_call(self, now_seconds: float) -> bool:
        """Whether a call may be made now."""
        return now_seconds >= self.closed_until_seconds and not self.is_trying

    def begin(self) -> None:
        """A call is made. After a pause it is the one that tries."""
        self.is_trying = self.pauses > 0

    def succeeded(self) -> None:
        """It gave its first words."""
        self.failures = self.pauses = 0
        self.is_trying = False

    def failed(self, failure: ModelFailed, now_seconds: float) -> None:
        """It failed."""
        was_trying, self.is_trying = self.is_trying, False
        if failure.kind in _NOT_ITS_FAULT:
            return
        self.failures += 1
        if failure.retry_after_seconds is not None:
            self.closed_until_seconds = now_seconds + failure.retry_after_seconds
            self.pauses += 1
        elif was_trying or self.failures >= _FAILURES:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(self.pauses, 10), _LONGEST_PAUSE_SECONDS)
            self.closed_until_seconds = now_seconds + pause
            self.pauses += 1
            self.failures = 0

    def broke_off(self, failure: ModelFailed, now_seconds: float) -> None:
        """It failed after its first words: it pauses at once, so that another goes on."""
        self.failures = _FAILURES
        self.failed(failure, now_seconds)

    def abandoned(self) -> None:
        """It was given up before its outcome was known: neither praise nor blame."""
        self.is_trying = False
