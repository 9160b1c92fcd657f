"""kill -9 to a real zone in the middle of work of many commits: it goes on after the restart, and nobody who reads fails."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from audit.store import audit_event
from tests.journeys.live_zone import DAY_MS, LiveZone, a_live_zone
from tests.journeys.running import ROOT
from tests.requirement import requirement
from tokenization.clock import now_milliseconds
from vault_zone import rekeying as rekeyings
from vault_zone.hazmat.provider import KeyDestroyed
from vault_zone.key_life import rotate
from vault_zone.key_rows import KeyState, Purpose
from vault_zone.models import card_record, data_key, rekeying
from vault_zone.rekeying import RekeyingState

pytestmark = pytest.mark.anyio
MERCHANT, OTHER = "harbour-pine", "lantern-row"
CARDS = 600  # twelve batches
EXPIRED = 1_000  # five batches
DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from audit.transaction import Database
from tokenization.clock import now_milliseconds
from vault_zone.hazmat.opening import open_provider
from vault_zone.key_life import destroy_merchant
from vault_zone.keyring import KeyRing

async def main(url, keys_directory, merchant, moment):
    database = Database.open(url, now_milliseconds)
    keys = KeyRing(open_provider(Path(keys_directory), "development"), database, now_milliseconds)
    destroy = keys.provider.destroy

    def die(merchant_id):
        if moment == "after":
            destroy(merchant_id)
        os.kill(os.getpid(), signal.SIGKILL)

    keys.provider.destroy = die
    await destroy_merchant(keys, database, merchant, "operator:test")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def zone(tmp_path: Path, database_url: str) -> AsyncIterator[LiveZone]:
    """A zone on either database."""
    async with a_live_zone(tmp_path / "zone", database_url) as made:
        yield made


async def cards_under(zone: LiveZone, key_id: str) -> int:
    """How many cards are sealed under a key."""
    found = select(func.count()).select_from(card_record).where(card_record.c.key_id == key_id)
    count: int = await zone.database.read(lambda c: c.execute(found).scalar_one())
    return count


async def cards_expired(zone: LiveZone) -> int:
    """How many cards past their time are on the disk."""
    found = select(func.count()).select_from(card_record).where(card_record.c.expires_ms <= now_milliseconds())
    count: int = await zone.database.read(lambda c: c.execute(found).scalar_one())
    return count


async def events_of(zone: LiveZone, kind: str) -> list[dict[str, object]]:
    """The data of every event of a kind."""
    found = select(audit_event.c.entry).where(audit_event.c.type == kind)
    entries = await zone.database.read(lambda c: list(c.execute(found).scalars()))
    return [json.loads(bytes(entry)).get("data", {}) for entry in entries]


@requirement("3.7.4", "3.7.5")
async def test_rekeying_goes_on_after_kill_nine_and_every_card_opens_all_the_while(zone: LiveZone) -> None:
    later = now_milliseconds() + DAY_MS
    zone.live = dict.fromkeys(await zone.store(MERCHANT, CARDS, expires_ms=later), MERCHANT)
    old, _ = await zone.keys.ready(MERCHANT, Purpose.SEALING)
    fresh = await rotate(zone.keys, MERCHANT, Purpose.SEALING, "operator:test")
    run = await zone.database.change(lambda tx: rekeyings.start(tx, MERCHANT, "operator:test"))
    left = CARDS
    for _ in range(2):
        zone.start()

        async def is_under_way(before: int = left) -> bool:
            return await cards_under(zone, old) < before

        await zone.until(is_under_way, "no card was sealed anew")
        zone.end(signal.SIGKILL)
        left = await cards_under(zone, old)
        assert 0 < left < CARDS, "the zone was to die half-way"
        await zone.open_some()
    zone.start()

    async def is_finished() -> bool:
        found = select(rekeying.c.state).where(rekeying.c.id == run.id)
        state: str = await zone.database.read(lambda c: c.execute(found).scalar_one())
        return state == RekeyingState.FINISHED

    await zone.until(is_finished, "the run did not end")
    assert await cards_under(zone, old) == 0
    assert await cards_under(zone, fresh) == CARDS
    assert {await zone.number_of(token) for token in zone.live} == {"4242424242424242"}
    assert sum(int(str(data["cards"])) for data in await events_of(zone, "rekeying.advanced")) == CARDS
    assert zone.end(signal.SIGTERM) == 0
    assert zone.verifies()


@requirement("3.2.1", "3.7.5")
async def test_a_sweep_goes_on_after_kill_nine_deletes_each_card_once_and_no_live_one(zone: LiveZone) -> None:
    now_ms = now_milliseconds()
    zone.live = dict.fromkeys(await zone.store(MERCHANT, 20, expires_ms=now_ms + DAY_MS), MERCHANT)
    await zone.store(MERCHANT, EXPIRED, expires_ms=now_ms - DAY_MS)
    zone.start()

    async def is_under_way() -> bool:
        return await cards_expired(zone) < EXPIRED

    await zone.until(is_under_way, "nothing was swept")
    zone.end(signal.SIGKILL)
    assert 0 < await cards_expired(zone) < EXPIRED, "the zone was to die half-way"
    zone.start()

    async def is_clean() -> bool:
        return await cards_expired(zone) == 0

    await zone.until(is_clean, "the sweep did not end")
    told = [data["expired"] for data in await events_of(zone, "records.expired") if data["kind"] == "card_record"]
    assert sum(int(str(count)) for count in told) == EXPIRED
    assert {await zone.number_of(token) for token in zone.live} == {"4242424242424242"}
    assert zone.end(signal.SIGTERM) == 0
    assert zone.verifies()


@requirement("3.7.5")
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_destruction_that_died_beside_the_providers_step_is_finished_by_the_zone(
    zone: LiveZone, moment: str
) -> None:
    later = now_milliseconds() + DAY_MS
    doomed = await zone.store(MERCHANT, 20, expires_ms=later)
    zone.live = dict.fromkeys(await zone.store(OTHER, 20, expires_ms=later), OTHER)
    command = [sys.executable, "-c", DIES, zone.url, str(zone.data / "keys"), MERCHANT, moment]
    died = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL, died.stderr[-1000:]
    keys_left = select(func.count()).where(data_key.c.merchant == MERCHANT, data_key.c.state != KeyState.DESTROYED)

    async def is_destroyed() -> bool:
        left: int = await zone.database.read(lambda c: c.execute(keys_left).scalar_one())
        return left == 0

    assert not await is_destroyed(), "the process was to die half-way"
    zone.live[doomed[0]] = MERCHANT
    with pytest.raises(KeyDestroyed):  # from the first commit on
        await zone.number_of(doomed[0])
    del zone.live[doomed[0]]
    zone.start()
    await zone.until(is_destroyed, "the destruction was not finished")

    async def is_gone() -> bool:
        found = select(func.count()).select_from(card_record).where(card_record.c.merchant == MERCHANT)
        left: int = await zone.database.read(lambda c: c.execute(found).scalar_one())
        return left == 0

    await zone.until(is_gone, "the dead cards stayed on the disk")
    reasons = [data.get("reason") for data in await events_of(zone, "key.destroyed")]
    assert reasons.count("begun") == reasons.count("finished") == 1
    assert zone.end(signal.SIGTERM) == 0
    assert zone.verifies()
