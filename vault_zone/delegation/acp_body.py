"""The body of ACP's delegate_payment, version 2026-04-17, as its JSON Schema has it, without the card.

The schema is the contract. Beyond it, what a token could not be used for is refused: an id that no checkout or merchant of the
zone can have, an amount that is none, an expiry that is over or more than a day away, a card without its date, a network token
without its cryptogram.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from tokenization.money import MAXIMUM_AMOUNT_MINOR, Money, MoneyInvalid
from vault_zone.delegation.identifiers import is_identifier
from vault_zone.delegation.sent_card import FieldNames

CARD_NAMES = FieldNames(month="exp_month", year="exp_year", dates_are_numbers=False)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


def parse_moment(text: str) -> int:
    """RFC 3339 in milliseconds since the epoch, rounded down. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a moment")
    return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)


def _identifier(text: str) -> str:
    if not is_identifier(text):
        raise PydanticCustomError("identifier_form", "not an id of the zone")
    return text


def _currency(text: str) -> str:
    try:
        Money.zero(text.upper())
    except MoneyInvalid:
        raise PydanticCustomError("currency_unknown", "not a currency") from None
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
Metadata = dict[str, str]


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class PaymentMethod(_Closed):
    """What is left of the payment method when the card was taken out. None of it is kept."""

    type: Literal["card"]
    card_number_type: Literal["fpan", "network_token"]
    checks_performed: list[Literal["avs", "cvv", "ani", "auth0"]] = []
    iin: Annotated[str, Field(max_length=8)] = ""
    display_card_funding_type: Literal["credit", "debit", "prepaid"]
    display_wallet_type: str = ""
    display_brand: str = ""
    display_last4: Annotated[str, Field(pattern=r"^[0-9]{4}$")] = "0000"
    metadata: Metadata
    virtual: bool = False


class Allowance(_Closed):
    """What the token may be used for."""

    reason: Literal["one_time"]
    max_amount: Annotated[int, Field(gt=0, le=MAXIMUM_AMOUNT_MINOR)]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$"), AfterValidator(_currency)]
    checkout_session_id: Identifier
    merchant_id: Identifier
    expires_at: str

    @property
    def ceiling(self) -> Money:
        """The most that may be charged."""
        return Money(self.max_amount, self.currency.upper())


class Address(_Closed):
    """The billing address. Of it the postal code alone goes on, for the processor's address check."""

    name: Annotated[str, Field(max_length=256)]
    line_one: Annotated[str, Field(max_length=60)]
    line_two: Annotated[str, Field(max_length=60)] = ""
    city: Annotated[str, Field(max_length=60)]
    state: str
    country: Annotated[str, Field(min_length=2, max_length=2)]
    postal_code: Annotated[str, Field(max_length=20)]


class RiskSignal(_Closed):
    """What the platform thinks of the payment."""

    type: Literal["card_testing"]
    score: int
    action: Literal["blocked", "manual_review", "authorized"]


class DelegatePayment(_Closed):
    """The request, without the card."""

    payment_method: PaymentMethod
    allowance: Allowance
    billing_address: Address = Field(default=None)  # type: ignore[assignment]  # absent, never null
    risk_signals: list[RiskSignal]
    metadata: Metadata
