"""Finds card-like text in parsed JSON and in request bodies.

What must hold:
 1. Every key and every leaf is read: strings, integers, and numbers with a point that are whole.
 2. Leaves are also read joined, as fields.py and fragments.py allow.
 3. What is too deep, too long or has too many leaves is reported as ``too_large`` and so refused.
 4. A body is read as it stands and as its content type says; one that cannot be decoded is still read, as Latin-1.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from tokenization.scanner.codes import codes_in
from tokenization.scanner.finding import Finding
from tokenization.scanner.fold import fold
from tokenization.scanner.inert import is_inert
from tokenization.scanner.issuers import SHORTEST_PAN
from tokenization.scanner.limits import MAX_TEXT_CHARS
from tokenization.scanner.runs import LONGEST_RUN
from tokenization.scanner.structure import Item, Pairs, TooLargeError, items_of, joined_cards, parsed
from tokenization.scanner.text import contains_card, find_cards
from tokenization.scanner.views import View

_SMALLEST_INTEGER: Final = 10 ** (SHORTEST_PAN - 1)
_LARGEST_INTEGER: Final = 10**LONGEST_RUN
_LONGEST_CODE_CHARS: Final = 40
_CODE_MARK: Final = re.compile(r"c[\W_]?v|csc|cav2|secur|card|digit|back|front|rear", re.IGNORECASE)
_NAMES_KEPT: Final = 2_048
_plain_names: Final[set[str]] = set()
_CAMEL_CASE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def contains_card_in_json(value: object) -> bool:
    """Whether ``find_cards_in_json`` would find anything; stops at the first."""
    return next(_in_document(value), None) is not None


def find_cards_in_json(value: object) -> list[Finding]:
    """Findings in a parsed JSON value: in every key and leaf, and in neighbouring leaves joined.

    Offsets are relative to the leaf; a joined finding has offset 0 and counts the digits of its first and last leaf.
    A document over the bounds of limits.py is one finding of kind ``too_large``.
    """
    findings = list(_in_document(value))
    refused = [finding for finding in findings if finding.kind == "too_large"]
    return refused[:1] or findings


def contains_card_in_bytes(body: bytes, content_type: str | None) -> bool:
    """Whether a request body holds card-like text, read as text and as the JSON, JSON lines or form that it is.

    A body longer than ``MAX_TEXT_CHARS`` bytes counts as one that does. Content encodings (gzip) must be undone before.
    """
    if len(body) > MAX_TEXT_CHARS:  # (3)
        return True
    return any(_holds_card(text, (content_type or "").lower()) for text in _readings(body))


def _holds_card(text: str, content_type: str) -> bool:
    if contains_card(text):  # (4)
        return True
    try:
        return any(contains_card_in_json(value) for value in _structures(text, content_type))
    except RecursionError:
        return True  # (3)


def _readings(body: bytes) -> Iterator[str]:
    """The body as UTF-8, or else as Latin-1, without the zero bytes of UTF-16; and in every way that a JSON parser may read it.

    Python's takes UTF-16 and UTF-32 without a mark, and surrogates in UTF-8 (json.detect_encoding).
    """
    read_as = json.detect_encoding(body)
    try:
        yield body.decode("utf-8-sig").replace("\0", "")
    except UnicodeDecodeError:
        yield body.replace(b"\0", b"").decode("latin-1")
        with suppress(UnicodeDecodeError):
            yield body.decode("utf-8-sig", "surrogatepass")
    if not read_as.startswith("utf-8"):
        with suppress(UnicodeDecodeError):
            yield body.decode(read_as, "surrogatepass")
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        yield body.decode("utf-16", errors="replace")


def _structures(text: str, content_type: str) -> Iterator[object]:
    """What the text parses to; nothing if it is plain."""
    if "json" in content_type or text.lstrip()[:1] in {"{", "[", '"'}:
        whole = parsed(text)
        yield from [whole] if whole is not None else filter(None, map(parsed, text.splitlines()))
    if "form-urlencoded" in content_type or ("=" in text and "&" in text):
        yield Pairs(parse_qsl(text, keep_blank_values=True))


def _in_document(value: object) -> Iterator[Finding]:
    try:
        items = items_of(value)
    except TooLargeError:
        yield Finding("too_large", 0, 0)  # (3)
        return
    between = list(items)
    for place, item in enumerate(items):  # (1)
        if item.is_key:
            if not is_plain_name(item.key):
                yield from find_cards(item.key)
        elif not isinstance(item.value, str):
            yield from _in_number(item)
        elif is_inert(item.value):
            between[place] = item._replace(value="")  # it adds nothing to its neighbours, and still stands between them
            yield from _as_named_code(item.key, item.value)
        else:
            yield from find_cards(item.value)
            yield from _as_named_code(item.key, item.value)
    yield from (Finding("fields", 0, length) for length in joined_cards(between, pads=True))  # (2)


def _in_number(item: Item) -> Iterator[Finding]:
    value = item.value
    if value is None or isinstance(value, bool):
        return
    text = _digits_of_number(value) if isinstance(value, int | float) else str(value)
    yield from find_cards(text)
    yield from _as_named_code(item.key, text)


def _as_named_code(key: str, text: str) -> Iterable[Finding]:
    short = len(key) <= _LONGEST_CODE_CHARS and len(text) <= _LONGEST_CODE_CHARS
    if short and not is_plain_name(key) and _is_named_code(key, text):
        return (Finding("cvc", 0, len(text)),)
    return ()


def is_plain_name(key: str) -> bool:
    """Whether a key is inert and names no security code. Such names are kept as they are: they hold nothing of a person's."""
    if key in _plain_names:
        return True
    if not is_inert(key) or _CODE_MARK.search(
        key
    ):  # with the signs that _is_named_code() puts in there are no more marks
        return False
    if len(_plain_names) >= _NAMES_KEPT:
        _plain_names.clear()
    _plain_names.add(key)
    return True


def _digits_of_number(value: float) -> str:
    """The digits of a whole number; "" where it is none or has more than any run that runs.py reads."""
    if isinstance(value, float) and not (value.is_integer() and _SMALLEST_INTEGER <= abs(value) < _LARGEST_INTEGER):
        return ""
    return str(abs(int(value))) if abs(value) < _LARGEST_INTEGER else ""


def _is_named_code(key: str, text: str) -> bool:
    """Whether the key names a security code and the value is one."""
    label = _CAMEL_CASE.sub("_", fold(View(key)).text)
    if not _CODE_MARK.search(label):
        return False
    return next(codes_in(f"{label}: {fold(View(text)).text}".lower()), None) is not None
