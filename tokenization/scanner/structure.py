"""Reads a JSON value once: its leaves in document order, its keys, and what may be joined of them.

What must hold:
 1. Every key and every leaf comes out, with its key and its container; a repeated key hides nothing.
 2. What is too deep or has too many leaves raises, and its caller reports it; nothing is passed over.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tokenization.scanner.fields import Leaf, digits_of, split_cards
from tokenization.scanner.fold import fold
from tokenization.scanner.fragments import Fragment, fragments_of, joined_card
from tokenization.scanner.lexicon import NUMBER_WORDS
from tokenization.scanner.limits import MAX_FIELD_DIGITS, MAX_JSON_DEPTH, MAX_JSON_LEAVES
from tokenization.scanner.views import View

_WORD: Final = re.compile(r"[^\W\d_]+")
_IN_FOURS: Final = re.compile(r"[0-9]{4}[\W_]{1,6}[0-9]")
# Two groups of four, not in the middle of a UUID. The looks behind come after a digit, to which the engine skips quickly.
TWO_FOURS: Final = re.compile(r"[0-9](?<![0-9][0-9])(?<![0-9a-f]{4}-[0-9])[0-9]{3}[\W_]{1,6}[0-9]{4}(?![0-9])")
_FEWEST_SPOKEN_WORDS: Final = 3  # one part has four digits or more: "forty-two hundred forty-two"
_FEWEST_SPOKEN_DIGITS: Final = 4  # fewer are a quantity
_FEWEST_NUMBER_WORDS: Final = 2  # "forty-two hundred"
_FEWEST_PARTS: Final = 2  # of a card that is split
_JOINED_STRINGS: Final = 4  # neighbouring strings that may hold one card between their words


class Pairs(list[tuple[str, object]]):
    """A JSON object as its pairs stand in the document, repeated keys included (1)."""


class TooLargeError(Exception):
    """The value exceeds a bound of limits.py (2)."""


class Item(NamedTuple):
    """A leaf with its key, the number of its container, and whether that is an array; or, with no value, a key alone."""

    value: object
    key: str
    container: int
    in_array: bool
    is_key: bool = False


def parsed(text: str) -> object:
    """The JSON value that the text is, with Pairs for objects; None if it is none. Raises RecursionError if too deep."""
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except ValueError:
        return None


def items_of(value: object) -> list[Item]:
    """Every leaf and key of the value in document order. Raises TooLargeError."""
    items: list[Item] = []
    _visit(value, "", 0, 0, items, in_array=False)
    return items


def _visit(value: object, key: str, container: int, depth: int, items: list[Item], *, in_array: bool) -> None:
    """``key``, ``container`` and ``in_array`` are the value's, as Item has them."""
    if depth > MAX_JSON_DEPTH or len(items) > MAX_JSON_LEAVES:
        raise TooLargeError
    if isinstance(value, str):  # most are
        items.append(Item(value, key, container, in_array))
    elif isinstance(value, Pairs | Mapping):
        inner = len(items) + 1
        for name, child in value if isinstance(value, Pairs) else value.items():
            items.append(Item(None, str(name), inner, in_array=False, is_key=True))
            _visit(child, str(name), inner, depth + 1, items, in_array=False)
    elif isinstance(value, list | tuple | set | frozenset):
        inner = -len(items) - 1
        for child in value:
            _visit(child, key, inner, depth + 1, items, in_array=True)
    else:
        items.append(Item(value, key, container, in_array))


def joined_cards(items: Sequence[Item], *, pads: bool) -> Iterator[int]:
    """The number of digits in the first and last part of every card that neighbouring leaves or keys make.

    ``pads`` is that of ``split_cards``.
    """
    leaves = [_leaf(item) for item in items if not item.is_key]
    keys = [Leaf(_digits_of_key(item.key), container=item.container) for item in items if item.is_key]
    for row in (leaves, keys):
        if sum(1 for leaf in row if leaf.digits) < _FEWEST_PARTS:
            continue
        for first, last in split_cards(row, pads=pads):
            yield len(first.digits) + len(last.digits)
    yield from _between_words([item.value for item in items if isinstance(item.value, str)])


def _digits(text: str) -> str:
    return text and digits_of(fold(View(text)).text)


def _digits_of_key(key: str) -> str:
    """Those of a key that is figures; number words are names."""
    return _digits(key) if key[-1:].isdecimal() or not key.isascii() else ""


def _leaf(item: Item) -> Leaf:
    value = item.value
    if isinstance(value, str):
        return Leaf(_digits(value), item.key, container=item.container, in_array=item.in_array)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_FIELD_DIGITS:
        return Leaf(str(value), item.key, is_integer=True, container=item.container, in_array=item.in_array)
    return Leaf("")


def _between_words(strings: Sequence[str]) -> Iterator[int]:
    """Strings that end and begin with parts of a card, grouped in fours or spoken, among other words."""
    texts = [fold(View(string)).text.lower() for string in strings]
    if not any(TWO_FOURS.search(text) or _number_words(text) >= _FEWEST_SPOKEN_WORDS for text in texts):
        return
    rows: list[tuple[Fragment, ...]] = []
    for text in texts:
        rows = [*rows[1 - _JOINED_STRINGS :], _parts(text)]
        if rows[-1] and joined_card(rows, card_spoken_of=False):
            yield len(rows[-1][0].digits)


def _number_words(text: str) -> int:
    return sum(word in NUMBER_WORDS for word in _WORD.findall(text))


def _parts(text: str) -> tuple[Fragment, ...]:
    if not _IN_FOURS.search(text) and _number_words(text) < _FEWEST_NUMBER_WORDS:
        return ()
    found = fragments_of(text)
    return tuple(
        item for item in found if item.is_in_fours or (item.spoken and len(item.digits) >= _FEWEST_SPOKEN_DIGITS)
    )
