"""The zone's own chores: one that hangs or fails keeps no other one from its turn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from tests.vault_zone.callers import forward_engine
from tests.vault_zone.saving import count
from tests.vault_zone.world import ACTOR, MERCHANT, World, charge_request, usd, zone_world
from vault_zone import housekeeping
from vault_zone.housekeeping import Chore, chores_of, keep
from vault_zone.ledger.events import Captured
from vault_zone.ledger.posting import post
from vault_zone.models import ledger_entry, velocity_counter
from vault_zone.sweeping import Sweeper

pytestmark = pytest.mark.anyio
PATIENCE_SECONDS = 20  # of the test, for what takes milliseconds
Told = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "INTERVAL_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def kept(chores: Sequence[Chore], told: Told | None = None) -> AsyncIterator[None]:
    """The chores as the zone keeps them."""

    def failed(name: str, failure: Exception) -> None:
        if told is not None:
            told.append((name, type(failure).__name__))

    tasks = [asyncio.create_task(keep(chore, failed)) for chore in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # what it waits for is in the database, which sets no event
            await asyncio.sleep(0)


async def test_a_chore_that_hangs_and_one_that_fails_keep_no_other_one_waiting() -> None:
    passes: dict[str, int] = {"hangs": 0, "fails": 0, "goes on": 0}
    told: Told = []

    async def hangs() -> None:
        passes["hangs"] += 1
        await asyncio.Event().wait()

    async def fails() -> None:
        passes["fails"] += 1
        raise ConnectionError

    async def goes_on() -> None:
        passes["goes on"] += 1

    async def enough() -> bool:
        return min(passes["fails"], passes["goes on"]) >= 3

    chores = [Chore("hangs", hangs), Chore("fails", fails), Chore("goes_on", goes_on)]
    async with kept(chores, told):
        await until(enough)
    assert passes["hangs"] == 1, "one pass at a time"
    assert set(told) == {("fails", "ConnectionError")}


async def unknown_and_due(world: World) -> None:
    """A charge that the processor is to be asked about, a row past its time, and an entry that waits for its place."""
    world.processor.lose_request = world.processor.unreachable_find = True
    await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
    due = insert(velocity_counter).values(
        merchant=MERCHANT, kind="k", subject="s", window_ms=0, count=1, expires_ms=world.clock() - 1
    )
    await world.database.maintain(lambda tx: tx.execute(due))
    await world.database.maintain(lambda tx: post(tx, Captured(MERCHANT, "chg_x", "s", usd(100), "fake")))


def chores(world: World, tmp_path: Path) -> Sequence[Chore]:
    return chores_of(
        world.database,
        world.engine,
        world.modifications,
        world.lapses,
        forward_engine(world, tmp_path),
        world.codes,
        world.keys,
        Sweeper(world.database, world.codes, world.clock),
    )


async def is_kept(world: World) -> bool:
    """Whether what is past its time is gone and what was booked has its place."""
    places = await world.database.read(lambda c: list(c.execute(select(ledger_entry.c.place)).scalars()))
    return await count(world, velocity_counter) == 0 and None not in places


async def test_while_a_processor_hangs_the_sweeper_and_the_books_go_on(database_url: str, tmp_path: Path) -> None:
    async with zone_world(database_url) as world:
        await unknown_and_due(world)
        asked = asyncio.Event()

        async def hangs(*_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        world.processor.find = hangs  # type: ignore[method-assign,assignment]  # it takes the question and says nothing
        async with kept(chores(world, tmp_path)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asked.wait()
            await until(lambda: is_kept(world))


async def test_a_planted_loop_that_does_one_after_the_other_waits_with_the_processor(
    database_url: str, tmp_path: Path
) -> None:
    async with zone_world(database_url) as world:
        await unknown_and_due(world)
        asked = asyncio.Event()

        async def hangs(*_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        world.processor.find = hangs  # type: ignore[method-assign,assignment]  # as above

        async def one_after_the_other() -> None:
            for chore in chores(world, tmp_path):
                await chore.run()

        async with kept([Chore("all", one_after_the_other)]):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asked.wait()
            assert not await is_kept(world)
