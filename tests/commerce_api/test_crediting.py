"""Purchases are credited to what their shopper was shown, offer or none; a log of it lets a better model pass, no worse one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from audit.transaction import Transaction
from commerce_api import order_money
from commerce_api.brands import find_brand
from commerce_api.checkout.service import Caller
from commerce_api.memory.asker import asker_of
from commerce_api.memory.erasing import erase
from commerce_api.models import billed_outcome, offer_budget
from commerce_api.models import order as orders
from commerce_api.offering import crediting, outcomes
from commerce_api.offering.export import decisions_of
from commerce_api.offering.making import make_offer
from commerce_api.offering.page import campaigns_of
from commerce_api.order_money import refresh
from commerce_api.schemas import LineGiven
from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.features import DEFAULT_SCHEMA, Vector
from offer_engine.judging.judge import Judge, from_lines
from offer_engine.judging.policies import LinearPolicy
from offer_engine.judging.promotion import Reason, gate
from offer_engine.judging.support import Needs
from offer_engine.learning.linear import Priors, Statistics, fit
from offer_engine.learning.log import Arms, Batch, Reading
from offer_engine.learning.rewards import DAY_MS, RewardRule
from tests.commerce_api.purchases import KETTLE
from tests.commerce_api.test_offering import AGENT, GUEST, ROBIN, asked, bought, offer, taken, with_offers
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, OFFER_KEY, World, commerce_world

pytestmark = pytest.mark.anyio
NEVER = offer(audience={"regions": ["DE"]})  # made to nobody who does not say that it goes there
LATER_MS = 90 * DAY_MS
KEEN = Exploration(ExplorationKind.SOFTMAX, sharpness=20.0)
SMALL = Judge(needs=Needs(mean_weight=(0.7, 1.3), effective_sample=60.0, rewarded=3.0), replicates=200)


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    async with commerce_world(tmp_path, database_url) as built:
        yield built


async def buys(world: World, caller: Caller, **more: Any) -> str:
    """A checkout that is paid; its order."""
    view = await taken(world, more.pop("offer_id", None), caller, **more)
    await world.desk.complete_checkout(BRAND, caller, view.checkout_id)
    await pay(world, view.checkout_id)
    order_id = (await world.desk.get_checkout(BRAND, caller, view.checkout_id)).order_id
    assert order_id is not None
    return order_id


async def exported(world: World) -> list[dict[str, Any]]:
    """The brand's decisions with what came of them, the oldest first."""
    records = await world.commerce.database.read(lambda connection: decisions_of(connection, BRAND, "", 5_000))
    return sorted(records, key=lambda record: int(record["decided_ms"]))


async def came_of(world: World) -> list[list[str]]:
    """What came of each decision beside that it was shown, the oldest first."""
    return [
        [each["type"] for each in record["outcomes"] if each["type"] != "shown"] for record in await exported(world)
    ]


async def rewards(world: World) -> list[Any]:
    return [RewardRule().reward(record, world.clock() + LATER_MS) for record in await exported(world)]


async def given_back(world: World, order_id: str, refunded_minor: int = 7_900, disputed_minor: int = 0) -> None:
    """So much of an order's money in all is refunded, or disputed, by the zone's record, and commerce learns of it."""
    [row] = [row for row in await world.rows(orders) if row.id == order_id]
    amounts = {"refunded_minor": refunded_minor, "disputed_minor": disputed_minor}
    world.vault.amend(row.payment, captured_minor=7_900, **amounts)
    await refresh(world.commerce.database, world.commerce.payments.vault, BRAND, row.payment)


async def test_a_shopper_whom_nothing_was_offered_and_who_buys_is_a_reward_of_no_offer(world: World) -> None:
    await with_offers(world, NEVER)
    assert (await asked(world, ROBIN)).offers == []
    order_id = await buys(world, ROBIN)
    assert await came_of(world) == [["purchased_without"]]
    assert await rewards(world) == [1.0]
    await given_back(world, order_id)
    assert await rewards(world) == [-0.25]


