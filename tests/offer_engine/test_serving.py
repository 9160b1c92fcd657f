"""Who decides for whom: priorities, a model on its way, or chance; and what becomes of a model that cannot be had."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from offer_engine import serving
from offer_engine.decide import Catalogue, Decision, Scored, decide
from offer_engine.exploration import Exploration
from offer_engine.judging.guards import Comparison
from offer_engine.judging.looks import look
from offer_engine.judging.promotion import SHARE_PERCENT, Rules, Stage
from offer_engine.learning.gbdt import Trained
from offer_engine.learning.rankers import LinearRanker, load_ranker
from offer_engine.learning.registry import Change, ModelKind, Registry
from offer_engine.offers import Context, ContextLine, Offer
from offer_engine.rank import ChanceRanker
from offer_engine.replay import replay
from offer_engine.serving import (
    CHANCE,
    FIRST_REST_SECONDS,
    LOOK_SECONDS,
    PRIORITIES,
    REST_SECONDS,
    SLOW_SECONDS,
    Rankers,
    StandIn,
)
from tests.offer_engine.test_decide import catalogues, context, lines
from tests.offer_engine.test_rankers import ABOUT, MODEL, TEA, TWO

BRAND = "shop"
SUBJECTS = [f"psn_{number}" for number in range(4_000)]
FULL = pytest.approx({"linear": 95.0, "priority": 5.0}, abs=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / BRAND)


@pytest.fixture
def now() -> list[float]:
    """The time, to be moved."""
    return [0.0]


@pytest.fixture
def rankers(tmp_path: Path, now: list[float]) -> Rankers:
    return Rankers(tmp_path, lambda: now[0], beside=at_once)


def at_once(work: Callable[[], None]) -> None:
    """Loads while the first who asks waits."""
    work()


def promoted(
    registry: Registry, stage: Stage, model: bytes = MODEL.to_bytes(), kind: ModelKind = ModelKind.LINEAR
) -> str:
    """A model of the registry that stands so; its name."""
    card = registry.add(model, kind, dict(ABOUT))
    registry.record(Change(1, card.model, stage.value, "a test", "passed"))
    return card.model


def shares(rankers: Rankers, hold_out_percent: float = 0) -> dict[str, float]:
    """By whom subjects are decided, in percent."""
    names = [rankers.of(BRAND, subject, hold_out_percent).name for subject in SUBJECTS]
    return {name: 100 * names.count(name) / len(names) for name in set(names)}


def test_without_a_registry_or_a_hold_out_the_priorities_decide_for_everybody(rankers: Rankers) -> None:
    assert shares(rankers) == shares(Rankers(None, lambda: 0.0)) == {"priority": 100.0}


@pytest.mark.parametrize("stage", list(Stage))
def test_a_model_has_the_share_of_its_stage(registry: Registry, rankers: Rankers, stage: Stage) -> None:
    promoted(registry, stage)
    assert shares(rankers).get("linear", 0.0) == pytest.approx(SHARE_PERCENT[stage], abs=3)


def test_the_held_out_are_the_same_subjects_with_or_without_a_model(registry: Registry, rankers: Rankers) -> None:
    before = {subject for subject in SUBJECTS if rankers.of(BRAND, subject, 10) is CHANCE}
    assert len(before) == pytest.approx(400, abs=80)
    promoted(registry, Stage.FULL)
    after = Rankers(registry.directory.parent, lambda: 0.0, beside=at_once)
    assert {subject for subject in SUBJECTS if after.of(BRAND, subject, 10) is CHANCE} == before


def test_a_rollback_holds_within_seconds_and_other_brands_have_no_part(
    registry: Registry, rankers: Rankers, now: list[float]
) -> None:
    name = promoted(registry, Stage.FULL)
    assert shares(rankers) == FULL
    assert rankers.of("another", "psn_1", 0) is PRIORITIES
    registry.record(Change(2, name, Stage.ROLLED_BACK.value, "a test", "guard_worse"))
    now[0] += LOOK_SECONDS
    assert shares(rankers) == {"priority": 100.0}


def someone(rankers: Rankers) -> str:
    """A subject on the model's side."""
    return next(subject for subject in SUBJECTS if rankers.of(BRAND, subject, 0) is not PRIORITIES)


def decided(rankers: Rankers, draw: float = 0.3) -> Decision:
    """A decision for a subject of the brand."""
    ranker = rankers.of(BRAND, someone(rankers), 0)
    return rankers.decide(ranker, context((TEA,)), Catalogue(TWO), draw)


