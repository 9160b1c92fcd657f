"""What the store answers: grounded in the record to the last figure, honest about what it does not know, on both databases."""

import re
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.transaction import Transaction
from commerce_api.asking import answering, finding, fitting
from commerce_api.asking.need import MAXIMUM_WORDS, understand
from commerce_api.asking.phrasing import phrased
from commerce_api.catalogue.search import Search
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision, variant
from commerce_api.schemas import AskView, CheckoutGiven
from tests.commerce_api.purchases import ADDRESS, OFF_SHELF
from tests.commerce_api.world import World

pytestmark = pytest.mark.anyio

GUEST = Caller(ANONYMOUS, "mcp")
FIGURE = re.compile(r"[0-9]+(?:[.,:-][0-9]+)*")


async def ask(world: World, text: str, variant_id: str | None = None) -> AskView:
    """The answer of the example store. Its clock stands on Wednesday, 2026-11-18."""
    return await world.desk.ask(world.brand, GUEST, text, variant_id)


def ids(view: AskView) -> list[str]:
    """The products told."""
    return [product.id for product in view.products]


def kinds(view: AskView) -> set[str]:
    """What is asked back."""
    return {question.kind for question in view.questions}


async def test_a_need_is_answered_with_what_fits_when_it_comes_an_offer_and_the_next_step(world_on_each: World) -> None:
    view = await ask(world_on_each, "a quiet kettle under $150, in Leeds by Friday")
    assert ids(view) == ["hp-kettle"]
    assert view.products[0].fits
    assert view.products[0].why == [
        "its record says: quiet, kettle",
        "$79.00 is within $150.00",
        "can be bought now",
    ]
    assert view.understood.deliver_by == "2026-11-20"
    assert {option.shipping_option_id: option.in_time for option in view.delivery} == {
        "standard": "no",
        "express": "yes",
    }
    assert kinds(view) == {"destination", "choice"}
    assert "In which country is “Leeds”?" in view.answer
    assert [offer.title for offer in view.offers] == ["15% off kettles and coffee"]
    assert view.next_step is not None
    line = {"variant_id": "hp-kettle-oat", "quantity": 1}
    assert view.next_step.arguments == {"lines": [line], "offer_id": view.offers[0].offer_id}


async def test_the_next_step_can_be_called_as_it_stands(world: World) -> None:
    for text in ("a quiet kettle", "a kettle", "coffee for my mother", "a zebra", "", "a mug, two of them, to Oregon"):
        step = (await ask(world, text or "something")).next_step
        assert step is not None
        if step.tool == "create_checkout":
            given_ = CheckoutGiven.model_validate({**step.arguments, "shipping_address": ADDRESS})
            made = await world.desk.create_checkout(world.brand, GUEST, given_, None)
            assert made.totals.total.amount_minor > 0
        elif step.tool == "get_product":
            await world.desk.get_compared(world.brand, **{"compare_with": [], **step.arguments})
        else:
            assert step.tool == "search_catalog"
            await world.desk.search_catalog(world.brand, Search(step.arguments["query"]))


async def test_several_that_fit_are_told_and_asked_about_and_no_offer_is_made_yet(world: World) -> None:
    view = await ask(world, "a kettle")
    assert set(ids(view)) == {"hp-kettle", "hp-stovetop"}
    assert kinds(view) == {"choice"}
    assert view.offers == []
    assert await world.rows(offer_decision) == []


async def test_what_was_chosen_is_named_and_gets_its_offer(world: World) -> None:
    view = await ask(world, "two kettles", "hp-stovetop-forest")
    assert ids(view) == ["hp-stovetop"]
    assert view.offers[0].discount.amount_minor == 1_680
    assert view.next_step is not None
    assert view.next_step.arguments["lines"] == [{"variant_id": "hp-stovetop-forest", "quantity": 2}]
    with pytest.raises(CommerceRefusal) as refused:
        await ask(world, "a kettle", "no-such")
    assert refused.value.kind is CommerceError.PRODUCT_UNKNOWN


