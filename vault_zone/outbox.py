"""What commerce is told by itself: a row for each thing that moved, written in the transaction that moved it.

A notice holds ids and a word. It says that something moved, not where it stands: commerce asks for that, so an old notice, a
repeated one and one out of order do no harm. What holds:
 1. The row commits with what it tells of: nothing is told that did not happen, and nothing that happened is never told.
 2. A notice under way is leased: another process leaves it alone until the lease is over, then takes it for lost.
 3. It is tried again by TRY_AFTER_SECONDS, then abandoned, which is recorded. A replay begins anew, under the same id.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Table, Tuple, func, select, tuple_, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.clock import as_datetime
from tokenization.ids import new_id
from tokenization.wire import Notice
from vault_zone.key_rows import ORIGIN
from vault_zone.models import charge, notice

MINUTE, HOUR = 60, 3600
# From each attempt that failed to the next: close together while a restart may be the reason, for a day and a half in all.
TRY_AFTER_SECONDS = (
    *(5, 30, MINUTE, 5 * MINUTE, 5 * MINUTE),
    *(10 * MINUTE,) * 5,
    *(HOUR,) * 5,
    *(6 * HOUR,) * 5,
)
ATTEMPTS_MAXIMUM = len(TRY_AFTER_SECONDS) + 1
LEASE_SECONDS = 60  # longer than a delivery may take
CLAIM_ROWS = 32
LIST_ROWS = 200
REPLAY_ROWS = 10_000  # in one call
ACTOR = "service:vault_zone"


class NoticeState(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ABANDONED = "abandoned"


class Claimed(NamedTuple):
    """A notice to deliver now; ``attempts`` counts this one."""

    notice: Notice
    attempts: int


class NoticeRow(NamedTuple):
    """A notice as an operator sees it. Times in milliseconds since 1970."""

    notice: str
    merchant: str
    kind: str
    charge: str
    state: str
    attempts: int
    last_status: int | None
    happened_ms: int
    due_ms: int


def announce(
    tx: Transaction,
    kind: str,
    *,
    merchant: str,
    charge_id: str,
    modification_id: str | None = None,
    dispute_id: str | None = None,
) -> str:
    """Has commerce told of it, after this transaction commits (1). ``kind``: an event's type, ``charge.succeeded``."""
    identifier = new_id("ntc")
    tx.execute(
        notice.insert(),
        {
            "id": identifier,
            "merchant": merchant,
            "kind": kind,
            "charge_id": charge_id,
            "modification_id": modification_id,
            "dispute_id": dispute_id,
            "state": NoticeState.PENDING,
            "attempts": 0,
            "due_ms": tx.now_ms,
            "happened_ms": tx.now_ms,
            "changed_ms": tx.now_ms,
        },
    )
    return identifier


def claim_due(tx: Transaction) -> list[Claimed]:
    """Leases what is due, oldest first (2)."""
    due = select(notice.c.id).where(notice.c.state == NoticeState.PENDING, notice.c.due_ms <= tx.now_ms)
    ids = list(tx.execute(due.order_by(notice.c.due_ms, notice.c.id).limit(CLAIM_ROWS)).scalars())
    if not ids:
        return []
    tx.execute(
        update(notice)
        .where(notice.c.id.in_(ids))
        .values(attempts=notice.c.attempts + 1, due_ms=tx.now_ms + LEASE_SECONDS * 1000)
    )
    found = select(notice, charge.c.payment, charge.c.checkout).join(charge, charge.c.id == notice.c.charge_id)
    return [_claimed(row) for row in tx.execute(found.where(notice.c.id.in_(ids)).order_by(notice.c.happened_ms))]


def settle_delivered(tx: Transaction, identifier: str, status: int) -> None:
    """Commerce has it."""
    tx.execute(
        update(notice)
        .where(notice.c.id == identifier, notice.c.state == NoticeState.PENDING)
        .values(state=NoticeState.DELIVERED, last_status=status, changed_ms=tx.now_ms)
    )


def settle_failed(tx: Transaction, claimed: Claimed, status: int | None) -> bool:
    """The attempt came to nothing; True when it was the last (3)."""
    last = claimed.attempts >= ATTEMPTS_MAXIMUM
    wait_ms = 0 if last else TRY_AFTER_SECONDS[claimed.attempts - 1] * 1000
    moved = tx.execute(
        update(notice)
        .where(
            notice.c.id == claimed.notice.notice,
            notice.c.state == NoticeState.PENDING,
            notice.c.attempts == claimed.attempts,  # a replay, or another process after the lease, began anew
        )
        .values(
            state=NoticeState.ABANDONED if last else NoticeState.PENDING,
            due_ms=tx.now_ms + wait_ms,
            last_status=status,
            changed_ms=tx.now_ms,
        )
    )
    if last and moved.rowcount == 1:
        data: dict[str, str | int | bool] = {"charge": claimed.notice.charge, "kind": claimed.notice.kind}
        if status is not None:
            data["status"] = status
        _record(tx, EventType.NOTICE_ABANDONED, claimed.notice.notice, claimed.notice.merchant, ACTOR, data)
    return last


