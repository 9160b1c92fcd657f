"""The revisions give just the tables that the code speaks of, on both databases and both sides."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, select
from sqlalchemy.engine import Connection

import vault_zone.migrations
from audit.transaction import Database
from vault_zone.migrations import upgrade
from vault_zone.models import ledger_charge, metadata, settlement_line


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


def to(revision: str) -> Callable[[Connection], None]:
    """Brings the zone's schema to a revision."""

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(vault_zone.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return run


OLD_ROWS = (
    "INSERT INTO merchant (id, name, created_ms) VALUES ('m', 'M', 0)",
    *(
        "INSERT INTO ledger_entry (id, merchant, kind, source, charge_id, processor, currency, amount_minor, recorded_ms) "
        f"VALUES ('{name}', 'm', '{kind}', '{name}', 'chg_a', 'p', 'USD', {amount}, 0)"
        for name, kind, amount in (("e1", "captured", 900), ("e2", "refunded", 200), ("e3", "refunded", 100))
    ),
    *(
        "INSERT INTO ledger_posting (entry, kind, merchant, processor, currency, amount_minor, place, balance_minor) "
        f"VALUES ('{entry}', '{kind}', 'm', 'p', 'USD', {amount}, {place}, 0)"
        for entry, kind, amount, place in (
            *(("e1", "receivable", 900, 1), ("e1", "sales", -900, 1)),
            *(("e2", "refunds", 200, 1), ("e2", "receivable", -200, 2)),
            *(("e3", "refunds", 100, 2), ("e3", "receivable", -100, 3)),
        )
    ),
    *(
        "INSERT INTO ledger_charge (charge_id, merchant, processor, currency, held_minor, kept_minor, disputed_minor, "
        f"ended_minor, facts) VALUES ('{charge}', 'm', 'p', 'USD', 0, 600, 0, 0, 3)"
        for charge in ("chg_a", "chg_b")
    ),
    (
        "INSERT INTO settlement (id, merchant, processor, digest, state, lines, matched, started_by, started_ms) "
        "VALUES ('set', 'm', 'p', 'd', 'reading', 2, 1, 'x', 0)"
    ),
    *(
        "INSERT INTO settlement_line (merchant, processor, reported_id, settlement, type, gross_minor, fee_minor, "
        f"net_minor, currency, created_ms) VALUES ('m', 'p', '{name}', 'set', 'charge', 900, 0, 900, 'USD', 0)"
        for name in ("agrees", "differs")
    ),
    (
        "INSERT INTO settlement_break (id, settlement, merchant, processor, code, subject, ours_minor, theirs_minor, currency, "
        "found_ms) VALUES ('brk', 'set', 'm', 'p', 'amount_differs', 'differs', 700, 900, 'USD', 0)"
    ),
)


@pytest.mark.anyio
async def test_what_is_there_already_is_counted_by_the_new_columns(database_url: str) -> None:
    def before(connection: Connection) -> None:
        to("0010")(connection)
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)

    database = Database.open(database_url, lambda: 0)
    try:
        await database.migrate(before)
        await database.migrate(upgrade)
        charges = await database.read(lambda c: c.execute(select(ledger_charge).order_by("charge_id")).all())
        lines = await database.read(lambda c: c.execute(select(settlement_line).order_by("reported_id")).all())
    finally:
        await database.close()
    assert [row.refunded_minor for row in charges] == [300, 0]
    assert [row.ours_minor for row in lines] == [900, 700]


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
