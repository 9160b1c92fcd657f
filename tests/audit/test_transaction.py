"""A change and its event commit together; many share a commit and do not disturb each other. On both databases."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from audit.event import Event, EventRefused, EventType
from audit.store import audit_event, metadata
from audit.transaction import (
    BUSY_TIMEOUT_SECONDS,
    Database,
    DatabaseBusy,
    Transaction,
    Unrecorded,
    switch_to_wal,
)
from commerce_api.migrations import upgrade

pytestmark = pytest.mark.anyio
TABLES = MetaData()
counter = Table("counter", TABLES, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
EVENT = Event(type=EventType.LOG_STARTED, outcome="success", actor="service:test", origin="test", resource="log:test")


class _NotSerialized(Exception):
    """What asyncpg raises for it, as far as it is looked at."""

    sqlstate = "40001"


async def opened(url: str) -> Database:
    database = Database.open(url, lambda: 1_795_000_000_000)
    await database.migrate(metadata.create_all)
    await database.migrate(TABLES.create_all)
    await database.maintain(lambda tx: tx.execute(insert(counter).values(id=1, value=0)))
    return database


async def value_of(database: Database) -> int:
    return await database.read(lambda c: c.execute(select(counter.c.value).where(counter.c.id == 1)).scalar_one())


async def events(database: Database) -> int:
    return len(await database.read(lambda c: c.execute(select(audit_event.c.id)).all()))


def add_one(tx: Transaction) -> int:
    value: int = tx.execute(select(counter.c.value).where(counter.c.id == 1)).scalar_one() + 1
    tx.execute(update(counter).where(counter.c.id == 1).values(value=value))
    tx.record(EVENT)
    return value


async def test_concurrent_changes_behave_as_one_after_the_other(database_url: str) -> None:
    database = await opened(database_url)
    values = await asyncio.gather(*(database.change(add_one) for _ in range(40)))
    assert sorted(values) == list(range(1, 41)), "a lost update"
    assert (await value_of(database), await events(database)) == (40, 40)
    await database.close()


async def test_those_that_were_not_serialized_are_run_again_one_at_a_time_and_each_ends(postgres_url: str) -> None:
    database = await opened(postgres_url)
    tried: set[int] = set()
    running: set[int] = set()
    met: list[set[int]] = []

    def work(number: int, tx: Transaction) -> int:
        if number not in tried:
            tried.add(number)
            raise DBAPIError("update", {}, _NotSerialized())
        met.append(set(running))
        running.add(number)
        tx.connection.execute(text("SELECT pg_sleep(0.001)"))  # the loop goes on meanwhile, and so would another one
        running.discard(number)
        return number

    done = await asyncio.gather(*(database.maintain(partial(work, number)) for number in range(12)))
    assert done == list(range(12))
    assert met == [set()] * 12
    await database.close()


async def test_a_server_that_is_not_there_says_that_nothing_was_done() -> None:
    database = Database.open("postgresql://nobody@127.0.0.1:9/nothing", lambda: 0)
    with pytest.raises(DatabaseBusy):
        await database.change(add_one)
    with pytest.raises(DatabaseBusy):
        await database.read(lambda connection: None)
    await database.close()


async def test_a_change_without_an_event_is_undone(database_url: str) -> None:
    database = await opened(database_url)

    def silent(tx: Transaction) -> None:
        tx.execute(update(counter).where(counter.c.id == 1).values(value=7))

    with pytest.raises(Unrecorded):
        await database.change(silent)
    assert await value_of(database) == 0
    await database.close()


async def test_an_event_that_is_refused_takes_its_change_with_it(database_url: str) -> None:
    database = await opened(database_url)

    def leaking(tx: Transaction) -> None:
        tx.execute(update(counter).where(counter.c.id == 1).values(value=7))
        tx.record(
            Event(
                type=EventType.LOG_STARTED,
                outcome="success",
                actor="service:test",
                origin="test",
                resource="4242424242424242",
            )
        )

    with pytest.raises(EventRefused):
        await database.change(leaking)
    assert (await value_of(database), await events(database)) == (0, 0)
    await database.close()


async def test_one_that_fails_in_a_group_fails_alone(database_url: str) -> None:
    database = await opened(database_url)

    def failing(tx: Transaction) -> None:
        add_one(tx)
        raise LookupError

    calls = [database.change(failing if number % 3 == 0 else add_one) for number in range(30)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, LookupError) for answer in answers) == 10
    assert (await value_of(database), await events(database)) == (20, 20)
    await database.close()


async def test_one_that_fails_by_itself_leaves_nothing_and_the_next_goes_on(database_url: str) -> None:
    database = await opened(database_url)

    def failing(tx: Transaction) -> None:
        add_one(tx)
        raise LookupError

    for attempt in range(3):
        with pytest.raises(LookupError):
            await database.change(failing)
        assert (await value_of(database), await events(database)) == (attempt, attempt)
        await database.change(add_one)
    await database.close()


async def test_work_that_runs_out_of_an_iterator_fails_and_hangs_nobody(database_url: str) -> None:
    database = await opened(database_url)

    def runs_out(_: object) -> None:
        next(iter(()))

    def changes_and_runs_out(tx: Transaction) -> None:
        add_one(tx)
        next(iter(()))

    for call in (
        partial(database.read, runs_out),
        partial(database.change, changes_and_runs_out),
        partial(database.maintain, changes_and_runs_out),
        partial(database.migrate, runs_out),
    ):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(call(), 20)
    together = [database.change(changes_and_runs_out if number % 3 == 0 else add_one) for number in range(9)]
    answers = await asyncio.wait_for(asyncio.gather(*together, return_exceptions=True), 20)
    assert sum(isinstance(answer, RuntimeError) for answer in answers) == 3
    assert (await value_of(database), await events(database)) == (6, 6)
    await database.close()


async def test_a_reader_cannot_write(database_url: str) -> None:
    database = await opened(database_url)
    with pytest.raises(Exception, match=r"readonly|read-only"):
        await database.read(lambda c: c.execute(update(counter).values(value=9)))
    assert await value_of(database) == 0
    await database.close()


async def test_what_was_answered_is_there_for_another_process(database_url: str) -> None:
    database, other = await opened(database_url), Database.open(database_url, lambda: 0)
    await asyncio.gather(*(database.change(add_one) for _ in range(5)), *(other.change(add_one) for _ in range(5)))
    assert await value_of(other) == await value_of(database) == 10
    await database.close()
    await other.close()


async def test_processes_that_start_together_migrate_one_after_the_other(database_url: str) -> None:
    databases = [Database.open(database_url, lambda: 0) for _ in range(4)]
    await asyncio.gather(*(database.migrate(upgrade) for database in databases))
    for database in databases:
        await database.close()


def test_a_file_that_another_process_is_setting_up_is_waited_for(tmp_path: Path) -> None:
    path, pauses = tmp_path / "new.sqlite3", list[float]()
    first, second = (sqlite3.connect(path, isolation_level=None, timeout=0) for _ in range(2))
    first.execute("BEGIN EXCLUSIVE")

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            first.execute("COMMIT")

    switch_to_wal(second, pause)
    assert len(pauses) == 3
    assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    first.close()
    second.close()


def test_a_file_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    path, pauses = tmp_path / "new.sqlite3", list[float]()
    first, second = (sqlite3.connect(path, isolation_level=None, timeout=0) for _ in range(2))
    first.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        switch_to_wal(second, pauses.append)
    assert 0 < sum(pauses) <= BUSY_TIMEOUT_SECONDS
    first.close()
    second.close()
