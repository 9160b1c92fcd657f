"""A change of state and its audit event commit together (I5): one unit of work over SQLite or PostgreSQL.

A unit of work is a function of an open transaction. It touches nothing but that transaction, so it may be run again when
PostgreSQL reports a serialization failure, and many may share one SQLite commit.

What holds for ``Database.change``:
 1. The caller is answered only after the commit is durable (SQLite: WAL with synchronous=FULL; PostgreSQL: its default).
 2. A unit of work that writes a row and records no event is rolled back and raises Unrecorded.
 3. A unit of work that raises leaves nothing behind, and does not disturb the others in its group.
 4. Units of work behave as if run one after the other (one SQLite writer; PostgreSQL SERIALIZABLE with retry).
 5. Those that PostgreSQL would not serialize are run again one at a time, so that they do not fail each other anew and each
    comes to its end.
"""

import asyncio
import contextlib
import queue
import random
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from sqlalchemy import CursorResult, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.engine import Connection, NestedTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable

from audit.event import Event
from audit.serving_role import NotPermitted
from audit.store import EventRow, insert_events, row_of
from audit.threads import for_thread, in_thread

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
P = ParamSpec("P")

WAL_PAUSE_SECONDS = 0.05  # between tries to set the journal of a file that another process is setting up
BUSY_TIMEOUT_SECONDS = 10  # another process of the same side may hold the write lock while it syncs
CUT_TIMEOUT_SECONDS = 0.5  # writers wait for as long while the write-ahead log is cut off
GROUP_LIMIT = 64  # units of work that share one commit: past this the commit's cost no longer shows
RETRY_LIMIT = 25  # serialization failures in a row before the caller is told to come back
POOL_SIZE = 16  # connections a process holds to PostgreSQL
STATEMENT_TIMEOUT_SECONDS = 30
MIGRATION_LOCK = 7_203_114  # any constant: the advisory lock that migrating processes queue on
VACUUM_LOCK_SECONDS = (
    0.5  # a table that is to be written anew holds up who comes after it for as long while it waits its turn
)
READ = "BEGIN"
WRITER_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "recursive_triggers=ON",  # else REPLACE takes a row away past the triggers that keep it
)
_INSUFFICIENT_PRIVILEGE = "42501"
_RETRYABLE = {"40001", "40P01"}  # PostgreSQL: serialization_failure, deadlock_detected


class Unrecorded(RuntimeError):
    """A unit of work changed a row without recording an event. A defect of ours; nothing was committed."""


class DatabaseBusy(RuntimeError):
    """The database could not serialise this change in its bounds. Nothing was committed; the call may be made again."""


@dataclass
class Transaction:
    """An open transaction, the moment it counts as happening, and the record."""

    connection: Connection
    now_ms: int
    wrote: bool = field(default=False, init=False)
    recorded: bool = field(default=False, init=False)
    _events: list[EventRow] = field(default_factory=list, init=False, repr=False)

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Runs a statement in this transaction."""
        result: CursorResult[Any] = self.connection.execute(statement, parameters)
        if not result.returns_rows and result.rowcount != 0:
            self.wrote = True
        return result

    def record(self, happened: Event) -> str:
        """Has the event written with this transaction, and returns its id. Raises EventRefused."""
        self.recorded = True
        self._events.append(row_of(happened, self.now_ms))
        return str(self._events[-1]["event_id"])

    def record_all(self, happened: Sequence[Event]) -> None:
        """As record() for many events. Raises EventRefused."""
        for one in happened:
            self.record(one)

    def write_events(self) -> None:
        """Writes what was recorded, in its order, with one statement: the last thing that a unit of work does."""
        if self._events:
            insert_events(self.connection, self._events)
            self._events.clear()


class Vacuumed(StrEnum):
    """What came of taking deleted rows out of a table's file."""

    CLEARED = "cleared"
    IN_USE = "in_use"  # somebody holds the table, or still sees the rows
    NOT_PERMITTED = "not_permitted"  # the role does not own the table and lacks MAINTAIN on it


Work = Callable[[Transaction], T]


