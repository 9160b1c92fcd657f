"""The triggers that keep the bill: what is in it is not changed or deleted, on either database, not even by the owner."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Table, make_url, text
from sqlalchemy.exc import DBAPIError

from commerce_api.models import billed_outcome, billing_contract, billing_line, billing_reversal
from commerce_api.settings import sqlite_url
from tests.commerce_api.billing.test_outcomes import agree, calling, reported, reversed_
from tests.commerce_api.world import World, commerce_world
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio
BILL = (billing_contract, billed_outcome, billing_reversal, billing_line)
REFUSAL = "the bill is append-only"
ROLE = "cordon_commerce"
AS_ROLE = "postgresql, as an owner of no privilege"


@pytest.fixture(params=["sqlite", "postgresql", AS_ROLE])
def bill_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database: of the server's first role, and of one that can do no more than what its own database lets it."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url: str = request.getfixturevalue("postgres_url")
    if request.param == "postgresql":
        yield url
        return
    server.run(f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
    server.run(f'ALTER DATABASE "{make_url(url).database}" OWNER TO {ROLE}')
    yield make_url(url).set(username=ROLE).render_as_string(hide_password=False)
    server.drop(url)
    server.run(f"DROP ROLE {ROLE}")


@pytest.fixture
async def billed(tmp_path: Path, bill_url: str) -> AsyncIterator[World]:
    """A side in whose bill there is a contract, an outcome, a reversal and two lines."""
    async with commerce_world(tmp_path, bill_url, by_owner=True) as world, await calling(world) as http:
        await agree(world)
        outcome = (await reported(http, type="booking", value_minor=5_000)).json()["outcome_id"]
        await reversed_(http, outcome, amount_minor=1_000)
        yield world


def attempts(table: Table, dialect: str) -> dict[str, str]:
    """Statements that would change what is in a table, or take it out, without breaking a rule of its columns."""
    names = ", ".join(column.name for column in table.columns)
    keys = [column.name for column in table.primary_key]
    last = table.columns.keys()[-1]
    common = {
        "a row is changed": f"UPDATE {table.name} SET {last} = {last} + 1",
        "a row is written as it was": f"UPDATE {table.name} SET {last} = {last}",
        "rows are deleted": f"DELETE FROM {table.name}",
        "a row is written over its own": (
            f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {table.name} WHERE true "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {last} = excluded.{last} + 1"
        ),
    }
    if dialect == "sqlite":
        replaced = f"INSERT OR REPLACE INTO {table.name} ({names}) SELECT {names} FROM {table.name}"
        return common | {"a row is replaced": replaced}
    return common | {"the table is emptied": f"TRUNCATE {table.name} CASCADE"}


def dialect_of(world: World) -> str:
    return "sqlite" if world.commerce.database.url.startswith("sqlite") else "postgresql"


async def refusal(world: World, statement: str) -> str:
    """What the database says to it; empty where it lets it through."""
    try:
        await world.commerce.database.maintain(lambda tx: tx.execute(text(statement)))
    except DBAPIError as refused:
        return str(refused.orig)
    return ""


async def test_nothing_that_is_in_the_bill_is_changed_replaced_or_deleted(billed: World) -> None:
    for table in BILL:
        before = await billed.rows(table)
        assert before
        for what, statement in attempts(table, dialect_of(billed)).items():
            assert REFUSAL in await refusal(billed, statement), (table.name, what)
        assert await billed.rows(table) == before


async def test_planted_each_attempt_goes_through_where_the_triggers_are_gone(billed: World) -> None:
    is_sqlite = dialect_of(billed) == "sqlite"
    for table in BILL:
        for what in ("unchanged", "kept") if is_sqlite else ("unchanged", "kept", "whole"):
            on = "" if is_sqlite else f" ON {table.name}"
            assert await refusal(billed, f"DROP TRIGGER {table.name}_{what}{on}") == ""
    for table in BILL:
        for what, statement in attempts(table, dialect_of(billed)).items():
            assert REFUSAL not in await refusal(billed, statement), (table.name, what)


@pytest.mark.parametrize("bill_url", [AS_ROLE], indirect=True)
async def test_a_role_of_no_privilege_cannot_have_the_triggers_passed_by(billed: World) -> None:
    assert "permission denied" in await refusal(billed, "SET LOCAL session_replication_role = replica")
