"""The puzzle: asked for when tries are many, answered by work or by waiting, good for one link and one try."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from vault_zone.puzzle import (
    AGE_AT_EASIEST_SECONDS,
    EASIEST_BITS,
    FREE_TRIES,
    HARDEST_BITS,
    OLDEST_AGE_SECONDS,
    Puzzle,
    age_instead_seconds,
    bits_needed,
    bits_proven,
    make_puzzle,
    read_challenge,
    zero_bits,
)

NOW_MS = 1_795_000_000_000
KEY, KEY_ID = b"k" * 32, "key_" + "b" * 32
BITS = 6


def a_puzzle(bits: int = BITS, session: str = "cap_a", tries: int = 3) -> Puzzle:
    return make_puzzle(KEY_ID, KEY, session=session, tries=tries, bits=bits, now_ms=NOW_MS)


def answer_to(puzzle: Puzzle) -> str:
    return next(str(number) for number in range(10_000) if zero_bits(puzzle.seed, str(number)) >= puzzle.bits)


def wrong_answer_to(puzzle: Puzzle) -> str:
    return next(str(number) for number in range(10_000) if zero_bits(puzzle.seed, str(number)) < puzzle.bits)


def proven(
    challenge: str, answer: str, *, key: bytes = KEY, session: str = "cap_a", tries: int = 3, later_seconds: int = 0
) -> int | None:
    claimed = read_challenge(challenge)
    assert claimed is not None
    return bits_proven(claimed, key, answer, session=session, tries=tries, now_ms=NOW_MS + later_seconds * 1000)


def test_an_answer_is_good_at_once_and_a_wrong_one_only_with_the_challenge_s_age() -> None:
    puzzle = a_puzzle()
    assert proven(puzzle.challenge, answer_to(puzzle)) == BITS
    for answer in (wrong_answer_to(puzzle), "", "-1", "0x1", "١", "9" * 40):
        assert proven(puzzle.challenge, answer) is None
        assert proven(puzzle.challenge, answer, later_seconds=AGE_AT_EASIEST_SECONDS) == BITS


@requirement("6.2.4")
def test_an_answer_is_good_for_its_own_link_try_and_merchant_alone() -> None:
    puzzle = a_puzzle()
    answer = answer_to(puzzle)
    assert proven(puzzle.challenge, answer, session="cap_b") is None
    assert proven(puzzle.challenge, answer, tries=4) is None
    assert proven(puzzle.challenge, answer, key=b"m" * 32) is None
    assert proven(puzzle.challenge, answer, session="cap_b", later_seconds=3_600) is None, (
        "waiting proves nothing either"
    )


def test_nothing_in_a_challenge_can_be_altered() -> None:
    puzzle = a_puzzle()
    parts = puzzle.challenge.split(".")
    other = a_puzzle().challenge.split(".")
    for at, part in ((1, "key_" + "c" * 32), (2, "0"), (3, "1"), (4, other[4]), (5, other[5])):
        altered = ".".join([*parts[:at], part, *parts[at + 1 :]])
        assert proven(altered, answer_to(puzzle), later_seconds=3_600) is None, at


def test_no_two_challenges_are_alike() -> None:
    assert a_puzzle().seed != a_puzzle().seed


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_any_text_is_a_challenge_or_none(text: str) -> None:
    assert read_challenge(text) is None


def test_the_first_tries_cost_nothing_and_each_refusal_doubles_the_work() -> None:
    bits = [bits_needed(tries, 0) for tries in range(10)]
    assert bits[:FREE_TRIES] == [0] * FREE_TRIES
    assert bits[FREE_TRIES] == EASIEST_BITS
    assert bits == sorted(bits)
    assert bits[-1] == HARDEST_BITS


def test_pressure_asks_everybody_and_more_of_it_asks_more() -> None:
    assert [bits_needed(0, share) for share in (0, 0.24, 0.25, 0.5, 1.0)] == [
        0,
        0,
        EASIEST_BITS,
        EASIEST_BITS + 2,
        HARDEST_BITS,
    ]


def test_waiting_instead_grows_with_the_bits_and_ends() -> None:
    ages = [age_instead_seconds(bits) for bits in (0, EASIEST_BITS, EASIEST_BITS + 1, HARDEST_BITS)]
    assert ages == [0, AGE_AT_EASIEST_SECONDS, 2 * AGE_AT_EASIEST_SECONDS, OLDEST_AGE_SECONDS]


@pytest.mark.parametrize("answer", ["0", "11", "48213"])
def test_zero_bits_are_those_with_which_sha_256_begins(answer: str) -> None:
    written = "".join(f"{byte:08b}" for byte in hashlib.sha256(f"seed.{answer}".encode()).digest())
    assert zero_bits("seed", answer) == written.index("1")
