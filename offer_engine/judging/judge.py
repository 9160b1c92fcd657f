"""Judges policies on a log, in two readings of it and in memory that does not grow with it.

What holds for a judgement:
 1. The reward model that a subject's decisions are corrected by was fitted on other subjects' decisions (cross-fitting).
 2. A policy always stands beside the incumbent, random choice and the best fixed offer. Which offer is best is chosen on this
    log, so its value is flattered and the bar a little too high, never too low. The incumbent is what decides where no model
    does, the merchant's priorities, and is weighed like any other policy, on the same decisions.
 3. A policy that the log cannot tell about has refusals and no value.
 4. A difference from the incumbent is estimated as one, on the same decisions; of an incumbent that the log cannot tell about
    there is none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from offer_engine.features import Matrix, Vector
from offer_engine.judging.estimators import Estimator, Limits, Rows, terms
from offer_engine.judging.intervals import Interval, intervals
from offer_engine.judging.policies import FixedPolicy, Policy, PriorityPolicy, RandomPolicy, model_scores
from offer_engine.judging.support import Needs, Refusal, Support, disagreement, refusals
from offer_engine.learning.linear import LinearModel, Priors, Statistics, fit
from offer_engine.learning.log import Batch, Integers, Reading

GROUPS: Final = 4_096  # subjects are put together by their hash into at most so many groups: coarser, never finer
FOLDS: Final = 5
FIXED_OFFERS: Final = 20  # the offers that were candidates most often are tried as fixed policies
_SEED: Final = 20_261_127

Batches = Callable[[], Iterable[Batch]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log says of a policy. ``values`` is empty where there are refusals; ``lift`` is over the incumbent, or None."""

    policy: str
    refusals: tuple[Refusal, ...]
    values: dict[Estimator, Interval]
    lift: Interval | None
    decisions: int
    effective_sample: float
    effective_rewarded: float
    mean_weight: float
    largest_weight: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts on the policies asked for, and on those they must be held against."""

    verdicts: dict[str, Verdict]
    incumbent: str
    best_fixed: str | None
    random: str
    subjects: int
    level: float


@dataclass(slots=True)
class _Tally:
    """Sums by group of subjects: terms and counts of each estimator, and the doubly robust difference from the incumbent."""

    policy: Policy
    support: Support = field(default_factory=Support)
    numerators: Matrix = field(default_factory=lambda: np.zeros((GROUPS, len(Estimator) + 1)))
    denominators: Matrix = field(default_factory=lambda: np.zeros((GROUPS, len(Estimator) + 1)))


@dataclass(frozen=True, slots=True)
class Judge:
    """How policies are judged. ``level`` is the intervals'."""

    needs: Needs = field(default_factory=Needs)
    limits: Limits = field(default_factory=Limits)
    priors: Priors = field(default_factory=Priors)
    level: float = 0.95
    replicates: int = 1_000

    def judge(self, reading: Reading, batches: Batches, policies: Sequence[Policy]) -> Judgement:
        """The verdicts. ``batches`` reads the log anew each time, with ``reading``'s schema and arms. Raises LogInvalid.

        The reading is one with ``only_drawn``: a single decision that was not drawn refuses every policy but its own.
        """
        models, seen = self._reward_models(reading, batches)
        incumbent, random = PriorityPolicy("incumbent"), RandomPolicy()
        fixed = [FixedPolicy(name, "no_offer") for name in seen]
        everybody: list[Policy] = [incumbent, random, *fixed, *policies]
        tallies = [_Tally(policy) for policy in everybody]
        groups = np.zeros(GROUPS, dtype=np.int64)
        for batch in batches():
            group = (batch.subject // np.uint64(FOLDS) % np.uint64(GROUPS)).astype(np.int64)
            groups += np.bincount(group, minlength=GROUPS)
            self._count(batch, group, reading, models, tallies)
        subjects = int(np.count_nonzero(groups))
        verdicts = {tally.policy.name: self._verdict(tally, groups > 0, subjects) for tally in tallies}
        if verdicts[incumbent.name].refusals:
            verdicts = {name: replace(verdict, lift=None) for name, verdict in verdicts.items()}  # (4)
        told = [verdicts[policy.name] for policy in fixed if verdicts[policy.name].values]
        best = max(told, key=lambda verdict: verdict.values[Estimator.DR].value, default=None)  # (2)
        return Judgement(verdicts, incumbent.name, best.policy if best else None, random.name, subjects, self.level)

    def _reward_models(self, reading: Reading, batches: Batches) -> tuple[list[LinearModel], list[str]]:
        """One model for each fold, fitted on all the others (1), and the offers that were candidates most often."""
        width = reading.schema.width
        folds = [Statistics(width, reading.arms) for _ in range(FOLDS)]
        often = np.zeros(0)
        for batch in batches():
            fold = batch.subject % np.uint64(FOLDS)
            for number, statistics in enumerate(folds):
                statistics.add(batch, fold == number)
            counted = np.bincount(batch.arm, minlength=len(reading.arms.names)).astype(np.float64)
            counted[: often.size] += often
            often = counted
        total = Statistics(width, reading.arms)
        for statistics in folds:
            total.merge(statistics)
        models = []
        for statistics in folds:
            others = total.copy()
            others.merge(statistics, sign=-1.0)
            models.append(fit(others, reading.schema, self.priors))
        frequent = np.argsort(-often, kind="stable")[:FIXED_OFFERS]
        return models, [reading.arms.names[code] for code in frequent]

    def _count(
        self,
        batch: Batch,
        group: Integers,
        reading: Reading,
        models: list[LinearModel],
        tallies: list[_Tally],
    ) -> None:
        fold = (batch.subject % np.uint64(FOLDS)).astype(np.int64)
        scores = np.stack([model_scores(model, batch, reading.arms) for model in models])
        fitted = scores[np.repeat(fold, batch.counts), np.arange(batch.arm.size)]
        base: Vector | None = None
        for tally in tallies:
            vector = tally.policy.probabilities(batch, reading.arms)
            rows = weigh(batch, vector, fitted)
            outside = (vector > 0) & (batch.propensity <= 0)
            tally.support.add(rows, int(np.count_nonzero(np.add.reduceat(outside, batch.starts))))
            for column, estimator in enumerate(Estimator):
                numerator, denominator = terms(estimator, rows, self.limits)
                tally.numerators[:, column] += np.bincount(group, weights=numerator, minlength=GROUPS)
                tally.denominators[:, column] += np.bincount(group, weights=denominator, minlength=GROUPS)
            doubly_robust, ones = terms(Estimator.DR, rows, self.limits)
            base = doubly_robust if base is None else base  # the incumbent is the first
            tally.numerators[:, -1] += np.bincount(group, weights=doubly_robust - base, minlength=GROUPS)  # (4)
            tally.denominators[:, -1] += np.bincount(group, weights=ones, minlength=GROUPS)

    def _verdict(self, tally: _Tally, present: npt.NDArray[np.bool_], subjects: int) -> Verdict:
        support = tally.support
        verdict = Verdict(
            policy=tally.policy.name,
            refusals=tuple(refusals(support, self.needs, subjects)),
            values={},
            lift=None,
            decisions=support.decisions,
            effective_sample=support.effective_sample,
            effective_rewarded=support.effective_rewarded,
            mean_weight=support.mean_weight,
            largest_weight=support.largest_weight,
        )
        if verdict.refusals:
            return verdict  # (3)
        found = intervals(
            tally.numerators[present],
            tally.denominators[present],
            level=self.level,
            replicates=self.replicates,
            seed=_SEED,
        )
        values = dict(zip(Estimator, found, strict=False))
        if apart := disagreement(values[Estimator.DR], values[Estimator.SNIPS]):
            return replace(verdict, refusals=tuple(apart))
        return replace(verdict, values=values, lift=found[-1])


def weigh(batch: Batch, vector: Vector, fitted: Vector) -> Rows:
    """The estimators' columns for a policy's probabilities and the reward model's scores of every candidate."""
    return Rows(
        reward=batch.reward,
        weight=vector[batch.chosen] / batch.propensity[batch.chosen],
        fitted=fitted[batch.chosen],
        expected=np.add.reduceat(vector * fitted, batch.starts),
    )


def from_lines(reading: Reading, lines: Callable[[], Iterable[str | bytes]]) -> Batches:
    """Reads the same lines anew each time. Counts of what was left out are those of the last reading."""

    def batches() -> Iterator[Batch]:
        reading.lines = reading.used = reading.not_presented = 0
        reading.immature = reading.other_share = reading.erased = reading.not_drawn = 0
        yield from reading.batches(lines())

    return batches
