"""A model that is on its way goes back by itself, and on where its brand wants it so; each move is on record once."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from commerce_api.brands import find_brand
from commerce_api.checkout.service import Caller
from commerce_api.models import offer_decision, offer_outcome
from commerce_api.offering import ramping
from commerce_api.offering.export import PAGE, newest_decisions
from commerce_api.offering.outcomes import DECISIONS_KEPT_SECONDS
from commerce_api.offering.ramping import BY, Ramp
from commerce_api.offering.standing import standing_of, told
from commerce_api.policy_offers import Models
from commerce_api.runtime import OFFER_MODELS
from offer_engine.judging import promotion
from offer_engine.judging.guards import GROUPINGS, GROUPINGS_USUAL
from offer_engine.judging.looks import LONGEST_MS
from offer_engine.judging.promotion import SHARE_PERCENT, Side, Stage, side
from offer_engine.learning.registry import Change, ModelKind, Registry
from offer_engine.market import NOW_MS, FixedPlayer, Player
from tests.commerce_api.test_offering import asked, offer, with_offers
from tests.commerce_api.world import BRAND, World, commerce_world
from tests.offer_engine.stages import HOUR_MS, Staged, stark
from tests.offer_engine.test_rankers import ABOUT, MODEL

pytestmark = pytest.mark.anyio
MARKET = stark(2_400)
WORST, BEST = FixedPlayer(1), FixedPlayer(3)
AUTOMATIC: dict[str, Any] = {"ramp": "automatic"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with commerce_world(tmp_path) as built:
        yield built


def registry_of(world: World, brand: str = BRAND) -> Registry:
    return Registry(world.directory / OFFER_MODELS / brand)


def ramp(world: World) -> Ramp:
    return Ramp(world.commerce.database, world.directory / OFFER_MODELS, world.clock)


def begun(world: World, stage: Stage = Stage.RAMP_50) -> str:
    """A model at a stage that began when the market did; its name."""
    registry = registry_of(world)
    card = registry.add(MODEL.to_bytes(), ModelKind.LINEAR, dict(ABOUT))
    registry.record(Change(NOW_MS, card.model, stage.value, "ana", "passed"))
    return card.model


async def stored(world: World, records: Iterable[dict[str, Any]]) -> None:
    """Decisions of the market in commerce's own tables."""
    decisions, outcomes = [], []
    for record in records:
        row = dict(record)
        identifier, came = row.pop("decision_id"), row.pop("outcomes")
        decided = {name: row.pop(name) for name in ("decided_ms", "presented_ms", "slot")}
        of = {"id": identifier, "brand": BRAND, "principal": "test", "subject": row["subject"], "chosen": row["chosen"]}
        row["context"] = {**row["context"], "region": "US-OR"}
        decisions.append({**of, **decided, "record": json.dumps(row)})
        shown = {"type": "shown", "value_minor": 0, "key": "shown"}
        came.append({**shown, "at_ms": decided["presented_ms"], "recorded_ms": decided["presented_ms"]})
        outcomes += [{**each, "decision": identifier, "brand": BRAND} for each in came]

    def insert_all(tx: Any) -> None:
        tx.execute(insert(offer_decision), decisions)
        tx.execute(insert(offer_outcome), outcomes)

    await world.commerce.database.maintain(insert_all)


async def staged(
    world: World, model: Player, incumbent: Player, hours: float = 50, stage: Stage = Stage.RAMP_50, **models: Any
) -> str:
    """A stage of which there is a log, so many hours on; the model's name."""
    await with_offers(world, offer(), models=models or None)
    name = begun(world, stage)
    await stored(world, Staged(MARKET, model, incumbent, stage, name).records(3))
    world.clock.now_ms = NOW_MS + int(hours * HOUR_MS)
    return name


def stages(world: World) -> list[tuple[str, str, str]]:
    return [(change.stage, change.by, change.reason) for change in registry_of(world).history()]


async def moved(world: World) -> list[dict[str, Any]]:
    """The events of moves: actors and data."""
    return [
        {"actor": entry["actor"], **entry["data"]}
        for entry in (json.loads(row.entry) for row in await world.events("offer_model.moved"))
    ]


