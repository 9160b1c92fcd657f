"""What is said that an offer gives is what the basket gets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine.offers import Context, ContextLine, discount_minor
from offer_engine.presenting import sayables
from offer_engine.presenting.locales import LOCALES
from offer_engine.presenting.sayables import sayable
from tests.offer_engine.presenting.world import BRAND, CONTEXT, KETTLE, NOW_MS

KETTLES = ContextLine("v", "p", frozenset({"kettles"}), 7_900, 4)
MUG = ContextLine("w", "q", frozenset({"mugs"}), 2_400, 1)


def benefit(context: Context = CONTEXT, locale: str = "en", **changes: object) -> str | None:
    """What the offer is said to give."""
    return sayable(replace(KETTLE, **changes), context, locale=locale, brand=BRAND).value("benefit")  # type: ignore[arg-type]


def over(*lines: ContextLine) -> Context:
    return Context("shop", "psn_a", "USD", lines, NOW_MS)


def test_a_percentage_is_said_where_the_basket_gets_it() -> None:
    assert benefit() == benefit(over(KETTLES)) == benefit(maximum_discount_minor=10**6) == "15% off"


def test_of_an_offer_that_is_cut_the_amount_is_said() -> None:
    assert benefit(over(KETTLES), maximum_discount_minor=4_000) == "$40.00 off"
    assert benefit(maximum_discount_minor=1_184) == "$11.84 off", "a cent less is no 15% off"


def test_of_an_offer_about_a_part_of_the_basket_the_amount_is_said() -> None:
    assert benefit(over(replace(KETTLES, quantity=1), MUG), categories=frozenset({"kettles"})) == "$11.85 off"


@pytest.mark.parametrize("locale", LOCALES)
def test_no_language_says_a_percentage_of_an_offer_that_is_cut(locale: str) -> None:
    assert "15" in (benefit(locale=locale) or "")
    assert "15" not in (benefit(over(KETTLES), locale, maximum_discount_minor=4_000) or "15")


@given(st.integers(1, 10_000), st.integers(1, 10**6), st.integers(1, 20), st.none() | st.integers(1, 10**6))
def test_a_percentage_that_is_said_is_taken_off_the_whole_basket(
    basis_points: int, price_minor: int, quantity: int, most_minor: int | None
) -> None:
    context = over(ContextLine("v", "p", frozenset(), price_minor, quantity))
    offer = replace(KETTLE, percent_basis_points=basis_points, maximum_discount_minor=most_minor)
    said = sayable(offer, context, locale="en", brand=BRAND).value("benefit")
    assert said is not None
    exact = price_minor * quantity * basis_points / 10_000
    assert "%" not in said or abs(discount_minor(offer, context.lines) - exact) <= 0.5


def test_planted_fault_a_percentage_that_is_always_said_is_said_of_what_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sayables, "_share_minor", lambda offer, context: discount_minor(offer, context.lines))
    with pytest.raises(AssertionError):
        test_of_an_offer_that_is_cut_the_amount_is_said()
