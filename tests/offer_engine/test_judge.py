"""In a market whose truth is known, a judgement tells it, or says why it cannot; a policy never stands alone."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from offer_engine.exploration import Exploration, ExplorationKind, Vector
from offer_engine.features import Feature, Schema
from offer_engine.judging import judge as judging
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.judge import Judge, Judgement, from_lines
from offer_engine.judging.policies import FixedPolicy, LinearPolicy, Policy, PriorityPolicy, RandomPolicy, explored
from offer_engine.judging.support import Needs, Refusal
from offer_engine.learning.linear import LinearModel, Priors, Statistics, fit
from offer_engine.learning.log import Arms, Batch, Reading
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.market import CONTEXT_NAMES, NOW_MS, FixedPlayer, LinearPlayer, Market, Player, Shape, lines, play

SCHEMA = Schema(tuple(Feature(name) for name in CONTEXT_NAMES))
LATER_MS = NOW_MS + 365 * DAY_MS
SHAPE = Shape(arms=4, rounds=6_000, subjects=1_500)
MARKET = Market.made(SHAPE, seed=11)
LOG = list(lines(MARKET, Player(), seed=5))
QUICK = Judge(needs=Needs(effective_sample=300.0), replicates=200)


def reading(share: tuple[int, int] = (0, 100)) -> Reading:
    return Reading(SCHEMA, RewardRule(), LATER_MS, share)


def judged(log: Iterable[str], policies: list[Policy], judge: Judge = QUICK) -> Judgement:
    kept = list(log)
    reader = reading()
    return judge.judge(reader, from_lines(reader, lambda: kept), policies)


def trained(share: tuple[int, int]) -> LinearPolicy:
    reader = reading(share)
    statistics = Statistics(SCHEMA.width, reader.arms)
    for batch in reader.batches(LOG):
        statistics.add(batch)
    return LinearPolicy(fit(statistics, SCHEMA), Exploration(ExplorationKind.SOFTMAX, sharpness=20.0, floor=0.02))


@cache
def truth(arm: int) -> float:
    """What always making one offer earns, on average over the log's rounds."""
    return float(np.mean([played.chances[arm] for played in play(MARKET, FixedPlayer(arm), seed=5)]))


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    return judged(LOG, [trained((0, 50))])


def test_every_policy_s_truth_lies_in_its_interval(judgement: Judgement) -> None:
    for arm in range(1, 4):
        verdict = judgement.verdicts[f"always offer-{arm}"]
        assert verdict.refusals == ()
        for estimator in (Estimator.IPS, Estimator.SNIPS, Estimator.DR):
            assert verdict.values[estimator].lower <= truth(arm) <= verdict.values[estimator].upper


def test_a_policy_stands_beside_the_incumbent_random_choice_and_the_best_fixed_offer(judgement: Judgement) -> None:
    best = max(range(4), key=truth)
    assert judgement.best_fixed == ("always no_offer" if best == 0 else f"always offer-{best}")
    assert {"incumbent", "random", "model", judgement.best_fixed} <= judgement.verdicts.keys()
    incumbent = judgement.verdicts["incumbent"]
    assert incumbent.lift is not None
    assert (incumbent.lift.value, incumbent.lift.bootstrap_lower) == (0.0, 0.0)
    assert incumbent.values[Estimator.DR].lower <= truth(1) <= incumbent.values[Estimator.DR].upper, (
        "of equals the first"
    )


def test_a_policy_that_learned_is_told_from_one_that_did_not(judgement: Judgement) -> None:
    model, best = judgement.verdicts["model"], judgement.verdicts[str(judgement.best_fixed)]
    assert model.lift is not None
    assert model.lift.lower > 0
    assert model.values[Estimator.DR].value > best.values[Estimator.DR].value


def test_a_log_of_a_policy_that_never_tried_cannot_tell() -> None:
    log = lines(replace(MARKET, shape=replace(SHAPE, rounds=1_500)), FixedPlayer(1), seed=5)
    verdicts = judged(log, []).verdicts
    assert verdicts["incumbent"].refusals == ()
    assert set(verdicts["random"].refusals) >= {Refusal.NO_SUPPORT, Refusal.MEAN_WEIGHT_IS_NOT_ONE}
    assert verdicts["random"].values == {}
    assert verdicts["random"].lift is None


def test_what_was_not_drawn_is_left_out_and_changes_no_verdict() -> None:
    priorities = list(lines(replace(MARKET, shape=replace(SHAPE, rounds=1_500)), FixedPlayer(1), seed=6))
    mixed = [line for pair in zip(LOG, priorities, strict=False) for line in pair] + LOG[1_500:]
    reader = Reading(SCHEMA, RewardRule(), LATER_MS, only_drawn=True)
    judgement = QUICK.judge(reader, from_lines(reader, lambda: mixed), [])
    assert judgement == judged(LOG, [])
    assert (reader.used, reader.not_drawn) == (6_000, 1_500)
    planted = judged(mixed, []).verdicts
    assert Refusal.NO_SUPPORT in planted["random"].refusals, "one log with what nobody drew refuses everything"


def test_without_a_value_of_the_incumbent_there_is_no_lift_over_it() -> None:
    log = lines(replace(MARKET, shape=replace(SHAPE, rounds=1_500)), FixedPlayer(2), seed=5)
    verdicts = judged(log, []).verdicts
    assert Refusal.NO_SUPPORT in verdicts["incumbent"].refusals
    assert verdicts["always offer-2"].refusals == ()
    assert verdicts["always offer-2"].lift is None


