"""Whether a log can tell what a policy is worth. Where it cannot, no estimate is given, however good it looks.

What holds for a log that may answer:
 1. Every candidate that the judged policy could choose had a probability above 0 in the log.
 2. The weights' mean is near 1. It is 1 on average when the logged probabilities are those that were drawn from; a log whose
    probabilities were estimated afterwards shows here.
 3. As many decisions count as are needed, after weighting: (sum w)^2 / sum w^2 (Kish's effective sample size).
 4. As many rewarded decisions count as are needed, after weighting; a policy that no rewarded decision speaks for has no value.
 5. DR and SNIPS agree within their intervals.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from offer_engine.judging.estimators import Rows, ratio
from offer_engine.judging.intervals import Interval


class Refusal(StrEnum):
    """Why a log cannot answer. Codes are only ever added."""

    NO_DECISIONS = "no_decisions"
    TOO_FEW_SUBJECTS = "too_few_subjects"
    NO_SUPPORT = "no_support"
    MEAN_WEIGHT_IS_NOT_ONE = "mean_weight_is_not_one"
    EFFECTIVE_SAMPLE_TOO_SMALL = "effective_sample_too_small"
    TOO_FEW_REWARDED = "too_few_rewarded"
    ESTIMATORS_DISAGREE = "estimators_disagree"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a log must have before it may answer."""

    mean_weight: tuple[float, float] = (0.9, 1.1)
    effective_sample: float = 1_000.0
    rewarded: float = 30.0
    subjects: int = 50


@dataclass(slots=True)
class Support:
    """Sums that the checks need; ``add`` takes rows in any number of pieces."""

    decisions: int = 0
    unsupported: int = 0
    weight_sum: float = 0.0
    weight_square_sum: float = 0.0
    rewarded_sum: float = 0.0
    rewarded_square_sum: float = 0.0
    largest_weight: float = 0.0

    def add(self, rows: Rows, unsupported: int) -> None:
        """Takes decisions in. ``unsupported``: how many of them the judged policy could have left the log's support in."""
        rewarded = rows.weight[rows.reward > 0]
        self.decisions += rows.weight.size
        self.unsupported += unsupported
        self.weight_sum += float(rows.weight.sum())
        self.weight_square_sum += float(np.square(rows.weight).sum())
        self.rewarded_sum += float(rewarded.sum())
        self.rewarded_square_sum += float(np.square(rewarded).sum())
        self.largest_weight = max(self.largest_weight, float(rows.weight.max(initial=0.0)))

    @property
    def mean_weight(self) -> float:
        """The weights' mean."""
        return ratio(self.weight_sum, self.decisions)

    @property
    def effective_sample(self) -> float:
        """As many equally weighted decisions as would say as much."""
        return ratio(self.weight_sum**2, self.weight_square_sum)

    @property
    def effective_rewarded(self) -> float:
        """Rewarded decisions that count: their weights' sum, but never more than their effective number."""
        return min(self.rewarded_sum, ratio(self.rewarded_sum**2, self.rewarded_square_sum))


def refusals(support: Support, needs: Needs, subjects: int) -> list[Refusal]:
    """Every reason why these sums cannot answer, before any value is looked at."""
    if support.decisions == 0:
        return [Refusal.NO_DECISIONS]
    low, high = needs.mean_weight
    broken = {
        Refusal.TOO_FEW_SUBJECTS: subjects < needs.subjects,
        Refusal.NO_SUPPORT: support.unsupported > 0,  # (1)
        Refusal.MEAN_WEIGHT_IS_NOT_ONE: not low <= support.mean_weight <= high,  # (2)
        Refusal.EFFECTIVE_SAMPLE_TOO_SMALL: support.effective_sample < needs.effective_sample,  # (3)
        Refusal.TOO_FEW_REWARDED: support.effective_rewarded < needs.rewarded,  # (4)
    }
    return [refusal for refusal, holds in broken.items() if holds]


def disagreement(doubly_robust: Interval, self_normalised: Interval) -> list[Refusal]:
    """(5) A reason where the two estimators have no value in common."""
    return [] if doubly_robust.overlaps(self_normalised) else [Refusal.ESTIMATORS_DISAGREE]
