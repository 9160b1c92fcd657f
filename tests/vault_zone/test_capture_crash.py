"""A capture that dies at any write: the card is held whole, with token and grant, or not at all; never in clear on a disk."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select
from sqlalchemy.engine import Connection

from tests.requirement import requirement
from tests.vault_zone.keyed import ring_of
from tests.vault_zone.world import ACTOR, MERCHANT, VISA, Crash, World, a_card, capture_request, zone_world
from vault_zone.capture import LinkRefused, capture_card, claim_link, open_session
from vault_zone.fingerprint import fingerprint_of
from vault_zone.models import capture_session, card_grant, card_record, metadata

pytestmark = pytest.mark.anyio
WRITES = 5  # the link, its claim, the fingerprint key's epoch, the sealing key's, the card


class Shopper:
    """What a browser and commerce remember, whatever the zone forgets."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.secret = ""
        self.claim: str | None = None

    async def go(self) -> None:
        """From where it stands to a captured card. Raises Crash, LinkRefused."""
        world = self.world
        if not self.secret:
            _, self.secret = await world.database.change(lambda tx: open_session(tx, capture_request(), ACTOR))
        if self.claim is None:
            _, self.claim = await world.database.change(lambda tx: claim_link(tx, self.secret, None))
        card, ring = a_card(), ring_of(world)
        mark = await fingerprint_of(ring, MERCHANT, card.pan)
        await ring.change(
            lambda tx: capture_card(tx, ring, secret=self.secret, claim=self.claim, card=card, fingerprint=mark)
        )


def counts(connection: Connection) -> tuple[int, int, int]:
    """Cards, grants, and sessions that say that a card was taken."""
    cards = connection.execute(select(card_record.c.token)).all()
    grants = connection.execute(select(card_grant.c.id)).all()
    sessions = connection.execute(select(capture_session.c.id).where(capture_session.c.state == "captured")).all()
    return len(cards), len(grants), len(sessions)


def everything(connection: Connection) -> str:
    """Every value of every row, as text, bytes in both forms."""
    values: list[str] = []
    for table in metadata.sorted_tables:
        for row in connection.execute(select(table)):
            values += [
                value.hex() + value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row
            ]
    return "\n".join(values)


def files_of(url: str) -> Iterator[bytes]:
    """The database's files as they lie on the disk, where they are ours to read."""
    if url.startswith("sqlite"):
        path = Path(urlsplit(url).path[1:] if urlsplit(url).path.startswith("//") else urlsplit(url).path)
        yield from (file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


@requirement("3.3.1", "3.5.1")
@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
async def test_a_capture_that_died_at_any_write_is_whole_or_absent_and_the_shopper_can_go_on(
    database_url: str, write: int, persisted: bool
) -> None:
    async with zone_world(database_url) as world:
        shopper = Shopper(world)
        world.database.crash_at, world.database.persisted = write, persisted
        with pytest.raises(Crash):
            await shopper.go()
        world.database.crash_at = None
        found = await world.database.read(counts)
        assert found in ((0, 0, 0), (1, 1, 1))
        try:
            await shopper.go()
        except LinkRefused:  # it was taken, or the answer with the claim was lost: commerce makes a new link
            shopper.secret, shopper.claim = "", None
            if found == (0, 0, 0):
                await shopper.go()
        taken = await world.database.read(counts)
        assert taken == (1, 1, 1)
        assert VISA not in await world.database.read(everything)
        assert not any(VISA.encode() in content for content in files_of(database_url))


async def test_a_card_in_clear_would_be_found(database_url: str) -> None:
    """The control: the same searches find a number that was stored as it is."""
    async with zone_world(database_url) as world:
        asked = capture_request().model_copy(update={"summary": (VISA,)})
        await world.database.change(lambda tx: open_session(tx, asked, ACTOR))
        assert VISA in await world.database.read(everything)
        contents = list(files_of(database_url))
        assert any(VISA.encode() in content for content in contents) == bool(contents)
        assert bool(contents) == database_url.startswith("sqlite")
