"""Group commit for whole requests: while one commit is under way the next ones gather, and share the commit that follows.

A transaction's fixed cost (begin, commit, the wait for the disk) is paid once for a group, and its rows go in by one statement
a table. There is no timer: a lone item is committed at once, and a group is as large as what arrived meanwhile.

What holds for ``GroupCommit.submit``:
 1. The caller is answered only after the transaction that holds its item is durable.
 2. One group is under way at a time, so that groups of one process never conflict with each other.
 3. A group that fails is taken apart, and each item runs in a transaction of its own: its failure is its own caller's alone.
 4. A database that is busy or away is told to the whole group: taking it apart would make the database busier.
 5. A caller who goes away changes nothing: its item is committed, or not, with the others of its group.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from audit.transaction import DatabaseBusy

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GROUP_LIMIT = 64  # items in one transaction: past this the commit's cost no longer shows
WAITING_LIMIT = 4096  # items that may wait; the next is told to come back


class GroupCommit(Generic[Item, Answer]):
    """Gathers items, and gives groups of them to a function that commits one group and answers each of its items."""

    def __init__(
        self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, limit: int = GROUP_LIMIT
    ) -> None:
        """``commit`` runs one unit of work for the whole group, and answers its items in their order."""
        self._commit = commit
        self._limit = limit
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The item's answer, once its transaction is durable (1). Raises DatabaseBusy, and what the unit of work raises."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise DatabaseBusy
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._worker is None:  # (2)
            self._worker = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                await self._run_group(group)
        finally:
            self._worker = None
            for _, done in self._waiting:  # only when the worker itself was ended: nobody is left waiting for ever
                _fail(done, DatabaseBusy())
            self._waiting.clear()

    async def _run_group(self, group: list[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._commit([item for item, _ in group])
        except Exception as failure:  # noqa: BLE001  # whatever it is, the caller whose item it was gets it
            if len(group) == 1:
                _fail(group[0][1], failure)
            elif _is_of_the_database(failure):
                for _, done in group:
                    _fail(done, DatabaseBusy())  # (4)
            else:
                for one in group:
                    await self._run_group([one])  # (3)
        except BaseException:
            for _, done in group:
                done.cancel()
            raise
        else:
            for (_, done), answer in zip(group, answers, strict=True):
                if not done.done():  # (5)
                    done.set_result(answer)


def _is_of_the_database(failure: Exception) -> bool:
    """Whether the failure says nothing of an item: the database is busy, away, or broke off."""
    if isinstance(failure, IntegrityError | DataError):
        return False
    return isinstance(failure, DatabaseBusy | DBAPIError | OSError)


def _fail(done: "asyncio.Future[Answer]", failure: Exception) -> None:
    if not done.done():
        done.set_exception(failure)
