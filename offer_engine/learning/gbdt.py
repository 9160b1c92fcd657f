"""Boosted trees as a ranker: LightGBM, an optional extra, for what a linear model cannot bend to.

Each tree sees the columns of the schema and which offer it is. It is fitted on the chosen candidates, one row for a decision,
because of the others no reward is known: so it expects rewards (a regression), which exploration needs in their own units, and
ranks by them. Rows go to a file first, so memory holds LightGBM's bins, one byte a value, and no more.

A log beyond one machine: LightGBM's own Dask interface fits the same rows; docs/offers-judging.md has the command.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np

from offer_engine.exploration import Exploration
from offer_engine.features import Matrix, Schema, SchemaRefused, Vector
from offer_engine.judging.policies import explored
from offer_engine.learning.files import read_lines
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.log import Arms, Batch, Reading
from offer_engine.learning.training import Source

_FORMAT: Final = "cordon-boosted-1"
_FEWEST_ROWS: Final = 100
_PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "regression",
    "num_leaves": 31,
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "min_data_per_group": 50,
    "lambda_l2": 10.0,
    "verbosity": -1,
    "deterministic": True,
    "seed": 20_261_127,
    "num_threads": 0,
}
_ROUNDS: Final = 100


class ExtraMissing(ModelInvalid):
    """LightGBM is not installed. The message says how to install it."""


class TooFewRows(ModelInvalid):
    """Trees need more decisions than there are; a linear model does not."""


def lightgbm() -> ModuleType:
    """The library. Raises ExtraMissing."""
    try:
        import lightgbm as library
    except ImportError:
        raise ExtraMissing("boosted models need LightGBM: pip install 'cordon[offers]'") from None
    module: ModuleType = library
    return module


@dataclass(frozen=True, slots=True)
class BoostedModel:
    """A booster and what its columns are. The last column is the offer's place in ``offers``, or -1 for one it never saw."""

    schema: Schema
    offers: tuple[str, ...]
    text: str
    predict: Callable[[Matrix], Vector]
    _known: Mapping[str, int]

    @classmethod
    def of(cls, schema: Schema, offers: Sequence[str], text: str) -> "BoostedModel":
        """A model from LightGBM's own text. Raises ExtraMissing, ModelInvalid."""
        library = lightgbm()
        try:
            booster = library.Booster(model_str=text)
        except library.basic.LightGBMError as fault:
            raise ModelInvalid("this file is no boosted model") from fault
        if booster.num_feature() != schema.width + 1:
            raise ModelInvalid("this model has other columns than its schema")
        known = {name: place for place, name in enumerate(offers)}
        # One thread for each call: a decision is small, and those who ask have threads of their own.
        return cls(schema, tuple(offers), text, lambda rows: np.asarray(booster.predict(rows, num_threads=1)), known)

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        """The expected reward of each candidate of a batch."""
        return self.predict(with_offers(batch.features, np.array(self.places(arms.names))[batch.arm]))

    def places(self, names: Sequence[str]) -> list[int]:
        """Where each offer is among those the model knows; -1 for a new one."""
        return [self._known.get(name, -1) for name in names]

    def to_bytes(self) -> bytes:
        """One line of JSON, then LightGBM's text."""
        about = {"format": _FORMAT, "schema": self.schema.as_json(), "offers": list(self.offers)}
        return f"{json.dumps(about, sort_keys=True)}\n{self.text}".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "BoostedModel":
        """The model in a file's bytes. Raises ExtraMissing, ModelInvalid, SchemaRefused."""
        try:
            first, _, text = data.decode().partition("\n")
            about = json.loads(first)
            schema, offers, kind = Schema.from_json(about["schema"]), about["offers"], about["format"]
        except SchemaRefused:
            raise
        except (ValueError, KeyError, TypeError) as fault:
            raise ModelInvalid("this file is no boosted model") from fault
        if kind != _FORMAT:
            raise ModelInvalid("this file is no boosted model")
        return cls.of(schema, offers, text)


@dataclass(frozen=True, slots=True)
class BoostedPolicy:
    """A boosted model with the exploration that it would serve with."""

    model: BoostedModel
    exploration: Exploration
    name: str = "model"

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """The exploration's vectors over the model's scores."""
        return explored(self.exploration, self.scores(batch, arms), batch)

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        """The model's."""
        return self.model.scores(batch, arms)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and the reading it came from."""

    model: BoostedModel
    reading: Reading


def train(source: Source, told: Callable[[int], None] = lambda _: None) -> Trained:
    """A model from a log. Raises ExtraMissing, TooFewRows, LogInvalid, OSError."""
    library = lightgbm()
    reading = source.reading()
    width = source.schema.width + 2  # the columns, the offer, the reward
    with tempfile.TemporaryFile() as rows:
        for batch in reading.batches(read_lines(source.paths, told)):
            columns = with_offers(batch.features[batch.chosen], batch.arm[batch.chosen])
            rows.write(np.column_stack([columns, batch.reward]).astype(np.float32).tobytes())
        rows.flush()
        if reading.used < _FEWEST_ROWS:
            raise TooFewRows(
                f"boosted trees need {_FEWEST_ROWS} decisions with known rewards, there are {reading.used}"
            )
        table = np.memmap(rows, dtype=np.float32, mode="r", shape=(reading.used, width))
        text = _fitted(library, table, source.schema.width)
    return Trained(BoostedModel.of(source.schema, reading.arms.names, text), reading)


def _fitted(library: ModuleType, table: "np.memmap[Any, np.dtype[np.float32]]", offer_column: int) -> str:
    class Rows(library.Sequence):  # type: ignore[misc, name-defined]
        """Hands LightGBM the file's rows a piece at a time."""

        batch_size = 65_536

        def __getitem__(self, index: Any) -> Any:
            return np.asarray(table[index][..., :-1], dtype=np.float64)

        def __len__(self) -> int:
            return len(table)

    data = library.Dataset(
        Rows(),
        label=np.ascontiguousarray(table[:, -1]),
        categorical_feature=[offer_column],
        params={**_PARAMETERS, "max_bin": 255},
        free_raw_data=True,
    )
    text: str = library.train(dict(_PARAMETERS), data, num_boost_round=_ROUNDS).model_to_string()
    return text


def with_offers(features: Matrix, places: Any) -> Matrix:
    """The columns with the offer's place behind them."""
    return np.column_stack([features, np.asarray(places, dtype=np.float64)])
