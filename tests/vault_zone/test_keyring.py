"""Keys are counted before they are used, end in time, serve one merchant and purpose; no transaction waits for one."""

import asyncio
from dataclasses import dataclass, field

import pytest

from audit.transaction import Database, Transaction
from tests.requirement import requirement
from tests.vault_zone.keyed import key_rows, opened, recorded, ring_of, stored
from tests.vault_zone.world import AMEX, MERCHANT, VISA, a_card, zone_world
from vault_zone.capture import know_merchant
from vault_zone.card import Pan
from vault_zone.fingerprint import fingerprint_of
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyProvider, KeyUnavailable
from vault_zone.key_life import retire
from vault_zone.key_rows import KeyLimits, Purpose, take_lease
from vault_zone.keyring import KEEP_SECONDS, KeyMissing, KeyRing
from vault_zone.models import data_key
from vault_zone.vault import store_card

pytestmark = pytest.mark.anyio
TIGHT = KeyLimits(maximum_uses=6, lease_uses=2, crypto_period_seconds=3_600)


@dataclass
class AwayProvider:
    """A provider that can be cut off, and counts what it is asked."""

    inner: KeyProvider
    away: bool = False
    asked: list[str] = field(default_factory=list)
    in_transaction: list[bool] = field(default_factory=list)
    name: str = "away"
    is_remote: bool = False
    is_sealed: bool = False

    def _ask(self, what: str) -> KeyProvider:
        self.asked.append(what)
        if self.away:
            raise KeyUnavailable
        return self.inner

    def generate(self, context: KeyContext) -> DataKey:
        return self._ask("generate").generate(context)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return self._ask("unwrap").unwrap(wrapped, context)

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return self._ask("rewrap").rewrap(wrapped, context)

    def mac(self, merchant: str, message: bytes) -> bytes:
        return self._ask("mac").mac(merchant, message)

    def rotate(self, merchant: str) -> None:
        self._ask("rotate").rotate(merchant)

    def destroy(self, merchant: str) -> None:
        self._ask("destroy").destroy(merchant)

    def check(self) -> None:
        self._ask("check").check()

    def close(self) -> None:
        """Nothing to close."""


