"""A write-behind queue: in order, in bounds, each item once, and nobody is left waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError

from audit import write_behind
from audit.transaction import Database, DatabaseBusy
from audit.write_behind import GROUP_LIMIT, NotWritten, WriteBehind

pytestmark = pytest.mark.anyio
ITEMS = Table("late_item", MetaData(), Column("n", Integer, primary_key=True))
AWAY = ConnectionRefusedError()
LONG_SECONDS = 3_600.0  # no test waits for it
LAST = 99


class Poison(Exception):
    """What a bad item raises."""


@dataclass
class Book:
    """A sink that is let go, fails as it is told to, and keeps what it was given."""

    fails: Callable[[Sequence[int]], Exception | None] = lambda _: None
    groups: list[list[int]] = field(default_factory=list)
    failures: list[tuple[str, int]] = field(default_factory=list)
    missing: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def write(self, items: Sequence[int]) -> None:
        self.begun.set()
        self.under_way += 1
        try:
            assert self.under_way == 1, "one group at a time"
            await self.gate.wait()
            if failure := self.fails(items):
                raise failure
            self.groups.append(list(items))
        finally:
            self.under_way -= 1

    def is_passing(self, failure: Exception) -> bool:
        return isinstance(failure, OSError)

    def failed(self, failure: Exception, count: int) -> None:
        self.failures.append((type(failure).__name__, count))

    def lost(self, count: int) -> None:
        self.missing += count

    @property
    def written(self) -> list[int]:
        return [item for group in self.groups for item in group]


def queue_of(book: Any, **how: Any) -> WriteBehind[int]:
    return WriteBehind(book, **{"retry_seconds": LONG_SECONDS, **how})


def fails_so_often(times: int) -> Callable[[Sequence[int]], Exception | None]:
    """A database that is away for so many tries, and comes back."""
    left = [AWAY] * times
    return lambda _: left.pop() if left else None


async def within(work: Any) -> Any:
    async with asyncio.timeout(20):
        return await work


async def turns(count: int = 20) -> None:
    """Lets everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_while_a_group_is_written_is_the_next_in_its_order() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book)
    queue.add(0)
    await book.begun.wait()
    for item in (1, 2, 3):
        queue.add(item)
    book.gate.set()
    await within(queue.written(4))
    assert book.groups == [[0], [1, 2, 3, 4]]


@settings(max_examples=60)
@given(items=st.lists(st.booleans(), max_size=12), away=st.integers(0, 4), poison=st.sets(st.integers(0, 11)))
async def test_whatever_fails_each_item_is_written_once_in_order_or_said_not_to_be(
    items: list[bool], away: int, poison: set[int]
) -> None:
    is_away = fails_so_often(away)
    book = Book(lambda group: Poison() if poison & set(group) else is_away(group))
    queue = queue_of(book, retry_seconds=0)
    waiting = {}
    for item, is_awaited in enumerate(items):
        if is_awaited:
            waiting[item] = asyncio.create_task(queue.written(item))
            await asyncio.sleep(0)
        else:
            queue.add(item)
    answers = await within(asyncio.gather(*waiting.values(), return_exceptions=True))
    await within(queue.written(LAST))
    good = [item for item in range(len(items)) if item not in poison]
    assert book.written == [*good, LAST]
    assert [item for item, answer in zip(waiting, answers, strict=True) if answer is None] == [
        item for item in good if items[item]
    ]
    assert book.missing == sum(item in poison and not is_awaited for item, is_awaited in enumerate(items))


async def test_who_waits_is_told_after_the_write_and_who_adds_does_not_wait() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book, linger_seconds=LONG_SECONDS)
    queue.add(0)
    waiting = asyncio.create_task(queue.written(1))
    await turns()
    assert not waiting.done()
    book.gate.set()
    await within(waiting)
    assert book.groups == [[0, 1]]


async def test_what_nobody_waits_for_lingers_until_a_group_is_full() -> None:
    book = Book()
    queue = queue_of(book, linger_seconds=LONG_SECONDS)
    for item in range(GROUP_LIMIT - 1):
        queue.add(item)
    await turns()
    assert book.groups == []
    queue.add(GROUP_LIMIT - 1)
    await turns()
    assert book.groups == [list(range(GROUP_LIMIT))]


async def test_what_lingers_is_written_when_its_time_is_over() -> None:
    book = Book()
    queue = queue_of(book, linger_seconds=0.01)
    queue.add(0)
    await within(book.begun.wait())
    await within(queue.close())
    assert book.groups == [[0]]


async def test_from_the_maximum_on_the_queue_is_full_and_then_not_any_more() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book, waiting_maximum=2)
    seen = [queue.is_full]
    for item in (0, 1):
        queue.add(item)
        seen.append(queue.is_full)
    book.gate.set()
    await within(queue.written(2))
    assert [*seen, queue.is_full] == [False, False, True, False]


async def test_a_database_that_is_away_and_comes_back_loses_nothing_and_gets_nothing_twice() -> None:
    book = Book(fails_so_often(3))
    queue = queue_of(book, retry_seconds=0)
    queue.add(0)
    await within(queue.written(1))
    assert (book.groups, book.failures, book.missing) == ([[0, 1]], [("ConnectionRefusedError", 2)] * 3, 0)


