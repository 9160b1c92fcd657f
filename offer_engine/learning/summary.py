"""What a model's card says of the decisions: how many of each offer, and how the model does on subjects it was not trained on.

Held-out decisions are read in the same pass. A sample of at most HELD_OUT_ROWS of them is kept, drawn evenly whatever the log's
length, so memory does not grow; samples of several processes or machines make one as if one had read all.
"""

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from offer_engine.features import Matrix, Vector
from offer_engine.learning.log import Arms, Batch, Integers

HELD_OUT_ROWS: Final = 50_000
DECILES: Final = 10
_SEED: Final = 20_261_127

Rows32 = npt.NDArray[np.float32]


class SummaryInvalid(ValueError):
    """These bytes are no summary."""


class Scorer(Protocol):
    """What a model expects of candidates, each with its columns, its offer and that one's category."""

    def expects(self, features: Matrix, arm: Integers, arms: Arms) -> Vector:
        """One expected reward for each row."""


@dataclass(slots=True)
class Summary:
    """Counts and sums of rewards by offer (those trained on), and the sample of held-out decisions.

    ``held_out`` has a row for each: the columns, the offer's number in ``arms``, the reward. ``keys`` are the draws by which
    rows stay: those with the least.
    """

    width: int
    arms: Arms
    decisions: Vector = field(default_factory=lambda: np.zeros(0))
    rewards: Vector = field(default_factory=lambda: np.zeros(0))
    held_out: Rows32 = field(init=False)
    keys: Vector = field(default_factory=lambda: np.zeros(0))
    held_out_decisions: int = 0

    def __post_init__(self) -> None:
        self.held_out = np.zeros((0, self.width + 2), dtype=np.float32)

    def add(self, batch: Batch, trained: npt.NDArray[np.bool_]) -> None:
        """Takes in a batch: ``trained`` marks the decisions that are trained on, the others are held out."""
        arm, size = batch.arm[batch.chosen], len(self.arms.names)
        self._grow()
        self.decisions += np.bincount(arm[trained], minlength=size)
        self.rewards += np.bincount(arm[trained], weights=batch.reward[trained], minlength=size)
        apart = ~trained
        rows = np.column_stack([batch.features[batch.chosen[apart]], arm[apart], batch.reward[apart]]).astype(
            np.float32
        )
        # The draw goes by the decision, not by who reads it: files may come in any order and share.
        keys = _draws(batch.subject[apart] ^ batch.decided_ms[apart].astype(np.uint64))
        self.held_out_decisions += len(rows)
        self._keep(rows, keys)

    def merge(self, other: "Summary") -> None:
        """Adds another's, matched by the offers' names."""
        codes = np.array(
            [self.arms.code(*each) for each in zip(other.arms.names, other.arms.categories, strict=True)],
            dtype=np.int64,
        )
        self._grow()
        other._grow()
        self.decisions[codes] += other.decisions
        self.rewards[codes] += other.rewards
        rows = other.held_out.copy()
        if len(rows):
            rows[:, -2] = codes[rows[:, -2].astype(np.int64)]
        self.held_out_decisions += other.held_out_decisions
        self._keep(rows, other.keys)

    def metrics(self, model: Scorer) -> dict[str, float]:
        """On the held-out: squared error's root, of the model and of the mean alone, in units of the reward."""
        if not len(self.held_out):
            return {}
        expected, reward = self._scored(model)
        return {
            "held_out_rows": float(len(reward)),
            "rmse": float(np.sqrt(np.mean((reward - expected) ** 2))),
            "rmse_of_the_mean": float(reward.std()),
            "mean_expected": float(expected.mean()),
            "mean_seen": float(reward.mean()),
        }

    def calibration(self, model: Scorer) -> list[list[float]]:
        """On the held-out, by tenths of what the model expects, the least first: expected, seen, decisions."""
        if len(self.held_out) < DECILES:
            return []
        expected, reward = self._scored(model)
        tenths = np.array_split(np.argsort(expected, kind="stable"), DECILES)
        return [[float(expected[tenth].mean()), float(reward[tenth].mean()), float(tenth.size)] for tenth in tenths]

    def by_offer(self) -> dict[str, list[float]]:
        """Of each offer that was trained on: decisions and mean reward."""
        self._grow()
        counts = zip(self.arms.names, self.decisions.tolist(), self.rewards.tolist(), strict=True)
        return {name: [number, reward / number] for name, number, reward in counts if number}

    def to_bytes(self) -> bytes:
        """As an .npz file without pickles."""
        self._grow()
        about = {"names": self.arms.names, "categories": self.arms.categories, "held_out": self.held_out_decisions}
        out = io.BytesIO()
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        arrays: dict[str, Any] = {
            "decisions": self.decisions,
            "rewards": self.rewards,
            "rows": self.held_out,
            "keys": self.keys,
        }
        np.savez(out, allow_pickle=False, about=text, **arrays)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, width: int) -> "Summary":
        """What ``to_bytes`` gave. Raises SummaryInvalid."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                about: dict[str, Any] = json.loads(arrays["about"].tobytes())
                found = cls(width, Arms())
                for name, category in zip(about["names"], about["categories"], strict=True):
                    found.arms.code(str(name), int(category))
                found.decisions, found.rewards = arrays["decisions"] + 0.0, arrays["rewards"] + 0.0
                found.held_out, found.keys = arrays["rows"].astype(np.float32), arrays["keys"] + 0.0
            found.held_out_decisions = int(about["held_out"])
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as fault:
            raise SummaryInvalid("these bytes are no summary") from fault
        size, rows = len(found.arms.names), len(found.keys)
        shapes = (found.decisions.shape, found.rewards.shape, found.held_out.shape, found.keys.shape)
        if shapes != ((size,), (size,), (rows, width + 2), (rows,)) or rows > HELD_OUT_ROWS:
            raise SummaryInvalid("these bytes are no summary")
        if rows and not (found.held_out[:, -2].min() >= 0 and found.held_out[:, -2].max() < size):
            raise SummaryInvalid("these bytes are no summary")
        return found

    def _scored(self, model: Scorer) -> tuple[Vector, Vector]:
        rows = self.held_out.astype(np.float64)
        return model.expects(rows[:, :-2], rows[:, -2].astype(np.int64), self.arms), rows[:, -1]

    def _keep(self, rows: Rows32, keys: Vector) -> None:
        if len(self.keys) == HELD_OUT_ROWS:
            stays = keys < self.keys.max()
            rows, keys = rows[stays], keys[stays]
        self.held_out, self.keys = np.concatenate([self.held_out, rows]), np.concatenate([self.keys, keys])
        if len(self.keys) > HELD_OUT_ROWS:
            least = np.argpartition(self.keys, HELD_OUT_ROWS - 1)[:HELD_OUT_ROWS]
            self.held_out, self.keys = self.held_out[least], self.keys[least]

    def _grow(self) -> None:
        missing = len(self.arms.names) - self.decisions.size
        if missing > 0:
            self.decisions = np.append(self.decisions, np.zeros(missing))
            self.rewards = np.append(self.rewards, np.zeros(missing))


def _draws(codes: npt.NDArray[np.uint64]) -> Vector:
    """A number from [0, 1) for each code (splitmix64)."""
    mixed = codes + np.uint64(_SEED)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    draws: Vector = (mixed ^ (mixed >> np.uint64(31))) / 2.0**64
    return draws
