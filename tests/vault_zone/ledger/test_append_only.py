"""The triggers that keep the books: the same from the tables as from the revision, on both databases."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from audit.transaction import WRITER_PRAGMAS, Database
from commerce_api.settings import sqlite_url
from tests.requirement import requirement
from tests.vault_zone.ledger.books import fact, open_books
from vault_zone.ledger.accounts import MOVES, Account, EntryKind
from vault_zone.ledger.append_only import APPEND_ONLY, REFUSAL
from vault_zone.migrations import upgrade
from vault_zone.models import metadata

pytestmark = pytest.mark.anyio


def triggers(connection: Connection) -> dict[str, str]:
    """The definition of each trigger of the database's tables, by its name."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    else:
        statement = "SELECT tgname || tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
    return {row[0]: row[1] for row in connection.execute(text(statement))}


async def made_by(url: str, made: Callable[[Connection], None]) -> dict[str, str]:
    """The triggers that the tables, or the revisions, make."""
    database = Database.open(url, lambda: 0)
    try:
        await database.migrate(made)
        found = await database.read(triggers)
        await database.migrate(metadata.drop_all)
        await database.maintain(lambda tx: tx.connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version"))
        return found
    finally:
        await database.close()


@requirement("10.3.2")
async def test_the_revision_makes_the_triggers_that_the_tables_make(database_url: str) -> None:
    of_tables = await made_by(database_url, metadata.create_all)
    assert len(of_tables) == len(APPEND_ONLY) * (2 if database_url.startswith("sqlite") else 3)
    assert await made_by(database_url, upgrade) == of_tables


@requirement("10.3.2")
async def test_the_database_itself_refuses_to_overdraw_what_never_is(database_url: str) -> None:
    async with open_books(database_url) as books:
        await books.submit(fact(EntryKind.AUTHORIZED, 500, "a"))
        await books.unguarded()
        below = text("UPDATE ledger_account SET balance_minor = -1 WHERE kind = :kind")
        with pytest.raises(IntegrityError, match="ck_ledger_account_overdraft"):
            await books.database.maintain(lambda tx: tx.execute(below, {"kind": Account.HELD.value}))


@requirement("10.3.2")
@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_a_row_is_not_replaced_by_one_of_its_key_either(tmp_path: Path, table: str) -> None:
    """SQLite: REPLACE deletes what is in its way, and asks the triggers only where they are told to recurse."""
    async with open_books(sqlite_url(tmp_path)) as books:
        await books.submit(fact(EntryKind.AUTHORIZED, 500, "a"))
        with pytest.raises(DBAPIError, match=REFUSAL):
            await books.database.maintain(lambda tx: tx.execute(text(replaced(table))))


async def test_planted_a_connection_whose_triggers_do_not_recurse_replaces_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tuple(pragma for pragma in WRITER_PRAGMAS if "recursive" not in pragma)
    monkeypatch.setattr("audit.transaction.WRITER_PRAGMAS", kept)
    async with open_books(sqlite_url(tmp_path)) as books:
        await books.submit(fact(EntryKind.AUTHORIZED, 500, "a"))
        await books.database.maintain(lambda tx: tx.execute(text(replaced("ledger_posting"))))


def replaced(table: str) -> str:
    """Writes every row of a table over itself."""
    return f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"


def test_every_kind_of_entry_but_a_reversal_has_its_two_accounts() -> None:
    assert set(MOVES) == set(EntryKind) - {EntryKind.REVERSED}
    assert all(move.debit is not move.credit for move in MOVES.values())
