"""The tables of the record: events as they were committed, and the order in which the log took them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection

from audit.event import Event, encode

_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER PRIMARY KEY
_EVENT_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrstv")

_WAITING = text("leaf_index IS NULL")

metadata = MetaData()

audit_event = Table(
    "audit_event",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("event_id", String(40), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("resource", String(200), nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("leaf_index", BigInteger, nullable=True, unique=True),
    Index("ix_audit_event_waiting", "id", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("ix_audit_event_resource", "resource"),
)


@dataclass(frozen=True, slots=True)
class SequencedEntry:
    """An event's bytes and its place in the log, which is final once committed."""

    leaf_index: int
    entry: bytes


EventRow = dict[str, str | int | bytes]


def insert_events(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Writes events into the open transaction, in their order."""
    connection.execute(audit_event.insert(), list(rows))


def row_of(event: Event, now_ms: int) -> EventRow:
    """An event as it is stored, under an id of its own. Raises EventRefused."""
    event_id = f"evt_{secrets.token_hex(16).translate(_EVENT_LETTERS)}"
    return {
        "event_id": event_id,
        "type": str(event.type),
        "at_ms": now_ms,
        "resource": event.resource,
        "entry": encode(event, event_id=event_id, at_milliseconds=now_ms),
    }


def assign_indexes(connection: Connection, limit: int) -> int:
    """Gives committed events without a place the next places, oldest first; returns how many it placed."""
    waiting = (
        connection.execute(
            select(audit_event.c.id).where(audit_event.c.leaf_index.is_(None)).order_by(audit_event.c.id).limit(limit)
        )
        .scalars()
        .all()
    )
    if not waiting:
        return 0
    first_free = placed_count(connection)
    statement = update(audit_event).where(audit_event.c.id == bindparam("row_id")).values(leaf_index=bindparam("place"))
    connection.execute(statement, [{"row_id": row, "place": first_free + n} for n, row in enumerate(waiting)])
    return len(waiting)


def entries_from(connection: Connection, leaf_index: int, limit: int) -> Sequence[SequencedEntry]:
    """Placed entries from a leaf index on, in order."""
    rows = connection.execute(
        select(audit_event.c.leaf_index, audit_event.c.entry)
        .where(audit_event.c.leaf_index >= leaf_index)
        .order_by(audit_event.c.leaf_index)
        .limit(limit)
    )
    return [SequencedEntry(index, bytes(entry)) for index, entry in rows]


def events_about(connection: Connection, resource: str) -> list[bytes]:
    """The entries about one resource, oldest first."""
    rows = connection.execute(
        select(audit_event.c.entry).where(audit_event.c.resource == resource).order_by(audit_event.c.id)
    )
    return [bytes(entry) for entry in rows.scalars()]


def event_count(connection: Connection, resource: str) -> int:
    """How many entries are about one resource."""
    return connection.execute(
        select(func.count()).select_from(audit_event).where(audit_event.c.resource == resource)
    ).scalar_one()


def placed_count(connection: Connection) -> int:
    """How many entries have a place in the log."""
    last: int | None = connection.execute(select(func.max(audit_event.c.leaf_index))).scalar_one()
    return 0 if last is None else last + 1


def oldest_waiting_ms(connection: Connection) -> int | None:
    """When the oldest event was recorded that the log has not taken yet, or None."""
    return connection.execute(
        select(audit_event.c.at_ms).where(audit_event.c.leaf_index.is_(None)).order_by(audit_event.c.id).limit(1)
    ).scalar_one_or_none()
