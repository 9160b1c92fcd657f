"""Short ways to stored cards and their keys, for tests of keys."""

from typing import Any

from sqlalchemy import select

from audit.store import audit_event
from audit.transaction import Transaction
from tests.vault_zone.world import MERCHANT, VISA, World, a_card
from vault_zone.capture import know_merchant
from vault_zone.card import Exposure
from vault_zone.fingerprint import fingerprint_of
from vault_zone.key_rows import KeyLimits
from vault_zone.keyring import KeyRing
from vault_zone.models import card_record, data_key
from vault_zone.vault import open_card, store_card

DAY_MS = 86_400_000


async def stored(world: World, number: str = VISA, merchant: str = MERCHANT, keys: KeyRing | None = None) -> str:
    """A sealed card's token."""
    ring = keys or world.keys
    await world.database.maintain(lambda tx: know_merchant(tx, merchant, merchant))
    card = a_card(number)
    mark = await fingerprint_of(ring, merchant, card.pan)

    def work(tx: Transaction) -> str:
        return store_card(
            tx, ring, merchant=merchant, card=card, expires_ms=tx.now_ms + DAY_MS, actor="shopper", fingerprint=mark
        )

    return await ring.change(work)


async def opened(world: World, token: str, merchant: str = MERCHANT, keys: KeyRing | None = None) -> str:
    """The number behind a token, as the charge engine would get it."""
    ring = keys or world.keys
    card = await ring.read(lambda c: open_card(c, ring, token=token, merchant=merchant, now_ms=world.clock.now_ms))
    return card.pan.expose(Exposure.PROCESSOR)


def ring_of(world: World, limits: KeyLimits | None = None) -> KeyRing:
    """Another process's keys over the same database and provider."""
    return KeyRing(world.keys.provider, world.database, world.clock, world.clock.seconds, limits)


async def key_rows(world: World, merchant: str = MERCHANT, purpose: str = "sealing") -> list[Any]:
    """The rows of a merchant's keys of a purpose, by epoch."""
    return list(
        await world.database.read(
            lambda c: c.execute(
                select(data_key)
                .where(data_key.c.merchant == merchant, data_key.c.purpose == purpose)
                .order_by(data_key.c.epoch)
            ).all()
        )
    )


async def record_of(world: World, token: str) -> Any:
    """A card's row."""
    return await world.database.read(lambda c: c.execute(select(card_record).where(card_record.c.token == token)).one())


async def recorded(world: World, kind: str) -> int:
    """How many events of a type are on record."""
    return len(
        await world.database.read(lambda c: c.execute(select(audit_event.c.id).where(audit_event.c.type == kind)).all())
    )
