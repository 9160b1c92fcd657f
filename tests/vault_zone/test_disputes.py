"""A dispute goes through its states once, in whatever order the processor tells of it, and what is withheld adds up."""

import dataclasses
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, select

from audit.store import audit_event
from tests.vault_zone.world import MERCHANT, World, charge_request, usd, zone_world
from tokenization.money import Money
from tokenization.wire import DisputeState
from vault_zone.disputes import apply_dispute, list_disputes
from vault_zone.ledger.events import BooksEvent, DisputeLost, DisputeOpened, DisputeWon
from vault_zone.models import charge, notice
from vault_zone.processors.port import DisputeNews
from vault_zone.states import DISPUTE_MOVES

pytestmark = pytest.mark.anyio
ACTOR = "service:commerce"
AMOUNT = 10_905
DUE_MS = 1_796_000_000_000
FINAL = {DisputeState.WON, DisputeState.LOST}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def a_charge(world: World) -> str:
    return (await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)).charge


async def charge_row(world: World, charge_id: str) -> "Row[Any]":
    return await world.database.read(lambda c: c.execute(select(charge).where(charge.c.id == charge_id)).one())


def news(
    state: DisputeState, name: str = "dp_a", amount: Money | None = None, *, withholds: bool | None = True
) -> DisputeNews:
    due = DUE_MS if state is DisputeState.NEEDS_RESPONSE else None
    return DisputeNews(name, state, amount or usd(AMOUNT), "fraudulent", due, withholds=withholds)


async def tell(world: World, charge_id: str, told: DisputeNews) -> str | None:
    row = await charge_row(world, charge_id)

    def book(_: object, event: BooksEvent) -> None:
        world.booked.append(event)

    return await world.database.maintain(lambda tx: apply_dispute(tx, row, told, "fake", book))


async def disputed(world: World, charge_id: str) -> tuple[int, int]:
    """What is withheld: on the charge, and by the books."""
    signs = {DisputeOpened: 1, DisputeWon: -1}
    booked = sum(signs.get(type(one), 0) * one.amount.amount_minor for one in world.booked if one.charge == charge_id)
    return (await charge_row(world, charge_id)).disputed_minor, booked


N, U, W, L = DisputeState
INQUIRY = [(N, False), (U, False), (W, False)]


async def test_an_inquiry_withholds_nothing_and_gives_nothing_back(world: World) -> None:
    charge_id = await a_charge(world)
    for state, withholds in INQUIRY:
        await tell(world, charge_id, news(state, withholds=withholds))
        assert await disputed(world, charge_id) == (0, 0)
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert (seen.state, seen.is_inquiry) == (W, True)
    assert not [event for event in world.booked if isinstance(event, DisputeOpened | DisputeWon | DisputeLost)]


@pytest.mark.parametrize("before", [INQUIRY[:1], INQUIRY[:2], INQUIRY])
async def test_an_inquiry_that_becomes_a_chargeback_withholds_then_and_once(
    world: World, before: list[tuple[DisputeState, bool]]
) -> None:
    charge_id = await a_charge(world)
    for state, withholds in before:
        await tell(world, charge_id, news(state, withholds=withholds))
    for _ in range(2):
        await tell(world, charge_id, news(N))
        assert await disputed(world, charge_id) == (AMOUNT, AMOUNT)
    for state, withholds in INQUIRY:  # late
        assert await tell(world, charge_id, news(state, withholds=withholds)) is None
    assert await disputed(world, charge_id) == (AMOUNT, AMOUNT)
    await tell(world, charge_id, news(W))
    assert await disputed(world, charge_id) == (0, 0)
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert (seen.state, seen.is_inquiry) == (W, False)


async def test_a_word_that_both_have_moves_an_inquiry_without_making_a_chargeback_of_it(world: World) -> None:
    charge_id = await a_charge(world)
    await tell(world, charge_id, news(N, withholds=False))
    await tell(world, charge_id, news(U, withholds=None))
    assert await disputed(world, charge_id) == (0, 0)
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert (seen.state, seen.is_inquiry) == (U, True)


@pytest.mark.parametrize("planted", [True, None], ids=["an inquiry withholds", "a chargeback does not say"])
async def test_a_planted_reading_that_confuses_the_two_is_seen(world: World, planted: bool | None) -> None:
    charge_id = await a_charge(world)
    await tell(world, charge_id, news(N, withholds=planted))
    before = await disputed(world, charge_id)
    await tell(world, charge_id, news(N, withholds=planted))
    assert (before, await disputed(world, charge_id)) != ((0, 0), (AMOUNT, AMOUNT))


