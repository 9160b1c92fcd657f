"""Why the sandbox refuses a request: a closed set, mapped to HTTP here and nowhere else. No message holds a value."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class ErrorCode(StrEnum):
    """The value of ``error.code``."""

    UNAUTHENTICATED = "unauthenticated"
    INVALID_REQUEST = "invalid_request"
    IDEMPOTENCY_KEY_REQUIRED = "idempotency_key_required"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight"
    LIVE_CARD_REFUSED = "live_card_refused"
    NOT_FOUND = "not_found"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"


ANSWERS: Final = MappingProxyType(
    {
        ErrorCode.UNAUTHENTICATED: (401, "Send the sandbox's API key as 'Authorization: Bearer <key>'."),
        ErrorCode.INVALID_REQUEST: (422, "The request is not valid. Correct it before sending it again."),
        ErrorCode.IDEMPOTENCY_KEY_REQUIRED: (400, "Send an Idempotency-Key header of 1 to 255 characters."),
        ErrorCode.IDEMPOTENCY_CONFLICT: (409, "This Idempotency-Key was used with another body. Use a new key."),
        ErrorCode.IDEMPOTENCY_IN_FLIGHT: (
            409,
            "A request with this Idempotency-Key is being processed. Send it again.",
        ),
        ErrorCode.LIVE_CARD_REFUSED: (
            422,
            "Not a published test number. The sandbox takes no other card; see its page.",
        ),
        ErrorCode.NOT_FOUND: (404, "There is nothing here."),
        ErrorCode.INTERNAL_ERROR: (500, "The sandbox failed. Query by reference before sending it again."),
        ErrorCode.UNAVAILABLE: (503, "The sandbox is unavailable. Nothing was done; send the request again."),
    }
)

RETRY_AFTER_SECONDS: Final = MappingProxyType({ErrorCode.IDEMPOTENCY_IN_FLIGHT: 1, ErrorCode.UNAVAILABLE: 1})


class Refusal(Exception):
    """A request the sandbox does not serve. ``fields`` are names of the sandbox's own fields, never what was sent."""

    def __init__(self, code: ErrorCode, fields: tuple[str, ...] = ()) -> None:
        super().__init__(code.value)
        self.code = code
        self.fields = fields

    @property
    def status(self) -> int:
        """The HTTP status."""
        return ANSWERS[self.code][0]

    @property
    def message(self) -> str:
        """What the caller can do, with the fields to look at."""
        text = ANSWERS[self.code][1]
        return f"{text} Look at: {', '.join(self.fields)}." if self.fields else text
