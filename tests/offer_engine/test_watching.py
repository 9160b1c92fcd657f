"""A model at the last stage is held against the incumbent as long as it serves: a fall is seen, no long stay misleads."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from benchmarks.offers_guards import Lasting, decisions
from offer_engine.judging import guards, intervals, looks
from offer_engine.judging.guards import Comparison
from offer_engine.judging.looks import EVERY_MS, LATELY_DAYS, LEVEL, LONGEST_MS, Look, look, newest_look
from offer_engine.judging.promotion import Guard, Measured, Reason, Rules, Stage, advance
from offer_engine.judging.standing import guard_lines, reason_of
from offer_engine.judging.watching import Watch, look_of
from offer_engine.learning.registry import Change
from offer_engine.market import NOW_MS
from tests.offer_engine.stages import HOUR_MS, MODEL
from tests.offer_engine.test_promotion import WELL, interval

DAY_MS = 24 * HOUR_MS
STAYS = [Lasting(days=90, daily=400, lost=0.0, turns=0, seed=seed) for seed in range(4)]
TURNS = Lasting(days=160, daily=1_000, lost=0.25, turns=120, seed=3)


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer make intervals narrower: what holds with these holds with more."""
    monkeypatch.setattr(guards, "REPLICATES", 10)


def share_taken_back() -> float:
    return sum(stay.first_worse() is not None for stay in STAYS) / len(STAYS)


def test_a_model_that_is_no_worse_is_left_alone_through_a_long_stay() -> None:
    assert share_taken_back() <= 1 - LEVEL


def test_planted_fault_looks_that_each_claim_the_whole_level_end_every_long_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Look, "level", lambda self, bounds: LEVEL)
    monkeypatch.setattr(intervals, "_bernstein", lambda contributions, *_: np.zeros(contributions.shape[1]))
    assert share_taken_back() == 1


def test_all_that_looks_may_be_wrong_by_in_a_stay_of_any_length_is_no_more_than_the_level() -> None:
    wrong = 0.0
    for number in range(1, 5_000):
        at = look(0, number, lasts=True)
        each = (1 - at.level(len(Guard))) / 2
        wrong += each * len(Guard) * (1 + len(at.lately_days))
        assert wrong <= 1 - LEVEL
    assert wrong > 0.99 * (1 - LEVEL)


def test_a_model_that_turns_bad_after_a_good_time_is_found_within_weeks() -> None:
    found = TURNS.first_worse()
    assert found is not None
    assert TURNS.turns < found <= TURNS.turns + 25


def test_planted_fault_a_stage_that_is_only_seen_whole_hides_a_fall_behind_its_good_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "LATELY_DAYS", ())
    with pytest.raises(AssertionError):
        test_a_model_that_turns_bad_after_a_good_time_is_found_within_weeks()


def test_looks_at_a_stage_without_an_end_are_never_more_than_a_day_apart() -> None:
    moments = [look(0, number, lasts=True).at_ms for number in range(1, 800)]
    steps = np.diff(moments)
    assert steps.min() > 0
    assert steps.max() == EVERY_MS
    assert moments[:14] == [look(0, number).at_ms for number in range(1, 15)]
    assert newest_look(0, 400 * DAY_MS, lasts=True) == Look(411, moments[410], LATELY_DAYS)
    first = newest_look(0, DAY_MS, lasts=True)
    assert first is not None
    assert first.lately_days == ()


@pytest.mark.parametrize("stage", list(Stage))
def test_only_the_last_stage_is_looked_at_for_ever(stage: Stage) -> None:
    at = look_of(Change(0, MODEL, stage.value, "ana", "passed"), 100 * DAY_MS)
    assert at == newest_look(0, 100 * DAY_MS, lasts=stage is Stage.FULL)
    assert at is not None
    assert (at.lately_days == LATELY_DAYS) is (stage is Stage.FULL)


def watched(records: Iterable[dict[str, Any]], at: Look, began_ms: int = NOW_MS) -> Watch:
    watch = Watch(MODEL, began_ms, at)
    for record in records:
        watch.add(record)
    return watch


def test_each_window_holds_what_a_comparison_of_its_own_would() -> None:
    records = list(decisions(3 * 1_440, 0.1, 1))
    at = Look(20, NOW_MS + 3 * DAY_MS, (1, 2))
    watch = watched(records, at)
    for days, comparison in ((3, watch.whole), *watch.lately.items()):
        alone = Comparison(MODEL, at.at_ms - days * DAY_MS, at)
        for record in records[-days * 1_440 :]:
            alone.add(record)
        assert comparison.decisions == alone.decisions
        assert sum(alone.decisions.values()) == days * 1_440
        assert comparison.measured() == alone.measured()
    assert watch.measured().lately[1] == watch.lately[1].measured().guards


def test_nothing_is_seen_of_what_is_so_old_that_only_taken_decisions_are_kept() -> None:
    at = look(NOW_MS, 500, lasts=True)
    assert at.sees_from(NOW_MS) == at.at_ms - LONGEST_MS > NOW_MS
    old = list(decisions(100, 0.1, 1))
    assert sum(watched(old, at).whole.decisions.values()) == 0
    assert look(NOW_MS, 20, lasts=True).sees_from(NOW_MS) == NOW_MS


def test_a_window_that_is_worse_takes_a_model_back_and_says_which_it_was() -> None:
    rules = Rules(tolerance={})
    fine = {Guard.FAULTS: interval(-0.02)}
    measured = Measured(5_000, 90 * DAY_MS, WELL, {1: {}, 4: {Guard.FAULTS: interval(0.02)}, 16: fine})
    move = advance(Stage.FULL, measured, rules, Reason.PASSED)
    assert (move.stage, move.reason) == (Stage.ROLLED_BACK, Reason.GUARD_WORSE)
    assert reason_of(move, measured, rules) == "guard_worse: faults in the last 4 days"
    assert [line.split()[2:] for line in guard_lines(measured, rules)[-3:]] == [
        ["day", "alone", "not", "known"],
        ["4", "days", "alone", "worse"],
        ["16", "days", "alone", "not", "worse"],
    ]
