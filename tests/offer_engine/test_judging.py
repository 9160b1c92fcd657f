"""Estimates agree with arithmetic done by hand and with published numbers; intervals are honest; weak logs are refused."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine.judging import estimators
from offer_engine.judging.estimators import Estimator, Limits, Rows, estimate, terms
from offer_engine.judging.intervals import Interval, intervals
from offer_engine.judging.support import Needs, Refusal, Support, disagreement, refusals
from tests.offer_engine import open_bandit

LIMITS = Limits()
needs_logs = pytest.mark.skipif(
    not open_bandit.FOLDER.exists(), reason="the Open Bandit logs are not beside this checkout"
)


def rows_of(reward: list[float], weight: list[float], fitted: list[float], expected: list[float]) -> Rows:
    return Rows(*(np.array(column, dtype=np.float64) for column in (reward, weight, fitted, expected)))


BY_HAND = rows_of([1, 0, 1, 0], [2.0, 0.5, 12.0, 0.0], [0.5, 0.25, 0.75, 0.0], [0.4, 0.2, 0.6, 0.0])


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (Estimator.DM, 1.2 / 4),
        (Estimator.IPS, 14 / 4),
        (Estimator.SNIPS, 14 / 14.5),
        (Estimator.DR, (1.2 + 2 * 0.5 - 0.5 * 0.25 + 12 * 0.25) / 4),
        (Estimator.SWITCH_DR, (1.2 + 2 * 0.5 - 0.5 * 0.25) / 4),
        (Estimator.DROS, (1.2 + 200 / 104 * 0.5 - 50 / 100.25 * 0.25 + 1200 / 244 * 0.25) / 4),
    ],
)
def test_each_estimator_is_its_formula(estimator: Estimator, value: float) -> None:
    assert estimate(estimator, BY_HAND, LIMITS) == pytest.approx(value, abs=1e-15)


columns = st.lists(
    st.tuples(st.floats(-5, 5), st.floats(0, 50), st.floats(-5, 5)),
    min_size=2,
    max_size=40,
)


@given(columns)
def test_on_its_own_log_a_policy_is_worth_what_it_earned(drawn: list[tuple[float, float, float]]) -> None:
    reward, _, fitted = (np.array(column) for column in zip(*drawn, strict=True))
    rows = Rows(reward, np.ones_like(reward), fitted, fitted)
    for estimator in (Estimator.IPS, Estimator.SNIPS, Estimator.DR, Estimator.SWITCH_DR):
        assert estimate(estimator, rows, LIMITS) == pytest.approx(reward.mean(), abs=1e-9)


@given(columns)
def test_without_a_reward_model_the_doubly_robust_ones_are_importance_sampling(
    drawn: list[tuple[float, float, float]],
) -> None:
    reward, weight, _ = (np.array(column) for column in zip(*drawn, strict=True))
    rows = Rows(reward, weight, np.zeros_like(reward), np.zeros_like(reward))
    plain = estimate(Estimator.IPS, rows, LIMITS)
    assert estimate(Estimator.DR, rows, LIMITS) == pytest.approx(plain, abs=1e-12)
    assert estimate(Estimator.SWITCH_DR, rows, Limits(switch_at=50.0)) == pytest.approx(plain, abs=1e-12)
    assert estimate(Estimator.DROS, rows, Limits(shrink_at=1e12)) == pytest.approx(plain, abs=1e-6)


def weighted_log(campaign: str) -> Rows:
    log = open_bandit.read("random", campaign)
    policy = open_bandit.production_policy(campaign, draws=100_000, seed=1)
    weight = policy[log.item, log.position] / log.propensity
    # q: the cross-fitted mean click of an item at a position, drawn towards the campaign's mean by 2,000 decisions.
    fitted, expected = np.zeros_like(weight), np.zeros_like(weight)
    fold = np.arange(weight.size) % 3
    for left_out in range(3):
        others, own = fold != left_out, fold == left_out
        mean = log.click[others].mean()
        clicks, shown = np.full(policy.shape, 2_000 * mean), np.full(policy.shape, 2_000.0)
        np.add.at(clicks, (log.item[others], log.position[others]), log.click[others])
        np.add.at(shown, (log.item[others], log.position[others]), 1.0)
        model = clicks / shown
        fitted[own] = model[log.item[own], log.position[own]]
        expected[own] = (policy * model).sum(axis=0)[log.position[own]]
    return Rows(log.click, weight, fitted, expected)


# docs/offers-judging.md says where these come from, and what is the same and what is not.
PUBLISHED = [
    ("men", {Estimator.IPS: 0.00453, Estimator.SNIPS: 0.00460, Estimator.DR: 0.00461}, 2_480, 10.7),
    ("women", {Estimator.IPS: 0.00681, Estimator.SNIPS: 0.00681, Estimator.DR: 0.00684}, 1_962, 12.6),
]


@needs_logs
@pytest.mark.parametrize(("campaign", "values", "effective", "largest"), PUBLISHED)
def test_the_numbers_known_for_open_bandit_come_out(
    campaign: str, values: dict[Estimator, float], effective: float, largest: float
) -> None:
    rows = weighted_log(campaign)
    support = Support()
    support.add(rows, unsupported=0)
    assert support.effective_sample == pytest.approx(effective, rel=0.01)
    assert support.largest_weight == pytest.approx(largest, rel=0.02)
    for estimator, value in values.items():
        assert estimate(estimator, rows, LIMITS) == pytest.approx(value, rel=0.01), estimator


@needs_logs
def test_a_log_of_the_production_policy_cannot_tell_the_random_one_s_worth() -> None:
    log = open_bandit.read("bts", "women")
    weight = 1 / 46 / log.propensity
    support = Support()
    support.add(Rows(log.click, weight, np.zeros_like(weight), np.zeros_like(weight)), unsupported=0)
    assert support.effective_sample < 3
    assert support.largest_weight == pytest.approx(21_739, rel=1e-4)
    assert set(refusals(support, Needs(), subjects=10_000)) == {
        Refusal.MEAN_WEIGHT_IS_NOT_ONE,
        Refusal.EFFECTIVE_SAMPLE_TOO_SMALL,
        Refusal.TOO_FEW_REWARDED,
    }


GOOD = Support(
    decisions=5_000, weight_sum=5_000.0, weight_square_sum=15_000.0, rewarded_sum=400.0, rewarded_square_sum=800.0
)


@pytest.mark.parametrize(
    ("broken", "subjects", "reason"),
    [
        ({}, 49, Refusal.TOO_FEW_SUBJECTS),
        ({"unsupported": 1}, 5_000, Refusal.NO_SUPPORT),
        ({"weight_sum": 4_400.0}, 5_000, Refusal.MEAN_WEIGHT_IS_NOT_ONE),
        ({"weight_sum": 5_600.0}, 5_000, Refusal.MEAN_WEIGHT_IS_NOT_ONE),
        ({"weight_sum": float("nan")}, 5_000, Refusal.MEAN_WEIGHT_IS_NOT_ONE),
        ({"weight_square_sum": 26_000.0}, 5_000, Refusal.EFFECTIVE_SAMPLE_TOO_SMALL),
        ({"rewarded_sum": 29.0, "rewarded_square_sum": 20.0}, 5_000, Refusal.TOO_FEW_REWARDED),
        ({"rewarded_square_sum": 400.0 * 400.0}, 5_000, Refusal.TOO_FEW_REWARDED),
        ({"decisions": 0}, 5_000, Refusal.NO_DECISIONS),
    ],
)
def test_a_log_that_cannot_tell_is_refused_with_its_reason(
    broken: dict[str, float], subjects: int, reason: Refusal
) -> None:
    assert refusals(GOOD, Needs(), subjects=5_000) == []
    assert refusals(replace(GOOD, **broken), Needs(), subjects) == [reason]  # type: ignore[arg-type]


def test_estimators_that_have_no_value_in_common_are_refused() -> None:
    low, high = Interval(0.1, 0.05, 0.15, 0.06, 0.14), Interval(0.3, 0.2, 0.4, 0.2, 0.4)
    assert disagreement(low, high) == [Refusal.ESTIMATORS_DISAGREE]
    assert disagreement(low, replace(high, lower=0.15)) == []


def subjects_sums(
    rng: np.random.Generator, subjects: int, decisions: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A log in which a subject always answers alike: decisions of one subject say no more than one decision does."""
    answers = (rng.random(subjects) < 0.3).astype(np.float64)
    return (answers * decisions)[:, None], np.full((subjects, 1), float(decisions))


