"""Re-keying while the zone goes on: no reader fails, no card is lost, and a run that died goes on where it was."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from tests.requirement import requirement
from tests.vault_zone.keyed import key_rows, opened, record_of, recorded, ring_of, stored
from tests.vault_zone.world import AMEX, MERCHANT, VISA, Crash, World, zone_world
from tokenization.ids import new_id
from vault_zone import rekeying
from vault_zone.card import Pan
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.fingerprint import fingerprint_of
from vault_zone.hazmat.seal import PLAIN, seal
from vault_zone.key_life import destroy_key, rotate
from vault_zone.key_rows import Purpose
from vault_zone.models import card_record
from vault_zone.rekeying import Rekeyer, Rekeying, RekeyingState
from vault_zone.vault import bound_to, unsealed

pytestmark = pytest.mark.anyio
OPERATOR = "operator:a"


async def begun(world: World) -> Rekeying:
    """A run of re-keying, after a rotation."""
    await rotate(world.keys, MERCHANT, Purpose.FINGERPRINT, OPERATOR)  # and with it the sealing key
    return await world.database.change(lambda tx: rekeying.start(tx, MERCHANT, OPERATOR))


async def finished(world: World, run: Rekeying) -> Rekeying:
    """The run after it came to its end."""
    worker = Rekeyer(world.database, ring_of(world))
    for _ in range(100):
        await worker.advance()
        now = await world.database.read(lambda c: rekeying.find(c, run.id, MERCHANT))
        if now.state is RekeyingState.FINISHED:
            return now
    raise AssertionError("the run does not end")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three cards, so that a few cards make several."""
    monkeypatch.setattr(rekeying, "BATCH_CARDS", 3)


@requirement("3.7.4", "3.7.5")
@pytest.mark.usefixtures("small_batches")
async def test_every_card_ends_under_the_active_keys_and_the_old_one_can_be_destroyed(database_url: str) -> None:
    async with zone_world(database_url) as world:
        tokens = [await stored(world, number) for number in (VISA, AMEX) * 4]
        elsewhere = await stored(world, merchant="another-shop")
        before = await record_of(world, elsewhere)
        run = await begun(world)
        assert run.total == 8
        after = await finished(world, run)
        assert (after.done, after.total) == (8, 8)
        old, active = await key_rows(world)
        records = [await record_of(world, token) for token in tokens]
        assert {record.key_id for record in records} == {active.id}
        assert [await opened(world, token) for token in tokens] == [VISA, AMEX] * 4
        assert {records[0].fingerprint} == {(await fingerprint_of(world.keys, MERCHANT, Pan.parse(VISA))).digest}
        assert len({record.fingerprint for record in records}) == 2
        assert await record_of(world, elsewhere) == before
        await world.database.change(lambda tx: destroy_key(tx, old.id, MERCHANT, OPERATOR))
        assert [await opened(world, token, keys=ring_of(world)) for token in tokens] == [VISA, AMEX] * 4
        assert await recorded(world, "rekeying.finished") == 1


