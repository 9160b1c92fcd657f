"""The record of model calls, in commerce's database: that one was opened, how it ended, what became of its words. No text.

What holds:
 1. A call is opened on record, durably, before anything is sent; where that cannot be written, the call is not made.
 2. How it ended and its verdict are written as soon as that goes. What cannot be written for now waits and is tried again;
    while WAITING_MAXIMUM of them wait, no call is opened. A record that the database does not take is found by writing each
    alone, and left out, so that it keeps no other from being written.
 3. Of a call each of the three is on record once at most, and is never changed: by triggers of the revision.
 4. A row is deleted KEPT_SECONDS after it was written, and not before: by the same triggers.
"""

import asyncio
import contextlib
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import InterfaceError, OperationalError

from audit.transaction import Database, DatabaseBusy, Transaction
from commerce_api.models import model_call
from offer_engine.models.records import KINDS, CallEnded, CallJudged, CallOpened, Record
from tokenization.logs import cause_of

KEPT_SECONDS: Final = 400 * 86_400  # as decisions
RETRY_SECONDS: Final = 1.0
BATCH: Final = 200
WAITING_MAXIMUM: Final = 2_000
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


@dataclass(slots=True)
class ModelCallRecorder:
    """A Recorder over the database: writes in groups, in a task of its own. ``close`` it behind the egress."""

    database: Database
    _waiting: "list[tuple[Record, asyncio.Future[None] | None]]" = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None
    _is_ending: bool = False
    _size: int = BATCH

    async def opened(self, record: CallOpened) -> None:
        """Puts it on record (1). Raises NotRecorded."""
        if self._is_ending or len(self._waiting) >= WAITING_MAXIMUM:
            raise NotRecorded
        done = asyncio.get_running_loop().create_future()
        self._add(record, done)
        await done

    def write(self, record: CallEnded | CallJudged) -> None:
        """Takes it down (2)."""
        self._add(record, None)

    async def close(self) -> None:
        """Writes what waits, and ends. What cannot be written now is lost, and said so."""
        self._is_ending = True
        self._wake.set()
        if self._task is not None:
            await self._task
        while self._waiting and await self._flush():
            pass
        if self._waiting:
            log.error("model_calls_lost", count=len(self._waiting))

    def _add(self, record: Record, done: "asyncio.Future[None] | None") -> None:
        self._waiting.append((record, done))
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._is_ending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RETRY_SECONDS if self._waiting else None)
            self._wake.clear()
            while self._waiting and await self._flush() and not self._is_ending:
                pass

    async def _flush(self) -> bool:
        """Writes a batch; False where it could not be written."""
        batch = self._waiting[: self._size]
        try:
            await self.database.maintain(lambda tx: _write(tx, [record for record, _ in batch]))
        except _FOR_NOW as failure:
            self._keep_back(batch, failure)
            return False
        except Exception as failure:  # noqa: BLE001  # one of them is not taken, now or later (2)
            self._size = 1
            if len(batch) > 1:
                return True
            self._keep_back(batch, failure)
            del self._waiting[: 1 if batch[0][1] is None else 0]
            return True
        self._size = BATCH
        del self._waiting[: len(batch)]
        for _, done in batch:
            if done is not None and not done.done():
                done.set_result(None)
        return True

    def _keep_back(self, batch: "list[tuple[Record, asyncio.Future[None] | None]]", failure: Exception) -> None:
        """What waits goes on waiting; who would open a call is told that it is not on record (1)."""
        log.error("model_calls_not_recorded", cause=cause_of(failure), count=len(batch))
        self._waiting[: len(batch)] = [(record, done) for record, done in batch if done is None]
        for _, done in batch:
            if done is not None and not done.done():
                done.set_exception(NotRecorded())


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


def _write(tx: Transaction, records: list[Record]) -> None:
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
