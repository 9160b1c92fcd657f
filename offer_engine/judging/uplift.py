"""What offers change: the order in which a score puts subjects, held against what making no offer would have earned.

Each decision is weighted by the inverse of the probability with which its side (an offer, or none) came up, so the log's own
exploration, with its arm of no offer, is the experiment (Radcliffe 2007; weighted as Horvitz and Thompson).
"""

from dataclasses import dataclass

import numpy as np

from offer_engine.features import Vector


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
