"""Cards split over the fields of one structure: JSON arrays and objects, form fields, or key-value pairs in a text.

What must hold before fields are joined, because prices and identifiers stand side by side in every catalogue:
 1. Each is nothing but one to eight digits, written or spoken; a longer one is an identifier of its own and joins nothing.
 2. They follow one another without another value between, or their keys count: p0, p1 …; a, b …; first, second …
 3. Keys that count may split the number anyhow. Otherwise the fields are cut as cards are written; the values of an array may
    be cut anyhow if they are all it holds. Two halves, integers of more than one digit and unusual cuts join only where no
    word for money, measure or identity names them.
 4. The digits have an issued prefix, a length that goes with it and a right check digit, and are no series and no dates.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from tokenization.scanner.exemptions import are_other_numbers
from tokenization.scanner.issuers import LONGEST_PAN, SHORTEST_PAN, is_card_number
from tokenization.scanner.lexicon import FILLERS, HOMOPHONES, NUMBER_WORDS, UNIT_WORDS
from tokenization.scanner.limits import MAX_FIELD_DIGITS, MAX_SPOKEN_GAP_CHARS
from tokenization.scanner.shapes import is_grouped_like_card
from tokenization.scanner.spoken import Reading, chains_of, run_together, tokens_of

_WRITTEN: Final = re.compile(rf"[\W_]{{0,8}}([0-9]{{1,{MAX_FIELD_DIGITS}}})[\W_]{{0,8}}")
_LONGEST_SPOKEN_CHARS: Final = 80
_KEY_INDEX: Final = re.compile(r"(.*?)([0-9]{1,2}|(?<![A-Za-z])[A-Za-z]|(?<![A-Za-z])[A-Za-z]{2,7})[\W_]*", re.DOTALL)
_RUN: Final = re.compile("[0-9]+")
_WORD: Final = re.compile(r"[^\W\d_]+")
_VALUE: Final = re.compile(r"([:=]>?)[ \t]{0,3}([\"']?)([0-9]{1,8})\2(?=[\s,;&}\])|\"']|\.(?![0-9])|\Z)")
_KEY: Final = re.compile(r"(?<![\w.])[\"']?([A-Za-z_][\w.\-]{0,31}(?:\[[0-9]{0,2}\])?)[\"']?[ \t]{0,3}\Z")
_LONGEST_KEY_CHARS: Final = 48
_BETWEEN_PAIRS: Final = re.compile(r"[\s,;&{}\[\]|.]{0,8}")
_ORDINALS: Final = tuple(
    row.split()
    for row in (
        "first second third fourth fifth sixth seventh eighth",
        "one two three four five six seven eight",
        "alpha beta gamma delta epsilon zeta",
        "start middle end",
        "begin middle end",
        "front back",
        "head tail",
        "left right",
        "high low",
        "hi lo",
    )
)
_ORDINAL_PLACES: Final = {word: (row[0], place) for row in _ORDINALS for place, word in enumerate(row)}
_IDENTITY_WORDS: Final = (
    "id ids sku skus zip zips postal postcode postcodes order orders prices amounts totals sizes pin ref refs code codes"
    " year years values counts scores stock sales points phone phones x y width height"
)
_OTHER_NAMES: Final = UNIT_WORDS.union(_IDENTITY_WORDS.split())
_PADDED_DIGITS: Final = 4  # 0056 becomes 56 as an integer


class Leaf(NamedTuple):
    """One value of a structure, in document order. ``digits`` is "" unless the value is one to eight digits and no more."""

    digits: str
    key: str = ""
    is_integer: bool = False
    container: int = 0
    in_array: bool = False
    start: int = 0
    end: int = 0


def digits_of(text: str) -> str:
    """The one to eight digits that a folded text consists of, written or spoken; "" if it says anything else (1)."""
    match = _WRITTEN.fullmatch(text)
    if match:
        return match[1]
    if not 2 < len(text) <= _LONGEST_SPOKEN_CHARS:
        return ""
    words = _WORD.findall(text)
    if not words:
        return _digits_between_signs(text)
    if not all(map(_may_be_spoken, words)):
        return ""
    tokens = tokens_of(text.lower())
    chain = next(chains_of(tokens, Reading()), None)
    if not chain or chain[0].start != tokens[0].start or chain[-1].end != tokens[-1].end:
        return ""
    digits = "".join(atom.digits for atom in chain)
    return digits if len(digits) <= MAX_FIELD_DIGITS else ""


def _digits_between_signs(text: str) -> str:
    """The digits of a text without words, where no more signs stand between them than chains_of() allows."""
    runs = list(_RUN.finditer(text))
    if any(after.start() - before.end() > MAX_SPOKEN_GAP_CHARS for before, after in pairwise(runs)):
        return ""
    digits = "".join(run[0] for run in runs)
    return digits if len(digits) <= MAX_FIELD_DIGITS else ""


def _may_be_spoken(word: str) -> bool:
    word = word.lower()
    return word in NUMBER_WORDS or word in FILLERS or word in HOMOPHONES or run_together(word) > 0


def split_cards(leaves: Sequence[Leaf], *, pads: bool) -> Iterator[tuple[Leaf, Leaf]]:
    """First and last leaf of every card that the leaves of one document make when joined.

    ``pads``: integers under keys that count are also tried with the zeros that an integer cannot begin with.
    """
    for run in _runs(leaves):
        yield from _in_run(run)
    for series in _counted(leaves):
        yield from _in_series(series, pads=pads)


def pairs_in(text: str) -> list[Leaf]:
    """The key-value pairs of digits in a folded text, with an empty leaf where something else stands between two."""
    values = list(_VALUE.finditer(text))
    if sum(len(value[3]) for value in values) < SHORTEST_PAN:
        return []
    leaves: list[Leaf] = []
    end = 0
    for value in values:
        searched_from = max(end, value.start() - _LONGEST_KEY_CHARS)
        key = _KEY.search(text[searched_from : value.start()])
        if key is None:
            continue
        if leaves and not _BETWEEN_PAIRS.fullmatch(text, end, searched_from + key.start()):
            leaves.append(Leaf(""))
        end = value.end()
        separator, quote, digits = value.groups()
        leaves.append(Leaf(digits, key[1], separator == ":" and not quote, start=value.start(3), end=value.end(3)))
    return leaves


def _runs(leaves: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """Leaves of digits that follow one another (2)."""
    run: list[Leaf] = []
    for leaf in leaves:
        if leaf.digits:
            run.append(leaf)
            continue
        if len(run) > 1:
            yield run
        run = []
    if len(run) > 1:
        yield run


def _card_windows(run: Sequence[Leaf]) -> Iterator[tuple[int, int]]:
    """Begin and end of every window of two or more leaves that has a card's digits (4)."""
    for begin in range(len(run) - 1):
        digits = ""
        for end in range(begin, len(run)):
            digits += run[end].digits
            if len(digits) > LONGEST_PAN:
                break
            if end > begin and len(digits) >= SHORTEST_PAN and is_card_number(digits):
                yield begin, end + 1


