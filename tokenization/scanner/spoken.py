"""Card numbers in number words, alone or mixed with digits.

Reads "four two", "forty-two", "forty-two hundred", "four thousand two hundred forty-two", "double four", "triple oh", words run
together, and the digits of five more languages. What is ambiguous ("forty two" is 42 or 40 2; "for" may be 4; "the next
four" may count or be a digit) is read each way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tokenization.scanner.exemptions import are_other_numbers
from tokenization.scanner.lexicon import (
    FILLERS,
    HOMOPHONES,
    NUMBER_WORDS,
    REPEATS,
    SCALES,
    TEENS,
    TENS,
    UNITS,
)
from tokenization.scanner.limits import MAX_FILLER_WORDS, MAX_SPOKEN_GAP_CHARS
from tokenization.scanner.shapes import Chain, is_grouped_like_card

Span = tuple[int, int]

_TOKEN: Final = re.compile(r"[0-9]+|[^\W\d_]+")
_PARTS: Final = sorted((word for word in NUMBER_WORDS if len(word) > 2), key=len, reverse=True)  # "sixty" before "six"
_RUN_TOGETHER: Final = re.compile("(?:" + "|".join(_PARTS) + ")+")
_PART: Final = re.compile("|".join(_PARTS))
_COUNTED: Final = re.compile(
    r"\b(?:first|next|last|final|other|another|second|third|middle)\s+(?:two|three|four|five|six|eight|[2-8])\b"
)
_SHORTEST_RUN_TOGETHER: Final = 6
NUMBER_WORD_BEGINNINGS: Final = frozenset(word[:3] for word in _PARTS)
# The most digits that a word adds to a number, for the cheap test; "quadruple forty-two" is eight. Fillers add none.
MOST_DIGITS: Final = {
    **dict.fromkeys((*FILLERS, "other", "another", "middle"), 0),
    **dict.fromkeys((*UNITS, *HOMOPHONES), 1),
    **dict.fromkeys((*TEENS, *TENS), 2),
    **dict.fromkeys(SCALES, 3),
    **dict.fromkeys(REPEATS, 6),
}
_BEGIN_NUMBER: Final = frozenset({*UNITS, *TEENS, *TENS, *REPEATS, *HOMOPHONES})
_MOST_VARIED_ATOMS: Final = 16  # nineteen digits in pairs, expiry and code
_MOST_REPEATED_DIGITS: Final = 2  # "double forty-two"
_FEWEST_WORD_DIGITS: Final = 4  # fewer than these among written digits is a sentence with a number in it


class Token(NamedTuple):
    """A word or a run of digits, in lower case."""

    text: str
    start: int
    end: int


class Atom(NamedTuple):
    """Digits that were said or written as one, and the token that follows them."""

    digits: str
    start: int
    end: int
    is_word: bool
    next_token: int
    is_joined: bool = False  # tens and units in two words


class Reading(NamedTuple):
    """How to read what is ambiguous."""

    joins_tens: bool = True
    homophones: bool = False
    scales: bool = True  # whether "hundred" or "thousand" occurs at all


def run_together(word: str) -> int:
    """How many number words a lower-case word consists of; 0 if it holds anything else."""
    if word[:3] not in NUMBER_WORD_BEGINNINGS or len(word) < _SHORTEST_RUN_TOGETHER:
        return 0
    return len(_PART.findall(word)) if _RUN_TOGETHER.fullmatch(word) else 0


def tokens_of(text: str) -> list[Token]:
    """The words and digit runs of a lower-case text; number words run together become single tokens."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        word, start = match[0], match.start()
        if word not in MOST_DIGITS and run_together(word):
            tokens.extend(Token(part[0], start + part.start(), start + part.end()) for part in _PART.finditer(word))
        else:
            tokens.append(Token(word, start, match.end()))
    return tokens


def cards_in_speech(text: str) -> Iterator[Span]:
    """Spans of card numbers with at least one number word in the lower-case text."""
    for blanked, reading in _readings(text):
        tokens = tokens_of(blanked)
        for atoms in chains_of(tokens, reading):
            yield from _cards(blanked, atoms)


def _readings(text: str) -> Iterator[tuple[str, Reading]]:
    words = {token.text for token in tokens_of(text)}
    plain = Reading(scales=not words.isdisjoint(SCALES))
    yield text, plain
    if not words.isdisjoint(TENS):
        yield text, plain._replace(joins_tens=False)
    if not words.isdisjoint(HOMOPHONES):
        yield text, plain._replace(homophones=True)
    if _COUNTED.search(text):
        yield _COUNTED.sub(lambda match: "first".ljust(len(match[0])), text), plain


def _cards(text: str, atoms: Sequence[Atom]) -> Iterator[Span]:
    if not any(atom.is_word for atom in atoms):
        return
    for variant in _variants(atoms):
        chain = Chain(text, [(atom.start, atom.end) for atom in variant], [atom.digits for atom in variant])
        free_from = 0
        for first, last in chain.card_windows():
            if first >= free_from and _is_spoken_card(variant, first, last):
                free_from = last + 1
                yield variant[first].start, variant[last].end


