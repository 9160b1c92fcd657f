"""What is read out of plain words: bounds, number, day, place, what is not wanted; and what is left is looked for."""

import re
import sys
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commerce_api.asking import rest
from commerce_api.asking.need import Need, understand
from commerce_api.asking.places import _COUNTRIES, _REGIONS
from commerce_api.asking.rest import as_matched

FRIDAY = date(2026, 11, 27)


def read(text: str, currency: str = "USD") -> Need:
    """A need, as it is understood on a Friday."""
    return understand(text, currency, FRIDAY)


@pytest.mark.parametrize(
    ("text", "minimum_minor", "maximum_minor"),
    [
        ("a kettle under $150", 0, 15_000),
        ("a kettle below 150 dollars", 0, 15_000),
        ("no more than $60 for a pan", 0, 6_000),
        ("not more than 60 bucks", 0, 6_000),
        ("at most USD 1,250.50", 0, 125_050),
        ("up to 99.99", 0, 9_999),
        ("my budget is 200", 0, 20_000),
        ("I can spend 80", 0, 8_000),
        ("a $90 lamp", 0, 9_000),
        ("for $1.5k", 0, 150_000),
        ("over $50", 5_000, None),
        ("at least 20 dollars", 2_000, None),
        ("between $20 and $40", 2_000, 4_000),
        ("between 20 and 40 dollars", 2_000, 4_000),
        ("$50-$100", 5_000, 10_000),
        ("1,000-2,000 dollars", 100_000, 200_000),
        ("1,2000-5000 dollars", 0, 500_000),
        ("from $40 to $20", 2_000, 4_000),
        ("more than $20 but less than $40", 2_000, 4_000),
        ("around $100", 8_000, 12_000),
        ("6 mugs for $100 in total", 0, 1_666),
        ("kettle under 2 litres", 0, None),
        ("a pan of 24-28 cm", 0, None),
        ("a 24 cm pan", 0, None),
        ("iPhone 15", 0, None),
        ("over 2 years of warranty", 0, None),
        ("a lamp", 0, None),
    ],
)
def test_a_budget_is_read_and_a_measure_is_none(text: str, minimum_minor: int, maximum_minor: int | None) -> None:
    need = read(text)
    assert (need.minimum_minor, need.maximum_minor, need.budget.other_currency) == (minimum_minor, maximum_minor, None)


@pytest.mark.parametrize(
    ("text", "currency", "other"),
    [
        ("under £80", "USD", "GBP"),
        ("150 euros", "USD", "EUR"),
        ("between €20 and €40", "GBP", "EUR"),
        ("C$50", "USD", "CAD"),
        ("$50", "CAD", None),  # the dollar of whoever sells in dollars
        ("$50", "EUR", "USD"),
        ("¥500", "CNY", None),
        ("under 50 pounds", "GBP", None),
    ],
)
def test_other_money_than_the_brands_is_named_and_bounds_nothing(text: str, currency: str, other: str | None) -> None:
    need = read(text, currency)
    assert need.budget.other_currency == other
    assert (need.maximum_minor is None) == (other is not None)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("by Monday", date(2026, 11, 30)),
        ("by Friday", date(2026, 12, 4)),  # of a weekday the next one is meant
        ("before Friday", date(2026, 12, 3)),
        ("next Monday", date(2026, 11, 30)),
        ("next Friday", date(2026, 12, 4)),
        ("tomorrow", date(2026, 11, 28)),
        ("here today", FRIDAY),
        ("in 3 days", date(2026, 11, 30)),
        ("within two weeks", date(2026, 12, 11)),
        ("by 5 December", date(2026, 12, 5)),
        ("before December 5th", date(2026, 12, 4)),
        ("until 2026-12-24", date(2026, 12, 24)),
        ("by the 3rd of January", date(2027, 1, 3)),
        ("in time for Christmas", date(2026, 12, 24)),
        ("on 29 February 2028", date(2028, 2, 29)),
    ],
)
def test_a_day_is_read(text: str, day: date) -> None:
    assert read(f"a kettle, {text}").deadline.day == day
    assert read(f"a kettle, {text}").words == ("kettle",)


@pytest.mark.parametrize(
    "text", ["by 5/12", "for my birthday", "asap", "by 30 February", "by 2020-01-01", "this weekend"]
)
def test_a_day_that_cannot_be_told_is_asked_about_and_not_guessed(text: str) -> None:
    deadline = read(f"a kettle {text}").deadline
    assert deadline.unclear
    assert deadline.day is None


@pytest.mark.parametrize("text", ["a sun hat", "a may tree", "a second hand", "a mat"])
def test_words_that_look_like_days_are_words(text: str) -> None:
    deadline = read(text).deadline
    assert (deadline.day, deadline.unclear) == (None, False)


