"""A model comes to serve step by step and goes at once; uplift tells a good order from a wrong one."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine.features import Vector
from offer_engine.judging import promotion
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judgement, Verdict
from offer_engine.judging.promotion import (
    SHARE_PERCENT,
    Guard,
    Measured,
    Move,
    Reason,
    Rules,
    Side,
    Stage,
    advance,
    gate,
    side,
)
from offer_engine.judging.support import Refusal
from offer_engine.judging.uplift import qini

RULES = Rules(decisions=1_000, stage_ms=1_000, tolerance={})


def interval(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, value - half, value + half)


WELL: Mapping[Guard, Interval] = {guard: interval(-0.02) for guard in Guard}
ENOUGH = Measured(decisions=1_000, stage_ms=1_000, guards=WELL)
ORDER = [Stage.APPRENTICE, Stage.CANARY, Stage.RAMP_5, Stage.RAMP_20, Stage.RAMP_50, Stage.FULL]


def test_a_good_model_comes_to_serve_everybody_one_stage_at_a_time() -> None:
    stage, passed = Stage.APPRENTICE, [Stage.APPRENTICE]
    while stage is not Stage.FULL:
        stage = advance(stage, ENOUGH, RULES, Reason.PASSED).stage
        passed.append(stage)
    assert passed == ORDER
    assert advance(Stage.FULL, ENOUGH, RULES, Reason.PASSED) == Move(Stage.FULL, Reason.ENDED)
    assert [SHARE_PERCENT[each] for each in passed] == [0, 1, 5, 20, 50, 95]


@pytest.mark.parametrize("guard", list(Guard))
@pytest.mark.parametrize("stage", ORDER)
def test_any_guard_that_is_worse_beyond_doubt_takes_all_traffic_away(stage: Stage, guard: Guard) -> None:
    worse = replace(ENOUGH, guards={**WELL, guard: interval(0.02)})
    move = advance(stage, worse, RULES, Reason.PASSED)
    assert move == Move(Stage.ROLLED_BACK, Reason.GUARD_WORSE)
    assert SHARE_PERCENT[move.stage] == 0
    assert advance(move.stage, ENOUGH, RULES, Reason.PASSED) == Move(Stage.ROLLED_BACK, Reason.ENDED)


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (replace(ENOUGH, decisions=999), Reason.TOO_FEW_DECISIONS),
        (replace(ENOUGH, stage_ms=999), Reason.TOO_SOON),
        (replace(ENOUGH, guards={**WELL, Guard.REFUNDS: interval(0.005)}), Reason.GUARD_UNCLEAR),
        (replace(ENOUGH, guards={g: i for g, i in WELL.items() if g is not Guard.OPT_OUTS}), Reason.GUARD_MISSING),
    ],
)
def test_a_model_waits_until_enough_is_known(measured: Measured, reason: Reason) -> None:
    assert advance(Stage.CANARY, measured, RULES, Reason.PASSED) == Move(Stage.CANARY, reason)


def test_a_guard_that_is_no_number_is_no_good_guard() -> None:
    unknown = replace(ENOUGH, guards={**WELL, Guard.MARGIN_LOST: interval(float("nan"))})
    assert advance(Stage.RAMP_20, unknown, RULES, Reason.PASSED).stage is Stage.ROLLED_BACK


def test_a_guard_may_be_worse_by_what_is_tolerated() -> None:
    rules = replace(RULES, tolerance={Guard.FAULTS: 0.05})
    slightly = replace(ENOUGH, guards={**WELL, Guard.FAULTS: interval(0.03)})
    assert advance(Stage.CANARY, slightly, rules, Reason.PASSED).stage is Stage.RAMP_5
    assert advance(Stage.CANARY, slightly, RULES, Reason.PASSED).stage is Stage.ROLLED_BACK


measurements = st.builds(
    Measured,
    decisions=st.integers(0, 3_000),
    stage_ms=st.integers(0, 3_000),
    guards=st.dictionaries(st.sampled_from(Guard), st.floats(-0.1, 0.1).map(interval)),
)


@given(st.sampled_from(Stage), st.lists(measurements, max_size=12), st.sampled_from(Reason))
def test_whatever_is_measured_no_stage_is_skipped(stage: Stage, history: list[Measured], judged: Reason) -> None:
    for measured in history:
        following = advance(stage, measured, RULES, judged).stage
        if following not in (stage, Stage.ROLLED_BACK):
            assert ORDER.index(following) == ORDER.index(stage) + 1
            assert stage is Stage.APPRENTICE or set(measured.guards) == set(Guard)
        stage = following


def verdict(policy: str, value: float, lift: Interval | None, *refusals: Refusal) -> Verdict:
    values = {} if refusals else dict.fromkeys(Estimator, interval(value))
    return Verdict(policy, refusals, values, lift, 5_000, 2_000.0, 300.0, 1.0, 9.0)


def judgement(model: Verdict, fixed: float = 0.3) -> Judgement:
    verdicts = [verdict("incumbent", 0.25, interval(0)), verdict("always a", fixed, interval(0.05)), model]
    return Judgement({each.policy: each for each in verdicts}, "incumbent", "always a", "random", 900, 0.95)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (verdict("model", 0.35, interval(0.1)), Reason.PASSED),
        (verdict("model", 0.35, interval(0.005)), Reason.NOT_BETTER_THAN_INCUMBENT),
        (verdict("model", 0.29, interval(0.04)), Reason.WORSE_THAN_BEST_FIXED),
        (verdict("model", 0.35, None, Refusal.EFFECTIVE_SAMPLE_TOO_SMALL), Reason.LOG_CANNOT_TELL),
        (verdict("another", 0.35, interval(0.1)), Reason.NOT_JUDGED),
    ],
)
def test_the_gate_lets_through_what_is_better_on_a_log_that_can_tell(model: Verdict, reason: Reason) -> None:
    found = gate(judgement(model), "model")
    assert found is reason
    stage = advance(Stage.APPRENTICE, replace(ENOUGH, guards={}), RULES, found).stage
    assert (stage is Stage.CANARY) is (reason is Reason.PASSED)


def test_without_a_fixed_offer_to_be_held_against_no_model_passes() -> None:
    alone = replace(judgement(verdict("model", 0.35, interval(0.1))), best_fixed=None)
    assert gate(alone, "model") is Reason.NO_FIXED_OFFER_TOLD


SUBJECTS = [f"psn_{number}" for number in range(20_000)]


def test_shares_are_kept_and_who_was_on_the_model_s_side_stays_there() -> None:
    before: set[str] = set()
    for stage in ORDER:
        served = {subject for subject in SUBJECTS if side(subject, "m1", stage) is Side.MODEL}
        assert len(served) / len(SUBJECTS) == pytest.approx(0.95 * SHARE_PERCENT[stage] / 100, abs=0.01)
        assert before <= served
        before = served
    assert not any(side(subject, "m1", Stage.ROLLED_BACK) is Side.MODEL for subject in SUBJECTS)


def test_at_every_stage_some_are_the_incumbent_s() -> None:
    for stage in ORDER:
        assert any(side(subject, "m1", stage) is Side.INCUMBENT for subject in SUBJECTS), stage


def test_the_hold_out_is_the_same_subjects_whatever_the_model_and_the_stage() -> None:
    kept = {subject for subject in SUBJECTS if side(subject, "m1", Stage.FULL) is Side.HOLD_OUT}
    assert kept == {subject for subject in SUBJECTS if side(subject, "m2", Stage.CANARY) is Side.HOLD_OUT}
    assert len(kept) / len(SUBJECTS) == pytest.approx(0.05, abs=0.01)


def test_two_models_do_not_try_themselves_on_the_same_subjects() -> None:
    one, other = (
        {subject for subject in SUBJECTS if side(subject, model, Stage.RAMP_20) is Side.MODEL} for model in ("m1", "m2")
    )
    assert len(one & other) / len(one) == pytest.approx(0.2, abs=0.03)


def test_a_planted_guard_that_nobody_looks_at_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "_guards", lambda guards, rules: Reason.PASSED)
    worse = replace(ENOUGH, guards={**WELL, Guard.REFUNDS: interval(0.5)})
    assert advance(Stage.CANARY, worse, RULES, Reason.PASSED).stage is not Stage.ROLLED_BACK


def experiment(seed: int) -> tuple[Vector, Vector, Vector, Vector]:
    """Offers help those with a high x and harm those with a low one; offers were made more often to some than to others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=200_000)
    propensity = rng.choice([0.3, 0.8], 200_000)
    offered = (rng.random(200_000) < propensity).astype(np.float64)
    reward = (rng.random(200_000) < 0.3 + offered * 0.1 * np.sign(x)).astype(np.float64)
    return x, offered, reward, propensity


def test_qini_tells_a_good_order_from_a_random_and_a_wrong_one() -> None:
    x, offered, reward, propensity = experiment(1)
    good, wrong = qini(x, offered, reward, propensity), qini(-x, offered, reward, propensity)
    random = qini(np.random.default_rng(2).normal(size=x.size), offered, reward, propensity)
    assert good.coefficient == pytest.approx(0.025, abs=0.005)
    assert wrong.coefficient == pytest.approx(-0.025, abs=0.005)
    assert abs(random.coefficient) < 0.006
    assert max(good.gains) == pytest.approx(0.05, abs=0.01)
    assert good.gains[-1] == pytest.approx(wrong.gains[-1])
    assert (good.shares[0], good.gains[0], good.shares[-1]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("propensity", [0.0, 1.0])
def test_where_one_side_was_impossible_there_is_no_uplift(propensity: float) -> None:
    x, offered, reward, known = experiment(1)
    known[7] = propensity
    with pytest.raises(ValueError, match="both an offer and no offer"):
        qini(x, offered, reward, known)
