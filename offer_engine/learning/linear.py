"""Bayesian linear models, one for each offer, that borrow from the offer's category and from all offers.

A log of any length becomes sufficient statistics (X'X, X'y, y'y and the number of rows, by offer), which add up: batches,
processes and machines count apart and are summed. The posterior follows level by level, the level above being the prior:

    all offers       (k0 I + X'X)^-1 (X'y)
    a category       (k1 I + X'X)^-1 (k1 all + X'y)
    an offer         (k2 I + X'X)^-1 (k2 category + X'y)            covariance: noise x (k2 I + X'X)^-1

so an offer nobody has seen scores as its category does, and one of a new category as all offers do. ``Priors`` counts each k in
decisions. An offer's own rows are among those of the levels above it (empirical Bayes).
"""

import io
import itertools
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from offer_engine.features import Matrix, Schema, SchemaRefused, Vector
from offer_engine.learning.log import Arms, Batch, Integers

Tensor = npt.NDArray[np.float64]

_ALL: Final = ("all", "")
_FORMAT: Final = "cordon-linear-1"


class ModelInvalid(ValueError):
    """A file is no model of this kind, or not the one its name says."""


@dataclass(frozen=True, slots=True)
class Priors:
    """How many decisions each level's prior counts for."""

    all_offers: float = 10.0
    category: float = 50.0
    offer: float = 200.0