def _in_run(run: Sequence[Leaf]) -> Iterator[tuple[Leaf, Leaf]]:
    for begin, end in _card_windows(run):
        if _is_split_card(run, begin, end):
            yield run[begin], run[end - 1]


def _is_split_card(run: Sequence[Leaf], begin: int, end: int) -> bool:
    """(3)"""
    window = run[begin:end]
    sizes = [len(leaf.digits) for leaf in window]
    whole = _is_whole_container(run, begin, end)
    if _are_other(window):
        return False
    if max(sizes) == 1:
        return whole or (begin == 0 and end == len(run))
    ordinary = is_grouped_like_card(sizes)
    if ordinary and len(window) > 2 and not any(leaf.is_integer for leaf in window):
        return whole or _is_not_cut_out(run, begin, end)
    return whole and (ordinary or window[0].in_array) and not any(_is_named_otherwise(leaf.key) for leaf in window)


def _is_whole_container(run: Sequence[Leaf], begin: int, end: int) -> bool:
    """Whether the window holds every neighbouring leaf of its one container."""
    container = run[begin].container
    alone = all(leaf.container == container for leaf in run[begin:end])
    before = begin > 0 and run[begin - 1].container == container
    after = end < len(run) and run[end].container == container
    return alone and not before and not after


def _is_not_cut_out(run: Sequence[Leaf], begin: int, end: int) -> bool:
    size = len(run[begin].digits)
    return begin == 0 or end == len(run) or len(run[begin - 1].digits) != size or len(run[end].digits) != size


def _is_named_otherwise(key: str) -> bool:
    words = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return not _OTHER_NAMES.isdisjoint(words)


def _are_other(window: Sequence[Leaf]) -> bool:
    return are_other_numbers([leaf.digits for leaf in window], [","] * (len(window) - 1))


def _counted(leaves: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """Leaves of one container whose keys count, in counting order and as they stand (2)."""
    groups: dict[tuple[int, str], list[tuple[int, Leaf]]] = defaultdict(list)
    for leaf in leaves:
        if leaf.digits and leaf.key and not leaf.in_array and not _is_named_otherwise(leaf.key):
            for stem, place in _places(leaf.key):
                groups[leaf.container, stem].append((place, leaf))
    for group in groups.values():
        ordered = sorted(group, key=lambda item: item[0])
        places = [place for place, _ in ordered]
        if len(group) > 1 and all(after - before == 1 for before, after in pairwise(places)):
            yield [leaf for _, leaf in ordered]
            yield [leaf for _, leaf in group]


def _places(key: str) -> Iterator[tuple[str, int]]:
    """What a key counts and where it stands in the count, in each way that it may be read."""
    match = _KEY_INDEX.fullmatch(key)
    if not match:
        return
    stem, index = match[1].lower(), match[2].lower()
    if index.isdigit():
        yield f"{stem}#", int(index)
    elif len(index) == 1:
        yield f"{stem}@", ord(index)
    for row in {index, key.lower()} & _ORDINAL_PLACES.keys():
        yield f"{stem}{_ORDINAL_PLACES[row][0]}", _ORDINAL_PLACES[row][1]


def _in_series(series: Sequence[Leaf], *, pads: bool) -> Iterator[tuple[Leaf, Leaf]]:
    for leaves in (series, *(_padded(series) if pads else ())):
        for begin, end in _card_windows(leaves):
            if not _are_other(leaves[begin:end]):
                yield series[begin], series[end - 1]


def _padded(series: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """The series with every integer as four digits, and the last one as fewer."""
    padded = [leaf._replace(digits=leaf.digits.zfill(_PADDED_DIGITS)) if leaf.is_integer else leaf for leaf in series]
    yield padded
    for width in range(1, _PADDED_DIGITS):
        yield [*padded[:-1], series[-1]._replace(digits=series[-1].digits.zfill(width))]
