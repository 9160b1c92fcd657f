"""A write-behind queue: items are taken down at once, and written in groups by a task beside those who bring them.

What holds for ``WriteBehind``:
 1. Items are written in the order in which they came, one group at a time. An item leaves the queue once its group is
    durable: none is lost while the process lives, and none that is known to be written is written again.
 2. Who waits for an item is told when it is durable, or that it will not be. Who goes away changes nothing: the item is
    written with its group.
 3. While the database is busy or away, what waits stays, and is tried again every ``retry_seconds``. With ``takes_back``, an
    item that somebody waits for is taken back when a try fails, and who waits is told.
 4. A group that fails otherwise is taken apart, and each item is written alone: one that is not taken keeps no other from
    being written.
 5. ``is_full`` from ``waiting_maximum`` items on: who is about to bring more looks at it first.
 6. ``close`` writes what waits. What cannot be written then, or is brought later, is said to be lost.

Where a write was durable and its answer was lost, it is made again: a sink knows what it has, or may have it twice.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)

GROUP_LIMIT = 200  # items in one transaction
WAITING_MAXIMUM = 2_000


class NotWritten(RuntimeError):
    """An item could not be written, and will not be tried again."""


class Sink(Protocol[Item_contra]):
    """Where items go. Nothing but ``write`` may raise."""

    async def write(self, items: Sequence[Item_contra]) -> None:
        """Writes all of them durably, or none."""

    def is_passing(self, failure: Exception) -> bool:
        """Whether a write that failed so may succeed later: the database is busy or away."""

    def failed(self, failure: Exception, count: int) -> None:
        """Is told of each write that failed, and of how many items."""

    def lost(self, count: int) -> None:
        """Is told of items that are never written and that nobody waits for."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item]):
    item: Item
    done: "asyncio.Future[None] | None"  # of who waits for it

    def tell(self, failure: NotWritten | None) -> bool:
        """Tells who waits how it ended; False where nobody does."""
        if self.done is None or self.done.done():
            return False
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)
        return True


class WriteBehind(Generic[Item]):
    """Takes items down, and writes them to a sink in groups. ``close`` it ahead of the database."""

    def __init__(
        self,
        sink: Sink[Item],
        *,
        retry_seconds: float,
        linger_seconds: float = 0,
        takes_back: bool = False,
        waiting_maximum: int = WAITING_MAXIMUM,
    ) -> None:
        """``linger_seconds``: how long an item that nobody waits for may stay, so that others join its group."""
        self._sink = sink
        self._retry_seconds = retry_seconds
        self._linger_seconds = linger_seconds
        self._takes_back = takes_back
        self._waiting_maximum = waiting_maximum
        self._waiting: list[_Entry[Item]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may (5)."""
        return len(self._waiting) >= self._waiting_maximum

    def add(self, item: Item) -> None:
        """Takes an item down, to be written within ``linger_seconds`` (1)."""
        self._take(item, None)
        if len(self._waiting) >= GROUP_LIMIT:
            self._wake.set()

    async def written(self, item: Item) -> None:
        """Takes an item down, and returns when it is durable (2). Raises NotWritten."""
        done = asyncio.get_running_loop().create_future()
        self._take(item, done)
        self._wake.set()
        await done

    async def close(self) -> None:
        """Writes what waits, and ends (6). It waits for the write in hand, which would be in doubt if it were cut off."""
        self._is_closed = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        while self._waiting and await self._write(self._waiting[:GROUP_LIMIT]):
            pass
        self._drop(self._waiting)

    def _take(self, item: Item, done: "asyncio.Future[None] | None") -> None:
        self._waiting.append(_Entry(item, done))
        if self._is_closed:
            self._drop(self._waiting)
        elif self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._pause(self._linger_seconds)
            while self._waiting and not self._is_closed:
                if not await self._write(self._waiting[:GROUP_LIMIT]):
                    await self._pause(self._retry_seconds)
        except BaseException:  # the task itself was ended: nobody is left waiting for ever
            self._drop(self._waiting)
            raise
        finally:
            self._task = None

    async def _pause(self, seconds: float) -> None:
        """Until the time is over or somebody waits. Not by ``wait_for``, in which a cancellation may be lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _write(self, group: "Sequence[_Entry[Item]]") -> bool:
        """Writes what is first in the queue. False where the database is busy or away."""
        try:
            await self._sink.write([entry.item for entry in group])
        except Exception as failure:  # noqa: BLE001  # whatever it is, the sink is told, and who waits gets an answer
            self._sink.failed(failure, len(group))
            if not self._sink.is_passing(failure):
                return await self._write_apart(group)
            if self._takes_back:  # (3)
                self._drop([entry for entry in group if entry.done is not None])
            return False
        del self._waiting[: len(group)]  # (1)
        for entry in group:
            entry.tell(None)
        return True

    async def _write_apart(self, group: "Sequence[_Entry[Item]]") -> bool:
        """(4) Returns as _write() does."""
        if len(group) == 1:
            self._drop(group)
            return True
        for entry in group:
            if not await self._write([entry]):
                return False
        return True

    def _drop(self, entries: "Sequence[_Entry[Item]]") -> None:
        """Lets items go unwritten: who waits is told (2), and of those that nobody waits for the sink."""
        gone = set(entries)
        self._waiting = [entry for entry in self._waiting if entry not in gone]
        if unheard := sum(not entry.tell(NotWritten()) for entry in entries):
            self._sink.lost(unheard)
