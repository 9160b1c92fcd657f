"""An order's amounts follow the zone's record, whatever answers overtake each other. On both databases."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import true

from audit.threads import in_thread
from audit.transaction import Database
from commerce_api import order_money, orders
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import billing_line, order
from commerce_api.offering import outcomes as offering
from commerce_api.order_money import ATTEMPTS_MAXIMUM, refresh
from commerce_api.vault_client import VaultClient
from tests.commerce_api.billing.test_outcomes import agree, month_of, told
from tests.commerce_api.test_offering import GUEST, asked, bought, offer, outcomes, taken, with_offers
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.wire import Charge

pytestmark = pytest.mark.anyio
RATE = {"rate_basis_points": 1_000}
REFRESHING = 4  # at once: as many as the smallest machine has threads for


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """An order with an offer, billed by contract, its money captured and known; on either database."""
    async with commerce_world(tmp_path, database_url) as made:
        await with_offers(made, offer())
        await agree(made, sale=RATE)
        await bought(made)
        payment = payment_of(made)
        made.vault.amend(payment, captured_minor=made.vault.charges[payment].amount_minor)
        await brought_up(made)
        yield made


def payment_of(world: World) -> str:
    [payment] = world.vault.charges
    return payment


async def brought_up(world: World, zone: Any = None) -> None:
    await refresh(world.commerce.database, cast(VaultClient, zone or world.vault), BRAND, payment_of(world))


async def placed_when_given_back(directory: Path, url: str) -> tuple[list[tuple[str, int]], int, int]:
    """An order of which commerce hears when the operator gave its money back in the zone: outcomes, lines, what is billed."""
    async with commerce_world(directory, url) as world:
        await with_offers(world, offer())
        await agree(world, sale=RATE)
        view = await taken(world, (await asked(world)).offers[0].offer_id)
        await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
        world.vault.lose_reply = True
        with pytest.raises(CommerceRefusal):
            await pay(world, view.checkout_id)
        payment = payment_of(world)
        whole_minor = world.vault.charges[payment].amount_minor
        world.vault.amend(payment, captured_minor=whole_minor, refunded_minor=whole_minor - 100, disputed_minor=100)
        world.vault.lose_reply = False
        await world.commerce.payments.advance(BRAND, view.checkout_id)
        await brought_up(world)
        assert await refunded_minor(world) == whole_minor - 100
        return await outcomes(world), len(await world.rows(billing_line)), await billed_minor(world)


async def test_an_order_whose_money_went_back_before_it_was_placed_is_billed_and_learnt_as_that(
    tmp_path: Path, database_url: str
) -> None:
    came_of_it, lines, billed = await placed_when_given_back(tmp_path, database_url)
    assert [kind for kind, _ in came_of_it] == ["accepted", "chargeback", "purchased", "refunded", "shown"]
    assert (lines, billed) == (2, 0)


async def test_planted_fault_an_order_that_only_keeps_its_amounts_is_billed_in_full_for_good(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "pass_on", lambda *_, **__: None)
    came_of_it, lines, billed = await placed_when_given_back(tmp_path, database_url)
    assert "refunded" not in dict(came_of_it)
    assert (lines, billed > 0) == (1, True)


async def refunded_minor(world: World) -> int:
    [row] = await world.rows(order)
    return int(row.refunded_minor)


async def billed_minor(world: World) -> int:
    return int((await told(world, month_of(world)))["total"]["net_minor"])


class SlowZone:
    """The zone whose first answer is on its way until ``arrives`` is called."""

    def __init__(self, world: World) -> None:
        self._world, self._asked, self._arrives = world, asyncio.Event(), asyncio.Event()
        self.questions = 0

    async def find_charge(self, merchant: str, payment: str) -> Charge | None:
        """As VaultClient.find_charge."""
        self.questions += 1
        answer = await self._world.vault.find_charge(merchant, payment)
        if self.questions == 1:
            self._asked.set()
            await self._arrives.wait()
        return answer

    async def was_asked(self) -> None:
        await self._asked.wait()

    def arrives(self) -> None:
        self._arrives.set()


async def overtaken(world: World, *later_minor: int) -> SlowZone:
    """A first refund is asked about; before that answer is there, others learn of what came later."""
    zone, payment = SlowZone(world), payment_of(world)
    world.vault.amend(payment, refunded_minor=1_000)
    slow = asyncio.ensure_future(brought_up(world, zone))
    await zone.was_asked()
    for amount_minor in later_minor:
        world.vault.amend(payment, refunded_minor=amount_minor)
        await brought_up(world)
    zone.arrives()
    await slow
    return zone


async def test_an_answer_that_was_overtaken_is_not_written_and_the_zone_is_asked_again(world: World) -> None:
    whole_minor = world.vault.charges[payment_of(world)].amount_minor
    zone = await overtaken(world, whole_minor)
    assert zone.questions == 2
    assert (await refunded_minor(world), await billed_minor(world)) == (whole_minor, 0)
    assert ("refunded", 1_000) not in await outcomes(world)


async def test_an_answer_that_changes_no_amount_is_newer_all_the_same(world: World) -> None:
    """A refund that was asked about came back before that answer was there: nothing is written of it."""
    zone = await overtaken(world, 0)
    assert zone.questions == 2
    assert await refunded_minor(world) == 0
    assert ("refunded", 1_000) not in await outcomes(world)


async def test_an_answer_is_overtaken_too_when_the_amounts_are_again_what_they_were(world: World) -> None:
    full_minor = await billed_minor(world)
    await overtaken(world, 1_000, 0)
    assert (await refunded_minor(world), await billed_minor(world)) == (0, full_minor)


@pytest.mark.parametrize("later_minor", [(6_000,), (1_000, 0), (0,)])
async def test_planted_fault_an_answer_that_is_written_over_whatever_is_there_lets_the_older_one_win(
    world: World, later_minor: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_money, "_as_known", lambda _: true())
    await overtaken(world, *later_minor)
    assert await refunded_minor(world) == 1_000


async def paid_without_its_offer(directory: Path, url: str) -> list[str]:
    """Two orders with one offer, which does not hold any more in the second. That one is refunded: what came of the offer."""
    async with commerce_world(directory, url) as world:
        await with_offers(world, offer())
        made = await bought(world)
        world.clock.advance(1_801)
        view = await taken(world, made)
        assert "offer_invalid" in {message.code for message in view.messages}
        await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
        await pay(world, view.checkout_id)
        [second] = [row for row in await world.rows(order) if row.checkout == view.checkout_id]
        world.vault.amend(second.payment, captured_minor=7_900, refunded_minor=7_900)
        await refresh(world.commerce.database, cast(VaultClient, world.vault), BRAND, second.payment)
        return [kind for kind, _ in await outcomes(world)]


async def test_a_refund_of_an_order_in_which_the_offer_did_not_hold_says_nothing_of_the_offer(
    tmp_path: Path, database_url: str
) -> None:
    assert await paid_without_its_offer(tmp_path, database_url) == ["accepted", "purchased", "shown"]


async def test_planted_fault_a_refund_told_of_whatever_offer_the_order_names_spoils_one_that_holds(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note_it(tx: Any, brand: str, document: Any, of: str, outcome: Any, amount_minor: int, change: int) -> None:
        offering.note(tx, brand, document["offer_id"], outcome, key=f"{of}:{change}", value_minor=amount_minor)

    monkeypatch.setattr(offering, "given_back", note_it)
    assert "refunded" in await paid_without_its_offer(tmp_path, database_url)


async def test_a_second_refund_of_the_same_size_is_another_and_one_that_came_back_is_none(world: World) -> None:
    for amount_minor in (500, 500, 0, 500):
        world.vault.amend(payment_of(world), refunded_minor=amount_minor)
        await brought_up(world)
    world.vault.amend(payment_of(world), disputed_minor=500)
    await brought_up(world)
    told_of = [one for one in await outcomes(world) if one[0] not in ("accepted", "purchased", "shown")]
    assert told_of == [("chargeback", 500), ("refund_returned", 0), ("refunded", 500), ("refunded", 500)]


class MovingZone:
    """The zone as money moves with each question. The first questions are answered together: all of them know the same."""

    def __init__(self, world: World, history_minor: list[int]) -> None:
        self.said_last_minor = 0
        self._charge = world.vault.charges[payment_of(world)]
        self.history_minor = history_minor
        self._questions = 0
        self._counted = threading.Lock()
        self._together = threading.Barrier(REFRESHING)

    async def find_charge(self, *_: str) -> Charge:
        """As VaultClient.find_charge."""
        with self._counted:
            self._questions += 1
            number = self._questions
            refunded = self.said_last_minor = self.history_minor[min(number, len(self.history_minor)) - 1]
        if number <= REFRESHING:
            await in_thread(self._together.wait, 30)
        return self._charge.model_copy(update={"refunded_minor": refunded})


def by_another_process(url: str, clock: Callable[[], int], zone: MovingZone, payment: str) -> None:
    """A refresh in a thread, with a loop and connections of its own."""

    async def work() -> None:
        database = Database.open(url, clock)
        try:
            await refresh(database, cast(VaultClient, zone), BRAND, payment)
        finally:
            await database.close()

    asyncio.run(work())


async def raced(world: World, zone: MovingZone) -> list[int]:
    """Several processes learn of a charge while its money moves; the refunds that were written, in their order."""
    url, payment = world.commerce.database.url, payment_of(world)
    captured_minor = world.vault.charges[payment].captured_minor
    before = len(await world.events("order.money_changed"))
    work = [in_thread(by_another_process, url, world.clock, zone, payment) for _ in range(REFRESHING)]
    await asyncio.gather(*work)
    written = [json.loads(event.entry)["data"] for event in await world.events("order.money_changed")]
    return [captured_minor - data["amount_minor"] for data in written[before:]]


async def test_processes_at_once_write_what_happened_in_its_order_and_end_with_what_is(world: World) -> None:
    history_minor = [100, 200, 0, 100, 300, 0, 400]
    zone = MovingZone(world, history_minor)
    written = await raced(world, zone)
    later = iter(history_minor)
    assert all(amount in later for amount in written), f"{written} is not an order in which it happened"
    assert await refunded_minor(world) == zone.said_last_minor


async def test_one_that_is_overtaken_again_and_again_says_so(world: World) -> None:
    """It is overtaken each time: the zone's answer comes after another process has written a newer one."""
    payment, questions = payment_of(world), 0

    class Overtaken:
        @staticmethod
        async def find_charge(merchant: str, of: str) -> Charge | None:
            nonlocal questions
            questions += 1
            answer = await world.vault.find_charge(merchant, of)
            world.vault.amend(payment, refunded_minor=questions * 10)
            await brought_up(world)
            return answer and answer.model_copy(update={"refunded_minor": 5_000})

    with pytest.raises(CommerceRefusal) as refused:
        await brought_up(world, Overtaken)
    assert (refused.value.kind, questions) == (CommerceError.BUSY, ATTEMPTS_MAXIMUM)
    assert await refunded_minor(world) == questions * 10
