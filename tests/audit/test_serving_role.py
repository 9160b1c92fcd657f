"""The role that serves: what is stated it has, and nothing else; what could pass that by is refused."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from audit import serving_role
from audit.serving_role import ALL, APPEND, CHANGE, READ, NotPermitted, Rights, RoleRefused, lacking, require, serve_as
from audit.transaction import Database
from commerce_api.settings import sqlite_url
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio
RIGHTS: Rights = {"book": APPEND, "page": (*APPEND, "UPDATE (words)"), "shelf": ALL, "sign": READ}
TABLES = (
    "CREATE TABLE book (id bigserial PRIMARY KEY, name text)",
    "CREATE TABLE page (id int PRIMARY KEY, words text)",
    "CREATE TABLE shelf (id int PRIMARY KEY)",
    "CREATE TABLE sign (id int PRIMARY KEY)",
    "CREATE TABLE secret (id int PRIMARY KEY)",
    "INSERT INTO page VALUES (1, 'once')",
)


@pytest.fixture
def role(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    """A name for a role, which is gone afterwards with what it had here."""
    name = f"r_{secrets.token_hex(6)}"
    yield name
    postgres.drop(postgres_url)
    postgres.run(f"DROP ROLE IF EXISTS {name}")


def make_tables(connection: Connection) -> None:
    for statement in TABLES:
        connection.exec_driver_sql(statement)


@pytest.fixture
async def owner(postgres_url: str) -> AsyncIterator[Database]:
    """The owner's database, with tables in it."""
    async with opened(postgres_url) as database:
        await database.migrate(make_tables)
        yield database


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database.open(url, lambda: 0)
    try:
        yield database
    finally:
        await database.close()


def url_of(postgres_url: str, role: str) -> str:
    return make_url(postgres_url).set(username=role).render_as_string(hide_password=False)


async def said(database: Database, statement: str) -> str:
    """What the database says to a statement; empty where it carries it out."""
    try:
        await database.maintain(lambda tx: tx.connection.execute(text(statement)) and None)
    except DBAPIError as refused:
        return str(refused.orig)
    return ""


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO book (name) VALUES ('a')",
        "SELECT * FROM book",
        "UPDATE page SET words = 'again'",
        "INSERT INTO shelf VALUES (1)",
        "UPDATE shelf SET id = 2",
        "DELETE FROM shelf",
        "SELECT * FROM sign",
    ],
)
async def test_the_role_does_what_is_stated(owner: Database, postgres_url: str, role: str, statement: str) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    async with opened(url_of(postgres_url, role)) as served:
        assert await said(served, statement) == ""
        await served.read(partial(require, rights=RIGHTS))


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("UPDATE book SET name = 'b'", "permission denied for table book"),
        ("DELETE FROM book", "permission denied for table book"),
        ("TRUNCATE shelf", "permission denied for table shelf"),
        ("UPDATE page SET id = 2", "permission denied for table page"),
        ("INSERT INTO sign VALUES (1)", "permission denied for table sign"),
        ("SELECT * FROM secret", "permission denied for table secret"),
        ("SELECT setval('book_id_seq', 1)", "permission denied for sequence book_id_seq"),
        ("ALTER TABLE book DISABLE TRIGGER ALL", "must be owner of table book"),
        ("DROP TABLE book", "must be owner of table book"),
        ("SET LOCAL session_replication_role = replica", "permission denied to set parameter"),
        ("CREATE TABLE mine (id int)", "permission denied for schema public"),
        ("CREATE TEMPORARY TABLE book (id int)", "permission denied to create temporary tables"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "permission denied for schema public"),
        ("CREATE SCHEMA mine", "permission denied for database"),
        ("CREATE ROLE another", "permission denied to create role"),
    ],
)
async def test_the_role_is_refused_everything_else(
    owner: Database, postgres_url: str, role: str, statement: str, answer: str
) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    async with opened(url_of(postgres_url, role)) as served:
        assert answer in await said(served, statement)
    if "session_replication_role" not in statement:
        assert await said(owner, statement) == "", "it is a right that was lacking, and nothing else"
        await said(owner, "DROP ROLE IF EXISTS another")


async def test_what_the_role_and_everybody_had_besides_is_taken_away(
    owner: Database, postgres_url: str, role: str
) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    for besides in (
        f"GRANT ALL ON book, page TO {role}",
        "GRANT DELETE ON secret TO PUBLIC",
        "GRANT ALL ON SCHEMA public TO PUBLIC",
    ):
        assert await said(owner, besides) == ""
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    async with opened(url_of(postgres_url, role)) as served:
        for statement in (
            "DELETE FROM book",
            "UPDATE page SET id = 2",
            "DELETE FROM secret",
            "CREATE TABLE mine (id int)",
        ):
            assert "permission denied" in await said(served, statement)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("ALTER ROLE {role} SUPERUSER", "is a superuser, or almost"),
        ("ALTER ROLE {role} BYPASSRLS", "is a superuser, or almost"),
        ("ALTER ROLE {role} CREATEROLE", "may make roles or databases"),
        ("GRANT pg_write_all_data TO {role}", "is a member of another role"),
        ("ALTER TABLE book OWNER TO {role}", "owns something on this server"),
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may turn triggers off for its session"),
    ],
)
async def test_a_role_that_could_pass_its_rights_by_is_refused(
    owner: Database, role: str, made: str, reason: str
) -> None:
    await said(owner, f"CREATE ROLE {role} LOGIN")
    await said(owner, made.format(role=role))
    with pytest.raises(RoleRefused, match=reason):
        await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    await said(owner, f"REVOKE SET ON PARAMETER session_replication_role FROM {role}")


