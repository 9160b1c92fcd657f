"""Models as files in a directory, named by the SHA-256 of their bytes, each with a card beside it.

    models/<sha256>.npz | .txt      the model: no pickle, so that loading it runs nothing
    models/<sha256>.json            its card
    history.jsonl                   what serves since when: one line for each change, only ever added to
    history.lock                    held by who adds a line

What holds:
 1. A model that is loaded is the one that its name says, to the byte.
 2. A file appears whole or not at all, and is never written again.
 3. What serves is the last line of the history; going back is a line more, not a line less.
 4. Who adds a line that follows from another one adds it behind that one or not at all, whatever other processes do meanwhile.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.judging.promotion import Stage
from offer_engine.learning.linear import ModelInvalid

_NAME: Final = re.compile(r"[0-9a-f]{64}")


class ModelMissing(LookupError):
    """No model of this name is in the registry."""


class HistoryDamaged(ModelInvalid):
    """A line of the history is no change. Nobody can say what serves: the message has the line's number."""


class HistoryMoved(Exception):
    """Another line was added meanwhile. The caller looks again."""


class ModelKind(StrEnum):
    """How a model's file is read, and its suffix."""

    LINEAR = "npz"
    BOOSTED = "txt"


@dataclass(frozen=True, slots=True)
class Card:
    """What must be known of a model before it may serve. Times in ms since the epoch, metrics in units of the reward.

    ``left_out`` counts decisions by why they were not trained on. ``metrics``, ``calibration`` (by tenths of what the model
    expects, the least first: expected, seen, decisions) are of subjects that it was not trained on. ``by_offer``: decisions
    trained on and their mean reward, of the offers with the most. ``code_hash`` is that of the program that trained it.
    """

    model: str
    kind: ModelKind
    trained_ms: int
    trained_by: str
    data_from_ms: int
    data_until_ms: int
    decisions: int
    left_out: dict[str, int]
    measure: str
    features: list[str]
    schema_hash: str
    offers: int
    metrics: dict[str, float] = field(default_factory=dict)
    purpose: str = "Ranks the offers that the rules allow. It decides nobody's price and no eligibility."
    lines: int = 0
    purchase_days: float = 0.0
    reversal_days: float = 0.0
    sources: dict[str, str] = field(default_factory=dict)
    calibration: list[list[float]] = field(default_factory=list)
    by_offer: dict[str, list[float]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    exploration: dict[str, Any] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    fairness: str = ""
    code_hash: str = ""
    machines: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history: from then on this model serves at this stage. Without a model the incumbent serves alone.

    ``exploration`` is on the line that ends an apprenticeship: the one that the model was judged with, and serves with.
    """

    at_ms: int
    model: str
    stage: str
    by: str
    reason: str
    exploration: Exploration | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """A directory of models."""

    directory: Path

    def add(self, data: bytes, kind: ModelKind, about: dict[str, Any]) -> Card:
        """Stores a model and its card (``about``: the card's other fields). The same bytes again are the same model."""
        name = hashlib.sha256(data).hexdigest()
        card = Card(model=name, kind=kind, **about)
        folder = self.directory / "models"
        folder.mkdir(parents=True, exist_ok=True)
        _write_once(folder / f"{name}.{kind.value}", data)
        _write_once(folder / f"{name}.json", (json.dumps(asdict(card), indent=2, sort_keys=True) + "\n").encode())
        return self.card(name)

    def card(self, name: str) -> Card:
        """A model's card. Raises ModelMissing; ModelInvalid where it is no card."""
        try:
            fields = json.loads(self._path(name, "json").read_text(encoding="utf-8"))
            return Card(**{**fields, "kind": ModelKind(fields["kind"])})
        except FileNotFoundError:
            raise ModelMissing("no model of this name is in the registry") from None
        except (ValueError, KeyError, TypeError):
            raise ModelInvalid("the model's card is damaged, or of a later version") from None

    def load(self, name: str) -> bytes:
        """A model's bytes. Raises ModelMissing; ModelInvalid where they are not those of its name (1), or its card is none."""
        card = self.card(name)
        try:
            data = self._path(name, card.kind.value).read_bytes()
        except FileNotFoundError:
            raise ModelMissing("the model's card is there, its file is not") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise ModelInvalid("the model's file is not the one that its name says")
        return data

    def cards(self) -> list[Card]:
        """Every model's card, the newest first. Raises ModelInvalid."""
        return sorted(map(self.card, self._names()), key=lambda card: (-card.trained_ms, card.model))

    def find(self, beginning: str) -> str:
        """The one model whose name begins so. Raises ModelMissing."""
        names = [name for name in self._names() if beginning and name.startswith(beginning)]
        if len(names) != 1:
            raise ModelMissing(f"{len(names)} models have a name that begins so")
        return names[0]

    def record(self, change: Change) -> None:
        """Adds a line to the history, and returns when it is on disk (3)."""
        with self._alone():
            self._append(change)

    def record_after(self, change: Change, newest: Change | None) -> None:
        """Adds a line where ``newest`` is the last one (4); None where there is to be none. Raises HistoryMoved."""
        with self._alone():
            history = self.history()
            if (history[-1] if history else None) != newest:
                raise HistoryMoved
            self._append(change)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else adds a line meanwhile. The lock goes with the process that has it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "history.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _append(self, change: Change) -> None:
        path = self.directory / "history.jsonl"
        cut_short = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        with path.open("a", encoding="utf-8") as history:
            history.write(("\n" if cut_short else "") + json.dumps(asdict(change), sort_keys=True) + "\n")
            history.flush()
            os.fsync(history.fileno())

    def history(self) -> list[Change]:
        """Every change, the oldest first. A line that a crash cut short never took effect. Raises HistoryDamaged, OSError."""
        return list(self._changes())

    def exploration_of(self, name: str) -> Exploration | None:
        """What a model serves with; None where it was never promoted, or before explorations were written down."""
        of_model = [change.exploration for change in self.history() if change.model == name]
        return next((exploration for exploration in of_model if exploration is not None), None)

    def _changes(self) -> Iterator[Change]:
        path = self.directory / "history.jsonl"
        for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
            try:
                fields = json.loads(line.decode())
            except json.JSONDecodeError:
                continue
            except ValueError:  # it is not UTF-8
                raise _damaged(number) from None
            try:
                yield _change(fields)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise _damaged(number) from None

    def _names(self) -> list[str]:
        return [path.stem for path in (self.directory / "models").glob("*.json")]

    def _path(self, name: str, suffix: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ModelMissing("a model's name is 64 hexadecimal digits")
        return self.directory / "models" / f"{name}.{suffix}"


def _damaged(line: int) -> HistoryDamaged:
    return HistoryDamaged(f"line {line} of the history is no change, or one of a later version")


def _change(fields: dict[str, Any]) -> Change:
    rule = fields.get("exploration")
    if rule is not None:
        fields["exploration"] = Exploration(ExplorationKind(rule["kind"]), rule["sharpness"], rule["floor"])
    return Change(**fields | {"stage": Stage(fields["stage"]).value})


def _write_once(path: Path, data: bytes) -> None:
    """The file whole on disk, or not there (2)."""
    if path.exists():
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