@pytest.mark.parametrize(
    ("text", "country", "region", "unplaced"),
    [
        ("to Germany", "DE", None, None),
        ("shipped to the UK", "GB", None, None),
        ("in Leeds, England", "GB", None, None),
        ("to the United States", "US", None, None),
        ("in Oregon", "US", "US-OR", None),
        ("delivered to Portland, OR 97209", "US", "US-OR", None),
        ("delivered to 'Portland, OR'", "US", "US-OR", None),
        ("a mug of xMiami, FL", None, None, None),
        ("to New York", "US", "US-NY", None),
        ("in Leeds", None, None, "Leeds"),
        ("ship to leeds", None, None, "leeds"),
        ("to Georgia", None, None, "Georgia"),  # a country, and a state
        ("to me", None, None, None),
        ("like a china teapot", None, None, None),
        ("that tells us the time", None, None, None),
    ],
)
def test_a_place_is_read_and_a_town_is_not_guessed(
    text: str, country: str | None, region: str | None, unplaced: str | None
) -> None:
    found = read(f"a kettle {text}").destination
    assert (found.country, found.region, found.unplaced) == (country, region, unplaced)


@pytest.mark.parametrize(
    ("text", "not_wanted", "words"),
    [
        ("a mug, not glass", ("glass",), ("mug",)),
        ("a mug without glass or plastic", ("glass", "plastic"), ("mug",)),
        ("a kettle that isn't copper", ("copper",), ("kettle",)),
        ("anything but knives", ("knife",), ()),
        ("a plastic-free kettle", ("plastic",), ("kettle",)),
        ("a not too expensive knife", (), ("knife",)),
        ("no rush, a lamp", (), ("lamp",)),
        ("a non-stick pan", (), ("non-stick", "pan")),
    ],
)
def test_what_is_not_wanted_is_not_looked_for(text: str, not_wanted: tuple[str, ...], words: tuple[str, ...]) -> None:
    need = read(text)
    assert (need.not_wanted, need.words) == (not_wanted, words)


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("two mugs", 2),
        ("six mugs", 6),
        ("I need 6 mugs", 6),
        ("3 x candle", 3),
        ("a dozen candles", 12),
        ("a pair of towels", 2),
        ("qty: 4 of the mug", 4),
        ("a mug", 1),
        ("a set of 4 mugs", 1),
        ("a pan for 4 people", 1),
        ("a 24 cm pan", 1),
        ("2-year warranty", 1),
        ("0 mugs", 1),
    ],
)
def test_how_many_is_read(text: str, quantity: int) -> None:
    assert read(text).quantity == quantity


def test_a_need_with_everything_in_it_is_read_whole() -> None:
    need = read("I need two quiet kettles, not glass, for $150 altogether, delivered to Leeds by Friday")
    assert need.words == ("quiet", "kettles")
    assert (need.quantity, need.not_wanted, need.maximum_minor) == (2, ("glass",), 7_500)
    assert (need.destination.unplaced, need.deadline.day) == ("Leeds", date(2026, 12, 4))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a mug by ſeptember 5", "a mug by september 5"),
        ("a mug for ſunday", "a mug for sunday"),
        ("a mug by next frıday", "a mug by next friday"),
        ("a mug wıthın ſix weeKs", "a mug within six weeks"),
        ("ſix mugs", "six mugs"),
        ("a mug in Sweden under 20 ſek", "a mug in Sweden under 20 sek"),
        ("a mug in ſweden", "a mug in sweden"),
        ("a mug in İllinois", "a mug in Illinois"),
    ],
)
def test_a_letter_that_patterns_take_for_another_is_read_as_that_one(text: str, plain: str) -> None:
    assert read(text) == read(plain) != read("a mug")


def test_there_is_no_other_letter_that_patterns_take_for_one_of_theirs() -> None:
    letters = set("abcdefghijklmnopqrstuvwxyz") | {letter for name in {*_COUNTRIES, *_REGIONS} for letter in name}
    pattern = re.compile("[" + re.escape("".join(sorted(letters))) + "]", re.IGNORECASE)
    taken = [chr(code) for code in range(sys.maxunicode + 1) if pattern.match(chr(code))]
    assert not [letter for letter in taken if as_matched(letter) not in letters]


def test_planted_fault_in_lower_case_alone_the_words_are_in_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_TAKEN_FOR_ASCII", {})
    with pytest.raises(KeyError):
        read("ſix mugs")


_WORDS = (
    "a mug by before for in within next to under about - / , £ $ k 0001-01-01 9999-12-31 0000-00-00 31 february 29 2096 "
    "september ſeptember 5 5th 12/5 ſunday sun frıday today tonıght chriſtmas six ſix a dozen half pair of 99 weeKs days "
    "sweden ſweden İllinois georgıa Leeds, OR 97209 not without ſilver-free 999,999,999,999,999.99 usd ſek quid total"
)
_PIECES = _WORDS.split()


@example("kettle before 0001-01-01", "USD")
@example("under 1,000k", "JPY")
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=6)), max_size=25).map(" ".join),
    ),
    currency=st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_whatever_is_said_is_understood_somehow(text: str, currency: str) -> None:
    need = read(text, currency)
    assert need.deadline.day is None or need.deadline.day >= FRIDAY
    assert 1 <= need.quantity <= 999