async def test_each_merchant_has_a_key_of_its_own_for_each_purpose(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        await stored(world, merchant="another-shop")
        ids = {
            row.id
            for merchant in (MERCHANT, "another-shop")
            for purpose in ("sealing", "fingerprint")
            for row in await key_rows(world, merchant, purpose)
        }
        assert len(ids) == 4


@requirement("3.7.4")
async def test_a_used_up_key_retires_still_opens_and_never_seals_again(database_url: str) -> None:
    async with zone_world(database_url) as world:
        ring = ring_of(world, TIGHT)
        tokens = [await stored(world, keys=ring) for _ in range(15)]
        rows = await key_rows(world)
        assert [(row.epoch, row.state, row.uses) for row in rows] == [
            (1, "retired", 6),
            (2, "retired", 6),
            (3, "active", 4),
        ]
        assert [await opened(world, token) for token in tokens] == [VISA] * 15
        assert await recorded(world, "key.rotated") >= 2


async def test_no_seal_happens_that_was_not_counted_before(database_url: str) -> None:
    async with zone_world(database_url) as world:
        ring = ring_of(world, TIGHT)
        for number in range(1, 12):
            await stored(world, keys=ring)
            counted = sum(row.uses for row in await key_rows(world))
            assert counted >= number


async def test_uses_of_a_process_that_died_are_lost_and_never_given_again(database_url: str) -> None:
    async with zone_world(database_url) as world:
        for _ in range(3):
            await stored(world, keys=ring_of(world, TIGHT))  # each ring is a process that seals once and ends
        assert [(row.state, row.uses) for row in await key_rows(world)] == [("active", 6)]
        await stored(world, keys=ring_of(world, TIGHT))
        assert [(row.state, row.uses) for row in await key_rows(world)] == [("retired", 6), ("active", 2)]


@requirement("3.7.4", "3.7.5")
async def test_a_key_seals_nothing_after_its_crypto_period(database_url: str) -> None:
    async with zone_world(database_url) as world:
        ring = ring_of(world, TIGHT)
        first = await stored(world, keys=ring)
        world.clock.advance(3_599)
        await stored(world, keys=ring)
        assert len(await key_rows(world)) == 1
        world.clock.advance(1)
        await stored(world, keys=ring)
        assert [row.state for row in await key_rows(world)] == ["retired", "active"]
        assert await opened(world, first, keys=ring) == VISA


@requirement("3.7.5")
async def test_a_key_that_another_process_retired_seals_nothing_more_here(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        [key] = await key_rows(world)
        await world.database.change(lambda tx: retire(tx, key.id, MERCHANT, "operator:a"))
        token = await stored(world)  # this process still has a lease of the key
        rows = await key_rows(world)
        assert [row.state for row in rows] == ["retired", "active"]
        assert await opened(world, token) == VISA


async def test_processes_that_begin_at_once_agree_on_one_active_key(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await world.database.maintain(lambda tx: know_merchant(tx, MERCHANT, MERCHANT))
        rings = [ring_of(world) for _ in range(6)]
        await asyncio.gather(*(stored(world, keys=ring) for ring in rings))
        assert [row.state for row in await key_rows(world)] == ["active"]


async def test_a_provider_that_is_away_stops_sealing_and_opening_and_both_go_on_when_it_is_back(
    database_url: str,
) -> None:
    async with zone_world(database_url) as world:
        provider = AwayProvider(world.keys.provider)
        ring = KeyRing(provider, world.database, world.clock, world.clock.seconds)
        token = await stored(world, keys=ring)
        provider.away = True
        assert await opened(world, token, keys=ring) == VISA, "a key in memory serves for a while"
        world.clock.advance(KEEP_SECONDS)
        with pytest.raises(KeyUnavailable):
            await opened(world, token, keys=ring)
        with pytest.raises(KeyUnavailable):
            await stored(world, keys=ring)
        provider.away = False
        assert await opened(world, token, keys=ring) == VISA
        assert await opened(world, await stored(world, AMEX, keys=ring), keys=ring) == AMEX


async def test_the_provider_is_never_asked_inside_a_transaction(database_url: str) -> None:
    async with zone_world(database_url) as world:
        provider = AwayProvider(world.keys.provider)
        ring = KeyRing(provider, world.database, world.clock, world.clock.seconds)
        await world.database.maintain(lambda tx: know_merchant(tx, MERCHANT, MERCHANT))
        asked_within: list[int] = []

        def work(tx: Transaction) -> str:
            before = len(provider.asked)
            try:
                return store_card(tx, ring, merchant=MERCHANT, card=a_card(), expires_ms=tx.now_ms + 1, actor="a")
            finally:
                asked_within.append(len(provider.asked) - before)

        await ring.change(work)
        assert len(asked_within) > 1, "the first run found no key in memory, so there was something to ask for"
        assert set(asked_within) == {0}
        assert "generate" in provider.asked


async def test_a_key_of_another_merchant_is_not_opened(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        [key] = await key_rows(world)
        with pytest.raises(KeyUnavailable):
            await world.keys.read(lambda c: world.keys.opening_key(c, key.id, "another-shop"))


async def test_a_lease_is_not_given_for_what_may_not_seal(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)
        [key] = await key_rows(world)

        async def lease_after(**values: object) -> object:
            await world.database.maintain(lambda tx: tx.execute(data_key.update().values(values)))
            return await world.database.maintain(
                lambda tx: take_lease(tx, MERCHANT, Purpose.SEALING, KeyLimits(), 4096)
            )

        assert await lease_after(state="active") is not None
        assert await lease_after(uses=2**28 - 4095) is None
        assert await lease_after(uses=0, retire_by_ms=world.clock.now_ms) is None
        assert await lease_after(retire_by_ms=key.retire_by_ms, state="retired") is None
        assert await lease_after(state="destroyed") is None


async def test_work_that_always_lacks_a_key_ends_as_unavailable(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await stored(world)

        def hungry(_: Transaction) -> None:
            raise KeyMissing(MERCHANT, Purpose.SEALING)

        with pytest.raises(KeyUnavailable):
            await world.keys.change(hungry)


@requirement("3.5.1.1")
async def test_a_fingerprint_tells_equal_cards_of_one_merchant_and_key_alone(database_url: str) -> None:
    async with zone_world(database_url) as world:
        for merchant in (MERCHANT, "another-shop"):
            await stored(world, merchant=merchant)
        visa, amex = Pan.parse(VISA), Pan.parse(AMEX)
        mine = await fingerprint_of(world.keys, MERCHANT, visa)
        assert await fingerprint_of(world.keys, MERCHANT, visa) == mine
        assert (await fingerprint_of(world.keys, MERCHANT, amex)).digest != mine.digest
        assert (await fingerprint_of(world.keys, "another-shop", visa)).digest != mine.digest
        await world.keys.begin_epoch(MERCHANT, Purpose.FINGERPRINT, reason="asked")
        assert (await fingerprint_of(world.keys, MERCHANT, visa)).digest != mine.digest
        assert len(mine.digest) == 64
        assert mine.digest.isalpha()


def test_a_ring_shows_no_key() -> None:
    ring = KeyRing(AwayProvider.__new__(AwayProvider), Database.__new__(Database), lambda: 0)
    ring._hold("key_a", b"k" * 32)
    assert "kkkk" not in f"{ring._held} {ring.__dict__['_held']!r}"
