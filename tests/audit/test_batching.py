"""Group commit alone: one commit at a time, each caller its own answer, and nobody's fault is another's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from audit import batching
from audit.batching import GroupCommit
from audit.transaction import Database, DatabaseBusy

pytestmark = pytest.mark.anyio
ITEMS = Table("batched_item", MetaData(), Column("n", Integer, primary_key=True))


class Poison(Exception):
    """What a bad item raises."""


class Ended(BaseException):
    """The process ends here."""


class Commits:
    """A unit of work that waits to be let go, and keeps what it was given."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.fails: Callable[[list[int]], BaseException | None] = lambda _: None

    async def commit(self, items: Sequence[int]) -> list[int]:
        """Answers each item with itself and a hundred more."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.begun.set()
        try:
            await self.gate.wait()
            if failure := self.fails(list(items)):
                raise failure
            self.groups.append(list(items))
            return [item + 100 for item in items]
        finally:
            self.under_way -= 1


async def outcomes(tasks: Sequence["asyncio.Task[int]"]) -> list[Any]:
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def started(commits: Commits, group: GroupCommit[int, int], others: Sequence[int]) -> list["asyncio.Task[int]"]:
    """Tasks for a first item whose commit is under way, and for those that wait behind it, in their order."""
    first = asyncio.create_task(group.submit(0))
    await commits.begun.wait()
    rest = [asyncio.create_task(group.submit(item)) for item in others]
    await asyncio.sleep(0)
    assert len(group._waiting) == len(others)
    return [first, *rest]


async def test_a_lone_item_is_committed_at_once_and_what_came_meanwhile_shares_the_next() -> None:
    commits = Commits()
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    assert not any(task.done() for task in tasks), "nobody is answered before the commit"
    commits.gate.set()
    assert await outcomes(tasks) == [100, 101, 102, 103]
    assert commits.groups == [[0], [1, 2, 3]]
    assert commits.most_under_way == 1


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 40), limit=st.integers(1, 9), bad=st.sets(st.integers(0, 40), max_size=5))
def test_whatever_arrives_each_item_is_committed_once_or_fails_alone(count: int, limit: int, bad: set[int]) -> None:
    async def play() -> None:
        commits = Commits()
        commits.fails = lambda items: Poison() if bad & set(items) else None
        group = GroupCommit(commits.commit, limit=limit)
        tasks = await started(commits, group, range(1, count + 1))
        commits.gate.set()
        answers = await outcomes(tasks)
        for item, answer in enumerate(answers):
            assert isinstance(answer, Poison) if item in bad else answer == item + 100
        flat = [item for items in commits.groups for item in items]
        assert flat == [item for item in range(count + 1) if item not in bad], "in their order, each once"
        assert all(len(items) <= limit for items in commits.groups)
        assert commits.most_under_way == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    "failure",
    [DatabaseBusy(), OperationalError("select", {}, Exception("locked")), OSError("disk")],
    ids=["busy", "operational", "os"],
)
async def test_a_database_that_is_away_is_told_to_the_whole_group_and_the_group_is_not_taken_apart(
    failure: Exception,
) -> None:
    commits = Commits()
    tried: list[list[int]] = []

    def fails(items: list[int]) -> BaseException | None:
        tried.append(items)
        return failure if len(items) > 1 else None

    commits.fails = fails
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    commits.gate.set()
    first, *rest = await outcomes(tasks)
    assert first == 100
    assert [type(answer) for answer in rest] == [DatabaseBusy] * 3
    assert tried == [[0], [1, 2, 3]], "it was asked once"
    assert await group.submit(1) == 101, "and a caller who comes again is served"


async def test_a_lone_item_gets_the_failure_itself() -> None:
    commits = Commits()
    commits.gate.set()
    commits.fails = lambda _: OSError("disk")
    with pytest.raises(OSError, match="disk"):
        await GroupCommit(commits.commit).submit(1)


async def test_a_row_that_breaks_a_rule_of_the_database_is_its_own_caller_s_alone() -> None:
    commits = Commits()
    commits.fails = lambda items: IntegrityError("insert", {}, Exception("unique")) if 2 in items else None
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    commits.gate.set()
    zero, one, two, three = await outcomes(tasks)
    assert (zero, one, three) == (100, 101, 103)
    assert isinstance(two, IntegrityError)


@pytest.mark.parametrize("leaves", [0, 1, 2, 3])
async def test_a_caller_who_leaves_takes_nobody_s_answer_and_its_item_is_still_committed(leaves: int) -> None:
    commits = Commits()
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    tasks[leaves].cancel()
    await asyncio.sleep(0)
    commits.gate.set()
    answers = await outcomes(tasks)
    assert isinstance(answers.pop(leaves), asyncio.CancelledError)
    assert answers == [item + 100 for item in range(4) if item != leaves]
    assert commits.groups == [[0], [1, 2, 3]], "it may have been acted on elsewhere, so it is not taken back"


async def test_when_all_leave_the_next_is_still_served() -> None:
    commits = Commits()
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2])
    for task in tasks:
        task.cancel()
    commits.gate.set()
    await outcomes(tasks)
    assert await group.submit(7) == 107


async def test_a_poison_item_whose_caller_left_fails_nobody() -> None:
    commits = Commits()
    commits.fails = lambda items: Poison() if 2 in items else None
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    tasks[2].cancel()
    await asyncio.sleep(0)
    commits.gate.set()
    answers = await outcomes(tasks)
    assert [answers[n] for n in (0, 1, 3)] == [100, 101, 103]


async def test_over_the_waiting_limit_the_next_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WAITING_LIMIT", 2)
    commits = Commits()
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2])
    with pytest.raises(DatabaseBusy):
        await group.submit(3)
    commits.gate.set()
    assert await outcomes(tasks) == [100, 101, 102]
    assert await group.submit(3) == 103


async def test_a_worker_that_is_ended_leaves_nobody_waiting() -> None:
    commits = Commits()
    group = GroupCommit(commits.commit, limit=2)
    tasks = await started(commits, group, [1, 2, 3])
    assert group._worker is not None
    group._worker.cancel()
    answers = await asyncio.wait_for(outcomes(tasks), 10)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [type(answer) for answer in answers[1:]] == [DatabaseBusy] * 3
    commits.gate.set()
    assert await group.submit(5) == 105


# Over a real database.


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Either database, with one table."""
    made = Database.open(database_url, lambda: 1_795_000_000_000)
    await made.migrate(ITEMS.metadata.create_all)
    yield made
    await made.close()


