"""From a captured card to an order, at most once, whatever dies between two steps and whoever asks again (I3, I5, I8)."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import select

from audit.transaction import Transaction
from commerce_api.app import commerce_app
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import checkout, order, payment, reservation, variant
from commerce_api.payment import Turn
from commerce_api.schemas import AddressGiven, BuyerGiven, CheckoutGiven, CheckoutView, LineGiven
from commerce_api.sweeps import sweep
from commerce_api.vault_client import VaultRefused
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.ids import digest, new_secret
from tokenization.wire import QUERY_MAXIMUM, CaptureSession, ChargeState, OpenCaptureSession

pytestmark = pytest.mark.anyio
T = TypeVar("T")
CALLER = Caller(ANONYMOUS, "test")
MUG = "hp-mug-sea-300ml"
MUGS_IN_STOCK = 120
ADDRESS = AddressGiven(line1="12 Quay Street", city="Portland", region="OR", postal_code="97209", country="US")


class Crash(BaseException):
    """The process dies here."""


def basket(quantity: int = 2, variant_id: str = MUG) -> CheckoutGiven:
    return CheckoutGiven(
        lines=[LineGiven(variant_id=variant_id, quantity=quantity)],
        buyer=BuyerGiven(email="robin@shopper.example"),
        shipping_address=ADDRESS,
    )


async def handed_off(world: World, quantity: int = 2, variant_id: str = MUG) -> str:
    view = await world.desk.create_checkout(BRAND, CALLER, basket(quantity, variant_id), None)
    handed = await world.desk.complete_checkout(BRAND, CALLER, view.checkout_id)
    assert handed.status == "requires_escalation"
    return view.checkout_id


async def pay(world: World, identifier: str) -> None:
    """What a shopper does: opens the card page, enters a card, comes back."""
    await world.commerce.payments.capture_link(BRAND, identifier)
    world.vault.capture()
    await world.commerce.payments.advance(BRAND, identifier)


async def view_of(world: World, identifier: str) -> CheckoutView:
    return await world.desk.get_checkout(BRAND, CALLER, identifier)


async def stock_of(world: World, variant_id: str = MUG) -> tuple[int, int]:
    """(in stock, of that reserved)."""
    rows = await world.rows(variant)
    return next((row.stock, row.reserved) for row in rows if row.id == variant_id)


def crash_at(world: World, number: int, *, persisted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies at its next change of this number: before the commit, or right after it."""
    real, seen = world.commerce.database.change, itertools.count(1)

    async def change(work: Callable[[Transaction], Any]) -> Any:
        if next(seen) != number:
            return await real(work)
        if persisted:
            await real(work)
        raise Crash

    monkeypatch.setattr(world.commerce.database, "change", change)


