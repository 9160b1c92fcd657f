"""Placeholders in a request, and their filling with a card.

What must hold:
 1. A placeholder is a whole string value at a place that the entry names, and the one that the entry allows there.
 2. Two braces in a row anywhere else (in a name, within a text, in a header) are refused: there is no other templating.
 3. A request without a placeholder for the number is refused: it would be a way out of the zone with no need of a card.
 4. A part that the card does not have, or a code that is gone, is refused: an empty value is never sent in its stead.
 5. Filled bytes exist in memory, for one call.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tokenization.money import Money, MoneyInvalid
from vault_zone.card import Card, Cvc, Exposure
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import Destination, Placement
from vault_zone.forward.pointer import Steps, found_at, text_of

NUMBER, CODE = "card.number", "card.cvc"
_PLACEHOLDER = re.compile(r"\{\{(card\.[a-z0-9_]{1,20})\}\}")
_DEPTH_MAXIMUM = 12
_LEAVES_MAXIMUM = 500
_MINOR = re.compile(r"[0-9]{1,12}")


class Parts:
    """The parts of one card by placeholder, read when they are needed. Holds the card's own types, which show nothing (I1)."""

    __slots__ = ("_card", "_code")

    def __init__(self, card: Card, code: Cvc | None) -> None:
        self._card = card
        self._code = code

    def get(self, name: str) -> str:
        """The part. Raises ZoneRefusal: SECURITY_CODE_GONE, PLACEHOLDER_EMPTY (4)."""
        value = self.optional(name)
        if not value:
            raise ZoneRefusal(ZoneError.SECURITY_CODE_GONE if name == CODE else ZoneError.PLACEHOLDER_EMPTY)
        return value

    def optional(self, name: str) -> str | None:
        """The part as processors take it, months and short years with two digits; None for one that the card lacks."""
        if name.startswith("card.exp_"):
            month, year = self._card.expiry.expose(Exposure.PROCESSOR)
            return {"card.exp_month": f"{month:02d}", "card.exp_year": f"{year:04d}"}.get(name, f"{year % 100:02d}")
        held = {
            NUMBER: self._card.pan,
            CODE: self._code,
            "card.name": self._card.name,
            "card.postal_code": self._card.postal_code,
        }[name]
        return None if held is None else held.expose(Exposure.PROCESSOR)


class Template:
    """A request body that was checked against its destination's entry, with its placeholders still in it."""

    def __init__(self, body: Mapping[str, Any], destination: Destination) -> None:
        """Raises ZoneRefusal: PLACEHOLDER_REFUSED, FORWARD_REQUEST_REFUSED."""
        self._body = body
        self._destination = destination
        self._placed = destination.placed
        self.used = frozenset(self._placeholder(leaf, steps) for steps, leaf in _leaves(body)) - {""}
        if NUMBER not in self.used:
            raise ZoneRefusal(ZoneError.PLACEHOLDER_REFUSED)  # (3)
        if destination.body == "form" and not all(isinstance(value, str) for value in body.values()):
            raise ZoneRefusal(ZoneError.FORWARD_REQUEST_REFUSED)

    @property
    def needs_code(self) -> bool:
        """Whether the request carries the security code."""
        return CODE in self.used

    def amount(self) -> Money | None:
        """What the request moves, from the fields that the entry names. Raises ZoneRefusal: FORWARD_AMOUNT_REFUSED."""
        if self._destination.amount_at is None or self._destination.currency_at is None:
            return None
        amount, currency = self._one(self._destination.amount_at), self._one(self._destination.currency_at)
        if isinstance(amount, str) and _MINOR.fullmatch(amount):
            amount = int(amount)
        if type(amount) is not int or amount <= 0 or not isinstance(currency, str):
            raise ZoneRefusal(ZoneError.FORWARD_AMOUNT_REFUSED)
        try:
            return Money(amount, currency.upper())
        except MoneyInvalid:
            raise ZoneRefusal(ZoneError.FORWARD_AMOUNT_REFUSED) from None

    def fill(self, parts: Parts) -> bytes:
        """The body's bytes with the card in them (5). Raises ZoneRefusal (4)."""
        filled = self._filled(self._body, (), parts)
        if self._destination.body == "form":
            return urlencode(filled).encode()
        return json.dumps(filled, allow_nan=False).encode()

    def _filled(self, value: Any, steps: Steps, parts: Parts) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(one, (*steps, name), parts) for name, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one, (*steps, index), parts) for index, one in enumerate(value)]
        name = self._placeholder(value, steps)
        if not name:
            return value
        part = parts.get(name)
        return int(part) if self._placed[text_of(steps)].as_number else part

    def _placeholder(self, leaf: object, steps: Steps) -> str:
        """The placeholder that the leaf is, or "" for one that is an ordinary value (1) (2)."""
        if not isinstance(leaf, str) or not _has_braces(leaf):
            return ""
        matched = _PLACEHOLDER.fullmatch(leaf)
        allowed: Placement | None = self._placed.get(text_of(steps))
        if matched is None or allowed is None or allowed.holds != matched[1]:
            raise ZoneRefusal(ZoneError.PLACEHOLDER_REFUSED)
        return matched[1]

    def _one(self, pointer: str) -> object:
        return next((value for _, value in found_at(self._body, pointer)), None)


def _has_braces(text: str) -> bool:
    return "{{" in text or "}}" in text


def _leaves(body: Mapping[str, Any]) -> list[tuple[Steps, object]]:
    leaves: list[tuple[Steps, object]] = []
    for leaf in _walk(body, ()):
        leaves.append(leaf)
        if len(leaves) > _LEAVES_MAXIMUM:
            raise ZoneRefusal(ZoneError.FORWARD_REQUEST_REFUSED)
    return leaves


def _walk(value: Any, steps: Steps) -> Iterator[tuple[Steps, object]]:
    if len(steps) > _DEPTH_MAXIMUM or (isinstance(value, float) and not math.isfinite(value)):
        raise ZoneRefusal(ZoneError.FORWARD_REQUEST_REFUSED)
    if isinstance(value, Mapping):
        if any(_has_braces(name) for name in value):
            raise ZoneRefusal(ZoneError.PLACEHOLDER_REFUSED)  # (2)
        for name, one in value.items():
            yield from _walk(one, (*steps, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _walk(one, (*steps, index))
    else:
        yield steps, value
