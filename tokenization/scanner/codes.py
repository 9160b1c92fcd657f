"""A card's security code (CVC, CVV) said to be one. PCI DSS 3.3.1: it must not be kept, so it must not pass either.

A code has no check digit; only its label tells. So three or four digits must follow, or come just before, a word that names the
code, with nothing between but "is", "number" and signs. "Verification code" alone is a one-time password and is left alone.
"""

import re
from collections.abc import Iterator
from typing import Final

from tokenization.scanner.lexicon import NUMBER_WORDS
from tokenization.scanner.spoken import NUMBER_WORD_BEGINNINGS, Reading, chains_of, tokens_of

Span = tuple[int, int]

_STRONG: Final = r"c[\W_]?v[\W_]?[cv][\W_]?2?|cav2|cv2|cvn2?"
_ON_THE_BACK: Final = r" (?:on|at|from)(?: the)? (?:back|front|rear)(?: of)?(?: (?:my|the))?(?: card)?"
_NAMED: Final = (
    r"card[ _-]?(?:verification|security)(?:[ _-]?(?:code|value|number|no))?|card[ _-]?code|csc(?=(?: code)?(?: is|[ ]?[:=]))"
    r"|(?:three|3)[ -]?digit (?:security )?(?:code|number)"
    r"|(?<!social )security[ _-]?(?:code|number|digits)"
    rf"|(?:(?:three|four|3|4)[ -]?digits?|code|number|digits){_ON_THE_BACK}"
)
_LINK: Final = r"(?:[\W_]{0,4}(?:is|are|was|code|number|no|num|value|of|my|the|its|it|s|equals|digits)(?![^\W_]))"
_LABEL: Final = re.compile(
    rf"(?<![^\W\d_])(?:{_STRONG}|{_NAMED})(?![^\W\d_]){_LINK}{{0,4}}[\W_]{{0,6}}(?=[^\W_])", re.IGNORECASE
)
_BEFORE: Final = re.compile(
    r"(?<![0-9.,$€£#\-])(?:([0-9]{3,4})(?![0-9]) (?:is|as|was|for) (?:(?:my|the) )?|([0-9]{3})(?![0-9]) ?\(?)"
    rf"(?:card )?(?:{_STRONG}|security[ _-]?(?:code|number))(?![^\W_])",
    re.IGNORECASE,
)
_WRITTEN_CODE: Final = re.compile("[0-9]{3,4}(?![0-9])")
_FIRST_TOKEN: Final = re.compile(r"[0-9]+|[^\W\d_]+")
_CODE_CHARS: Final = 64  # "double" and "triple" included, no spoken code is longer
_CODE_DIGITS: Final = (3, 4)
_NOT_A_CODE: Final = re.compile(r"[ ]?(?:%|digits?\b|percent\b|-digit|or\b|[-./:][0-9])", re.IGNORECASE)


def codes_in(text: str) -> Iterator[Span]:
    """Spans of security codes in the lower-case text."""
    for label in _LABEL.finditer(text):
        span = _code_at(text, label.end())
        if span:
            yield span
    for match in _BEFORE.finditer(text):
        yield match.span(1 if match[1] else 2)


def _code_at(text: str, start: int) -> Span | None:
    first = _FIRST_TOKEN.match(text, start)
    if first is None or not (first[0].isdigit() or first[0][:3] in NUMBER_WORD_BEGINNINGS or first[0] in NUMBER_WORDS):
        return None
    tokens = tokens_of(text[start : start + _CODE_CHARS])
    chain = next(chains_of(tokens, Reading()), None)
    if not chain or chain[0].start != 0:
        return None
    end = start + chain[-1].end
    if sum(len(atom.digits) for atom in chain) not in _CODE_DIGITS or _NOT_A_CODE.match(text, end):
        return _leading_code(text, start)
    return start, end


def _leading_code(text: str, start: int) -> Span | None:
    """Three or four digits written together right after the label, where more numbers follow."""
    match = _WRITTEN_CODE.match(text, start)
    if match is None or _NOT_A_CODE.match(text, match.end()):
        return None
    return match.span()
