"""Dangerous acts: one operator asks, another approves, the zone carries the act out, once (PCI DSS 3.7.6, 7.2.1; dual control).

What holds for an operation:
 1. Who asks and who approves are two identities, each with the act's own verb for its merchant, also the first of them at the
    time of approval. The database refuses a row whose two names are the same. (That one person does not hold two identities
    is for the access manager to see to.)
 2. It ends after an hour if nobody decides, and a day after approval if it cannot be carried out by then.
 3. Every move goes from the state it is allowed from, in one transaction with its event; whoever comes second finds it moved.
 4. An approved operation is carried out once. The executor calls ``finish`` in the transaction of its last effect: effect,
    state and event commit together, and a second run is refused there and rolls back. Killed anywhere between approval and
    that commit, the zone takes it up again. Effects that reach beyond the database are such as can be repeated without harm.
 5. An act that this zone has no executor for cannot be asked for; rows of acts that it does not know are left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Row, select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.clock import as_text
from tokenization.ids import new_id
from tokenization.logs import cause_of
from vault_zone.access import EVERY_MERCHANT, AccessRefused, Permitted, require
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.identity import Identity
from vault_zone.key_rows import ORIGIN
from vault_zone.models import operation
from vault_zone.roles import Verb

if TYPE_CHECKING:
    from vault_zone.runtime import Zone

DECIDE_SECONDS: Final = 3600
CARRY_OUT_SECONDS: Final = 86_400
LIST_LIMIT: Final = 500
IDLE_SECONDS: Final = 60  # an approved operation that another process may be carrying out is left alone for so long
ACTOR: Final = "service:vault_zone"
log = structlog.get_logger("vault_zone")


class Act(StrEnum):
    """What needs a second person."""

    DESTROY_KEYS = "destroy_keys"
    DESTROY_KEY = "destroy_key"
    DELETE_CARDS = "delete_cards"
    REVOKE_GRANTS = "revoke_grants"
    REVERSE_ENTRY = "reverse_entry"
    RESOLVE_AS_SUCCEEDED = "resolve_as_succeeded"
    RESOLVE_AS_FAILED = "resolve_as_failed"


# The verb that both operators need beside asking and approving.
VERBS: Final[Mapping[Act, Verb]] = {
    Act.DESTROY_KEYS: Verb.DESTROY_KEYS,
    Act.DESTROY_KEY: Verb.DESTROY_KEYS,
    Act.DELETE_CARDS: Verb.DELETE_CARD,
    Act.REVOKE_GRANTS: Verb.REVOKE_GRANT,
    Act.REVERSE_ENTRY: Verb.REVERSE_ENTRY,
    Act.RESOLVE_AS_SUCCEEDED: Verb.RESOLVE_CHARGE,
    Act.RESOLVE_AS_FAILED: Verb.RESOLVE_CHARGE,
}


_KNOWN: Final = operation.c.act.in_(tuple(Act))  # (5)


class OperationState(StrEnum):
    """Where an operation stands. Moves: MOVES."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    LAPSED = "lapsed"
    EXECUTED = "executed"
    FAILED = "failed"


