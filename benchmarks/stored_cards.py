"""Fills the zone's tables with copies of one token that was made: as many rows as a busy merchant's zone holds."""

import sqlite3
from typing import Final

import asyncpg
from sqlalchemy import Table

from vault_zone.models import card_grant, card_record, idempotency

COPIED: Final = (
    (card_record, "token"),
    (card_grant, "id"),
    (idempotency, "key_digest"),
)  # the name that is new in each copy
_RANDOM: Final = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "md5(random()::text || n)"}


async def store(url: str, count: int) -> None:
    """Adds cards, their grants and their kept answers until there are ``count`` of each."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
        try:
            for table, name in COPIED:
                connection.execute(_copies(table, name, "sqlite", count))
            connection.execute("ANALYZE")
        finally:
            connection.close()
        return
    server = await asyncpg.connect(url, timeout=30)
    try:
        for table, name in COPIED:
            await server.execute(_copies(table, name, "postgresql", count), timeout=600)
        await server.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await server.close()


def _copies(table: Table, name: str, dialect: str, count: int) -> str:
    columns = [column.name for column in table.columns]
    fresh = ", ".join(_RANDOM[dialect] if column == name else column for column in columns)
    wanted = f"{count} - (SELECT count(*) FROM {table.name})"
    numbers = f"generate_series(1, {wanted}) AS numbers(n)"
    series = ""
    if dialect == "sqlite":
        series = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {wanted}) "
        numbers = "numbers"
    one = f"(SELECT * FROM {table.name} LIMIT 1) AS one"
    return f"{series}INSERT INTO {table.name} ({', '.join(columns)}) SELECT {fresh} FROM {numbers}, {one}"  # nosec B608  # our own names
