"""The database of a simulated zone: real SQL in memory, one commit at a time, and faults where the history wants them."""

import random
import sqlite3
from asyncio import sleep
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from audit.transaction import Database, DatabaseBusy, Transaction, Work

T = TypeVar("T")


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing in the code under test may catch it."""


class Disk:
    """What survives a process: one in-memory database, filled anew for each history from a template."""

    def __init__(self) -> None:
        self._engine = create_engine(  # it may be collected by another thread than its own, and closed there
            "sqlite://", poolclass=StaticPool, hide_parameters=True, connect_args={"check_same_thread": False}
        )
        self.connection = self._engine.connect()
        self._raw: sqlite3.Connection = self.connection.connection.driver_connection  # type: ignore[assignment]
        self._raw.isolation_level = None
        self._raw.execute("PRAGMA foreign_keys=ON")

    def fill(self, template: bytes) -> None:
        """Takes the content of the template."""
        self.connection.rollback()
        self._raw.deserialize(template)
        self._raw.execute("PRAGMA foreign_keys=ON")

    def image(self) -> bytes:
        """The content, as a template."""
        return self._raw.serialize()

    def write(self, work: Callable[[Connection], T], *, keep: bool = True) -> T:
        """One transaction. ``keep`` False: it was on its way to the disk when the process died."""
        self._raw.execute("BEGIN")
        try:
            result = work(self.connection)
        except BaseException:
            self._raw.execute("ROLLBACK")
            raise
        self._raw.execute("COMMIT" if keep else "ROLLBACK")
        return result

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What is on the disk, past everything that is under test."""
        found = self._raw.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def rows_changed(self, statement: str) -> None:
        """Changes what is on the disk, for a planted bug."""
        self._raw.execute(statement)

    def read(self, work: Callable[[Connection], T]) -> T:
        """One snapshot."""
        self._raw.execute("BEGIN")
        try:
            return work(self.connection)
        finally:
            self._raw.execute("ROLLBACK")


class Faults:
    """How often what goes wrong; all of it ends when the history is to come to rest."""

    def __init__(self, rng: random.Random) -> None:
        self.crash = rng.choice((0.0, 0.01, 0.03, 0.08))
        self.busy = rng.choice((0.0, 0.0, 0.02))
        self.network = rng.choice((0.0, 0.1, 0.3))
        self.lost_webhooks = rng.choice((0.0, 0.2, 1.0))

    def end(self) -> None:
        """From now on nothing goes wrong."""
        self.crash = self.busy = self.network = self.lost_webhooks = 0.0


class _Backend:
    """One process's way to the disk."""

    def __init__(
        self,
        disk: Disk,
        rng: random.Random,
        faults: Faults,
        clock: Callable[[], int],
        committed: Callable[[], None],
        die: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._rng = rng
        self._faults = faults
        self._clock = clock
        self._committed = committed
        self._die = die
        self.is_dead = False

    async def write(self, work: Work[T]) -> T:
        await self._pause()
        if self._rng.random() < self._faults.busy:
            raise DatabaseBusy
        fate = self._rng.random()
        dies = fate < self._faults.crash
        is_kept = not dies or fate < self._faults.crash / 2
        result = self._disk.write(lambda connection: work(Transaction(connection, self._clock())), keep=is_kept)
        if is_kept:
            self._committed()
        if dies:
            self._die()
            raise Crash
        await self._pause()
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        await self._pause()
        return self._disk.read(work)

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        self._disk.write(upgrade)

    async def cut_log(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing to close: the disk stays."""

    async def _pause(self) -> None:
        """Others run meanwhile. A process that died does nothing any more."""
        if self.is_dead:
            raise Crash
        await sleep(self._rng.random() * 0.01)
        if self.is_dead:
            raise Crash


class SimulatedDatabase(Database):
    """A process's database."""

    def __init__(self, backend: _Backend) -> None:
        super().__init__(backend, "sqlite://")  # type: ignore[arg-type]  # a third backend, for this alone
        self._own = backend

    @classmethod
    def of(
        cls,
        disk: Disk,
        rng: random.Random,
        faults: Faults,
        clock: Callable[[], int],
        committed: Callable[[], None],
        die: Callable[[], None],
    ) -> "SimulatedDatabase":
        """The way of one process to the disk."""
        return cls(_Backend(disk, rng, faults, clock, committed, die))

    def cut_off(self) -> None:
        """The process is dead: whatever it still tries, dies."""
        self._own.is_dead = True
