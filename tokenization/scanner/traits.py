"""Cheap tests on a folded text: whether a rule can find anything in it at all.

What must hold: a test is False only if its rule finds nothing (shown by a property test that compares with every test True).
The tests cost a few microseconds, the rules ten times that, and most messages hold no card. They work on bytes, each replaced
by the class of its character, because searching bytes for a constant is the fastest thing that Python can do with a text.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tokenization.scanner.issuers import LONGEST_PAN, SHORTEST_PAN
from tokenization.scanner.lexicon import FILLERS, NUMBER_WORDS
from tokenization.scanner.limits import MAX_GAP_CHARS
from tokenization.scanner.spoken import MOST_DIGITS, NUMBER_WORD_BEGINNINGS, run_together
from tokenization.scanner.written import (
    LONGEST_GROUP_IN_PROSE,
    LOOK_ALIKE_CODE_LETTERS,
    LOOK_ALIKE_LETTERS,
    SPARE_DIGITS_IN_PROSE,
)

# Classes of characters: a digit, a letter that looks like one, one that does so in codes, another letter, anything else.
_DIGIT, _LOOK_ALIKE, _CODE_LETTER, _LETTER, _OTHER = b"012a "


def _class_of(code: int) -> int:
    character = chr(code)
    if 48 <= code < 58:
        return _DIGIT
    if character in LOOK_ALIKE_LETTERS:
        return _LOOK_ALIKE
    if character in LOOK_ALIKE_CODE_LETTERS:
        return _CODE_LETTER
    return _LETTER if character.isalpha() and code < 128 else _OTHER


_CLASSES: Final = bytes(map(_class_of, range(256)))
_SIGNS: Final = bytes(code for code in range(256) if code > 127 or not chr(code).isalnum())
_TO_SPACE: Final = bytes.maketrans(_SIGNS, b" " * len(_SIGNS))
_ROW_OF_DIGITS: Final = b"0" * SHORTEST_PAN
_LONG_GROUP: Final = re.compile(rb"(?<![a-z0-9])[0-9]{%d}" % (LONGEST_GROUP_IN_PROSE + 1))
_EXPONENT: Final = re.compile("[0-9]e1[2-8]")
_GAP: Final = re.compile(r"[0-9]([^0-9]+)(?=[0-9])")
_SIGN_CHARACTERS: Final = frozenset(chr(code) for code in range(128) if not chr(code).isalnum())
_WORD_AFTER_DIGIT: Final = re.compile(rf"[0-9][\W_]{{0,{MAX_GAP_CHARS}}}([a-z]{{2,9}})")
_SHORT_VALUE: Final = re.compile(
    r"[\"'\[,:=>{][^A-Za-z0-9\"]{0,8}([0-9]{1,8})(?=[\"'\],;&}\s.)|]|\Z|[^A-Za-z0-9\"]{1,8}[\"\],}])"
)
_TWO_FOURS: Final = re.compile(b"0000 {1,24}0000(?!0)")  # in classes; a sign may have four bytes
_LONGEST_LONE_WORD: Final = 5  # two number words run together have six letters or more
_HEXADECIMAL: Final = b"0123456789abcdef"  # no number word is made of these alone
_LETTERS: Final = re.compile(b"[a-z]+")

_WORDS: Final = frozenset(word.encode() for word in NUMBER_WORDS)
_BEGINNINGS: Final = frozenset(word.encode() for word in NUMBER_WORD_BEGINNINGS)
_MOST_DIGITS: Final = {word.encode(): most for word, most in MOST_DIGITS.items()}
_MOST_DIGITS_PER_GLUED_CHARACTER: Final = 2  # "quad42" is eight


class Traits:
    """A folded text and its lower-case form, and both as bytes: classes of characters, and lower-case words.

    ``glued`` are the words that are several number words run together, or one between digits.
    """

    __slots__ = ("_value_digits", "classes", "digits", "glued", "has_number_words", "lower", "raw", "text", "words")

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.raw = self.lower.encode("utf-8", "surrogatepass")
        self.classes = b" %b " % text.encode("utf-8", "surrogatepass").translate(_CLASSES)
        self.digits = self.classes.count(_DIGIT)
        self.words = words = self.raw.translate(_TO_SPACE).split()
        odd = [word for word in words if len(word) > _LONGEST_LONE_WORD or not word.isalpha()]
        self.glued = {
            word
            for word in odd
            if (word[:3] in _BEGINNINGS or not word.isalpha())
            and word.translate(None, _HEXADECIMAL)
            and _is_glued(word)
        }
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


def may_hold_digits(traits: Traits) -> bool:
    """Whether there are digits enough, and not too much between them."""
    if traits.digits < SHORTEST_PAN:
        return False
    if _ROW_OF_DIGITS in traits.raw.translate(_CLASSES, _SIGNS) or _may_be_prose(traits):
        return True
    if "e+1" in traits.lower or ("e1" in traits.lower and _EXPONENT.search(traits.lower)):
        return True
    return not FILLERS.isdisjoint(_WORD_AFTER_DIGIT.findall(traits.lower)) or _may_have_equal_gaps(traits.lower)


def _may_be_prose(traits: Traits) -> bool:
    return traits.digits <= LONGEST_PAN + SPARE_DIGITS_IN_PROSE and _LONG_GROUP.search(traits.raw) is None


def _may_have_equal_gaps(lower: str) -> bool:
    """Whether two gaps between digits are equal and more than a few signs."""
    gaps = _GAP.findall(lower)
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
    if _TWO_FOURS.search(traits.classes):
        return True
    return traits.value_digits() + traits.spoken_digits() >= SHORTEST_PAN


def may_hold_look_alikes(traits: Traits) -> bool:
    """Whether letters that look like digits stand beside digits, or alone one space from them."""
    if not traits.digits:
        return False
    row = traits.classes
    if b"01" in row or b"10" in row or b"0 1 " in row or b" 1 0" in row or b"0 11" in row or b"11 0" in row:
        return True
    return b"020" in row or b"022" in row or b"0002" in row or b"20" in row


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
