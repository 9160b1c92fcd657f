"""Finds card-like text in one string: the rules, each behind a cheap test, on the text and on what it decodes to.

What must hold:
 1. A rule is skipped only if the text cannot hold what the rule finds; the result is the same as without any skipping.
 2. Work is linear in the length of the text, and what exceeds a bound is reported as ``too_large``, never passed over.
 3. A finding says where in the original text it is and holds none of it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from tokenization.scanner.codes import codes_in
from tokenization.scanner.decoders import decoded
from tokenization.scanner.fields import pairs_in, split_cards
from tokenization.scanner.finding import Finding, Kind
from tokenization.scanner.fold import fold
from tokenization.scanner.limits import MAX_DECODE_DEPTH, MAX_DECODED_GROWTH, MAX_FINDINGS, MAX_TEXT_CHARS
from tokenization.scanner.spoken import cards_in_speech
from tokenization.scanner.structure import TooLargeError, items_of, joined_cards, parsed
from tokenization.scanner.traits import (
    Traits,
    digit_regions,
    is_too_short,
    may_hold_codes,
    may_hold_look_alikes,
    may_hold_pairs,
    may_hold_speech,
    may_hold_structure,
)
from tokenization.scanner.views import View
from tokenization.scanner.written import cards_in_digits, cards_in_look_alikes

Hit = tuple[Kind, int, int]

_LEAST_GROWTH_CHARS: Final = 4_096


def find_cards(text: str) -> list[Finding]:
    """Every piece of card-like text, in order of place; findings do not overlap.

    A text longer than ``MAX_TEXT_CHARS`` is not read: it is one finding of kind ``too_large``.
    """
    findings: list[Finding] = []
    for finding in _findings(text):
        if finding.kind == "too_large" or len(findings) == MAX_FINDINGS:
            return [Finding("too_large", 0, len(text))]
        at = bisect_left(findings, finding.offset, key=lambda other: other.offset)
        if not _overlaps(finding, findings[max(0, at - 1) : at + 1]):
            findings.insert(at, finding)
    return findings


def _overlaps(finding: Finding, others: Sequence[Finding]) -> bool:
    start, end = finding.offset, finding.offset + finding.length
    return any(start < other.offset + other.length and other.offset < end for other in others)


def contains_card(text: str) -> bool:
    """Whether ``find_cards`` would find anything; stops at the first."""
    return next(_findings(text), None) is not None


def _findings(text: str) -> Iterator[Finding]:
    if len(text) > MAX_TEXT_CHARS:  # (2)
        yield Finding("too_large", 0, len(text))
        return
    if is_too_short(text):  # (1)
        return
    view = fold(View(text))
    allowance = MAX_DECODED_GROWTH * len(text) + _LEAST_GROWTH_CHARS
    for _ in range(MAX_DECODE_DEPTH + 1):
        traits = Traits(view.text)
        for kind, start, end in hits(traits):
            yield _placed(view, kind, start, end)
        clear = decoded(view, traits)
        if clear is None:
            return
        view = fold(clear)
        allowance -= len(view.text)
        if allowance < 0:
            yield Finding("too_large", 0, len(text))  # (2)
            return


def _placed(view: View, kind: Kind, start: int, end: int) -> Finding:
    first, last = view.origin(start, end)  # (3)
    decoder = view.kind(start, end) if kind not in {"cvc", "too_large"} else None
    return Finding(decoder or kind, first, last - first)


def hits(traits: Traits) -> Iterator[Hit]:
    """What the rules find in a folded text; each is tried only where it can find something (1)."""
    text = traits.text
    regions = digit_regions(traits)
    if regions:
        yield from (("digits", *span) for span in cards_in_digits(text, regions))
    if may_hold_pairs(traits):
        yield from (("fields", first.start, last.end) for first, last in split_cards(pairs_in(text), pads=False))
    if may_hold_structure(traits):
        yield from _in_structure(text)
    if may_hold_look_alikes(traits):
        yield from (("digits", *span) for span in cards_in_look_alikes(text))
    if may_hold_speech(traits):
        yield from (("spoken", *span) for span in cards_in_speech(traits.lower))
    if may_hold_codes(traits):
        yield from (("cvc", *span) for span in codes_in(traits.lower))


def _in_structure(text: str) -> Iterator[Hit]:
    """A card split over the leaves of a text that is JSON. What parses but is too large or deep is refused (2)."""
    try:
        value = parsed(text)
        if value is not None and next(joined_cards(items_of(value), pads=False), None) is not None:
            yield "fields", 0, len(text)
    except (TooLargeError, RecursionError):
        yield "too_large", 0, len(text)
