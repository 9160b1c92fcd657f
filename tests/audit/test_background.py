"""Background work ends with its program."""

import asyncio

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from audit.background import beside, ended
from audit.transaction import Database
from tokenization.clock import now_milliseconds

pytestmark = pytest.mark.anyio
LEAVES_IN_SECONDS = 20  # a bound for a loop that would never end, not a pace


async def loses_its_first_cancellation(heard: "list[str]") -> None:
    """A loop as those of housekeeping are, whose work fails on the way out."""
    while True:
        try:
            try:
                await asyncio.Event().wait()
            finally:
                heard.append("cancelled")
                if len(heard) == 1:
                    raise RuntimeError("the connection is gone")
        except RuntimeError:
            heard.append("failed")


async def test_a_loop_that_lost_a_cancellation_ends_at_the_next() -> None:
    heard = list[str]()
    task = asyncio.create_task(loses_its_first_cancellation(heard))
    await asyncio.sleep(0)
    await asyncio.wait_for(ended([task], again_seconds=0.01), LEAVES_IN_SECONDS)
    assert task.cancelled()
    assert heard == ["cancelled", "failed", "cancelled"]


async def test_one_cancellation_planted_in_its_place_does_not_end_it() -> None:
    heard = list[str]()
    task = asyncio.create_task(loses_its_first_cancellation(heard))
    await asyncio.sleep(0)
    task.cancel()
    _, left = await asyncio.wait([task], timeout=0.05)
    assert left == {task}
    await ended([task])


async def test_the_body_is_told_when_the_work_beside_it_fails() -> None:
    async def fails() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as raised:
        async with beside(fails(), asyncio.Event().wait()):
            await asyncio.Event().wait()
    assert raised.group_contains(LookupError)


async def test_a_vacuum_that_is_cancelled_says_so_and_nothing_else(postgres_url: str) -> None:
    database = Database.open(postgres_url, now_milliseconds)
    table = Table("kept", MetaData(), Column("id", Integer, primary_key=True))
    await database.migrate(table.create)
    in_hand, may_go = asyncio.Event(), asyncio.Event()

    async def reads() -> None:  # holds the table, so that the vacuum waits for it
        holder = Database.open(postgres_url, now_milliseconds)
        loop = asyncio.get_running_loop()
        async with holder._backend._engine.begin() as connection:  # type: ignore[union-attr]
            await connection.execute(table.select())
            loop.call_soon(in_hand.set)
            await may_go.wait()
        await holder.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reads())
        await in_hand.wait()
        vacuum = asyncio.create_task(database.vacuum(table, rewrite=True))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await database.read(lambda connection: connection.exec_driver_sql(waiting).scalar()):
            assert not vacuum.done()
        vacuum.cancel()
        await asyncio.wait([vacuum])
        may_go.set()
    assert vacuum.cancelled()
    await database.close()
