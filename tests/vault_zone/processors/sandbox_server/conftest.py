"""A sandbox in this process, with a clock, ids and waits that the test decides."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault_zone.processors.sandbox_server.world import World


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "data")
    yield world
    world.store.close()
