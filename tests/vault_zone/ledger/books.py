"""The books in a test, behind the few verbs that an invariant needs; a planted fault overrides one of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from sqlalchemy import select

from audit.transaction import Database, Transaction
from tests.vault_zone.world import MERCHANT, TestClock
from tokenization.money import Money
from vault_zone.ledger import posting
from vault_zone.ledger.accounts import Account, EntryKind
from vault_zone.ledger.append_only import APPEND_ONLY
from vault_zone.ledger.balances import balances
from vault_zone.ledger.chain import seal
from vault_zone.ledger.events import (
    AuthorizationReleased,
    Authorized,
    BooksEvent,
    Captured,
    DisputeLost,
    DisputeOpened,
    DisputeWon,
    FeeCharged,
    PaidOut,
    Refunded,
    RefundReturned,
)
from vault_zone.ledger.posting import Recorded
from vault_zone.ledger.verifying import Verified, verify
from vault_zone.models import ledger_entry, ledger_posting, metadata

PROCESSOR = "sandbox"
FACTS = {
    fact.kind: fact
    for fact in (
        Authorized,
        AuthorizationReleased,
        Captured,
        Refunded,
        RefundReturned,
        FeeCharged,
        DisputeOpened,
        DisputeWon,
        DisputeLost,
        PaidOut,
    )
}


def fact(
    kind: EntryKind,
    amount_minor: int,
    source: str,
    *,
    charge: str | None = "chg_a",
    currency: str = "USD",
    merchant: str = MERCHANT,
) -> BooksEvent:
    """A fact of the test merchant's."""
    made: BooksEvent = FACTS[kind](merchant, charge, source, Money(amount_minor, currency), PROCESSOR)
    return made


class Books:
    """The real thing. ``planted``: what a faulty kind of books has in place of functions of the real ones."""

    planted: ClassVar[tuple[tuple[Any, str, Any], ...]] = ()

    def __init__(self, database: Database) -> None:
        self.database = database
        self._unguarded: set[str] = set()
        self._turn = asyncio.Lock()

    async def submit(self, event: BooksEvent) -> Recorded:
        """Records one fact in a transaction of its own."""
        return await self.database.maintain(lambda tx: posting.record(tx, event))

    async def reverse(self, entry: str, merchant: str = MERCHANT) -> Recorded:
        """Undoes an entry."""
        return await self.database.maintain(lambda tx: posting.reverse(tx, entry, merchant))

    async def seal(self) -> int:
        """Chains what is new."""
        return await seal(self.database)

    async def verify(self) -> Verified:
        """Looks at everything."""
        return await verify(self.database)

    async def balance(self, account: Account, currency: str = "USD", merchant: str = MERCHANT) -> int:
        """An account's row."""
        rows = await self.database.read(lambda c: balances(c, merchant))
        return next(
            (row.balance_minor for key, row in rows.items() if (key.kind, key.currency) == (account, currency)), 0
        )

    async def journal(self) -> Sequence[tuple[str, str, str, int, int]]:
        """Postings: entry, account, currency, amount, place in the account."""
        p = ledger_posting.c
        statement = select(p.entry, p.kind, p.currency, p.amount_minor, p.place).order_by(p.kind, p.place)
        return [tuple(row) for row in await self.database.read(lambda c: c.execute(statement).all())]

    async def entries(self) -> int:
        """How many entries there are."""
        return len(await self.database.read(lambda c: c.execute(select(ledger_entry.c.id)).all()))

    async def unguarded(self, *tables: str) -> None:
        """Takes triggers away, once: for a fault that the database would stop."""
        async with self._turn:
            left = set(tables or APPEND_ONLY) - self._unguarded
            self._unguarded |= left
            if left:
                await self.database.maintain(lambda tx: drop_triggers(tx, left))


def drop_triggers(tx: Transaction, tables: Iterable[str]) -> None:
    """The database no longer minds what happens to these tables."""
    is_sqlite = tx.connection.dialect.name == "sqlite"
    for table in tables:
        for what in ("unchanged", "kept"):
            on = "" if is_sqlite else f" ON {table}"
            tx.connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_{what}{on}")


@asynccontextmanager
async def open_books(database_url: str, kind: type[Books] = Books) -> AsyncIterator[Books]:
    """Empty books on this database."""
    database = Database.open(database_url, TestClock())
    await database.migrate(metadata.create_all)
    try:
        yield kind(database)
    finally:
        await database.close()
