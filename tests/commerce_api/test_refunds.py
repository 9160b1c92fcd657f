"""An operator gives an order's money back: once for what was asked, whatever dies or is lost between. On both databases."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from commerce_api import refunds as refunds_module
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order, order_refund
from commerce_api.refunds import AnotherRefund, Refund, Refunds
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from commerce_api.zone_notices import NoticeDesk
from tests.commerce_api.test_payment import Crash, crash_at, handed_off, pay
from tests.commerce_api.test_zone_notices import body_of, signed
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.ids import new_id
from tokenization.wire import Modification, ModificationRequest, ModificationState

pytestmark = pytest.mark.anyio
REASON = "damaged"


class RefundingZone:
    """The zone's part in refunds: one for each request key, up to what was captured. Its own account is ``given_back``."""

    def __init__(self, world: World, payment: str, captured_minor: int) -> None:
        self.world, self.payment = world, payment
        self.made: dict[str, Modification] = {}
        self.state = ModificationState.SUCCEEDED
        self.lose_request = self.lose_reply = False
        world.vault.amend(payment, captured_minor=captured_minor)

    @property
    def given_back(self) -> int:
        return sum(made.amount_minor or 0 for made in self.made.values() if made.state is ModificationState.SUCCEEDED)

    async def modify(self, asked: ModificationRequest) -> Modification:
        """As VaultClient.modify."""
        if self.lose_request:
            raise VaultUnavailable
        charge = self.world.vault.charges[self.payment]
        if asked.request not in self.made:
            left = charge.captured_minor - charge.refunded_minor
            amount = left if asked.amount_minor is None else asked.amount_minor
            if amount > left or not left:
                raise VaultRefused("amount_not_available")
            self.made[asked.request] = Modification(
                modification=new_id("mod"),
                request=asked.request,
                kind=asked.kind,
                state=self.state,
                amount_minor=amount,
                currency=charge.currency,
                charge=charge,
            )
            self.world.vault.amend(self.payment, refunded_minor=self.given_back)
        await asyncio.sleep(0)  # the reply is on its way; somebody else may act meanwhile
        if self.lose_reply:
            raise VaultUnavailable
        return self.made[asked.request]

    def end(self, state: ModificationState) -> None:
        """The processor's record says at last how what is open ended."""
        for request, made in self.made.items():
            self.made[request] = made.model_copy(update={"state": state})
        self.world.vault.amend(self.payment, refunded_minor=self.given_back)

    async def find_modification(self, _: str, request: str) -> Modification | None:
        """As VaultClient.find_modification."""
        return self.made.get(request)

    async def notice_secret(self, merchant: str) -> str:
        """As VaultClient.notice_secret."""
        return await self.world.vault.notice_secret(merchant)

    async def find_charge(self, merchant: str, payment: str) -> Any:
        """As VaultClient.find_charge."""
        return await self.world.vault.find_charge(merchant, payment)


class Shop:
    """An order that was paid, its refunds, and the zone."""

    def __init__(self, world: World, order_id: str, zone: RefundingZone) -> None:
        self.world, self.order_id, self.zone = world, order_id, zone
        self.refunds = Refunds(world.commerce.database, cast(VaultClient, zone))

    async def refund(self, amount_minor: int | None = None, reason: str = REASON) -> Refund:
        return await self.refunds.refund(BRAND, self.order_id, amount_minor, reason)

    async def refunded_minor(self) -> int:
        """What the order itself says."""
        [row] = await self.world.rows(order)
        amount: int = row.refunded_minor
        return amount


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> AsyncIterator[Shop]:
    """An order of 100.00 on either database."""
    async with commerce_world(tmp_path, database_url) as world:
        await pay(world, await handed_off(world))
        [placed] = await world.rows(order)
        yield Shop(world, placed.id, RefundingZone(world, placed.payment, 10_000))


async def test_a_part_and_then_the_rest_are_given_back_and_the_order_says_so(shop: Shop) -> None:
    assert (await shop.refund(1_250)).state == "succeeded"
    shop.world.clock.advance(1)
    assert (await shop.refund()).state == "succeeded"
    assert (shop.zone.given_back, await shop.refunded_minor()) == (10_000, 10_000)
    shown = await shop.refunds.shown(BRAND, shop.order_id)
    assert shown.money == (10_000, 10_000, 0)
    assert [refund.amount_minor for refund in shown.refunds] == [1_250, None]
    kinds = [event.type for event in await shop.world.events() if event.type.startswith("order.refund")]
    assert kinds == ["order.refund_asked", "order.refund_settled"] * 2


async def test_the_same_amount_can_be_given_back_twice_when_it_is_asked_for_twice(shop: Shop) -> None:
    assert [(await shop.refund(1_000)).state, (await shop.refund(1_000)).state] == ["succeeded", "succeeded"]
    assert shop.zone.given_back == 2_000


