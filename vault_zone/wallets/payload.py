"""A wallet's decrypted payment data: the card out of it first, then the rest of it checked.

Shapes: Apple Pay, payment token format reference, "decrypted payment data"; Google Pay, payment data cryptography,
"encrypted message" (``PAN_ONLY``, ``CRYPTOGRAM_3DS``). What is encrypted is not taken here: the zone holds no wallet's key.

What holds:
 1. Number, date, name, cryptogram and indicator leave the parsed body before anything else looks at it, and go into the types
    of ``vault_zone.card``.
 2. A network token comes with its cryptogram; a card's own number (``PAN_ONLY``) comes without. No security code is taken.
 3. Where the wallet says for what the shopper agreed (Apple: amount and currency) or until when (Google: its expiration), more
    is refused.
 4. A refusal names field and rule, never a value.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tokenization.clock import as_datetime
from tokenization.money import MAXIMUM_AMOUNT_MINOR, Money
from vault_zone.card import Cvc
from vault_zone.delegation.sent_card import FieldNames, FieldRefused, SentCard, take_card
from vault_zone.errors import ZoneError, ZoneRefusal

APPLE_PAY: Final = "apple_pay"
GOOGLE_PAY: Final = "google_pay"
_APPLE_NAMES: Final = FieldNames(
    number="applicationPrimaryAccountNumber",
    month="applicationExpirationDate.month",  # as it is taken apart here: YYMMDD
    year="applicationExpirationDate.year",
    name="cardholderName",
    cryptogram="onlinePaymentCryptogram",
    indicator="eciIndicator",
    dates_are_numbers=False,
)
_GOOGLE_NAMES: Final = FieldNames(
    number="pan", month="expirationMonth", year="expirationYear", indicator="eciIndicator", dates_are_numbers=True
)
_YEAR_MONTH_DAY: Final = 6  # Apple's date is YYMMDD
# ISO 4217, numeric codes: Apple names currencies by them.
_NUMERIC: Final = {
    "AED": "784",
    "ARS": "032",
    "AUD": "036",
    "BHD": "048",
    "BRL": "986",
    "CAD": "124",
    "CHF": "756",
    "CLP": "152",
    "CNY": "156",
    "COP": "170",
    "CZK": "203",
    "DKK": "208",
    "EGP": "818",
    "EUR": "978",
    "GBP": "826",
    "HKD": "344",
    "HUF": "348",
    "IDR": "360",
    "ILS": "376",
    "INR": "356",
    "ISK": "352",
    "JOD": "400",
    "JPY": "392",
    "KRW": "410",
    "KWD": "414",
    "KZT": "398",
    "MAD": "504",
    "MXN": "484",
    "MYR": "458",
    "NOK": "578",
    "NZD": "554",
    "OMR": "512",
    "PEN": "604",
    "PHP": "608",
    "PLN": "985",
    "QAR": "634",
    "RON": "946",
    "SAR": "682",
    "SEK": "752",
    "SGD": "702",
    "THB": "764",
    "TRY": "949",
    "TWD": "901",
    "UAH": "980",
    "USD": "840",
    "VND": "704",
    "ZAR": "710",
}


class WalletCard(NamedTuple):
    """The card with its proof, and until when the wallet lets it be used (milliseconds; None: it does not say)."""

    sent: SentCard
    expires_ms: int | None


class _Rest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


_R = TypeVar("_R", bound=_Rest)


class _AppleRest(_Rest):
    """What is left of Apple's payload. ``EMV`` (chip data, China) is not taken."""

    currencyCode: Annotated[str, Field(pattern=r"^[0-9]{3}$")]  # noqa: N815  # Apple's name
    transactionAmount: Annotated[int, Field(gt=0, le=MAXIMUM_AMOUNT_MINOR)]  # noqa: N815
    paymentDataType: Literal["3DSecure"]  # noqa: N815
    deviceManufacturerIdentifier: Annotated[str, Field(max_length=40)] = ""  # noqa: N815


class _Assurance(_Rest):
    accountVerified: bool = False  # noqa: N815  # Google's name
    cardHolderAuthenticated: bool = False  # noqa: N815


class _GoogleDetails(_Rest):
    authMethod: Literal["PAN_ONLY", "CRYPTOGRAM_3DS"]  # noqa: N815
    assuranceDetails: _Assurance | None = None  # noqa: N815


