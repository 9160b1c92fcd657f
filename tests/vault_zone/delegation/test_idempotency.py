"""A request sent twice: one token, one answer; another request under its key, none. On both databases, through crashes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.tokenization.test_opaque_keys import UNLUCKY
from tests.vault_zone.delegation.platform_world import Agent, a_request, an_agent, client_of, moment
from tests.vault_zone.world import MERCHANT, START_MS, VISA, Crash, World, a_card, zone_world
from tokenization.money import Money
from vault_zone.delegation.acp_body import CARD_NAMES
from vault_zone.delegation.handover import Binding, Handovers, Repeatable
from vault_zone.delegation.platform_limits import PlatformLimits
from vault_zone.delegation.sent_card import SentCard, canonical, parse_json, without_proof
from vault_zone.idempotency import KEEP_SECONDS, InFlight, KeyConflict, UnderWay, key_of
from vault_zone.key_rows import Purpose
from vault_zone.models import card_grant, card_record, idempotency
from vault_zone.platforms import Platform, Protocol, live_platforms
from vault_zone.sweeping import Sweeper
from vault_zone.velocity_policy import VelocityPolicy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


@pytest.fixture
async def agent(world: World) -> AsyncIterator[Agent]:
    """A platform that speaks ACP."""
    made = await an_agent(world)
    async with made.client:
        yield made


async def rows_of(world: World, table: Any) -> list[Any]:
    return list(await world.database.read(lambda connection: connection.execute(select(table)).all()))


async def test_the_same_request_again_is_answered_alike_and_does_nothing(world: World, agent: Agent) -> None:
    first = await agent.delegate(a_request(), key="k")
    events = len(await rows_of(world, audit_event))
    again = await agent.delegate(a_request(), key="k")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(await rows_of(world, card_grant)) == 1
    assert len(await rows_of(world, audit_event)) == events


@pytest.mark.parametrize("key", UNLUCKY)
async def test_a_uuid_that_reads_like_a_card_is_a_key_and_is_stored_nowhere(
    world: World, agent: Agent, key: str
) -> None:
    first = await agent.delegate(a_request(), key=key)
    again = await agent.delegate(a_request(), key=key)
    assert (first.status_code, again.json(), again.headers["idempotency-key"]) == (201, first.json(), key)
    stored = "".join([str(await rows_of(world, table)) for table in idempotency.metadata.sorted_tables])
    assert key not in stored
    assert first.json()["id"] in stored, "the search would find what is stored"


async def test_equal_json_is_the_same_request_whatever_its_bytes(world: World, agent: Agent) -> None:
    first = await agent.delegate(a_request(), key="k")
    body = a_request(allowance={"max_amount": 10_905.0})
    turned = json.dumps(dict(reversed(list(body.items()))), indent=3).encode()
    assert (await agent.delegate(turned, key="k")).json() == first.json()


@pytest.mark.parametrize(
    "changes",
    [
        {"allowance": {"max_amount": 10_906}},
        {"metadata": {"campaign": "q5"}},
        {"payment_method": {"number": "4000056655665556"}},
        {"payment_method": {"number": "4242424242424241"}},
        {"allowance": {"merchant_id": "lantern-row"}},
        {"allowance": {"expires_at": moment(START_MS)}},
    ],
)
async def test_another_request_under_a_used_key_is_a_conflict(
    world: World, agent: Agent, changes: dict[str, Any]
) -> None:
    await agent.delegate(a_request(), key="k")
    answer = await agent.delegate(a_request(**changes), key="k")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")
    assert len(await rows_of(world, card_grant)) == 1


async def test_a_key_belongs_to_its_platform(world: World, agent: Agent) -> None:
    other = await an_agent(world)
    async with other.client:
        first, second = await agent.delegate(a_request(), key="k"), await other.delegate(a_request(), key="k")
    assert first.json()["id"] != second.json()["id"]


async def test_an_answered_request_is_answered_alike_when_its_allowance_has_run_out(world: World, agent: Agent) -> None:
    first = await agent.delegate(a_request(), key="k")
    world.clock.advance(1000)
    assert (await agent.delegate(a_request(), key="k")).json() == first.json()
    assert (await agent.delegate(a_request(), key="other")).json()["param"] == "$.allowance.expires_at"


async def test_a_refused_request_leaves_its_key_free(world: World, agent: Agent) -> None:
    assert (await agent.delegate(a_request(payment_method={"number": "4242424242424241"}), key="k")).status_code == 422
    assert (await agent.delegate(a_request(), key="k")).status_code == 201


@requirement("3.5.1.1", "3.3.1")
async def test_nothing_of_the_request_is_kept_and_the_fingerprint_is_keyed_and_without_the_code(
    world: World, agent: Agent
) -> None:
    await agent.delegate(a_request(), key="k")
    (row,) = await rows_of(world, idempotency)
    assert set(json.loads(row.answer)) == {"id", "created_ms"}
    request = canonical(without_proof(parse_json(json.dumps(a_request()).encode()), "payment_method", CARD_NAMES))
    assert b"737" not in request
    assert VISA.encode() in request, "so a plain hash of it would be one of a card"
    from hashlib import sha256

    from tokenization.ids import letters_of

    assert row.fingerprint != letters_of(sha256(request).digest())
    assert row.fingerprint != letters_of(sha256(json.dumps(a_request()).encode()).digest())
    assert row.key_id.startswith("key_")
    assert row.key_digest != "k"
    assert (await agent.delegate(a_request(payment_method={"cvc": "738"}), key="k")).status_code == 201


async def test_a_request_is_known_again_under_the_key_that_followed(world: World, agent: Agent) -> None:
    first = await agent.delegate(a_request(), key="k")
    await world.keys.begin_epoch(MERCHANT, Purpose.IDEMPOTENCY, reason="asked")
    again = await agent.delegate(a_request(), key="k")
    assert again.json() == first.json()
    conflict = await agent.delegate(a_request(metadata={"campaign": "q5"}), key="k")
    assert conflict.status_code == 422


async def test_answers_are_kept_two_days_and_then_deleted(world: World, agent: Agent) -> None:
    first = await agent.delegate(a_request(), key="k")
    sweeper = Sweeper(world.database, world.codes, world.clock)
    world.clock.advance(KEEP_SECONDS - 1)
    await sweeper.sweep_all()
    assert len(await rows_of(world, idempotency)) == 1
    world.clock.advance(1)
    later = a_request(allowance={"expires_at": moment(world.clock.now_ms + 60_000)})
    anew = await agent.delegate(later, key="k")
    assert anew.status_code == 201, "its time is over, so the key is free even before the row is swept"
    assert anew.json()["id"] != first.json()["id"]
    world.clock.advance(KEEP_SECONDS)
    await sweeper.sweep_all()
    assert await rows_of(world, idempotency) == []


async def test_while_the_first_is_under_way_a_second_is_told_so(world: World, agent: Agent) -> None:
    answers = await asyncio.gather(*(agent.delegate(a_request(), key="k") for _ in range(8)))
    codes = sorted((answer.status_code, answer.json().get("code", "")) for answer in answers)
    assert codes[0] == (201, "")
    assert {code for code in codes if code[0] != 201} <= {(409, "idempotency_in_flight")}
    assert any(answer.headers.get("retry-after") for answer in answers)
    assert len(await rows_of(world, card_grant)) == 1


async def test_two_processes_under_one_key_make_one_token(world: World, agent: Agent) -> None:
    elsewhere = client_of(world)
    async with elsewhere:
        there = Agent(elsewhere, agent.platform, agent.bearer)
        answers = await asyncio.gather(
            *(one.delegate(a_request(), key=f"k{n}") for n in range(6) for one in (agent, there))
        )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 6
    assert len(await rows_of(world, card_grant)) == 6


def test_a_key_is_under_way_once() -> None:
    under_way, key = UnderWay(), key_of("plt", "/x", "k")
    with under_way.alone(key):
        with pytest.raises(InFlight), under_way.alone(key):
            pass
        with under_way.alone(key_of("plt", "/y", "k")):
            pass
    with under_way.alone(key):
        pass


@pytest.mark.parametrize("persisted", [False, True])
async def test_dying_at_the_commit_loses_both_or_neither(world: World, agent: Agent, persisted: bool) -> None:
    await agent.delegate(a_request(), key="warm")  # keys are made; the next change is the handover itself
    world.database.changes, world.database.crash_at, world.database.persisted = 0, 1, persisted
    with pytest.raises((Crash, asyncio.CancelledError)):
        await agent.delegate(a_request(), key="k")
    after = world.restart()
    survived = Agent(client_of(after), agent.platform, agent.bearer)
    async with survived.client:
        answer = await survived.delegate(a_request(), key="k")
    assert answer.status_code == 201
    assert ("idempotent-replayed" in answer.headers) == persisted
    assert len(await rows_of(world, card_grant)) == 2
    assert len(await rows_of(world, card_record)) == 2
    assert len(await rows_of(world, idempotency)) == 2


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["send", "crash_lost", "crash_persisted"]), st.sampled_from("ab"), st.sampled_from([1, 2])
    ),
    max_size=8,
)


@settings(max_examples=12, deadline=None)
@given(commands=COMMANDS)
def test_whatever_is_sent_and_whenever_it_dies_a_key_gives_one_token(
    commands: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_play(commands, f"sqlite:///{tmp_path_factory.mktemp('zone') / 'zone.sqlite3'}"))


async def _play(commands: list[tuple[str, str, int]], url: str) -> None:
    """The model: for each key, the amount and token of the first request that was committed."""
    async with zone_world(url) as world:
        agent = await an_agent(world)
        await agent.client.aclose()
        (platform,) = await world.database.read(live_platforms)
        model: dict[str, tuple[int, str | None]] = {}
        handovers = handovers_of(world)
        await take(handovers, platform, "warm", 1)
        for command, key, amount in commands:
            if command == "send":
                try:
                    token = await take(handovers, platform, key, amount)
                except KeyConflict:
                    assert model[key][0] != amount
                    continue
                known = model.setdefault(key, (amount, token))
                assert known[0] == amount
                assert known[1] in (None, token)
                model[key] = (amount, token)
                continue
            world.database.changes, world.database.crash_at = 0, 1
            world.database.persisted = command == "crash_persisted"
            with contextlib.suppress(Crash, asyncio.CancelledError, KeyConflict):
                await take(handovers, platform, key, amount)
            if world.database.persisted:
                model.setdefault(key, (amount, None))
            world.database.crash_at = None
            handovers = handovers_of(world)
        grants = await rows_of(world, card_grant)
        assert len(grants) == 1 + len(model)
        assert {token for _, token in model.values() if token} <= {row.id for row in grants}


def handovers_of(world: World) -> Handovers:
    """Handovers within the default limits."""
    return Handovers(world.keys, world.codes, PlatformLimits(world.keys, VelocityPolicy()))


async def take(handovers: Handovers, platform: Platform, key: str, amount: int) -> str:
    """One handover under a key."""
    binding = Binding(MERCHANT, "chk_a", Money(amount, "USD"), START_MS + 60_000)
    again = Repeatable(key_of(platform.id, "/x", key), str(amount).encode())
    sent = SentCard(a_card(), None, "card")
    return (await handovers.take(platform, Protocol.ACP, binding, sent, prefix="vt", again=again)).id
