"""The card form as it arrives: a bounded body becomes fields, and fields become a card or messages for the shopper."""

import enum
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from vault_zone.card import (
    BRAND_RULES,
    CapturedCard,
    Card,
    CardField,
    CardholderName,
    CardInvalid,
    CardProblem,
    Cvc,
    Expiry,
    Pan,
    PostalCode,
)

BODY_MAX_BYTES = 4096  # five fields of 80 characters, each of up to four bytes written as %XX, fit
BODY_MAX_FIELDS = 16  # five of ours, and room for what a browser extension adds

Locale = Literal["en"]
_T = TypeVar("_T")
SAVE_CARD_FIELD = "save_card"
CONSENT_WORDINGS: Mapping[str, Mapping[Locale, str]] = {
    "save-card-a": {"en": "Save this card for my next purchases here. I can have it deleted at any time."},
}
"""What a shopper agrees to, by the id that the consent names. A wording is never changed: another one gets another id."""
CURRENT_WORDING = "save-card-a"

_BRANDS = ", ".join(rule.title for rule in BRAND_RULES[:-1]) + f" or {BRAND_RULES[-1].title}"

MESSAGES: Mapping[Locale, Mapping[CardField, Mapping[CardProblem, str]]] = {
    "en": {
        CardField.NUMBER: {
            CardProblem.MISSING: "Enter your card number.",
            CardProblem.NOT_DIGITS: "Use only digits for the card number. Spaces are fine.",
            CardProblem.WRONG_LENGTH: "This card number is too short or too long. Check it against your card.",
            CardProblem.FAILED_CHECK: "This card number has a typing mistake. Check each digit against your card.",
            CardProblem.BRAND_UNKNOWN: f"This kind of card is not accepted. Use {_BRANDS}.",
        },
        CardField.EXPIRY: {
            CardProblem.MISSING: "Enter the expiry date on your card.",
            CardProblem.WRONG_FORM: "Enter the expiry date as month and year: MM / YY.",
            CardProblem.MONTH_INVALID: "Check the month: it goes from 01 to 12.",
            CardProblem.PAST: "This card has expired. Check the date or use another card.",
            CardProblem.TOO_FAR: "Check the year: it is more than 20 years ahead.",
        },
        CardField.CVC: {
            CardProblem.MISSING: "Enter the security code on your card.",
            CardProblem.NOT_DIGITS: "Use only digits for the security code.",
            CardProblem.WRONG_LENGTH: "Enter all 3 digits of the security code, or 4 for American Express.",
            CardProblem.THREE_DIGITS: "Enter the 3 digits on the back of your card.",
            CardProblem.FOUR_DIGITS: "Enter the 4 digits on the front of your card.",
        },
        CardField.NAME: {
            CardProblem.MISSING: "Enter the name on your card.",
            CardProblem.TOO_LONG: "Shorten the name to 80 characters.",
            CardProblem.CARD_LIKE: "Enter your name here, without a card number.",
            CardProblem.WRONG_CHARACTERS: "Enter the name in letters, as it is on your card.",
        },
        CardField.POSTAL_CODE: {
            CardProblem.MISSING: "Enter your billing postal code, or 00 if you have none.",
            CardProblem.WRONG_FORM: "Use 2 to 12 letters, digits, spaces or dashes for the postal code.",
        },
    }
}
"""Every message says how to mend the field. A locale is a further row; the page's script reads the same rows."""


class FieldError(NamedTuple):
    """One field's error as it is shown."""

    field: CardField
    code: CardProblem
    message: str


@dataclass(frozen=True, slots=True)
class FormErrors:
    """What is wrong with which fields, by code. Holds no value that was typed."""

    codes: Mapping[CardField, CardProblem]

    def __post_init__(self) -> None:
        in_order = {field: self.codes[field] for field in CardField if field in self.codes}
        object.__setattr__(self, "codes", MappingProxyType(in_order))

    def shown(self, locale: Locale = "en") -> Iterator[FieldError]:
        """The errors with their messages, in the order of the page."""
        for field, code in self.codes.items():
            yield FieldError(field, code, MESSAGES[locale][field][code])


