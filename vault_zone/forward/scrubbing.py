"""What may be told of a destination's answer (I1): its status, and the fields that the entry allows, without card data.

What must hold:
 1. Only scalar values at allowed pointers are told; names of members come from the list, never from the answer.
 2. A told value that is or holds the number in any encoding, the security code, a secret of the zone's, or card-like text of
    any card is withheld.
 3. What is told depends on told values alone, and never on what the caller wrote itself: a value that repeats the caller's
    words is withheld whatever they say. Else a caller could have guesses repeated to it and learn which of them is the card.
 4. The told values together show no more of the number than truncation may leave (PCI DSS 3.5.1; PCI SSC FAQ 1091).
 5. An answer that is not JSON, is compressed, is too long or cannot be searched in its bounds is withheld whole.
 6. That the number is anywhere in the answer (status line, headers, body, told or not) is for the zone's record, not for the
    caller; the search for it goes to its end whatever it finds.
"""

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from tokenization.scanner import contains_card, contains_card_in_json
from vault_zone.forward.placeholders import CODE, NUMBER, Parts
from vault_zone.forward.pointer import found_at
from vault_zone.forward.traces import TooManyViews, Traces, digits_of, views_of

Scalar = str | int | bool | None

TEXT_CHARS_MAXIMUM = 2_000
FIELDS_MAXIMUM = 100
_OWN_CHARS_MINIMUM = 3  # a security code has three digits
_OWN_CHARS_LONG = 16  # a digest or an encoded number without any digit is at least that long
_INTEGER_MAXIMUM = 2**53  # RFC 8259, section 6: beyond it peers disagree about the value
_EXPONENT_MAXIMUM = 40  # a whole number that long is no card; 1e999999 must not be written out


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What is told: values by pointer, the pointers withheld, and why nothing of the body was told ("" when it was).

    ``echoed``: the number is somewhere in the answer (6). Not for the caller.
    """

    fields: dict[str, Scalar]
    withheld: tuple[str, ...] = ()
    reason: str = ""
    echoed: bool = False


class Scrubber:
    """Scrubs the answer to one request that carried one card. Shows nothing of it (I1)."""

    __slots__ = ("_own", "_parts", "_secrets", "_traces")

    def __init__(self, parts: Parts, secrets: tuple[str, ...] = (), own: Iterable[str] = ()) -> None:
        """``secrets`` are the zone's own, which went in headers; ``own`` is every text that the caller wrote."""
        self._parts = parts
        self._secrets = secrets
        self._own = frozenset(form for text in own for form in _forms_of_own(text))
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
        echoes = [self._traces.are_in(text) for text in (head, *([] if body is None else _readings(body)))]  # (6)
        if body is None:
            return Scrubbed({}, reason=problem or "not_read", echoed=any(echoes))  # (5)
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_not_json, object_pairs_hook=_Members)
            written, names = list(_written(document)), list(_names(document))
        except (ValueError, RecursionError, _TooDeep, InvalidOperation):
            return Scrubbed({}, reason="not_json" if allowed else "", echoed=any(echoes))  # (5)
        echoes += [self._is_put_together(written), self._is_put_together(names)]
        return replace(self._told(_plain(document), allowed), echoed=any(echoes))

    def _told(self, document: Any, allowed: tuple[str, ...]) -> Scrubbed:
        fields: dict[str, Scalar] = {}
        withheld: list[str] = []
        for pointer in allowed:
            for place, value in found_at(document, pointer):
                if len(fields) + len(withheld) >= FIELDS_MAXIMUM:
                    return Scrubbed({}, reason="too_many_fields")
                if _is_scalar(value) and not self._repeats_caller(value) and not self._is_sensitive(value):
                    fields[place] = value  # type: ignore[assignment]  # _is_scalar() says so
                else:
                    withheld.append(place)
        texts = [_text(value) for value in fields.values()]
        if self._is_put_together(texts) or self._traces.shown_by(texts) > _digits_allowed(len(self._parts.get(NUMBER))):
            return Scrubbed({}, reason="card_echoed")  # (4)
        if contains_card_in_json(list(fields.values())):
            return Scrubbed({}, reason="card_like")  # (2)
        return Scrubbed(fields, tuple(withheld))

    def _repeats_caller(self, value: object) -> bool:
        """(3) Whether the value holds a text of the caller's, or is part of one, in some encoding, in either direction."""
        if not self._own:
            return False
        forms = _forms_of(_text(value))
        return any(
            mine in form or form in mine for form in forms if len(form) >= _OWN_CHARS_MINIMUM for mine in self._own
        )

    def _is_put_together(self, texts: list[str]) -> bool:
        """Whether the number comes of values read in a row, in the order of the answer or any other that is at hand."""
        decoded = [_as_text(text) for text in texts]
        orders = (texts, texts[::-1], sorted(texts), decoded, [text[::-1] for text in texts])
        return any(self._traces.are_in("".join(order)) for order in orders)

    def _is_sensitive(self, value: object) -> bool:
        """(2) Whether a value that would be told is or holds number or code, or looks like a card of whomever."""
        text = _text(value)
        return self._traces.are_in(text) or self._holds_code(text) or self._holds_secret(text) or contains_card(text)

    def _holds_code(self, text: str) -> bool:
        code = self._parts.optional(CODE)
        if code is None:
            return False
        word = re.compile(rf"(?<![0-9])(?:{code}|{code[::-1]})(?![0-9])")
        views = [*_texts(text), _as_text(text)]
        return any(word.search(view) or digits_of(view) in (code, code[::-1]) for view in views)

    def _holds_secret(self, text: str) -> bool:
        return any(secret in view for secret in self._secrets for view in _texts(text))


def _forms_of(text: str) -> set[str]:
    """A text as it stands and undone of its encodings, in small letters, forwards and backwards."""
    views = {*_texts(text), _as_text(text)}
    views |= {read for view in views if (read := _as_utf8(view))}
    small = {view.casefold() for view in views}
    return small | {view[::-1] for view in small}


def _as_utf8(text: str) -> str:
    """A text that was undone byte by byte, read as UTF-8; "" where it is none."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""


def _forms_of_own(text: str) -> set[str]:
    """Those of a caller's text that may say something of a card: with a digit in any form, or long; else it says nothing."""
    if len(text) < _OWN_CHARS_MINIMUM:
        return set()
    forms = _forms_of(text)
    says = len(text) >= _OWN_CHARS_LONG or any(digits_of(form) for form in forms)
    return {form for form in forms if len(form) >= _OWN_CHARS_MINIMUM} if says else set()


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
