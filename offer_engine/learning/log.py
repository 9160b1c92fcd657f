"""Reads exported decisions, one JSON object a line, into columns: a batch at a time, so memory does not grow with the log.

What holds for a decision that is read:
 1. Its whole vector of propensities is there, sums to 1, and gives the chosen candidate more than 0. Anything else is no log
    that another policy can be judged on, and the reading stops with the line's number.
 2. It was shown, its reward is known (rewards.py), and its subject did not ask to be forgotten; the others are counted and
    left out.
 3. Where the reading is for judging (``only_drawn``), it was drawn: of what the priorities decided nothing can be told of any
    other policy. Those are counted and left out too, by the record and never by what came of them.
 4. Of the subject only a hash of the pseudonym stays, to keep decisions of one subject together.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from offer_engine.features import ALLOWED, Matrix, Schema, Side, Vector, assemble
from offer_engine.learning.rewards import RewardRule, Unknown
from offer_engine.rank import PriorityRanker, preferred

Integers = npt.NDArray[np.int64]

BATCH_DECISIONS: Final = 4_096
NOT_DRAWN: Final = PriorityRanker.exploration
TRAINED_PERCENT: Final = 70  # of the subjects, by subject_share; models are judged on the others
_WHOLE: Final = 1e-6


class LogInvalid(ValueError):
    """A line is no decision record with exact propensities. The message holds the line's number and no value of it."""