async def test_who_migrates_does_not_serve(owner: Database) -> None:
    [(name,)] = await owner.read(lambda connection: connection.exec_driver_sql("SELECT current_user").all())
    with pytest.raises(RoleRefused, match="is the one that migrates"):
        await owner.migrate(partial(serve_as, role=name, rights=RIGHTS))


@pytest.mark.parametrize("name", ["", "Big", "a-b", "a b", "x;DROP TABLE book", 'a"b', "1a", "a" * 64])
async def test_a_name_that_would_have_to_be_quoted_is_refused(owner: Database, name: str) -> None:
    with pytest.raises(RoleRefused, match="small letters"):
        await owner.migrate(partial(serve_as, role=name, rights=RIGHTS))


async def test_sqlite_has_no_role_to_serve_as_and_needs_none(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path)) as database:
        with pytest.raises(RoleRefused, match="SQLite has no roles"):
            await database.migrate(partial(serve_as, role="serving", rights=RIGHTS))
        await database.read(partial(require, rights=RIGHTS))


async def test_a_role_that_lacks_a_right_is_told_before_it_serves(
    owner: Database, postgres_url: str, role: str
) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    more = {**RIGHTS, "book": CHANGE, "page": (*APPEND, "UPDATE (words)", "UPDATE (id)"), "absent": READ}
    async with opened(url_of(postgres_url, role)) as served:
        assert sorted(await served.read(partial(lacking, rights=more))) == [
            "SELECT on absent",
            "UPDATE on book",
            "UPDATE on page",
        ]
        with pytest.raises(NotPermitted):
            await served.read(partial(require, rights=more))
        with pytest.raises(NotPermitted):
            await served.migrate(make_tables)


async def test_rights_that_the_one_who_asks_may_not_give_are_refused(
    owner: Database, postgres_url: str, role: str
) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    async with opened(url_of(postgres_url, role)) as served:
        with pytest.raises(NotPermitted):
            await served.migrate(partial(serve_as, role=f"{role}_b", rights=RIGHTS))


async def test_the_role_logs_in_with_its_newest_password_and_with_no_other(
    owner: Database, postgres_url: str, role: str
) -> None:
    passwords = [secrets.token_hex(24) for _ in range(2)]
    for password in passwords:
        await owner.migrate(partial(serve_as, role=role, rights=RIGHTS, password=password))
    [(rules,)] = await owner.read(lambda connection: connection.exec_driver_sql("SHOW hba_file").all())
    async with asked_for_password(owner, Path(rules), role):
        async with asyncio.timeout(30):
            while await logs_in(url_of(postgres_url, role), "x" * 24):
                pass  # the server reads its new rules a moment after it is told to
        assert await logs_in(url_of(postgres_url, role), passwords[1])
        assert not await logs_in(url_of(postgres_url, role), passwords[0])


@contextlib.asynccontextmanager
async def asked_for_password(owner: Database, rules: Path, role: str) -> AsyncIterator[None]:
    """The server asks this role for its password, as it asks none other here."""
    before = begun_with(rules, f"local all {role} scram-sha-256\n")
    assert await said(owner, "SELECT pg_reload_conf()") == ""
    try:
        yield
    finally:
        begun_with(rules, "", before)
        assert await said(owner, "SELECT pg_reload_conf()") == ""


def begun_with(path: Path, line: str, rest: str | None = None) -> str:
    """Puts a line in front of a file, or of what it is to hold. Returns what it held."""
    before = path.read_text(encoding="utf-8")
    path.write_text(line + (before if rest is None else rest), encoding="utf-8")
    return before


async def logs_in(url: str, password: str) -> bool:
    """Whether the server takes the password."""
    try:
        connection: Any = await asyncpg.connect(url, password=password, timeout=20)
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True


@pytest.mark.parametrize("password", ["", "short", "ü" * 16])
async def test_a_password_that_is_short_or_not_ascii_is_refused(owner: Database, role: str, password: str) -> None:
    with pytest.raises(RoleRefused, match="16 ASCII characters"):
        await owner.migrate(partial(serve_as, role=role, rights=RIGHTS, password=password))


async def test_the_password_itself_is_in_no_statement() -> None:
    password = secrets.token_hex(24)
    first, second = serving_role.verifier(password), serving_role.verifier(password)
    assert first.startswith("SCRAM-SHA-256$4096:")
    assert password not in first
    assert first != second


# Planted faults.


async def test_planted_without_the_questions_a_superuser_is_let_serve(
    owner: Database, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_role, "_WAYS_PAST", {})
    monkeypatch.setattr(serving_role, "_SETS_TRIGGERS", "SELECT false WHERE $1::name IS NULL")
    await said(owner, f"CREATE ROLE {role} LOGIN SUPERUSER")
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))


async def test_planted_rights_that_are_only_added_leave_what_was_there(
    owner: Database, postgres_url: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    await said(owner, f"GRANT DELETE ON book TO {role}")
    real = serving_role._statements

    def without_revokes(*given: Any) -> list[str]:
        return [statement for statement in real(*given) if not statement.startswith("REVOKE")]

    monkeypatch.setattr(serving_role, "_statements", without_revokes)
    await owner.migrate(partial(serve_as, role=role, rights=RIGHTS))
    async with opened(url_of(postgres_url, role)) as served:
        assert await said(served, "DELETE FROM book") == ""