def _variants(atoms: Sequence[Atom]) -> Iterator[Sequence[Atom]]:
    """The atoms as they are, then with one "fifty two" at a time read as 50 and 2; not tried in long lists."""
    yield atoms
    if len(atoms) > _MOST_VARIED_ATOMS:
        return
    for at, atom in enumerate(atoms):
        if atom.is_joined:
            halves = (atom._replace(digits=f"{atom.digits[0]}0"), atom._replace(digits=atom.digits[1]))
            yield [*atoms[:at], *halves, *atoms[at + 1 :]]


def _is_spoken_card(atoms: Sequence[Atom], first: int, last: int) -> bool:
    window = atoms[first : last + 1]
    groups = [atom.digits for atom in window]
    spoken = sum(len(atom.digits) for atom in window if atom.is_word)
    if not spoken or are_other_numbers(groups, [" "] * (len(groups) - 1)):
        return False
    return spoken >= _FEWEST_WORD_DIGITS or is_grouped_like_card([len(group) for group in groups])


def chains_of(tokens: Sequence[Token], reading: Reading) -> Iterator[list[Atom]]:
    """Sequences of digits with nothing but a few signs and filler words between them."""
    chain: list[Atom] = []
    fillers = 0
    at = 0
    while at < len(tokens):
        atom = _atom(tokens, at, reading)
        if chain and tokens[at].start - tokens[at - 1].end > MAX_SPOKEN_GAP_CHARS:
            yield chain
            chain = []
        if atom is not None:
            chain.append(atom)
            fillers, at = 0, atom.next_token
            continue
        fillers += 1
        if chain and (tokens[at].text not in FILLERS or fillers > MAX_FILLER_WORDS):
            yield chain
            chain = []
        at += 1
    if chain:
        yield chain


def _atom(tokens: Sequence[Token], at: int, reading: Reading) -> Atom | None:
    """The number that begins at a token: repeated, scaled, tens and units, or single."""
    if tokens[at].text not in _BEGIN_NUMBER and not tokens[at].text.isdigit():
        return None
    for read in (_repeated, _scaled, _below_hundred):
        found = read(tokens, at, reading)
        if found is not None:
            digits, next_token = found
            is_word = any(token.text in NUMBER_WORDS for token in tokens[at:next_token])
            joined = tokens[at].text in TENS and next_token == at + 2
            return Atom(digits, tokens[at].start, tokens[next_token - 1].end, is_word, next_token, joined)
    return None


_Read = tuple[str, int] | None


def _repeated(tokens: Sequence[Token], at: int, reading: Reading) -> _Read:
    times = REPEATS.get(tokens[at].text)
    if times is None or at + 1 >= len(tokens):
        return None
    found = _below_hundred(tokens, at + 1, reading)
    return (found[0] * times, found[1]) if found and len(found[0]) <= _MOST_REPEATED_DIGITS else None


def _below_hundred(tokens: Sequence[Token], at: int, reading: Reading) -> _Read:
    word = tokens[at].text
    if word.isdigit():
        return word, at + 1
    digit = UNITS.get(word) or TEENS.get(word) or (HOMOPHONES.get(word) if reading.homophones else None)
    if digit is not None:
        return digit, at + 1
    tens = TENS.get(word)
    if tens is None:
        return None
    unit = UNITS.get(tokens[at + 1].text, "0") if at + 1 < len(tokens) else "0"
    hyphenated = at + 1 < len(tokens) and tokens[at + 1].start - tokens[at].end <= (1 if reading.joins_tens else 0)
    return (tens[0] + unit, at + 2) if unit != "0" and hyphenated else (tens, at + 1)


def _scaled(tokens: Sequence[Token], at: int, reading: Reading) -> _Read:
    """Numbers with "hundred" or "thousand": at most two scales, largest first, "and" allowed."""
    if not reading.scales:
        return None
    value, next_token = 0, at
    for scales in (frozenset(SCALES), frozenset({"hundred"})):
        part = _scaled_part(tokens, next_token, reading, scales)
        if part is None:
            break
        amount, next_token = part
        value += amount
        if value < SCALES["thousand"] or tokens[next_token - 1].text == "hundred":
            break
    if not value:
        return None
    rest = _small_rest(tokens, next_token, reading)
    return (str(value + rest[0]), rest[1]) if rest else (str(value), next_token)


def _scaled_part(tokens: Sequence[Token], at: int, reading: Reading, scales: frozenset[str]) -> tuple[int, int] | None:
    """A number below a hundred times one of the scales."""
    found = _below_hundred(tokens, at, reading) if at < len(tokens) else None
    if found is None or len(found[0]) > 2 or found[1] >= len(tokens) or found[0] == "0":
        return None
    scale = tokens[found[1]].text
    return (int(found[0]) * SCALES[scale], found[1] + 1) if scale in scales else None


def _small_rest(tokens: Sequence[Token], at: int, reading: Reading) -> tuple[int, int] | None:
    """What follows a scale after one sign: 1 to 99, not itself scaled and not a zero said as a digit."""
    if at < len(tokens) and tokens[at].start - tokens[at - 1].end > 1:
        return None
    if at < len(tokens) and tokens[at].text == "and":
        at += 1
    found = _below_hundred(tokens, at, reading) if at < len(tokens) else None
    if found is None or len(found[0]) > 2 or found[0][0] == "0" or tokens[at].text.isdigit():
        return None
    if found[1] < len(tokens) and tokens[found[1]].text in SCALES:
        return None
    return int(found[0]), found[1]
