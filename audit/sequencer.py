"""Takes committed events into the tamper-evident log: one sequencer for a database, in groups.

The order of entries is decided and committed in the database before a tile is written, so a crash between any two steps is
mended by running the same steps again, and two sequencers over one database could never sign two different histories:
 1. Committed events get the next leaf indexes                     (database commit: the order is final).
 2. Entries from the log's signed size on go into bundles and tiles (files, synced).
 3. The checkpoint over the new size is signed and published        (file, synced).
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from audit.store import assign_indexes, entries_from, oldest_waiting_ms, placed_count
from audit.threads import in_thread
from audit.tiles import TileLog
from audit.transaction import Database

GROUP_LIMIT = 1_000  # entries signed together
IDLE_SECONDS = 0.05  # how long an event may wait for company before it is sequenced
MAXIMUM_LAG_MILLISECONDS = 10_000  # past this the log counts as not writable, and the zone stops charging (I5)


class SequencerRunning(RuntimeError):
    """Another process is sequencing into this log directory. Stop it, or point this one to its own data directory."""


class LogAhead(RuntimeError):
    """The log holds entries that the database does not: it was restored from an older copy. Appending would fork the log.

    Put the newest copy of the database back, or begin a new log (a new origin) beside the old one.
    """


class Sequencer:
    """The background task that keeps the log up with the database, and says whether it does."""

    def __init__(self, database: Database, log: TileLog, directory: Path, clock: Callable[[], int]) -> None:
        """Takes the log directory's lock. Raises SequencerRunning."""
        self._database = database
        self._log = log
        self._clock = clock
        self._caught_up_ms = clock()
        self._lock = os.open(directory, os.O_RDONLY)  # the directory itself: the log holds nothing but the log
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SequencerRunning from None

    def is_writable(self) -> bool:
        """Whether the log has taken everything up to a moment ago. False means: record nothing that moves money."""
        return self._clock() - self._caught_up_ms <= MAXIMUM_LAG_MILLISECONDS

    async def sequence(self) -> int:
        """Takes what is waiting into the log, at most one group; returns how many entries were signed. Raises LogAhead."""
        started_ms = self._clock()
        placed = 0
        if await self._database.read(oldest_waiting_ms) is not None:
            placed = await self._database.maintain(lambda tx: assign_indexes(tx.connection, GROUP_LIMIT))  # (1)
        fresh, known = await self._database.read(
            lambda connection: (entries_from(connection, self._log.size, GROUP_LIMIT), placed_count(connection))
        )
        if known < self._log.size:
            raise LogAhead
        if fresh:
            await in_thread(self._log.append, [row.entry for row in fresh])  # (2) (3)
        if placed < GROUP_LIMIT and len(fresh) < GROUP_LIMIT:
            self._caught_up_ms = started_ms
        return len(fresh)

    async def run(self, on_failure: Callable[[BaseException], None]) -> None:
        """Sequences until cancelled. A failure is reported and tried again; meanwhile is_writable() turns false."""
        while True:
            taken = 0
            try:
                taken = await self.sequence()
            except Exception as failure:  # noqa: BLE001  # a full disk or a lost database must not end the task that recovers from it
                on_failure(failure)
                await asyncio.sleep(1)
            if taken < GROUP_LIMIT:
                await asyncio.sleep(IDLE_SECONDS)

    async def close(self) -> None:
        """Takes the last events and lets the log directory go."""
        with contextlib.suppress(Exception):
            while await self.sequence():
                pass
        os.close(self._lock)
