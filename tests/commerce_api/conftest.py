"""A commerce side for each test that asks for one (world.py)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.commerce_api.world import World, commerce_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A commerce side on SQLite. For tests marked ``anyio``."""
    async with commerce_world(tmp_path) as built:
        yield built


@pytest.fixture
async def world_on_each(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A commerce side, once on SQLite and once on PostgreSQL. For tests marked ``anyio``."""
    async with commerce_world(tmp_path, database_url) as built:
        yield built


@pytest.fixture
async def world_by_owner(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """As world_on_each, by the owner of the tables, whom only triggers keep from what no right keeps it from."""
    async with commerce_world(tmp_path, database_url, by_owner=True) as built:
        yield built
