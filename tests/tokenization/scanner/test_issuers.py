from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import with_check_digit
from tokenization.scanner.issuers import (
    ISSUER_RANGES,
    LENGTHS_BY_PREFIX,
    LONGEST_PAN,
    SHORTEST_PAN,
    IssuerRange,
    is_card_number,
    passes_luhn,
)

# Published test numbers of the schemes and of processors.
PUBLISHED = (
    "4242424242424242",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "3056930009020004",
    "3566002020360505",
    "6200000000000005",
    "6205500000000000004",
)


@given(body=st.text("0123456789", min_size=1, max_size=30))
def test_the_check_digit_passes_and_every_other_digit_fails(body: str) -> None:
    number = with_check_digit(body)
    assert passes_luhn(number)
    assert not any(passes_luhn(body + digit) for digit in "0123456789" if digit != number[-1])


@given(body=st.text("0123456789", min_size=12, max_size=18), at=st.integers(0, 11), step=st.integers(1, 9))
def test_no_single_mistyped_digit_passes(body: str, at: int, step: int) -> None:
    number = with_check_digit(body)
    mistyped = number[:at] + str((int(number[at]) + step) % 10) + number[at + 1 :]
    assert not passes_luhn(mistyped)


@pytest.mark.parametrize("number", PUBLISHED)
def test_published_test_numbers_are_card_numbers(number: str) -> None:
    assert is_card_number(number)


@pytest.mark.parametrize("issuer", ISSUER_RANGES, ids=lambda issuer: f"{issuer.scheme} {issuer.first}")
def test_both_ends_of_every_range_are_issued_in_every_length(issuer: IssuerRange) -> None:
    rng = Random(1)
    for prefix in (issuer.first, issuer.last):
        for length in issuer.lengths:
            body = f"{prefix:04d}" + "".join(rng.choices("0123456789", k=length - 5))
            assert is_card_number(with_check_digit(body))


@given(digits=st.text("0123456789", min_size=1, max_size=40))
def test_a_number_of_another_length_is_no_card(digits: str) -> None:
    if not SHORTEST_PAN <= len(digits) <= LONGEST_PAN:
        assert not is_card_number(digits)


def test_no_range_begins_with_the_first_digits_of_times() -> None:
    assert not any(prefix[0] in "01" or prefix[:2] in {"19", "20"} for prefix in LENGTHS_BY_PREFIX)


def test_ranges_lie_within_the_standard() -> None:
    for issuer in ISSUER_RANGES:
        assert 0 < issuer.first <= issuer.last <= 9999
        assert set(issuer.lengths) <= set(range(SHORTEST_PAN, LONGEST_PAN + 1))
