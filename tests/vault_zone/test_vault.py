"""A sealed card opens only where it belongs: this token, this merchant, this key, untouched. On both databases."""

import pytest
from sqlalchemy import select, update

from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.world import AMEX, MERCHANT, World, a_card, zone_world
from vault_zone.capture import know_merchant
from vault_zone.card import Exposure
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.hazmat.seal import SealBroken
from vault_zone.keyring import KeyRing
from vault_zone.models import card_record
from vault_zone.vault import CardGone, open_card, store_card

pytestmark = pytest.mark.anyio


def another_ring(world: World) -> KeyRing:
    """The keys of another root over the same database."""
    return KeyRing(LocalKeys.in_memory(), world.database, world.clock)


async def stored(world: World, number: str = "4242424242424242", merchant: str = MERCHANT) -> str:
    await world.database.maintain(lambda tx: know_merchant(tx, merchant, merchant))

    def work(tx: Transaction) -> str:
        return store_card(
            tx, world.keys, merchant=merchant, card=a_card(number), expires_ms=tx.now_ms + 60_000, actor="shopper"
        )

    return await world.keys.change(work)


async def opened(world: World, token: str, merchant: str = MERCHANT, keys: KeyRing | None = None) -> str:
    ring = keys or world.keys
    card = await ring.read(lambda c: open_card(c, ring, token=token, merchant=merchant, now_ms=world.clock.now_ms))
    return card.pan.expose(Exposure.PROCESSOR)


async def alter(world: World, token: str, **values: object) -> None:
    await world.database.maintain(
        lambda tx: tx.execute(update(card_record).where(card_record.c.token == token).values(**values))
    )


async def sealed_bytes(world: World, token: str) -> bytes:
    return await world.database.read(
        lambda c: bytes(c.execute(select(card_record.c.sealed).where(card_record.c.token == token)).scalar_one())
    )


@requirement("3.5.1")
async def test_a_card_opens_under_its_own_token_alone(database_url: str) -> None:
    async with zone_world(database_url) as world:
        visa, amex = await stored(world), await stored(world, AMEX)
        assert await opened(world, visa) == "4242424242424242"
        assert await opened(world, amex) == AMEX
        await alter(world, visa, sealed=await sealed_bytes(world, amex))
        with pytest.raises(SealBroken):
            await opened(world, visa)


async def test_a_card_does_not_open_for_another_merchant(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        await stored(world, merchant="another-shop")
        with pytest.raises(CardGone):
            await opened(world, token, "another-shop")
        await alter(world, token, merchant="another-shop")
        with pytest.raises((SealBroken, KeyUnavailable)):
            await opened(world, token, "another-shop")


async def test_any_altered_byte_keeps_a_card_shut(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        sealed = await sealed_bytes(world, token)
        for place in range(len(sealed)):
            broken = bytearray(sealed)
            broken[place] ^= 1
            await alter(world, token, sealed=bytes(broken))
            with pytest.raises(SealBroken):
                await opened(world, token)


async def test_a_record_past_its_time_is_not_opened(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        world.clock.advance(60)
        with pytest.raises(CardGone):
            await opened(world, token)


async def test_another_root_key_opens_nothing_and_says_only_unavailable(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await stored(world)
        with pytest.raises(KeyUnavailable):
            await opened(world, token, keys=another_ring(world))
