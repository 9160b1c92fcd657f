"""The life of keys after they were made: rotated, retired, destroyed. Each step is safe to repeat.

Destroying a merchant's keys, in the order in which it must happen:
 1. The merchant is marked: from this commit on nothing of it is sealed or opened, by any process of the zone.
 2. The provider destroys the wrapping and MAC keys. What lies in backups of the database can no longer be unwrapped.
 3. The rows lose what was wrapped, and the event is recorded.
A process that dies between two of them leaves a marked merchant with keys that are not destroyed; finish_destructions() goes
on from there.

What else holds:
 4. A retired key seals nothing more; there is no way back.
 5. One key is destroyed alone only if it is retired. By one person, if no record is sealed or marked under it. With records, by
    two (operations.py): the cards sealed under it and their grants end in the same transaction; marks under it match no more.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.engine import Connection

from audit.event import EventType
from audit.transaction import Database, Transaction
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.provider import KeyContext
from vault_zone.key_rows import KeyState, Purpose, know_live_merchant, record_key
from vault_zone.keyring import KeyRing
from vault_zone.models import card_grant, card_record, data_key, merchant

SERVICE = "service:vault_zone"


class KeyInfo(NamedTuple):
    """A data key as operators may see it: everything but the key. ``records`` are sealed or marked under it."""

    key_id: str
    merchant: str
    purpose: str
    epoch: int
    provider: str
    state: str
    uses: int
    records: int
    created_ms: int
    retire_by_ms: int
    retired_ms: int | None
    destroyed_ms: int | None


def list_keys(connection: Connection, merchants: Sequence[str] | None = None) -> list[KeyInfo]:
    """Every data key, or those of some merchants, in the order of merchant, purpose and epoch."""
    sealed = select(func.count()).where(card_record.c.key_id == data_key.c.id).scalar_subquery()
    marked = select(func.count()).where(card_record.c.fingerprint_key_id == data_key.c.id).scalar_subquery()
    found = select(data_key, (sealed + marked).label("records"))
    if merchants is not None:
        found = found.where(data_key.c.merchant.in_(merchants))
    rows = connection.execute(found.order_by(data_key.c.merchant, data_key.c.purpose, data_key.c.epoch))
    return [
        KeyInfo(
            key_id=row.id,
            merchant=row.merchant,
            purpose=row.purpose,
            epoch=row.epoch,
            provider=row.provider,
            state=row.state,
            uses=row.uses,
            records=row.records,
            created_ms=row.created_ms,
            retire_by_ms=row.retire_by_ms,
            retired_ms=row.retired_ms,
            destroyed_ms=row.destroyed_ms,
        )
        for row in rows
    ]


async def rotate(keys: KeyRing, merchant_id: str, purpose: Purpose, actor: str) -> str:
    """Begins a new epoch of a purpose; returns the new key's id. Raises KeyUnavailable, KeyDestroyed.

    A fingerprint is made anew when its card is sealed anew, so a new fingerprint key brings a new sealing key with it.
    """
    key_id = await keys.begin_epoch(merchant_id, purpose, reason="asked", actor=actor)
    if purpose is Purpose.FINGERPRINT:
        await keys.begin_epoch(merchant_id, Purpose.SEALING, reason="asked", actor=actor)
    keys.forget_merchant(merchant_id)
    return key_id


async def rotate_wrapping(keys: KeyRing, database: Database, merchant_id: str, actor: str) -> int:
    """A new version of the merchant's wrapping key in the provider, and every data key wrapped anew under it.

    Returns how many were. Safe to repeat; a process that dies half-way leaves keys under the older version, which still opens.
    Raises KeyUnavailable, KeyDestroyed.
    """
    await database.read(lambda connection: know_live_merchant(connection, merchant_id))
    await keys.ask(lambda: keys.provider.rotate(merchant_id))
    rows = await database.read(lambda connection: _wrapped_keys(connection, merchant_id))
    for key_id, purpose, wrapped in rows:
        await _rewrap(keys, database, KeyContext(merchant_id, purpose, key_id), wrapped, actor)
    return len(rows)


async def _rewrap(keys: KeyRing, database: Database, context: KeyContext, wrapped: bytes, actor: str) -> None:
    fresh = await keys.ask(lambda: keys.provider.rewrap(wrapped, context))

    def work(tx: Transaction) -> None:
        changed = tx.execute(
            update(data_key).where(data_key.c.id == context.key_id, data_key.c.wrapped == wrapped).values(wrapped=fresh)
        )
        if changed.rowcount == 1:
            data: dict[str, str | int | bool] = {"purpose": context.purpose, "reason": "rewrapped"}
            record_key(tx, EventType.KEY_ROTATED, context.key_id, context.merchant, actor, data)

    await database.change(work)


def retire(tx: Transaction, key_id: str, merchant_id: str, actor: str) -> bool:
    """Ends a key's sealing (4); the next seal begins an epoch. False when it was not active. Raises ZoneRefusal(NOT_FOUND)."""
    row = _find(tx, key_id, merchant_id)
    changed = tx.execute(
        update(data_key)
        .where(data_key.c.id == key_id, data_key.c.state == KeyState.ACTIVE)
        .values(state=KeyState.RETIRED, retired_ms=tx.now_ms)
    )
    if changed.rowcount != 1:
        return False
    data: dict[str, str | int | bool] = {"purpose": row.purpose, "epoch": row.epoch, "uses": row.uses}
    record_key(tx, EventType.KEY_RETIRED, key_id, merchant_id, actor, data)
    return True


