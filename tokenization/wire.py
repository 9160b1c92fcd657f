"""What crosses the wall between commerce and the zone, over mutual TLS: tokens, grants, money, states. Never a card.

Version 1 of the models; a field is only ever added, with a default. Amounts are integer minor units, times are milliseconds
since the Unix epoch, UTC.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tokenization.money import MAXIMUM_AMOUNT_MINOR, MoneyInvalid, exponent

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Url = Annotated[str, Field(min_length=8, max_length=2000, pattern=r"^https?://[^\s<>\"]+$")]
Origin = Annotated[str, Field(max_length=300, pattern=r"^https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?$")]
Digest = Annotated[str, Field(pattern=r"^[bcdfghjkmnpqrstv]{64}$")]  # SHA-256 in letters: tokenization.ids.digest
OPENER_PREFIX = "opn"  # of the 256-bit secret that the browser which began holds; its digest alone crosses the wall
Text = Annotated[str, Field(min_length=1, max_length=200)]
AmountMinor = Annotated[int, Field(strict=True, gt=0, le=MAXIMUM_AMOUNT_MINOR)]


def _known(currency: str) -> str:
    try:
        exponent(currency)
    except MoneyInvalid:
        raise PydanticCustomError("currency_unknown", "not a currency") from None
    return currency


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$"), AfterValidator(_known)]


class Wire(BaseModel):
    """Closed and frozen: an unknown field is refused, not carried along."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptureState(StrEnum):
    """Where a capture session stands. ``captured`` and ``closed`` are final."""

    OPEN = "open"  # the link was made, nobody has opened it
    CLAIMED = "claimed"  # one browser has it open
    CAPTURED = "captured"  # a card was taken: token and grant exist
    CLOSED = "closed"  # expired, superseded by a newer link, or out of tries


class ChargeState(StrEnum):
    """Where a charge stands. ``unknown`` ends only by the processor's own record (I3)."""

    PENDING = "pending"  # the intent is on disk; the processor is being asked
    UNKNOWN = "unknown"  # asked, and no answer that can be believed
    ACTION_REQUIRED = "action_required"  # the shopper must authenticate (3DS)
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    FAILED = "failed"  # known never to have charged


FINAL_CHARGE_STATES = frozenset({ChargeState.SUCCEEDED, ChargeState.DECLINED, ChargeState.FAILED})


class OpenCaptureSession(Wire):
    """Asks for a one-time link on which the shopper enters a card for one checkout.

    ``mode``: a page of the zone, or card fields that a page at ``frame_origin`` frames; that origin is one of the merchant's.
    ``opener_digest`` is the digest of a 256-bit secret that only the browser which began holds: with it, nobody else can use
    the link. Fields need both. ``shopper``: the merchant's opaque id of who may save the card.
    """

    merchant: Identifier
    merchant_name: Text
    checkout: Identifier
    amount_minor: AmountMinor
    currency: Currency
    summary: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    return_url: Url
    cancel_url: Url
    lifetime_seconds: Annotated[int, Field(ge=30, le=3600)] = 900
    mode: Literal["page", "fields"] = "page"
    frame_origin: Origin | None = None
    opener_digest: Digest | None = None
    shopper: Identifier | None = None  # who may save the card: the page offers it only then

    @model_validator(mode="after")
    def _frame_and_opener_fit_the_mode(self) -> Self:
        if (self.frame_origin is not None) != (self.mode == "fields"):
            raise ValueError("fields need a frame_origin, and a page has none")
        if self.mode == "fields" and self.opener_digest is None:
            raise ValueError("fields need an opener_digest")
        return self


class CardSummary(Wire):
    """What may be shown of a card: brand and last four (PCI DSS 3.4.1)."""

    brand: Annotated[str, Field(pattern=r"^[a-z]{2,20}$")]
    last4: Annotated[str, Field(pattern=r"^[0-9]{4}$")]


class CaptureSession(Wire):
    """A capture session as commerce sees it. ``url`` is given once, by the call that made it."""

    session: Identifier
    state: CaptureState
    checkout: Identifier
    expires_ms: int
    url: str | None = None
    token: str | None = None
    grant: str | None = None
    card: CardSummary | None = None


class ChargeRequest(Wire):
    """Asks to charge a grant. ``payment`` is the idempotency key: it belongs to the charge, whatever is retried (I3)."""

    payment: Identifier
    merchant: Identifier
    checkout: Identifier
    grant: Identifier
    amount_minor: AmountMinor
    currency: Currency
    return_url: Url


class Charge(Wire):
    """A charge as commerce sees it."""

    charge: Identifier
    payment: Identifier
    merchant: Identifier
    checkout: Identifier
    state: ChargeState
    amount_minor: int
    currency: Currency
    card: CardSummary
    decline_code: str | None = None
    action_url: str | None = None
    sandbox: bool = False


class ErrorDetail(Wire):
    """A refusal: a code from a closed set and what the caller can do. Never a value."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every answer that is an error. What else is beside the error is not read."""

    error: ErrorDetail
