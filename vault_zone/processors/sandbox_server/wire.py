"""What comes in and goes out of the sandbox as JSON. A card number is read here, and goes no further."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from vault_zone.processors.sandbox_server.cards import PublishedCard, find, holds_card_number
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.objects import DisputeReason, DisputeStatus, Kind

MAX_AMOUNT_MINOR: Final = 999_999_999_999  # twelve digits: ISO 8583-1 data element 4 is n 12
MAX_TEXT_LENGTH: Final = 255
MAX_URL_LENGTH: Final = 2048
FINGERPRINT_KEY_BYTES: Final = 32  # as long as the hash: RFC 2104, section 3

_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


def _without_card(text: str) -> str:
    if holds_card_number(text):
        raise ValueError("holds a card number")
    return text


def _digits(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("not digits")
    return secret


def _web_address(text: str) -> str:
    """An absolute http(s) URL without credentials, whose origin can stand in a Content-Security-Policy as it is."""
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError("not a URL")
    parts = urlsplit(text)
    has_authority = bool(_HOST.fullmatch(parts.hostname or "")) and "@" not in parts.netloc
    if parts.scheme not in {"http", "https"} or not has_authority or parts.port == 0:
        raise ValueError("not an http(s) URL")
    return text


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH), AfterValidator(_without_card)]
Reference = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT_LENGTH, pattern=r"^[\x21-\x7e]+$"), AfterValidator(_without_card)
]
WebAddress = Annotated[
    str, Field(max_length=MAX_URL_LENGTH), AfterValidator(_web_address), AfterValidator(_without_card)
]


Model = TypeVar("Model", bound=BaseModel)


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class CardInput(_Input):
    """The card as sent. Neither number nor CVC can be printed by accident; name and postal code are not kept."""

    number: Annotated[SecretStr, Field(min_length=12, max_length=19), AfterValidator(_digits)]
    exp_month: Annotated[int, Field(ge=1, le=12)]
    exp_year: Annotated[int, Field(ge=2000, le=2099)]
    cvc: Annotated[SecretStr, Field(min_length=3, max_length=4), AfterValidator(_digits)] | None = None
    cryptogram: Annotated[SecretStr, Field(min_length=3, max_length=64)] | None = (
        None  # then the number is a network token
    )
    eci: Annotated[str, Field(pattern=r"^[0-9]{1,2}$")] | None = None
    name: Text | None = None
    postal_code: Text | None = None


AmountMinor = Annotated[int, Field(ge=1, le=MAX_AMOUNT_MINOR)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
BY_SHOPPER: Final = "shopper"


class BrowserInput(_Input):
    """What 3-D Secure asks of the shopper's browser (EMV 3-D Secure 2.3.1, table A.1). Looked at for its form, and not kept."""

    accept_header: Annotated[str, Field(max_length=2048)]
    user_agent: Annotated[str, Field(max_length=2048)]
    javascript_enabled: bool
    language: Annotated[str, Field(max_length=35)] | None = None
    ip: Annotated[str, Field(max_length=45, pattern=r"^[0-9a-fA-F:.]+$")] | None = None
    java_enabled: bool | None = None
    color_depth: Literal[1, 4, 8, 15, 16, 24, 32, 48] | None = None
    screen_height: Annotated[int, Field(ge=0, le=999_999)] | None = None
    screen_width: Annotated[int, Field(ge=0, le=999_999)] | None = None
    tz: Annotated[int, Field(ge=-900, le=900)] | None = None


class ChargeInput(_Input):
    """The body of ``POST /v1/charges``.

    A charge that the merchant begins names the network's reference of the purchase in which the shopper agreed to it.
    """

    reference: Reference
    amount_minor: AmountMinor
    currency: Currency
    capture: bool = True
    card: CardInput
    merchant: Text
    return_url: WebAddress
    browser: BrowserInput | None = None
    description: Text | None = None
    initiator: Literal["shopper", "merchant_unscheduled", "merchant_recurring"] = BY_SHOPPER
    network_reference: Reference | None = None


class CaptureInput(_Input):
    """The body of ``POST /v1/charges/{id}/captures``. No amount: all that is held. ``final``: let the rest go."""

    reference: Reference
    amount_minor: AmountMinor | None = None
    currency: Currency | None = None
    final: bool = True


class VoidInput(_Input):
    """The body of ``POST /v1/charges/{id}/void``."""

    reference: Reference


class RefundInput(_Input):
    """The body of ``POST /v1/charges/{id}/refunds``. No amount: all that can be refunded."""

    reference: Reference
    amount_minor: AmountMinor | None = None
    currency: Currency | None = None


class ChargeReference(_Input):
    """The body of ``POST /sandbox/expire``: our caller's reference of a charge."""

    reference: Reference


class AmountOfCharge(ChargeReference):
    """The body of ``POST /sandbox/refunds``. No amount: all that can be refunded."""

    amount_minor: AmountMinor | None = None


class DisputeInput(BaseModel):
    """The body of ``POST /sandbox/disputes``. No amount: all that was captured and neither refunded nor disputed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    reference: Reference
    amount_minor: Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT_MINOR)] | None = None
    reason: DisputeReason = DisputeReason.GENERAL


class DisputeMove(BaseModel):
    """The body of ``POST /sandbox/disputes/{id}``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    status: DisputeStatus


class EvidenceInput(_Input):
    """The body of ``POST /v1/disputes/{id}/evidence``. The text is read and not kept."""

    text: Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_without_card)]