@pytest.mark.parametrize("loss", ["lose_request", "lose_reply"])
async def test_what_was_not_answered_is_asked_again_under_the_same_id(shop: Shop, loss: str) -> None:
    setattr(shop.zone, loss, True)
    with pytest.raises(CommerceRefusal) as refusal:
        await shop.refund(1_250)
    assert refusal.value.kind is CommerceError.PAYMENT_UNAVAILABLE
    with pytest.raises(AnotherRefund):
        await shop.refund(2_000)
    setattr(shop.zone, loss, False)
    assert (await shop.refund(1_250)).state == "succeeded"
    assert (shop.zone.given_back, await shop.refunded_minor()) == (1_250, 1_250)
    assert len(await shop.world.rows(order_refund)) == 1


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("fate", ["lost", "persisted"])
async def test_commerce_killed_at_any_write_gives_back_once_all_the_same(
    shop: Shop, number: int, fate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at(shop.world, number, persisted=fate == "persisted", monkeypatch=patch)
        with contextlib.suppress(Crash):
            await shop.refund()
    await shop.refund()
    assert shop.zone.given_back == 10_000
    assert len(shop.zone.made) == 1
    assert await shop.refunded_minor() == 10_000


async def test_a_fresh_id_for_each_try_would_be_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a refund whose reply was lost is forgotten, as if its intent had not been written."""
    shop.zone.lose_reply = True
    with pytest.raises(CommerceRefusal):
        await shop.refund(1_250)
    shop.zone.lose_reply = False
    monkeypatch.setattr(refunds_module, "ASKED", "forgotten")
    await shop.refund(1_250)
    assert shop.zone.given_back == 2_500


async def test_operators_who_ask_at_the_same_time_give_back_once(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.refund(1_250) for _ in range(2)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, Refund)] == []
    assert (
        1 <= len(shop.zone.made) <= 2
    )  # the second may have come when the first had ended: then it was asked for twice
    assert shop.zone.given_back == len(shop.zone.made) * 1_250 == len(await shop.world.rows(order_refund)) * 1_250


async def test_the_database_keeps_a_second_open_refund_out(shop: Shop) -> None:
    values = {"order_id": shop.order_id, "payment": "pay_a", "reason": REASON, "state": "asked"}
    for expected in (contextlib.nullcontext(), pytest.raises(IntegrityError)):
        with expected:
            await shop.world.commerce.database.maintain(
                lambda tx: tx.execute(
                    insert(order_refund).values(id=new_id("req"), created_ms=1, changed_ms=1, **values)
                )
            )


async def test_a_refund_that_the_zone_refuses_is_over_and_another_may_follow(shop: Shop) -> None:
    refused = await shop.refund(10_001)
    assert (refused.state, refused.code) == ("refused", "amount_not_available")
    assert (await shop.refund(10_000)).state == "succeeded"


@pytest.mark.parametrize("state", [ModificationState.UNKNOWN, ModificationState.PENDING])
async def test_what_the_zone_does_not_know_yet_stays_open_and_ends_by_its_word(
    shop: Shop, state: ModificationState
) -> None:
    shop.zone.state = state
    assert (await shop.refund(1_250)).state == "asked"
    shop.zone.end(ModificationState.SUCCEEDED)
    [refund] = (await shop.refunds.shown(BRAND, shop.order_id)).refunds
    assert (refund.state, await shop.refunded_minor()) == ("succeeded", 1_250)


async def test_what_the_processor_has_taken_on_is_followed_to_its_end(shop: Shop) -> None:
    shop.zone.state = ModificationState.ACCEPTED
    assert (await shop.refund(1_250)).state == "accepted"
    assert await shop.refunded_minor() == 0
    shop.zone.end(ModificationState.DECLINED)
    [refund] = (await shop.refunds.shown(BRAND, shop.order_id)).refunds
    assert (refund.state, await shop.refunded_minor()) == ("declined", 0)


@pytest.mark.parametrize("planted", [False, True])
async def test_a_refund_that_came_back_says_so_and_may_be_asked_for_anew(
    shop: Shop, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plant takes a refund that succeeded for one that nothing more is heard of."""
    if planted:
        monkeypatch.setattr(refunds_module, "_MAY_MOVE", (refunds_module.ASKED, ModificationState.ACCEPTED.value))
    assert (await shop.refund()).state == "succeeded"
    shop.zone.end(ModificationState.RETURNED)
    [refund] = (await shop.refunds.shown(BRAND, shop.order_id)).refunds
    assert (refund.state, await shop.refunded_minor()) == ("succeeded" if planted else "returned", 0)
    settled = [json.loads(event.entry) for event in await shop.world.events("order.refund_settled")]
    assert [one["outcome"] for one in settled] == (["success"] if planted else ["success", "failure"])
    assert (await shop.refund()).state == "succeeded"
    assert shop.zone.given_back == await shop.refunded_minor() == 10_000


async def test_a_notice_of_a_refund_brings_it_up_to_date(shop: Shop) -> None:
    desk = NoticeDesk(
        shop.world.commerce.database, cast(VaultClient, shop.zone), shop.world.commerce.payments, shop.world.clock
    )
    await shop.refund()
    shop.zone.end(ModificationState.RETURNED)
    body = body_of((await shop.world.rows(order))[0].checkout, shop.zone.payment, "modification.returned", of="mod_a")
    sent = signed(shop.world, body)
    await desk.take(sent["webhook-id"], sent["webhook-timestamp"], sent["webhook-signature"], body)
    [row] = await shop.world.rows(order_refund)
    assert (row.state, await shop.refunded_minor()) == ("returned", 0)


async def test_an_order_of_another_brand_is_not_there(shop: Shop) -> None:
    other = await shop.world.add_brand("Other Shop")
    for brand, kind in ((other, CommerceError.ORDER_UNKNOWN), ("nobody", CommerceError.BRAND_UNKNOWN)):
        with pytest.raises(CommerceRefusal) as refusal:
            await shop.refunds.refund(brand, shop.order_id, None, REASON)
        assert refusal.value.kind is kind
    assert not shop.zone.made
