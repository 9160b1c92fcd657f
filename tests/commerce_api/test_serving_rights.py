"""Commerce is served by a role that does not own its tables: it can do all its work, and what it may not do it cannot.

Every test of commerce on PostgreSQL runs as that role (world.py).
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from audit.serving_role import APPEND, NotPermitted, Rights
from audit.transaction import Database
from commerce_api.cli import main
from commerce_api.cli.init import make_commerce_keys
from commerce_api.cli.migrate import OWNER_FIRST
from commerce_api.migrations import HEAD, upgrade
from commerce_api.models import metadata, order, payment
from commerce_api.runtime import open_commerce
from commerce_api.serving_rights import RIGHTS
from commerce_api.settings import CommerceSettings
from commerce_api.sweeps import sweep
from tests.commerce_api.test_migrations import to
from tests.commerce_api.test_payment import handed_off, pay
from tests.commerce_api.world import STORE, World, commerce_world
from tests.serving import ROLE, migrated
from tokenization.clock import now_milliseconds

pytestmark = pytest.mark.anyio
ONLY_ADDED_TO = ("offer_policy", "billing_contract", "billed_outcome", "billing_reversal", "billing_line")
NEVER_CHANGED = (*ONLY_ADDED_TO, "offer_outcome", "model_call")


def unstated(tables: set[str], rights: Rights) -> set[str]:
    """Tables of which the rights are silent, and rights of tables that are not there."""
    return tables ^ set(rights)


def test_every_table_has_its_rights_stated() -> None:
    assert unstated({*metadata.tables, "alembic_version"}, RIGHTS) == set()


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_planted_a_table_without_rights_is_seen(name: str) -> None:
    assert unstated({*metadata.tables, "alembic_version"}, {t: r for t, r in RIGHTS.items() if t != name}) == {name}


async def test_the_database_has_no_table_that_is_not_stated(postgres_url: str) -> None:
    url = await migrated(postgres_url, upgrade, RIGHTS)
    names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    database = Database.open(url, now_milliseconds)
    found = await database.read(lambda connection: set(connection.execute(text(names)).scalars()))
    await database.close()
    assert unstated(found, RIGHTS) == set()


@pytest.mark.parametrize("table", NEVER_CHANGED)
def test_what_is_only_added_to_is_not_changed_and_not_deleted_before_its_time(table: str) -> None:
    assert set(RIGHTS[table]) == {*APPEND, *([] if table in ONLY_ADDED_TO else ["DELETE"])}


@pytest.fixture
async def bought(tmp_path: Path, postgres_url: str) -> AsyncIterator[World]:
    """A commerce side on PostgreSQL, served as in a deployment, in which something was bought."""
    async with commerce_world(tmp_path, postgres_url) as world:
        await pay(world, await handed_off(world))
        yield world


async def said(world: World, statement: str) -> str:
    """What the database says to a statement; empty where it carries it out."""
    try:
        await world.commerce.database.maintain(lambda tx: tx.execute(text(statement)))
    except DBAPIError as refused:
        return str(refused.orig)
    return ""


async def test_the_serving_role_sells(bought: World) -> None:
    [(name,)] = await bought.commerce.database.read(
        lambda connection: connection.execute(text("SELECT current_user")).all()
    )
    assert name == ROLE
    [sold] = await bought.rows(order)
    assert sold.payment == (await bought.rows(payment))[0].id
    await sweep(bought.commerce.database, bought.commerce.payments)


async def test_what_is_not_stated_the_serving_role_is_refused(bought: World) -> None:
    for name, table in metadata.tables.items():
        first = table.columns.keys()[0]
        statements = {
            "UPDATE": f"UPDATE {name} SET {first} = {first} WHERE false",
            "DELETE": f"DELETE FROM {name} WHERE false",
        }
        for verb, statement in statements.items():
            may = verb in RIGHTS[name]
            assert ("permission denied for table" in await said(bought, statement)) is not may, statement
        assert "permission denied" in await said(bought, f"TRUNCATE {name} CASCADE")
        for statement in (
            f"ALTER TABLE {name} DISABLE TRIGGER ALL",
            f"ALTER TABLE {name} ADD mine int",
            f"DROP TABLE {name} CASCADE",
        ):
            assert "must be owner of table" in await said(bought, statement), statement


async def test_an_event_on_record_gets_its_place_and_is_not_changed(bought: World) -> None:
    assert await said(bought, "UPDATE audit_event SET leaf_index = NULL") == ""
    for column in (column.name for column in metadata.tables["audit_event"].columns):
        if column != "leaf_index":
            refused = await said(bought, f"UPDATE audit_event SET {column} = {column}")
            assert "permission denied for table audit_event" in refused, column


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER billing_line_unchanged ON billing_line",
        "CREATE OR REPLACE FUNCTION bill_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$",
        "SET LOCAL session_replication_role = replica",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
async def test_the_serving_role_takes_no_guard_away(bought: World, statement: str) -> None:
    answer = await said(bought, statement)
    assert "permission denied" in answer or "must be owner" in answer


async def test_planted_the_owner_is_refused_nothing_of_it(tmp_path: Path, postgres_url: str) -> None:
    async with commerce_world(tmp_path, postgres_url, by_owner=True) as world:
        assert await said(world, "ALTER TABLE billing_line DISABLE TRIGGER ALL") == ""
        assert await said(world, "UPDATE audit_event SET entry = ''") == ""


async def older(postgres_url: str) -> str:
    """A database of a revision before this one, served by a role that has its rights."""
    return await migrated(postgres_url, to("0017"), RIGHTS)


def settings_of(data: Path, database_url: str) -> CommerceSettings:
    return CommerceSettings.read(
        data=data,
        database_url=database_url,
        host="127.0.0.1",
        port=0,
        public_url=None,
        mcp_url=None,
        zone_url="https://zone:8702",
        capture_url="https://pay.brand.example",
        environ={},
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A commerce data directory with everything in it."""
    make_commerce_keys(tmp_path)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "commerce.crt").touch()
    return tmp_path


