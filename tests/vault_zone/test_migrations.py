"""The revisions give just the tables that the code speaks of, on both databases and both sides."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect
from sqlalchemy.engine import Connection

from audit.transaction import Database
from vault_zone.migrations import upgrade
from vault_zone.models import metadata


async def differences(url: str, run: Callable[[Connection], None], tables: MetaData) -> list[object]:
    """What the revisions left different from the code's tables, after running twice."""
    database = Database.open(url, lambda: 0)
    try:
        await database.migrate(run)
        await database.migrate(run)

        def compare(connection: Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return [change for change in compare_metadata(context, tables) if not is_search(change)]

        return await database.read(compare)
    finally:
        await database.close()


def is_search(change: object) -> bool:
    """The full-text index differs between the databases, so it is made by hand and not in the tables of the code."""
    return "search" in repr(change)


@pytest.mark.anyio
async def test_the_zones_revisions_give_its_tables(database_url: str) -> None:
    assert await differences(database_url, upgrade, metadata) == []


@pytest.mark.parametrize("side", ["vault_zone", "commerce_api"])
def test_the_newest_revision_is_the_one_that_start_up_compares_with(side: str) -> None:
    root = Path(__file__).parents[2] / side / "migrations"
    heads = ScriptDirectory(str(root)).get_heads()
    assert f'HEAD = "{heads[0]}"' in (root / "__init__.py").read_text(encoding="utf-8")
    assert len(heads) == 1


@pytest.mark.anyio
async def test_a_missing_column_would_be_seen(database_url: str) -> None:
    def without_a_column(connection: Connection) -> None:
        upgrade(connection)
        columns = {column["name"] for column in inspect(connection).get_columns("card_grant")}
        if "revoked_ms" in columns:
            connection.exec_driver_sql("ALTER TABLE card_grant DROP COLUMN revoked_ms")

    assert await differences(database_url, without_a_column, metadata) != []