class _GoogleRest(_Rest):
    """What is left of Google's payload."""

    gatewayMerchantId: Annotated[str, Field(max_length=200)] = ""  # noqa: N815
    messageExpiration: Annotated[str, Field(pattern=r"^[0-9]{1,15}$")]  # noqa: N815  # milliseconds since 1970, UTC
    messageId: Annotated[str, Field(min_length=1, max_length=200)]  # noqa: N815
    paymentMethod: Literal["CARD"]  # noqa: N815
    paymentMethodDetails: _GoogleDetails  # noqa: N815


class WalletRefused(ZoneRefusal):
    """The payload is not taken; ``broken`` names the field and the rule."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(ZoneError.WALLET_TOKEN_REFUSED, (f"payment.{name}: {rule}",))


def read_payload(wallet: str, payload: dict[str, Any], ceiling: Money, now_ms: int) -> WalletCard:
    """The card of a wallet's payload, for at most ``ceiling``. Takes it out of ``payload`` (1). Raises WalletRefused."""
    read = _read_apple if wallet == APPLE_PAY else _read_google
    return read(payload, ceiling, now_ms)


def _read_apple(payload: dict[str, Any], ceiling: Money, now_ms: int) -> WalletCard:
    data = payload.pop("paymentData", None)
    fields = {name: payload.pop(name) for name in _APPLE_NAMES.fields() if name in payload}
    if isinstance(data, dict):
        fields |= {name: data.pop(name) for name in ("onlinePaymentCryptogram", "eciIndicator") if name in data}
    fields |= _apple_date(payload)
    sent = _taken(fields, _APPLE_NAMES, is_network_token=True, now=as_datetime(now_ms))
    rest = _checked(_AppleRest, payload)
    if data != {}:  # (2) what is left of it, or none of it
        raise WalletRefused("paymentData", "missing" if data is None else "not_of_3d_secure")
    if _NUMERIC.get(ceiling.currency) != rest.currencyCode:  # (3)
        raise WalletRefused("currencyCode", "another_currency")
    if ceiling.amount_minor > rest.transactionAmount:  # (3)
        raise WalletRefused("transactionAmount", "less_than_amount_minor")
    return WalletCard(sent, None)


def _apple_date(payload: dict[str, Any]) -> dict[str, str]:
    """Month and year of YYMMDD, as take_card() reads them."""
    date = payload.pop("applicationExpirationDate", None)
    if not (isinstance(date, str) and len(date) == _YEAR_MONTH_DAY and date.isascii() and date.isdecimal()):
        raise WalletRefused("applicationExpirationDate", "missing" if date is None else "not_yymmdd")
    return {_APPLE_NAMES.year: date[:2], _APPLE_NAMES.month: date[2:4]}


def _read_google(payload: dict[str, Any], ceiling: Money, now_ms: int) -> WalletCard:
    del ceiling  # Google's payload names no amount
    details = payload.get("paymentMethodDetails")
    fields: dict[str, Any] = {}
    is_token = False
    if isinstance(details, dict):
        fields = {name: details.pop(name) for name in _GOOGLE_NAMES.fields() if name in details}
        is_token = details.get("authMethod") == "CRYPTOGRAM_3DS"
    sent = _taken(fields, _GOOGLE_NAMES, is_network_token=is_token, now=as_datetime(now_ms))
    rest = _checked(_GoogleRest, payload)
    expires_ms = int(rest.messageExpiration)
    if expires_ms <= now_ms:  # (3)
        raise WalletRefused("messageExpiration", "past")
    return WalletCard(sent, expires_ms)


def _taken(fields: dict[str, Any], names: FieldNames, *, is_network_token: bool, now: datetime) -> SentCard:
    try:
        sent = take_card(fields, names, is_network_token=is_network_token, postal_code=None, now=now)
    except FieldRefused as refused:
        raise WalletRefused(refused.name, refused.code) from None
    finally:
        fields.clear()  # nothing of the card stays where a traceback could show it
    if isinstance(sent.proof, Cvc):  # (2)
        raise WalletRefused(names.code, "not_of_a_wallet")
    return sent


def _checked(model: type[_R], payload: dict[str, Any]) -> _R:
    try:
        return model.model_validate(payload)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
    known = {name for each in (_AppleRest, _GoogleRest, _GoogleDetails, _Assurance) for name in each.model_fields}
    place = (
        ".".join(str(part) for part in first["loc"] if part in known) or "field"
    )  # a name that we do not know is a value
    raise WalletRefused(place, first["type"])
