"""The card table: published test numbers, each with one behaviour, and a search for numbers in text."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vault_zone.processors.sandbox_server.cards import (
    OWN_MEANING,
    PUBLISHED_CARDS,
    Behaviour,
    Brand,
    DeclineCode,
    Source,
    find,
    holds_card_number,
    luhn_valid,
)

NUMBERS = st.sampled_from([card.number for card in PUBLISHED_CARDS])
DECLINING = {Behaviour.DECLINE, Behaviour.CHALLENGE_THEN_DECLINE}


def with_check_digit(digits: str) -> str:
    return next(digits + check for check in "0123456789" if luhn_valid(digits + check))


def test_every_number_stands_in_the_table_once_and_has_a_right_check_digit() -> None:
    assert set(Counter(card.number for card in PUBLISHED_CARDS).values()) == {1}
    assert all(luhn_valid(card.number) for card in PUBLISHED_CARDS)


def test_every_behaviour_and_every_brand_has_a_card() -> None:
    assert {card.behaviour for card in PUBLISHED_CARDS} == set(Behaviour)
    assert {card.brand for card in PUBLISHED_CARDS} == set(Brand)


def test_every_reason_to_decline_has_a_card_except_the_two_of_authentication() -> None:
    codes = {card.decline_code for card in PUBLISHED_CARDS if card.behaviour is Behaviour.DECLINE}
    assert codes == set(DeclineCode) - {DeclineCode.AUTHENTICATION_FAILED, DeclineCode.AUTHENTICATION_REQUIRED}


def test_a_card_has_a_decline_code_exactly_when_it_declines() -> None:
    for card in PUBLISHED_CARDS:
        assert (card.decline_code is not None) == (card.behaviour in DECLINING), card.title


def test_only_numbers_without_a_published_behaviour_are_given_one_of_our_own() -> None:
    for card in PUBLISHED_CARDS:
        assert card.source is Source.BRAINTREE or card.behaviour not in OWN_MEANING, card.title


def test_the_19_digit_number_is_taken_and_its_first_16_digits_are_not() -> None:
    assert find("6205500000000000004") is not None
    assert find("6205500000000000") is None


@given(st.integers(min_value=0, max_value=10**11 - 1))
def test_a_number_that_is_not_published_is_not_found_even_with_a_right_check_digit(serial: int) -> None:
    number = with_check_digit(f"4539{serial:011d}")
    assert luhn_valid(number)
    assert find(number) is None


def test_one_wrong_digit_makes_the_check_digit_wrong() -> None:
    for card in PUBLISHED_CARDS:
        for place, digit in enumerate(card.number):
            wrong = card.number[:place] + str((int(digit) + 1) % 10) + card.number[place + 1 :]
            assert not luhn_valid(wrong)


@given(NUMBERS, st.sampled_from(["", " ", "-", "."]), st.text(max_size=12), st.text(max_size=12))
def test_a_number_is_found_in_text_however_it_is_grouped(number: str, mark: str, before: str, after: str) -> None:
    grouped = mark.join(number[start : start + 4] for start in range(0, len(number), 4))
    assert holds_card_number(f"{before}, {grouped}, {after}")


@given(NUMBERS)
def test_a_number_between_other_digits_is_found(number: str) -> None:
    assert holds_card_number(f"77{number}77")


def test_what_is_no_card_number_is_left_alone() -> None:
    for text in ("chg_bcdfghjkmnpqrstv", "4242", "4242424242424241", "+49 30 901820", "2026-11-22T09:30:00", ""):
        assert not holds_card_number(text)
    assert not holds_card_number("00000000-0000-4000-8000-000000000000")