class Period(BaseModel):
    """The query of ``GET /v1/reports/settlement``: from the one moment to before the other."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    start: Annotated[datetime, Field(alias="from")]
    end: Annotated[datetime, Field(alias="to")]

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("without an offset from UTC")
        return self

    def milliseconds(self) -> tuple[int, int]:
        """Both moments in milliseconds since the epoch, rounded up: what was made within one is after its first moment."""
        epoch, tick = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
        return -((epoch - self.start) // tick), -((epoch - self.end) // tick)


class FaultMode(StrEnum):
    """What goes wrong with a request."""

    DELAY_BEFORE = "delay_before"
    DELAY_AFTER = "delay_after"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    ERROR_500 = "error_500"
    UNAVAILABLE = "unavailable"


class Operation(StrEnum):
    """Which requests a fault meets."""

    CREATE = "create"
    QUERY = "query"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    QUERY_MODIFICATION = "query_modification"


class FaultInput(BaseModel):
    """The body of ``POST /sandbox/faults``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    mode: FaultMode
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    delay_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0
    operation: Operation = Operation.CREATE


_INPUTS: Final = (
    *(ChargeInput, CardInput, BrowserInput, CaptureInput, VoidInput, RefundInput, FaultInput),
    *(ChargeReference, AmountOfCharge, DisputeInput, DisputeMove, EvidenceInput),
)
_FIELD_NAMES: Final = frozenset({"from", "to"}.union(*(each.model_fields for each in _INPUTS)))


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """A charge that was asked for, without the card's number: what is left once the number is known to be published."""

    reference: str
    amount_minor: int
    currency: str
    merchant: str
    return_url: str
    capture: bool
    initiator: str
    card: PublishedCard
    exp_month: int
    exp_year: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class ModificationOrder:
    """A capture, void or refund that was asked for. ``reference`` is None for one that is the sandbox's own."""

    kind: Kind
    charge_id: str
    reference: str | None
    amount_minor: int | None = None
    currency: str | None = None
    is_final: bool = True
    fingerprint: bytes = b""


def read_charge(body: bytes, fingerprint_key: bytes) -> ChargeOrder:
    """The charge asked for. Raises Refusal: INVALID_REQUEST, or LIVE_CARD_REFUSED for a number that is not published.

    The fingerprint is HMAC-SHA256 over the whole body except the CVC: nothing made from a CVC may outlive the request
    (PCI DSS 4.0.1, 3.3.1), so a retry that has forgotten it is still the same request.
    """
    asked = read(ChargeInput, body)
    number = asked.card.number.get_secret_value()
    card = find(number)
    if card is None:
        raise Refusal(ErrorCode.LIVE_CARD_REFUSED)
    if asked.initiator != BY_SHOPPER and asked.network_reference is None:
        raise Refusal(ErrorCode.INVALID_REQUEST, ("network_reference",))
    content = asked.model_dump(mode="json", exclude={"card": {"number", "cvc", "cryptogram"}})
    # What version 1 of the store did not know stands in the fingerprint only when it says something: old ones still compare.
    for field in ("browser", "initiator", "network_reference"):
        if content[field] == ChargeInput.model_fields[field].default:
            del content[field]
    canonical = json.dumps([number, content], sort_keys=True, separators=(",", ":")).encode()
    return ChargeOrder(
        reference=asked.reference,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        merchant=asked.merchant,
        return_url=asked.return_url,
        capture=asked.capture,
        initiator=asked.initiator,
        card=card,
        exp_month=asked.card.exp_month,
        exp_year=asked.card.exp_year,
        fingerprint=hmac.digest(fingerprint_key, b"body\0" + canonical, hashlib.sha256),
    )


def read_modification(kind: Kind, charge_id: str, body: bytes, fingerprint_key: bytes) -> ModificationOrder:
    """The capture, void or refund asked for; its fingerprint is over kind, charge and body. Raises Refusal."""
    asked = read(_MODIFICATION_INPUTS[kind], body)
    content = asked.model_dump(mode="json")
    canonical = json.dumps([kind.value, charge_id, content], sort_keys=True, separators=(",", ":")).encode()
    return ModificationOrder(
        kind=kind,
        charge_id=charge_id,
        reference=asked.reference,
        amount_minor=content.get("amount_minor"),
        currency=content.get("currency"),
        is_final=content.get("final", True),
        fingerprint=hmac.digest(fingerprint_key, b"modification\0" + canonical, hashlib.sha256),
    )


_MODIFICATION_INPUTS: Final[Mapping[Kind, type[CaptureInput | VoidInput | RefundInput]]] = {
    Kind.CAPTURE: CaptureInput,
    Kind.VOID: VoidInput,
    Kind.REFUND: RefundInput,
}


def read_period(query: Mapping[str, str]) -> tuple[int, int]:
    """From and to of a report, in milliseconds since the epoch. Raises Refusal."""
    return read(Period, json.dumps(dict(query)).encode()).milliseconds()


def read(model: type[Model], body: bytes) -> Model:
    """The body as this model. Raises Refusal with the names of the fields that are wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        places = [
            ".".join(str(part) for part in e["loc"] if part in _FIELD_NAMES)
            for e in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    # Outside the handler: the validation error, which knows the input, is not chained to the refusal.
    raise Refusal(ErrorCode.INVALID_REQUEST, tuple(sorted({place or "the body" for place in places})))


def refusal_object(refusal: Refusal) -> dict[str, Any]:
    """A refusal as the API shows it."""
    return {"error": {"code": refusal.code.value, "message": refusal.message}, "sandbox": True}
