"""What may be told of a destination's answer (I1): its status, and the fields that the entry allows, without card data.

What must hold:
 1. Only scalar values at allowed pointers are told; names of members come from the list, never from the answer.
 2. If the card's number is anywhere in the answer (status line, headers, body, told or not, in any encoding), nothing of the
    body is told: a destination that gives it back once is not trusted with the rest.
 3. A told value that is the security code, or holds it as a word, or a secret of the zone's, or is card-like text of any
    card, is withheld.
 4. The told values together show no more of the number than truncation may leave (PCI DSS 3.5.1; PCI SSC FAQ 1091).
 5. An answer that is not JSON, is compressed, is too long or cannot be searched in its bounds is withheld whole.
"""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from tokenization.scanner import contains_card, contains_card_in_json
from vault_zone.forward.placeholders import CODE, NUMBER, Parts
from vault_zone.forward.pointer import found_at
from vault_zone.forward.traces import TooManyViews, Traces, digits_of, views_of

Scalar = str | int | bool | None

TEXT_CHARS_MAXIMUM = 2_000
FIELDS_MAXIMUM = 100
_INTEGER_MAXIMUM = 2**53  # RFC 8259, section 6: beyond it peers disagree about the value
_EXPONENT_MAXIMUM = 40  # a whole number that long is no card; 1e999999 must not be written out


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What is told: values by pointer, the pointers withheld, and why nothing of the body was told ("" when it was)."""

    fields: dict[str, Scalar]
    withheld: tuple[str, ...] = ()
    reason: str = ""


class Scrubber:
    """Scrubs the answer to one request that carried one card. Shows nothing of it (I1)."""

    __slots__ = ("_parts", "_secrets", "_traces")

    def __init__(self, parts: Parts, secrets: tuple[str, ...] = ()) -> None:
        self._parts = parts
        self._secrets = secrets  # of the zone's own, which went in headers
        self._traces = Traces(parts.get(NUMBER))

    def __repr__(self) -> str:
        return "Scrubber(****)"

    def scrub(self, head: str, body: bytes | None, allowed: tuple[str, ...], problem: str = "") -> Scrubbed:
        """What may be told of an answer. ``problem``: why the body could not be read, when it could not."""
        try:
            return self._scrubbed(head, body, allowed, problem)
        except TooManyViews:
            return Scrubbed({}, reason="not_searchable")  # (5)

    def _scrubbed(self, head: str, body: bytes | None, allowed: tuple[str, ...], problem: str) -> Scrubbed:
        if self._traces.are_in(head):
            return Scrubbed({}, reason="card_echoed")  # (2)
        if body is None:
            return Scrubbed({}, reason=problem or "not_read")  # (5)
        if any(self._traces.are_in(text) for text in _readings(body)):
            return Scrubbed({}, reason="card_echoed")  # (2)
        if not allowed:
            return Scrubbed({})
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_not_json, object_pairs_hook=_Members)
            written, names = list(_written(document)), list(_names(document))
        except (ValueError, RecursionError, _TooDeep, InvalidOperation):
            return Scrubbed({}, reason="not_json")  # (5)
        if self._is_put_together(written) or self._is_put_together(names):
            return Scrubbed({}, reason="card_echoed")  # (2)
        return self._told(_plain(document), allowed)

    def _told(self, document: Any, allowed: tuple[str, ...]) -> Scrubbed:
        fields: dict[str, Scalar] = {}
        withheld: list[str] = []
        for pointer in allowed:
            for place, value in found_at(document, pointer):
                if len(fields) + len(withheld) >= FIELDS_MAXIMUM:
                    return Scrubbed({}, reason="too_many_fields")
                if _is_scalar(value) and not self._is_sensitive(value):
                    fields[place] = value  # type: ignore[assignment]  # _is_scalar() says so
                else:
                    withheld.append(place)
        texts = [_text(value) for value in fields.values()]
        if self._is_put_together(texts) or self._traces.shown_by(texts) > _digits_allowed(len(self._parts.get(NUMBER))):
            return Scrubbed({}, reason="card_echoed")  # (4)
        if contains_card_in_json(list(fields.values())):
            return Scrubbed({}, reason="card_like")  # (3)
        return Scrubbed(fields, tuple(withheld))

    def _is_put_together(self, texts: list[str]) -> bool:
        """Whether the number comes of values read in a row, in the order of the answer or any other that is at hand."""
        decoded = [_as_text(text) for text in texts]
        orders = (texts, texts[::-1], sorted(texts), decoded, [text[::-1] for text in texts])
        return any(self._traces.are_in("".join(order)) for order in orders)

    def _is_sensitive(self, value: object) -> bool:
        """(3) Whether a value that would be told is or holds the code, or looks like a card of whomever."""
        text = _text(value)
        return self._holds_code(text) or self._holds_secret(text) or contains_card(text)

    def _holds_code(self, text: str) -> bool:
        code = self._parts.optional(CODE)
        if code is None:
            return False
        word = re.compile(rf"(?<![0-9])(?:{code}|{code[::-1]})(?![0-9])")
        views = [*_texts(text), _as_text(text)]
        return any(word.search(view) or digits_of(view) in (code, code[::-1]) for view in views)

    def _holds_secret(self, text: str) -> bool:
        return any(secret in view for secret in self._secrets for view in _texts(text))


def _texts(text: str) -> Iterator[str]:
    return (view for view, is_text in views_of(text) if is_text)


def _digits_allowed(length: int) -> int:
    """How many digits truncation may leave: FAQ 1091, first eight and four more of sixteen, ten of a shorter number."""
    return 12 if length >= 16 else 10


class _TooDeep(Exception):
    """The document is deeper than any processor's answer."""