async def test_a_queue_that_takes_back_tells_who_waits_at_once_and_keeps_the_rest() -> None:
    book = Book(fails_so_often(1))
    queue = queue_of(book, takes_back=True)
    queue.add(0)
    with pytest.raises(NotWritten):
        await within(queue.written(1))
    await within(queue.written(2))
    assert (book.written, book.missing) == ([0, 2], 0)


async def test_an_item_that_is_not_taken_keeps_no_other_from_being_written_and_who_waits_is_told() -> None:
    book = Book(lambda group: Poison() if {1, 3} & set(group) else None)
    queue = queue_of(book, linger_seconds=LONG_SECONDS)
    for item in (0, 1, 2):
        queue.add(item)
    with pytest.raises(NotWritten):
        await within(queue.written(3))
    await within(queue.written(4))
    assert book.written == [0, 2, 4]
    assert book.missing == 1, "of the other that was not taken, its caller was told"


async def test_who_goes_away_changes_nothing() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book)
    gone = asyncio.create_task(queue.written(0))
    stays = asyncio.create_task(queue.written(1))
    await book.begun.wait()
    gone.cancel()
    await asyncio.wait([gone])
    book.gate.set()
    await within(stays)
    assert (gone.cancelled(), book.written) == (True, [0, 1])


async def test_close_writes_what_is_left_also_where_more_than_a_group_waits() -> None:
    book = Book()
    queue = queue_of(book, linger_seconds=LONG_SECONDS)
    for item in range(2 * GROUP_LIMIT + 1):
        queue.add(item)
    await within(queue.close())
    assert (book.written, book.missing) == (list(range(2 * GROUP_LIMIT + 1)), 0)


async def test_close_waits_for_the_write_in_hand_and_does_not_make_it_twice() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book)
    queue.add(0)
    await book.begun.wait()
    closing = asyncio.create_task(queue.close())
    await turns()
    assert not closing.done()
    book.gate.set()
    await within(closing)
    assert book.groups == [[0]]


async def test_what_cannot_be_written_at_the_end_is_said_to_be_lost_and_nobody_waits_for_it() -> None:
    book = Book(lambda _: AWAY)
    queue = queue_of(book)
    queue.add(0)
    waiting = asyncio.create_task(queue.written(1))
    await turns()
    await within(queue.close())
    with pytest.raises(NotWritten):
        await within(waiting)
    assert book.missing == 1


async def test_what_comes_after_the_end_is_told_to_who_waits_and_else_to_the_sink() -> None:
    book = Book()
    queue = queue_of(book)
    await queue.close()
    with pytest.raises(NotWritten):
        await within(queue.written(0))
    queue.add(1)
    assert (book.groups, book.missing) == ([], 1)


async def test_a_task_that_is_ended_leaves_nobody_waiting_and_the_next_item_is_written() -> None:
    book = Book()
    book.gate.clear()
    queue = queue_of(book)
    waiting = asyncio.create_task(queue.written(0))
    await book.begun.wait()
    assert queue._task is not None
    queue._task.cancel()
    with pytest.raises(NotWritten):
        await within(waiting)
    book.gate.set()
    await within(queue.written(1))
    assert book.groups == [[1]]


async def test_nothing_runs_while_nothing_waits() -> None:
    queue = queue_of(Book())
    await within(queue.written(0))
    await turns()
    assert queue._task is None


# Over a real database.


class Rows:
    """A table, as a sink: it is busy for as many writes as it is told to be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.breaks = 0

    async def write(self, items: Sequence[int]) -> None:
        if self.breaks:
            self.breaks -= 1
            raise DatabaseBusy
        rows = [{"n": item} for item in items]
        await self._database.maintain(lambda tx: tx.execute(insert(ITEMS), rows))

    def is_passing(self, failure: Exception) -> bool:
        return not isinstance(failure, IntegrityError)

    def failed(self, failure: Exception, count: int) -> None:
        pass

    def lost(self, count: int) -> None:
        pass


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Either database, with one table."""
    made = Database.open(database_url, lambda: 1_795_000_000_000)
    await made.migrate(ITEMS.metadata.create_all)
    yield made
    await made.close()


async def test_of_many_who_write_at_once_each_is_stored_once_over_a_database_that_comes_back(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.breaks = 3
    queue = queue_of(rows, retry_seconds=0)
    await within(queue.written(7))
    answers = await within(asyncio.gather(*(queue.written(item) for item in range(300)), return_exceptions=True))
    await queue.close()
    assert [item for item, answer in enumerate(answers) if isinstance(answer, NotWritten)] == [7], "it was there"
    stored = await database.read(lambda c: c.execute(select(ITEMS.c.n)).scalars().all())
    assert sorted(stored) == list(range(300))


# Planted faults.


async def test_a_planted_queue_that_never_comes_apart_loses_the_others_of_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def drops_all(self: WriteBehind[int], group: Any) -> bool:
        self._drop(group)
        return True

    monkeypatch.setattr(WriteBehind, "_write_apart", drops_all)
    book = Book(lambda group: Poison() if 1 in group else None)
    queue = queue_of(book)
    for item in (0, 1, 2):
        queue.add(item)
    await within(queue.close())
    assert (book.written, book.missing) == ([], 3)


async def test_a_planted_queue_that_goes_on_waiting_at_its_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind.WriteBehind, "_drop", lambda *_: None)
    book = Book(lambda _: AWAY)
    queue = queue_of(book)
    waiting = asyncio.create_task(queue.written(0))
    await turns()
    await within(queue.close())
    assert not waiting.done()
    assert book.missing == 0
    waiting.cancel()
