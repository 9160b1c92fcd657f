"""Cards in a run of digits that is longer than a card: called only on evidence, never by sliding over the run.

Evidence is one of: expiry and security code glued on, zeros glued in front, or a label ("card number:") right before the run.
A number in scientific notation (4.242…e15) is written out first.
"""

import re
from collections.abc import Iterator
from typing import Final

from tokenization.scanner.exemptions import is_fraction, is_in_iban
from tokenization.scanner.issuers import LENGTHS_BY_PREFIX, LONGEST_PAN, PREFIX_DIGITS, is_card_number

SHORTEST_LONG_RUN: Final = 16
LONGEST_RUN: Final = 64  # longer runs are data
_SCIENTIFIC: Final = re.compile(r"(?<![0-9.])([0-9])\.([0-9]{10,18})[eE]\+?(1[2-8])(?![0-9])")
_EXPIRY_AND_CODE: Final = re.compile(r"(?:0[1-9]|1[0-2])(?:20)?(?:2[4-9]|3[0-9]|4[0-4])(?:[0-9]{3,4})?")
_LABEL: Final = re.compile(
    r"(?:card|pan|visa|master ?card|amex|maestro|\bcc)(?:[\W_]{0,3}(?:number|no|num|nr|is|are|code))*[\W_]{0,4}\Z",
    re.IGNORECASE,
)
_LABEL_CHARS: Final = 32
_SHORTEST_AT_AN_END: Final = 15
_FEWEST_ZEROS: Final = 2


def holds_card(text: str, start: int, end: int) -> bool:
    """Whether the run of digits ``text[start:end]`` is longer than the card it holds, on evidence."""
    if (
        not SHORTEST_LONG_RUN <= end - start <= LONGEST_RUN
        or is_fraction(text, start, end)
        or is_in_iban(text, start, end)
    ):
        return False
    run = text[start:end]
    return _with_expiry(run) or _after_zeros(run) or (_at_an_end(run) and _is_labelled(text, start))


def scientific_cards(text: str) -> Iterator[tuple[int, int]]:
    """Spans such as 4.242…e15 that are a card once written out."""
    if "e1" not in text and "e+1" not in text and "E1" not in text and "E+1" not in text:
        return
    for match in _SCIENTIFIC.finditer(text):
        whole, fraction, exponent = match.groups()
        if len(fraction) <= int(exponent) and is_card_number(whole + fraction.ljust(int(exponent), "0")):
            yield match.span()


def _with_expiry(run: str) -> bool:
    lengths = LENGTHS_BY_PREFIX.get(run[:PREFIX_DIGITS], ())
    long_enough = (length for length in lengths if length >= _SHORTEST_AT_AN_END)
    return any(_EXPIRY_AND_CODE.fullmatch(run, length) and is_card_number(run[:length]) for length in long_enough)


def _after_zeros(run: str) -> bool:
    number = run.lstrip("0")
    return len(run) - len(number) >= _FEWEST_ZEROS and len(number) >= _SHORTEST_AT_AN_END and is_card_number(number)


def _at_an_end(run: str) -> bool:
    sizes = range(_SHORTEST_AT_AN_END, LONGEST_PAN + 1)
    return any(is_card_number(run[:size]) or is_card_number(run[-size:]) for size in sizes)


def _is_labelled(text: str, start: int) -> bool:
    return _LABEL.search(text[max(0, start - _LABEL_CHARS) : start]) is not None