class Database:
    """One side's database. ``change`` for what must be recorded, ``maintain`` for housekeeping, ``read`` for the rest."""

    def __init__(self, backend: "_Sqlite | _Postgres", url: str) -> None:
        self._backend = backend
        self.url = url

    @classmethod
    def open(cls, url: str, clock: Callable[[], int]) -> Self:
        """Opens ``sqlite:///FILE`` or ``postgresql://…``. Raises ValueError for another scheme. Call close() at the end."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return cls(_Sqlite(Path(parsed.database), clock), url)
        if parsed.get_backend_name() == "postgresql":
            return cls(_Postgres(url, clock), url)
        raise ValueError("a database URL starts with sqlite:/// (and a file) or postgresql://")

    @property
    def is_sqlite(self) -> bool:
        """Whether statements go to SQLite, for the few that differ (full-text search)."""
        return isinstance(self._backend, _Sqlite)

    async def change(self, work: Work[T]) -> T:
        """Runs a unit of work that changes state, and commits it with its event. Raises Unrecorded, DatabaseBusy."""

        def recorded_work(transaction: Transaction) -> T:
            result = work(transaction)
            if transaction.wrote and not transaction.recorded:  # (2)
                raise Unrecorded
            transaction.write_events()
            return result

        return await self._backend.write(recorded_work)

    async def maintain(self, work: Work[T]) -> T:
        """Runs housekeeping that is no change of state in the sense of I5 (log indexes, feed rows). Raises DatabaseBusy."""

        def and_its_events(transaction: Transaction) -> T:
            result = work(transaction)
            transaction.write_events()
            return result

        return await self._backend.write(and_its_events)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs a function over one consistent snapshot; it cannot write."""
        return await self._backend.read(work)

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Runs a schema upgrade, alone among the processes of this side, and commits it. Raises NotPermitted."""
        await self._backend.migrate(upgrade)

    async def cut_log(self) -> bool:
        """Takes what was deleted out of SQLite's write-ahead log; False when a reader was in the way. Nothing on PostgreSQL."""
        return await self._backend.cut_log()

    async def vacuum(self, table: Table, *, rewrite: bool, only_if_dead: bool = False) -> Vacuumed:
        """Takes deleted rows out of a table's file on PostgreSQL; ``rewrite`` leaves no byte of them, and takes the table for
        itself meanwhile. ``only_if_dead``: where the server counts any, which it does some seconds late. Nothing on SQLite,
        which overwrites them as it deletes.
        """
        return await self._backend.vacuum(table, rewrite=rewrite, only_if_dead=only_if_dead)

    async def close(self) -> None:
        """Waits for the write in hand and lets the connections go."""
        await self._backend.close()


@dataclass
class _Job:
    work: Work[Any]
    done: Future[Any]


