"""Judges whether digit groups that stand near each other are one card number.

What must hold before a window of a chain of groups is called a card number:
 1. It begins and ends where a group does: a card inside a longer run of digits is not called (sliding over such runs would
    call half of all identifiers), unless the run itself gives evidence (see runs.py).
 2. Its digits have an issued prefix, a length that goes with it and a right check digit.
 3. It is grouped as cards are written, and not plainly cut out of a longer list; or it is the whole chain, evenly separated.
 4. It is not evidently something else: an IBAN, a postal bar code, a decimal fraction, dates, times, a series.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from tokenization.scanner.exemptions import (
    are_other_numbers,
    is_fraction,
    is_in_iban,
    is_labelled_otherwise,
    is_order_number,
    is_postal_barcode,
)
from tokenization.scanner.issuers import LENGTHS_BY_PREFIX, PREFIX_DIGITS, SHORTEST_PAN, passes_luhn
from tokenization.scanner.lexicon import CARD_WORDS
from tokenization.scanner.limits import EVIDENCE_CHARS

# As printed on cards, beyond equal groups: American Express 4-6-5, Diners 4-6-4, old Visa 4-3-3-3, UnionPay 6-13.
_PRINTED: Final = frozenset({(4, 6, 5), (4, 6, 4), (4, 3, 3, 3), (4, 4, 5), (6, 13)})
_EQUAL_GROUPS: Final = frozenset({1, 2, 3, 4, 5, 6, 8})  # two groups of seven end many order numbers
_SMALL_GROUP: Final = 3
# A card number of 16 digits, its expiry and its security code, all digit by digit; longer lists of small groups are tables.
_CARD_WITH_EXPIRY_AND_CODE_DIGITS: Final = 27
_MOST_POSTAL_GROUPS: Final = 7  # 26 digits in fours
_STRUCTURE: Final = re.compile(r"[^\W\d_]|[\":={}<>]")


Span = tuple[int, int]


class Chain:
    """Digit groups in order with nothing but separators between them: their digits, and their places in the text."""

    __slots__ = ("digits", "groups", "spans", "starts", "text")

    def __init__(self, text: str, spans: Sequence[Span], groups: Sequence[str]) -> None:
        self.text = text
        self.spans = spans
        self.groups = groups
        self.digits = "".join(groups)
        self.starts = [0, *accumulate(map(len, groups))]  # in digits; one more at the end

    def gap(self, index: int) -> str:
        """What stands between this group and the next."""
        return self.text[self.spans[index][1] : self.spans[index + 1][0]]

    def card_windows(self) -> Iterator[tuple[int, int]]:
        """First and last group of every window that has a card's prefix, length and check digit (1) (2), in order."""
        digits, starts = self.digits, self.starts
        issued = [
            first for first, start in enumerate(starts) if digits[start : start + PREFIX_DIGITS] in LENGTHS_BY_PREFIX
        ]
        if not issued:
            return
        ends = {end: index for index, end in enumerate(starts[1:])}
        for first in issued:
            start = starts[first]
            for length in LENGTHS_BY_PREFIX[digits[start : start + PREFIX_DIGITS]]:
                last = ends.get(start + length)
                if last is not None and passes_luhn(digits[start : start + length]):
                    yield first, last


def cards_in(chain: Chain) -> Iterator[tuple[int, int]]:
    """Spans of the text that are card numbers; none overlaps another."""
    free_from = 0
    for first, last in chain.card_windows():
        if first >= free_from and _is_card(chain, first, last):
            free_from = last + 1
            yield chain.spans[first][0], chain.spans[last][1]


def is_grouped_like_card(sizes: Sequence[int]) -> bool:
    """Equal groups with a shorter or equal last one, multiples of four, or a printed form (3)."""
    if tuple(sizes) in _PRINTED:
        return True
    size, last = sizes[0], sizes[-1]
    equal = size in _EQUAL_GROUPS and last <= size and all(other == size for other in sizes[:-1])
    return equal or (all(other in {4, 8} for other in sizes[:-1]) and (last <= 4 or last == 8))


