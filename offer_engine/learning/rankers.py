"""A model of the registry as the engine's ranker: its scores, and the exact probabilities with which offers are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from offer_engine.decide import NO_OFFER, Scored
from offer_engine.exploration import Exploration, choose
from offer_engine.features import assemble, context_features, offer_features
from offer_engine.learning.linear import LinearModel
from offer_engine.learning.registry import Registry
from offer_engine.offers import Context, Offer

HASH_DIGITS: Final = 16


@dataclass(slots=True)
class LinearRanker:
    """Ranks by a linear model; no offer is an arm as the others. ``model_hash`` is the model's name in the registry."""

    model: LinearModel
    model_hash: str
    rule: Exploration = field(default_factory=Exploration)
    name: str = field(default="linear", init=False)
    version: str = field(default="", init=False)
    exploration: str = field(default="", init=False)
    feature_schema: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.version = self.model_hash[:HASH_DIGITS]
        self.exploration = self.rule.kind.value
        self.feature_schema = self.model.schema.hash

    @classmethod
    def load(cls, registry: Registry, name: str, rule: Exploration) -> "LinearRanker":
        """The ranker of a model in the registry. Raises ModelMissing, ModelInvalid."""
        return cls(LinearModel.from_bytes(registry.load(name)), name, rule)

    def rank(self, context: Context, candidates: Sequence[Offer]) -> list[Scored]:
        """Best first, no offer among them. Ties go to the offer whose id sorts first."""
        known = {name: np.array([value], dtype=np.float64) for name, value in context_features(context).items()}
        offered = offer_features(context, candidates)
        # No offer is the last candidate: it gives nothing, so its features are 0.
        columns = {name: np.append(values, 0.0) for name, values in offered.items()}
        names = [*(offer.id for offer in candidates), NO_OFFER]
        categories = columns.get("category", np.zeros(1)).astype(np.int64).tolist()
        matrix = assemble(self.model.schema, known, columns, np.array([len(names)]))
        scores = self.model.scores(matrix, self.model.lookup(names, categories))
        propensities = self.rule.propensities(scores).tolist()
        order = sorted(range(len(names)), key=list(zip((-scores).tolist(), names, strict=True)).__getitem__)
        each = [*candidates, None]
        values = scores.tolist()
        return [Scored(each[place], values[place], propensities[place]) for place in order]

    def choose(self, ranked: Sequence[Scored], draw: float) -> Scored:
        """The one that the draw falls on."""
        return ranked[choose(np.array([scored.propensity for scored in ranked]), draw)]
