"""One checkout with a table of allowed moves, and sums that add up whatever is in it."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.brands import save_brand
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.checkout.states import CHANGEABLE, FINISHED, IN_PAYMENT, MOVES, CheckoutState, may_move
from commerce_api.checkout.totals import Destination, FlatTax, shipping_price_minor, totals
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.policy import DiscountCode, Policy, ShippingOption, Tax
from commerce_api.schemas import AddressGiven, BuyerGiven, CheckoutGiven, LineGiven
from commerce_api.views import STATUS_OF
from offer_engine.offers import ContextLine, Offer, OfferKind
from tests.commerce_api.test_payment import ADDRESS, CALLER, MUG, basket
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, STORE, World, commerce_world

KETTLE = "hp-kettle-oat"


def test_every_state_is_in_the_table_and_the_sets_partition_it() -> None:
    assert set(MOVES) == set(CheckoutState) == set(STATUS_OF)
    assert set(CheckoutState) == CHANGEABLE | IN_PAYMENT | FINISHED
    assert len(CHANGEABLE) + len(IN_PAYMENT) + len(FINISHED) == len(CheckoutState)


def test_the_full_square_of_moves_keeps_its_promises() -> None:
    for source, target in itertools.product(CheckoutState, CheckoutState):
        if may_move(source, target):
            assert source not in FINISHED, "what is finished stays finished"
            assert target is not CheckoutState.COMPLETED or source in IN_PAYMENT, "only a payment completes"
            assert source not in IN_PAYMENT or target not in (CheckoutState.CANCELED, CheckoutState.EXPIRED)


def test_every_state_can_be_reached() -> None:
    reached, edge = {CheckoutState.DRAFT}, {CheckoutState.DRAFT}
    while edge:
        edge = {target for source in edge for target in MOVES[source]} - reached
        reached |= edge
    assert reached == set(CheckoutState)


LINES = st.lists(
    st.builds(
        ContextLine,
        variant_id=st.uuids().map(str),
        product_id=st.sampled_from(["p1", "p2"]),
        categories=st.sampled_from([frozenset(), frozenset({"tea"})]),
        unit_price_minor=st.integers(1, 10**7),
        quantity=st.integers(1, 20),
    ),
    max_size=6,
).map(tuple)
OFFERS = st.none() | st.builds(
    Offer,
    id=st.just("o"),
    version=st.just(1),
    title=st.just("Off"),
    kind=st.sampled_from(OfferKind),
    currency=st.just("USD"),
    percent_basis_points=st.integers(0, 10_000),
    amount_minor=st.integers(0, 10**8),
    maximum_discount_minor=st.none() | st.integers(1, 10**6),
    product_ids=st.sampled_from([frozenset(), frozenset({"p1"})]),
    categories=st.sampled_from([frozenset(), frozenset({"tea"})]),
)
CODES = st.lists(
    st.one_of(
        st.builds(DiscountCode, code=st.just("PC"), title=st.just("t"), percent_basis_points=st.integers(1, 10_000)),
        st.builds(DiscountCode, code=st.just("AM"), title=st.just("t"), amount_minor=st.integers(1, 10**8)),
    ),
    max_size=3,
)
SHIPPING = st.none() | st.builds(
    ShippingOption,
    id=st.just("s"),
    title=st.just("s"),
    price_minor=st.integers(0, 10_000),
    delivery_days_min=st.just(1),
    delivery_days_max=st.just(2),
    free_from_minor=st.none() | st.integers(0, 10**7),
)


@given(lines=LINES, codes=CODES, offer=OFFERS, shipping=SHIPPING, rate=st.integers(0, 3_000), included=st.booleans())
def test_totals_add_up_and_never_go_below_zero(
    lines: tuple[ContextLine, ...],
    codes: list[DiscountCode],
    offer: Offer | None,
    shipping: ShippingOption | None,
    rate: int,
    *,
    included: bool,
) -> None:
    tax = FlatTax(Tax(kind="flat", rate_basis_points=rate, included=included))
    counted = totals(lines, codes=codes, offer=offer, shipping=shipping, destination=Destination("US"), tax=tax)
    assert counted.items_minor == sum(line.unit_price_minor * line.quantity for line in lines)
    assert 0 <= counted.discount_minor <= counted.items_minor
    assert sum(taken for _, _, taken in counted.applied) == counted.discount_minor
    assert all(taken >= 0 for _, _, taken in counted.applied)
    assert counted.offer_taken_minor == (counted.applied[0][2] if offer is not None else None)
    due = counted.items_minor - counted.discount_minor + counted.shipping_minor
    assert counted.total_minor == due + (0 if included else counted.tax_minor)
    assert 0 <= counted.tax_minor <= due
    if offer is not None and offer.maximum_discount_minor is not None:
        assert counted.applied[0][2] <= offer.maximum_discount_minor


def test_tax_follows_the_region_then_the_country_then_the_general_rate() -> None:
    tax = FlatTax(Tax(kind="flat", rate_basis_points=1_000, by_region={"US": 500, "US-CA": 725}))
    assert tax.tax(10_000, 0, Destination("US", "US-CA")) == (725, False)
    assert tax.tax(10_000, 0, Destination("US", "US-OR")) == (500, False)
    assert tax.tax(10_000, 0, Destination("GB")) == (1_000, False)
    assert FlatTax(Tax(kind="flat", rate_basis_points=2_000, included=True)).tax(12_000, 0, None) == (2_000, True)


@pytest.mark.parametrize(
    ("said", "tax_minor", "is_told"),
    [
        ("CA", 725, False),
        (" ca", 725, False),
        ("US-CA", 725, False),
        ("OR", 500, False),
        ("California", 500, True),
        ("GB-CA", 500, True),
        ("CAL", 500, True),
        ("ZZ", 500, True),
        ("", 500, True),
        (None, 500, True),
    ],
)
@pytest.mark.anyio
async def test_where_a_region_is_no_code_the_countrys_tax_holds_and_the_agent_is_told(
    world: World, said: str | None, tax_minor: int, *, is_told: bool
) -> None:
    document = json.loads((STORE / "policy.json").read_text(encoding="utf-8"))
    document["tax"] = {"kind": "flat", "by_region": {"US": 500, "US-CA": 725}}
    for option in document["shipping_options"]:
        option["price_minor"] = 2_100  # with a kettle's 7,900: 10,000
    policy = Policy.model_validate_json(json.dumps(document))
    await world.commerce.database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))
    address = AddressGiven(line1="12 Quay Street", city="Somewhere", region=said, postal_code="97209", country="US")
    lines = [LineGiven(variant_id=KETTLE, quantity=1)]
    view = await created(world, CheckoutGiven(lines=lines, shipping_address=address))
    assert view.totals.tax.amount_minor == tax_minor
    told = [(message.type, message.path) for message in view.messages if message.code == "region_not_known"]
    assert told == ([("warning", "$.shipping_address.region")] if is_told else [])


def test_shipping_is_free_from_its_bound_on() -> None:
    option = ShippingOption(
        id="s", title="s", price_minor=590, delivery_days_min=1, delivery_days_max=2, free_from_minor=15_000
    )
    assert [shipping_price_minor(option, minor) for minor in (0, 14_999, 15_000)] == [590, 590, 0]


async def created(world: World, given: CheckoutGiven, caller: Caller = CALLER):  # type: ignore[no-untyped-def]  # a CheckoutView
    return await world.desk.create_checkout(BRAND, caller, given, None)


async def kind_of(call) -> CommerceError:  # type: ignore[no-untyped-def]  # any coroutine
    with pytest.raises(CommerceRefusal) as refused:
        await call
    return refused.value.kind


@pytest.mark.anyio
async def test_what_is_missing_is_said_with_its_place_and_what_is_there_is_counted(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        view = await created(world, CheckoutGiven(lines=[LineGiven(variant_id=KETTLE)]))
        assert view.status == "incomplete"
        assert {(m.code, m.path) for m in view.messages if m.type == "error"} == {
            ("missing", "$.shipping_address"),
            ("missing", "$.buyer.email"),
        }
        assert await kind_of(world.desk.complete_checkout(BRAND, CALLER, view.checkout_id)) is (
            CommerceError.CHECKOUT_NOT_READY
        )
        given = CheckoutGiven(shipping_address=ADDRESS, buyer=BuyerGiven(email="r@shopper.example"))
        ready = await world.desk.update_checkout(BRAND, CALLER, view.checkout_id, given, None)
        assert (ready.status, ready.totals.total.amount_minor) == ("ready_for_complete", 7_900 + 590)


@pytest.mark.anyio
async def test_what_cannot_be_in_a_checkout_is_refused_by_code(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        many = [LineGiven(variant_id=MUG, quantity=999), LineGiven(variant_id=MUG, quantity=1)]
        cases = {
            CommerceError.PRODUCT_UNKNOWN: CheckoutGiven(lines=[LineGiven(variant_id="nothing")]),
            CommerceError.QUANTITY_INVALID: CheckoutGiven(lines=many),
            CommerceError.CURRENCY_MISMATCH: CheckoutGiven(lines=many[:1], currency="EUR"),
            CommerceError.SHIPPING_OPTION_UNKNOWN: basket().model_copy(update={"shipping_option_id": "teleport"}),
        }
        for expected, given in cases.items():
            given = CheckoutGiven.model_validate(given.model_dump(exclude_none=True))  # noqa: PLW2901
            assert await kind_of(created(world, given)) is expected


@pytest.mark.anyio
async def test_a_country_that_is_not_served_keeps_the_checkout_from_being_paid(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        address = AddressGiven(line1="1 Rue", city="Paris", postal_code="75001", country="FR")
        given = CheckoutGiven(
            lines=[LineGiven(variant_id=MUG)], shipping_address=address, buyer=BuyerGiven(email="a@b.example")
        )
        view = await created(world, given)
        assert "country_not_served" in [message.code for message in view.messages]


@pytest.mark.anyio
async def test_a_checkout_is_seen_by_its_owner_and_the_brands_agent_only(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        other = await world.add_brand("Other Shop")
        agent, foreign = Caller(f"agent:{BRAND}", "agents_api"), Caller(f"agent:{other}", "agents_api")
        signed = await created(world, basket(), agent)
        open_one = await created(world, basket())
        unknown = CommerceError.CHECKOUT_UNKNOWN
        assert await kind_of(world.desk.get_checkout(BRAND, Caller(ANONYMOUS, "mcp"), signed.checkout_id)) is unknown
        assert await kind_of(world.desk.get_checkout(BRAND, foreign, signed.checkout_id)) is unknown
        assert await kind_of(world.desk.get_checkout(other, foreign, signed.checkout_id)) is unknown
        assert (await world.desk.get_checkout(BRAND, agent, open_one.checkout_id)).checkout_id == open_one.checkout_id


@pytest.mark.anyio
async def test_an_offer_is_honoured_only_as_it_was_signed_and_to_whom(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        lines = [LineGiven(variant_id=KETTLE)]
        offers = await world.desk.get_offers(BRAND, CALLER, lines)
        [offer] = offers.offers
        assert offer.discount.amount_minor == 1_185
        with_offer = await created(world, CheckoutGiven(lines=lines, offer_id=offer.offer_id))
        assert with_offer.totals.discount.amount_minor == 1_185
        for_another = await created(
            world, CheckoutGiven(lines=lines, offer_id=offer.offer_id), Caller(f"agent:{BRAND}", "x")
        )
        assert for_another.totals.discount.amount_minor == 0
        assert "offer_invalid" in [message.code for message in for_another.messages]
        made_up = await created(world, CheckoutGiven(lines=lines, offer_id="off_" + "b" * 32))
        assert made_up.totals.discount.amount_minor == 0
        elsewhere = await created(world, CheckoutGiven(lines=[LineGiven(variant_id=MUG)], offer_id=offer.offer_id))
        assert elsewhere.totals.discount.amount_minor == 0
        world.clock.advance(1_799)
        later = await world.desk.update_checkout(
            BRAND, CALLER, with_offer.checkout_id, CheckoutGiven(buyer=BuyerGiven(name="R")), None
        )
        assert later.totals.discount.amount_minor == 1_185
        world.clock.advance(1)
        fresh = await created(world, CheckoutGiven(lines=lines, offer_id=offer.offer_id))
        assert fresh.totals.discount.amount_minor == 0


@pytest.mark.anyio
async def test_a_decision_is_on_record_before_it_is_told(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        offers = await world.desk.get_offers(BRAND, CALLER, [LineGiven(variant_id=KETTLE)])
        [decided] = await world.events("offer.decided")
        assert decided.resource == offers.offers[0].offer_id
        assert offers.not_offered == ["free-shipping-80: subtotal_too_low"]


@pytest.mark.anyio
async def test_a_discount_code_holds_and_a_wrong_one_is_left_out_with_a_word(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        given = CheckoutGiven(lines=[LineGiven(variant_id=KETTLE)], discount_codes=["welcome5", "nope"])
        view = await created(world, given)
        assert view.totals.discount.amount_minor == 395
        assert ("discount_code_invalid", "$.discount_codes[1]") in [(m.code, m.path) for m in view.messages]


@pytest.mark.anyio
async def test_who_the_shopper_is_is_said_by_the_brands_own_agent_and_by_nobody_else(tmp_path: Path) -> None:
    """Or anybody could have a card saved for, and later charged to, somebody else."""
    async with commerce_world(tmp_path) as world:
        agent = Caller(f"agent:{BRAND}", "agents_api")
        named = CheckoutGiven(lines=[LineGiven(variant_id=MUG)], shopper="shp_robin")
        assert await kind_of(created(world, named)) is CommerceError.UNAUTHENTICATED
        assert (
            await kind_of(created(world, named, Caller("agent:other", "agents_api"))) is CommerceError.UNAUTHENTICATED
        )
        numbered = named.model_copy(update={"shopper": "1234567890123"})
        assert await kind_of(created(world, numbered, agent)) is CommerceError.INVALID_REQUEST
        unnamed = await created(world, CheckoutGiven(lines=[LineGiven(variant_id=MUG)]))
        taken_over = world.desk.update_checkout(
            BRAND, CALLER, unnamed.checkout_id, CheckoutGiven(shopper="shp_x"), None
        )
        assert await kind_of(taken_over) is CommerceError.UNAUTHENTICATED
        assert (await created(world, named, agent)).status == "incomplete"
