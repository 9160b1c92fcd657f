"""The first ranker: the merchant's own priorities, then the margin that is left. It does not explore."""

from collections.abc import Mapping, Sequence
from typing import Any

from offer_engine.decide import Scored
from offer_engine.offers import Context, Offer

_PRIORITY_WEIGHT = 1_000_000.0  # a priority step outweighs any difference in margin


class PriorityRanker:
    """Orders by priority, then by expected margin after the discount. The best is chosen with probability 1."""

    name = "priority"
    version = "1"
    exploration = "none"
    model_hash = None
    feature_schema = None

    def rank(self, context: Context, candidates: Sequence[Offer]) -> list[Scored]:
        """Best first; no offer is last with a score of 0. Ties go to the offer whose id sorts first."""
        scores = sorted(
            ((-self._score(context, offer), offer.id, offer) for offer in candidates), key=lambda row: row[:2]
        )
        ranked = [
            Scored(offer, -negative, 1.0 if place == 0 else 0.0) for place, (negative, _, offer) in enumerate(scores)
        ]
        return [*ranked, Scored(None, 0.0, 0.0 if ranked else 1.0)]

    def choose(self, ranked: Sequence[Scored], draw: float) -> Scored:
        """The first: there is nothing to draw for."""
        return ranked[0]

    @staticmethod
    def _score(context: Context, offer: Offer) -> float:
        margin = context.subtotal_minor * offer.margin_basis_points / 10_000 - context.taken_minor(offer)
        return _worth(offer.priority, margin)


def preferred(candidates: Sequence[Mapping[str, Any]]) -> int:
    """Which of a record's candidates the priorities would have made, whoever decided. Raises KeyError, TypeError, ValueError.

    The record has margins in whole minor units, so offers that are less than one apart count as equal.
    """
    keys = [_key(each) for each in candidates]
    return keys.index(min(keys))


def _key(candidate: Mapping[str, Any]) -> tuple[bool, float, str]:
    priority = candidate.get("features", {}).get("priority", 0.0)
    return not candidate["version"], -_worth(priority, candidate["margin_minor"]), candidate["offer"]


def _worth(priority: float, margin: float) -> float:
    return priority * _PRIORITY_WEIGHT + margin


class ChanceRanker:
    """Every offer that may be made, and none, with the same probability: what others are held against (the hold-out)."""

    name = "chance"
    version = "1"
    exploration = "uniform"
    model_hash = None
    feature_schema = None

    def rank(self, context: Context, candidates: Sequence[Offer]) -> list[Scored]:
        """In the order of their ids, no offer last."""
        each = [*sorted(candidates, key=lambda offer: offer.id), None]
        return [Scored(offer, 0.0, 1 / len(each)) for offer in each]

    def choose(self, ranked: Sequence[Scored], draw: float) -> Scored:
        """The one that the draw falls on."""
        return ranked[min(int(draw * len(ranked)), len(ranked) - 1)]