def test_a_subject_who_answers_often_counts_once() -> None:
    numerators, denominators = subjects_sums(np.random.default_rng(5), subjects=200, decisions=50)
    [clustered] = intervals(numerators, denominators, level=0.95, replicates=1_000, seed=1)
    by_decision = np.repeat(numerators / 50, 50, axis=0)
    [naive] = intervals(by_decision, np.ones_like(by_decision), level=0.95, replicates=200, seed=1)
    width = clustered.bootstrap_upper - clustered.bootstrap_lower
    assert width > 5 * (naive.bootstrap_upper - naive.bootstrap_lower)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        numerators, denominators = subjects_sums(np.random.default_rng(seed), subjects=150, decisions=3)
        [interval] = intervals(numerators, denominators, level=0.9, replicates=300, seed=seed)
        covered += interval.bootstrap_lower <= 0.3 <= interval.bootstrap_upper
    assert 0.85 <= covered / 200 <= 0.95  # three standard errors of 90 % over 200 logs are 6 %


def test_what_did_not_happen_is_allowed_for() -> None:
    rng = np.random.default_rng(3)
    numerators = np.where(rng.random((400, 1)) < 0.01, 50.0, 0.0)
    [interval] = intervals(numerators, np.ones_like(numerators), level=0.95, replicates=500, seed=1)
    assert interval.lower < interval.bootstrap_lower
    assert interval.upper > interval.bootstrap_upper


def test_the_same_sums_and_seed_give_the_same_interval() -> None:
    numerators, denominators = subjects_sums(np.random.default_rng(1), subjects=60, decisions=2)
    once, again = (intervals(numerators, denominators, level=0.95, replicates=200, seed=7) for _ in range(2))
    assert once == again


def test_one_subject_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two subjects"):
        intervals(np.ones((1, 1)), np.ones((1, 1)), level=0.95, replicates=10, seed=1)


def test_a_planted_wrong_sign_in_the_correction_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = estimate(Estimator.DR, BY_HAND, LIMITS)

    def planted(estimator: Estimator, rows: Rows, limits: Limits) -> tuple[estimators.Vector, estimators.Vector]:
        return terms(estimator, replace(rows, weight=-rows.weight), limits)

    monkeypatch.setattr(estimators, "terms", planted)
    assert estimators.estimate(Estimator.DR, BY_HAND, LIMITS) != right