def test_a_model_serves_with_the_exploration_it_was_judged_with_at_every_stage_and_when_played_again(
    registry: Registry, rankers: Rankers, now: list[float]
) -> None:
    judged_with = Exploration(sharpness=7.0, floor=0.05)
    name = registry.add(MODEL.to_bytes(), ModelKind.LINEAR, dict(ABOUT)).model
    registry.record(Change(1, name, Stage.CANARY.value, "a test", "passed", judged_with))
    registry.record(Change(2, name, Stage.FULL.value, "a test", "passed"))
    assert rankers.exploration != judged_with
    serving = rankers.of(BRAND, someone(rankers), 0)
    again = Rankers(registry.directory.parent, lambda: 0.0).named(BRAND, f"{serving.name}:{serving.version}")
    for ranker in (serving, again):
        assert isinstance(ranker, LinearRanker)
        assert ranker.rule == judged_with


@pytest.mark.parametrize("damage", ["missing", "changed", "boosted", "card"])
def test_a_model_that_cannot_be_had_decides_nothing_and_the_record_says_whose_turn_it_was(
    registry: Registry, rankers: Rankers, damage: str
) -> None:
    name = promoted(registry, Stage.FULL)
    file = registry.directory / "models" / f"{name}.npz"
    if damage == "missing":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(b"x" + file.read_bytes())
    elif damage == "card":
        file.with_suffix(".json").write_text("{}", encoding="utf-8")
    else:
        name = promoted(registry, Stage.FULL, b"trees", ModelKind.BOOSTED)
    assert shares(rankers) == {"priority": 100.0}
    record = decided(rankers).record()
    assert (record["policy"], record["model_hash"], record["fell_back"]) == ("priority:1", None, name)


def test_where_a_model_is_missing_the_turns_of_others_are_not_its_own(registry: Registry, rankers: Rankers) -> None:
    name = promoted(registry, Stage.RAMP_20)
    (registry.directory / "models" / f"{name}.npz").unlink()
    stood_in = [subject for subject in SUBJECTS if isinstance(rankers.of(BRAND, subject, 0), StandIn)]
    assert len(stood_in) / len(SUBJECTS) == pytest.approx(0.2, abs=0.03)


