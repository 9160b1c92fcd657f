"""Off-policy estimators: the value of a policy from decisions that another policy made.

Per decision, with e the judged policy, b the one that was logged, and q a reward model fitted on other subjects' decisions:

    w = e(chosen) / b(chosen)        v = sum over the candidates of e(candidate) q(candidate)

    DM         mean of v                                  only beside the others: its bias is that of q
    IPS        mean of w r                                Horvitz and Thompson 1952
    SNIPS      sum of w r / sum of w                      Swaminathan and Joachims 2015
    DR         mean of v + w (r - q)                      Dudik, Langford and Li 2011
    Switch-DR  mean of v + w (r - q) [w <= limit]         Wang, Agarwal and Dudik 2017
    DRos       mean of v + w' (r - q), w' = c w / (w^2 + c)   Su, Dimakopoulou, Krishnamurthy and Dudik 2020

Each is a sum of per-decision terms over a sum of per-decision counts, so sums over subjects are all that an interval needs.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


class Estimator(StrEnum):
    """How a value is estimated."""

    DM = "dm"
    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"
    SWITCH_DR = "switch_dr"
    DROS = "dros"


@dataclass(frozen=True, slots=True)
class Rows:
    """Decisions as columns of one length: the reward, w, q of the chosen candidate, and v."""

    reward: Vector
    weight: Vector
    fitted: Vector
    expected: Vector


@dataclass(frozen=True, slots=True)
class Limits:
    """Switch-DR's limit and DRos's shrinkage, fixed before the log is looked at."""

    switch_at: float = 10.0
    shrink_at: float = 100.0


def terms(estimator: Estimator, rows: Rows, limits: Limits) -> tuple[Vector, Vector]:
    """The per-decision terms and counts. The estimate is the terms' sum over the counts' sum."""
    ones = np.ones_like(rows.reward)
    residual = rows.reward - rows.fitted
    match estimator:
        case Estimator.DM:
            return rows.expected, ones
        case Estimator.IPS:
            return rows.weight * rows.reward, ones
        case Estimator.SNIPS:
            return rows.weight * rows.reward, rows.weight
        case Estimator.DR:
            return rows.expected + rows.weight * residual, ones
        case Estimator.SWITCH_DR:
            kept = np.where(rows.weight <= limits.switch_at, rows.weight, 0.0)
            return rows.expected + kept * residual, ones
        case Estimator.DROS:
            shrunk = limits.shrink_at * rows.weight / (rows.weight**2 + limits.shrink_at)
            return rows.expected + shrunk * residual, ones


def estimate(estimator: Estimator, rows: Rows, limits: Limits) -> float:
    """The value, in units of the reward; 0.0 where no decision counts."""
    numerator, denominator = terms(estimator, rows, limits)
    return ratio(float(numerator.sum()), float(denominator.sum()))


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, or 0.0 where there is nothing to divide by."""
    return numerator / denominator if denominator else 0.0
