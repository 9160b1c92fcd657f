"""The rows of data keys: which is active, how often it was used, and the one order of its states.

What holds:
 1. One purpose of one merchant has at most one active key; its epochs are numbered without a gap.
 2. Uses are counted before they happen, in leases; no lease reaches over the maximum.
 3. States go forward only: active, retired, destroyed. Nothing wrapped is left of a destroyed key.
 4. A merchant whose keys were destroyed gets no new ones.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from vault_zone.hazmat.provider import KeyDestroyed, KeyUnavailable
from vault_zone.models import data_key, merchant

ORIGIN = "vault_zone"
NONE_ACTIVE = "none_active"  # why an epoch begins by itself
_STATE = (  # read in each transaction that seals or opens, so made once: to build a statement takes longer than to run it
    select(data_key.c.state, merchant.c.keys_destroyed_ms)
    .join(merchant, merchant.c.id == data_key.c.merchant)
    .where(data_key.c.id == bindparam("key_id"), data_key.c.merchant == bindparam("merchant_id"))
)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How long and how often a key seals. Not to be raised above the defaults."""

    # NIST SP 800-38D, 8.3: at most 2^32 seals under one key with random nonces. A new epoch begins long before.
    maximum_uses: int = 2**28
    lease_uses: int = 4096  # seals that a process may make before it counts again
    # NIST SP 800-57 part 1, 5.3.6: a symmetric data key is used to seal for two years at most.
    crypto_period_seconds: int = 365 * 86_400


class Purpose(StrEnum):
    """What a data key is for. One key, one purpose (NIST SP 800-57 part 1, 5.2)."""

    SEALING = "sealing"  # cards at rest
    FINGERPRINT = "fingerprint"  # "the same card", inside
    CAPTURE = "capture"  # browsers' data, velocity subjects and puzzles of the capture page
    IDEMPOTENCY = "idempotency"  # fingerprints of requests that held a card
    WEBHOOK = "webhook"  # what is told to commerce


class KeyState(StrEnum):
    """Where a data key stands. The order is the only way (3)."""

    ACTIVE = "active"  # seals and opens
    RETIRED = "retired"  # opens
    DESTROYED = "destroyed"  # neither, for ever


class NewKey(NamedTuple):
    """A key that the provider made and no row holds yet."""

    key_id: str
    merchant: str
    purpose: Purpose
    provider: str
    wrapped: bytes


class KeyRow(NamedTuple):
    """What opening a key needs of its row."""

    purpose: Purpose
    state: KeyState
    wrapped: bytes


class Lease(NamedTuple):
    """Uses of an active key that are counted and may now happen."""

    key_id: str
    retire_by_ms: int
    uses: int


def take_lease(tx: Transaction, merchant_id: str, purpose: Purpose, limits: KeyLimits, uses: int) -> Lease | None:
    """Counts so many uses of the active key (2); None when there is none that may seal. Raises KeyDestroyed, KeyUnavailable."""
    know_live_merchant(tx.connection, merchant_id)
    row = tx.execute(
        select(data_key.c.id, data_key.c.uses, data_key.c.retire_by_ms).where(
            data_key.c.merchant == merchant_id, data_key.c.purpose == purpose, data_key.c.state == KeyState.ACTIVE
        )
    ).first()
    if row is None or row.uses + uses > limits.maximum_uses or row.retire_by_ms <= tx.now_ms:
        return None
    tx.execute(
        update(data_key)
        .where(data_key.c.id == row.id, data_key.c.state == KeyState.ACTIVE)
        .values(uses=data_key.c.uses + uses)
    )
    return Lease(row.id, row.retire_by_ms, uses)


