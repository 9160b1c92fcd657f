"""What every history starts from, made once: a merchant with its keys, a card with a grant for each channel of each order."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from tests.simulation.history import AMOUNT_MINOR, CHANNELS, ORDERS, Template
from tests.simulation.store import Disk
from tests.vault_zone.world import zone_world


def make_template() -> Template:
    """Captures the cards in a real zone on a file, and takes the file's content."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_made(Path(directory)))


async def _made(directory: Path) -> Template:
    file = directory / "zone.sqlite3"
    async with zone_world(f"sqlite:///{file}") as world:
        grants = [
            await world.captured_grant(checkout=f"chk_{order}", amount_minor=AMOUNT_MINOR)
            for order in range(ORDERS)
            for _ in range(CHANNELS)
        ]
        provider = world.keys.provider
        await world.database.cut_log()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=DELETE")
    image = connection.serialize()
    connection.close()
    disk = Disk()
    disk.fill(image)
    return Template(disk.image(), provider, grants)
