"""The commerce side's revisions give just the tables that the code speaks of, on both databases."""

import pytest

from commerce_api.migrations import upgrade
from commerce_api.models import metadata
from tests.vault_zone.test_migrations import differences


@pytest.mark.anyio
async def test_the_commerce_revisions_give_its_tables(database_url: str) -> None:
    assert await differences(database_url, upgrade, metadata) == []
