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
QUERY_MAXIMUM = 24_576  # characters of the address that a shopper comes back to: Adyen adds up to 20,000
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
    AUTHORIZED = "authorized"  # the money is held; nothing of it is captured
    SUCCEEDED = "succeeded"  # captured, in whole or in part
    DECLINED = "declined"
    FAILED = "failed"  # known never to have charged
    VOIDED = "voided"  # let go before anything was captured
    EXPIRED = "expired"  # the authorization ran out before anything was captured


# States that no word of the processor is awaited for. What was captured may still be refunded or disputed.
FINAL_CHARGE_STATES = frozenset(
    {
        ChargeState.SUCCEEDED,
        ChargeState.DECLINED,
        ChargeState.FAILED,
        ChargeState.VOIDED,
        ChargeState.EXPIRED,
    }
)


class Initiator(StrEnum):
    """Who began a charge, in the card networks' terms."""

    SHOPPER = "shopper"  # present, with a card just given or one that was saved (CIT)
    MERCHANT_UNSCHEDULED = "merchant_unscheduled"  # a saved card, by consent, without the shopper there (MIT)
    MERCHANT_RECURRING = "merchant_recurring"  # as above, on a schedule that the shopper agreed to


class ModificationKind(StrEnum):
    """What may be done to a charge after its authorization."""

    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class ModificationState(StrEnum):
    """Where a modification stands. ``unknown`` and ``accepted`` end only by the processor's own record (I3)."""

    PENDING = "pending"  # the intent is on disk; the processor is being asked
    UNKNOWN = "unknown"  # asked, and no answer that can be believed
    ACCEPTED = "accepted"  # the processor has taken it on; its notice or record will tell
    SUCCEEDED = "succeeded"
    DECLINED = "declined"  # refused by the processor, without effect
    FAILED = "failed"  # known never to have had an effect
    RETURNED = "returned"  # a refund that went through and came back: the shopper's bank did not take it


# States that no word of the processor is awaited for. A refund that succeeded may still come back.
FINAL_MODIFICATION_STATES = frozenset(
    {ModificationState.SUCCEEDED, ModificationState.DECLINED, ModificationState.FAILED, ModificationState.RETURNED}
)


class DisputeState(StrEnum):
    """Where a dispute stands. ``won`` and ``lost`` are final."""

    NEEDS_RESPONSE = "needs_response"  # evidence may be handed in until its day
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"


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
    capture: Literal["automatic", "manual"] = "automatic"  # manual: authorized now, captured by a modification
    initiator: Initiator = Initiator.SHOPPER


class ReturnRequest(Wire):
    """The shopper is back from the bank, at the charge's ``return_url``. ``query``: what was added to that address, as it came;
    some processors end the authentication only by it.
    """

    merchant: Identifier
    payment: Identifier
    query: Annotated[str, Field(max_length=QUERY_MAXIMUM, repr=False)]


class Charge(Wire):
    """A charge as commerce sees it. ``authorized_minor`` is held by the processor at most until ``authorized_until_ms``."""

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
    authorized_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    disputed_minor: int = 0
    authorized_until_ms: int | None = None
    processor: str | None = None


class ModificationRequest(Wire):
    """Asks to capture, void or refund. ``request`` is the idempotency key: it belongs to this one act, whatever is retried.

    ``amount_minor`` None: all that is left to capture or to refund; a void never has an amount. ``is_final``: no other capture
    will follow, so what is left of the authorization is let go.
    """

    request: Identifier
    merchant: Identifier
    payment: Identifier
    kind: ModificationKind
    amount_minor: AmountMinor | None = None
    is_final: bool = True
    reason: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")] | None = None


class Modification(Wire):
    """A modification as commerce sees it, with the charge as it now stands."""

    modification: Identifier
    request: Identifier
    kind: ModificationKind
    state: ModificationState
    amount_minor: int | None
    currency: Currency
    decline_code: str | None = None
    charge: Charge


class Dispute(Wire):
    """A charge that its cardholder disputes. ``amount_minor`` is withheld until it is won; evidence is due by its day.

    ``is_inquiry``: the bank only asks, and nothing is withheld. The fee is in its own currency, None where it is not known.
    """

    dispute: Identifier
    payment: Identifier
    charge: Identifier
    state: DisputeState
    amount_minor: int
    currency: Currency
    fee_minor: int
    reason: str
    evidence_due_ms: int | None
    opened_ms: int
    changed_ms: int
    is_inquiry: bool = False
    fee_currency: Currency | None = None


class Notice(Wire):
    """What the zone tells commerce by itself: that something moved. Commerce asks for where it stands.

    Delivered at least once, in no order, as a Standard Webhooks message (``webhook-id`` is ``notice``). ``happened_at`` is
    RFC 3339, UTC.
    """

    notice: Identifier
    kind: Annotated[str, Field(pattern=r"^[a-z_]{1,20}\.[a-z_]{1,20}$")]
    happened_at: Annotated[str, Field(pattern=r"^[0-9T:.Z-]{20,30}$")]
    merchant: Identifier
    checkout: Identifier
    payment: Identifier
    charge: Identifier
    modification: Identifier | None = None
    dispute: Identifier | None = None


class NoticeSecret(Wire):
    """The secret that a merchant's notices are signed with: ``whsec_`` and base64, as Standard Webhooks writes it."""

    secret: Annotated[str, Field(pattern=r"^whsec_[A-Za-z0-9+/]{43}=$")]


class ErrorDetail(Wire):
    """A refusal: a code from a closed set and what the caller can do. Never a value."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every answer that is an error. What else is beside the error is not read."""

    error: ErrorDetail
