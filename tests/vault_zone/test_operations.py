"""Dangerous acts take two operators, and are carried out once: over HTTP, as a state machine, and dying at every write."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from audit.event import EventType
from audit.store import audit_event
from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.callers import ask, policy_of, zone_of
from tests.vault_zone.world import MERCHANT, Crash, World, zone_world
from vault_zone import executors, key_life, operations
from vault_zone.admission import Admitted
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.executors import EXECUTORS
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.models import access_identity, card_grant, card_record, data_key, operation
from vault_zone.operations import (
    CARRY_OUT_SECONDS,
    DECIDE_SECONDS,
    MOVES,
    Act,
    Operation,
    OperationState,
    finish,
    sweep,
)
from vault_zone.roles import ROLES
from vault_zone.runtime import Zone

pytestmark = pytest.mark.anyio
OTHER = "other-brand"
POLICY = policy_of(
    ana=f"key_manager:{MERCHANT}",
    ben=f"key_manager:{MERCHANT}",
    cleo="key_manager:*",
    dora=f"card_manager:{MERCHANT}",
    eli=f"card_manager:{MERCHANT}",
    far=f"key_manager:{OTHER}",
    gus=f"auditor:{MERCHANT}",
    shop="commerce:*",
)
DESTROY = {"act": "destroy_keys", "merchant": MERCHANT}


class Effects:
    """An executor whose effect can be counted: a row, made in the transaction that finishes the operation."""

    def __init__(self) -> None:
        self.runs = 0
        self.failing: list[BaseException] = []
        self.before: asyncio.Event | None = None
        self.both_in = asyncio.Event()

    async def __call__(self, zone: Zone, approved: Operation) -> None:
        """Carries out."""
        self.runs += 1
        if self.before is not None:
            if self.runs == 3:
                self.both_in.set()
            await self.before.wait()
        if self.failing:
            raise self.failing.pop()

        def work(tx: Transaction) -> None:
            tx.execute(
                access_identity.insert().values(
                    identity=f"effect{self.runs}", role=None, merchants="[]", changed_ms=tx.now_ms
                )
            )
            finish(tx, approved)

        await zone.database.change(work)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


@pytest.fixture
def effects() -> Effects:
    """The executor."""
    return Effects()


@pytest.fixture
def zone(world: World, effects: Effects) -> Zone:
    """A zone that can destroy keys, after a manner."""
    return zone_of(
        world, policy=POLICY, executors={Act.DESTROY_KEYS: effects, Act.REVOKE_GRANTS: EXECUTORS[Act.REVOKE_GRANTS]}
    )


async def requested(zone: Zone, who: str = "ana", body: Mapping[str, object] | None = None) -> str:
    """The id of an operation that was asked for."""
    answer = await ask(zone, f"operator:{who}", "POST", "/v1/operations", body or DESTROY)
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["operation"]
    return found


async def decided(zone: Zone, who: str, wanted: str, word: str = "approve") -> tuple[int, str]:
    """Status, and the state or the code."""
    answer = await ask(zone, f"operator:{who}", "POST", f"/v1/operations/{wanted}/{word}")
    body = answer.json()
    return answer.status_code, body["state"] if answer.is_success else body["error"]["code"]


async def effects_of(world: World) -> int:
    """How often the effect took place."""
    return await world.database.read(
        lambda c: c.execute(select(func.count()).select_from(access_identity)).scalar() or 0
    )


async def state_of(world: World, wanted: str) -> str:
    """Where an operation stands in the database."""
    found = await world.database.read(lambda c: operations.find(c, wanted))
    return found.state if found else "absent"


async def events(world: World) -> list[tuple[str, str, str]]:
    """Type, outcome and actor of what is on record of operations, in order."""
    rows = await world.database.read(
        lambda c: c.execute(select(audit_event.c.entry).order_by(audit_event.c.id)).scalars().all()
    )
    entries: list[dict[str, Any]] = [json.loads(row) for row in rows]
    return [
        (one["type"].removeprefix("operation."), one["outcome"], one["actor"])
        for one in entries
        if one["type"].startswith("operation.") or one["resource"].startswith("opr_")
    ]


@requirement("3.7.6", "7.2.5")
async def test_one_asks_another_approves_and_it_is_done_once(zone: Zone, world: World, effects: Effects) -> None:
    wanted = await requested(zone)
    assert await effects_of(world) == 0
    assert await decided(zone, "ben", wanted) == (200, "executed")
    assert (effects.runs, await effects_of(world)) == (1, 1)
    assert await decided(zone, "ben", wanted) == (409, "operation_not_open")
    assert (effects.runs, await effects_of(world)) == (1, 1)
    assert await events(world) == [
        ("requested", "success", "operator:ana"),
        ("approved", "success", "operator:ben"),
        ("executed", "success", "service:vault_zone"),
    ]


@requirement("3.7.6")
async def test_who_asked_cannot_approve_and_the_try_is_on_record(zone: Zone, world: World, effects: Effects) -> None:
    wanted = await requested(zone)
    assert await decided(zone, "ana", wanted) == (409, "second_person_needed")
    assert (effects.runs, await state_of(world, wanted)) == (0, "requested")
    assert ("access.refused", "failure", "operator:ana") in await events(world)


@requirement("3.7.6")
async def test_the_database_itself_refuses_one_name_in_both_places(zone: Zone, world: World) -> None:
    wanted = await requested(zone)

    def forged(tx: Transaction) -> None:
        tx.execute(
            operation.update()
            .where(operation.c.id == wanted)
            .values(state="approved", decided_by="operator:ana", decided_ms=tx.now_ms)
        )

    with pytest.raises(IntegrityError):
        await world.database.maintain(forged)


@requirement("7.2.5", "7.3.3")
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("operator:dora", (403, "caller_unknown")),  # may approve, and not this act
        ("operator:gus", (403, "caller_unknown")),  # reads only
        ("service:shop", (403, "caller_unknown")),
        ("operator:far", (404, "not_found")),  # another merchant's: there is no such operation
        ("operator:nobody", (403, "caller_unknown")),
        ("service:ben", (403, "caller_unknown")),
    ],
)
async def test_who_may_not_do_the_act_may_not_approve_it(
    zone: Zone, world: World, effects: Effects, who: str, expected: tuple[int, str]
) -> None:
    wanted = await requested(zone)
    for word in ("approve", "refuse"):
        answer = await ask(zone, who, "POST", f"/v1/operations/{wanted}/{word}")
        assert (answer.status_code, answer.json()["error"]["code"]) == expected
    assert (effects.runs, await state_of(world, wanted)) == (0, "requested")


@requirement("7.3.3")
async def test_an_operation_is_asked_for_by_who_may_do_the_act_for_that_merchant(zone: Zone) -> None:
    for who, body, status in (
        ("dora", DESTROY, 403),
        ("far", DESTROY, 403),
        ("ana", {"act": "destroy_keys"}, 403),  # of every merchant
        ("cleo", {"act": "destroy_keys"}, 201),
        ("ana", {"act": "revoke_grants", "merchant": MERCHANT}, 403),
        ("ana", {"act": "burn_down", "merchant": MERCHANT}, 422),
        ("ana", {**DESTROY, "subject": "4242 4242 4242 4242"}, 422),
    ):
        assert (await ask(zone, f"operator:{who}", "POST", "/v1/operations", body)).status_code == status


async def test_operations_of_other_merchants_are_not_listed(zone: Zone) -> None:
    mine, theirs = await requested(zone), await requested(zone, "far", {"act": "destroy_keys", "merchant": OTHER})
    everyones = await requested(zone, "cleo", {"act": "destroy_keys"})
    for who, seen in (("ben", {mine}), ("far", {theirs}), ("cleo", {mine, theirs, everyones}), ("gus", {mine})):
        listed = (await ask(zone, f"operator:{who}", "GET", "/v1/operations")).json()["operations"]
        assert {one["operation"] for one in listed} == seen
    assert (await ask(zone, "shop", "GET", "/v1/operations")).status_code == 403


async def test_an_act_that_nothing_carries_out_cannot_be_asked_for(world: World) -> None:
    zone = zone_of(world, policy=POLICY, executors={Act.DELETE_CARDS: EXECUTORS[Act.REVOKE_GRANTS]})
    answer = await ask(zone, "operator:ana", "POST", "/v1/operations", DESTROY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "act_not_available")
    assert await events(world) == []


async def test_nobody_decides_after_an_hour(zone: Zone, world: World, effects: Effects) -> None:
    wanted = await requested(zone)
    world.clock.advance(DECIDE_SECONDS)
    assert await decided(zone, "ben", wanted) == (409, "operation_not_open")
    assert await sweep(zone) == 1
    assert (await state_of(world, wanted), effects.runs) == ("lapsed", 0)
    assert (await events(world))[-1] == ("refused", "failure", "service:vault_zone")


async def test_a_refused_operation_stays_refused_and_one_may_take_back_ones_own(zone: Zone, world: World) -> None:
    first, second = await requested(zone), await requested(zone)
    assert await decided(zone, "ben", first, "refuse") == (200, "refused")
    assert await decided(zone, "ana", second, "refuse") == (200, "refused")
    for wanted in (first, second):
        assert await decided(zone, "cleo", wanted) == (409, "operation_not_open")
    assert await effects_of(world) == 0


async def test_what_a_revoked_operator_asked_for_is_not_carried_out(zone: Zone, world: World, effects: Effects) -> None:
    wanted = await requested(zone)
    zone.access.state = Admitted(policy_of(ben=f"key_manager:{MERCHANT}"))
    assert await decided(zone, "ben", wanted) == (409, "operation_not_open")
    assert (effects.runs, await state_of(world, wanted)) == (0, "requested")


async def test_two_who_approve_at_once_have_it_done_once(zone: Zone, world: World, effects: Effects) -> None:
    wanted = await requested(zone)
    answers = await asyncio.gather(*(decided(zone, who, wanted) for who in ("ben", "cleo", "ben", "cleo")))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert await effects_of(world) == 1


async def test_an_outage_leaves_it_approved_and_a_sweep_takes_it_up(zone: Zone, world: World, effects: Effects) -> None:
    effects.failing = [KeyUnavailable()]
    wanted = await requested(zone)
    assert await decided(zone, "ben", wanted) == (200, "approved")
    assert await sweep(zone) == 0  # another process may be at it
    world.clock.advance(61)
    assert await sweep(zone) == 1
    assert (await state_of(world, wanted), await effects_of(world)) == ("executed", 1)
    assert await sweep(zone) == 0


async def test_what_cannot_be_done_has_failed_and_is_not_tried_again(
    zone: Zone, world: World, effects: Effects
) -> None:
    effects.failing = [ZoneRefusal(ZoneError.NOT_FOUND)]
    wanted = await requested(zone)
    assert await decided(zone, "ben", wanted) == (200, "failed")
    world.clock.advance(61)
    assert await sweep(zone) == 0
    assert effects.runs == 1
    assert (await events(world))[-1] == ("executed", "failure", "service:vault_zone")


async def test_an_approval_of_yesterday_is_not_carried_out(zone: Zone, world: World, effects: Effects) -> None:
    effects.failing = [KeyUnavailable()]
    wanted = await requested(zone)
    await decided(zone, "ben", wanted)
    world.clock.advance(CARRY_OUT_SECONDS)
    await sweep(zone)
    assert (await state_of(world, wanted), await effects_of(world)) == ("failed", 0)


@requirement("3.7.6")
@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", [1, 2])
async def test_killed_at_any_write_it_is_carried_out_once_after_the_restart(
    zone: Zone, world: World, effects: Effects, write: int, persisted: bool
) -> None:
    """Write 1 is the approval, 2 the effect with the operation's end; each lost or on disk when the process dies."""
    wanted = await requested(zone)
    world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
    with pytest.raises(Crash):
        await decided(zone, "ben", wanted)
    world = world.restart()
    after = zone_of(world, policy=POLICY, executors=zone.executors)
    approved = write == 2 or persisted
    assert await sweep(after, idle_seconds=0) == (1 if approved and (write, persisted) != (2, True) else 0)
    assert await effects_of(world) == (1 if approved else 0)
    assert await state_of(world, wanted) == ("executed" if approved else "requested")
    assert await sweep(after, idle_seconds=0) == 0
    if not approved:  # nothing was lost: it can be approved again
        assert await decided(after, "ben", wanted) == (200, "executed")
    assert await effects_of(world) == 1


