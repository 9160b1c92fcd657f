"""A card in a platform's JSON, taken out before anything else reads the body.

What holds:
 1. Number, date, name, security code and cryptogram leave the parsed body here, and go into the types of ``vault_zone.card``.
 2. A refusal names the field and the rule, never the value.
 3. A request brings one proof at most: a security code with a card's number, a cryptogram with a network token.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from vault_zone.card import (
    Card,
    CardField,
    CardholderName,
    CardInvalid,
    Cryptogram,
    Cvc,
    Expiry,
    Pan,
    PostalCode,
)
from vault_zone.vault import CARD, NETWORK_TOKEN

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class BodyRefused(ValueError):
    """The body is not JSON of the form that is taken."""


class FieldRefused(ValueError):
    """A field of the card was refused. ``name`` is the protocol's name of it; ``code`` says which rule it broke."""

    def __init__(self, name: str, code: str) -> None:
        super().__init__(f"{name}: {code}")
        self.name = name
        self.code = code


class FieldNames(NamedTuple):
    """What a protocol calls the fields of a card, and whether it writes month and year as numbers or as text."""

    number: str = "number"
    month: str = "expiry_month"
    year: str = "expiry_year"
    name: str = "name"
    code: str = "cvc"
    cryptogram: str = "cryptogram"
    indicator: str = "eci_value"
    dates_are_numbers: bool = True

    def fields(self) -> tuple[str, ...]:
        """The names alone."""
        return (self.number, self.month, self.year, self.name, self.code, self.cryptogram, self.indicator)


class SentCard(NamedTuple):
    """The card, its proof if it brought one, and whether the number is a network token's."""

    card: Card
    proof: Cvc | Cryptogram | None
    kind: str


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in the body; ``1.0`` is 1. Raises BodyRefused: not UTF-8, not an object, a name twice, not a number."""
    try:
        parsed = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_float=_number, parse_constant=_not_a_number
        )
    except (ValueError, RecursionError):
        raise BodyRefused from None
    if not isinstance(parsed, dict):
        raise BodyRefused
    return parsed


def canonical(content: Mapping[str, Any]) -> bytes:
    """The content as RFC 8785 writes it, for names without characters outside the Basic Multilingual Plane and integers.

    Python sorts by code point and RFC 8785 by UTF-16 unit: with other names a signature does not verify. Raises BodyRefused.
    """
    try:
        return _CANONICAL.encode(content).encode("utf-8")
    except (ValueError, RecursionError):
        raise BodyRefused from None


def without_proof(content: Mapping[str, Any], holder: str, names: FieldNames) -> dict[str, Any]:
    """The content with only whether there was a security code or a cryptogram: what a fingerprint may be made of."""
    card = content.get(holder)
    if not isinstance(card, dict):
        return dict(content)
    shown = {name: True if name in (names.code, names.cryptogram) else value for name, value in card.items()}
    return {**content, holder: shown}


def take_card(
    fields: dict[str, Any], names: FieldNames, *, is_network_token: bool, postal_code: object, now: datetime
) -> SentCard:
    """Takes the card's fields out of the object (1). Raises FieldRefused."""
    number = _take_text(fields, names.number)
    take_date = _take_number if names.dates_are_numbers else _take_text
    month, year = take_date(fields, names.month), take_date(fields, names.year)
    name, code = _take_text(fields, names.name), _take_text(fields, names.code)
    cryptogram, indicator = _take_text(fields, names.cryptogram), _take_text(fields, names.indicator)
    try:
        if is_network_token and code is not None:  # (3)
            raise FieldRefused(names.code, "not_with_a_network_token")
        if not is_network_token and cryptogram is not None:  # (3)
            raise FieldRefused(names.cryptogram, "not_with_a_card_number")
        if month is None or year is None:
            raise FieldRefused(names.month if month is None else names.year, "missing")
        pan = Pan.parse(number or "")
        proof: Cvc | Cryptogram | None = None
        if is_network_token:
            proof = Cryptogram.parse(cryptogram or "", indicator)
        elif code is not None:
            proof = Cvc.parse(code, pan.brand)
        card = Card(
            pan=pan,
            expiry=Expiry.parse(f"{month}/{year}", now),
            name=CardholderName.parse(name) if name and name.strip() else None,
            postal_code=_postal_code(postal_code),
        )
    except CardInvalid as invalid:
        raise FieldRefused(_name_of(invalid.field, names), invalid.code.value) from None
    finally:
        del number, code, cryptogram, name  # nothing of the card stays in this frame for a traceback to show
    return SentCard(card, proof, NETWORK_TOKEN if is_network_token else CARD)


def _take_text(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields.pop(name)
    if not isinstance(value, str):
        del value
        raise FieldRefused(name, "not_text")
    return value


def _take_number(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields.pop(name)
    if type(value) is not int:
        del value
        raise FieldRefused(name, "not_an_integer")
    return f"{value:02d}"


def _postal_code(text: object) -> PostalCode | None:
    """For the processor's address check; one that no processor would take is left out."""
    if not isinstance(text, str):
        return None
    try:
        return PostalCode.parse(text)
    except CardInvalid:
        return None


def _name_of(field: CardField, names: FieldNames) -> str:
    return {
        CardField.NUMBER: names.number,
        CardField.EXPIRY: names.year,
        CardField.CVC: names.code,
        CardField.NAME: names.name,
        CardField.CRYPTOGRAM: names.cryptogram,
    }.get(field, names.number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BodyRefused
    return made


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _not_a_number(_: str) -> float:
    raise BodyRefused
