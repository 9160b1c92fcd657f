"""What offers change: the order in which a score puts subjects, held against what making no offer would have earned.

Each decision is weighted by the inverse of the probability with which its side (an offer, or none) came up, so the log's own
exploration, with its arm of no offer, is the experiment (Radcliffe 2007; weighted as Horvitz and Thompson).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from offer_engine.features import Vector
from offer_engine.judging.policies import ScoringPolicy
from offer_engine.learning.log import Arms, Batch
from offer_engine.offers import NO_OFFER

MOST_DECISIONS: Final = 500_000  # a curve does not become clearer beyond


@dataclass(frozen=True, slots=True)
class Qini:
    """The curve: incremental reward per decision when the best-scored share gets offers, at each of ``shares`` from 0 to 1.

    ``coefficient`` is the area between the curve and the line to its end: 0 for a random order, below 0 for a wrong one.
    """

    shares: tuple[float, ...]
    gains: tuple[float, ...]
    coefficient: float


def qini(score: Vector, offered: Vector, reward: Vector, propensity_of_offer: Vector, points: int = 100) -> Qini:
    """The curve of a score. ``offered`` is 1 where an offer was made; ``propensity_of_offer`` is the probability of any offer.

    Raises ValueError where a side was impossible in some decision: there nothing is known of it.
    """
    if score.size == 0 or (propensity_of_offer <= 0).any() or (propensity_of_offer >= 1).any():
        raise ValueError("uplift needs decisions in which both an offer and no offer were possible")
    weight = np.where(offered > 0, 1 / propensity_of_offer, -1 / (1 - propensity_of_offer))
    order = np.argsort(-score, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((weight * reward)[order])]) / score.size
    shares = np.linspace(0, 1, points + 1)
    gains = np.interp(shares, np.linspace(0, 1, gained.size), gained)
    area = float(np.sum((gains[1:] + gains[:-1]) / 2) / points)
    return Qini(tuple(shares.tolist()), tuple(gains.tolist()), area - float(gains[-1]) / 2)


def uplift_of(policy: ScoringPolicy, batches: Iterable[Batch], arms: Arms) -> Qini | None:
    """The curve of what the policy expects of its best offer over making none, or None where the log has no such choice in it.

    Of the first decisions of the log in which both sides were possible, at most MOST_DECISIONS.
    """
    found: list[tuple[Vector, Vector, Vector, Vector]] = []
    for batch in batches:
        null = batch.arm == (-1 if (code := arms.find(NO_OFFER)) is None else code)
        chance = 1 - np.add.reduceat(np.where(null, batch.propensity, 0.0), batch.starts)
        both = (chance > 0) & (chance < 1)
        scores = policy.scores(batch, arms)
        best = np.maximum.reduceat(np.where(null, -np.inf, scores), batch.starts)
        none = np.add.reduceat(np.where(null, scores, 0.0), batch.starts)
        offered = np.where(null[batch.chosen], 0.0, 1.0)
        found.append(((best - none)[both], offered[both], batch.reward[both], chance[both]))
        if sum(each[0].size for each in found) >= MOST_DECISIONS:
            break
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    return qini(columns[0], columns[1], columns[2], columns[3]) if columns and columns[0].size else None