async def restored(world: World) -> list[list[Any]]:
    """The rewards of an order with an offer and of the offer before it, as its money goes and comes again."""
    await with_offers(world, offer())
    await asked(world, ROBIN)
    made = (await asked(world, ROBIN)).offers[0].offer_id
    order_id = await buys(world, ROBIN, offer_id=made)
    seen = []
    for amounts in ((1_000, 0), (0, 0), (0, 6_715), (0, 500), (0, 0), (900, 0)):
        await given_back(world, order_id, *amounts)
        seen.append(await rewards(world))
    return seen


async def test_a_refund_that_came_back_and_a_dispute_that_was_won_leave_a_purchase_what_it_was(world: World) -> None:
    gone, there = [-0.25, -0.25], [1.0, 1.0]
    assert await restored(world) == [gone, there, gone, gone, there, gone]
    for came in await came_of(world):
        money = [each for each in came if each not in ("accepted", *outcomes.PURCHASES)]
        assert money == ["refunded", "refund_returned", "chargeback", "dispute_won", "dispute_won", "refunded"]


async def test_planted_fault_a_record_that_only_says_what_went_leaves_the_purchase_reversed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = order_money._changed
    went = ("refunded", "chargeback")
    monkeypatch.setattr(order_money, "_changed", lambda *both: [one for one in honest(*both) if one[0] in went])
    assert [1.0, 1.0] not in await restored(world)


async def test_what_was_refunded_of_an_offer_is_what_is_refunded_by_now(world: World) -> None:
    await with_offers(world, offer())
    await asked(world, ROBIN)
    made = (await asked(world, ROBIN)).offers[0].offer_id
    order_id = await buys(world, ROBIN, offer_id=made)
    told = []
    for refunded_minor in (500, 1_000, 400, 0):
        await given_back(world, order_id, refunded_minor)
        [campaign] = await world.commerce.database.read(
            lambda connection: campaigns_of(connection, find_brand(connection, BRAND))
        )
        told.append(campaign.given_back)
    assert told == ["$5.00", "$10.00", "$4.00", "$0.00"]


async def test_a_shopper_whom_the_brand_s_agent_names_is_the_one_who_buys_with_it(world: World) -> None:
    await with_offers(world, NEVER)
    await asked(world, AGENT, shopper="shp_robin", shown=False)
    world.clock.advance(1)
    await asked(world, AGENT, shopper="shp_ada", shown=False)
    await buys(world, AGENT, shopper="shp_robin")
    assert await came_of(world) == [["purchased_without"], []]
    assert await rewards(world) == [1.0, 0.0], "no offer is presented when it is decided, also where offers are not"


async def test_an_offer_that_was_shown_and_not_taken_is_credited_and_one_that_was_not_shown_is_not(
    world: World,
) -> None:
    await with_offers(world, offer())
    await asked(world, ROBIN)
    world.clock.advance(1)
    await asked(world, ROBIN, shown=False)
    await buys(world, ROBIN)
    assert await came_of(world) == [["purchased_without"], []]


async def test_one_purchase_is_credited_to_each_decision_before_it_and_each_decision_with_one(world: World) -> None:
    await with_offers(world, offer(limits={"budget_minor": 10_000}))
    await asked(world, ROBIN)
    world.clock.advance(1)
    await bought(world, ROBIN)
    world.clock.advance(60)
    await buys(world, ROBIN)
    assert await came_of(world) == [["purchased_without"], ["accepted", "purchased"]]
    [budget] = await world.rows(offer_budget)
    assert (budget.spent_uses, budget.spent_minor) == (1, 1_185), "what is credited is not spent"
    assert await world.rows(billed_outcome) == []


async def test_what_lies_long_before_a_purchase_is_not_credited(world: World) -> None:
    await with_offers(world, NEVER)
    await asked(world, ROBIN)
    world.clock.advance(crediting.CREDITED_DAYS * 86_400 + 1)
    await buys(world, ROBIN)
    assert await came_of(world) == [[]]