DAMAGED = {
    "an unknown stage": b'{"at_ms":2,"model":"%s","stage":"ramp_7","by":"a","reason":"b","exploration":null}'
    % (b"a" * 64),
    "a later version": b'{"at_ms":2,"model":"a","stage":"full","by":"a","reason":"b","until_ms":3}',
    "no exploration": b'{"at_ms":2,"model":"a","stage":"full","by":"a","reason":"b","exploration":{"kind":"x"}}',
    "a list": b"[1]",
    "not text": b"\xff\xfe",
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_history_that_cannot_be_read_gives_no_model_traffic_and_costs_no_offer(
    registry: Registry, rankers: Rankers, line: bytes
) -> None:
    promoted(registry, Stage.FULL)
    with (registry.directory / "history.jsonl").open("ab") as history:
        history.write(line + b"\n")
    with capture_logs() as logs:
        rankers.warm()
        assert shares(rankers, 10).keys() == {"priority", "chance"}
        decision = rankers.decide(rankers.of(BRAND, SUBJECTS[0], 0), context((TEA,)), Catalogue(TWO), 0.3)
        assert (decision.policy, decision.fell_back) == ("priority:1", None)
        assert rankers.serving(BRAND) is None
    assert {entry["event"] for entry in logs} == {"history_not_read"}


def test_a_history_that_is_no_file_costs_no_offer(registry: Registry, rankers: Rankers) -> None:
    (registry.directory / "history.jsonl").mkdir(parents=True)
    assert shares(rankers) == {"priority": 100.0}


def test_a_line_that_a_crash_left_behind_is_passed_over(registry: Registry, rankers: Rankers) -> None:
    promoted(registry, Stage.FULL)
    with (registry.directory / "history.jsonl").open("ab") as history:
        history.write(b'{"at_ms": 3, "model": "\n' + b"\0" * 40)
    assert shares(rankers)["linear"] > 90


def failing(ranker: LinearRanker, over: Context, candidates: Sequence[Offer]) -> list[Scored]:
    raise FloatingPointError


def no_numbers(ranker: LinearRanker, over: Context, candidates: Sequence[Offer]) -> list[Scored]:
    return [Scored(None, 0.0, float("nan"))]


@pytest.mark.parametrize("rank", [failing, no_numbers])
def test_a_model_that_fails_leaves_the_shopper_with_the_priorities_offer(
    registry: Registry, rankers: Rankers, monkeypatch: pytest.MonkeyPatch, rank: Callable[..., list[Scored]]
) -> None:
    name = promoted(registry, Stage.FULL)
    assert decided(rankers).fell_back is None
    monkeypatch.setattr(LinearRanker, "rank", rank)
    decision = decided(rankers)
    by_priority = decide(context((TEA,)), Catalogue(TWO), PRIORITIES, 0.3)
    assert decision == replace(by_priority, fell_back=name)
    assert replay(json.loads(json.dumps(decision.record())), Catalogue(TWO), PRIORITIES).record() == decision.record()


def test_a_model_that_is_slow_rests_and_its_turns_are_on_record_meanwhile(
    registry: Registry, rankers: Rankers, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = promoted(registry, Stage.FULL)
    honest = LinearRanker.rank

    def slow(ranker: LinearRanker, over: Context, candidates: Sequence[Offer]) -> list[Scored]:
        now[0] += SLOW_SECONDS * 1.01
        return honest(ranker, over, candidates)

    monkeypatch.setattr(LinearRanker, "rank", slow)
    for rest_seconds in (FIRST_REST_SECONDS, 2.0, 4.0, 8.0, 16.0, REST_SECONDS, REST_SECONDS):
        assert decided(rankers).fell_back is None, "who waited has waited"
        now[0] += rest_seconds * 0.99
        assert decided(rankers).fell_back == name
        now[0] += rest_seconds * 0.02
    monkeypatch.setattr(LinearRanker, "rank", honest)
    assert decided(rankers).fell_back is None
    monkeypatch.setattr(LinearRanker, "rank", slow)
    assert decided(rankers).fell_back is None
    now[0] += FIRST_REST_SECONDS
    assert decided(rankers).fell_back is None, "it was quick in between"


def faults_of_a_pause(rankers: Rankers, now: list[float], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether a model stood in for, at ten decisions a second over a quarter of an hour in which the machine pauses once."""
    honest = LinearRanker.rank

    def paused(ranker: LinearRanker, over: Context, candidates: Sequence[Offer]) -> list[Scored]:
        now[0] += 1.0
        monkeypatch.setattr(LinearRanker, "rank", honest)
        return honest(ranker, over, candidates)

    faults = []
    for number in range(9_000):
        if number == 4_000:
            monkeypatch.setattr(LinearRanker, "rank", paused)
        faults.append(decided(rankers).fell_back is not None)
        now[0] += 0.1
    return faults


def is_taken_back(faults: list[bool]) -> bool:
    """Whether the first look at such a stage finds the model worse."""
    seen = Comparison("m", 0, look(0, 1))
    nothing: dict[str, Any] = {
        "candidates": [],
        "context": {},
        "policy": "priority:1",
        "presented_ms": None,
        "verification": "claimed",
    }
    for number, fault in enumerate(faults):
        of_model = {"fell_back": "m"} if fault else {"model_hash": "m"}
        for side, more in enumerate(({}, of_model)):
            seen.add({**nothing, **more, "decided_ms": number, "subject": f"psn_{number}_{side}"})
    return bool(Rules().worse(seen.measured().guards))


def test_a_machine_that_pauses_once_does_not_take_a_good_model_back(
    registry: Registry, rankers: Rankers, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, Stage.FULL)
    faults = faults_of_a_pause(rankers, now, monkeypatch)
    assert 0 < sum(faults) <= 10
    assert not is_taken_back(faults)


def test_planted_fault_a_long_rest_at_once_makes_a_pause_look_like_a_broken_model(
    registry: Registry, rankers: Rankers, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "FIRST_REST_SECONDS", REST_SECONDS)
    promoted(registry, Stage.FULL)
    assert is_taken_back(faults_of_a_pause(rankers, now, monkeypatch))


def test_planted_fault_a_model_that_nobody_stands_in_for_fails_in_the_shopper_s_face(
    registry: Registry, rankers: Rankers, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, Stage.FULL)
    monkeypatch.setattr(LinearRanker, "rank", failing)
    with pytest.raises(FloatingPointError):
        decide(context((TEA,)), Catalogue(TWO), rankers.of(BRAND, someone(rankers), 0), 0.3)


def test_boosted_trees_serve_for_the_share_of_their_stage(
    registry: Registry, rankers: Rankers, trained: Trained
) -> None:
    name = promoted(registry, Stage.RAMP_50, trained.model.to_bytes(), ModelKind.BOOSTED)
    assert shares(rankers) == pytest.approx({"boosted": 50.0, "priority": 50.0}, abs=3)
    found = rankers.named(BRAND, f"boosted:{name[:16]}")
    assert found is not None
    assert found.model_hash == name


def test_without_the_library_the_priorities_decide_and_the_log_says_so(
    registry: Registry, rankers: Rankers, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = promoted(registry, Stage.FULL, trained.model.to_bytes(), ModelKind.BOOSTED)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with capture_logs() as logs:
        assert shares(rankers) == {"priority": 100.0}
    assert logs == [{"event": "model_not_loaded", "log_level": "error", "model": name[:16], "cause": "ExtraMissing"}]


def test_a_decision_of_boosted_trees_plays_again_from_its_record(
    registry: Registry, rankers: Rankers, trained: Trained
) -> None:
    promoted(registry, Stage.FULL, trained.model.to_bytes(), ModelKind.BOOSTED)
    decision = decide(context((TEA,)), Catalogue(TWO), rankers.of(BRAND, someone(rankers), 0), 0.7)
    record = json.loads(json.dumps(decision.record()))
    again = Rankers(registry.directory.parent, lambda: 0.0).named(BRAND, record["policy"])
    assert again is not None
    assert json.loads(json.dumps(replay(record, Catalogue(TWO), again).record())) == record


def test_threads_get_from_boosted_trees_what_one_alone_gets(registry: Registry, trained: Trained) -> None:
    name = promoted(registry, Stage.FULL, trained.model.to_bytes(), ModelKind.BOOSTED)
    ranker = load_ranker(registry, name, Exploration())
    over = [context((dataclasses.replace(TEA, unit_price_minor=1_000 + number),)) for number in range(200)]
    alone = [ranker.rank(each, TWO) for each in over]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda each: ranker.rank(each, TWO), over)) == alone


def test_no_decision_waits_for_a_model_that_is_being_loaded(registry: Registry) -> None:
    waiting: list[Callable[[], None]] = []
    rankers = Rankers(registry.directory.parent, lambda: 0.0, beside=waiting.append)
    promoted(registry, Stage.FULL)
    assert shares(rankers) == {"priority": 100.0}
    [load] = waiting
    load()
    assert shares(rankers) == FULL


def test_what_serves_is_there_before_the_first_request(registry: Registry) -> None:
    promoted(registry, Stage.FULL)
    waiting: list[Callable[[], None]] = []
    rankers = Rankers(registry.directory.parent, lambda: 0.0, beside=waiting.append)
    rankers.warm()
    assert shares(rankers) == FULL
    assert waiting == []
    Rankers(registry.directory / "nowhere", lambda: 0.0).warm()


def test_a_record_s_ranker_is_found_by_its_name(registry: Registry, rankers: Rankers) -> None:
    name = promoted(registry, Stage.CANARY)
    for policy in ("priority:1", "chance:1", f"linear:{name[:16]}"):
        found = rankers.named(BRAND, policy)
        assert found is not None
        assert f"{found.name}:{found.version}" == policy
    assert rankers.named(BRAND, "linear:" + "0" * 16) is rankers.named(BRAND, "other:1") is None


@settings(deadline=None)
@given(lines, catalogues, st.floats(0, 1, exclude_max=True))
def test_chance_gives_each_the_same_and_draws_what_it_says(
    over: tuple[ContextLine, ...], catalogue: list[Offer], draw: float
) -> None:
    decision = decide(context(over), Catalogue(catalogue), ChanceRanker(), draw)
    assert {scored.propensity for scored in decision.ranked} == {1 / len(decision.ranked)}
    drawn = [
        decide(context(over), Catalogue(catalogue), ChanceRanker(), (place + 0.5) / len(decision.ranked)).chosen.name
        for place in range(len(decision.ranked))
    ]
    assert sorted(drawn) == sorted(scored.name for scored in decision.ranked)


def test_planted_fault_a_history_that_is_never_read_again_misses_a_rollback(
    registry: Registry, rankers: Rankers, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOK_SECONDS", 1e9)
    name = promoted(registry, Stage.FULL)
    assert shares(rankers) == FULL
    registry.record(Change(2, name, Stage.ROLLED_BACK.value, "a test", "guard_worse"))
    now[0] += LOOK_SECONDS
    assert shares(rankers) == FULL
