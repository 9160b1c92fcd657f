"""A dispute goes through its states once, in whatever order the processor tells of it, and what is withheld adds up."""

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


def news(state: DisputeState, name: str = "dp_a", amount: Money | None = None) -> DisputeNews:
    due = DUE_MS if state is DisputeState.NEEDS_RESPONSE else None
    return DisputeNews(name, state, amount or usd(AMOUNT), "fraudulent", due)


async def tell(world: World, charge_id: str, told: DisputeNews) -> str | None:
    row = await charge_row(world, charge_id)
    return await world.database.maintain(lambda tx: apply_dispute(tx, row, told, "fake"))


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
@given(told=st.lists(st.tuples(st.sampled_from(list(DisputeState)), st.sampled_from(("dp_a", "dp_b"))), max_size=10))
async def test_what_is_withheld_is_the_sum_of_what_is_not_won(
    world: World, told: list[tuple[DisputeState, str]]
) -> None:
    charge_id = await a_fresh_charge(world)
    reached: dict[str, DisputeState] = {}
    for state, name in told:
        await tell(world, charge_id, news(state, f"{name}_{charge_id}", usd(1_000)))
        before = reached.get(name)
        if before is None or state in DISPUTE_MOVES[before]:
            reached[name] = state
    row = await charge_row(world, charge_id)
    assert row.disputed_minor == 1_000 * sum(state is not DisputeState.WON for state in reached.values())
    seen = await world.database.read(lambda c: list_disputes(c, MERCHANT, payment=row.payment))
    assert {one.state for one in seen} == set(reached.values())


async def a_fresh_charge(world: World) -> str:
    world.clock.advance(1)
    checkout = f"chk_{world.processor.calls}x"
    grant = await world.captured_grant(checkout=checkout)
    return (await world.engine.charge(charge_request(grant, checkout=checkout), ACTOR)).charge
