"""Cheap tests on a folded text: whether a rule can find anything in it at all.

What must hold: a test is False only if its rule finds nothing (shown by a property test that compares with every test True).
The tests cost a few microseconds, the rules ten times that, and most messages hold no card.
"""

import re
from collections.abc import Sequence
from typing import Final

from tokenization.scanner.issuers import SHORTEST_PAN
from tokenization.scanner.lexicon import NUMBER_WORDS, digit_count
from tokenization.scanner.written import LOOK_ALIKE_LETTERS
from tokenization.scanner.spoken import MOST_DIGITS, run_together

_SIGNS: Final = bytes(code for code in range(128) if not chr(code).isalnum())
_TO_SPACE: Final = bytes.maketrans(_SIGNS, b" " * len(_SIGNS))
_WORDS: Final = frozenset(word.encode() for word in NUMBER_WORDS)
_MOST_DIGITS: Final = {word.encode(): most for word, most in MOST_DIGITS.items()}
_MOST_DIGITS_PER_GLUED_CHARACTER: Final = 2  # "quad42" is eight
_GLUED_CHARS: Final = 4  # "4two"
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_LETTER_RUNS: Final = re.compile(b"[a-z]+")
# Classes of characters: a digit, a letter that looks like one, another letter, anything else.
_DIGIT, _LOOK_ALIKE, _LETTER, _OTHER = b"01a "
_CLASSES: Final = bytes(
    _DIGIT
    if 48 <= code < 58
    else _LOOK_ALIKE
    if chr(code) in LOOK_ALIKE_LETTERS
    else _LETTER
    if chr(code).isalpha() or code > 127
    else _OTHER
    for code in range(256)
)


class Traits:
    """A folded text, its lower-case form (as UTF-8 too), and what is quickly known of it."""

    __slots__ = ("digits", "lower", "raw", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.raw = self.lower.encode("utf-8", "surrogatepass")
        self.digits = digit_count(text)


def may_hold_digits(traits: Traits) -> bool:
    """Whether there are digits enough for a card."""
    return traits.digits >= SHORTEST_PAN


def may_hold_pairs(traits: Traits) -> bool:
    """Whether there are digits enough, and signs that stand between a key and a value."""
    return traits.digits >= SHORTEST_PAN and (":" in traits.text or "=" in traits.text)


def may_hold_look_alikes(traits: Traits) -> bool:
    """Whether letters that look like digits stand beside digits, or alone one space from them."""
    if not traits.digits:
        return False
    classes = traits.text.encode("utf-8", "surrogatepass").translate(_CLASSES)
    return b"01" in classes or b"10" in classes or b"0 1 " in classes or b" 1 0" in classes


def may_hold_codes(traits: Traits) -> bool:
    """Whether a word that names a security code may stand there, written with or without signs inside."""
    text = traits.lower
    if "cv" in text or "secur" in text or "digit" in text or "code on" in text or "number on" in text or "signature" in text:
        return True
    if "verif" in text or "valid" in text or "identif" in text or "cav" in text:
        return True
    return b"cv" in traits.raw.translate(None, _SIGNS)


def may_hold_speech(traits: Traits) -> bool:
    """Whether number words and digits that may be one number, none other between, are together long enough for a card.

    Each word is given the most digits it may stand for.
    """
    if not traits.text.isascii():
        traits = Traits(_NOT_ASCII.sub(" ", traits.text))  # no number word holds any, once folded
    words = traits.raw.translate(_TO_SPACE).split()
    beyond = 0
    for at in [at for at, word in enumerate(words) if word in _WORDS or (len(word) >= _GLUED_CHARS and _is_glued(word))]:
        if at >= beyond:
            first, beyond = _row_around(words, at)
            if sum(map(_most_digits, words[first:beyond])) >= SHORTEST_PAN:
                return True
    return False


def _is_glued(word: bytes) -> bool:
    """Whether a word is number words run together, or holds one between digits."""
    if word.isalpha():
        return run_together(word.decode()) > 0
    return not word.isdigit() and any(part in _WORDS or run_together(part.decode()) for part in _LETTER_RUNS.findall(word))


def _most_digits(word: bytes) -> int:
    most = _MOST_DIGITS.get(word)
    if most is None:
        return len(word) if word.isdigit() else _MOST_DIGITS_PER_GLUED_CHARACTER * len(word)
    return most


def _row_around(words: Sequence[bytes], at: int) -> tuple[int, int]:
    """Begin and end of the row of words around a number word that may belong to one number."""
    first = last = at
    while first > 0 and _may_belong(words[first - 1]):
        first -= 1
    while last + 1 < len(words) and _may_belong(words[last + 1]):
        last += 1
    return first, last + 1


def _may_belong(word: bytes) -> bool:
    return word in _MOST_DIGITS or word.isdigit() or _is_glued(word)