def inserting(database: Database) -> Callable[[Sequence[int]], Awaitable[list[int]]]:
    """Inserts the group by one statement."""

    async def commit(items: Sequence[int]) -> list[int]:
        rows = [{"n": item} for item in items]
        await database.maintain(lambda tx: tx.execute(insert(ITEMS), rows))
        return list(items)

    return commit


async def stored(database: Database) -> list[int]:
    return sorted(await database.read(lambda c: c.execute(select(ITEMS.c.n)).scalars().all()))


async def test_of_a_group_with_a_row_that_is_there_already_the_others_are_stored(database: Database) -> None:
    group = GroupCommit(inserting(database))
    await group.submit(5)
    answers = await outcomes([asyncio.create_task(group.submit(item)) for item in range(10)])
    assert [n for n, answer in enumerate(answers) if isinstance(answer, IntegrityError)] == [5]
    assert await stored(database) == list(range(10))


@pytest.mark.parametrize("persisted", [False, True])
async def test_dying_at_a_group_s_commit_stores_all_of_it_or_nothing_and_answers_nobody(
    database: Database, persisted: bool
) -> None:
    write = inserting(database)

    async def dying(items: Sequence[int]) -> list[int]:
        if len(items) > 1:
            if persisted:
                await write(items)
            raise Ended
        return await write(items)

    group = GroupCommit(dying)
    tasks = [asyncio.create_task(group.submit(item)) for item in range(4)]
    answers = await outcomes(tasks)
    worker_ended = [answer for answer in answers if isinstance(answer, asyncio.CancelledError)]
    assert len(worker_ended) == 4
    assert await stored(database) == (list(range(4)) if persisted else [])


# Planted faults.


async def test_a_planted_group_that_does_not_come_apart_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_is_of_the_database", lambda _: True)
    commits = Commits()
    commits.fails = lambda items: Poison() if 2 in items else None
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    commits.gate.set()
    assert [type(answer) for answer in (await outcomes(tasks))[1:]] == [DatabaseBusy] * 3


async def test_a_planted_group_that_comes_apart_for_a_busy_database_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_is_of_the_database", lambda _: False)
    commits = Commits()
    tried: list[list[int]] = []

    def fails(items: list[int]) -> BaseException | None:
        tried.append(items)
        return DatabaseBusy() if len(items) > 1 else None

    commits.fails = fails
    group = GroupCommit(commits.commit)
    tasks = await started(commits, group, [1, 2, 3])
    commits.gate.set()
    await outcomes(tasks)
    assert len(tried) == 5
