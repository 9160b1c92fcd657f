"""Offers in commerce: whom they are made to, how much there is of them, what came of them, and what is learnt from it."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, literal, null, select, text
from sqlalchemy.exc import DBAPIError

from audit.transaction import Database, Transaction
from commerce_api import sweeps
from commerce_api.brands import pause_offers, save_brand
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_budget, offer_decision, offer_outcome, offer_reservation
from commerce_api.offering import budget, context, making
from commerce_api.offering import outcomes as outcomes_of_offers
from commerce_api.offering.export import decisions_of
from commerce_api.policy import Policy, load_policy
from commerce_api.policy_offers import Offer
from commerce_api.schemas import AddressGiven, BuyerGiven, CheckoutGiven, CheckoutView, LineGiven, OffersView
from commerce_api.sweeps import forget, sweep
from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.learning.log import Reading
from offer_engine.learning.rewards import RewardRule
from offer_engine.offers import Verification
from offer_engine.snapshot import open_snapshot
from tests.commerce_api.purchases import KETTLE
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, OFFER_KEY, START_MS, STORE, World, commerce_world
from tokenization.clock import as_datetime, as_text
from tokenization.ids import new_id

pytestmark = pytest.mark.anyio
GUEST = Caller(ANONYMOUS, "test")
AGENT = Caller(f"agent:{BRAND}", "test")
ROBIN = Caller("shopper:shp_robin", "test")
LINES = [LineGiven(variant_id=KETTLE)]
TAKEN_MINOR = 1_185  # 15 % of $79.00


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with commerce_world(tmp_path) as built:
        yield built


async def with_offers(
    world: World, *offers: dict[str, Any], models: dict[str, Any] | None = None, **rules: Any
) -> None:
    """The brand's policy has just these offers, rules for all of them, and what it says of models."""
    document = json.loads(load_policy(STORE / "policy.json").model_dump_json())
    document |= {"offers": list(offers), "offer_rules": rules, "models": models or {}}
    policy = Policy.model_validate_json(json.dumps(document))
    await world.commerce.database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))


def offer(**changes: Any) -> dict[str, Any]:
    """15 % off, as a policy writes it."""
    base = {"id": "fifteen", "version": 1, "title": "15% off", "kind": "percent_off", "percent_basis_points": 1_500}
    return {**base, "margin_basis_points": 4_000, **changes}


async def asked(world: World, caller: Caller = GUEST, **more: Any) -> OffersView:
    """What is offered for a kettle."""
    return await world.desk.get_offers(BRAND, caller, LINES, **more)


async def reason(world: World, caller: Caller = GUEST, **more: Any) -> str | None:
    """Why the one offer is not made; None where it is."""
    view = await asked(world, caller, **more)
    return None if view.offers else view.not_offered[0].partition(": ")[2]


async def taken(world: World, offer_id: str, caller: Caller = GUEST, **more: Any) -> CheckoutView:
    """A checkout with the offer in it."""
    given = CheckoutGiven(
        lines=LINES,
        buyer=BuyerGiven(email="robin@shopper.example"),
        shipping_address=AddressGiven(
            line1="12 Quay Street", city="Portland", region="OR", postal_code="97209", country="US"
        ),
        offer_id=offer_id,
        **more,
    )
    return await world.desk.create_checkout(BRAND, caller, given, None)


async def bought(world: World, caller: Caller = GUEST) -> str:
    """An offer that was made, taken and paid; its id."""
    made = (await asked(world, caller)).offers[0].offer_id
    view = await taken(world, made, caller)
    await world.desk.complete_checkout(BRAND, caller, view.checkout_id)
    await pay(world, view.checkout_id)
    assert (await world.desk.get_checkout(BRAND, caller, view.checkout_id)).status == "completed"
    return made


async def outcomes(world: World) -> list[tuple[str, int]]:
    """What came of offers: types and values."""
    return sorted((row.type, row.value_minor) for row in await world.rows(offer_outcome))