async def test_a_start_on_a_database_that_is_older_is_refused_to_the_serving_role(
    data: Path, postgres_url: str
) -> None:
    url = await older(postgres_url)
    with pytest.raises(NotPermitted):
        async with open_commerce(settings_of(data, url)):
            pass
    await migrated(postgres_url, upgrade, RIGHTS)
    database = Database.open(url, now_milliseconds)
    await database.migrate(upgrade)  # nothing is to be done, so nothing is refused
    await database.close()


async def test_a_start_with_a_right_that_is_lacking_is_refused(data: Path, postgres_url: str) -> None:
    url = await migrated(postgres_url, upgrade, {**RIGHTS, "payment": APPEND})
    with pytest.raises(NotPermitted):
        async with open_commerce(settings_of(data, url)):
            pass


def test_the_commands_say_what_to_do_where_the_role_may_not(
    data: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = asyncio.run(older(postgres_url))
    assert main(["brand", "add", "Salt Shed", "--feed", str(STORE / "products.csv"), "--database-url", url]) == 1
    assert capsys.readouterr().err.endswith(f"cordon: {OWNER_FIRST}\n")
    served = ["--data", str(data), "--database-url", url, "--zone-url", "https://zone:8702"]
    served += ["--capture-url", "https://pay.brand.example", "--public-url", "https://shop.example"]
    for program, command in (("commerce_api", ["serve"]), ("mcp_server", [])):
        ended = subprocess.run(
            [sys.executable, "-m", program, *command, *served], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, OWNER_FIRST in ended.stderr) == (1, True), ended.stderr
        assert "Traceback" not in ended.stderr


def test_migrate_makes_the_role_and_the_role_sells(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    password = tmp_path / "password"
    password.write_text("a" * 48 + "\n", encoding="ascii")
    asked = ["migrate", "--database-url", postgres_url, "--serve-as", ROLE, "--password-file", str(password)]
    assert main(asked) == 0
    assert capsys.readouterr().out == f"commerce's database is at revision {HEAD}; {ROLE} serves it\n"
    url = make_url(postgres_url).set(username=ROLE).render_as_string(hide_password=False)
    assert main(["brand", "add", "Salt Shed", "--feed", str(STORE / "products.csv"), "--database-url", url]) == 0


def test_migrate_says_what_it_refuses(tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--data", str(tmp_path)]) == 0
    assert main(["migrate", "--data", str(tmp_path), "--serve-as", ROLE]) == 1
    assert "SQLite has no roles" in capsys.readouterr().err
    assert main(["migrate", "--database-url", postgres_url, "--serve-as", "postgres"]) == 1
    assert "the role postgres cannot be served as: it is the one that migrates" in capsys.readouterr().err
    assert main(["migrate", "--database-url", postgres_url, "--serve-as", ROLE, "--password-file", "/nowhere"]) == 1
    assert "check --data, --database-url and --password-file" in capsys.readouterr().err