def destroy_key(tx: Transaction, key_id: str, merchant_id: str, actor: str, *, with_cards: bool = False) -> None:
    """Destroys one retired key (5); ``with_cards`` also one that cards are under. Raises ZoneRefusal: NOT_FOUND, KEY_IN_USE."""
    row = _find(tx, key_id, merchant_id)
    used = tx.execute(
        select(func.count()).where(or_(card_record.c.key_id == key_id, card_record.c.fingerprint_key_id == key_id))
    ).scalar_one()
    if row.state == KeyState.ACTIVE or (used and not with_cards):
        raise ZoneRefusal(ZoneError.KEY_IN_USE)
    if row.state == KeyState.DESTROYED:
        return
    tx.execute(
        update(data_key)
        .where(data_key.c.id == key_id)
        .values(state=KeyState.DESTROYED, destroyed_ms=tx.now_ms, wrapped=b"")
    )
    data: dict[str, str | int | bool] = {"purpose": row.purpose, "epoch": row.epoch, "uses": row.uses}
    if with_cards:
        data |= _end_cards(tx, card_record.c.key_id == key_id)
    record_key(tx, EventType.KEY_DESTROYED, key_id, merchant_id, actor, data)


async def destroy_merchant(keys: KeyRing, database: Database, merchant_id: str, actor: str) -> None:
    """Destroys every key of a merchant, and with them its cards. Raises ZoneRefusal(NOT_FOUND), KeyUnavailable (ask again)."""
    await database.change(lambda tx: _mark_destroyed(tx, merchant_id, actor))  # (1)
    keys.forget_merchant(merchant_id)
    await keys.ask(lambda: keys.provider.destroy(merchant_id))  # (2)
    await database.change(lambda tx: _erase_wrapped(tx, merchant_id, actor))  # (3)


async def finish_destructions(keys: KeyRing, database: Database) -> int:
    """Goes on with destructions that a process left half-way; returns how many it finished. Raises KeyUnavailable."""
    waiting = await database.read(_half_destroyed)
    for merchant_id in waiting:
        await destroy_merchant(keys, database, merchant_id, SERVICE)
    return len(waiting)


def _find(tx: Transaction, key_id: str, merchant_id: str):  # type: ignore[no-untyped-def]  # a row
    row = tx.execute(
        select(data_key.c.purpose, data_key.c.epoch, data_key.c.uses, data_key.c.state).where(
            data_key.c.id == key_id, data_key.c.merchant == merchant_id
        )
    ).first()
    if row is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return row


def _wrapped_keys(connection: Connection, merchant_id: str) -> list[tuple[str, str, bytes]]:
    rows = connection.execute(
        select(data_key.c.id, data_key.c.purpose, data_key.c.wrapped).where(
            data_key.c.merchant == merchant_id, data_key.c.state != KeyState.DESTROYED
        )
    )
    return [(row.id, row.purpose, bytes(row.wrapped)) for row in rows]


def _mark_destroyed(tx: Transaction, merchant_id: str, actor: str) -> None:
    row = tx.execute(select(merchant.c.keys_destroyed_ms).where(merchant.c.id == merchant_id)).first()
    if row is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    if row.keys_destroyed_ms is not None:
        return
    tx.execute(update(merchant).where(merchant.c.id == merchant_id).values(keys_destroyed_ms=tx.now_ms))
    record_key(tx, EventType.KEY_DESTROYED, merchant_id, merchant_id, actor, {"reason": "begun"})


def _erase_wrapped(tx: Transaction, merchant_id: str, actor: str) -> None:
    tx.execute(
        update(data_key)
        .where(data_key.c.merchant == merchant_id, data_key.c.state != KeyState.DESTROYED)
        .values(state=KeyState.DESTROYED, destroyed_ms=tx.now_ms, wrapped=b"")
    )
    data = _end_cards(tx, card_record.c.merchant == merchant_id)
    record_key(tx, EventType.KEY_DESTROYED, merchant_id, merchant_id, actor, {"reason": "finished", **data})


def _end_cards(tx: Transaction, of: ColumnElement[bool]) -> dict[str, str | int | bool]:
    """Ends cards that nothing opens any more, and their grants; the sweep takes them off the disk. Says how many."""
    tokens = select(card_record.c.token).where(of)
    revoked = tx.execute(
        update(card_grant)
        .where(card_grant.c.token.in_(tokens), card_grant.c.revoked_ms.is_(None))
        .values(revoked_ms=tx.now_ms)
    )
    ended = tx.execute(update(card_record).where(of, card_record.c.expires_ms > tx.now_ms).values(expires_ms=tx.now_ms))
    return {"cards": ended.rowcount, "grants": revoked.rowcount}


def _half_destroyed(connection: Connection) -> list[str]:
    found = (
        select(merchant.c.id)
        .join(data_key, data_key.c.merchant == merchant.c.id)
        .where(merchant.c.keys_destroyed_ms.is_not(None), data_key.c.state != KeyState.DESTROYED)
        .distinct()
    )
    return list(connection.execute(found).scalars())