async def test_a_bad_model_goes_back_by_itself_with_a_reason_on_either_database(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        name = await staged(world, WORST, BEST)
        await ramp(world).sweep()
        assert stages(world) == [
            ("ramp_50", "ana", "passed"),
            ("rolled_back", BY, "guard_worse: reward_lost, margin_lost"),
        ]
        assert await moved(world) == [
            {"actor": "operator", "model": name[:12], "from": "apprentice", "to": "ramp_50", "reason": "passed"},
            {"actor": BY, "model": name[:12], "from": "ramp_50", "to": "rolled_back", "reason": "guard_worse"},
        ]
        await asked(world)
        newest = max(await world.rows(offer_decision), key=lambda row: row.decided_ms)
        assert json.loads(newest.record)["policy"] == "priority:1"


async def test_at_full_a_bad_model_goes_back_by_itself_too_on_either_database(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await staged(world, WORST, BEST, stage=Stage.FULL)
        await ramp(world).sweep()
        assert stages(world)[-1] == ("rolled_back", BY, "guard_worse: reward_lost, margin_lost")


async def test_planted_fault_where_nobody_is_left_with_the_priorities_a_bad_model_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "SHARE_PERCENT", {**SHARE_PERCENT, Stage.FULL: 100})
    await staged(world, WORST, BEST, stage=Stage.FULL)
    await ramp(world).sweep()
    assert [stage for stage, _, _ in stages(world)] == ["full"]


async def test_at_full_a_good_model_stays(world: World) -> None:
    await staged(world, BEST, WORST, stage=Stage.FULL, **AUTOMATIC)
    await ramp(world).sweep()
    assert [stage for stage, _, _ in stages(world)] == ["full"]


async def test_at_full_shoppers_are_on_a_side_by_their_hash_and_what_is_on_record_is_what_was_drawn_from(
    world: World,
) -> None:
    await with_offers(world, offer())
    name = begun(world, Stage.FULL)
    world.desk.rankers.warm()
    for number in range(120):
        await asked(world, Caller(f"shopper:shp_{number}", "test"))
    sides: Counter[Side] = Counter()
    for row in await world.rows(offer_decision):
        record = json.loads(row.record)
        of = side(row.subject, name, Stage.FULL, 0.0)
        sides[of] += 1
        assert record["model_hash"] == (name if of is Side.MODEL else None)
        assert record["policy"] == (f"linear:{name[:16]}" if of is Side.MODEL else "priority:1")
        vector = {each["offer"]: each["propensity"] for each in record["candidates"]}
        assert math.fsum(vector.values()) == pytest.approx(1, abs=1e-12)
        assert vector[record["chosen"]] > 0
        if of is Side.INCUMBENT:
            assert (record["exploration"], vector[record["chosen"]]) == ("none", 1.0)
    assert sides[Side.MODEL] > 100
    assert 0 < sides[Side.INCUMBENT] < 20


@pytest.mark.parametrize(("models", "stage"), [({}, "ramp_50"), (AUTOMATIC, "full")])
async def test_a_good_model_goes_on_by_itself_only_where_the_policy_says_so(
    world: World, models: dict[str, Any], stage: str
) -> None:
    await staged(world, BEST, WORST, **models)
    await ramp(world).sweep()
    assert stages(world)[-1][0] == stage
    assert len(await moved(world)) == len(stages(world))


async def test_a_tie_waits(world: World) -> None:
    await staged(world, BEST, BEST, **AUTOMATIC)
    await ramp(world).sweep()
    assert [stage for stage, _, _ in stages(world)] == ["ramp_50"]


async def test_two_processes_that_look_at_once_write_one_line_and_one_event(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await staged(world, WORST, BEST)
        await asyncio.gather(*(ramp(world).sweep() for _ in range(3)))
        await ramp(world).sweep()
        assert [stage for stage, _, _ in stages(world)] == ["ramp_50", "rolled_back"]
        assert len(await moved(world)) == 2


async def test_planted_fault_a_line_that_is_added_behind_any_other_is_added_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "record_after", lambda registry, change, _: registry.record(change))
    await staged(world, WORST, BEST)
    await asyncio.gather(*(ramp(world).sweep() for _ in range(3)))
    assert len(stages(world)) > 2


async def test_a_move_whose_event_was_lost_with_its_process_is_recorded_by_the_next(world: World) -> None:
    name = begun(world)
    registry_of(world).record(Change(NOW_MS + 1, name, "rolled_back", BY, "guard_worse: refunds"))
    assert await moved(world) == []
    for _ in range(2):
        await ramp(world).sweep()
    assert [(event["to"], event["reason"]) for event in await moved(world)] == [
        ("ramp_50", "passed"),
        ("rolled_back", "guard_worse"),
    ]


async def test_a_person_s_own_words_stay_in_the_history(world: World) -> None:
    name = begun(world)
    registry_of(world).record(Change(NOW_MS + 1, name, "rolled_back", 'Ana "A"', "complaints: <b>4111 1111 1111 1111"))
    await ramp(world).sweep()
    last = (await moved(world))[-1]
    assert (last["actor"], last["reason"]) == ("operator", "by_hand")


def pages_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many decisions each reading gives, from now on."""
    read: list[int] = []

    def counted(*arguments: Any) -> list[dict[str, Any]]:
        found = newest_decisions(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(ramping, "newest_decisions", counted)
    return read


async def test_a_look_is_taken_once_and_the_next_one_when_it_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await staged(world, BEST, BEST, hours=40)
    read = pages_read(monkeypatch)
    one = ramp(world)
    await one.sweep()
    first = sum(read)
    assert first > 1_000
    assert max(read) <= PAGE
    await one.sweep()
    assert sum(read) == first
    world.clock.now_ms = NOW_MS + 60 * HOUR_MS
    await one.sweep()
    assert sum(read) > 2 * first


async def test_no_more_is_read_than_the_bound_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await staged(world, BEST, BEST)
    monkeypatch.setattr(ramping, "DECISIONS_MAXIMUM", 2 * PAGE)
    read = pages_read(monkeypatch)
    await ramp(world).sweep()
    assert read == [PAGE, PAGE]


async def test_a_brand_whose_history_is_damaged_does_not_keep_the_others_from_their_turn(world: World) -> None:
    await world.add_brand("A First Shop")
    registry_of(world, "a-first-shop").record(Change(NOW_MS, "a" * 64, "no such stage", "ana", "passed"))
    await staged(world, WORST, BEST)
    await ramp(world).sweep()
    assert stages(world)[-1][0] == "rolled_back"


async def test_a_look_at_a_long_stay_reads_no_decision_of_which_only_those_that_were_taken_are_kept(
    world: World,
) -> None:
    assert LONGEST_MS < DECISIONS_KEPT_SECONDS * 1_000
    await staged(world, WORST, BEST, hours=24 * 500, stage=Stage.FULL)
    await ramp(world).sweep()
    assert [stage for stage, _, _ in stages(world)] == ["full"]


async def test_where_it_stands_is_told_within_eighty_columns(world: World) -> None:
    await staged(world, BEST, BEST)

    async def lines(**changes: Any) -> list[str]:
        def read(connection: Any) -> list[str]:
            brand = replace(find_brand(connection, BRAND), **changes)
            return told(brand, standing_of(connection, brand, registry_of(world), world.clock()))

        return await world.commerce.database.read(read)

    text = await lines()
    assert max(map(len, text)) <= 80
    assert "  stage      ramp 50, 50 % of shoppers, since 2026-11-18 11:06 UTC" in text
    assert any("sales lost" in line and line.endswith("unclear") for line in text)
    assert "next: waits: not clear yet that it is as good as the priorities" in text
    registry_of(world).record(Change(NOW_MS, begun(world), "full", "ana", "passed"))
    assert [line.split() for line in await lines() if "alone" in line] == [
        ["the", "last", "day", "alone", "not", "worse"],
    ]
    world.clock.now_ms = NOW_MS + 60_000
    assert (await lines())[-1].startswith("  first look 2026-11-18 11:21")
    registry_of(world).record(Change(NOW_MS + 2, begun(world), "rolled_back", "ana", "complaints"))
    assert await lines() == [f"{BRAND}: no model decides; the priorities do"]


def test_what_a_policy_may_name_is_what_can_be_told_apart() -> None:
    assert Models.model_validate({"groups": tuple(GROUPINGS)}).groups == tuple(GROUPINGS)
    assert Models().groups == GROUPINGS_USUAL
    with pytest.raises(ValueError, match=r"'verification', 'country' or 'returning'"):
        Models.model_validate({"groups": ("religion",)})
