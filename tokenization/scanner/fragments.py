"""Digit fragments: the pieces of numbers that a message or a field holds, and the rule that joins them to a card.

What must hold before fragments of several messages are joined, because quantities, prices, postcodes and telephone numbers
follow one another in every conversation:
 1. Together they have an issued prefix, a length that goes with it and a right check digit, and are no series and no dates.
 2. They are cut as cards are written: fours, or a printed form; and pieces of eight or twelve digits are written in fours,
    spoken, or all that their message says.
 3. Or each is all that its message says, at most eight digits long, and the row of such messages begins with the first.
 4. Or each is all that its message says, and a card was spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from tokenization.scanner.exemptions import are_other_numbers
from tokenization.scanner.issuers import LONGEST_PAN, SHORTEST_PAN, is_card_number
from tokenization.scanner.lexicon import SMALL_TALK, UNIT_WORDS
from tokenization.scanner.shapes import is_grouped_like_card
from tokenization.scanner.spoken import Atom, Reading, Token, chains_of, tokens_of

_LONGEST_FRAGMENT_DIGITS: Final = LONGEST_PAN - 1
_LONGEST_BARE_DIGITS: Final = 8  # (3): a telephone number or an identifier is longer
_LONGEST_TOLD_DIGITS: Final = 9  # (4)
_FOUR: Final = 4
_CURRENCY: Final = frozenset("$€£¥₹#")
_PRICE_OR_TIME: Final = re.compile(r"[.,:/]")


class Fragment(NamedTuple):
    """Digits of one message. ``bare``: the message says nothing else. Its repr hides the digits, for tracebacks and logs."""

    digits: str
    sizes: tuple[int, ...]
    bare: bool
    spoken: bool
    start: int = 0
    end: int = 0

    @property
    def is_in_fours(self) -> bool:
        """Whether it is written in two or more groups of four, of which the last may be shorter."""
        return len(self.sizes) > 1 and self.sizes[-1] <= _FOUR and all(size == _FOUR for size in self.sizes[:-1])

    def __repr__(self) -> str:
        return f"Fragment({len(self.digits)} digits)"


def fragments_of(text: str) -> list[Fragment]:
    """The fragments in a folded, lower-case text, in order. Prices, times, dates and parts of codes are not fragments."""
    tokens = tokens_of(text)
    chains = list(chains_of(tokens, Reading()))
    bare = len(chains) == 1 and _says_only(tokens, chains[0])
    found = (_fragment(text, tokens, chain, bare) for chain in chains)
    return [fragment for fragment in found if fragment]


def _says_only(tokens: Sequence[Token], chain: Sequence[Atom]) -> bool:
    start, end = chain[0].start, chain[-1].end
    return all(start <= token.start < end or token.text in SMALL_TALK for token in tokens)


def _fragment(text: str, tokens: Sequence[Token], chain: Sequence[Atom], bare: bool) -> Fragment | None:
    digits = "".join(atom.digits for atom in chain)
    start, end = chain[0].start, chain[-1].end
    if len(digits) > _LONGEST_FRAGMENT_DIGITS or _is_part_of_code(text, start, end):
        return None
    groups = [atom.digits for atom in chain]
    gaps = [text[before.end : after.start] for before, after in pairwise(chain)]
    may_be_others = 1 < len(groups) < len(digits)  # neither written in one piece nor digit by digit
    if (may_be_others and are_other_numbers(groups, gaps)) or _is_price_or_time(groups, gaps):
        return None
    following = chain[-1].next_token
    if following < len(tokens) and tokens[following].text in UNIT_WORDS:
        return None
    return Fragment(digits, tuple(map(len, groups)), bare, any(atom.is_word for atom in chain), start, end)


def _is_part_of_code(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return before.isalpha() or after.isalpha() or before in _CURRENCY or after == "%"


def _is_price_or_time(groups: Sequence[str], gaps: Sequence[str]) -> bool:
    return len(groups) == 2 and _PRICE_OR_TIME.fullmatch(gaps[0]) is not None and len(groups[1]) <= 3


def joined_card(rows: Sequence[Sequence[Fragment]], card_spoken_of: bool) -> bool:
    """Whether fragments of two or more rows (messages, oldest first) that end in the last row make a card."""
    flat = [(row, fragment) for row, fragments in enumerate(rows) for fragment in fragments]
    fours = [item for item in flat if len(item[1].digits) % _FOUR == 0 or item is flat[-1]]
    return any(
        _is_joined_card([fragment for _, fragment in window], _begins_bare_row(flat, window[0]), card_spoken_of)
        for items in ((flat, fours) if len(fours) < len(flat) else (flat,))
        for window in _windows(items, len(rows) - 1)
    )


_Item = tuple[int, Fragment]


def _windows(items: Sequence[_Item], last_row: int) -> Iterator[Sequence[_Item]]:
    """Windows of two or more rows that end in the last one and have a card's prefix, length and check digit (1)."""
    for end in range(len(items), 0, -1):
        if items[end - 1][0] != last_row:
            return
        digits = ""
        for start in range(end - 1, -1, -1):
            digits = items[start][1].digits + digits
            if len(digits) > LONGEST_PAN:
                break
            if items[start][0] != last_row and len(digits) >= SHORTEST_PAN and is_card_number(digits):
                yield items[start:end]


def _begins_bare_row(flat: Sequence[_Item], first: _Item) -> bool:
    at = flat.index(first)
    return at == 0 or not flat[at - 1][1].bare


def _is_joined_card(window: Sequence[Fragment], begins_row: bool, card_spoken_of: bool) -> bool:
    digits = [fragment.digits for fragment in window]
    if are_other_numbers(digits, [" "] * (len(digits) - 1)):  # (1)
        return False
    old = sum(map(len, digits)) == SHORTEST_PAN and max(map(len, digits)) > _FOUR
    if _is_cut_like_card(window) and (
        not old or all(fragment.is_in_fours or fragment.spoken for fragment in window)
    ):  # (2)
        return True
    bare = all(fragment.bare for fragment in window) and sum(map(len, digits)) > SHORTEST_PAN
    longest = max(map(len, digits))
    short = longest <= _LONGEST_BARE_DIGITS and begins_row  # (3)
    return bare and (short or (longest <= _LONGEST_TOLD_DIGITS and card_spoken_of))  # (4)


def _is_cut_like_card(window: Sequence[Fragment]) -> bool:
    """(2) By messages in fours, the last one with the rest; or by the groups within the messages."""
    sizes = [size for fragment in window for size in fragment.sizes]
    in_fours = all(len(fragment.digits) % _FOUR == 0 for fragment in window[:-1])
    if not in_fours and not (min(sizes) >= _FOUR and is_grouped_like_card(sizes)):
        return False
    return all(_is_plain(fragment) for fragment in window)


def _is_plain(fragment: Fragment) -> bool:
    return len(fragment.digits) <= _FOUR or fragment.bare or fragment.spoken or fragment.is_in_fours