async def test_a_row_keeps_its_format_until_it_is_sealed_anew(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        record = await record_of(world, token)
        key = await world.keys.read(lambda c: world.keys.opening_key(c, record.key_id, MERCHANT))
        content = unsealed(key, record)
        in_old_format = seal(key, content, bound_to(token, MERCHANT, record.key_id, PLAIN), PLAIN)
        await world.database.maintain(
            lambda tx: tx.execute(update(card_record).values(format=PLAIN, sealed=in_old_format))
        )
        assert await opened(world, token) == VISA
        await finished(world, await begun(world))
        assert (await record_of(world, token)).format == 2
        assert await opened(world, token) == VISA


@pytest.mark.usefixtures("small_batches")
async def test_readers_meet_no_row_that_does_not_open_while_a_run_goes_on(database_url: str) -> None:
    async with zone_world(database_url) as world:
        tokens = [await stored(world) for _ in range(12)]
        run = await begun(world)
        ended = asyncio.Event()
        reads = 0

        async def read_on() -> None:
            nonlocal reads
            while not ended.is_set():
                for token in tokens:
                    assert await opened(world, token) == VISA
                    reads += 1

        readers = [asyncio.create_task(read_on()) for _ in range(3)]
        await finished(world, run)
        ended.set()
        await asyncio.gather(*readers)
        assert reads >= 12


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", range(1, 6))
async def test_a_run_that_died_at_any_write_goes_on_and_no_card_is_lost(
    database_url: str, write: int, persisted: bool
) -> None:
    async with zone_world(database_url) as world:
        tokens = [await stored(world) for _ in range(8)]
        run = await begun(world)
        await opened(world, tokens[0])  # old and new keys are in memory, so that each change below is a batch
        for purpose in (Purpose.SEALING, Purpose.FINGERPRINT):
            await world.keys.ready(MERCHANT, purpose)
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
        worker = Rekeyer(world.database, world.keys)
        died = False
        for _ in range(6):
            try:
                await worker.advance()
            except Crash:
                died = True
                break
        world.database.crash_at = None
        assert died or write > 4  # three batches and the one that finds nothing left
        assert [await opened(world, token, keys=ring_of(world)) for token in tokens] == [VISA] * 8
        after = await finished(world, run)
        assert after.done == 8, "each card is counted once, though the process died"
        assert {(await record_of(world, token)).key_id for token in tokens} == {(await key_rows(world))[-1].id}


@pytest.mark.usefixtures("small_batches")
async def test_two_processes_at_one_run_lose_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        tokens = [await stored(world) for _ in range(9)]
        run = await begun(world)
        workers = [Rekeyer(world.database, ring_of(world)) for _ in range(2)]

        async def work(worker: Rekeyer) -> None:
            for _ in range(8):
                with contextlib.suppress(ZoneRefusal):  # the other one was first; it looks again
                    await worker.advance()

        await asyncio.gather(*(work(worker) for worker in workers))
        await finished(world, run)
        assert [await opened(world, token, keys=ring_of(world)) for token in tokens] == [VISA] * 9


@pytest.mark.usefixtures("small_batches")
async def test_an_altered_row_does_not_stop_the_others_and_is_counted(database_url: str) -> None:
    async with zone_world(database_url) as world:
        tokens = sorted([await stored(world) for _ in range(7)])
        for token in tokens[:4]:
            sealed = bytearray(bytes((await record_of(world, token)).sealed))
            sealed[-1] ^= 1
            await world.database.maintain(
                lambda tx, token=token, sealed=sealed: tx.execute(  # type: ignore[misc]
                    update(card_record).where(card_record.c.token == token).values(sealed=bytes(sealed))
                )
            )
        after = await finished(world, await begun(world))
        assert after.done == 3
        assert [await opened(world, token) for token in tokens[4:]] == [VISA] * 3
        assert len({(await record_of(world, token)).key_id for token in tokens}) == 2


async def test_a_second_start_gives_the_run_that_is_under_way(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        run = await begun(world)
        again = await world.database.change(lambda tx: rekeying.start(tx, MERCHANT, OPERATOR))
        assert again.id == run.id
        with pytest.raises(ZoneRefusal) as refused:
            await world.database.read(lambda c: rekeying.find(c, run.id, "another-shop"))
        assert refused.value.kind is ZoneError.NOT_FOUND


async def test_batches_are_spaced_so_that_the_rate_is_bounded(database_url: str) -> None:
    async with zone_world(database_url) as world:
        for _ in range(2):
            await stored(world)
        await begun(world)
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                raise asyncio.CancelledError

        worker = Rekeyer(world.database, world.keys, cards_per_second=100, sleep=sleep)
        with pytest.raises(asyncio.CancelledError):
            await worker.run(lambda failure: pytest.fail(repr(failure)))
        assert pauses == [0.5, 1.0, 1.0], "fifty cards at a hundred a second, then nothing to do"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["store", "rotate", "start", "advance", "restart"]), max_size=14))
async def test_in_any_order_of_steps_every_card_opens(tmp_path: Path, steps: list[str]) -> None:
    async with zone_world(f"sqlite:///{tmp_path / new_id('db')}.sqlite3") as world:
        ring = ring_of(world)
        worker, tokens = Rekeyer(world.database, ring), [await stored(world, keys=ring)]
        for step in steps:
            if step == "store":
                tokens.append(await stored(world, keys=ring))
            elif step == "rotate":
                await rotate(ring, MERCHANT, Purpose.SEALING, OPERATOR)
            elif step == "start":
                await world.database.change(lambda tx: rekeying.start(tx, MERCHANT, OPERATOR))
            elif step == "advance":
                await worker.advance()
            else:
                ring = ring_of(world)
                worker = Rekeyer(world.database, ring)
            assert [await opened(world, token, keys=ring) for token in tokens] == [VISA] * len(tokens)
