"""What every test has: no network beyond this machine, asyncio, and both databases by their URL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from commerce_api.settings import sqlite_url
from tests.loopback_only import loopback_only
from tests.postgres import NoPostgres, PostgresServer, is_required, postgres_server

# How long an example takes says more of the machine than of the code; benchmarks look at times.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    with loopback_only():
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of tests marked ``anyio``."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The run's PostgreSQL server. Where there is none: a skip, and in CI a failure."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as missing:
        if is_required():
            pytest.fail(f"PostgreSQL is required in CI, and {missing}")
        pytest.skip(f"no PostgreSQL: {missing}")


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    url = postgres.fresh_database()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind: a test that asks for it runs on both."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    return url
