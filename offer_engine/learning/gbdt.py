"""Boosted trees as a ranker: LightGBM, an optional extra, for what a linear model cannot bend to.

Each tree sees the columns of the schema and which offer it is. It is fitted on the chosen candidates, one row for a decision,
because of the others no reward is known: so it expects rewards (a regression), which exploration needs in their own units, and
ranks by them. Rows go to files first, so memory holds LightGBM's bins (one byte a value), rewards and gradients, and no more.
Why LightGBM, and why as a regression: docs/decisions/0012.

A log beyond one machine: each machine reads its own files, and LightGBM sums their histograms (machines.py).
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final

import numpy as np

from offer_engine.exploration import Exploration
from offer_engine.features import Matrix, Schema, SchemaRefused, Vector
from offer_engine.judging.policies import explored
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.log import Arms, Batch, Integers, Reading
from offer_engine.learning.summary import Summary
from offer_engine.learning.training import Source, Told, add_reading, in_processes, untold

_FORMAT: Final = "cordon-boosted-1"
_FEWEST_ROWS: Final = 100
_PIECE_ROWS: Final = 16_384
PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "regression",
    "num_leaves": 31,
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "min_data_per_group": 50,
    "lambda_l2": 10.0,
    "verbosity": -1,
    "deterministic": True,
    "seed": 20_261_127,
}
ROUNDS: Final = 100


class ExtraMissing(ModelInvalid):
    """LightGBM is not installed. The message says how to install it."""


class TooFewRows(ModelInvalid):
    """Trees need more decisions than there are; a linear model does not."""


class NetworkFailed(ModelInvalid):
    """Other machines could not be reached while the trees grew. All are to be started again."""


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
        return self.expects(batch.features, batch.arm, arms)

    def expects(self, features: Matrix, arm: Integers, arms: Arms) -> Vector:
        """The expected reward of each row."""
        return self.predict(with_offers(features, np.array(self.places(arms.names))[arm]))

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
class RowFile:
    """Rows in a file: for each decision its columns, its offer's place in ``offers``, and its reward, as float32."""

    path: Path
    rows: int
    offers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What one process wrote, and the reading and the summary that came with it."""

    file: RowFile
    reading: Reading
    summary: Summary


@dataclass(slots=True)
class Table:
    """The rows of a source, with all its counts as one."""

    files: list[RowFile]
    reading: Reading
    summary: Summary


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and the reading and the summary that came with it."""

    model: BoostedModel
    reading: Reading
    summary: Summary


def no_one(trees: int) -> None:
    """Tells nobody how many trees are grown."""


def train(source: Source, jobs: int = 1, told: Told = untold, grown: Callable[[int], None] = no_one) -> Trained:
    """A model from a log. Raises ExtraMissing, TooFewRows, LogInvalid, OSError."""
    with table_of(source, jobs, told) as table:
        model = fitted(source.schema, table.files, table.summary.arms.names, jobs, grown=grown)
        return Trained(model, table.reading, table.summary)


@contextmanager
def table_of(source: Source, jobs: int = 1, told: Told = untold) -> Iterator[Table]:
    """The rows in files that are gone afterwards, of each file of the log in one of ``jobs`` processes."""
    lightgbm()  # who lacks it learns so before the log is read
    with tempfile.TemporaryDirectory(prefix="cordon-rows-") as folder:
        if jobs < 2 or len(source.paths) < 2:
            parts = iter([written(Path(folder), source, told)])
        else:
            parts = in_processes(partial(written, Path(folder)), source.parts(), jobs, told)
        first = next(parts)
        table = Table([first.file], first.reading, first.summary)
        for part in parts:
            table.files.append(part.file)
            table.summary.merge(part.summary)
            add_reading(table.reading, part.reading)
        yield table


