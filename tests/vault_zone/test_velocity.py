"""Limits on tries: by merchant, link, network, neighbouring numbers and card; each lets its maximum through and no more."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.requirement import requirement
from tests.vault_zone.world import AMEX, MERCHANT, VISA, World, zone_world
from vault_zone.card import Pan
from vault_zone.fingerprint import Fingerprint
from vault_zone.models import velocity_counter
from vault_zone.settings import SettingsRefused
from vault_zone.sweeping import Sweeper
from vault_zone.velocity import (
    DEFAULTS,
    MERCHANT_PARTS,
    Kind,
    Limit,
    Limits,
    Tried,
    VelocityExceeded,
    count,
    pressure,
    tried,
)
from vault_zone.velocity_policy import VelocityPolicy

pytestmark = pytest.mark.anyio
KEY = b"zone"
LIMITS: Limits = {kind: Limit(60, 1_000) for kind in Kind}


def attempt(limits: Limits = LIMITS, **other: str) -> Tried:
    """One submission of a published test number."""
    key = other.pop("key", "zone").encode()
    pan = Pan.parse(other.pop("number", VISA))
    mark = Fingerprint("key_x", other.pop("mark", "b" * 64))
    place = {"merchant": MERCHANT, "network": "192.0.2.1", "platform": "plt_a", "checkout": "chk_a", **other}
    return tried(key, limits, pan=pan, mark=mark, **place)


async def try_once(world: World, tried_once: Tried) -> float:
    return await world.database.maintain(lambda tx: count(tx, tried_once))


def low(kind: Kind, maximum: int) -> Limits:
    """Limits of which one is soon reached."""
    parts = MERCHANT_PARTS if kind is Kind.MERCHANT else 1
    return {**LIMITS, kind: Limit(60, maximum * parts)}


@requirement("6.2.4")
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MERCHANT])
async def test_each_limit_lets_its_maximum_through_and_no_more_until_its_window_is_over(
    database_url: str, kind: Kind
) -> None:
    async with zone_world(database_url) as world:
        limits = low(kind, 3)
        for _ in range(3):
            await try_once(world, attempt(limits))
        for _ in range(2):
            with pytest.raises(VelocityExceeded) as exceeded:
                await try_once(world, attempt(limits))
            assert (exceeded.value.kind, exceeded.value.count) == (kind, 3)
        world.clock.now_ms = exceeded.value.again_ms - 1
        with pytest.raises(VelocityExceeded):
            await try_once(world, attempt(limits))
        world.clock.now_ms = exceeded.value.again_ms
        await try_once(world, attempt(limits))


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (Kind.CHECKOUT, {"checkout": "chk_b"}),
        (Kind.NETWORK, {"network": "192.0.2.2"}),
        (Kind.PLATFORM, {"platform": "plt_b"}),
        (Kind.BIN_LAST4, {"number": AMEX}),
        (Kind.CARD, {"mark": "c" * 64}),
        *((kind, {"merchant": "another"}) for kind in Kind if kind is not Kind.MERCHANT),
    ],
)
async def test_a_limit_that_is_reached_holds_nobody_else_up(
    database_url: str, kind: Kind, other: dict[str, str]
) -> None:
    async with zone_world(database_url) as world:
        limits = low(kind, 1)
        await try_once(world, attempt(limits))
        await try_once(world, attempt(limits, **other))
        with pytest.raises(VelocityExceeded):
            await try_once(world, attempt(limits))


async def test_a_merchant_s_limit_holds_over_all_its_parts(database_url: str) -> None:
    async with zone_world(database_url) as world:
        limits, taken = low(Kind.MERCHANT, 2), 0
        refused: set[Kind] = set()
        for _ in range(MERCHANT_PARTS * 8):
            try:
                taken += await try_once(world, attempt(limits)) > 0
            except VelocityExceeded as exceeded:
                refused.add(exceeded.kind)
        assert refused == {Kind.MERCHANT}
        assert MERCHANT_PARTS < taken <= MERCHANT_PARTS * 2


async def test_many_at_once_are_counted_exactly(database_url: str) -> None:
    async with zone_world(database_url) as world:
        limits = low(Kind.NETWORK, 10)
        answers = await asyncio.gather(*(try_once(world, attempt(limits)) for _ in range(24)), return_exceptions=True)
        assert sum(isinstance(answer, float) for answer in answers) == 10
        assert sum(isinstance(answer, VelocityExceeded) for answer in answers) == 14


async def test_a_submission_that_is_undone_was_not_counted(database_url: str) -> None:
    async with zone_world(database_url) as world:

        def undone(tx: object) -> None:
            count(tx, attempt())  # type: ignore[arg-type]
            raise KeyError

        with pytest.raises(KeyError):
            await world.database.maintain(undone)
        assert await rows(world) == []


@requirement("3.5.1.1")
async def test_a_counter_names_no_address_no_digit_and_no_fingerprint(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await try_once(world, attempt())
        stored = await rows(world)
        assert len(stored) == len(Kind)
        subjects = [subject for _, _, subject in stored]
        assert all(subject.isalpha() and len(subject) == 32 for subject in subjects)
        other_key = attempt(key="other")
        assert not {each.subject for each in other_key.counted} & set(subjects), (
            "without the key nothing can be looked up"
        )


async def test_counters_end_with_their_window_and_no_sooner(database_url: str) -> None:
    async with zone_world(database_url) as world:
        limits = {**LIMITS, Kind.CARD: Limit(3_600, 1_000)}
        await try_once(world, attempt(limits))
        sweeper = Sweeper(world.database, world.codes, world.clock)
        assert await sweeper.sweep_all() == 0
        world.clock.advance(60)
        assert await sweeper.sweep_all() == len(Kind) - 1
        assert [kind for _, kind, _ in await rows(world)] == [Kind.CARD]
        world.clock.advance(3_600)
        await sweeper.sweep_all()
        assert await rows(world) == []


async def test_pressure_is_the_share_of_a_limit_and_no_card_has_a_part_in_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        limits = low(Kind.NETWORK, 4)
        shares = [await try_once(world, attempt(limits)) for _ in range(3)]
        assert shares == [0.25, 0.5, 0.75]
        seen = tried(KEY, limits, merchant=MERCHANT, network="192.0.2.1", checkout="chk_z")
        assert await world.database.read(lambda c: pressure(c, seen, world.clock.now_ms)) == 0.75
        elsewhere = tried(KEY, limits, merchant="another", network="192.0.2.1", checkout="chk_z")
        assert await world.database.read(lambda c: pressure(c, elsewhere, world.clock.now_ms)) == 0
        cards = low(Kind.BIN_LAST4, 2)
        calm = [
            await try_once(world, attempt(cards, number=AMEX, network="192.0.2.9", checkout="chk_c")) for _ in range(2)
        ]
        assert max(calm) < 0.25, "who watches the page's puzzle learns nothing of a card"


async def rows(world: World) -> list[tuple[str, str, str]]:
    table = velocity_counter.c
    found = await world.database.read(
        lambda c: c.execute(select(table.merchant, table.kind, table.subject).order_by(table.kind)).all()
    )
    return [tuple(row) for row in found]


# The operator's own limits.


def policy(tmp_path: Path, content: object) -> VelocityPolicy:
    path = tmp_path / "limits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return VelocityPolicy.read(path)


def test_a_merchant_s_own_limits_replace_the_defaults_that_they_name(tmp_path: Path) -> None:
    own = policy(tmp_path, {MERCHANT: {"network": {"window_seconds": 600, "maximum": 5}}})
    assert own.limits_of(MERCHANT) == {**DEFAULTS, Kind.NETWORK: Limit(600, 5)}
    assert own.limits_of("another") == DEFAULTS
    assert VelocityPolicy.read(tmp_path / "none.json").limits_of(MERCHANT) == DEFAULTS


def test_limits_for_every_merchant_hold_for_those_that_are_not_named(tmp_path: Path) -> None:
    network = {"network": {"window_seconds": 3600, "maximum": 7}}
    own = {"network": {"window_seconds": 3600, "maximum": 9}}
    read = policy(tmp_path, {"*": network, MERCHANT: own})
    assert read.limits_of("another-shop")[Kind.NETWORK].maximum == 7
    assert read.limits_of(MERCHANT)[Kind.NETWORK].maximum == 9


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ([], "must hold an object"),
        ({MERCHANT: 3}, "must be an object"),
        ({MERCHANT: {"browser": {"window_seconds": 60, "maximum": 1}}}, "browser is not a limit"),
        ({MERCHANT: {"network": {"window_seconds": 0, "maximum": 1}}}, "network needs"),
        ({MERCHANT: {"network": {"window_seconds": True, "maximum": 1}}}, "network needs"),
        ({MERCHANT: {"network": {"window_seconds": 60, "maximum": 1.5}}}, "network needs"),
        ({MERCHANT: {"network": {"maximum": 1}}}, "network needs"),
        ({MERCHANT: {"merchant": {"window_seconds": 60, "maximum": 3}}}, "at least 16"),
        ({MERCHANT: {"card": {"window_seconds": 86_400, "maximum": 30}}}, "more than bin_last4"),
        ({MERCHANT: {"bin_last4": {"window_seconds": 604_800, "maximum": 20}}}, "more than bin_last4"),
    ],
)
def test_limits_that_cannot_hold_are_refused_at_start(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        policy(tmp_path, content)
    assert told in str(refused.value)


def test_the_defaults_keep_the_rule_that_the_file_is_held_to(tmp_path: Path) -> None:
    written = {kind.value: limit._asdict() for kind, limit in DEFAULTS.items()}
    assert policy(tmp_path, {MERCHANT: written}).limits_of(MERCHANT) == DEFAULTS
