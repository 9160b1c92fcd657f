"""Card numbers written in digits: plain, separated, numbered, spread over a sentence, or with letters that look like digits."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tokenization.scanner.issuers import LONGEST_PAN, SHORTEST_PAN
from tokenization.scanner.lexicon import FILLERS, UNIT_WORDS, digit_count
from tokenization.scanner.limits import MAX_FILLER_WORDS, MAX_GAP_CHARS
from tokenization.scanner.runs import SHORTEST_LONG_RUN, holds_card, scientific_cards
from tokenization.scanner.shapes import Chain, cards_in

Span = tuple[int, int]

_RUN: Final = re.compile(r"[0-9]+")
_WORD: Final = re.compile(r"[^\W\d_]+")
_COMMON_SIGNS: Final = frozenset({" ", "-", ".", ",", ", ", "/", ":", "\n", "_", '", "', '","'})
_LONGEST_FILLER_GAP_CHARS: Final = 60
# Signs that make a gap part of a structure or a price; fields.py reads structures.
_STRUCTURE: Final = re.compile(r"[\"={}\\$€£¥₹%]|:(?!\s)|(?<![A-Za-z])'|'(?![A-Za-z])")
LONGEST_GROUP_IN_PROSE: Final = 6
_LONG_GROUP: Final = re.compile("[0-9]{4}")  # smaller ones are counts
_FEWEST_GROUPS_IN_PROSE: Final = 3
SPARE_DIGITS_IN_PROSE: Final = 8  # of a numbering, "1st … 4th", "p1 … p8"
_FEWEST_NUMBERED_GROUPS: Final = 2

# A token of digits and their look-alikes that holds a digit early on, or look-alikes of one digit alone.
_LOOK_ALIKE_TOKEN: Final = re.compile(
    r"(?<![^\W_])(?:(?=[A-Za-z]{0,3}[0-9])[0-9OoQDIli]{1,19}|[OoIl]{2,6}"
    r"|(?<=[0-9OoIl] )[OoIl])(?![^\W_])"
)
LOOK_ALIKE_LETTERS: Final = frozenset("OoQDIli")
_LOOK_ALIKES: Final = str.maketrans("OoQDIli", "0000111")


def cards_in_digits(text: str, regions: Sequence[Span]) -> Iterator[Span]:
    """Spans of card numbers written in ASCII digits in the regions of the text, whatever stands between them."""
    for begin, end in regions:
        spans = [match.span() for match in _RUN.finditer(text, begin, end)]
        yield from _in_runs(text, spans)
        if end - begin == len(text):
            yield from _in_prose(text, spans)
            yield from scientific_cards(text)


def _in_runs(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    gaps = [text[before[1] : after[0]] for before, after in pairwise(spans)]
    for row in _rows(spans, gaps):
        yield from _in_row(text, row)
    for begin, end in _equal_neighbours(gaps):
        if _is_odd_separator(gaps[begin]):
            yield from cards_in(_chain(text, spans[begin : end + 1]))
    for start, end in spans:
        if end - start >= SHORTEST_LONG_RUN and holds_card(text, start, end):
            yield start, end


def _in_row(text: str, row: Sequence[Span]) -> Iterator[Span]:
    yield from cards_in(_chain(text, row))
    numbered = _numbered(text, row)
    if numbered:
        yield from cards_in(_chain(text, numbered))


def _chain(text: str, spans: Sequence[Span]) -> Chain:
    return Chain(text, spans, [text[start:end] for start, end in spans])


def cards_in_look_alikes(text: str) -> Iterator[Span]:
    """Spans of card numbers in which letters stand for digits: O for 0, l and I for 1, in tokens that hold digits."""
    translated = _LOOK_ALIKE_TOKEN.sub(lambda token: token[0].translate(_LOOK_ALIKES), text)
    if translated == text:
        return
    spans = [match.span() for match in _RUN.finditer(translated)]
    gaps = [translated[before[1] : after[0]] for before, after in pairwise(spans)]
    for row in _rows(spans, gaps):
        for start, end in _in_row(translated, row):
            if text[start:end] != translated[start:end]:
                yield start, end


def _rows(spans: Sequence[Span], gaps: Sequence[str]) -> Iterator[Sequence[Span]]:
    """Digit groups with nothing but a few signs and filler words between them, where they are long enough for a card."""
    begin = digits = 0
    for at, (start, end) in enumerate(spans):
        digits += end - start
        if at < len(gaps) and (gaps[at] in _COMMON_SIGNS or _joins(gaps[at])):
            continue
        if digits >= SHORTEST_PAN:
            yield spans[begin : at + 1]
        begin, digits = at + 1, 0


def _joins(gap: str) -> bool:
    if gap.isalpha():  # within an identifier, mostly
        return gap.lower() in FILLERS
    first = _WORD.search(gap)
    if first is None:
        return len(gap) <= MAX_GAP_CHARS
    if first[0].lower() not in FILLERS or len(gap) > _LONGEST_FILLER_GAP_CHARS:
        return False
    words = _WORD.findall(gap.lower())
    return len(words) <= MAX_FILLER_WORDS and FILLERS.issuperset(words)


def _numbered(text: str, spans: Sequence[Span]) -> Sequence[Span]:
    """The groups that stand after 1, 2, 3 … where the text begins with such an enumeration; else none."""
    count = 0
    while 2 * count + 1 < len(spans) and text[slice(*spans[2 * count])] == str(count + 1):
        count += 1
    return spans[1 : 2 * count : 2] if count >= _FEWEST_NUMBERED_GROUPS else ()


def _equal_neighbours(gaps: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Begin and end of every row of two or more equal gaps."""
    begin = 0
    for at, gap in enumerate(gaps):
        if gap != gaps[begin]:
            if at - begin > 1:
                yield begin, at
            begin = at
    if len(gaps) - begin > 1:
        yield begin, len(gaps)


def _is_odd_separator(gap: str) -> bool:
    """Whether a gap, such as 4242x4242x or <b>4242</b> <b>, neither joins anyway nor is structure or a unit."""
    return (
        not _joins(gap)
        and "\\" not in gap
        and not _STRUCTURE.search(gap)
        and UNIT_WORDS.isdisjoint(_WORD.findall(gap.lower()))
    )


def _in_prose(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """A text with few digits besides the groups of one card, with words between them."""
    if len(spans) < _FEWEST_GROUPS_IN_PROSE or digit_count(text) > LONGEST_PAN + SPARE_DIGITS_IN_PROSE:
        return
    free = [(start, end) for start, end in spans if not text[start - 1 : start].isalpha()]
    chain = _chain(text, _numbered(text, free) or free)
    if len(chain.groups) < _FEWEST_GROUPS_IN_PROSE or max(map(len, chain.groups)) > LONGEST_GROUP_IN_PROSE:
        return
    if all(_is_prose(chain.gap(index)) for index in range(len(chain.groups) - 1)):
        for start, end in cards_in(chain):
            if _LONG_GROUP.match(text, start):
                yield start, end


def _is_prose(gap: str) -> bool:
    if len(gap) > _LONGEST_FILLER_GAP_CHARS or _STRUCTURE.search(gap):
        return False
    return UNIT_WORDS.isdisjoint(_WORD.findall(gap.lower()))