def written(folder: Path, source: Source, told: Told = untold) -> Written:
    """Writes the rows of a source into a file of its own. Raises LogInvalid, OSError."""
    reading = source.reading()
    summary = Summary(source.schema.width, reading.arms)
    descriptor, name = tempfile.mkstemp(dir=folder)
    rows = 0
    with os.fdopen(descriptor, "wb") as out:
        for batch, trained in source.read(reading, summary, told):
            chosen = batch.chosen[trained]
            columns = with_offers(batch.features[chosen], batch.arm[chosen])
            out.write(np.column_stack([columns, batch.reward[trained]]).astype(np.float32).tobytes())
            rows += len(columns)
    return Written(RowFile(Path(name), rows, tuple(reading.arms.names)), reading, summary)


def fitted(
    schema: Schema,
    files: Sequence[RowFile],
    offers: Sequence[str],
    threads: int = 1,
    network: Mapping[str, Any] | None = None,
    grown: Callable[[int], None] = no_one,
) -> BoostedModel:
    """The trees of these rows. ``offers`` are numbered as they stand; ``network`` is how LightGBM finds other machines.

    Raises TooFewRows, NetworkFailed.
    """
    library = lightgbm()
    require_rows(sum(file.rows for file in files))
    places = {name: place for place, name in enumerate(offers)}
    parameters = {**PARAMETERS, "num_threads": threads, **(network or {})}
    with ExitStack() as stack:
        opened = [
            _sequence(library, file, stack.enter_context(file.path.open("rb")), [places[name] for name in file.offers])
            for file in files
            if file.rows
        ]
        data = library.Dataset(
            opened,
            label=np.concatenate([sequence.labels() for sequence in opened]),
            categorical_feature=[schema.width],
            params=parameters,
            free_raw_data=True,
        )
        try:
            progress = [lambda state: grown(state.iteration + 1)]
            trees = library.train(parameters, data, num_boost_round=ROUNDS, callbacks=progress)
            text: str = trees.model_to_string()
        except library.basic.LightGBMError as fault:
            if network is None:
                raise
            raise NetworkFailed("LightGBM lost the other machines, or never found them") from fault
    return BoostedModel.of(schema, offers, text)


def require_rows(rows: int) -> None:
    """Raises TooFewRows."""
    if rows < _FEWEST_ROWS:
        raise TooFewRows(f"boosted trees need {_FEWEST_ROWS} decisions with known rewards, there are {rows}")


def _sequence(library: ModuleType, file: RowFile, opened: BinaryIO, places: Sequence[int]) -> Any:
    renumbered = np.array(places, dtype=np.float64)
    row_bytes = os.fstat(opened.fileno()).st_size // file.rows

    class Rows(library.Sequence):  # type: ignore[misc, name-defined]
        """Hands LightGBM the file's rows a piece at a time: read, not mapped, so memory holds one piece."""

        batch_size = _PIECE_ROWS

        def __getitem__(self, index: Any) -> Any:
            if isinstance(index, slice):
                start, stop, _ = index.indices(file.rows)
                return self._columns(start, stop)
            return self._columns(index, index + 1)[0]

        def __len__(self) -> int:
            return file.rows

        def labels(self) -> Any:
            """The rewards, as one column."""
            starts = range(0, file.rows, _PIECE_ROWS)
            return np.concatenate([self._rows(start, min(start + _PIECE_ROWS, file.rows))[:, -1] for start in starts])

        def _columns(self, start: int, stop: int) -> Any:
            columns = self._rows(start, stop)[:, :-1].astype(np.float64)
            columns[:, -1] = renumbered[columns[:, -1].astype(np.int64)]
            return columns

        def _rows(self, start: int, stop: int) -> Any:
            data = os.pread(opened.fileno(), (stop - start) * row_bytes, start * row_bytes)
            return np.frombuffer(data, dtype=np.float32).reshape(stop - start, -1)

    return Rows()


def with_offers(features: Matrix, places: Any) -> Matrix:
    """The columns with the offer's place behind them."""
    return np.column_stack([features, np.asarray(places, dtype=np.float64)])
