"""Money that came after its payment had ended is an order, or goes back: never neither, and never both."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from commerce_api import late_payments
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.late_payments import TRY_AGAIN_SECONDS
from commerce_api.models import checkout, offer_decision, order, payment, reservation, variant
from commerce_api.payment import Payments, Turn
from commerce_api.sweeps import sweep
from tests.commerce_api.test_offering import asked, offer, taken, with_offers
from tests.commerce_api.test_payment import (
    CALLER,
    MUG,
    MUGS_IN_STOCK,
    Crash,
    basket,
    crash_at,
    handed_off,
    pay,
    stock_of,
    view_of,
)
from tests.commerce_api.test_zone_notices import body_of, post, signed
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.wire import ChargeState, ModificationState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A commerce side on either database."""
    async with commerce_world(tmp_path, database_url) as made:
        yield made


async def failed(world: World) -> tuple[str, str]:
    """A checkout whose payment counts as failed, and that payment."""
    identifier = await handed_off(world)
    world.vault.next_outcome = [ChargeState.FAILED]
    await pay(world, identifier)
    return identifier, world.vault.asked[-1].payment


def decide(world: World, late: str) -> None:
    """Two operators of the zone say that the charge succeeded."""
    world.vault.settle(late, ChargeState.SUCCEEDED)
    world.vault.amend(late, captured_minor=world.vault.charges[late].amount_minor)


async def told(world: World, identifier: str, late: str, kind: str = "charge.succeeded") -> None:
    """The zone's notice of it comes."""
    body = body_of(identifier, late, kind)
    assert await post(world, body, signed(world, body)) == 200


async def swept(world: World) -> None:
    await sweep(world.commerce.database, world.commerce.payments)


async def ends(world: World, late: str) -> tuple[int, int]:
    """(orders, what was given back of the late payment)."""
    return len(await world.rows(order)), world.vault.charges[late].refunded_minor


async def state_of(world: World, late: str) -> str:
    return next(str(row.state) for row in await world.rows(payment) if row.id == late)


async def test_a_late_success_of_a_checkout_that_is_as_it_was_becomes_its_order(world: World) -> None:
    identifier, late = await failed(world)
    decide(world, late)
    for _ in range(2):
        await told(world, identifier, late)
    assert (await view_of(world, identifier)).status == "completed"
    [placed] = await world.rows(order)
    assert (placed.payment, placed.captured_minor) == (late, world.vault.charges[late].amount_minor)
    assert await ends(world, late) == (1, 0)
    assert await stock_of(world) == (MUGS_IN_STOCK - 2, 0)
    assert len(await world.events("order.created")) == 1


@pytest.mark.parametrize("what", ["changed", "canceled", "expired", "sold out", "partly given back"])
async def test_a_late_success_that_fits_nothing_any_more_goes_back(world: World, what: str) -> None:
    identifier, late = await failed(world)
    match what:
        case "changed":
            await world.desk.update_checkout(BRAND, CALLER, identifier, basket(5), None)
        case "canceled":
            await world.desk.cancel_checkout(BRAND, CALLER, identifier)
        case "expired":
            world.clock.advance(3_600)
            await swept(world)
        case "sold out":
            world.clock.advance(1_000)  # past the time that the stock is held
            sold = update(variant).where(variant.c.id == MUG).values(stock=0, reserved=0)
            await world.commerce.database.maintain(lambda tx: tx.execute(reservation.delete()))
            await world.commerce.database.maintain(lambda tx: tx.execute(sold))
        case "partly given back":
            world.vault.amend(late, refunded_minor=100)
    decide(world, late)
    for _ in range(2):
        await told(world, identifier, late)
    await swept(world)
    assert await ends(world, late) == (0, world.vault.charges[late].captured_minor)
    assert await state_of(world, late) == "returned"
    assert len(world.vault.modified) == 1
    assert (await view_of(world, identifier)).status in ("canceled", "expired")
    assert await world.rows(reservation) == []


async def test_a_checkout_whose_late_money_goes_back_lets_go_of_its_offer(world: World) -> None:
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    identifier = (await taken(world, made)).checkout_id
    await world.desk.complete_checkout(BRAND, CALLER, identifier)
    world.vault.next_outcome = [ChargeState.FAILED]
    await pay(world, identifier)
    late = world.vault.asked[-1].payment
    world.vault.amend(late, refunded_minor=100)
    decide(world, late)
    await told(world, identifier, late)
    assert (await view_of(world, identifier)).status == "canceled"
    assert [row.checkout for row in await world.rows(offer_decision)] == [None]