async def test_a_decision_is_shown_taken_and_paid_and_each_is_on_record_once(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await with_offers(world, offer(limits={"budget_minor": 10_000, "budget_uses": 5}))
        made = await bought(world)
        [order] = [row for row in await world.rows(offer_outcome) if row.type == "purchased"]
        assert [kind for kind, _ in await outcomes(world)] == ["accepted", "purchased", "shown"]
        assert order.decision == made
        [counted] = await world.rows(offer_budget)
        assert (counted.reserved_minor, counted.reserved_uses) == (0, 0)
        assert (counted.spent_minor, counted.spent_uses) == (TAKEN_MINOR, 1)
        [record] = await world.commerce.database.read(lambda connection: decisions_of(connection, BRAND, "", 10))
        assert record["decision_id"] == made
        assert record["presented_ms"] is not None
        assert sum(candidate["propensity"] for candidate in record["candidates"]) == 1.0
        assert len(await world.events("offer.outcome")) == 3


@pytest.mark.parametrize(
    ("changes", "said", "caller", "why"),
    [
        ({"audience": {"regions": ["DE"]}}, {"region": "US-OR"}, GUEST, "region_not_served"),
        ({"audience": {"regions": ["US"]}}, {"region": "US-OR"}, GUEST, None),
        ({"audience": {"regions": ["US"]}}, {}, GUEST, "region_not_served"),
        ({"audience": {"verification": "claimed"}}, {}, GUEST, "verification_too_low"),
        ({"audience": {"verification": "claimed"}}, {"shopper": "shp_robin"}, GUEST, "verification_too_low"),
        ({"audience": {"verification": "claimed"}}, {"shopper": "shp_robin"}, AGENT, None),
        ({"audience": {"verification": "verified"}}, {"shopper": "shp_robin"}, AGENT, "verification_too_low"),
        ({"audience": {"verification": "verified"}}, {}, ROBIN, None),
        ({"audience": {"needs_consent": True}}, {}, ROBIN, "consent_missing"),
        ({"audience": {"owns_product_ids": ["hp-kettle"]}}, {}, ROBIN, "not_owned"),
        ({"applies_to": {"product_ids": ["hp-mug"]}}, {}, GUEST, "no_product_in_scope"),
        ({"valid_until": "2001-01-01T00:00:00Z"}, {}, GUEST, "no_longer_valid"),
        ({"margin_basis_points": 1_400}, {}, GUEST, "margin_too_low"),
        ({"percent_basis_points": 4_000, "margin_basis_points": 9_000}, {}, GUEST, "discount_too_high"),
    ],
)
async def test_an_offer_is_made_to_whom_it_is_for_and_else_left_out_with_its_reason(
    world: World, changes: dict[str, Any], said: dict[str, Any], caller: Caller, why: str | None
) -> None:
    rules: dict[str, Any] = {"maximum_discount_basis_points": 3_000, "minimum_margin_basis_points": 0}
    await with_offers(world, offer(**changes), **rules)
    assert await reason(world, caller, **said) == why


async def test_what_a_law_keeps_from_being_discounted_is_not_there_or_anywhere_it_may_go(world: World) -> None:
    never = {"categories": ["Kitchen > Kettles"], "regions": ["DE"], "reason": "fixed prices"}
    await with_offers(world, offer(), never_discounted=[never])
    assert await reason(world, region="DE") == "excluded_by_law"
    assert await reason(world) == "excluded_by_law"
    assert await reason(world, region="US-OR") is None


async def test_a_switch_stops_offers_at_once_and_those_that_were_made_hold(world: World) -> None:
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    await world.commerce.database.change(lambda tx: pause_offers(tx, BRAND, paused=True))
    assert await reason(world) == "paused"
    assert (await taken(world, made)).totals.discount.amount_minor == TAKEN_MINOR
    await world.commerce.database.change(lambda tx: pause_offers(tx, BRAND, paused=False))
    assert await reason(world) is None


@pytest.mark.parametrize(
    ("ends_seconds", "holds_seconds"), [(600, 600), (1_799, 1_799), (86_400, 1_800), (None, 1_800)]
)
async def test_an_offer_holds_no_longer_than_the_policy_lets_it_and_the_moment_that_is_told_is_the_one_that_holds(
    world: World, ends_seconds: int | None, holds_seconds: int
) -> None:
    until_ms = None if ends_seconds is None else world.clock() + ends_seconds * 1000
    ends = {} if until_ms is None else {"valid_until": as_text(until_ms)}
    await with_offers(world, offer(limits={"budget_uses": 1}, **ends))
    [made] = (await asked(world, locale="en")).offers
    lapses_ms = world.clock() + holds_seconds * 1000
    assert made.expires_at == as_text(lapses_ms)
    said = re.search("The offer holds until .*?([0-9]{2}:[0-9]{2})", made.said or "")
    assert (said[1] if said else None) == (None if until_ms is None else f"{as_datetime(lapses_ms):%H:%M}")
    [held] = await world.rows(offer_reservation)
    assert held.expires_ms == lapses_ms
    world.clock.now_ms = lapses_ms - 1
    assert (await taken(world, made.offer_id)).totals.discount.amount_minor == TAKEN_MINOR
    world.clock.now_ms = lapses_ms
    late = await taken(world, made.offer_id)
    assert late.totals.discount.amount_minor == 0
    assert "offer_invalid" in {message.code for message in late.messages}


async def test_planted_fault_a_signature_that_outlives_the_policy_s_end_takes_the_discount_off_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        making, "_expires_ms", lambda _, now_ms: now_ms + outcomes_of_offers.OFFER_LIFETIME_SECONDS * 1000
    )
    await with_offers(world, offer(valid_until=as_text(world.clock() + 60_000)))
    made = (await asked(world)).offers[0].offer_id
    world.clock.advance(61)
    assert (await taken(world, made)).totals.discount.amount_minor == TAKEN_MINOR


