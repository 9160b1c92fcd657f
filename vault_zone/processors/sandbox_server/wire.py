"""What comes in and goes out of the sandbox as JSON. A card number is read here, and goes no further."""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from vault_zone.processors.sandbox_server.cards import PublishedCard, find, holds_card_number
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal

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
    """The body of ``POST /v1/charges``."""

    reference: Reference
    amount_minor: Annotated[int, Field(ge=1, le=MAX_AMOUNT_MINOR)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    capture: Literal[True] = True
    card: CardInput
    merchant: Text
    return_url: WebAddress
    browser: BrowserInput | None = None
    description: Text | None = None


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


class FaultInput(BaseModel):
    """The body of ``POST /sandbox/faults``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    mode: FaultMode
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    delay_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0
    operation: Operation = Operation.CREATE


_FIELD_NAMES: Final = frozenset().union(
    *(model.model_fields for model in (ChargeInput, CardInput, BrowserInput, FaultInput))
)


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """A charge that was asked for, without the card's number: what is left once the number is known to be published."""

    reference: str
    amount_minor: int
    currency: str
    merchant: str
    return_url: str
    card: PublishedCard
    exp_month: int
    exp_year: int
    fingerprint: bytes


class Status(StrEnum):
    """The state of a charge; the first two are final."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as it is kept. Of the card: brand and last four. ``created_at`` is milliseconds since the epoch, UTC."""

    id: str
    reference: str
    status: Status
    amount_minor: int
    currency: str
    decline_code: str | None
    brand: str
    last4: str
    merchant: str
    return_url: str
    challenge_id: str | None
    decline_code_after_challenge: str | None
    network_reference: str
    created_at: int


def read_charge(body: bytes, fingerprint_key: bytes) -> ChargeOrder:
    """The charge asked for. Raises Refusal: INVALID_REQUEST, or LIVE_CARD_REFUSED for a number that is not published.

    The fingerprint is HMAC-SHA256 over the whole body except the CVC: nothing made from a CVC may outlive the request
    (PCI DSS 4.0.1, 3.3.1), so a retry that has forgotten it is still the same request.
    """
    asked = _validated(ChargeInput, body)
    number = asked.card.number.get_secret_value()
    card = find(number)
    if card is None:
        raise Refusal(ErrorCode.LIVE_CARD_REFUSED)
    content = asked.model_dump(mode="json", exclude={"card": {"number", "cvc", "cryptogram"}})
    canonical = json.dumps([number, content], sort_keys=True, separators=(",", ":")).encode()
    return ChargeOrder(
        reference=asked.reference,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        merchant=asked.merchant,
        return_url=asked.return_url,
        card=card,
        exp_month=asked.card.exp_month,
        exp_year=asked.card.exp_year,
        fingerprint=hmac.digest(fingerprint_key, b"body\0" + canonical, hashlib.sha256),
    )


def read_fault(body: bytes) -> FaultInput:
    """The fault asked for. Raises Refusal."""
    return _validated(FaultInput, body)


def _validated(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        places = [
            ".".join(str(part) for part in e["loc"] if part in _FIELD_NAMES)
            for e in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    # Outside the handler: the validation error, which knows the input, is not chained to the refusal.
    raise Refusal(ErrorCode.INVALID_REQUEST, tuple(sorted({place or "the body" for place in places})))


def charge_object(charge: Charge, public_url: str) -> dict[str, Any]:
    """The charge as the API shows it."""
    shown: dict[str, Any] = {
        "id": charge.id,
        "object": "charge",
        "reference": charge.reference,
        "status": charge.status.value,
        "amount_minor": charge.amount_minor,
        "currency": charge.currency,
        "card": {"brand": charge.brand, "last4": charge.last4},
        "network_reference": charge.network_reference,
        "created_at": as_text(charge.created_at),
        "sandbox": True,
    }
    if charge.decline_code is not None:
        shown["decline_code"] = charge.decline_code
    if charge.status is Status.REQUIRES_ACTION:
        shown["action"] = {"type": "redirect", "url": f"{public_url}/acs/{charge.challenge_id}"}
    return shown


def refusal_object(refusal: Refusal) -> dict[str, Any]:
    """A refusal as the API shows it."""
    return {"error": {"code": refusal.code.value, "message": refusal.message}, "sandbox": True}


def as_text(milliseconds: int) -> str:
    """RFC 3339 in UTC: ``2026-11-22T09:30:00.000Z``."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