async def test_a_card_that_was_given_again_meanwhile_is_not_charged_and_does_not_hang(world: World) -> None:
    """The zone refuses the second charge; the checkout is the first one's, whether the notice came or not."""
    identifier, late = await failed(world)
    decide(world, late)
    world.vault.next_outcome = ChargeState.SUCCEEDED
    await pay(world, identifier)
    assert (await view_of(world, identifier)).status == "completed"
    assert await ends(world, late) == (1, 0)
    assert [row.state for row in await world.rows(payment) if row.id != late] == ["failed"]
    await told(world, identifier, late)
    assert await ends(world, late) == (1, 0)


async def test_where_no_payment_of_ours_took_the_money_the_shopper_gets_another_try(world: World) -> None:
    identifier, late = await failed(world)
    other = world.vault.charges[late].model_copy(update={"payment": "pay_other", "state": ChargeState.SUCCEEDED})
    world.vault.charges["pay_other"] = other
    await pay(world, identifier)
    assert (await view_of(world, identifier)).status == "requires_escalation"
    assert await ends(world, late) == (0, 0)


async def test_an_authorization_that_came_late_is_let_go(world: World) -> None:
    identifier, late = await failed(world)
    world.vault.settle(late, ChargeState.AUTHORIZED)
    await told(world, identifier, late, "charge.authorized")
    await swept(world)
    assert [made.kind.value for made in world.vault.modified.values()] == ["void"]
    assert await state_of(world, late) == "returned"


@pytest.mark.parametrize("state", [ChargeState.FAILED, ChargeState.DECLINED, ChargeState.UNKNOWN])
async def test_what_the_zone_does_not_say_succeeded_is_left_alone(world: World, state: ChargeState) -> None:
    identifier, late = await failed(world)
    world.vault.settle(late, state)
    await told(world, identifier, late)
    assert await ends(world, late) == (0, 0)
    assert await state_of(world, late) == "failed"


@pytest.mark.parametrize("bad", [ModificationState.DECLINED, ModificationState.FAILED])
async def test_a_return_that_was_refused_is_tried_anew_until_it_went_through(
    world: World, bad: ModificationState
) -> None:
    identifier, late = await failed(world)
    await world.desk.cancel_checkout(BRAND, CALLER, identifier)
    decide(world, late)
    world.vault.next_modification = bad
    await told(world, identifier, late)
    for _ in range(3):
        await swept(world)
    assert (len(world.vault.modified), await state_of(world, late)) == (1, "returning")
    world.vault.next_modification = ModificationState.SUCCEEDED
    world.clock.advance(TRY_AGAIN_SECONDS)
    await swept(world)
    assert (len(world.vault.modified), await state_of(world, late)) == (2, "returned")
    assert await ends(world, late) == (0, world.vault.charges[late].captured_minor)


async def test_a_return_that_came_back_is_tried_anew(world: World) -> None:
    identifier, late = await failed(world)
    await world.desk.cancel_checkout(BRAND, CALLER, identifier)
    decide(world, late)
    await told(world, identifier, late)
    await swept(world)
    [request] = world.vault.modified
    world.vault.end_modification(request, ModificationState.RETURNED)
    await told(world, identifier, late, "modification.returned")
    world.clock.advance(TRY_AGAIN_SECONDS)
    await swept(world)
    assert await ends(world, late) == (0, world.vault.charges[late].captured_minor)


async def test_a_return_whose_answer_was_lost_is_asked_again_under_its_key(world: World) -> None:
    identifier, late = await failed(world)
    await world.desk.cancel_checkout(BRAND, CALLER, identifier)
    decide(world, late)
    await told(world, identifier, late)
    world.vault.lose_reply = True
    await swept(world)
    world.vault.lose_reply = False
    world.clock.advance(late_payments.ASK_AGAIN_SECONDS)
    await swept(world)
    assert (len(world.vault.modified), await state_of(world, late)) == (1, "returned")


async def test_one_return_that_the_zone_refuses_keeps_no_other_waiting(world: World) -> None:
    late = []
    for _ in range(3):
        identifier, one = await failed(world)
        await world.desk.cancel_checkout(BRAND, CALLER, identifier)
        decide(world, one)
        late.append(one)
        await told(world, identifier, one)
    world.vault.amend(late[0], disputed_minor=world.vault.charges[late[0]].captured_minor)
    await swept(world)
    assert [await state_of(world, one) for one in late] == ["returning", "returned", "returned"]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("fate", ["lost", "persisted"])
