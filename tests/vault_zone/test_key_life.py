"""Rotation, retirement and destruction: whatever write a process dies at, nothing is half destroyed and nothing comes back."""

import pytest

from tests.requirement import requirement
from tests.vault_zone.keyed import key_rows, opened, record_of, recorded, ring_of, stored
from tests.vault_zone.world import MERCHANT, VISA, Crash, World, charge_request, zone_world
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.provider import KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.key_life import (
    destroy_key,
    destroy_merchant,
    finish_destructions,
    list_keys,
    retire,
    rotate,
    rotate_wrapping,
)
from vault_zone.key_rows import Purpose
from vault_zone.models import card_record
from vault_zone.vault import CardGone

pytestmark = pytest.mark.anyio
OPERATOR = "operator:a"


async def refusal_of_destroying(world: World, key_id: str, merchant: str = MERCHANT) -> ZoneError | None:
    """Why a key is not destroyed, or None when it was."""
    try:
        await world.database.change(lambda tx: destroy_key(tx, key_id, merchant, OPERATOR))
    except ZoneRefusal as refused:
        return refused.kind
    return None


@requirement("3.7.4", "3.7.5")
async def test_rotation_begins_an_epoch_and_older_cards_still_open(database_url: str) -> None:
    async with zone_world(database_url) as world:
        old = await stored(world)
        fresh = await rotate(world.keys, MERCHANT, Purpose.SEALING, OPERATOR)
        new = await stored(world)
        assert [(row.state, row.epoch) for row in await key_rows(world)] == [("retired", 1), ("active", 2)]
        assert (await record_of(world, new)).key_id == fresh
        assert (await record_of(world, old)).key_id != fresh
        assert [await opened(world, token) for token in (old, new)] == [VISA, VISA]


