"""Work is counted, not timed: calls of Python and C functions, which grow with every step that is not inside one C call.

What happens inside one call of a pattern is bounded by the patterns themselves; a pattern that went back and forth over a long
text would exceed this file's time limit.
"""

import base64
import sys
from collections.abc import Callable
from random import Random
from types import FrameType

import pytest

from tests.tokenization.scanner.corpus import common_card
from tokenization.scanner import contains_card_in_bytes, find_cards, redact
from tokenization.scanner.limits import MAX_TEXT_CHARS

pytestmark = pytest.mark.timeout(120)

ONE_MEGABYTE = 1_000_000
SMALL = 8_000
GROWTH = 2.5  # for twice the length; linear work doubles

PATTERNS = {
    "digits": "4",
    "spaced digits": "4 2 ",
    "groups": "4242 4241 ",
    "pairs of digits": "42-41 ",
    "words": "four two ",
    "one-letter words": "o ",
    "tens": "forty two ",
    "doubles": "double ",
    "words run together": "fourtwo",
    "thousands": "four thousand ",
    "fillers": "and then 4 ",
    "percent": "%34",
    "nested percent": "%2525252534",
    "ampersands": "&",
    "entities": "&#52;",
    "tags": "<a",
    "backslashes": "\\",
    "escapes": "\\u0034",
    "base64": base64.b64encode(b"4242424242424242 ").decode().rstrip("="),
    "base64 pieces": "NDI0Mg== ",
    "base64 lines": "AAAAAAAAAAAAAAAAAAAA\n",
    "hex": "34",
    "spaced hex": "34 ",
    "look-alikes": "4O ",
    "glued look-alikes": "O4",
    "pairs": "p1=4242&",
    "colons": ":4",
    "codes": "cvc ",
    "code links": "cvc is is ",
    "dotted codes": "c_v",
    "points": "1.",
    "long gaps": "4.......",
    "letters between": "4x",
    "full-width": "４",
    "marks": "4\u0301",
    "circled": "㊷",
    "IBANs": "DE89",
    "plus signs": "+4",
    "floats": "4.2e15 ",
    "postal codes": "9400 ",
    "quotes": '"4242",',
    "brackets": "[",
    "braces": '{"a":',
}


def calls_of(work: Callable[[], object]) -> int:
    count = 0

    def counted(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def repeated(pattern: str, length: int) -> str:
    return (pattern * (length // len(pattern) + 1))[:length]


@pytest.mark.parametrize("name", PATTERNS)
def test_work_grows_with_the_length_of_a_hostile_text_and_no_faster(name: str) -> None:
    small = calls_of(lambda: find_cards(repeated(PATTERNS[name], SMALL)))
    large = calls_of(lambda: find_cards(repeated(PATTERNS[name], 2 * SMALL)))
    assert large <= GROWTH * small + 1_000


@pytest.mark.parametrize("alphabet", ["0123456789 .-onetwofur", "0123456789%&;#x\\u<>=\"'", "0123456789", "0Ol1 "])
def test_work_on_noise_grows_no_faster_than_its_length(alphabet: str) -> None:
    noise = "".join(Random(1).choices(alphabet, k=SMALL))
    assert calls_of(lambda: find_cards(noise + noise)) <= GROWTH * calls_of(lambda: find_cards(noise)) + 1_000


@pytest.mark.parametrize("name", PATTERNS)
def test_a_megabyte_is_refused_at_once(name: str) -> None:
    text = repeated(PATTERNS[name], ONE_MEGABYTE)
    assert calls_of(lambda: find_cards(text)) < 50
    assert calls_of(lambda: redact(text)) < 50
    assert [finding.kind for finding in find_cards(text)] == ["too_large"]
    assert contains_card_in_bytes(text.encode(), None)


@pytest.mark.parametrize(
    "name", ["backslashes", "tags", "ampersands", "base64 lines", "brackets", "points", "long gaps"]
)
def test_the_longest_text_that_is_read_is_read_to_its_end(name: str) -> None:
    digits = common_card(Random(3))
    text = repeated(PATTERNS[name], MAX_TEXT_CHARS - 40) + " and then card " + digits
    assert find_cards(text)
