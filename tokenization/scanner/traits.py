"""Cheap tests on a folded text: whether a rule can find anything in it at all.

What must hold: a test is False only if its rule finds nothing (shown by a property test that compares with every test True).
The tests cost a few microseconds, the rules ten times that, and most messages hold no card. They work on bytes, each replaced
by the class of its character, because searching bytes for a constant is the fastest thing that Python can do with a text.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from operator import eq
from typing import Final

from tokenization.scanner.issuers import LONGEST_PAN, SHORTEST_PAN
from tokenization.scanner.lexicon import FILLERS, NUMBER_WORDS
from tokenization.scanner.limits import MAX_GAP_CHARS
from tokenization.scanner.spoken import MOST_DIGITS, NUMBER_WORD_BEGINNINGS, run_together
from tokenization.scanner.structure import TWO_FOURS
from tokenization.scanner.written import (
    LONGEST_GROUP_IN_PROSE,
    LOOK_ALIKE_LETTERS,
    SPARE_DIGITS_IN_PROSE,
)

# Classes of characters: a digit, a letter that looks like one, another letter, anything else.
_DIGIT, _LOOK_ALIKE, _LETTER, _OTHER = b"01a "


def _class_of(code: int) -> int:
    character = chr(code)
    if 48 <= code < 58:
        return _DIGIT
    if character in LOOK_ALIKE_LETTERS:
        return _LOOK_ALIKE
    return _LETTER if character.isalpha() and code < 128 else _OTHER


_CLASSES: Final = bytes(map(_class_of, range(256)))
_SIGNS: Final = bytes(code for code in range(256) if code > 127 or not chr(code).isalnum())
_TO_SPACE: Final = bytes.maketrans(_SIGNS, b" " * len(_SIGNS))
_ROW_OF_DIGITS: Final = b"0" * SHORTEST_PAN
_LONG_GROUP: Final = re.compile(rb"(?<![a-z0-9])[0-9]{%d}" % (LONGEST_GROUP_IN_PROSE + 1))
_ROW_OF_DIGITS_AND_SIGNS: Final = re.compile(b"[0 ]{%d,}" % SHORTEST_PAN)
_EXPONENT: Final = re.compile("[0-9]e1[2-8]")
_GAP: Final = re.compile(r"[0-9]([^0-9\W_]|[^0-9]{2,})(?=[0-9])")  # not a single sign
_SIGN_CHARACTERS: Final = frozenset(chr(code) for code in range(128) if not chr(code).isalnum())
_WORD_AFTER_DIGIT: Final = re.compile(rf"[0-9][\W_]{{0,{MAX_GAP_CHARS}}}([a-z]{{2,9}})")
_SHORT_VALUE: Final = re.compile(
    r"[\"'\[,:=>{][^A-Za-z0-9\"]{0,8}([0-9]{1,8})(?=[\"'\],;&}\s.)|]|\Z|[^A-Za-z0-9\"]{1,8}[\"\],}])"
)
_FOUR_DIGITS: Final = b"0000"
_LONGEST_LONE_WORD: Final = 5  # two number words run together have six letters or more
_HEXADECIMAL: Final = b"0123456789abcdef"
_LETTERS: Final = re.compile(b"[a-z]+")

_WORDS: Final = frozenset(word.encode() for word in NUMBER_WORDS)
_BEGINNINGS: Final = frozenset(word.encode() for word in NUMBER_WORD_BEGINNINGS)
_MOST_DIGITS: Final = {word.encode(): most for word, most in MOST_DIGITS.items()}
_MOST_DIGITS_PER_GLUED_CHARACTER: Final = 2  # "quad42" is eight


class Traits:
    """A folded text and its lower-case form, and both as bytes: classes of characters, and lower-case words.

    ``glued`` are the words that are several number words run together, or one between digits.
    """

    __slots__ = (
        "_value_digits",
        "classes",
        "digits",
        "encoded",
        "glued",
        "has_number_words",
        "lower",
        "raw",
        "text",
        "words",
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.raw = self.lower.encode("utf-8", "surrogatepass")
        self.encoded = text.encode("utf-8", "surrogatepass")
        self.classes = b" %b " % self.encoded.translate(_CLASSES)
        self.digits = self.classes.count(_DIGIT)
        self.words = words = self.raw.translate(_TO_SPACE).split()
        self.glued = {
            word for word in words if len(word) > _LONGEST_LONE_WORD and word[:3] in _BEGINNINGS and _is_glued(word)
        }
        row = self.classes
        if b"0a" in row or b"a0" in row or b"01" in row or b"10" in row:
            self.glued.update(word for word in words if _is_mixed(word) and _is_glued(word))
        self.has_number_words = bool(self.glued) or not _WORDS.isdisjoint(words)
        self._value_digits: int | None = None

    def value_digits(self) -> int:
        """How many digits stand in values of at most eight, right after a quote, a colon or the like."""
        if self._value_digits is None:
            self._value_digits = sum(map(len, _SHORT_VALUE.findall(self.text)))
        return self._value_digits

    def spoken_digits(self) -> int:
        """The most digits that the number words may stand for."""
        if not self.has_number_words:
            return 0
        return sum(_most_digits(word) for word in self.words if word in _WORDS or word in self.glued)


def is_too_short(text: str) -> bool:
    """Whether a text has not the characters for a card (one for each digit, if ASCII) nor the words for a security code."""
    if len(text) >= SHORTEST_PAN or not text.isascii():
        return False
    raw = text.lower().encode().translate(None, _SIGNS)
    return not any(mark in raw for mark in (b"cv", b"csc", b"cav2", b"card", b"quad"))  # "quad42quad42"


def digit_regions(traits: Traits) -> Sequence[tuple[int, int]]:
    """Where cards written in digits may be: nowhere, in rows of digits and signs, or, if words may join them, anywhere."""
    if traits.digits < SHORTEST_PAN:
        return ()
    if _may_be_joined_by_words(traits):
        return ((0, len(traits.text)),)
    if _ROW_OF_DIGITS not in traits.raw.translate(_CLASSES, _SIGNS):
        return ()
    if not traits.text.isascii():
        return ((0, len(traits.text)),)
    rows = _ROW_OF_DIGITS_AND_SIGNS.finditer(traits.classes)
    return [(row.start() - 1, row.end() - 1) for row in rows if row[0].count(_DIGIT) >= SHORTEST_PAN]


def _may_be_joined_by_words(traits: Traits) -> bool:
    lower = traits.lower
    if _may_be_prose(traits) or "e+1" in lower or ("e1" in lower and _EXPONENT.search(lower)):
        return True
    return not FILLERS.isdisjoint(_WORD_AFTER_DIGIT.findall(lower)) or _may_have_equal_gaps(lower)


def _may_be_prose(traits: Traits) -> bool:
    return traits.digits <= LONGEST_PAN + SPARE_DIGITS_IN_PROSE and _LONG_GROUP.search(traits.raw) is None


def _may_have_equal_gaps(lower: str) -> bool:
    """Whether two gaps between digits are equal and more than a few signs."""
    gaps = _GAP.findall(lower)
    if True not in map(eq, gaps, gaps[1:]):
        return False
    equal = {gap for gap, following in pairwise(gaps) if gap == following}
    return any(len(gap) > MAX_GAP_CHARS or not _SIGN_CHARACTERS.issuperset(gap) for gap in equal)


def may_hold_pairs(traits: Traits) -> bool:
    """Whether digits enough stand right after signs that come before a value."""
    return traits.digits >= SHORTEST_PAN and traits.value_digits() >= SHORTEST_PAN


def may_hold_structure(traits: Traits) -> bool:
    """Whether the text begins and ends as a JSON object or array does, and holds values that fields.py may join."""
    text = traits.text.strip()
    if text[:1] not in {"{", "["} or text[-1:] not in {"}", "]"}:
        return False
    if traits.classes.count(_FOUR_DIGITS) > 1 and TWO_FOURS.search(traits.lower):
        return True
    return traits.value_digits() + traits.spoken_digits() >= SHORTEST_PAN


def may_hold_look_alikes(traits: Traits) -> bool:
    """Whether letters that look like digits stand beside digits, or alone one space from them."""
    if not traits.digits:
        return False
    row = traits.classes
    if b"01" in row or b"10" in row or b"0 1 " in row or b" 1 0" in row:
        return True
    return b"0 11" in row or b"11 0" in row


def may_hold_codes(traits: Traits) -> bool:
    """Whether a word that names a security code may stand there, written with or without signs inside."""
    text = traits.lower
    if "secur" in text or "card" in text or "digit" in text or "back" in text or "front" in text or "rear" in text:
        return True
    if "cav2" in text or "csc" in text:
        return True
    return b"cv" in traits.raw.translate(None, _SIGNS)


def may_hold_speech(traits: Traits) -> bool:
    """Whether number words and digits that may be one number, none other between, are together long enough for a card.

    Each word is given the most digits it may stand for.
    """
    if not traits.has_number_words:
        return False
    words, glued = traits.words, traits.glued
    beyond = 0
    for at in [at for at, word in enumerate(words) if word in _WORDS or word in glued]:
        if at >= beyond:
            first, beyond = _row_around(words, at, glued)
            if sum(map(_most_digits, words[first:beyond])) >= SHORTEST_PAN:
                return True
    return False


def _is_mixed(word: bytes) -> bool:
    """Whether a word has digits and letters, and not only hexadecimal ones, of which no number word is made."""
    return not word.isalpha() and bool(word.translate(None, _HEXADECIMAL))


def _is_glued(word: bytes) -> bool:
    """Whether a word is number words run together, or holds one between digits."""
    if word.isalpha():
        return run_together(word.decode()) > 0
    return any(part in _WORDS or run_together(part.decode()) for part in _LETTERS.findall(word))


def _most_digits(word: bytes) -> int:
    most = _MOST_DIGITS.get(word)
    if most is None:
        return len(word) if word.isdigit() else _MOST_DIGITS_PER_GLUED_CHARACTER * len(word)
    return most


def _row_around(words: Sequence[bytes], at: int, glued: set[bytes]) -> tuple[int, int]:
    """Begin and end of the row of words around a number word that may belong to one number, digits and mixtures included."""
    first = last = at
    while first > 0 and ((word := words[first - 1]) in _MOST_DIGITS or word in glued or not word.isalpha()):
        first -= 1
    while last + 1 < len(words) and ((word := words[last + 1]) in _MOST_DIGITS or word in glued or not word.isalpha()):
        last += 1
    return first, last + 1