async def test_a_captured_card_becomes_one_order_and_sold_stock(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        assert await stock_of(world) == (MUGS_IN_STOCK, 2)
        await pay(world, identifier)
        view = await view_of(world, identifier)
        assert view.status == "completed"
        assert view.order_id is not None
        placed = await world.desk.get_order(BRAND, CALLER, view.order_id)
        assert placed.totals == view.totals
        assert (placed.paid_with.brand, placed.paid_with.last4, placed.sandbox) == ("visa", "4242", True)
        assert await stock_of(world) == (MUGS_IN_STOCK - 2, 0)
        assert [asked.amount_minor for asked in world.vault.asked] == [view.totals.total.amount_minor]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("fate", ["lost", "persisted"])
@pytest.mark.parametrize("zone", ["answers", "loses its replies"])
async def test_commerce_killed_between_any_two_steps_gets_to_one_order_all_the_same(
    tmp_path: Path, database_url: str, number: int, fate: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """{write} × {lost, persisted} × {the zone answers, or charges and is not heard}: the same calls again reach the end."""
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.lose_reply = zone != "answers"
        with monkeypatch.context() as patch:
            crash_at(world, number, persisted=fate == "persisted", monkeypatch=patch)
            with contextlib.suppress(Crash, CommerceRefusal):
                await pay(world, identifier)
        world.vault.lose_reply = False
        await world.desk.get_checkout(BRAND, CALLER, identifier)
        if (await view_of(world, identifier)).status != "completed":
            await pay(world, identifier)
        view = await view_of(world, identifier)
        assert view.status == "completed"
        taken = [charge for charge in world.vault.charges.values() if charge.state is ChargeState.SUCCEEDED]
        assert len(taken) == 1
        assert len(await world.rows(order)) == 1
        assert await stock_of(world) == (MUGS_IN_STOCK - 2, 0)
        assert await world.rows(reservation) == []


async def test_a_payment_whose_caller_went_away_is_finished_by_the_sweep(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        world.clock.advance(3600)  # past the checkout's own time: what is paid for does not expire
        await sweep(world.commerce.database, world.commerce.payments)
        assert (await view_of(world, identifier)).status == "completed"


async def test_everybody_at_once_still_makes_one_order(tmp_path: Path, database_url: str) -> None:
    """The shopper's return, the assistant's question and the sweep, all at the same time."""
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        calls = [world.desk.complete_checkout(BRAND, CALLER, identifier) for _ in range(6)]
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await view_of(world, identifier)).status == "completed"
        assert len({asked.payment for asked in world.vault.asked}) == 1
        assert len(await world.rows(order)) == 1


async def test_a_zone_that_is_down_loses_nothing(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.down = True
        with pytest.raises(CommerceRefusal) as refused:
            await world.commerce.payments.capture_link(BRAND, identifier)
        assert refused.value.kind is CommerceError.PAYMENT_UNAVAILABLE
        assert (await view_of(world, identifier)).status == "requires_escalation", "reading works without the zone"
        world.vault.down = False
        await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        world.vault.down = True
        assert (await view_of(world, identifier)).status == "requires_escalation"
        world.vault.down = False
        assert (await view_of(world, identifier)).status == "completed"


async def test_a_declined_card_leads_to_another_card_and_one_charge(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = [ChargeState.DECLINED]
        await pay(world, identifier)
        declined = await view_of(world, identifier)
        assert declined.status == "requires_escalation"
        assert "payment_declined" in [message.code for message in declined.messages]
        await pay(world, identifier)
        assert (await view_of(world, identifier)).status == "completed"
        assert len({asked.payment for asked in world.vault.asked}) == 2, "a new charge has a key of its own"
        assert [row.state for row in await world.rows(payment)].count("succeeded") == 1


async def test_an_unknown_outcome_keeps_the_checkout_and_its_stock_until_it_is_known(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = [ChargeState.UNKNOWN]
        await pay(world, identifier)
        world.clock.advance(7200)
        world.vault.next_outcome = ChargeState.UNKNOWN
        await sweep(world.commerce.database, world.commerce.payments)
        assert (await view_of(world, identifier)).status == "complete_in_progress"
        assert await stock_of(world) == (MUGS_IN_STOCK, 2)
        for forbidden in (
            world.desk.cancel_checkout(BRAND, CALLER, identifier),
            world.desk.update_checkout(BRAND, CALLER, identifier, basket(1), None),
            world.commerce.payments.capture_link(BRAND, identifier),
        ):
            with pytest.raises(CommerceRefusal) as refused:
                await forbidden
            assert refused.value.kind is CommerceError.CHECKOUT_IN_PAYMENT
        world.vault.next_outcome = ChargeState.SUCCEEDED
        await sweep(world.commerce.database, world.commerce.payments)
        assert (await view_of(world, identifier)).status == "completed"


async def test_authentication_waits_for_the_shopper_and_then_completes(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = ChargeState.ACTION_REQUIRED
        await pay(world, identifier)
        waiting = await view_of(world, identifier)
        assert "authentication_required" in [message.code for message in waiting.messages]
        assert await world.commerce.payments.action_url(identifier) is not None
        world.vault.settle(world.vault.asked[0].payment, ChargeState.SUCCEEDED)
        assert (await view_of(world, identifier)).status == "completed"


async def test_what_the_shopper_brings_back_from_the_bank_is_told_to_the_zone_and_stands_nowhere(
    tmp_path: Path, database_url: str
) -> None:
    brought = "redirectResult=X6XtfGC3%21brought-back"
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = ChargeState.ACTION_REQUIRED
        await pay(world, identifier)
        world.vault.settle(world.vault.asked[0].payment, ChargeState.SUCCEEDED)
        transport = httpx.ASGITransport(commerce_app(world.commerce))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as shopper:
            back = await shopper.get(f"/{BRAND}/checkout/{identifier}/return?{brought}")
        assert back.status_code == 303
        assert "brought" not in back.headers["location"]
        assert world.vault.came_back == [brought]
        assert (await view_of(world, identifier)).status == "completed"
        assert "brought" not in str([dict(row._mapping) for row in await world.rows(payment)])


async def test_an_address_longer_than_any_bank_makes_it_is_not_passed_on(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = ChargeState.ACTION_REQUIRED
        await pay(world, identifier)
        transport = httpx.ASGITransport(commerce_app(world.commerce))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as shopper:
            back = await shopper.get(f"/{BRAND}/checkout/{identifier}/return?redirectResult={'a' * QUERY_MAXIMUM}")
        assert back.status_code == 303
        assert world.vault.came_back == []


@pytest.mark.parametrize("end", [ChargeState.VOIDED, ChargeState.EXPIRED])
async def test_a_charge_that_was_let_go_gives_the_checkout_back_to_the_shopper(
    tmp_path: Path, database_url: str, end: ChargeState
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = [ChargeState.ACTION_REQUIRED]
        await pay(world, identifier)
        world.vault.settle(world.vault.asked[0].payment, end)
        assert (await view_of(world, identifier)).status == "requires_escalation"
        await pay(world, identifier)
        assert (await view_of(world, identifier)).status == "completed"
        assert len(await world.rows(order)) == 1


async def test_a_lost_security_code_leads_to_entering_the_card_again(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = [VaultRefused("security_code_gone")]
        await pay(world, identifier)
        assert (await view_of(world, identifier)).status == "requires_escalation"
        await pay(world, identifier)
        assert (await view_of(world, identifier)).status == "completed"


async def test_a_zone_that_cannot_write_its_log_is_asked_again_with_the_same_payment(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.vault.next_outcome = [VaultRefused("audit_unavailable"), VaultRefused("invalid_request")]
        for _ in range(2):
            with pytest.raises(CommerceRefusal):
                await pay(world, identifier) if not world.vault.asked else await world.commerce.payments.advance(
                    BRAND, identifier
                )
        assert (await view_of(world, identifier)).status == "completed"
        assert len({asked.payment for asked in world.vault.asked}) == 1


async def test_a_price_that_changed_goes_back_to_the_shopper_before_the_card(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)

        def dearer(tx: Transaction) -> None:
            tx.execute(variant.update().where(variant.c.id == MUG).values(price_minor=9_900))

        await world.commerce.database.maintain(dearer)
        with pytest.raises(CommerceRefusal) as refused:
            await world.commerce.payments.capture_link(BRAND, identifier)
        assert refused.value.kind is CommerceError.CHECKOUT_NOT_READY
        shown = await view_of(world, identifier)
        assert (shown.status, shown.totals.items.amount_minor) == ("ready_for_complete", 19_800)
        await pay(world, identifier)
        assert world.vault.asked[0].amount_minor == shown.totals.total.amount_minor


async def test_pressing_pay_again_while_the_first_card_is_charged_loses_no_order(
    tmp_path: Path, database_url: str
) -> None:
    """The second link is asked for; meanwhile the first one's card is captured and charged; then the second answer arrives."""
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        real = world.vault.open_capture

        async def slow(asked: OpenCaptureSession) -> CaptureSession:
            session = await real(asked)
            world.vault.next_outcome = [ChargeState.UNKNOWN]
            await world.commerce.payments.advance(BRAND, identifier)
            return session

        world.vault.open_capture = slow  # type: ignore[method-assign]  # the zone, slowly
        with pytest.raises(CommerceRefusal):
            await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.next_outcome = ChargeState.SUCCEEDED
        await sweep(world.commerce.database, world.commerce.payments)
        assert (await view_of(world, identifier)).status == "completed"
        assert len(await world.rows(order)) == 1


async def test_a_change_while_the_link_is_made_is_not_overwritten(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world, 5)
        real = world.vault.open_capture

        async def slow(asked: OpenCaptureSession) -> CaptureSession:
            session = await real(asked)
            await world.desk.update_checkout(BRAND, CALLER, identifier, basket(1), None)
            return session

        world.vault.open_capture = slow  # type: ignore[method-assign]  # the zone, slowly
        with pytest.raises(CommerceRefusal):
            await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        view = await view_of(world, identifier)
        assert (view.status, view.lines[0].quantity) == ("ready_for_complete", 1)
        assert world.vault.asked == []


async def test_one_checkout_in_trouble_keeps_no_other_from_its_turn(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        broken, whole = await handed_off(world), await handed_off(world)
        for identifier in (broken, whole):
            await world.commerce.payments.capture_link(BRAND, identifier)
            world.vault.capture()
        lost = next(name for name, asked in world.vault.opened.items() if asked.checkout == broken)
        del world.vault.sessions[lost]
        await sweep(world.commerce.database, world.commerce.payments)
        assert (await view_of(world, whole)).status == "completed"
        assert (await view_of(world, broken)).status == "requires_escalation"
        await pay(world, broken)
        assert (await view_of(world, broken)).status == "completed"


async def test_many_idle_card_pages_keep_no_captured_card_waiting(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_api.sweeps.LIMIT", 2)
    async with commerce_world(tmp_path, database_url) as world:
        checkouts = [await handed_off(world, 1) for _ in range(6)]
        for identifier in checkouts:
            await world.commerce.payments.capture_link(BRAND, identifier)
        world.vault.capture()
        after = Turn()
        for _ in range(4):
            after = await sweep(world.commerce.database, world.commerce.payments, after)
        assert (await view_of(world, checkouts[-1])).status == "completed"


async def test_a_price_that_changed_after_the_agent_told_it_is_told_again_first(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        view = await world.desk.create_checkout(BRAND, CALLER, basket(), None)

        def dearer(tx: Transaction) -> None:
            tx.execute(variant.update().where(variant.c.id == MUG).values(price_minor=9_900))

        await world.commerce.database.maintain(dearer)
        told = await world.desk.complete_checkout(BRAND, CALLER, view.checkout_id)
        assert (told.status, told.totals.items.amount_minor) == ("ready_for_complete", 19_800)
        assert (await world.desk.complete_checkout(BRAND, CALLER, view.checkout_id)).status == "requires_escalation"


async def test_a_checkout_whose_product_came_back_can_be_paid_again(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)

        def set_available(value: int) -> Callable[[Transaction], Any]:
            return lambda tx: tx.execute(variant.update().where(variant.c.id == MUG).values(available=value))

        await world.commerce.database.maintain(set_available(0))
        with pytest.raises(CommerceRefusal):
            await world.commerce.payments.capture_link(BRAND, identifier)
        await world.commerce.database.maintain(set_available(1))
        with contextlib.suppress(CommerceRefusal):  # the shopper sees that it is back before the card is asked for
            await world.commerce.payments.capture_link(BRAND, identifier)
        await pay(world, identifier)
        assert (await view_of(world, identifier)).status == "completed"


async def test_a_card_for_an_older_link_pays_nothing(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        await world.commerce.payments.capture_link(BRAND, identifier)
        first = next(iter(world.vault.sessions))
        world.vault.capture(first)
        await world.desk.update_checkout(BRAND, CALLER, identifier, basket(5), None)
        await world.desk.complete_checkout(BRAND, CALLER, identifier)
        assert (await view_of(world, identifier)).status == "requires_escalation"
        assert world.vault.asked == []


async def test_an_expired_checkout_cannot_be_paid_and_frees_its_stock(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world)
        world.clock.advance(1801)
        with pytest.raises(CommerceRefusal) as refused:
            await world.commerce.payments.capture_link(BRAND, identifier)
        assert refused.value.kind is CommerceError.CHECKOUT_FINISHED
        await sweep(world.commerce.database, world.commerce.payments)
        assert await stock_of(world) == (MUGS_IN_STOCK, 0)
        rows = await world.commerce.database.read(lambda c: c.execute(select(checkout.c.state)).scalars().all())
        assert list(rows) == ["expired"]


async def test_the_zone_is_told_the_openers_digest_and_the_shopper_that_the_brands_agent_named(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        agent, opener = Caller(f"agent:{BRAND}", "agents_api"), new_secret("opn")
        given = CheckoutGiven.model_validate(basket().model_dump(exclude_unset=True) | {"shopper": "shp_robin"})
        made = await world.desk.create_checkout(BRAND, agent, given, None)
        await world.desk.update_checkout(BRAND, agent, made.checkout_id, CheckoutGiven(buyer=given.buyer), None)
        await world.desk.complete_checkout(BRAND, agent, made.checkout_id)
        await world.commerce.payments.capture_link(BRAND, made.checkout_id, opener)
        (asked,) = world.vault.opened.values()
        assert (asked.opener_digest, asked.shopper) == (digest(opener), "shp_robin")
        assert opener not in asked.model_dump_json()


async def test_without_a_browser_or_a_shopper_the_zone_is_told_of_neither(tmp_path: Path) -> None:
    async with commerce_world(tmp_path) as world:
        await world.commerce.payments.capture_link(BRAND, await handed_off(world))
        (asked,) = world.vault.opened.values()
        assert (asked.opener_digest, asked.shopper) == (None, None)