@pytest.mark.parametrize("is_canceled", [False, True])
async def test_commerce_killed_at_any_write_ends_with_one_of_the_two(
    world: World, number: int, fate: str, is_canceled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier, late = await failed(world)
    if is_canceled:
        await world.desk.cancel_checkout(BRAND, CALLER, identifier)
    decide(world, late)
    with monkeypatch.context() as patch:
        crash_at(world, number, persisted=fate == "persisted", monkeypatch=patch)
        with contextlib.suppress(Crash):
            await world.commerce.payments.late.take_up(BRAND, late)
            await world.commerce.payments.late.give_back_due(9)
    await told(world, identifier, late)
    world.clock.advance(late_payments.ASK_AGAIN_SECONDS)
    await swept(world)
    captured = world.vault.charges[late].captured_minor
    assert await ends(world, late) == ((0, captured) if is_canceled else (1, 0))
    assert len(world.vault.modified) == is_canceled


ACTS = st.lists(st.sampled_from(["pay", "change", "cancel", "sweep", "tell", "wait"]), max_size=6)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(before=ACTS, after=ACTS)
async def test_whatever_happens_around_it_late_money_is_an_order_or_goes_back(
    world: World, before: list[str], after: list[str]
) -> None:
    world.vault.asked.clear()
    orders = len(await world.rows(order))
    identifier, late = await failed(world)
    world.vault.next_outcome = ChargeState.FAILED
    for act in before:
        await do(world, act, identifier, late)
    decide(world, late)
    for act in (*after, "tell", "sweep"):
        await do(world, act, identifier, late)
    made, given_back = len(await world.rows(order)) - orders, world.vault.charges[late].refunded_minor
    captured = world.vault.charges[late].captured_minor
    assert (made, given_back) in ((1, 0), (0, captured)), "one of the two, and not both"
    world.clock.advance(10_000)
    await swept(world)
    row = next(row for row in await world.rows(checkout) if row.id == identifier)
    assert row.state in ("completed", "canceled", "expired"), "nothing hangs"


async def do(world: World, act: str, identifier: str, late: str) -> None:
    """Something that happens; what cannot is refused."""
    with contextlib.suppress(CommerceRefusal, ValueError):
        match act:
            case "pay":
                await pay(world, identifier)
            case "change":
                await world.desk.update_checkout(BRAND, CALLER, identifier, basket(3), None)
                await world.desk.complete_checkout(BRAND, CALLER, identifier)
            case "cancel":
                await world.desk.cancel_checkout(BRAND, CALLER, identifier)
            case "sweep":
                await swept(world)
            case "tell":
                await told(world, identifier, late)
            case "wait":
                world.clock.advance(700)


async def test_a_planted_notice_that_only_looks_at_the_checkout_leaves_neither(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> bool:
        return False

    monkeypatch.setattr(late_payments.LatePayments, "take_up", nothing)
    identifier, late = await failed(world)
    decide(world, late)
    await told(world, identifier, late)
    await swept(world)
    assert await ends(world, late) == (0, 0)


async def test_a_planted_order_for_whatever_the_checkout_is_now_would_be_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_payments, "_is_as_confirmed", lambda current, _: current.state == "escalated")
    identifier, late = await failed(world)
    await world.desk.update_checkout(BRAND, CALLER, identifier, basket(5), None)
    await world.desk.complete_checkout(BRAND, CALLER, identifier)
    decide(world, late)
    await told(world, identifier, late)
    assert await ends(world, late) == (1, 0), "five were sold for the price of two"


@pytest.mark.parametrize("planted", [False, True])
async def test_checkouts_that_do_not_get_on_keep_no_other_waiting(
    tmp_path: Path, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time, and more than two stuck before the one that can go on. The plant begins each pass anew."""
    monkeypatch.setattr("commerce_api.sweeps.LIMIT", 2)
    if planted:
        waiting = Payments.waiting
        monkeypatch.setattr(Payments, "waiting", lambda self, limit, _: waiting(self, limit, Turn()))
    async with commerce_world(tmp_path) as world:
        checkouts = sorted([await handed_off(world, 1) for _ in range(6)])
        world.vault.next_outcome = ChargeState.UNKNOWN
        for identifier in checkouts:
            await pay(world, identifier)
        paid = next(asked.payment for asked in world.vault.asked if asked.checkout == checkouts[-1])
        world.vault.settle(paid, ChargeState.SUCCEEDED)
        turn = Turn()
        for _ in range(3):
            turn = await sweep(world.commerce.database, world.commerce.payments, turn)
        done = [row.id for row in await world.rows(checkout) if row.state == "completed"]
        assert done == ([] if planted else [checkouts[-1]])


async def test_while_the_zone_is_away_the_notice_is_to_be_sent_again(world: World) -> None:
    _, late = await failed(world)
    world.vault.down = True
    with pytest.raises(CommerceRefusal) as refused:
        await world.commerce.payments.late.take_up(BRAND, late)
    assert refused.value.kind is CommerceError.PAYMENT_UNAVAILABLE
