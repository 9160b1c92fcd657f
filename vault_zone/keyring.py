"""The data keys of each merchant: made when first needed, counted on every use, opened only through the provider."""

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from vault_zone.hazmat.provider import KeyContext, KeyProvider, KeyUnavailable
from vault_zone.models import data_key

SEALING = "sealing"
ORIGIN = "vault_zone"
# NIST SP 800-38D, 8.3: at most 2^32 seals under one key with random nonces. A new epoch begins long before.
MAXIMUM_USES = 2**28
CRYPTO_PERIOD_SECONDS = 365 * 86_400  # a key seals for a year (NIST SP 800-57 part 1, 5.3.6: at most two for such keys)


class KeyRing:
    """Gives the key that seals for a merchant now, and the key that an old record was sealed under."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider
        self._opened: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"KeyRing({self._provider.name}, {len(self._opened)} open)"

    def sealing_key(self, tx: Transaction, merchant: str) -> tuple[str, bytes]:
        """The id and bytes of the merchant's active key, its use counted in this transaction. Raises KeyUnavailable."""
        row = tx.execute(
            select(data_key.c.id, data_key.c.wrapped, data_key.c.uses, data_key.c.epoch)
            .where(data_key.c.merchant == merchant, data_key.c.purpose == SEALING, data_key.c.state == "active")
            .order_by(data_key.c.epoch.desc())
            .limit(1)
        ).first()
        if row is None or row.uses >= MAXIMUM_USES:
            return self._make_key(tx, merchant, epoch=1 if row is None else row.epoch + 1)
        tx.execute(update(data_key).where(data_key.c.id == row.id).values(uses=data_key.c.uses + 1))
        return row.id, self._open(row.id, merchant, bytes(row.wrapped))

    def opening_key(self, connection: Connection, key_id: str, merchant: str) -> bytes:
        """The bytes of the key a record names. Raises KeyUnavailable, also for a key of another merchant."""
        if key_id in self._opened:
            return self._opened[key_id]
        wrapped = connection.execute(
            select(data_key.c.wrapped).where(data_key.c.id == key_id, data_key.c.merchant == merchant)
        ).scalar_one_or_none()
        if wrapped is None:
            raise KeyUnavailable
        return self._open(key_id, merchant, bytes(wrapped))

    def _make_key(self, tx: Transaction, merchant: str, epoch: int) -> tuple[str, bytes]:
        tx.execute(
            update(data_key)
            .where(data_key.c.merchant == merchant, data_key.c.purpose == SEALING, data_key.c.state == "active")
            .values(state="retired")
        )
        key_id = new_id("key")
        key, wrapped = self._provider.generate(KeyContext(merchant, SEALING, key_id))
        tx.execute(
            data_key.insert().values(
                id=key_id,
                merchant=merchant,
                purpose=SEALING,
                epoch=epoch,
                provider=self._provider.name,
                wrapped=wrapped,
                state="active",
                uses=1,
                created_ms=tx.now_ms,
                retire_by_ms=tx.now_ms + CRYPTO_PERIOD_SECONDS * 1000,
            )
        )
        tx.record(
            Event(
                type=EventType.KEY_CREATED,
                outcome="success",
                actor="service:vault_zone",
                origin=ORIGIN,
                resource=key_id,
                merchant=merchant,
                data={"purpose": SEALING, "epoch": epoch},
            )
        )
        # Not remembered here: the transaction may yet roll back. The next use opens it from the row.
        return key_id, key

    def _open(self, key_id: str, merchant: str, wrapped: bytes) -> bytes:
        if key_id not in self._opened:
            self._opened[key_id] = self._provider.unwrap(wrapped, KeyContext(merchant, SEALING, key_id))
        return self._opened[key_id]