def card_words_before(text: str, start: int) -> bool:
    """Whether a word that speaks of cards comes shortly before this place."""
    return CARD_WORDS.search(text, max(0, start - EVIDENCE_CHARS), start) is not None


def _is_card(chain: Chain, first: int, last: int) -> bool:
    text, start, end = chain.text, chain.spans[first][0], chain.spans[last][1]
    shaped = _is_single_card(chain, first) if first == last else _are_card_groups(chain, first, last)
    return shaped and not is_in_iban(text, start, end) and not _is_in_postal_barcode(chain, first, last)  # (4)


def _is_single_card(chain: Chain, index: int) -> bool:
    start, end = chain.spans[index]
    if is_fraction(chain.text, start, end):  # (4)
        return False
    return end - start > SHORTEST_PAN or not is_labelled_otherwise(chain.text, start)


def _are_card_groups(chain: Chain, first: int, last: int) -> bool:
    text, start = chain.text, chain.spans[first][0]
    groups = chain.groups[first : last + 1]
    gaps = [chain.gap(index) for index in range(first, last)]
    sizes = [len(group) for group in groups]
    if sum(sizes) == SHORTEST_PAN and is_labelled_otherwise(text, start):
        return False
    if is_grouped_like_card(sizes) and (_has_few_separators(sizes, gaps) or card_words_before(text, start)):
        shaped = _is_not_cut_out(chain, first, last, sizes[0])
    else:
        shaped = _is_whole(chain, first, last, gaps) and sum(sizes) > SHORTEST_PAN
    return shaped and not are_other_numbers(groups, gaps) and not is_order_number(groups, gaps)  # (4)


def _has_few_separators(sizes: Sequence[int], gaps: Sequence[str]) -> bool:
    """Small groups with ever changing separators, or with points and others, are coordinates, versions, section numbers."""
    if sizes[0] > _SMALL_GROUP:
        return True
    separators = set(gaps)
    return (sizes[0] == 1 or len(separators) <= 2) and not ("." in separators and len(separators) > 1)


def _is_not_cut_out(chain: Chain, first: int, last: int, size: int) -> bool:
    """(3) At least one end differs from what lies beyond it; both ends in a long list of small numbers."""
    left = first == 0 or chain.gap(first - 1) != chain.gap(first) or len(chain.groups[first - 1]) != size
    right = (
        last == len(chain.groups) - 1 or chain.gap(last) != chain.gap(last - 1) or len(chain.groups[last + 1]) != size
    )
    if size <= _SMALL_GROUP and len(chain.digits) > _CARD_WITH_EXPIRY_AND_CODE_DIGITS:
        return left and right
    return left or right


def _is_whole(chain: Chain, first: int, last: int, gaps: Sequence[str]) -> bool:
    """(3) Unusual grouping: the whole chain with one separator throughout, or a card spoken of just before."""
    start = chain.spans[first][0]
    if any(map(_STRUCTURE.search, gaps)):
        return False
    if first == 0 and last == len(chain.groups) - 1 and len(set(gaps)) == 1 and len(gaps) > 1:
        return chain.text[start - 1 : start] != "+"
    return (first == 0 or last == len(chain.groups) - 1) and card_words_before(chain.text, start)


def _is_in_postal_barcode(chain: Chain, first: int, last: int) -> bool:
    """Whether the window lies within a postal bar code that begins before it and has one separator throughout."""
    if first == last:
        return False
    for begin in range(first - 1, max(-1, first - 1 - _MOST_POSTAL_GROUPS), -1):
        if chain.gap(begin) != chain.gap(first):
            return False
        if is_postal_barcode(chain.digits, chain.starts[begin], chain.starts[last + 1]):
            return True
    return False