class Mark(NamedTuple):
    """Behind which notice a replay goes on, in the order that it takes them."""

    happened_ms: int
    notice: str


class Replayed(NamedTuple):
    """How many notices will be told again, and where to go on; None behind the last."""

    notices: int
    after: Mark | None


def replay(
    tx: Transaction,
    *,
    since_ms: int,
    until_ms: int,
    merchant: str | None,
    only_abandoned: bool,
    actor: str,
    after: Mark | None = None,
) -> Replayed:
    """Has told again what happened from ``since_ms`` until before ``until_ms``, at most REPLAY_ROWS, from behind ``after`` on.

    Called again with the mark that it gave until it gives none, it takes each notice once, whatever was told meanwhile.
    """
    states = (NoticeState.ABANDONED,) if only_abandoned else (NoticeState.ABANDONED, NoticeState.DELIVERED)
    chosen = select(notice.c.id).where(
        notice.c.state.in_(states), notice.c.happened_ms >= since_ms, notice.c.happened_ms < until_ms
    )
    if merchant is not None:
        chosen = chosen.where(notice.c.merchant == merchant)
    if after is not None:
        chosen = chosen.where(_place_of(notice) > tuple_(after.happened_ms, after.notice))
    ordered = chosen.order_by(notice.c.happened_ms, notice.c.id).limit(REPLAY_ROWS)
    places = ordered.with_only_columns(notice.c.happened_ms, notice.c.id).subquery()
    newest = select(places).order_by(places.c.happened_ms.desc(), places.c.id.desc()).limit(1)
    last = tx.execute(newest).first()
    if last is None:
        return Replayed(0, None)
    count = tx.execute(
        update(notice)
        .where(notice.c.id.in_(chosen.where(_place_of(notice) <= tuple_(last.happened_ms, last.id))))
        .values(state=NoticeState.PENDING, attempts=0, due_ms=tx.now_ms, last_status=None, changed_ms=tx.now_ms)
    ).rowcount
    _record(tx, EventType.NOTICES_REPLAYED, "notices:commerce", merchant or "", actor, {"count": count})
    return Replayed(count, Mark(last.happened_ms, last.id) if count >= REPLAY_ROWS else None)


def _place_of(table: Table) -> "Tuple":
    return tuple_(table.c.happened_ms, table.c.id)


def list_notices(connection: Connection, state: str | None) -> Sequence[NoticeRow]:
    """Notices in a state, or all; newest first, at most LIST_ROWS."""
    found = select(
        notice.c.id,
        notice.c.merchant,
        notice.c.kind,
        notice.c.charge_id,
        notice.c.state,
        notice.c.attempts,
        notice.c.last_status,
        notice.c.happened_ms,
        notice.c.due_ms,
    )
    if state is not None:
        found = found.where(notice.c.state == state)
    ordered = found.order_by(notice.c.happened_ms.desc(), notice.c.id).limit(LIST_ROWS)
    return [NoticeRow._make(row) for row in connection.execute(ordered)]


def waiting(connection: Connection) -> int:
    """How many notices wait to be told."""
    return connection.execute(
        select(func.count()).select_from(notice).where(notice.c.state == NoticeState.PENDING)
    ).scalar_one()


def _claimed(row) -> Claimed:  # type: ignore[no-untyped-def]  # a row of two tables
    told = Notice(
        notice=row.id,
        kind=row.kind,
        happened_at=as_datetime(row.happened_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        merchant=row.merchant,
        checkout=row.checkout,
        payment=row.payment,
        charge=row.charge_id,
        modification=row.modification_id,
        dispute=row.dispute_id,
    )
    return Claimed(told, row.attempts)


def _record(
    tx: Transaction, kind: EventType, resource: str, merchant: str, actor: str, data: dict[str, str | int | bool]
) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="failure" if kind is EventType.NOTICE_ABANDONED else "success",
            actor=actor,
            origin=ORIGIN,
            resource=resource,
            merchant=merchant,
            data=data,
        )
    )
