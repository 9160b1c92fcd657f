"""The zone is served by a role that does not own its tables: it can do all its work, and what it may not do it cannot.

Every test of the zone on PostgreSQL that has a world runs as that role (world.py).
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from audit.serving_role import ALL, APPEND, MAINTAIN, NotPermitted, Rights
from audit.transaction import Database
from tests.serving import ROLE, migrated
from tests.vault_zone.saving import saved_card, sweeper_of
from tests.vault_zone.test_migrations import to
from tests.vault_zone.world import ACTOR, World, charge_request, zone_world
from tokenization.clock import now_milliseconds
from tokenization.wire import ChargeState
from vault_zone.cli.main import main
from vault_zone.cli.migrate import OWNER_FIRST
from vault_zone.ledger.append_only import APPEND_ONLY
from vault_zone.migrations import HEAD, upgrade
from vault_zone.models import metadata
from vault_zone.retention import RULES
from vault_zone.serving_rights import RIGHTS

anyio = pytest.mark.anyio


def unstated(tables: set[str], rights: Rights) -> set[str]:
    """Tables of which the rights are silent, and rights of tables that are not there."""
    return tables ^ set(rights)


def test_every_table_has_its_rights_stated() -> None:
    assert unstated({*metadata.tables, "alembic_version"}, RIGHTS) == set()


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_planted_a_table_without_rights_is_seen(name: str) -> None:
    assert unstated({*metadata.tables, "alembic_version"}, {t: r for t, r in RIGHTS.items() if t != name}) == {name}


@anyio
async def test_the_database_has_no_table_that_is_not_stated(postgres_url: str) -> None:
    url = await migrated(postgres_url, upgrade, RIGHTS)
    names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    database = Database.open(url, now_milliseconds)
    found = await database.read(lambda connection: set(connection.execute(text(names)).scalars()))
    await database.close()
    assert unstated(found, RIGHTS) == set()


def test_rows_are_deleted_and_tables_vacuumed_where_retention_says_so() -> None:
    ending = {rule.table.name for rule in RULES if rule.until is not None}
    assert {name for name in ending if not {"DELETE", MAINTAIN} <= set(RIGHTS[name])} == set()
    assert {name for name in RIGHTS if "DELETE" in RIGHTS[name]} - ending == {
        "ledger_charge"
    }  # a charge that holds no more


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_books_are_changed_where_their_triggers_let_them_be_and_never_deleted(table: str) -> None:
    assert {"UPDATE", "DELETE"} & set(RIGHTS[table]) == set()
    assert RIGHTS["ledger_posting"] == APPEND


@pytest.fixture
async def charged(postgres_url: str) -> AsyncIterator[World]:
    """A zone on PostgreSQL, served as in a deployment, in which a card was charged."""
    async with zone_world(postgres_url) as world:
        charge = await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
        assert charge.state is ChargeState.SUCCEEDED
        yield world


async def said(world: World, statement: str) -> str:
    """What the database says to a statement; empty where it carries it out."""
    try:
        await world.database.maintain(lambda tx: tx.execute(text(statement)))
    except DBAPIError as refused:
        return str(refused.orig)
    return ""


@anyio
async def test_the_serving_role_charges_saves_cards_and_sweeps(charged: World) -> None:
    [(name,)] = await charged.database.read(lambda connection: connection.execute(text("SELECT current_user")).all())
    assert name == ROLE
    await saved_card(charged)
    charged.clock.now_ms += 400 * 86_400_000
    await sweeper_of(charged).sweep()


@anyio
async def test_what_is_not_stated_the_serving_role_is_refused(charged: World) -> None:
    for name, table in metadata.tables.items():
        first = table.columns.keys()[0]
        statements = {
            "UPDATE": f"UPDATE {name} SET {first} = {first} WHERE false",
            "DELETE": f"DELETE FROM {name} WHERE false",
        }
        for verb, statement in statements.items():
            may = verb in RIGHTS[name]
            assert ("permission denied for table" in await said(charged, statement)) is not may, statement
        assert "permission denied" in await said(charged, f"TRUNCATE {name} CASCADE")
        for statement in (
            f"ALTER TABLE {name} DISABLE TRIGGER ALL",
            f"ALTER TABLE {name} ADD mine int",
            f"DROP TABLE {name} CASCADE",
        ):
            assert "must be owner of table" in await said(charged, statement), statement


@anyio
@pytest.mark.parametrize("table", ["ledger_entry", "ledger_account", "ledger_posting", "audit_event"])
async def test_of_books_and_record_only_what_moves_is_changed(charged: World, table: str) -> None:
    moves = {right for right in RIGHTS[table] if right.startswith("UPDATE")}
    for column in (column.name for column in metadata.tables[table].columns):
        answer = await said(charged, f"UPDATE {table} SET {column} = {column} WHERE false")
        assert (f"permission denied for table {table}" in answer) is (f"UPDATE ({column})" not in moves), column


@anyio
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER ledger_posting_unchanged ON ledger_posting",
        "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$",
        "SET LOCAL session_replication_role = replica",
    ],
)
async def test_the_serving_role_takes_no_guard_away(charged: World, statement: str) -> None:
    answer = await said(charged, statement)
    assert "permission denied" in answer or "must be owner" in answer


@anyio
async def test_planted_a_right_too_many_lets_the_record_be_emptied(postgres_url: str) -> None:
    event = "INSERT INTO audit_event (event_id, type, at_ms, resource, entry) VALUES ('e', 't', 0, 'r', '')"
    database = Database.open(await migrated(postgres_url, upgrade, {**RIGHTS, "audit_event": ALL}), now_milliseconds)
    await database.maintain(lambda tx: tx.execute(text(event)))
    emptied = await database.maintain(lambda tx: tx.execute(text("DELETE FROM audit_event")).rowcount)
    await database.close()
    assert emptied == 1


@anyio
async def test_a_database_that_is_older_is_not_brought_up_to_date_by_the_serving_role(postgres_url: str) -> None:
    database = Database.open(await migrated(postgres_url, to("0012"), RIGHTS), now_milliseconds)
    with pytest.raises(NotPermitted):
        await database.migrate(upgrade)
    await database.close()


def test_a_command_says_what_to_do_where_the_role_may_not(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").mkdir()
    assert main(["migrate", "--database-url", postgres_url]) == 0
    assert capsys.readouterr().out == f"the zone's database is at revision {HEAD}\n"
    url = make_url(postgres_url).set(username=ROLE).render_as_string(hide_password=False)
    asked = [
        "merchants",
        "origins",
        "harbour-pine",
        "--add",
        "https://shop.example",
        "--data",
        str(tmp_path),
        "--database-url",
    ]
    assert main(["migrate", "--database-url", postgres_url, "--serve-as", ROLE]) == 0
    capsys.readouterr()
    assert main([*asked, url]) == 0
    revoke(postgres_url, f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE}")
    capsys.readouterr()
    assert main([*asked, url]) == 1
    assert capsys.readouterr().err == f"vault-zone: {OWNER_FIRST}\n"


def revoke(url: str, statement: str) -> None:
    async def run() -> None:
        database = Database.open(url, now_milliseconds)
        await database.maintain(lambda tx: tx.execute(text(statement)))
        await database.close()

    asyncio.run(run())