@dataclass(slots=True)
class Arms:
    """The offers that a log speaks of, numbered in the order in which they came up, with the number of each one's category."""

    names: list[str] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    _codes: dict[str, int] = field(default_factory=dict)

    def code(self, name: str, category: int) -> int:
        """The offer's number."""
        if (code := self._codes.get(name)) is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
            self.categories.append(category)
        return code

    def find(self, name: str) -> int | None:
        """The number of an offer that came up, or None."""
        return self._codes.get(name)


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions as columns, and their candidates, decision after decision.

    By decision: counts of candidates, chosen (a row of the candidates), reward, subject, decided_ms. By candidate: features (of
    the schema), arm (its number in Arms), propensity, preferred (1 for the one that the merchant's priorities would make).
    """

    counts: Integers
    chosen: Integers
    reward: Vector
    subject: npt.NDArray[np.uint64]
    decided_ms: Integers
    features: Matrix
    arm: Integers
    propensity: Vector
    preferred: Vector

    @property
    def starts(self) -> Integers:
        """The row of each decision's first candidate."""
        starts: Integers = np.cumsum(self.counts) - self.counts
        return starts

    @property
    def decision(self) -> Integers:
        """The decision of each candidate's row."""
        return np.repeat(np.arange(self.counts.size), self.counts)


@dataclass(slots=True)
class Reading:
    """How a log is read, and what was left out so far. ``now_ms`` is when the log was exported; a line
    that says itself when it was (``exported_ms``) is not read as if more had been known.

    ``share``: which subjects are read, as percent from (inclusive) and to (exclusive) of an even split by their hash. A model
    is judged on other subjects than it was trained on. ``only_chosen``: of each decision only what was chosen, as if nothing
    else had been there; training needs no more. ``only_drawn``: decisions by chance or by a model that explores.
    """

    schema: Schema
    rule: RewardRule
    now_ms: int
    share: tuple[int, int] = (0, 100)
    only_chosen: bool = False
    only_drawn: bool = False
    arms: Arms = field(default_factory=Arms)
    lines: int = 0
    used: int = 0
    not_presented: int = 0
    immature: int = 0
    other_share: int = 0
    erased: int = 0
    not_drawn: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def batches(self, lines: Iterable[str | bytes], size: int = BATCH_DECISIONS) -> Iterator[Batch]:
        """The log's decisions with known rewards. Raises LogInvalid."""
        kept: list[_Record] = []
        for line in lines:
            if not line.strip():
                continue
            self.lines += 1
            record = self._record(line)
            if record.code is None:
                self.erased += 1
            elif not self.share[0] <= _share(record.code) < self.share[1]:
                self.other_share += 1
            elif self.only_drawn and not record.was_drawn:
                self.not_drawn += 1  # (3)
            elif record.reward is Unknown.NOT_PRESENTED:
                self.not_presented += 1
            elif record.reward is Unknown.IMMATURE:
                self.immature += 1
            else:
                kept.append(record)
            if len(kept) == size:
                yield self._batch(kept)
                kept = []
        if kept:
            yield self._batch(kept)

    def _record(self, line: str | bytes) -> "_Record":
        try:
            fields = from_json(line)
            candidates, wanted, subject = fields["candidates"], fields["chosen"], fields["subject"]
            vector = [each["propensity"] for each in candidates]
            [place] = [place for place, each in enumerate(candidates) if each["offer"] == wanted]
            # A pseudonym of nobody may stand in the place of a subject that was erased.
            code = None if subject is None or fields.get("erased") else subject_code(subject)
            whole = abs(math.fsum(vector) - 1) < _WHOLE and min(vector) >= 0 < vector[place]
            first = preferred(candidates)
            reward = self.rule.reward(fields, min(self.now_ms, fields.get("exported_ms", self.now_ms)))
            context = {} if code is None else fields["context"].get("features", {})
            decided_ms = int(fields["decided_ms"])
            was_drawn = fields.get("exploration") != NOT_DRAWN
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            whole = False
        if not whole:
            raise LogInvalid(f"line {self.lines} is no decision record with whole propensities")  # (1)
        if self.only_chosen:
            candidates, place, first = [candidates[place]], 0, 0
        return _Record(context, candidates, place, code, decided_ms, reward, first, was_drawn)

    def _batch(self, kept: "list[_Record]") -> Batch:
        try:
            return self._columned(kept)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise LogInvalid(f"a decision up to line {self.lines} has features that are no numbers") from None

    def _columned(self, kept: "list[_Record]") -> Batch:
        candidates = [each for record in kept for each in record.candidates]
        counts = np.array([len(record.candidates) for record in kept])
        places = np.array([record.place for record in kept])
        moments = [record.decided_ms for record in kept]
        self.used += len(kept)
        self.first_ms = min([*moments, self.first_ms if self.first_ms is not None else moments[0]])
        self.last_ms = max([*moments, self.last_ms or 0])
        context, offer = self._columns([record.context for record in kept], candidates)
        return Batch(
            counts=counts,
            chosen=np.cumsum(counts) - counts + places,
            reward=np.array([record.reward for record in kept], dtype=np.float64),
            subject=np.array([record.code for record in kept], dtype=np.uint64),
            decided_ms=np.array(moments),
            features=assemble(self.schema, context, offer, counts),
            arm=np.array(
                [self.arms.code(each["offer"], int(each.get("features", {}).get("category", 0))) for each in candidates]
            ),
            propensity=np.array([each["propensity"] for each in candidates], dtype=np.float64),
            preferred=_ones_at([record.preferred for record in kept], counts),
        )

    def _columns(
        self, contexts: Sequence[Mapping[str, float]], candidates: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Vector], dict[str, Vector]]:
        offers = [each.get("features", {}) for each in candidates]
        sides: dict[Side, dict[str, Vector]] = {Side.CONTEXT: {}, Side.OFFER: {}}
        for feature in self.schema.features:
            side = ALLOWED[feature.name]
            rows = contexts if side is Side.CONTEXT else offers
            values = np.array([row.get(feature.name, 0.0) for row in rows], dtype=np.float64)
            if values.ndim > 1 or not np.isfinite(values).all():
                raise ValueError("a feature is a finite number")
            sides[side][feature.name] = values
        return sides[Side.CONTEXT], sides[Side.OFFER]


class _Record(NamedTuple):
    """What is needed of a line; ``place`` is the chosen candidate's, ``code`` the subject's or None where it was erased.

    ``preferred`` is the place of the one that the priorities would have made.
    """

    context: dict[str, float]
    candidates: list[dict[str, Any]]
    place: int
    code: int | None
    decided_ms: int
    reward: float | Unknown
    preferred: int
    was_drawn: bool


def _ones_at(places: list[int], counts: Integers) -> Vector:
    """1 for one candidate of each decision."""
    column = np.zeros(int(counts.sum()))
    column[np.cumsum(counts) - counts + np.array(places)] = 1.0
    return column


def subject_code(subject: str) -> int:
    """64 bits that keep the decisions of one subject together (4)."""
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest(), "big")


def subject_share(subject: str) -> int:
    """The percent of an even split, 0 to 99, that a subject falls into; independent of folds and groups."""
    return _share(subject_code(subject))


def share_of(codes: npt.NDArray[np.uint64]) -> Integers:
    """The same for the subjects of a batch."""
    return ((codes >> np.uint64(40)) % np.uint64(100)).astype(np.int64)


def _share(code: int) -> int:
    return (code >> 40) % 100