def add_epoch(tx: Transaction, fresh: NewKey, limits: KeyLimits, *, reason: str, actor: str) -> str:
    """Makes a key the active one and retires the one before (1); returns its id. Raises KeyDestroyed, KeyUnavailable.

    Where another process has meanwhile begun an epoch that still has uses, that one stays, unless somebody asked to rotate.
    """
    know_live_merchant(tx.connection, fresh.merchant)
    of_purpose = (data_key.c.merchant == fresh.merchant, data_key.c.purpose == fresh.purpose)
    before = tx.execute(
        select(data_key.c.id, data_key.c.epoch, data_key.c.state, data_key.c.uses, data_key.c.retire_by_ms)
        .where(*of_purpose)
        .order_by(data_key.c.epoch.desc())
        .limit(1)
    ).first()
    serves = (
        before is not None
        and before.state == KeyState.ACTIVE
        and before.uses + limits.lease_uses <= limits.maximum_uses
        and before.retire_by_ms > tx.now_ms
    )
    if before is not None and serves and reason == NONE_ACTIVE:
        return str(before.id)
    if before is not None:
        tx.execute(
            update(data_key)
            .where(*of_purpose, data_key.c.state == KeyState.ACTIVE)
            .values(state=KeyState.RETIRED, retired_ms=tx.now_ms)
        )
    epoch = 1 if before is None else before.epoch + 1
    tx.execute(
        data_key.insert().values(
            id=fresh.key_id,
            merchant=fresh.merchant,
            purpose=fresh.purpose,
            epoch=epoch,
            provider=fresh.provider,
            wrapped=fresh.wrapped,
            state=KeyState.ACTIVE,
            uses=0,
            created_ms=tx.now_ms,
            retire_by_ms=tx.now_ms + limits.crypto_period_seconds * 1000,
        )
    )
    data: dict[str, str | int | bool] = {"purpose": fresh.purpose.value, "epoch": epoch, "provider": fresh.provider}
    record_key(tx, EventType.KEY_CREATED, fresh.key_id, fresh.merchant, actor, data)
    if before is not None and before.state == KeyState.ACTIVE:
        data = {"purpose": fresh.purpose.value, "previous": before.id, "epoch": epoch, "reason": reason}
        record_key(tx, EventType.KEY_ROTATED, fresh.key_id, fresh.merchant, actor, data)
    return fresh.key_id


def find_key(connection: Connection, key_id: str, merchant_id: str) -> KeyRow | None:
    """A key's row, or None when this merchant has none of that id."""
    row = connection.execute(
        select(data_key.c.purpose, data_key.c.state, data_key.c.wrapped).where(
            data_key.c.id == key_id, data_key.c.merchant == merchant_id
        )
    ).first()
    return None if row is None else KeyRow(Purpose(row.purpose), KeyState(row.state), bytes(row.wrapped))


def state_of(connection: Connection, key_id: str, merchant_id: str) -> KeyState | None:
    """Where a key stands, or None when this merchant has none of that id. A merchant destroyed in part counts as destroyed."""
    row = connection.execute(_STATE, {"key_id": key_id, "merchant_id": merchant_id}).first()
    if row is None:
        return None
    return KeyState(row.state) if row.keys_destroyed_ms is None else KeyState.DESTROYED


def is_known(connection: Connection, merchant_id: str) -> bool:
    """Whether the zone knows a merchant of this id."""
    return connection.execute(select(merchant.c.id).where(merchant.c.id == merchant_id)).first() is not None


def know_live_merchant(connection: Connection, merchant_id: str) -> None:
    """Raises KeyDestroyed for a merchant whose keys were destroyed (4), KeyUnavailable for one that the zone does not know."""
    row = connection.execute(select(merchant.c.keys_destroyed_ms).where(merchant.c.id == merchant_id)).first()
    if row is None:
        raise KeyUnavailable
    if row.keys_destroyed_ms is not None:
        raise KeyDestroyed


def record_key(
    tx: Transaction,
    kind: EventType,
    key_id: str,
    merchant_id: str,
    actor: str,
    data: dict[str, str | int | bool],
) -> None:
    """An event about a key."""
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=key_id,
            merchant=merchant_id,
            data=data,
        )
    )
