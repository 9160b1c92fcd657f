"""The sweeper: takes off the disk what is past its time, by the rules of retention.py.

What holds:
 1. Behind a sweep that came to its end no row is on disk that a rule says is past its time.
 2. A card goes with its fingerprint and its grants, in one transaction with the events that say so.
 3. A card that an open charge may still need stays, for retention.OPEN_CHARGE_HOLD_MS at most.
 4. The work is done in bounded transactions and remembers nothing: one that dies anywhere is gone on with by the next.
 5. Each transaction that deletes records how many rows of which table.
 6. On SQLite deleted bytes are overwritten (secure_delete), and the write-ahead log that held them is cut off; on PostgreSQL
    the tables are vacuumed (clearing.py).
"""

from collections.abc import Callable

from sqlalchemy import Table, delete, select, tuple_, update

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.clock import Clock
from vault_zone.clearing import SEALED_TABLES, Clearing
from vault_zone.key_rows import ORIGIN, KeyState, record_key
from vault_zone.models import card_record, data_key
from vault_zone.retention import RULES, Rule, retired_unused
from vault_zone.saved_cards import erase_card
from vault_zone.security_codes import SecurityCodes

BATCH_ROWS = 200  # deleted in one transaction
BATCHES = 50  # of each table in one pass, so that a long sweep lets the other housekeeping have its turn
ACTOR = "service:vault_zone"
KEYS = "unused keys"
Batch = Callable[[Transaction], int]


class Sweeper:
    """Deletes by the rules, a pass at a time."""

    def __init__(self, database: Database, codes: SecurityCodes, clock: Clock) -> None:
        self._database = database
        self._codes = codes
        self._clock = clock
        self._next_ms: dict[str, int] = {}
        self._clearing = Clearing(database, clock)
        self._unclean = True  # a process that died may have left deleted bytes in the write-ahead log

    def note_deletion(self) -> None:
        """Somebody else deleted a card or destroyed a key: the next passes take their bytes off the disk (6)."""
        self._unclean = True
        self._clearing.note(*SEALED_TABLES)

    async def sweep(self) -> int:
        """One pass over the tables whose turn it is; returns how many rows it deleted."""
        deleted = 0
        for name, table, every_seconds, batch in self._batches():
            now_ms = self._clock()
            if now_ms < self._next_ms.get(name, 0):
                continue
            rows = await self._some(batch)
            deleted += rows
            if rows:
                self._clearing.note(table)
            if rows < BATCH_ROWS * BATCHES:  # otherwise the next pass goes on at once
                self._next_ms[name] = now_ms + every_seconds * 1000
        self._unclean = self._unclean or deleted > 0
        if self._unclean:
            self._unclean = not await self._database.cut_log()  # (6) a reader in the way: the next pass tries again
        await self._clearing.clear()
        return deleted

    async def sweep_all(self) -> int:
        """Sweeps every table to its end, whatever its turn (1); returns how many rows it deleted."""
        deleted = 0
        self._next_ms.clear()
        while rows := await self.sweep():
            deleted += rows
            self._next_ms.clear()
        await self._clearing.clear(at_once=True)
        return deleted

    async def _some(self, batch: Batch) -> int:
        deleted = 0
        for _ in range(BATCHES):
            rows = await self._database.change(batch)
            deleted += rows
            if rows < BATCH_ROWS:
                break
        return deleted

    def _batches(self) -> list[tuple[str, Table, int, Batch]]:
        batches: list[tuple[str, Table, int, Batch]] = []
        for rule in RULES:
            if rule.until is None:
                continue
            if rule.table is data_key:
                batches.append((KEYS, rule.table, rule.every_seconds, _destroy_unused))
            batch = self._erase_cards(rule) if rule.table is card_record else _delete_from(rule)
            batches.append((rule.name, rule.table, rule.every_seconds, batch))
        return batches

    def _erase_cards(self, rule: Rule) -> Batch:
        def work(tx: Transaction) -> int:
            due = tx.execute(
                select(card_record.c.token, card_record.c.merchant, card_record.c.shopper)
                .where(rule.expired(tx.now_ms))  # (3)
                .order_by(card_record.c.expires_ms)
                .limit(BATCH_ROWS)
            ).all()
            for row in due:  # (2)
                grants = erase_card(
                    tx, token=row.token, merchant=row.merchant, shopper=row.shopper, actor=ACTOR, reason="expired"
                )
                for grant in grants:  # a rolled back transaction runs again, and a code that is gone fails closed
                    self._codes.forget(grant)
            _record_expired(tx, rule.name, len(due))
            return len(due)

        return work


def _delete_from(rule: Rule) -> Batch:
    def work(tx: Transaction) -> int:
        key = tuple_(*rule.table.primary_key.columns)
        due = select(*rule.table.primary_key.columns).where(rule.expired(tx.now_ms)).limit(BATCH_ROWS)
        count = tx.execute(delete(rule.table).where(key.in_(due))).rowcount
        _record_expired(tx, rule.name, count)
        return count

    return work


def _destroy_unused(tx: Transaction) -> int:
    """Retired keys that nothing is sealed under any more (PCI DSS 3.7.5)."""
    found = select(data_key.c.id, data_key.c.merchant, data_key.c.purpose, data_key.c.epoch, data_key.c.uses)
    due = tx.execute(found.where(retired_unused(tx.now_ms)).limit(BATCH_ROWS)).all()
    for row in due:
        tx.execute(
            update(data_key)
            .where(data_key.c.id == row.id)
            .values(state=KeyState.DESTROYED, destroyed_ms=tx.now_ms, wrapped=b"")
        )
        data: dict[str, str | int | bool] = {"purpose": row.purpose, "epoch": row.epoch, "uses": row.uses}
        record_key(tx, EventType.KEY_DESTROYED, row.id, row.merchant, ACTOR, {**data, "reason": "unused"})
    return len(due)


def _record_expired(tx: Transaction, table: str, count: int) -> None:
    if count:  # (5)
        tx.record(
            Event(
                type=EventType.RECORDS_EXPIRED,
                outcome="success",
                actor=ACTOR,
                origin=ORIGIN,
                resource=f"table:{table}",
                data={"kind": table, "expired": count},
            )
        )