@dataclass(slots=True)
class Statistics:
    """Sums by offer. Memory is offers x columns^2, whatever the number of decisions."""

    width: int
    arms: Arms
    gram: Tensor = field(init=False)
    moment: Matrix = field(init=False)
    square: Vector = field(init=False)
    rows: Vector = field(init=False)

    def __post_init__(self) -> None:
        self.gram, self.moment = np.zeros((0, self.width, self.width)), np.zeros((0, self.width))
        self.square, self.rows = np.zeros(0), np.zeros(0)

    def add(self, batch: Batch, which: npt.NDArray[np.bool_] | None = None) -> None:
        """Takes in the chosen candidates of a batch, or of those of its decisions that ``which`` marks."""
        self.grow()
        chosen = batch.chosen if which is None else batch.chosen[which]
        reward = batch.reward if which is None else batch.reward[which]
        arm = batch.arm[chosen]
        order = np.argsort(arm, kind="stable")
        features, reward, arm = batch.features[chosen[order]], reward[order], arm[order]
        bounds = np.flatnonzero(np.diff(arm, prepend=-1, append=-1))
        for start, end in itertools.pairwise(bounds.tolist()):
            x, y, code = features[start:end], reward[start:end], arm[start]
            self.gram[code] += x.T @ x
            self.moment[code] += x.T @ y
            self.square[code] += y @ y
            self.rows[code] += y.size

    def merge(self, other: "Statistics", sign: float = 1.0) -> None:
        """Adds another's sums, matched by the offers' names; with a sign of -1 takes them out."""
        codes = [
            self.arms.code(name, category)
            for name, category in zip(other.arms.names, other.arms.categories, strict=True)
        ][: other.rows.size]
        self.grow()
        self.gram[codes] += sign * other.gram
        self.moment[codes] += sign * other.moment
        self.square[codes] += sign * other.square
        self.rows[codes] += sign * other.rows

    def copy(self) -> "Statistics":
        """The same sums, apart from these."""
        twin = Statistics(self.width, self.arms)
        twin.merge(self)
        return twin

    def grow(self) -> None:
        """Makes room for offers that came up since."""
        missing = len(self.arms.names) - self.rows.size
        if missing > 0:
            self.gram = np.concatenate([self.gram, np.zeros((missing, self.width, self.width))])
            self.moment = np.concatenate([self.moment, np.zeros((missing, self.width))])
            self.square = np.concatenate([self.square, np.zeros(missing)])
            self.rows = np.concatenate([self.rows, np.zeros(missing)])


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Means and covariances of each level, row by row; ``rows`` finds a row by (level, name).

    Frozen: what served can be loaded again. A model holds sums over many decisions and no row of anybody.
    """

    schema: Schema
    rows: Mapping[tuple[str, str], int]
    means: Matrix
    covariances: Tensor
    noise: float

    def lookup(self, names: Sequence[str], categories: Sequence[int]) -> Integers:
        """The row that speaks for each offer: its own, its category's, or that of all."""
        everything = self.rows[_ALL]
        return np.array(
            [
                self.rows.get(("offer", name), self.rows.get(("category", str(category)), everything))
                for name, category in zip(names, categories, strict=True)
            ],
            dtype=np.int64,
        )

    def scores(self, features: Matrix, rows: Integers, optimism: float = 0.0) -> Vector:
        """The expected reward of each candidate, plus so many of its standard deviations."""
        means: Vector = np.einsum("ij,ij->i", features, self.means[rows])
        if not optimism:
            return means
        variances = np.einsum("ij,ijk,ik->i", features, self.covariances[rows], features, optimize=True)
        optimistic: Vector = means + optimism * np.sqrt(np.maximum(variances, 0.0))
        return optimistic

    def expects(self, features: Matrix, arm: Integers, arms: Arms) -> Vector:
        """The expected reward of each row, ``arm`` being its offer's number."""
        return self.scores(features, self.lookup(arms.names, arms.categories)[arm])

    def drawn(self, seed: int) -> "LinearModel":
        """The model with one draw of the posterior in the place of its means: linear Thompson sampling by the batch.

        The draw is part of the frozen model, so probabilities given to its scores are exact.
        """
        rng = np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(self.covariances)
        scaled = np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(values.shape)
        means = self.means + np.einsum("rij,rj->ri", vectors, scaled)
        return LinearModel(self.schema, self.rows, means, self.covariances, self.noise)

    def to_bytes(self) -> bytes:
        """The model as an .npz file without pickles: the same model, the same bytes."""
        about = {
            "format": _FORMAT,
            "schema": self.schema.as_json(),
            "rows": [[*key, row] for key, row in self.rows.items()],
            "noise": self.noise,
        }
        out = io.BytesIO()
        text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8)
        np.savez(out, allow_pickle=False, about=text, means=self.means, covariances=self.covariances)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LinearModel":
        """The model in a file's bytes. Raises ModelInvalid; SchemaRefused where its schema names what none may."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                means, covariances = arrays["means"], arrays["covariances"]
            rows = {(level, name): int(row) for level, name, row in about["rows"]}
            schema, noise = Schema.from_json(about["schema"]), float(about["noise"])
        except SchemaRefused:
            raise
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as fault:
            raise ModelInvalid("this file is no linear model") from fault
        shapes = (len(rows), schema.width), (len(rows), schema.width, schema.width)
        if about["format"] != _FORMAT or (means.shape, covariances.shape) != shapes or _ALL not in rows:
            raise ModelInvalid("this file is no linear model")
        return cls(schema, rows, means, covariances, noise)


def fit(statistics: Statistics, schema: Schema, priors: Priors | None = None) -> LinearModel:
    """The posterior of each level. Raises ValueError where the statistics are of another width than the schema."""
    if statistics.width != schema.width:
        raise ValueError("these statistics were counted with another schema")
    priors = priors or Priors()
    statistics.grow()
    identity = np.eye(schema.width)
    names, categories = statistics.arms.names, np.array(statistics.arms.categories, dtype=np.int64)
    inverse_all = np.linalg.inv(priors.all_offers * identity + statistics.gram.sum(axis=0))
    mean_all = inverse_all @ statistics.moment.sum(axis=0)
    rows, means, inverses = {_ALL: 0}, [mean_all], [inverse_all]
    of_category = {0: mean_all}
    for category in np.unique(categories[categories != 0]):
        within = categories == category
        inverse = np.linalg.inv(priors.category * identity + statistics.gram[within].sum(axis=0))
        mean = inverse @ (priors.category * mean_all + statistics.moment[within].sum(axis=0))
        of_category[int(category)] = mean
        rows["category", str(category)] = len(means)
        means.append(mean)
        inverses.append(inverse)
    seen = np.flatnonzero(statistics.rows > 0)
    above = np.array([of_category[int(categories[code])] for code in seen]).reshape(-1, schema.width)
    own_inverses = np.linalg.inv(priors.offer * identity + statistics.gram[seen])
    own = np.einsum("oij,oj->oi", own_inverses, priors.offer * above + statistics.moment[seen])
    rows |= {("offer", names[code]): len(means) + place for place, code in enumerate(seen)}
    noise = _noise(statistics, own, seen)
    covariances = noise * np.concatenate([np.array(inverses), own_inverses])
    return LinearModel(schema, rows, np.concatenate([np.array(means), own]), covariances, noise)


def _noise(statistics: Statistics, means: Matrix, seen: Integers) -> float:
    """The variance of rewards that the offers' means leave unexplained."""
    explained = 2 * np.einsum("oi,oi->o", means, statistics.moment[seen])
    explained -= np.einsum("oi,oij,oj->o", means, statistics.gram[seen], means)
    left = float((statistics.square[seen] - explained).sum())
    return max(left / max(float(statistics.rows.sum()), 1.0), 1e-9)