MOVES: Final[Mapping[OperationState, OperationState]] = {  # to: from
    OperationState.APPROVED: OperationState.REQUESTED,
    OperationState.REFUSED: OperationState.REQUESTED,
    OperationState.LAPSED: OperationState.REQUESTED,
    OperationState.EXECUTED: OperationState.APPROVED,
    OperationState.FAILED: OperationState.APPROVED,
}
_EVENT_OF: Final = {
    OperationState.REQUESTED: EventType.OPERATION_REQUESTED,
    OperationState.APPROVED: EventType.OPERATION_APPROVED,
    OperationState.REFUSED: EventType.OPERATION_REFUSED,
    OperationState.LAPSED: EventType.OPERATION_REFUSED,
    OperationState.EXECUTED: EventType.OPERATION_EXECUTED,
    OperationState.FAILED: EventType.OPERATION_EXECUTED,
}
_SUCCESSES: Final = (OperationState.REQUESTED, OperationState.APPROVED, OperationState.EXECUTED)


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table. ``merchant`` is None for an act that concerns every merchant."""

    id: str
    act: Act
    merchant: str | None
    subject: str | None
    state: OperationState
    reason: str | None
    requested_by: str
    decided_by: str | None
    requested_ms: int
    expires_ms: int
    decided_ms: int | None
    ended_ms: int | None
    grounds: str | None = None  # why who asked says it should be done, as a code


class AlreadyMoved(Exception):
    """The operation is not in the state this move starts from (3): somebody was first, or its time is over."""


# Carries out an approved operation: its effects, and finish(tx, operation) in the transaction of the last of them (4). May be
# run again from the start. Raises ZoneRefusal when the act cannot be done at all: then it has failed, and is not tried again.
Executor = Callable[["Zone", Operation], Awaitable[None]]


def request(
    tx: Transaction, act: Act, merchant: str | None, subject: str | None, actor: str, grounds: str | None = None
) -> Operation:
    """Writes down what an operator asks for."""
    wanted = Operation(
        id=new_id("opr"),
        act=act,
        merchant=merchant,
        subject=subject,
        state=OperationState.REQUESTED,
        reason=None,
        requested_by=actor,
        decided_by=None,
        requested_ms=tx.now_ms,
        expires_ms=tx.now_ms + DECIDE_SECONDS * 1000,  # (2)
        decided_ms=None,
        ended_ms=None,
        grounds=grounds,
    )
    tx.execute(operation.insert().values(**{name: getattr(wanted, name) for name in operation.c.keys()}))  # noqa: SIM118
    _record(tx, wanted, actor)
    return wanted


def approve(tx: Transaction, wanted: Operation, actor: str) -> Operation:
    """Approves in another operator's name. Raises ZoneRefusal(SECOND_PERSON_NEEDED), AlreadyMoved."""
    if actor == wanted.requested_by:  # (1)
        raise ZoneRefusal(ZoneError.SECOND_PERSON_NEEDED)
    return _move(tx, wanted, OperationState.APPROVED, actor, decided_by=actor, decided_ms=tx.now_ms)


def record_own_approval(tx: Transaction, wanted: Operation, actor: str) -> None:
    """That who asked tried to approve as well is on record."""
    tx.record(
        Event(
            type=EventType.ACCESS_REFUSED,
            outcome="failure",
            actor=actor,
            origin=ORIGIN,
            resource=wanted.id,
            merchant=wanted.merchant or "",
            data={"reason": ZoneError.SECOND_PERSON_NEEDED.code},
        )
    )


def refuse(tx: Transaction, wanted: Operation, actor: str) -> Operation:
    """Refuses, or takes back what oneself asked for. Raises AlreadyMoved."""
    reason = "withdrawn" if actor == wanted.requested_by else "refused"
    now = tx.now_ms
    return _move(tx, wanted, OperationState.REFUSED, actor, reason, decided_by=actor, decided_ms=now, ended_ms=now)


def finish(tx: Transaction, wanted: Operation) -> None:
    """Marks an approved operation as carried out, in the transaction of the executor's last effect (4). Raises AlreadyMoved."""
    _move(tx, wanted, OperationState.EXECUTED, ACTOR, ended_ms=tx.now_ms)


def find(connection: Connection, operation_id: str) -> Operation | None:
    """The operation, or None."""
    row = connection.execute(select(operation).where(operation.c.id == operation_id, _KNOWN)).first()
    return _of(row) if row is not None else None


def newest(connection: Connection) -> list[Operation]:
    """The newest operations first, of every merchant."""
    statement = (
        select(operation).where(_KNOWN).order_by(operation.c.requested_ms.desc(), operation.c.id).limit(LIST_LIMIT)
    )
    return [_of(row) for row in connection.execute(statement)]


def require_for(caller: Permitted, act: Act, merchant: str | None) -> str:
    """The actor's name, when the caller has this route's verb and the act's own for the merchant (1). Raises AccessRefused."""
    require(caller.caller, VERBS[act], merchant or EVERY_MERCHANT)
    return caller.acting_for(merchant or EVERY_MERCHANT)


def requester_still_may(zone: "Zone", wanted: Operation) -> bool:
    """Whether who asked still has what asking took (1): a revoked operator's request is not carried out."""
    caller = zone.access.state.policy.caller(Identity.parse(wanted.requested_by))
    try:
        require_for(Permitted(caller, Verb.REQUEST_OPERATION), wanted.act, wanted.merchant)
    except AccessRefused:
        return False
    return True


async def carry_out(zone: "Zone", approved: Operation) -> Operation:
    """Runs the executor of an approved operation, and returns where it then stands.

    What fails for now (a key provider, the database) leaves it approved, to be taken up by ``sweep``.
    """
    try:
        await zone.executors.get(approved.act, _no_executor)(zone, approved)
    except AlreadyMoved:
        log.info("operation_done_already", operation=approved.id)
    except ZoneRefusal as refused:
        code = refused.kind.code
        await _end(zone, approved, OperationState.FAILED, code)
    except Exception as failure:  # noqa: BLE001  # whatever it is, the approval stands, and the next sweep takes it up
        log.error("operation_not_carried_out", operation=approved.id, cause=cause_of(failure))
    return await _current(zone, approved)