async def test_a_guest_s_checkout_names_the_decision_that_made_no_offer_and_nobody_else_s(world: World) -> None:
    await with_offers(world, NEVER)
    view = await asked(world)
    others = await asked(world, ROBIN)
    assert view.decision_id is not None
    plain = (await taken(world, None)).totals  # type: ignore[arg-type]
    named = await taken(world, None, decision_id=view.decision_id)  # type: ignore[arg-type]
    assert named.totals == plain
    await buys(world, GUEST, decision_id=others.decision_id)
    assert await came_of(world) == [[], []]
    await buys(world, GUEST, decision_id=view.decision_id)
    assert sorted(await came_of(world)) == [[], ["purchased_without"]]
    await with_offers(world, offer())
    assert (await asked(world)).decision_id is None


async def test_a_guest_who_buys_without_the_offer_that_ran_out_is_credited_to_it(world: World) -> None:
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    world.clock.advance(1_801)
    await buys(world, GUEST, offer_id=made)
    assert await came_of(world) == [["purchased_without"]]


async def test_what_was_erased_is_not_learnt_from(world: World) -> None:
    await with_offers(world, offer())
    await bought(world, ROBIN)

    def work(tx: Transaction) -> None:
        erase(tx, asker_of(find_brand(tx.connection, BRAND), AGENT, "shp_robin", "signed_in", OFFER_KEY))

    await world.commerce.database.change(work)
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), world.clock() + LATER_MS)
    assert list(reading.batches(json.dumps(record) for record in await exported(world))) == []
    assert reading.erased == 1


async def test_a_mixed_export_lets_a_better_model_pass_and_no_worse_one(world: World) -> None:
    """Half of the shoppers are held out. Who wants one kettle buys without an offer, who wants three with one."""
    await with_offers(world, offer(), hold_out_percent=50)
    await world.commerce.database.change(lambda tx: shop(tx, world, 700))
    log = [json.dumps(record) for record in await exported(world)]
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), world.clock() + LATER_MS, (0, 30))
    statistics = Statistics(DEFAULT_SCHEMA.width, reading.arms)
    for batch in reading.batches(log):
        statistics.add(batch)
    model = fit(statistics, DEFAULT_SCHEMA, Priors(all_offers=1.0, category=1.0, offer=2.0))
    better, worse = LinearPolicy(model, KEEN, "better"), Backwards(model, KEEN, "worse")
    judged = Reading(DEFAULT_SCHEMA, RewardRule(), world.clock() + LATER_MS, (30, 100), only_drawn=True)
    judgement = SMALL.judge(judged, from_lines(judged, lambda: log), [better, worse])
    assert judged.not_drawn > 150
    assert judged.not_drawn + judged.used + judged.other_share == len(log)
    assert gate(judgement, "better") is Reason.PASSED
    assert gate(judgement, "worse") is Reason.NOT_BETTER_THAN_INCUMBENT
    everything = Reading(DEFAULT_SCHEMA, RewardRule(), world.clock() + LATER_MS, (30, 100))
    planted = SMALL.judge(everything, from_lines(everything, lambda: log), [better])
    assert gate(planted, "better") is Reason.LOG_CANNOT_TELL, "planted: with what the priorities decided"


class Backwards(LinearPolicy):
    """Prefers what the model expects least of."""

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        return -super().scores(batch, arms)


def shop(tx: Transaction, world: World, shoppers: int) -> None:
    """Each asks once; nineteen in twenty of those who get what they like buy, and few of the others."""
    brand = find_brand(tx.connection, BRAND)
    for number in range(shoppers):
        caller, quantity = Caller(f"shopper:shp_{number}", "test"), 1 + number % 2 * 2
        lines = [LineGiven(variant_id=KETTLE, quantity=quantity)]
        view = make_offer(tx, brand, caller, lines, world.desk.rankers, OFFER_KEY)
        made = view.offers[0] if view.offers else None
        likes_it = (made is not None) == (quantity > 1)
        if number * 37 % 100 >= (95 if likes_it else 2):
            continue
        document = {
            "offer_id": made and made.offer_id,
            "priced": {"totals": {"offer_taken_minor": made and made.discount.amount_minor}},
            "credited": crediting.credited_with(tx.connection, BRAND, caller, {}, OFFER_KEY, tx.now_ms),
        }
        outcomes.ordered(tx, BRAND, document, f"ord_{number}", 7_900 * quantity)
