"""What comes back from a model, whichever provider speaks, and how a call fails: two closed sets."""

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """How a call failed. Codes are only ever added."""

    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"  # the request or the key is not accepted: asking again would not help
    STALLED = "stalled"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    TOO_LARGE = "too_large"
    CARD_TEXT = "card_text"  # not sent
    NO_KEY = "no_key"  # not sent
    NOT_RECORDED = "not_recorded"  # not sent
    NONE_LEFT = "none_left"  # no provider may be called now


class ModelFailed(Exception):
    """A call gave no answer, or stopped in the middle. Holds no text of either side."""

    def __init__(self, kind: FailureKind, retry_after_seconds: float | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the provider so far. None: not told."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def followed_by(self, later: "Usage") -> "Usage":
        """What is known after a later count: what that does not tell stays."""
        return Usage(
            self.input_tokens if later.input_tokens is None else later.input_tokens,
            self.output_tokens if later.output_tokens is None else later.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """The provider says that this is all. ``reason`` is its own word."""

    reason: str


ModelEvent = Text | Usage | Ended