class _Members(list[tuple[str, Any]]):
    """An object as its members in order, with names that stand twice."""


def _readings(body: bytes) -> Iterator[str]:
    """The body as text in each character encoding that it may be in; Latin-1 always gives one."""
    seen = body.decode("latin-1")
    yield seen
    if body.isascii() and b"+" not in body and b"\0" not in body:
        return  # every encoding that has no zero bytes and no shifts reads the same
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-7"):
        try:
            text = body.decode(encoding)
        except ValueError:
            continue
        if text != seen:
            yield text


def _not_json(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _written(value: Any, depth: int = 0) -> Iterator[str]:
    """Every leaf as the digits and letters it stands for, names of members left out: 4.2E+15 is written in full."""
    if depth > 60:
        raise _TooDeep
    if isinstance(value, _Members):
        for _, one in value:
            yield from _written(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _written(one, depth + 1)
    elif isinstance(value, Decimal):
        small = value.is_finite() and abs(value.adjusted()) < _EXPONENT_MAXIMUM
        yield f"{value:f}" if small else ""
    else:
        yield _text(value)


def _names(value: Any) -> Iterator[str]:
    """Every name of a member, for a number that is split over names. The depth was bounded by _written()."""
    if isinstance(value, _Members):
        for name, one in value:
            yield name
            yield from _names(one)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)


def _plain(value: Any) -> Any:
    """The document with ordinary objects, and numbers with a point as text; of members with one name, the last counts."""
    if isinstance(value, _Members):
        return {name: _plain(one) for name, one in value}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Decimal) else value


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= TEXT_CHARS_MAXIMUM
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < _INTEGER_MAXIMUM)


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None or isinstance(value, bool) else str(value)


def _as_text(text: str) -> str:
    """A short text undone of base64 or hexadecimal, for a number that is split first and encoded afterwards."""
    if not 2 <= len(text) <= 24:
        return text
    with contextlib.suppress(ValueError):
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    try:
        return bytes.fromhex(text).decode("ascii")
    except ValueError:
        return text