async def test_an_executor_that_runs_twice_takes_effect_once(zone: Zone, world: World, effects: Effects) -> None:
    """Two processes take up the same approved operation: the second rolls back in its own transaction."""
    effects.failing = [KeyUnavailable()]
    wanted = await requested(zone)
    await decided(zone, "ben", wanted)
    effects.before, effects.both_in = asyncio.Event(), asyncio.Event()
    world.clock.advance(61)
    both = asyncio.gather(sweep(zone), sweep(zone))
    await effects.both_in.wait()
    effects.before.set()
    await both
    assert (effects.runs, await effects_of(world), await state_of(world, wanted)) == (3, 1, "executed")


async def test_without_the_guard_it_would_take_effect_twice(zone: Zone, world: World) -> None:
    """The planted fault: an executor that does not finish in its own transaction."""

    async def careless(zone: Zone, approved: Operation) -> None:
        def work(tx: Transaction) -> None:
            name = f"effect{tx.execute(select(func.count()).select_from(access_identity)).scalar()}"
            tx.execute(access_identity.insert().values(identity=name, role=None, merchants="[]", changed_ms=tx.now_ms))

        await zone.database.maintain(work)

    wanted = await requested(zone)
    approved = await world.database.read(lambda c: operations.find(c, wanted))
    assert approved is not None
    for _ in range(2):
        await careless(zone, approved)
    assert await effects_of(world) == 2