class _Sqlite:
    """One writer thread that groups waiting units of work into one commit, and a pool of readers."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._path = path
        self._writer_engine = _sqlite_engine(path, begin="BEGIN IMMEDIATE", pragmas=WRITER_PRAGMAS)
        self._reader_engine = _sqlite_engine(path, begin=READ, pragmas=("query_only=ON",))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        job = _Job(for_thread(work), Future())
        self._jobs.put(job)
        return await asyncio.shield(asyncio.wrap_future(job.done))

    async def read(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._reader_engine.connect() as connection, connection.begin():
                return work(connection)

        return await in_thread(run)

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        def run() -> None:
            with self._writer_engine.begin() as connection:
                upgrade(connection)

        await in_thread(run)

    async def cut_log(self) -> bool:
        def run() -> bool:
            with contextlib.closing(sqlite3.connect(self._path, timeout=CUT_TIMEOUT_SECONDS)) as connection:
                busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                return busy == 0

        return await in_thread(run)

    async def vacuum(self, table: Table, *, rewrite: bool, only_if_dead: bool) -> Vacuumed:
        return Vacuumed.CLEARED  # secure_delete

    async def close(self) -> None:
        self._jobs.put(None)
        await in_thread(self._thread.join)
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            group = [job]
            stop = False
            while len(group) < GROUP_LIMIT:
                try:
                    another = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    stop = True
                    break
                group.append(another)
            self._commit_group(group)
            if stop:
                return

    def _commit_group(self, group: list[_Job]) -> None:
        answers: list[tuple[_Job, Any]] = []
        try:
            with self._writer_engine.begin() as connection:
                if len(group) == 1:  # nobody else is disturbed: the transaction is its savepoint
                    answers.append((group[0], self._run_one(connection, group[0], connection)))
                else:
                    for job in group:
                        with contextlib.suppress(_Refused), connection.begin_nested() as savepoint:
                            answers.append((job, self._run_one(connection, job, savepoint)))
        except _Refused:
            return
        except Exception as failure:  # noqa: BLE001  # whatever broke the commit broke it for the whole group: each caller is told
            for job in group:
                if not job.done.done():
                    job.done.set_exception(_as_busy(failure))
            return
        for job, answer in answers:  # (1) only after the commit
            job.done.set_result(answer)

    def _run_one(self, connection: Connection, job: _Job, undo: "Connection | NestedTransaction") -> Any:
        try:
            return job.work(Transaction(connection, self._clock()))
        except Exception as failure:  # noqa: BLE001  # whatever it is, its own caller gets it, and the group goes on
            undo.rollback()  # (3)
            job.done.set_exception(failure)
            raise _Refused from None


class _Refused(Exception):  # a signal inside the writer, never seen by callers
    """One unit of work was rolled back; its caller has the reason."""


def _as_busy(failure: Exception) -> Exception:
    locked = isinstance(failure, DBAPIError) and "locked" in str(failure.orig)
    return DatabaseBusy() if locked else failure


def switch_to_wal(connection: Any, pause: Callable[[float], None] = time.sleep) -> None:
    """Sets the journal to WAL, which stays in the file. Raises sqlite3.OperationalError after BUSY_TIMEOUT_SECONDS.

    SQLite does not wait for others here, whatever its busy timeout: processes that open a new file together would fail.
    """
    attempts = int(BUSY_TIMEOUT_SECONDS / WAL_PAUSE_SECONDS)
    for left in reversed(range(attempts)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as failure:
            if left == 0 or "locked" not in str(failure):
                raise
            pause(WAL_PAUSE_SECONDS)
        else:
            return


def _sqlite_engine(path: Path, *, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        hide_parameters=True,  # an error's text must not hold what was to be stored
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        pool_size=POOL_SIZE,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        switch_to_wal(connection)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_as_told(connection: Connection) -> None:
        if begin == READ:  # it waits for nobody and cannot fail; a call of a tool asks for little more than this
            cast(sqlite3.Connection, connection.connection.dbapi_connection).execute(begin)
        else:
            connection.exec_driver_sql(begin)

    return engine


class _NotSerialized(Exception):  # a signal inside _Postgres, never seen by callers
    """PostgreSQL rolled the transaction back and asks for it to be run again."""


class _Postgres:
    """Serializable transactions on a pool of connections, retried while PostgreSQL asks for it."""

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine  # SQLite does without it, and starts sooner

        self._clock = clock
        self._engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            hide_parameters=True,  # as above
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"command_timeout": STATEMENT_TIMEOUT_SECONDS, "timeout": BUSY_TIMEOUT_SECONDS},
            isolation_level="SERIALIZABLE",  # (4)
        )
        self._retries = asyncio.Lock()

    async def write(self, work: Work[T]) -> T:
        try:
            return await self._attempt(work)
        except _NotSerialized:
            pass
        async with self._retries:  # (5)
            for attempt in range(RETRY_LIMIT):
                try:
                    return await self._attempt(work)
                except _NotSerialized:
                    # Other processes retry too: spread these, or the same transactions meet again. Not a secret, so the
                    # plain generator will do.
                    await asyncio.sleep(random.random() * 0.002 * min(2**attempt, 64))  # nosec B311
        raise DatabaseBusy

    async def _attempt(self, work: Work[T]) -> T:
        try:
            async with self._connection() as connection, connection.begin():
                return await connection.run_sync(lambda sync: work(Transaction(sync, self._clock())))
        except DBAPIError as failure:
            if getattr(failure.orig, "sqlstate", None) not in _RETRYABLE:
                raise
        raise _NotSerialized

    @contextlib.asynccontextmanager
    async def _connection(self) -> "AsyncIterator[AsyncConnection]":
        """A connection of the pool. Raises DatabaseBusy for a server that is not there or does not answer."""
        connection = self._engine.connect()
        try:
            await connection.start()
        except OSError:  # the driver's own, and a time that ran out: no statement was sent
            raise DatabaseBusy from None
        try:
            yield connection
        finally:
            await connection.close()

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._connection() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            return await connection.run_sync(work)

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        try:
            async with self._engine.connect() as connection:
                # Who waited for the lock must see what was made meanwhile: a serializable snapshot would be older than that.
                await connection.execution_options(isolation_level="READ COMMITTED")
                async with connection.begin():
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                    await connection.run_sync(upgrade)
        except DBAPIError as failure:
            if getattr(failure.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
                raise
            raise NotPermitted from None

    async def cut_log(self) -> bool:
        return True  # its log is the server's own, and is what backups and replicas are made of

    async def vacuum(self, table: Table, *, rewrite: bool, only_if_dead: bool) -> Vacuumed:
        name = self._engine.dialect.identifier_preparer.format_table(table)
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            if only_if_dead and not (await connection.execute(_DEAD_ROWS, {"name": name})).scalar():
                return Vacuumed.CLEARED
            if not (await connection.execute(_MAY_VACUUM, {"name": name})).scalar():  # it would warn, and succeed
                return Vacuumed.NOT_PERMITTED
            await connection.execute(text(f"SET lock_timeout = {int(VACUUM_LOCK_SECONDS * 1000)}"))
            held = False
            try:
                if rewrite:
                    await connection.execute(text(f"VACUUM (FULL) {name}"))
                await connection.execute(text(f"VACUUM {name}"))  # after FULL too, which counts no dead rows
            except (DBAPIError, TimeoutError):
                held = True
            # Not in a finally: a cancelled statement takes its connection with it, and the failure would hide the cancellation.
            await connection.execute(text("RESET lock_timeout"))
            dead = held or (await connection.execute(_DEAD_ROWS, {"name": name})).scalar()
        return Vacuumed.IN_USE if dead else Vacuumed.CLEARED

    async def close(self) -> None:
        await self._engine.dispose()


# MAINTAIN came with PostgreSQL 17; has_table_privilege() does not know the word before.
_MAY_VACUUM = text(
    "SELECT CASE WHEN pg_has_role(current_user, relowner, 'USAGE') THEN true "
    "WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(oid, 'MAINTAIN') ELSE false END "
    "FROM pg_class WHERE oid = to_regclass(:name)"
)
_DEAD_ROWS = text("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = to_regclass(:name)")