async def test_rotation_leaves_other_purposes_and_merchants_alone(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        await stored(world, merchant="another-shop")
        before = [await key_rows(world, purpose="fingerprint"), await key_rows(world, "another-shop")]
        await rotate(world.keys, MERCHANT, Purpose.SEALING, OPERATOR)
        assert [await key_rows(world, purpose="fingerprint"), await key_rows(world, "another-shop")] == before


@requirement("3.6.1")
async def test_a_new_wrapping_key_wraps_every_data_key_anew(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        before = {row.id: bytes(row.wrapped) for row in await key_rows(world)}
        assert await rotate_wrapping(world.keys, world.database, MERCHANT, OPERATOR) == 2
        after = {row.id: bytes(row.wrapped) for row in await key_rows(world)}
        assert before.keys() == after.keys()
        assert all(before[key_id] != after[key_id] for key_id in before)
        assert await opened(world, token, keys=ring_of(world)) == VISA


async def test_a_key_retires_once_and_only_for_its_merchant(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        [key] = await key_rows(world)
        with pytest.raises(ZoneRefusal):
            await world.database.change(lambda tx: retire(tx, key.id, "another-shop", OPERATOR))
        assert await world.database.change(lambda tx: retire(tx, key.id, MERCHANT, OPERATOR))
        assert not await world.database.change(lambda tx: retire(tx, key.id, MERCHANT, OPERATOR))
        assert await recorded(world, "key.retired") == 1


@requirement("3.7.5")
async def test_a_key_is_destroyed_alone_only_when_nothing_is_under_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        [key] = await key_rows(world)
        assert await refusal_of_destroying(world, key.id) is ZoneError.KEY_IN_USE
        await rotate(world.keys, MERCHANT, Purpose.SEALING, OPERATOR)
        assert await refusal_of_destroying(world, key.id) is ZoneError.KEY_IN_USE, "a card is still under it"
        assert await refusal_of_destroying(world, key.id, "another-shop") is ZoneError.NOT_FOUND
        await world.database.maintain(lambda tx: tx.execute(card_record.delete().where(card_record.c.token == token)))
        assert await refusal_of_destroying(world, key.id) is None
        row = (await key_rows(world))[0]
        assert (row.state, bytes(row.wrapped)) == ("destroyed", b"")


@requirement("3.7.5")
async def test_a_destroyed_merchants_cards_open_nowhere_and_it_takes_no_more(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        other = await stored(world, merchant="another-shop")
        grant = await world.captured_grant()
        wrapped = {row.id: bytes(row.wrapped) for row in await key_rows(world)}
        await destroy_merchant(world.keys, world.database, MERCHANT, OPERATOR)
        world.clock.advance(-60)  # even before the moment at which the rows were made to end
        for ring in (world.keys, ring_of(world)):
            with pytest.raises(KeyDestroyed):
                await opened(world, token, keys=ring)
        with pytest.raises(KeyDestroyed):
            await stored(world)
        with pytest.raises(ZoneRefusal):
            await world.engine.charge(charge_request(grant), "service:commerce")
        assert world.processor.calls == 0
        assert await opened(world, other, merchant="another-shop") == VISA
        assert {bytes(row.wrapped) for row in await key_rows(world)} == {b""}
        for key_id, bytes_in_backup in wrapped.items():  # what a backup of the database still holds
            with pytest.raises(KeyDestroyed):
                world.keys.provider.unwrap(bytes_in_backup, KeyContext(MERCHANT, "sealing", key_id))


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", [1, 2])
async def test_a_destruction_that_died_at_any_write_is_finished_by_the_next_process(
    database_url: str, write: int, persisted: bool
) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
        with pytest.raises(Crash):
            await destroy_merchant(world.keys, world.database, MERCHANT, OPERATOR)
        world.database.crash_at = None
        begun = write > 1 or persisted
        ring = ring_of(world)
        if begun:
            with pytest.raises((KeyDestroyed, CardGone)):
                await opened(world, token, keys=ring)
        else:
            assert await opened(world, token, keys=ring) == VISA, "nothing was begun, so nothing is lost"
        assert await finish_destructions(ring, world.database) == (
            1 if begun and (write, persisted) != (2, True) else 0
        )
        assert await finish_destructions(ring, world.database) == 0
        assert {row.state for row in await key_rows(world)} == ({"destroyed"} if begun else {"active"})


async def test_a_provider_that_is_away_leaves_the_merchant_marked_and_is_asked_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)

        def away(_: str) -> None:
            raise KeyUnavailable

        with monkeypatch.context() as patched:
            patched.setattr(world.keys.provider, "destroy", away)
            with pytest.raises(KeyUnavailable):
                await destroy_merchant(world.keys, world.database, MERCHANT, OPERATOR)
        with pytest.raises(KeyDestroyed):
            await opened(world, token)
        assert await finish_destructions(world.keys, world.database) == 1


async def test_destroying_twice_and_destroying_nobody(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        for _ in range(2):
            await destroy_merchant(world.keys, world.database, MERCHANT, OPERATOR)
        with pytest.raises(ZoneRefusal) as refused:
            await destroy_merchant(world.keys, world.database, "nobody", OPERATOR)
        assert refused.value.kind is ZoneError.NOT_FOUND


async def test_the_list_shows_every_key_and_nothing_of_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        await rotate(world.keys, MERCHANT, Purpose.SEALING, OPERATOR)
        await stored(world, merchant="another-shop")
        everything = await world.database.read(list_keys)
        mine = await world.database.read(lambda c: list_keys(c, [MERCHANT]))
        assert [(info.purpose, info.epoch, info.state, info.records) for info in mine] == [
            ("fingerprint", 1, "active", 1),
            ("sealing", 1, "retired", 1),
            ("sealing", 2, "active", 0),
        ]
        assert len(everything) == len(mine) + 2
        wrapped = [bytes(row.wrapped).hex() for row in await key_rows(world)]
        assert not any(part[2:40] in repr(everything) for part in wrapped)


async def test_a_destruction_that_marks_nobody_would_be_seen(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted fault: the rows are erased, and the merchant goes on with a new key."""
    async with zone_world(database_url) as world:
        await stored(world)
        monkeypatch.setattr("vault_zone.key_life._mark_destroyed", lambda *_: None)
        monkeypatch.setattr(world.keys.provider, "destroy", lambda _: None)
        await destroy_merchant(world.keys, world.database, MERCHANT, OPERATOR)
        assert await opened(world, await stored(world)) == VISA