def test_every_state_but_the_first_is_reached_from_one_other_and_ends_are_ends() -> None:
    assert set(MOVES) == set(OperationState) - {OperationState.REQUESTED}
    ends = set(OperationState) - set(MOVES.values())
    assert ends == {OperationState.REFUSED, OperationState.LAPSED, OperationState.EXECUTED, OperationState.FAILED}


def test_every_act_has_a_verb_that_two_operators_can_have() -> None:
    assert set(operations.VERBS) == set(Act)
    for verb in operations.VERBS.values():
        assert [name for name, role in ROLES.items() if verb in role.verbs and "approve_operation" in role.verbs]


@requirement("7.2.5")
async def test_revoking_every_grant_of_a_merchant_takes_two_and_leaves_the_others(zone: Zone, world: World) -> None:
    mine = await world.captured_grant()
    theirs = await world.captured_grant(merchant=OTHER)
    wanted = await requested(zone, "dora", {"act": "revoke_grants", "merchant": MERCHANT})
    assert await decided(zone, "eli", wanted) == (200, "executed")
    revoked = await world.database.read(
        lambda c: {row.id: row.revoked_ms is not None for row in c.execute(select(card_grant))}
    )
    assert revoked == {mine: True, theirs: False}
    recorded = await world.database.read(lambda c: list(c.execute(select(audit_event.c.type)).scalars()))
    assert recorded.count(EventType.GRANT_REVOKED) == 1