async def test_what_a_shopper_bought_is_known_to_them_alone(world: World) -> None:
    await with_offers(world, offer(), offer(id="again", audience={"owns_product_ids": ["hp-kettle"]}))
    await bought(world, ROBIN)
    assert "again: not_owned" not in (await asked(world, ROBIN)).not_offered
    assert "again: not_owned" in (await asked(world, AGENT, shopper="shp_robin")).not_offered
    assert "again: not_owned" in (await asked(world, Caller("shopper:shp_morgan", "test"))).not_offered


async def test_one_shopper_is_shown_an_offer_so_often_and_no_more_until_days_have_passed(world: World) -> None:
    await with_offers(world, offer(limits={"per_shopper": 2, "per_shopper_days": 7}))
    assert [await reason(world, ROBIN) for _ in range(3)] == [None, None, "shown_too_often"]
    assert await reason(world, Caller("shopper:shp_morgan", "test")) is None
    world.clock.advance(7 * 86_400 + 1)
    assert await reason(world, ROBIN) is None


async def test_what_was_not_shown_counts_while_it_holds_and_then_as_nothing(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await with_offers(world, offer(limits={"per_shopper": 2, "per_shopper_days": 7}))
        made = [(await asked(world, ROBIN, shown=False)).offers[0].offer_id for _ in range(2)]
        assert await outcomes(world) == []
        assert await reason(world, ROBIN, shown=False) == "shown_too_often"
        assert await outcomes(world) == [("shown", 0)]  # of "no offer", which is there as soon as it is decided
        for _ in range(2):
            await world.desk.offer_shown(BRAND, ROBIN, made[0])
        assert await outcomes(world) == [("shown", 0)] * 2
        assert await reason(world, ROBIN, shown=False) == "shown_too_often"  # made[1] is open
        world.clock.advance(1_800)
        assert await reason(world, ROBIN) is None
        assert await reason(world, ROBIN) == "shown_too_often"
        *_, record = await world.commerce.database.read(lambda connection: decisions_of(connection, BRAND, "", 100))
        assert {len(seen) for seen in record["context"]["known"]["history"].values()} <= {3}


async def test_planted_fault_where_what_is_open_does_not_count_a_shopper_collects_offers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_api.offering.context.OFFER_LIFETIME_SECONDS", 0)
    await with_offers(world, offer(limits={"per_shopper": 1}))
    views = [await asked(world, AGENT, shopper="shp_robin", shown=False) for _ in range(3)]
    for made in [view.offers[0].offer_id for view in views]:
        await world.desk.complete_checkout(BRAND, AGENT, (await taken(world, made, AGENT)).checkout_id)


async def decided_often(world: World, chosen: str, count: int) -> None:
    """As many decisions more for the shopper of the newest, each shown."""

    def work(tx: Transaction) -> None:
        row = tx.execute(select(offer_decision).order_by(offer_decision.c.decided_ms.desc()).limit(1)).one()
        base = {**row._mapping, "chosen": chosen, "snapshot": None, "presented_ms": tx.now_ms, "decided_ms": tx.now_ms}
        tx.execute(insert(offer_decision).values([{**base, "id": new_id("off")} for _ in range(count)]))

    await world.commerce.database.maintain(work)


@pytest.mark.parametrize("chosen", ["no_offer", "another"])
async def test_a_cap_and_a_rest_hold_however_often_it_is_decided_for_none_or_for_another(
    tmp_path: Path, database_url: str, chosen: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        limits = {"per_shopper": 1, "per_shopper_days": 60}
        await with_offers(world, offer(limits=limits), offer(id="rests", limits={"cooldown_days": 60}, priority=900))
        [first] = (await asked(world, ROBIN)).offers
        await world.desk.offer_refused(BRAND, ROBIN, first.offer_id, "declined")
        assert (await asked(world, ROBIN)).offers != []
        for _ in range(6):
            world.clock.advance(60)
            await decided_often(world, chosen, 100)
        left_out = ["fifteen: shown_too_often", "rests: refused_recently"]
        assert (await asked(world, ROBIN)).not_offered == left_out
        world.clock.advance(59 * 86_400)
        assert (await asked(world, ROBIN)).not_offered == left_out
        world.clock.advance(86_400)
        assert (await asked(world, ROBIN)).offers != []


async def test_planted_fault_where_offers_share_the_places_of_what_is_looked_back_on_a_cap_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_ms = offer_decision.c.presented_ms
    newest = select(offer_decision.c.chosen, literal(1), shown_ms, null()).where(*context._OFFERED)
    monkeypatch.setattr(context, "_HISTORY", newest.order_by(offer_decision.c.decided_ms.desc()).limit(500))
    await with_offers(world, offer(limits={"per_shopper": 1}))
    assert await reason(world, ROBIN) is None
    assert await reason(world, ROBIN) == "shown_too_often"
    world.clock.advance(1)
    for _ in range(5):
        await decided_often(world, "another", 100)
    assert await reason(world, ROBIN) is None


async def test_who_refused_an_offer_is_left_in_peace_for_a_while(world: World) -> None:
    await with_offers(world, offer(limits={"cooldown_days": 14}))
    made = (await asked(world, ROBIN)).offers[0].offer_id
    for _ in range(2):
        await world.desk.offer_refused(BRAND, ROBIN, made, "declined")
    assert await outcomes(world) == [("declined", 0), ("shown", 0)]
    assert await reason(world, ROBIN) == "refused_recently"
    world.clock.advance(14 * 86_400 + 1)
    assert await reason(world, ROBIN) is None


async def test_offers_at_once_never_come_to_more_than_the_budget(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await with_offers(world, offer(limits={"budget_minor": 3 * TAKEN_MINOR + 1, "guest_percent": 100}))
        made = await asyncio.gather(*(asked(world) for _ in range(8)))
        assert sum(bool(view.offers) for view in made) == 3
        [counted] = await world.rows(offer_budget)
        assert counted.reserved_minor == 3 * TAKEN_MINOR
        assert {view.not_offered[0] for view in made if not view.offers} == {"fifteen: budget_spent"}


async def test_guests_hold_their_share_of_a_budget_and_no_more_and_those_who_are_known_hold_the_rest(
    world_on_each: World,
) -> None:
    world = world_on_each
    await with_offers(world, offer(limits={"budget_uses": 6, "guest_percent": 50}))
    made = await asyncio.gather(*(asked(world) for _ in range(6)))
    assert sum(bool(view.offers) for view in made) == 3
    assert {view.not_offered[0] for view in made if not view.offers} == {"fifteen: budget_held"}
    known = await asyncio.gather(*(asked(world, AGENT, shopper=f"shp_{who}") for who in "abcdef"))
    assert sum(bool(view.offers) for view in known) == 3
    assert {view.not_offered[0] for view in known if not view.offers} == {"fifteen: budget_spent"}
    world.clock.advance(1_800 + 1)
    await sweep(world.commerce.database, world.commerce.payments)
    [counted] = await world.rows(offer_budget)
    assert (counted.guest_minor, counted.guest_uses, counted.reserved_uses) == (0, 0, 0)
    assert await reason(world) is None


async def test_one_guest_may_always_hold_a_small_budget_and_what_is_bought_is_held_no_more(world: World) -> None:
    await with_offers(world, offer(limits={"budget_minor": 2 * TAKEN_MINOR, "guest_percent": 1}))
    await bought(world)
    [counted] = await world.rows(offer_budget)
    assert (counted.guest_minor, counted.guest_uses, counted.spent_uses) == (0, 0, 1)
    assert await reason(world) is None
    await with_offers(world, offer(limits={"budget_minor": 9 * TAKEN_MINOR, "guest_percent": 1}))
    assert await reason(world) == "budget_held"


async def share_is_kept(world: World, seed: int) -> bool:
    """Whether guests stay within their share while they and others reserve, buy and let go at once, from two processes."""
    draws, bound = random.Random(seed), 20 * TAKEN_MINOR
    document = offer(limits={"budget_minor": bound, "budget_uses": 30, "guest_percent": 20})
    await with_offers(world, document)
    limits = Offer.model_validate_json(json.dumps(document)).limits
    beside = Database.open(world.commerce.database.url, world.clock)
    made: list[str] = []

    def reserving(amount_minor: int, who: Verification, until_ms: int) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            decision = new_id("off")
            if budget.reserve(tx, BRAND, "fifteen", limits, decision, amount_minor, until_ms, who) is None:
                made.append(decision)

        return work

    try:
        for _ in range(4):
            units: list[Callable[[Transaction], object]] = [
                reserving(draws.randint(1, 2 * TAKEN_MINOR), draws.choice(list(Verification)), world.clock() + until)
                for until in draws.choices((500, 10**6), k=24)
            ]
            units += [
                partial(budget.spend, brand=BRAND, decision=decision, amount_minor=1)
                for decision in draws.sample(made, min(3, len(made)))
            ]
            units.append(partial(budget.release_lapsed, limit=100))
            draws.shuffle(units)
            await asyncio.gather(*(draws.choice((world.commerce.database, beside)).maintain(unit) for unit in units))
            world.clock.advance(1)
            [row] = await world.rows(offer_budget)
            held = [one for one in await world.rows(offer_reservation) if one.state == "reserved"]
            guests = [one.amount_minor for one in held if one.verification == "anonymous"]
            if (row.guest_minor, row.guest_uses) != (sum(guests), len(guests)) or row.reserved_uses != len(held):
                return False
            if len(guests) > 1 and (sum(guests) > bound // 5 or len(guests) > 30 // 5):
                return False
    finally:
        await beside.close()
    return bool(made)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_at_once_guests_hold_no_more_than_their_share(world_on_each: World, seed: int) -> None:
    assert await share_is_kept(world_on_each, seed)


async def test_planted_without_the_share_in_the_statement_guests_hold_more(
    world_on_each: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two wins is the database's to say, so one history alone may keep the share by chance."""
    monkeypatch.setattr(budget, "_RESERVE", budget._held_if(budget._WITHIN_BUDGET))
    assert not all([await share_is_kept(world_on_each, seed) for seed in range(5)])


async def test_the_database_itself_refuses_to_change_what_came_of_an_offer(world_by_owner: World) -> None:
    world = world_by_owner
    await with_offers(world, offer())
    await asked(world)
    before = await world.rows(offer_outcome)
    statements = ["UPDATE offer_outcome SET value_minor = value_minor + 1"]
    if world.commerce.database.url.startswith("postgresql"):
        statements.append("TRUNCATE offer_outcome")
    for statement in statements:
        with pytest.raises(DBAPIError, match="outcomes are never changed"):
            await world.commerce.database.maintain(partial(Transaction.execute, statement=text(statement)))
    assert await world.rows(offer_outcome) == before


async def test_planted_fault_without_setting_aside_the_budget_is_overrun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_offers(world, offer(limits={"budget_minor": TAKEN_MINOR}))
    monkeypatch.setattr(budget, "reserve", lambda *_: None)
    assert [bool((await asked(world)).offers) for _ in range(3)] == [True, True, True]


async def test_what_nobody_paid_for_goes_back_to_the_budget_and_what_is_paid_late_is_spent(world: World) -> None:
    await with_offers(world, offer(limits={"budget_uses": 1}))
    late = (await asked(world)).offers[0].offer_id
    view = await taken(world, late)
    await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
    await world.commerce.payments.capture_link(BRAND, view.checkout_id)
    world.vault.capture()
    assert await reason(world) == "budget_spent"
    world.vault.down = True
    world.clock.advance(1_800 + budget.RELEASE_SECONDS + 1)
    await sweep(world.commerce.database, world.commerce.payments)
    assert [row.state for row in await world.rows(offer_reservation)] == ["released"]
    await world.commerce.database.change(lambda tx: pause_offers(tx, BRAND, paused=False))
    await world.commerce.database.maintain(lambda tx: budget.spend(tx, BRAND, late, TAKEN_MINOR))
    await world.commerce.database.maintain(lambda tx: budget.spend(tx, BRAND, late, TAKEN_MINOR))
    [counted] = await world.rows(offer_budget)
    assert (counted.reserved_uses, counted.spent_uses) == (0, 1)


async def test_an_offer_with_a_budget_takes_off_no_more_than_was_set_aside(world: World) -> None:
    await with_offers(world, offer(limits={"budget_minor": 10**6}))
    made = (await asked(world)).offers[0].offer_id
    view = await taken(world, made)
    more = CheckoutGiven(lines=[LineGiven(variant_id=KETTLE, quantity=5)])
    changed = await world.desk.update_checkout(BRAND, GUEST, view.checkout_id, more, None)
    assert changed.totals.discount.amount_minor == TAKEN_MINOR


async def test_an_offer_that_does_not_stack_leaves_the_code_its_place(world: World) -> None:
    await with_offers(world, offer(limits={"stacks_with_codes": False}))
    made = (await asked(world)).offers[0].offer_id
    both = await taken(world, made, discount_codes=["WELCOME5"])
    assert [applied.id for applied in both.totals.applied] == ["WELCOME5"]
    assert "offer_not_applicable" in {message.code for message in both.messages}
    assert [kind for kind, _ in await outcomes(world)] == ["shown"]


async def test_a_refund_and_a_dispute_are_on_record_as_what_came_of_the_offer(world: World) -> None:
    await with_offers(world, offer())
    await bought(world)
    [payment] = world.vault.charges
    charge = world.vault.charges[payment]
    world.vault.charges[payment] = charge.model_copy(update={"refunded_minor": 500})
    from commerce_api.order_money import refresh

    for _ in range(2):
        await refresh(world.commerce.database, world.commerce.payments.vault, BRAND, payment)
    assert ("refunded", 500) in await outcomes(world)
    assert [kind for kind, _ in await outcomes(world)].count("refunded") == 1


@pytest.mark.parametrize("identifier", ["", "off_x", "off_" + "b" * 32, "chk_" + "b" * 32])
async def test_nothing_is_written_of_an_offer_that_is_not_there(world: World, identifier: str) -> None:
    for call in (
        world.desk.offer_shown(BRAND, AGENT, identifier),
        world.desk.offer_refused(BRAND, AGENT, identifier, "declined"),
    ):
        with pytest.raises(CommerceRefusal) as refused:
            await call
        assert refused.value.kind is CommerceError.OFFER_UNKNOWN
    assert await world.rows(offer_outcome) == []


async def test_a_record_names_nobody_and_two_guests_are_two_subjects(world: World) -> None:
    await with_offers(world, offer())
    for caller in (GUEST, GUEST, ROBIN, ROBIN):
        await asked(world, caller)
    rows = await world.rows(offer_decision)
    subjects = [row.subject for row in sorted(rows, key=lambda row: row.principal)]
    assert len(set(subjects[:2])) == 2  # anonymous
    assert len(set(subjects[2:])) == 1
    assert [row for row in rows if "robin" in row.record.lower()] == []


async def ready_with(world: World, offer_id: str) -> str:
    """A checkout with the offer in it; its id."""
    return (await taken(world, offer_id)).checkout_id


async def test_an_offer_is_used_in_one_checkout_and_no_second(world: World) -> None:
    await with_offers(world, offer(limits={"budget_minor": TAKEN_MINOR, "budget_uses": 1}))
    made = (await asked(world)).offers[0].offer_id
    first, second = await ready_with(world, made), await ready_with(world, made)
    await world.desk.complete_checkout(BRAND, GUEST, first)
    with pytest.raises(CommerceRefusal) as refused:
        await world.desk.complete_checkout(BRAND, GUEST, second)
    assert refused.value.kind is CommerceError.OFFER_INVALID
    await pay(world, first)
    with pytest.raises(CommerceRefusal):
        await world.desk.complete_checkout(BRAND, GUEST, second)
    [counted] = await world.rows(offer_budget)
    assert (counted.spent_uses, counted.spent_minor, counted.reserved_uses) == (1, TAKEN_MINOR, 0)


async def test_planted_fault_without_the_claim_one_offer_pays_for_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_offers(world, offer(limits={"budget_uses": 1}))
    made = (await asked(world)).offers[0].offer_id
    monkeypatch.setattr("commerce_api.offering.outcomes.claim", lambda *_: None)
    for identifier in (await ready_with(world, made), await ready_with(world, made)):
        await world.desk.complete_checkout(BRAND, GUEST, identifier)
        await pay(world, identifier)
    assert [kind for kind, _ in await outcomes(world)].count("purchased") == 2


async def test_the_offer_of_a_canceled_checkout_may_be_used_in_another(world: World) -> None:
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    first, second = await ready_with(world, made), await ready_with(world, made)
    await world.desk.complete_checkout(BRAND, GUEST, first)
    await world.desk.cancel_checkout(BRAND, GUEST, first)
    assert (await world.desk.complete_checkout(BRAND, GUEST, second)).status == "requires_escalation"


async def holders(world: World) -> set[str]:
    """The checkouts that offers are used in."""
    return {row.checkout for row in await world.rows(offer_decision) if row.checkout is not None}


@pytest.mark.parametrize("end", ["canceled", "expired"])
async def test_a_checkout_that_ends_unpaid_lets_go_of_every_offer_that_it_was_handed_over_with(
    world_on_each: World, end: str
) -> None:
    world = world_on_each
    await with_offers(world, offer())
    first, second = [(await asked(world)).offers[0].offer_id for _ in range(2)]
    identifier = await ready_with(world, first)
    await world.desk.complete_checkout(BRAND, GUEST, identifier)
    await world.desk.update_checkout(BRAND, GUEST, identifier, CheckoutGiven(offer_id=second), None)
    assert await holders(world) == {identifier}
    if end == "canceled":
        await world.desk.cancel_checkout(BRAND, GUEST, identifier)
    else:
        world.clock.advance(1_801)
        await sweep(world.commerce.database, world.commerce.payments)
    assert await holders(world) == set()


@pytest.mark.parametrize("second", [True, False])
async def test_a_checkout_that_is_paid_uses_the_offer_in_it_and_no_other(world_on_each: World, *, second: bool) -> None:
    world = world_on_each
    await with_offers(world, offer())
    first, other = [(await asked(world)).offers[0].offer_id for _ in range(2)]
    identifier = await ready_with(world, first)
    await world.desk.complete_checkout(BRAND, GUEST, identifier)
    changed = CheckoutGiven(offer_id=other if second else None)
    await world.desk.update_checkout(BRAND, GUEST, identifier, changed, None)
    await world.desk.complete_checkout(BRAND, GUEST, identifier)
    await pay(world, identifier)
    used = {row.id for row in await world.rows(offer_decision) if row.checkout is not None}
    assert used == ({other} if second else set())
    another = await ready_with(world, first)
    assert (await world.desk.complete_checkout(BRAND, GUEST, another)).status == "requires_escalation"


async def test_planted_fault_a_checkout_that_lets_go_of_nothing_keeps_its_offer_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_api.offering.outcomes.let_go", lambda *_, **__: None)
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    first, second = await ready_with(world, made), await ready_with(world, made)
    await world.desk.complete_checkout(BRAND, GUEST, first)
    await world.desk.cancel_checkout(BRAND, GUEST, first)
    with pytest.raises(CommerceRefusal) as refused:
        await world.desk.complete_checkout(BRAND, GUEST, second)
    assert refused.value.kind is CommerceError.OFFER_INVALID


async def test_what_no_checkout_took_goes_back_with_the_offers_own_time(world: World) -> None:
    await with_offers(world, offer(limits={"budget_uses": 1}))
    await asked(world)
    assert await reason(world) == "budget_spent"
    world.clock.advance(1_800 + 1)
    await sweep(world.commerce.database, world.commerce.payments)
    assert await reason(world) is None


@pytest.mark.parametrize(
    ("region", "discounted"),
    [
        *(("OR", False), ("or", False), (" OR", False), ("US-OR", False), (None, False), ("Oregon", False)),
        *(("XX", False), ("ORE", False), ("0", False), ("WA", True), ("US-WA", True)),
    ],
)
async def test_a_law_of_one_region_is_not_passed_by_how_the_region_is_written(
    world: World, region: str | None, discounted: bool
) -> None:
    never = {"categories": ["Kitchen > Kettles"], "regions": ["US-OR"], "reason": "fixed prices"}
    await with_offers(world, offer(), never_discounted=[never])
    made = (await asked(world, region="US-WA")).offers[0].offer_id
    address = AddressGiven(line1="12 Quay Street", city="Portland", region=region, postal_code="97209", country="US")
    given = CheckoutGiven(lines=LINES, shipping_address=address, offer_id=made)
    view = await world.desk.create_checkout(BRAND, GUEST, given, None)
    assert bool(view.totals.discount.amount_minor) is discounted
    for said in ("US", "US-XX", "US-ORE"):
        assert await reason(world, region=said) == "excluded_by_law"


@pytest.mark.parametrize(
    ("region", "why"), [("ES-CN", "excluded_by_law"), ("ES-XX", "excluded_by_law"), ("ES-MD", None)]
)
async def test_where_there_is_no_list_of_regions_those_of_the_policy_are_told_apart(
    world: World, region: str, why: str | None
) -> None:
    never = {"categories": ["Kitchen > Kettles"], "regions": ["ES-CN"], "reason": "fixed prices"}
    madrid = offer(id="madrid", audience={"regions": ["ES-MD"]})
    await with_offers(world, offer(), madrid, never_discounted=[never])
    assert await reason(world, region=region) == why


async def test_planted_fault_where_any_code_is_a_place_a_law_is_passed_by_one_that_nobody_assigned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "region_of", lambda country, said, _: f"{country}-{said}")
    never = {"categories": ["Kitchen > Kettles"], "regions": ["US-OR"], "reason": "fixed prices"}
    await with_offers(world, offer(), never_discounted=[never])
    assert await reason(world, region="US-XX") is None


async def test_a_budget_of_money_for_free_shipping_is_refused_when_the_policy_is_read(world: World) -> None:
    free = {"id": "free", "version": 1, "title": "Free", "kind": "free_shipping", "limits": {"budget_minor": 500}}
    with pytest.raises(ValueError, match="budget_uses"):
        await with_offers(world, free)


async def test_decisions_that_nobody_took_are_forgotten_and_what_was_signed_sooner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_api.sweeps.LIMIT", 1)
    await with_offers(world, offer(limits={"budget_uses": 9}))
    for _ in range(3):
        await asked(world)
    kept = await bought(world)
    world.clock.advance(7 * 86_400 + 1)
    await forget(world.commerce.database)
    assert {row.snapshot for row in await world.rows(offer_decision)} == {None}
    world.clock.advance(400 * 86_400)
    await forget(world.commerce.database)
    assert [row.id for row in await world.rows(offer_decision)] == [kept]
    assert {row.decision for row in await world.rows(offer_outcome)} == {kept}
    assert {row.decision for row in await world.rows(offer_reservation)} == {kept}


async def forgetting_plans(world: World) -> list[str]:
    """How the database goes about it when decisions are looked for that are to be forgotten."""
    asked_for: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT"):
            asked_for.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await forget(world.commerce.database)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    def explain(connection: Connection) -> list[str]:
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:
            connection.execute(
                text("SET LOCAL enable_seqscan = off")
            )  # for the few rows of a test it would read them all
        how = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        found = [connection.exec_driver_sql(how + statement, parameters).all() for statement, parameters in asked_for]
        return [str(rows) for rows in found]

    return [plan for plan in await world.commerce.database.read(explain) if "offer_decision" in plan]


INDEXES = ("ix_offer_decision_signed", "ix_offer_decision_untaken")


async def test_who_looks_for_what_is_to_be_forgotten_reads_no_decision_that_stays(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await with_offers(world, offer())
        kept = [await bought(world) for _ in range(2)]
        world.clock.advance(outcomes_of_offers.DECISIONS_KEPT_SECONDS + 1)
        await forget(world.commerce.database)
        assert {(row.id, row.taken_ms is None, row.snapshot) for row in await world.rows(offer_decision)} == {
            (decision, False, None) for decision in kept
        }  # neither index has a row of theirs
        plans = await forgetting_plans(world)
        assert [index in plan for index, plan in zip(INDEXES, plans, strict=True)] == [True, True]


async def test_planted_fault_without_those_indexes_every_decision_is_read(world: World) -> None:
    for index in INDEXES:
        await world.commerce.database.maintain(partial(Transaction.execute, statement=text(f"DROP INDEX {index}")))
    plans = await forgetting_plans(world)
    assert len(plans) == 2
    assert all("SCAN offer_decision" in plan for plan in plans)


async def test_decisions_are_forgotten_every_hour_and_not_every_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "INTERVAL_SECONDS", 0)
    forgot: list[int] = []

    async def note(_: Any) -> None:
        forgot.append(world.clock())

    async def one_second(_: Any, payments: Any, turn: Any = None) -> Any:
        world.clock.advance(1)
        if world.clock() - START_MS >= 2 * sweeps.FORGETTING_SECONDS * 1000:
            raise asyncio.CancelledError
        return turn

    monkeypatch.setattr(sweeps, "forget", note)
    monkeypatch.setattr(sweeps, "sweep", one_second)
    with pytest.raises(asyncio.CancelledError):
        await sweeps.run(world.commerce.database, world.commerce.payments)
    assert [moment - START_MS for moment in forgot] == [1_000, 1_000 + sweeps.FORGETTING_SECONDS * 1000]


@pytest.mark.parametrize(("locale", "word"), [("en", "off"), ("de-CH", "Rabatt"), ("fr", "%"), ("xx", "off")])
async def test_an_offer_comes_with_a_text_in_the_shoppers_language_from_what_was_signed(
    world: World, locale: str, word: str
) -> None:
    await with_offers(world, offer(disclosures=["While stocks last."]))
    [made] = (await asked(world, locale=locale)).offers
    assert word in (made.said or "")
    assert "15% off" in (made.said or "")  # its title, which is its own in any language
    assert "While stocks last." in (made.said or "")
    figures = set(re.findall(r"\d+", made.said or ""))
    assert figures <= {"15", "11", "85", "67", "79", "00"}
    assert (await asked(world)).offers[0].said is None
    [row] = [row for row in await world.rows(offer_decision) if row.id == made.offer_id]
    signed = open_snapshot(row.snapshot, OFFER_KEY, brand=BRAND, subject=ANONYMOUS, now_ms=world.clock())
    assert signed.sayable is not None
    assert signed.sayable.value("disclosure") == "While stocks last."


async def test_what_is_decided_by_chance_is_logged_exported_and_can_be_judged(world: World, tmp_path: Path) -> None:
    await with_offers(world, offer(), offer(id="five", percent_basis_points=500), hold_out_percent=50)
    for _ in range(60):
        await asked(world)
    records = await world.commerce.database.read(lambda connection: decisions_of(connection, BRAND, "", 100))
    policies = {record["policy"] for record in records}
    assert policies == {"priority:1", "chance:1"}
    by_chance = [record for record in records if record["policy"] == "chance:1"]
    assert {candidate["propensity"] for record in by_chance for candidate in record["candidates"]} == {1 / 3}
    assert {record["chosen"] for record in by_chance} == {"fifteen", "five", "no_offer"}
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), world.clock() + 90 * 86_400_000)
    batches = list(reading.batches([json.dumps(record) for record in records]))
    assert sum(len(batch.counts) for batch in batches) == len(records)
