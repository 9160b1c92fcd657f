"""Where the two sides keep their data: two databases with two credentials, whatever the operator names (decision 2)."""

import asyncio
import os
import secrets
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from commerce_api.cli.refused import CommandRefused

SIDES = ("zone", "commerce")
CONNECT_TIMEOUT_SECONDS = 10


def database_urls(given: list[str], data: Path) -> dict[str, str | None]:
    """The URL of each side's database; None stands for SQLite in the side's data directory.

    ``given`` is nothing (SQLite), ``zone=URL commerce=URL``, two URLs (zone's first), or one URL of a PostgreSQL server on
    which a role and a database is made for each side, once; their URLs are then kept in the data directory.
    Raises CommandRefused.
    """
    if not given:
        return dict.fromkeys(SIDES)
    named = dict(item.split("=", 1) for item in given if item.split("=", 1)[0] in SIDES)
    if set(named) == set(SIDES) and len(given) == len(SIDES):
        return {side: _checked(named[side]) for side in SIDES}
    if len(given) == len(SIDES) and not named:
        return {side: _checked(url) for side, url in zip(SIDES, given, strict=True)}
    if len(given) == 1 and not named:
        return asyncio.run(_divided(_checked(given[0]), data))
    raise CommandRefused("give --database-url once (a PostgreSQL server), or twice: zone=URL and commerce=URL")


def _checked(text: str) -> str:
    try:
        url = make_url(text)
    except ArgumentError:
        raise CommandRefused("a database URL looks like postgresql://user:password@host:5432/name") from None
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise CommandRefused("a database URL starts with postgresql:// or sqlite:///")
    return text


async def _divided(server: str, data: Path) -> dict[str, str | None]:
    """Makes a role and a database for each side on one PostgreSQL server, and shuts everybody else out of them."""
    kept = {side: data / side / "database.url" for side in SIDES}
    if all(path.is_file() for path in kept.values()):
        return {side: path.read_text(encoding="utf-8").strip() for side, path in kept.items()}
    url = make_url(server)
    if url.get_backend_name() != "postgresql":
        raise CommandRefused("one URL for both sides must be a PostgreSQL server; SQLite needs none")
    try:
        connection = await asyncpg.connect(dsn=_dsn(url), timeout=CONNECT_TIMEOUT_SECONDS)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        raise CommandRefused(
            "this PostgreSQL server cannot be reached: check the URL, and that the server runs"
        ) from None
    try:
        # A suffix of its own for each data directory, so that two stacks can share a server.
        suffix = secrets.token_hex(4)
        return {side: await _make_side(connection, url, side, suffix, kept[side]) for side in SIDES}
    except asyncpg.InsufficientPrivilegeError:
        raise CommandRefused(
            "this role may not make roles and databases: name two databases, zone=URL and commerce=URL"
        ) from None
    finally:
        await connection.close()


async def _make_side(connection: "asyncpg.Connection", url: URL, side: str, suffix: str, keep: Path) -> str:
    # Names and password are made of letters and hexadecimal digits here, so they can stand in the statements as they are.
    name, password = f"cordon_{side}_{suffix}", secrets.token_hex(24)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    own = url.set(username=name, password=password, database=name).render_as_string(hide_password=False)
    keep.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(keep, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(own + "\n")
    return own


def _dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