async def test_every_executor_is_for_a_known_act_and_finishes_what_it_is_given(world: World) -> None:
    await world.captured_grant()
    everyone = policy_of(ana="key_manager:*", ben="key_manager:*", dora="card_manager:*", eli="card_manager:*")
    zone = zone_of(world, policy=everyone)
    key = await world.database.read(_sealing_key)
    for act, (first, second) in {
        Act.REVOKE_GRANTS: ("dora", "eli"),
        Act.DESTROY_KEY: ("ana", "ben"),
        Act.DELETE_CARDS: ("dora", "eli"),
        Act.DESTROY_KEYS: ("ana", "ben"),
    }.items():
        if act is Act.DESTROY_KEY:
            assert (await ask(zone, "operator:ana", "POST", f"/v1/merchants/{MERCHANT}/keys/{key}/retire")).is_success
        body = {"act": act, "merchant": MERCHANT, "subject": key if act is Act.DESTROY_KEY else None}
        assert await decided(zone, second, await requested(zone, first, body)) == (200, "executed")


@requirement("3.7.5", "3.7.6")
async def test_a_key_with_cards_is_destroyed_by_two_and_its_cards_alone_end(world: World) -> None:
    zone = zone_of(world, policy=POLICY)
    old, theirs = await world.captured_grant(), await world.captured_grant(merchant=OTHER)
    key = await world.database.read(lambda c: _sealing_key(c, MERCHANT))
    body = {"act": "destroy_key", "merchant": MERCHANT, "subject": key}
    path = f"/v1/merchants/{MERCHANT}/keys/{key}"
    assert await decided(zone, "ben", await requested(zone, "ana", body)) == (200, "failed")  # it is active
    assert (await ask(zone, "operator:ana", "POST", f"{path}/retire")).json()["changed"] is True  # one person
    alone = await ask(zone, "operator:ana", "POST", f"{path}/destroy")
    assert (alone.status_code, alone.json()["error"]["code"]) == (409, "key_in_use")
    new = await world.captured_grant()
    assert await decided(zone, "ana", await requested(zone, "ana", body)) == (409, "second_person_needed")
    for subject in ("key_of_nobody", await world.database.read(lambda c: _sealing_key(c, OTHER))):
        wanted = await requested(zone, "ana", {**body, "subject": subject})
        assert await decided(zone, "ben", wanted) == (200, "failed")
    assert await usable(world) == {old: True, new: True, theirs: True}
    assert await decided(zone, "ben", await requested(zone, "ana", body)) == (200, "executed")
    assert await usable(world) == {old: False, new: True, theirs: True}
    left = await world.database.read(lambda c: c.execute(select(data_key).where(data_key.c.id == key)).one())
    assert (left.state, left.wrapped) == ("destroyed", b"")