async def test_a_word_that_only_a_variant_holds_chooses_the_variant(world_on_each: World) -> None:
    view = await ask(world_on_each, "a slate kettle")
    assert [variant.id for variant in view.products[0].variants] == ["hp-kettle-slate"]
    colour = await ask(world_on_each, "something in Navy")
    assert (ids(colour), colour.understood.place) == (["hp-apron"], None)


async def test_what_is_not_wanted_is_left_out(world_on_each: World) -> None:
    view = await ask(world_on_each, "a kettle, not copper or cream")
    told = [variant.id for product in view.products for variant in product.variants]
    assert told == ["hp-kettle-oat", "hp-kettle-slate", "hp-stovetop-forest"]


async def test_nothing_within_the_budget_is_said_with_what_it_does_cost(world_on_each: World) -> None:
    view = await ask(world_on_each, "a kettle under $20")
    assert view.answer.startswith("Nothing fits all of it. Nearest: ")
    assert not any(product.fits for product in view.products)
    assert "$56.00 is above $20.00" in view.answer
    assert "budget" in kinds(view)
    assert view.offers == []


async def test_what_no_record_says_is_said(world_on_each: World) -> None:
    view = await ask(world_on_each, "a dishwasher-safe mug with a unicorn")
    assert ids(view)[0] == "hp-mug"
    assert "its record does not say: unicorn" in view.products[0].why
    assert not view.products[0].fits


async def test_what_cannot_be_bought_does_not_fit(world: World) -> None:
    gone = await ask(world, "a casserole in brick")
    assert gone.products[0].variants[0].id == OFF_SHELF
    assert not gone.products[0].fits
    many = await ask(world, "500 mugs")
    assert "quantity" in kinds(many)
    assert many.offers == []


async def test_a_country_that_is_not_served_gets_neither_delivery_nor_offer(world: World) -> None:
    view = await ask(world, "a quiet kettle to Germany by Friday")
    assert "The store does not ship to Germany" in view.answer
    assert (view.delivery, view.offers, kinds(view)) == ([], [], {"country"})
    assert view.questions[0].choices == ["United States (US)", "Canada (CA)", "United Kingdom (GB)"]


async def test_other_money_is_not_converted(world: World) -> None:
    view = await ask(world, "a lamp for 50 euros")
    assert view.understood.maximum_price is None
    assert view.understood.other_currency == "EUR"
    assert "currency" in kinds(view)


async def test_delivery_is_the_options_own_days_counted_from_today_and_no_more(world: World) -> None:
    world.clock.advance(5 * 24 * 3600)
    view = await ask(world, "a throw to the UK by 26 November")
    told = [(option.shipping_option_id, option.earliest, option.latest, option.in_time) for option in view.delivery]
    assert told == [("standard", "2026-11-26", "2026-11-29", "perhaps"), ("express", "2026-11-24", "2026-11-25", "yes")]
    assert (await ask(world, "a throw")).delivery == []


async def test_a_need_without_a_thing_is_asked_about(world: World) -> None:
    view = await ask(world, "something under $50")
    assert (view.products, kinds(view)) == ([], {"product"})


THINGS = [
    "kettle",
    "mug",
    "navy apron",
    "unicorn",
    "quiet lamp",
    "",
    "casserole",
    "towel to dry glass",
    "steel pan 24 cm",
]
BOUNDS = ["", "under $20", "under $150", "over £30", "between 20 and 90", "around $60", "for $1,000.50 in total"]
DAYS = ["", "by Friday", "by 5/12", "in 3 days", "before 24 December", "tomorrow"]
COUNTS = ["a", "two", "12", "400"]
PLACES = ["", "in Leeds", "to Oregon", "to Germany", "to Canada"]
NOTS = ["", "not copper", "without glass"]


def facts(value: Any) -> set[str]:
    """Every figure in an answer's fields but its text."""
    if isinstance(value, dict):
        return set().union(*(facts(inner) for name, inner in value.items() if name != "answer"), set())
    if isinstance(value, list):
        return set().union(*map(facts, value), set())
    return set(FIGURE.findall(str(value)))