def test_an_empty_log_and_a_log_without_rewards_cannot_tell() -> None:
    assert judged([], []).verdicts["incumbent"].refusals == (Refusal.NO_DECISIONS,)
    nobody_bought = replace(
        MARKET, base=np.full(4, -50.0), subject_mood=np.zeros(1_500), shape=replace(SHAPE, rounds=800)
    )
    verdicts = judged(
        lines(replace(nobody_bought, tastes=np.zeros((4, 4)), later_tastes=np.zeros((4, 4))), Player(), 1), []
    )
    assert Refusal.TOO_FEW_REWARDED in verdicts.verdicts["incumbent"].refusals


def test_the_reward_model_of_a_fold_has_not_seen_its_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_on: list[float] = []

    def noting(statistics: Statistics, schema: Schema, priors: Priors) -> LinearModel:
        fitted_on.append(statistics.rows.sum())
        return fit(statistics, schema, priors)

    monkeypatch.setattr(judging, "fit", noting)
    judged(LOG[:1_000], [])
    assert sum(fitted_on) == pytest.approx(4 * 1_000)
    assert max(fitted_on) < 900


def test_estimates_cover_the_truth_as_often_as_they_say() -> None:
    """A small form of benchmarks/offers_market.py, which does it over more logs, policies and estimators."""
    shape = Shape(arms=3, rounds=500, subjects=200)
    covered = {Estimator.SNIPS: 0, Estimator.DR: 0}
    judge = Judge(
        needs=Needs(mean_weight=(0.7, 1.3), effective_sample=50.0, rewarded=5.0, subjects=10), level=0.9, replicates=200
    )
    logs = 40
    for seed in range(logs):
        market = Market.made(shape, seed)
        always = f"always offer-{1 + seed % 2}"
        judgement = judged(lines(market, Player(), seed), [], judge)
        expected = [played.chances[1 + seed % 2] for played in play(market, Player(), seed)]
        for estimator in covered:
            interval = judgement.verdicts[always].values[estimator]
            covered[estimator] += interval.bootstrap_lower <= np.mean(expected) <= interval.bootstrap_upper
    assert all(0.76 * logs <= count for count in covered.values())  # 90 % less three standard errors over 40 logs


class Overconfident:
    """Planted: says that it plays offer 1, and weighs as if it had always been played so."""

    name = "planted"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        return batch.propensity * 1.5


def test_a_planted_policy_whose_probabilities_are_wrong_is_refused() -> None:
    verdict = judged(LOG, [Overconfident()]).verdicts["planted"]
    assert verdict.refusals == (Refusal.MEAN_WEIGHT_IS_NOT_ONE,)


@pytest.mark.parametrize(
    "policy",
    [
        PriorityPolicy(),
        RandomPolicy(),
        FixedPolicy("offer-3", "no_offer"),
        FixedPolicy("hat", "no_offer"),
        FixedPolicy("hat", "cap"),
    ],
)
def test_a_policy_s_probabilities_are_whole_in_each_decision(policy: Policy) -> None:
    shape = replace(SHAPE, rounds=400, newcomers=2, budget=60)
    reader = reading()
    [batch] = reader.batches(lines(replace(MARKET, shape=shape), Player(), seed=5))
    assert len(set(batch.counts.tolist())) > 2, "every decision has as many candidates"
    sums = np.add.reduceat(policy.probabilities(batch, reader.arms), batch.starts)
    np.testing.assert_allclose(sums, 1.0)


def test_explored_vectors_are_those_of_each_decision_alone() -> None:
    shape = replace(SHAPE, rounds=200, newcomers=2)
    rule = Exploration(sharpness=5.0)
    [batch] = reading().batches(lines(replace(MARKET, shape=shape), LinearPlayer(shape, rule), seed=5))
    scores = np.random.default_rng(1).normal(size=batch.arm.size)
    together = explored(rule, scores, batch)
    for start, count in zip(batch.starts, batch.counts, strict=True):
        np.testing.assert_allclose(together[start : start + count], rule.propensities(scores[start : start + count]))


def test_subjects_are_either_trained_on_or_judged_on() -> None:
    first, second = reading((0, 70)), reading((70, 100))
    [train], [test] = first.batches(LOG, size=10_000), second.batches(LOG, size=10_000)
    assert not set(train.subject.tolist()) & set(test.subject.tolist())
    assert first.used + second.used == 6_000
    assert first.other_share == second.used
    assert 0.6 < first.used / 6_000 < 0.8


PRIORITIES = list(lines(MARKET, FixedPlayer(1), seed=6))  # who try nothing else
MIXED = [*LOG, *PRIORITIES]


def judged_explored(log: list[str]) -> tuple[Judgement, Reading]:
    reader = replace(reading(), only_drawn=True)
    return QUICK.judge(reader, from_lines(reader, lambda: log), [PriorityPolicy()]), reader


def test_a_store_s_own_log_is_judged_on_chance_and_against_the_priorities() -> None:
    judgement, reader = judged_explored(MIXED)
    assert (reader.used, reader.not_drawn) == (len(LOG), len(PRIORITIES))
    assert not judgement.verdicts["random"].refusals
    priorities = judgement.verdicts["always offer-1"].values[Estimator.DR].value
    assert judgement.verdicts["incumbent"].values[Estimator.DR].value == pytest.approx(priorities)
    assert judgement.verdicts["priorities"].lift == judgement.verdicts["incumbent"].lift
    assert Refusal.NO_SUPPORT in judged(MIXED, []).verdicts["random"].refusals


def test_a_log_of_the_priorities_alone_cannot_tell() -> None:
    assert judged_explored(PRIORITIES)[0].verdicts["random"].refusals == (Refusal.NO_DECISIONS,)
