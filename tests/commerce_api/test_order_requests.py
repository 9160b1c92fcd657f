"""Requests about an order: whose, about what, at most one of a kind open, and answered once. They move no money."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commerce_api import order_requests
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order, order_request
from commerce_api.schemas import CheckoutGiven, OrderRequestGiven, OrderRequestView
from commerce_api.vault_client import SavedCard
from tests.commerce_api.purchases import KETTLE, MUG, ready
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.wire import CardSummary

pytestmark = pytest.mark.anyio
AGENT = Caller(f"agent:{BRAND}", "mcp")
STRANGER = Caller(ANONYMOUS, "mcp")


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A shop with one paid order."""
    async with commerce_world(tmp_path, database_url) as world:
        made = await world.desk.create_checkout(BRAND, AGENT, CheckoutGiven.model_validate(ready()), None)
        await world.desk.complete_checkout(BRAND, AGENT, made.checkout_id)
        await pay(world, made.checkout_id)
        yield world


async def the_order(world: World) -> str:
    """Its order's id."""
    [placed] = await world.rows(order)
    identifier: str = placed.id
    return identifier


async def ask(world: World, caller: Caller = AGENT, **given: object) -> OrderRequestView:
    """Asks about the order."""
    asked = OrderRequestGiven.model_validate({"kind": "return", **given})
    return await world.desk.request_about_order(BRAND, caller, await the_order(world), asked)


async def refused_with(world: World, caller: Caller = AGENT, **given: object) -> CommerceError:
    """The kind of the refusal."""
    with pytest.raises(CommerceRefusal) as refused:
        await ask(world, caller, **given)
    return refused.value.kind


async def test_a_request_is_recorded_and_shown_with_the_order_and_moves_no_money(shop: World) -> None:
    calls = list(shop.vault.calls)
    made = await ask(shop, reason="damaged")
    shown = await shop.desk.get_order(BRAND, AGENT, made.order_id)
    assert shown.requests == [made]
    assert (made.state, made.kind, made.reason) == ("open", "return", "damaged")
    assert made.returns_policy
    assert shown.status == "confirmed"
    assert shop.vault.calls == calls
    [event] = [json.loads(row.entry) for row in await shop.events("order_request.made")]
    assert event["actor"] == AGENT.principal
    assert event["resource"] == made.order_id


async def test_asking_again_and_at_the_same_moment_gives_the_one_that_is_open(shop: World) -> None:
    made = await asyncio.gather(*(ask(shop, reason="damaged") for _ in range(6)))
    again = await ask(shop, reason="other")
    cancel = await ask(shop, kind="cancel")
    assert {view.request_id for view in (*made, again)} == {made[0].request_id}
    assert cancel.request_id != again.request_id
    assert len(await shop.rows(order_request)) == 2


async def test_only_who_may_see_the_order_may_ask_about_it_and_only_about_what_is_in_it(shop: World) -> None:
    [line] = json.loads((await shop.rows(order))[0].document)["lines"]
    bought = line["variant_id"]
    elsewhere = KETTLE if bought == MUG else MUG
    other = Caller(f"agent:{await shop.add_brand('Salt Shed')}", "mcp")
    assert await refused_with(shop, STRANGER) is CommerceError.ORDER_UNKNOWN
    assert await refused_with(shop, other) is CommerceError.ORDER_UNKNOWN
    assert await refused_with(shop, variant_ids=[elsewhere]) is CommerceError.ORDER_LINE_UNKNOWN
    assert await shop.rows(order_request) == []
    assert (await ask(shop, variant_ids=[bought, bought])).variant_ids == [bought]


async def test_an_answer_is_given_once_and_then_another_request_may_be_made(shop: World) -> None:
    made = await ask(shop)
    await shop.commerce.database.change(lambda tx: order_requests.answer(tx, BRAND, made.request_id, "declined"))
    for brand in (BRAND, "salt-shed"):
        with pytest.raises(CommerceRefusal):
            await shop.commerce.database.change(
                lambda tx, brand=brand: order_requests.answer(tx, brand, made.request_id, "accepted")  # type: ignore[misc]
            )
    shop.clock.advance(1)
    fresh = await ask(shop)
    shown = await shop.desk.get_order(BRAND, AGENT, made.order_id)
    assert fresh.request_id != made.request_id
    assert [request.state for request in shown.requests] == ["declined", "open"]


async def test_an_order_whose_money_went_back_has_nothing_left_to_ask_for_and_says_so(shop: World) -> None:
    [placed] = await shop.rows(order)
    half = order.update().values(captured_minor=4_000, refunded_minor=2_000)
    whole = order.update().values(captured_minor=4_000, refunded_minor=4_000)
    await shop.commerce.database.maintain(lambda tx: tx.execute(half))
    assert (await shop.desk.get_order(BRAND, AGENT, placed.id)).status == "partly_refunded"
    await shop.commerce.database.maintain(lambda tx: tx.execute(whole))
    shown = await shop.desk.get_order(BRAND, AGENT, placed.id)
    assert shown.status == "refunded"
    assert shown.refunded is not None
    assert shown.refunded.amount_minor == 4_000
    assert await refused_with(shop) is CommerceError.ORDER_REFUNDED


async def test_planted_fault_without_the_index_two_requests_of_a_kind_are_open(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is what holds when nothing is looked up before."""
    from sqlalchemy import text
    from sqlalchemy.exc import IntegrityError

    never = order_request.select().where(text("1 = 0"))
    monkeypatch.setattr(order_requests, "_open_one", lambda *_: never)
    await ask(shop)
    with pytest.raises(IntegrityError):
        await ask(shop)
    await shop.as_owner("DROP INDEX uq_order_request_open")
    await ask(shop)
    assert len(await shop.rows(order_request)) == 2


async def test_saved_cards_are_told_to_the_brands_own_agent_alone_and_newest_first(shop: World) -> None:
    shop.vault.saved[BRAND, "shp_robin"] = [
        SavedCard(card=CardSummary(brand="visa", last4="4242"), saved_ms=1),
        SavedCard(card=CardSummary(brand="mastercard", last4="4444"), saved_ms=2),
    ]
    shown = await shop.desk.saved_methods(BRAND, AGENT, "shp_robin")
    assert [(method.brand, method.last4) for method in shown.methods] == [("mastercard", "4444"), ("visa", "4242")]
    assert set(shown.methods[0].model_dump()) == {"brand", "last4", "saved_at"}
    asked = len(shop.vault.calls)
    for caller in (STRANGER, Caller("agent:salt-shed", "mcp")):
        with pytest.raises(CommerceRefusal) as refused:
            await shop.desk.saved_methods(BRAND, caller, "shp_robin")
        assert refused.value.kind is CommerceError.SHOPPER_UNKNOWN
    assert len(shop.vault.calls) == asked
    shop.vault.down = True
    with pytest.raises(CommerceRefusal) as refused:
        await shop.desk.saved_methods(BRAND, AGENT, "shp_robin")
    assert refused.value.kind is CommerceError.PAYMENT_UNAVAILABLE