async def test_every_figure_and_date_of_an_answer_is_in_its_record(world: World) -> None:
    needs: list[str] = []

    @settings(max_examples=150, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*map(st.sampled_from, (COUNTS, THINGS, BOUNDS, DAYS, PLACES, NOTS))))
    def collect(parts: tuple[str, ...]) -> None:
        needs.append(" ".join(part for part in parts if part))

    collect()
    record = await recorded(world)
    for need in needs:
        view = await ask(world, need)
        assert set(FIGURE.findall(view.answer)) <= facts(view.model_dump()), need
        for product in view.products:
            for told in product.variants:
                assert (told.id, told.price.amount_minor, told.title) in record
        titles = {product.title for product in view.products} | {option.title for option in view.delivery}
        titles |= {offer.title for offer in view.offers} | {view.understood.place or ""}
        assert set(re.findall("“([^”]*)”", view.answer)) <= titles, need


async def recorded(world: World) -> set[tuple[str, int, str]]:
    """What the catalogue holds."""
    return {(row.id, row.price_minor, row.title) for row in await world.rows(variant)}


async def test_planted_fault_a_made_up_figure_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = answering._delivery_text
    monkeypatch.setattr(answering, "_delivery_text", lambda *given: [*delivery(*given), "It saves you $17.23."])
    view = await ask(world, "a kettle")
    assert not set(FIGURE.findall(view.answer)) <= facts(view.model_dump())


async def test_planted_fault_without_the_check_of_stock_what_is_gone_fits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_can_be_bought", lambda *_: True)
    assert (await ask(world, "a casserole in brick")).products[0].fits


async def test_another_brands_products_are_never_told(world_on_each: World) -> None:
    other = await world_on_each.add_brand("Other")

    def rename(tx: Transaction) -> None:
        tx.execute(variant.update().where(variant.c.brand == other).values(title="zebra", search_text="zebra"))

    await world_on_each.commerce.database.maintain(rename)
    assert (await ask(world_on_each, "a zebra")).products == []
    assert (await world_on_each.desk.ask(other, GUEST, "a zebra")).products != []


COMPOUND = "-".join(f"w{number}" for number in range(300))[:1_000]


@given(parts=st.lists(st.text("abcdefgh1-.' ", max_size=12), max_size=150))
@settings(deadline=None)
def test_the_database_is_asked_for_no_more_words_than_a_need_has(parts: list[str]) -> None:
    need = understand("-".join(parts)[:1_000], "USD", date(2026, 11, 18))
    assert len(finding.query_words(need.words)) <= MAXIMUM_WORDS


async def test_a_long_compound_is_one_word_and_its_first_parts_are_looked_for(world_on_each: World) -> None:
    need = understand(f"kettle-{COMPOUND}"[:1_000], "USD", date(2026, 11, 18))
    assert len(need.words) == 1
    assert finding.query_words(need.words)[:2] == ["kettle", "w0"]
    assert "hp-kettle" in ids(await ask(world_on_each, f"kettle-{COMPOUND}"[:1_000]))


def test_planted_fault_without_the_bound_one_word_asks_for_hundreds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MAXIMUM_WORDS", None)
    need = understand(COMPOUND, "USD", date(2026, 11, 18))
    assert len(finding.query_words(need.words)) > 200


class Model:
    """A model that says what it is told to, or fails."""

    def __init__(self, said: str | Exception) -> None:
        self.said = said

    async def phrase(self, view: AskView) -> str:
        """As Phrasing.phrase."""
        view.products.clear()  # its copy
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("I would take “Drift Electric Kettle - oat”: $79.00, and quiet.", True),
        ("It is yours for $1.00.", False),
        ("Take the “Golden Kettle”.", False),
        ("Pay at https://elsewhere.example now.", False),
        ("x" * 5_000, False),
        ("", False),
        (OSError("the model is away"), False),
        (TimeoutError(), False),
    ],
)
async def test_a_models_words_are_told_only_if_they_hold_no_fact_of_their_own(
    world: World, said: str | Exception, told: bool
) -> None:
    view = await ask(world, "a quiet kettle")
    after = await phrased(view, Model(said))
    assert (after.answer == said) is told
    assert (after.answer == view.answer) is not told
    assert after.model_dump(exclude={"answer"}) == view.model_dump(exclude={"answer"})
