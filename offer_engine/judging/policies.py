"""The policies that a log is asked about: each gives every candidate of a batch its probability."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from offer_engine.exploration import Exploration, Vector
from offer_engine.learning.linear import LinearModel
from offer_engine.learning.log import Arms, Batch


class Policy(Protocol):
    """A policy that can be judged. Its probabilities are those it would serve with, and sum to 1 in each decision."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """One probability for each candidate of the batch."""


class ScoringPolicy(Policy, Protocol):
    """A policy that says how much it expects of each candidate."""

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        """One score for each candidate of the batch, in units of the reward."""


@dataclass(frozen=True, slots=True)
class PriorityPolicy:
    """The merchant's priorities over the candidates of each decision, whoever decided it."""

    name: str = "priorities"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """All on the one that they would have made."""
        return batch.preferred


@dataclass(frozen=True, slots=True)
class RandomPolicy:
    """Any candidate as likely as any other."""

    name: str = "random"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """Uniform."""
        return np.repeat(1.0 / batch.counts, batch.counts)


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Always one offer, and where it is no candidate, ``otherwise`` (no offer), or any of the candidates."""

    offer: str
    otherwise: str

    @property
    def name(self) -> str:
        """The offer's name."""
        return f"always {self.offer}"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """All on the offer."""
        wanted = _rows(batch, arms, self.offer)
        fallback = _rows(batch, arms, self.otherwise)
        decision = batch.decision
        has = np.bincount(decision, weights=wanted, minlength=batch.counts.size)[decision] > 0
        could = np.bincount(decision, weights=fallback, minlength=batch.counts.size)[decision] > 0
        uniform = np.repeat(1.0 / batch.counts, batch.counts)
        return np.where(has, wanted, np.where(could, fallback, uniform))


@dataclass(frozen=True, slots=True)
class LinearPolicy:
    """A model with the exploration that it would serve with."""

    model: LinearModel
    exploration: Exploration
    name: str = "model"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """The exploration's vectors over the model's scores."""
        return explored(self.exploration, self.scores(batch, arms), batch)

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        """The model's."""
        return model_scores(self.model, batch, arms)


def model_scores(model: LinearModel, batch: Batch, arms: Arms) -> Vector:
    """The model's score of each candidate. The batch was read with the model's schema."""
    rows = model.lookup(arms.names, arms.categories)
    return model.scores(batch.features, rows[batch.arm])


def explored(exploration: Exploration, scores: Vector, batch: Batch) -> Vector:
    """Propensities of every decision; those with as many candidates are worked out together."""
    vector = np.empty_like(scores)
    starts = batch.starts
    for count in np.unique(batch.counts):
        rows = starts[batch.counts == count][:, None] + np.arange(count)
        vector[rows] = exploration.propensities(scores[rows])
    return vector


def _rows(batch: Batch, arms: Arms, offer: str) -> Vector:
    code = arms.find(offer)
    return np.where(batch.arm == (-1 if code is None else code), 1.0, 0.0)
