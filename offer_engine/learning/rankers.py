"""A model of the registry as the engine's ranker: its scores, and the exact probabilities with which offers are chosen.

Every ranker here is frozen once it is made, so decide() may be in as many threads as it likes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from offer_engine.decide import Scored
from offer_engine.exploration import Exploration, choose
from offer_engine.features import Matrix, Schema, Vector, assemble, context_features, offer_features
from offer_engine.judging.policies import LinearPolicy, ScoringPolicy
from offer_engine.learning.gbdt import BoostedModel, BoostedPolicy, with_offers
from offer_engine.learning.linear import LinearModel
from offer_engine.learning.registry import ModelKind, Registry
from offer_engine.offers import NO_OFFER, Context, Offer

HASH_DIGITS: Final = 16


@dataclass(slots=True)
class ModelRanker(ABC):
    """Ranks by a model's scores; no offer is an arm as the others. ``model_hash`` is the model's name in the registry."""

    schema: Schema
    model_hash: str
    rule: Exploration
    name: str
    version: str = field(default="", init=False)
    exploration: str = field(default="", init=False)
    feature_schema: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.version = self.model_hash[:HASH_DIGITS]
        self.exploration = self.rule.kind.value
        self.feature_schema = self.schema.hash

    @abstractmethod
    def policy(self) -> ScoringPolicy:
        """The same model with the same exploration, for a log to be asked about."""

    @abstractmethod
    def scores(self, matrix: Matrix, names: Sequence[str], categories: Sequence[int]) -> Vector:
        """The expected reward of each candidate, given its columns, its offer and that one's category."""

    def rank(self, context: Context, candidates: Sequence[Offer]) -> list[Scored]:
        """Best first, no offer among them. Ties go to the offer whose id sorts first."""
        known = {name: np.array([value], dtype=np.float64) for name, value in context_features(context).items()}
        offered = offer_features(context, candidates)
        # No offer is the last candidate: it gives nothing, so its features are 0.
        columns = {name: np.append(values, 0.0) for name, values in offered.items()}
        names = [*(offer.id for offer in candidates), NO_OFFER]
        categories = columns.get("category", np.zeros(1)).astype(np.int64).tolist()
        scores = self.scores(assemble(self.schema, known, columns, np.array([len(names)])), names, categories)
        propensities = self.rule.propensities(scores).tolist()
        order = sorted(range(len(names)), key=list(zip((-scores).tolist(), names, strict=True)).__getitem__)
        each = [*candidates, None]
        values = scores.tolist()
        return [Scored(each[place], values[place], propensities[place]) for place in order]

    def choose(self, ranked: Sequence[Scored], draw: float) -> Scored:
        """The one that the draw falls on."""
        return ranked[choose(np.array([scored.propensity for scored in ranked]), draw)]


class LinearRanker(ModelRanker):
    """Ranks by a linear model."""

    __slots__ = ("model",)

    def __init__(self, model: LinearModel, model_hash: str, rule: Exploration | None = None) -> None:
        super().__init__(model.schema, model_hash, rule or Exploration(), "linear")
        self.model = model

    def policy(self) -> ScoringPolicy:
        """As a policy."""
        return LinearPolicy(self.model, self.rule)

    def scores(self, matrix: Matrix, names: Sequence[str], categories: Sequence[int]) -> Vector:
        """The model's means."""
        return self.model.scores(matrix, self.model.lookup(names, categories))


class BoostedRanker(ModelRanker):
    """Ranks by boosted trees."""

    __slots__ = ("model",)

    def __init__(self, model: BoostedModel, model_hash: str, rule: Exploration | None = None) -> None:
        super().__init__(model.schema, model_hash, rule or Exploration(), "boosted")
        self.model = model

    def policy(self) -> ScoringPolicy:
        """As a policy."""
        return BoostedPolicy(self.model, self.rule)

    def scores(self, matrix: Matrix, names: Sequence[str], categories: Sequence[int]) -> Vector:
        """What the trees expect."""
        return self.model.predict(with_offers(matrix, self.model.places(names)))


def load_ranker(registry: Registry, name: str, rule: Exploration) -> ModelRanker:
    """The ranker of a model in the registry, with the exploration that it was promoted with, or else with ``rule``.

    Raises ModelMissing, ModelInvalid, ExtraMissing, SchemaRefused.
    """
    data = registry.load(name)
    rule = registry.exploration_of(name) or rule
    if registry.card(name).kind is ModelKind.BOOSTED:
        return BoostedRanker(BoostedModel.from_bytes(data), name, rule)
    return LinearRanker(LinearModel.from_bytes(data), name, rule)
