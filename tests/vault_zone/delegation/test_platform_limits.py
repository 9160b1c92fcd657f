"""Limits on what a platform hands over: by merchant, platform, checkout and neighbouring numbers; one answer for all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from audit.store import audit_event
from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.callers import zone_of
from tests.vault_zone.delegation.platform_world import (
    OTHER_MERCHANT,
    Agent,
    a_credential,
    a_request,
    an_agent,
)
from tests.vault_zone.world import AMEX, MERCHANT, World, zone_world
from vault_zone.app import public_app
from vault_zone.card import Pan
from vault_zone.delegation import desk as desk_module
from vault_zone.delegation import handover
from vault_zone.delegation.platform_limits import TRY_LATER_SECONDS
from vault_zone.key_rows import Purpose
from vault_zone.models import card_grant, velocity_counter
from vault_zone.platforms import Protocol
from vault_zone.velocity import (
    DEFAULTS,
    MERCHANT_PARTS,
    Kind,
    Limit,
    Limits,
    Tried,
    VelocityExceeded,
    count,
    count_all,
    tried,
)
from vault_zone.velocity_policy import VelocityPolicy

pytestmark = pytest.mark.anyio
MASTERCARD = "5555555555554444"
PLENTY: Limits = {kind: Limit(86_400, 100_000) for kind in Kind}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


def limited(**limits: int) -> Limits:
    """Limits of which some are soon reached."""
    return {**PLENTY, **{Kind(name): Limit(86_400, maximum) for name, maximum in limits.items()}}


async def an_agent_within(world: World, limits: Limits, others: Limits = PLENTY) -> Agent:
    """A platform of both protocols, before a zone with these limits for the merchant."""
    agent = await an_agent(world, protocols=(Protocol.ACP, Protocol.UCP))
    await agent.client.aclose()
    zone = replace(zone_of(world), limits=VelocityPolicy({MERCHANT: limits, "*": others}))
    transport = httpx.ASGITransport(app=cast(Any, public_app(zone)))
    return Agent(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701"), agent.platform, agent.bearer)


async def hand_over(agent: Agent, way: str, *, key: str | None = None, **asked: str) -> httpx.Response:
    """One card by ACP or UCP: ``number``, ``checkout``, ``merchant``."""
    number, checkout, merchant = (
        asked.get("number", "4242424242424242"),
        asked.get("checkout", "chk_a"),
        asked.get("merchant", MERCHANT),
    )
    if way == "acp":
        method = {"number": number, "cvc": "7373" if number == AMEX else "737"}
        allowance = {"checkout_session_id": checkout, "merchant_id": merchant}
        return await agent.delegate(a_request(payment_method=method, allowance=allowance), key=key)
    credential = {"number": number, "cvc": "7373" if number == AMEX else "737"}
    binding = {"checkout_id": checkout, "identity": {"access_token": merchant}}
    return await agent.tokenize(a_credential(credential=credential, binding=binding), key=key)


async def events(world: World, kind: str) -> list[bytes]:
    found = select(audit_event.c.entry).where(audit_event.c.type == kind).order_by(audit_event.c.id)
    return list(await world.database.read(lambda c: c.execute(found).scalars().all()))


async def counts_of(world: World, merchant: str = MERCHANT) -> Mapping[str, int]:
    """How much stands in a merchant's counters, by kind."""
    table = velocity_counter.c
    rows = await world.database.read(
        lambda c: c.execute(select(table.kind, table.count).where(table.merchant == merchant)).all()
    )
    found: Counter[str] = Counter()
    for kind, number in rows:
        found[kind] += number
    return {kind: number for kind, number in found.items() if number}


WAYS = pytest.mark.parametrize("way", ["acp", "ucp"])
OUT_OF: dict[Kind, dict[str, str]] = {
    Kind.PLATFORM: {"merchant": OTHER_MERCHANT},
    Kind.CHECKOUT: {"checkout": "chk_b"},
    Kind.BIN_LAST4: {"number": MASTERCARD},
}