async def test_a_planted_route_that_lets_one_person_destroy_a_key_with_cards_would_be_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = zone_of(world, policy=POLICY)
    grant = await world.captured_grant()
    path = f"/v1/merchants/{MERCHANT}/keys/{await world.database.read(_sealing_key)}"
    assert (await ask(zone, "operator:ana", "POST", f"{path}/retire")).is_success
    assert (await ask(zone, "operator:ana", "POST", f"{path}/destroy")).status_code == 409
    assert await usable(world) == {grant: True}
    monkeypatch.setattr(key_life, "destroy_key", partial(key_life.destroy_key, with_cards=True))
    assert (await ask(zone, "operator:ana", "POST", f"{path}/destroy")).status_code == 200
    assert await usable(world) == {grant: False}


async def usable(world: World) -> dict[str, bool]:
    """Each grant, and whether it and its card still serve."""
    found = select(card_grant.c.id, card_grant.c.revoked_ms, card_record.c.expires_ms).join(
        card_record, card_record.c.token == card_grant.c.token
    )
    rows = await world.database.read(lambda c: c.execute(found).all())
    return {row.id: row.revoked_ms is None and row.expires_ms > world.clock() for row in rows}


@requirement("3.2.1", "7.2.5")
async def test_every_card_of_a_merchant_is_deleted_by_two_in_batches_and_later_ones_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "BATCH_CARDS", 2)
    zone = zone_of(world, policy=POLICY)
    old, theirs = [await world.captured_grant() for _ in range(5)], await world.captured_grant(merchant=OTHER)
    assert await held_cards(world) == {MERCHANT: 5, OTHER: 1}
    wanted = await requested(zone, "dora", {"act": "delete_cards", "merchant": MERCHANT})
    assert await decided(zone, "dora", wanted) == (409, "second_person_needed")
    inner, batches = zone.database.change, list[int]()

    async def dies_after_the_first_batch(work: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:  # the approval, a batch, then it dies
            raise ConnectionError
        return await inner(work)

    with monkeypatch.context() as patched:
        patched.setattr(zone.database, "change", dies_after_the_first_batch)
        assert await decided(zone, "eli", wanted) == (200, "approved")
    assert await held_cards(world) == {MERCHANT: 3, OTHER: 1}
    world.clock.advance(1)
    new = await world.captured_grant()
    assert await sweep(zone, idle_seconds=0) == 1
    assert await state_of(world, wanted) == "executed"
    assert await held_cards(world) == {MERCHANT: 1, OTHER: 1}
    assert await usable(world) == {new: True, theirs: True}
    assert [zone.codes.take(grant) for grant in old] == [None] * 5
    recorded = await world.database.read(lambda c: list(c.execute(select(audit_event.c.type)).scalars()))
    assert recorded.count(EventType.TOKEN_ERASED) == 5


async def held_cards(world: World) -> dict[str, int]:
    """Cards on disk by merchant."""
    found = select(card_record.c.merchant, func.count()).group_by(card_record.c.merchant)
    return {row.merchant: row[1] for row in await world.database.read(lambda c: c.execute(found).all())}


@pytest.mark.parametrize("act", ["revoke_grants", "delete_cards"])
async def test_an_act_of_every_merchant_reaches_every_merchant(world: World, act: str) -> None:
    zone = zone_of(world, policy=policy_of(dora="card_manager:*", eli="card_manager:*"))
    await world.captured_grant()
    await world.captured_grant(merchant=OTHER)
    assert await decided(zone, "eli", await requested(zone, "dora", {"act": act})) == (200, "executed")
    assert [grant for grant, serves in (await usable(world)).items() if serves] == []


async def test_a_row_of_an_act_that_this_version_does_not_know_is_left_alone(zone: Zone, world: World) -> None:
    wanted = await requested(zone)

    def unknown(tx: Transaction) -> None:
        tx.execute(operation.update().where(operation.c.id == wanted).values(act="retire_key"))

    await world.database.maintain(unknown)
    assert await decided(zone, "ben", wanted) == (404, "not_found")
    assert (await ask(zone, "operator:ben", "GET", "/v1/operations")).json() == {"operations": []}
    world.clock.advance(DECIDE_SECONDS)
    assert await sweep(zone) == 0


def _sealing_key(connection: Any, merchant: str = MERCHANT) -> str:
    of_merchant = select(data_key.c.id).where(data_key.c.purpose == "sealing", data_key.c.merchant == merchant)
    found: str = connection.execute(of_merchant).scalars().first()
    return found
