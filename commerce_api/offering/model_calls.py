"""The record of model calls, in commerce's database: that one was opened, how it ended, what became of its words. No text.

What holds:
 1. A call is opened on record, durably, before anything is sent; where that cannot be written, the call is not made.
 2. How it ended and its verdict are written as soon as that goes. What cannot be written for now waits and is tried again;
    while WAITING_MAXIMUM of them wait, no call is opened. A record that the database does not take is found by writing each
    alone, and left out, so that it keeps no other from being written.
 3. Of a call each of the three is on record once at most, and is never changed: by triggers of the revision.
 4. A row is deleted KEPT_SECONDS after it was written, and not before: by the same triggers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import InterfaceError, OperationalError

from audit.transaction import Database, DatabaseBusy, Transaction
from audit.write_behind import WAITING_MAXIMUM, NotWritten, WriteBehind
from commerce_api.models import model_call
from offer_engine.models.records import KINDS, CallEnded, CallJudged, CallOpened, Record
from tokenization.logs import cause_of

KEPT_SECONDS: Final = 400 * 86_400  # as decisions
RETRY_SECONDS: Final = 1.0
_FOR_NOW: Final = (
    DatabaseBusy,
    OperationalError,
    InterfaceError,
    OSError,
)  # disk, lock, connection: the next try may succeed
_COLUMNS: Final = frozenset(column.name for column in model_call.columns)
log = structlog.get_logger("commerce_api")


class NotRecorded(OSError):
    """A call could not be put on record. It is not made."""


class ModelCallRecorder:
    """A Recorder over the database. ``close`` it behind the egress."""

    def __init__(self, database: Database) -> None:
        self._queue = WriteBehind(
            _Rows(database), retry_seconds=RETRY_SECONDS, takes_back=True, waiting_maximum=WAITING_MAXIMUM
        )

    async def opened(self, record: CallOpened) -> None:
        """Puts it on record (1). Raises NotRecorded."""
        if self._queue.is_full:
            raise NotRecorded
        try:
            await self._queue.written(record)
        except NotWritten:
            raise NotRecorded from None

    def write(self, record: CallEnded | CallJudged) -> None:
        """Takes it down (2)."""
        self._queue.add(record)

    async def close(self) -> None:
        """Writes what waits, and ends. What cannot be written now is lost, and said so."""
        await self._queue.close()


@dataclass(frozen=True, slots=True)
class _Rows:
    """The table, as a sink."""

    database: Database

    async def write(self, records: Sequence[Record]) -> None:
        await self.database.maintain(lambda tx: _write(tx, records))

    def is_passing(self, failure: Exception) -> bool:
        return isinstance(failure, _FOR_NOW)

    def failed(self, failure: Exception, count: int) -> None:
        log.error("model_calls_not_recorded", cause=cause_of(failure), count=count)

    def lost(self, count: int) -> None:
        log.error("model_calls_lost", count=count)


def forget_old(tx: Transaction, limit: int) -> None:
    """Deletes what is past its time (4)."""
    old = (
        select(model_call.c.call, model_call.c.record)
        .where(model_call.c.at_ms < tx.now_ms - KEPT_SECONDS * 1000)
        .order_by(model_call.c.at_ms)
        .limit(limit)
    )
    for row in tx.execute(old).all():
        tx.execute(delete(model_call).where(model_call.c.call == row.call, model_call.c.record == row.record))


def _write(tx: Transaction, records: Sequence[Record]) -> None:
    """(3) What is there already was written by a try whose answer was lost."""
    calls = {record.call for record in records}
    written = select(model_call.c.call, model_call.c.record).where(model_call.c.call.in_(calls))
    known = {(row.call, row.record) for row in tx.execute(written)}
    rows = [_row(record, tx.now_ms) for record in records if (record.call, KINDS[type(record)]) not in known]
    if rows:
        tx.execute(insert(model_call), rows)


def _row(record: Record, now_ms: int) -> dict[str, Any]:
    told = {"at_ms": now_ms, **asdict(record), "record": KINDS[type(record)]}
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row |= {name: int(value) if isinstance(value, bool) else value for name, value in told.items()}
    return row | {name: row[name] or None for name in ("brand", "decision")}