@dataclass(frozen=True, slots=True)
class SafeValues:
    """What was typed as name and postal code and may be shown again; empty where it may not. Never logged."""

    name: str = ""
    postal_code: str = ""

    def __repr__(self) -> str:
        return "SafeValues(****)"


class FormFault(enum.StrEnum):
    """Why a body was refused. Browsers send none of these by themselves."""

    TOO_LARGE = "too_large"
    TOO_MANY_FIELDS = "too_many_fields"
    DUPLICATE_FIELD = "duplicate_field"
    BAD_ENCODING = "bad_encoding"


class FormRefused(ValueError):
    """A body is no form of ours. The caller answers 400; `code` says why, and nothing of the body is kept."""

    def __init__(self, code: FormFault) -> None:
        super().__init__(code.value)
        self.code = code


def parse_form_body(body: bytes) -> dict[str, str]:
    """The fields of an application/x-www-form-urlencoded body (WHATWG URL, section 5.1).

    At most 4,096 bytes and 16 fields, UTF-8, no name twice; otherwise raises FormRefused.
    """
    fields = _decoded(body)
    del body
    if isinstance(fields, FormFault):  # raised here, where no local and no context holds the body
        raise FormRefused(fields)
    return fields


def _decoded(body: bytes) -> dict[str, str] | FormFault:
    if len(body) > BODY_MAX_BYTES:
        return FormFault.TOO_LARGE
    pairs = [pair.partition(b"=") for pair in body.split(b"&") if pair]
    if len(pairs) > BODY_MAX_FIELDS:
        return FormFault.TOO_MANY_FIELDS
    try:
        decoded = [(_text(name), _text(value)) for name, _, value in pairs]
    except UnicodeDecodeError:
        return FormFault.BAD_ENCODING
    fields = dict(decoded)
    return fields if len(fields) == len(decoded) else FormFault.DUPLICATE_FIELD


def _text(encoded: bytes) -> str:
    return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8")


def parse_capture_form(fields: Mapping[str, str], now: datetime) -> CapturedCard | FormErrors:
    """The card in `fields` (number, expiry, cvc, name, postal_code; others are ignored), or what is wrong with it.

    `now` is aware. Never raises for what a shopper typed.
    """
    faults: dict[CardField, CardProblem] = {}

    def read(field: CardField, parse: Callable[[str], _T]) -> _T | None:
        try:
            return parse(fields.get(field.value, ""))
        except CardInvalid as refusal:
            faults[field] = refusal.code
            return None

    pan = read(CardField.NUMBER, Pan.parse)
    expiry = read(CardField.EXPIRY, lambda text: Expiry.parse(text, now))
    cvc = read(CardField.CVC, lambda text: Cvc.parse(text, pan.brand if pan else None))
    name = read(CardField.NAME, CardholderName.parse)
    postal_code = read(CardField.POSTAL_CODE, PostalCode.parse)
    if pan is None or expiry is None or cvc is None or name is None or postal_code is None:
        return FormErrors(faults)
    return CapturedCard(card=Card(pan=pan, expiry=expiry, name=name, postal_code=postal_code), cvc=cvc)


def agreed_wording(fields: Mapping[str, str]) -> str | None:
    """The id of the wording that the shopper agreed to by ticking it, or None. A box that is not ticked is not sent."""
    wording = fields.get(SAVE_CARD_FIELD)
    return wording if wording in CONSENT_WORDINGS else None


def safe_values(fields: Mapping[str, str]) -> SafeValues:
    """The name and postal code to show again after a refusal. What must hold of each value shown:

    1. It is valid, so it holds too few digits for a card number.
    2. It holds neither the number nor the security code that came with it.
    """
    secrets = [_digits(fields.get(field.value, "")) for field in (CardField.NUMBER, CardField.CVC)]

    def shown(field: CardField, parse: Callable[[str], object]) -> str:
        value = fields.get(field.value, "").strip()
        try:
            parse(value)  # (1)
        except CardInvalid:
            return ""
        return "" if any(secret in _digits(value) for secret in secrets if secret) else value  # (2)

    return SafeValues(
        name=shown(CardField.NAME, CardholderName.parse),
        postal_code=shown(CardField.POSTAL_CODE, PostalCode.parse),
    )


def _digits(text: str) -> str:
    return "".join(str(unicodedata.digit(char)) for char in text if char.isdigit())