@requirement("6.2.4")
@WAYS
@pytest.mark.parametrize("kind", OUT_OF)
async def test_each_limit_lets_its_maximum_through_and_no_more_and_holds_nobody_else_up(
    world: World, way: str, kind: Kind
) -> None:
    agent = await an_agent_within(world, limited(**{kind.value: 2}))
    async with agent.client:
        answers = [await hand_over(agent, way) for _ in range(4)]
        taken = 201 if way == "acp" else 200
        assert [answer.status_code for answer in answers] == [taken, taken, 429, 429]
        assert (await hand_over(agent, way, **OUT_OF[kind])).status_code == taken
        world.clock.advance(86_400)
        assert (await hand_over(agent, "ucp")).status_code == 200
    [event] = await events(world, "velocity.limited")
    assert f'"limit":"{kind.value}"'.encode() in event
    assert b'"refused":1' in event


@WAYS
async def test_the_merchant_s_own_limit_holds_for_platforms_too(world: World, way: str) -> None:
    agent = await an_agent_within(world, limited(merchant=MERCHANT_PARTS))
    async with agent.client:
        statuses = Counter([(await hand_over(agent, way)).status_code for _ in range(4 * MERCHANT_PARTS)])
    assert 0 < statuses[201 if way == "acp" else 200] <= MERCHANT_PARTS
    assert statuses[429] >= 3 * MERCHANT_PARTS


@requirement("3.5.1.1")
@WAYS
async def test_every_limit_answers_in_the_same_words(world: World, way: str) -> None:
    told = set()
    for kind in OUT_OF:
        agent = await an_agent_within(world, limited(**{kind.value: 1}))
        async with agent.client:
            checkout, number = f"chk_{kind.value}", {Kind.CHECKOUT: AMEX, Kind.PLATFORM: MASTERCARD}.get(kind)
            asked = {"checkout": checkout, **({"number": number} if number else {})}
            [*_, over] = [await hand_over(agent, way, key=f"k{n}", **asked) for n in range(3)]
        said = {name: value for name, value in over.headers.items() if name != "idempotency-key"}
        told.add((over.status_code, str(sorted(said.items())), over.text))
    [(status, headers, text)] = told
    assert status == 429
    assert f"('retry-after', '{TRY_LATER_SECONDS}')" in headers
    assert "too_many_requests" in text


@requirement("6.2.4")
async def test_both_protocols_and_the_card_page_draw_on_the_same_tries_at_a_number(world: World) -> None:
    agent = await an_agent_within(world, limited(bin_last4=2))
    async with agent.client:
        assert [(await hand_over(agent, way)).status_code for way in ("acp", "ucp", "acp", "ucp")] == [
            201,
            200,
            429,
            429,
        ]
    _, key = await world.keys.ready(MERCHANT, Purpose.CAPTURE)
    page = tried(
        key, limited(bin_last4=2), merchant=MERCHANT, network="n", checkout="c", pan=Pan.parse("4242424242424242")
    )
    with pytest.raises(VelocityExceeded):
        await world.database.maintain(lambda tx: count(tx, page))