async def sweep(zone: "Zone", *, idle_seconds: int = IDLE_SECONDS) -> int:
    """Ends what nobody decided in time (2), and takes up what was approved and not carried out (4). Returns how many."""
    now_ms = zone.clock()
    lapsed, waiting = await zone.database.read(lambda c: _due(c, now_ms, now_ms - idle_seconds * 1000))
    for one in lapsed:
        await _end(zone, one, OperationState.LAPSED, "not_decided_in_time")
    for one in waiting:
        if (one.decided_ms or 0) + CARRY_OUT_SECONDS * 1000 <= now_ms:
            await _end(zone, one, OperationState.FAILED, "not_carried_out_in_time")
        else:
            await carry_out(zone, one)
    return len(lapsed) + len(waiting)


async def keep_sweeping(zone: "Zone", interval_seconds: float = 5.0) -> None:
    """Sweeps at start, when nothing of this process is under way, and from then on."""
    idle_seconds = 0
    while True:
        try:
            await sweep(zone, idle_seconds=idle_seconds)
            idle_seconds = IDLE_SECONDS
        except Exception as failure:  # noqa: BLE001  # the database may be away for a while
            log.error("operations_not_swept", cause=cause_of(failure))
        await asyncio.sleep(interval_seconds)


async def _no_executor(_: "Zone", __: Operation) -> None:
    raise ZoneRefusal(ZoneError.ACT_NOT_AVAILABLE)  # (5) there was one when it was asked for


async def _end(zone: "Zone", one: Operation, state: OperationState, reason: str) -> None:
    try:
        await zone.database.change(lambda tx: _move(tx, one, state, ACTOR, reason, ended_ms=tx.now_ms))
    except AlreadyMoved:
        log.info("operation_done_already", operation=one.id)


async def _current(zone: "Zone", one: Operation) -> Operation:
    return await zone.database.read(lambda connection: find(connection, one.id)) or one


def _due(connection: Connection, now_ms: int, idle_ms: int) -> tuple[list[Operation], list[Operation]]:
    known = select(operation).where(_KNOWN)
    lapsed = known.where(operation.c.state == OperationState.REQUESTED, operation.c.expires_ms <= now_ms)
    waiting = known.where(operation.c.state == OperationState.APPROVED, operation.c.decided_ms <= idle_ms)
    return [_of(row) for row in connection.execute(lapsed)], [_of(row) for row in connection.execute(waiting)]


def _move(
    tx: Transaction,
    one: Operation,
    to: OperationState,
    actor: str,
    reason: str | None = None,
    **values: str | int,
) -> Operation:
    """(3) The move, if the operation still is where this move starts and, before a decision, in time."""
    statement = update(operation).where(operation.c.id == one.id, operation.c.state == MOVES[to])
    if to in (OperationState.APPROVED, OperationState.REFUSED):
        statement = statement.where(operation.c.expires_ms > tx.now_ms)  # (2)
    if tx.execute(statement.values(state=to, reason=reason, **values)).rowcount != 1:
        raise AlreadyMoved
    moved = find(tx.connection, one.id)
    if moved is None:
        raise AlreadyMoved
    _record(tx, moved, actor)
    return moved


def _record(tx: Transaction, one: Operation, actor: str) -> None:
    data: dict[str, str | int | bool] = {"operation": one.id, "act": one.act, "expires_at": as_text(one.expires_ms)}
    if one.reason or one.grounds:
        data["reason"] = one.reason or one.grounds or ""
    if one.subject:
        data["key"] = one.subject
    if one.decided_by:
        data["decided_by"] = one.decided_by
    tx.record(
        Event(
            type=_EVENT_OF[one.state],
            outcome="success" if one.state in _SUCCESSES else "failure",
            actor=actor,
            origin=ORIGIN,
            resource=one.id,
            merchant=one.merchant or "",
            principal=one.requested_by if actor == ACTOR else "",
            data=data,
        )
    )


def _of(row: "Row[tuple[object, ...]]") -> Operation:
    fields = dict(row._mapping)
    return Operation(**{**fields, "act": Act(fields["act"]), "state": OperationState(fields["state"])})
