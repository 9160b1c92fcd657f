"""Scores become the exact probabilities with which offers are chosen.

Only rules whose probabilities have a closed form: what is logged is what was drawn from, so that another policy can be judged
on it later. "No offer" is an arm like any other.

What holds for every vector that leaves here:
 1. Every arm has at least the floor, which for K arms is the least of the asked-for floor and 0.5 / K.
 2. It sums to 1 but for rounding (less than 1e-12), in float64, never rounded.
 3. Arms with equal scores have equal probabilities, in whatever order they came.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

MINIMUM_FLOOR: Final = 0.01  # below it a log can no longer tell policies apart: the weights explode


class ExplorationKind(StrEnum):
    """The rule that turns scores into probabilities."""

    SQUARECB = "squarecb"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True)
class Exploration:
    """A rule and its sharpness. ``sharpness`` multiplies differences of scores: 0 is uniform, large is greedy.

    Raises ValueError for a sharpness that is negative or no number, and for a floor outside [0.01, 0.5].
    """

    kind: ExplorationKind = ExplorationKind.SQUARECB
    sharpness: float = 100.0
    floor: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.sharpness < float("inf"):
            raise ValueError("the sharpness of an exploration is a finite number, 0 or more")
        if not MINIMUM_FLOOR <= self.floor <= 0.5:
            raise ValueError("the floor of an exploration is between 0.01 and 0.5")

    def propensities(self, scores: Vector) -> Vector:
        """The probability of each arm; the arms of a decision are the last axis.

        Raises ValueError when there is no arm or a score is not finite.
        """
        if scores.size == 0 or not np.isfinite(scores).all():
            raise ValueError("exploration needs at least one arm, and a finite score for each")
        rule = _squarecb if self.kind is ExplorationKind.SQUARECB else _softmax
        arms = scores.shape[-1]
        floor = effective_floor(self.floor, arms)
        vector: Vector = floor + (1.0 - floor * arms) * rule(scores, self.sharpness)  # (1) (2)
        return vector


def effective_floor(floor: float, arms: int) -> float:
    """The floor that so many arms leave room for."""
    return min(floor, 0.5 / arms)


def choose(vector: Vector, draw: float) -> int:
    """The arm at which the cumulated probability passes a uniform draw from [0, 1)."""
    cumulated = np.cumsum(vector)
    arm = int(np.searchsorted(cumulated, draw * cumulated[-1], side="right"))
    return min(arm, vector.size - 1)


def _squarecb(scores: Vector, sharpness: float) -> Vector:
    """Foster and Rakhlin 2020: each worse arm 1 / (K + sharpness x gap), the best arms share the rest."""
    gaps = scores.max(axis=-1, keepdims=True) - scores
    best = gaps == 0
    worse = np.where(best, 0.0, 1.0 / (scores.shape[-1] + sharpness * gaps))
    rest = (1.0 - worse.sum(axis=-1, keepdims=True)) / best.sum(axis=-1, keepdims=True)
    vector: Vector = np.where(best, rest, worse)  # (3)
    return vector


def _softmax(scores: Vector, sharpness: float) -> Vector:
    odds = np.exp(sharpness * (scores - scores.max(axis=-1, keepdims=True)))
    vector: Vector = odds / odds.sum(axis=-1, keepdims=True)
    return vector