async def test_a_fee_keeps_its_own_currency_and_comes_with_the_chargeback(world: World) -> None:
    charge_id = await a_charge(world)
    await tell(world, charge_id, news(N, withholds=False))
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert (seen.fee_minor, seen.fee_currency) == (0, None)
    await tell(world, charge_id, dataclasses.replace(news(N), fee=Money(1_500, "EUR")))
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert (seen.currency, seen.fee_minor, seen.fee_currency) == ("USD", 1_500, "EUR")


async def test_a_dispute_is_opened_seen_and_won(world: World) -> None:
    charge_id = await a_charge(world)
    await tell(world, charge_id, news(DisputeState.NEEDS_RESPONSE))
    assert (await charge_row(world, charge_id)).disputed_minor == AMOUNT
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT, only_open=True))
    assert (seen.state, seen.evidence_due_ms, seen.amount_minor) == (DisputeState.NEEDS_RESPONSE, DUE_MS, AMOUNT)
    await tell(world, charge_id, news(DisputeState.UNDER_REVIEW))
    await tell(world, charge_id, news(DisputeState.WON))
    assert (await charge_row(world, charge_id)).disputed_minor == 0
    assert await world.database.read(lambda c: list_disputes(c, MERCHANT, only_open=True)) == []
    told = await world.database.read(
        lambda c: list(c.execute(select(notice.c.kind).order_by(notice.c.happened_ms)).scalars())
    )
    assert told.count("dispute.opened") == 1
    assert told.count("dispute.changed") == 2
    kinds = await world.database.read(lambda c: list(c.execute(select(audit_event.c.type)).scalars()))
    assert (kinds.count("dispute.opened"), kinds.count("dispute.changed")) == (1, 2)


@pytest.mark.parametrize("order", [*itertools.permutations(("needs_response", "under_review", "lost"))])
async def test_in_whatever_order_it_is_told_it_ends_where_it_ended(world: World, order: tuple[str, ...]) -> None:
    charge_id = await a_charge(world)
    for word in (*order, *order):
        await tell(world, charge_id, news(DisputeState(word)))
    [seen] = await world.database.read(lambda c: list_disputes(c, MERCHANT))
    assert seen.state is DisputeState.LOST
    assert (await charge_row(world, charge_id)).disputed_minor == AMOUNT


async def test_another_merchants_disputes_are_not_listed(world: World) -> None:
    await tell(world, await a_charge(world), news(DisputeState.NEEDS_RESPONSE))
    assert await world.database.read(lambda c: list_disputes(c, "north-bay")) == []


async def test_a_dispute_in_another_currency_is_not_mixed_in(world: World) -> None:
    charge_id = await a_charge(world)
    assert await tell(world, charge_id, news(DisputeState.NEEDS_RESPONSE, amount=Money(AMOUNT, "EUR"))) is None
    assert (await charge_row(world, charge_id)).disputed_minor == 0


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    told=st.lists(
        st.tuples(
            st.sampled_from([(N, True), (U, True), (W, True), (L, True), *INQUIRY, (U, None)]),
            st.sampled_from(("dp_a", "dp_b")),
        ),
        max_size=10,
    )
)
async def test_what_is_withheld_is_the_sum_of_the_chargebacks_that_are_not_won(
    world: World, told: list[tuple[tuple[DisputeState, bool | None], str]]
) -> None:
    charge_id = await a_fresh_charge(world)
    reached: dict[str, tuple[DisputeState, bool]] = {}  # the state, and whether it is a chargeback
    for (state, withholds), name in told:
        await tell(world, charge_id, news(state, f"{name}_{charge_id}", usd(1_000), withholds=withholds))
        before, is_chargeback = reached.get(name, (None, False))
        if is_chargeback and withholds is False:
            continue
        if before is None or (withholds and not is_chargeback) or state in DISPUTE_MOVES[before]:
            reached[name] = (state, is_chargeback or withholds is True)
    open_minor = 1_000 * sum(is_chargeback and state is not W for state, is_chargeback in reached.values())
    assert await disputed(world, charge_id) == (open_minor, open_minor)
    row = await charge_row(world, charge_id)
    seen = await world.database.read(lambda c: list_disputes(c, MERCHANT, payment=row.payment))
    assert {(one.state, not one.is_inquiry) for one in seen} == set(reached.values())


async def a_fresh_charge(world: World) -> str:
    world.clock.advance(1)
    checkout = f"chk_{world.processor.calls}x"
    grant = await world.captured_grant(checkout=checkout)
    return (await world.engine.charge(charge_request(grant, checkout=checkout), ACTOR)).charge
