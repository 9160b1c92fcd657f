"""Finds card-like text in parsed JSON and in request bodies.

What must hold:
 1. Every key and every leaf is read: strings, integers, and numbers with a point that are whole.
 2. Leaves are also read joined, as fields.py and fragments.py allow; a repeated key hides nothing.
 3. What is too deep, too long or has too many leaves is reported as ``too_large`` and so refused.
 4. A body is read as it stands and as its content type says; one that cannot be decoded is still read, as Latin-1.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from tokenization.scanner.codes import codes_in
from tokenization.scanner.fields import Leaf, digits_of, split_cards
from tokenization.scanner.finding import Finding
from tokenization.scanner.fold import fold
from tokenization.scanner.fragments import Fragment, fragments_of, joined_card
from tokenization.scanner.lexicon import NUMBER_WORDS
from tokenization.scanner.limits import MAX_FIELD_DIGITS, MAX_JSON_DEPTH, MAX_JSON_LEAVES, MAX_TEXT_CHARS
from tokenization.scanner.text import contains_card, find_cards
from tokenization.scanner.views import View

_LARGEST_INTEGER: Final = 10**64  # longer runs of digits are no cards, see runs.py
_LONGEST_CODE_CHARS: Final = 40
_CAMEL_CASE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD: Final = re.compile(r"[^\W\d_]+")
_TWO_FOURS: Final = re.compile(r"[0-9]{4}[\W_]{1,6}[0-9]{4}")
_FEWEST_HALF_DIGITS: Final = 8  # half a card, in fours or spoken
_JOINED_STRINGS: Final = 4  # neighbouring strings that may hold one card between their words


class _Pairs(list[tuple[str, object]]):
    """A JSON object as its pairs stand in the document, repeated keys included (2)."""


class _TooLargeError(Exception):
    """The document exceeds a bound (3)."""


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
    text = _decoded_body(body)
    if contains_card(text):  # (4)
        return True
    try:
        return any(contains_card_in_json(value) for value in _structures(text, (content_type or "").lower()))
    except RecursionError:
        return True  # (3)


def _decoded_body(body: bytes) -> str:
    for encoding in ("utf-16",) if body[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig",):
        try:
            return body.decode(encoding).replace("\0", "")
        except UnicodeDecodeError:
            break
    return body.replace(b"\0", b"").decode("latin-1")


def _structures(text: str, content_type: str) -> Iterator[object]:
    """What the text parses to; nothing if it is plain."""
    if "json" in content_type or text.lstrip()[:1] in {"{", "[", '"'}:
        whole = _parsed(text)
        yield from [whole] if whole is not None else filter(None, map(_parsed, text.splitlines()))
    if "form-urlencoded" in content_type or ("=" in text and "&" in text):
        yield _Pairs(parse_qsl(text, keep_blank_values=True))


def _parsed(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except ValueError:
        return None


def _in_document(value: object) -> Iterator[Finding]:
    walk = _Walk()
    try:
        yield from walk.visit(value, "", 0, in_array=False)
    except _TooLargeError:
        yield Finding("too_large", 0, 0)
        return
    for leaves in (walk.leaves, walk.keys):
        for first, last in split_cards(leaves):
            yield Finding("fields", 0, len(first.digits) + len(last.digits))


class _Walk:
    """One pass over a document: yields what single keys and leaves hold, and keeps what may be joined."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.keys: list[Leaf] = []
        self._containers = 0
        self._halves: deque[tuple[Fragment, ...]] = deque(maxlen=_JOINED_STRINGS)

    def visit(self, value: object, key: str, depth: int, *, in_array: bool) -> Iterator[Finding]:
        """Findings of a value under a key. Raises _TooLargeError (3)."""
        if depth > MAX_JSON_DEPTH or len(self.leaves) + len(self.keys) > MAX_JSON_LEAVES:
            raise _TooLargeError
        if isinstance(value, _Pairs):
            yield from self._object(value, depth)
        elif isinstance(value, Mapping):
            yield from self._object(value.items(), depth)
        elif isinstance(value, list | tuple | set | frozenset):
            yield from self._array(value, key, depth)
        else:
            yield from self._leaf(value, key, in_array=in_array)

    def _object(self, pairs: Iterable[tuple[object, object]], depth: int) -> Iterator[Finding]:
        self._containers += 1
        container = self._containers
        for name, value in pairs:
            key = str(name)
            yield from find_cards(key)  # (1)
            self.keys.append(Leaf(digits_of(fold(View(key)).text), container=container))
            yield from _code_under(key, value)
            yield from self._within(container, value, key, depth, in_array=False)
        self.keys.append(Leaf(""))

    def _array(self, values: Iterable[object], key: str, depth: int) -> Iterator[Finding]:
        self._containers += 1
        container = self._containers
        for value in values:
            yield from self._within(container, value, key, depth, in_array=True)

    def _within(self, container: int, value: object, key: str, depth: int, *, in_array: bool) -> Iterator[Finding]:
        known = len(self.leaves)
        yield from self.visit(value, key, depth + 1, in_array=in_array)
        if len(self.leaves) == known + 1 and self.leaves[known].container == 0:
            self.leaves[known] = self.leaves[known]._replace(container=container)

    def _leaf(self, value: object, key: str, *, in_array: bool) -> Iterator[Finding]:
        if isinstance(value, bool) or value is None:
            self.leaves.append(Leaf(""))
        elif isinstance(value, int | float):
            yield from self._number(value, key, in_array=in_array)
        else:
            yield from self._string(value if isinstance(value, str) else str(value), key, in_array=in_array)

    def _number(self, value: float, key: str, *, in_array: bool) -> Iterator[Finding]:
        whole = abs(int(value)) if isinstance(value, int) or value.is_integer() else 0
        if 10**MAX_FIELD_DIGITS <= whole < _LARGEST_INTEGER:
            yield from find_cards(str(whole))
        digits = str(whole) if isinstance(value, int) and 0 <= value < 10**MAX_FIELD_DIGITS else ""
        self.leaves.append(Leaf(digits, key, is_integer=True, in_array=in_array))

    def _string(self, text: str, key: str, *, in_array: bool) -> Iterator[Finding]:
        yield from find_cards(text)
        if len(text) > MAX_TEXT_CHARS:
            return
        folded = fold(View(text)).text
        self.leaves.append(Leaf(digits_of(folded), key, in_array=in_array))
        halves = _halves(folded.lower())
        self._halves.append(halves)
        if halves and joined_card(list(self._halves), card_spoken_of=False):
            yield Finding("fields", halves[0].start, halves[-1].end - halves[0].start)


def _halves(text: str) -> tuple[Fragment, ...]:
    """Fragments of a lower-case text that are half a card as people write or say it, whatever stands around them."""
    if not _TWO_FOURS.search(text) and NUMBER_WORDS.isdisjoint(_WORD.findall(text)):
        return ()
    found = fragments_of(text)
    return tuple(item for item in found if len(item.digits) >= _FEWEST_HALF_DIGITS and (item.spoken or set(item.sizes) == {4}))


def _code_under(key: str, value: object) -> Iterator[Finding]:
    """A security code that its key names."""
    if isinstance(value, str | int) and not isinstance(value, bool) and len(key) <= _LONGEST_CODE_CHARS:
        text = fold(View(str(value))).text if isinstance(value, str) else str(value)[:_LONGEST_CODE_CHARS]
        label = _CAMEL_CASE.sub("_", fold(View(key)).text).lower()
        if len(text) <= _LONGEST_CODE_CHARS and next(codes_in(f"{label}: {text.lower()}"), None):
            yield Finding("cvc", 0, len(text))