@WAYS
async def test_a_refused_card_is_a_try_and_is_refused_for_that_at_last(world: World, way: str) -> None:
    agent = await an_agent_within(world, limited(platform=2))
    async with agent.client:
        answers = [await hand_over(agent, way, number="4242424242424241") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [422, 422, 429, 429]
    assert len(await events(world, "delegation.refused")) == 2, "what is over a limit writes no more of them"


@WAYS
async def test_a_request_that_was_answered_is_answered_over_a_limit_and_counts_for_nothing(
    world: World, way: str
) -> None:
    agent = await an_agent_within(world, limited(platform=1))
    async with agent.client:
        first = await hand_over(agent, way, key="k")
        before = await counts_of(world)
        again = [await hand_over(agent, way, key="k") for _ in range(3)]
        assert [answer.json() for answer in again] == [first.json()] * 3
        assert await counts_of(world) == before
        assert (await hand_over(agent, way, key="other")).status_code == 429
        assert (await hand_over(agent, way, key="k")).json() == first.json()


@requirement("6.2.4")
async def test_a_platform_over_its_limit_uses_up_nothing_that_others_share(world: World) -> None:
    agent = await an_agent_within(world, limited(platform=3))
    async with agent.client:
        await asyncio.gather(*(hand_over(agent, way) for way in ("acp", "ucp") for _ in range(10)))
    assert await counts_of(world) == {"merchant": 3, "platform": 3, "checkout": 3, "bin_last4": 3}
    assert len(await world.database.read(lambda c: c.execute(select(card_grant)).all())) == 3


async def test_a_platform_that_goes_on_fills_no_log(world: World) -> None:
    agent = await an_agent_within(world, limited(platform=1))
    async with agent.client:
        for _ in range(12):
            await hand_over(agent, "ucp")
        assert len(await events(world, "velocity.limited")) == 1
        world.clock.advance(60)
        await hand_over(agent, "ucp")
    assert b'"refused":11' in (await events(world, "velocity.limited"))[-1]


async def test_by_default_one_platform_alone_does_not_close_a_merchant_s_card_page() -> None:
    platform, merchant = DEFAULTS[Kind.PLATFORM], DEFAULTS[Kind.MERCHANT]
    assert platform.window_seconds == merchant.window_seconds
    assert 2 * platform.maximum <= merchant.maximum


# Counting a group.


def attempt(n: int, limits: Limits, merchant: str = MERCHANT, platform: str = "plt_a") -> Tried:
    return tried(b"key", limits, merchant=merchant, platform=platform, checkout=f"chk_{n % 3}")


async def test_a_group_is_counted_as_if_each_of_it_came_alone(world: World) -> None:
    limits = limited(platform=5, checkout=2)
    group = [attempt(n, limits, platform=f"plt_{n % 2}") for n in range(14)]

    def one_by_one(tx: Transaction) -> list[Kind | None]:
        answers: list[Kind | None] = []
        for each in group:
            savepoint = tx.connection.begin_nested()
            try:
                count(tx, each)
                savepoint.commit()
                answers.append(None)
            except VelocityExceeded as exceeded:
                savepoint.rollback()
                answers.append(exceeded.kind)
        return answers

    together = await world.database.maintain(lambda tx: [each and each.kind for each in count_all(tx, group)])
    counted = await counts_of(world)
    await world.database.maintain(lambda tx: tx.execute(velocity_counter.delete()))
    alone = await world.database.maintain(one_by_one)
    assert together == alone
    assert counted == await counts_of(world)
    assert None in together
    assert Kind.CHECKOUT in together


async def test_processes_that_count_groups_at_once_let_no_more_through(world: World) -> None:
    limits = limited(platform=10)
    groups = [[attempt(n, limits) for n in range(6)] for _ in range(5)]
    answers = await asyncio.gather(
        *(world.database.maintain(lambda tx, own=own: count_all(tx, own)) for own in groups)  # type: ignore[misc]
    )
    assert sum(each is None for answer in answers for each in answer) == 10
    assert (await counts_of(world))["platform"] == 10


async def test_nothing_is_counted_for_an_empty_group(world: World) -> None:
    assert await world.database.maintain(lambda tx: count_all(tx, [])) == []


# Planted faults: each must be found by what is above.


async def test_a_planted_handover_that_counts_nothing_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "count_all", lambda _, attempts: [None] * len(attempts))
    agent = await an_agent_within(world, limited(platform=1))
    async with agent.client:
        assert [(await hand_over(agent, "ucp")).status_code for _ in range(3)] == [200] * 3


async def test_a_planted_count_that_keeps_what_is_over_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault_zone.velocity._set_counter", lambda *_: None)
    agent = await an_agent_within(world, limited(platform=1))
    async with agent.client:
        for _ in range(3):
            await hand_over(agent, "ucp")
    assert (await counts_of(world))["merchant"] == 3


async def test_a_planted_refusal_that_counts_nothing_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "count", lambda *_: 0.0)
    agent = await an_agent_within(world, limited(platform=1))
    async with agent.client:
        answers = [await hand_over(agent, "acp", number="4242424242424241") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422] * 3
