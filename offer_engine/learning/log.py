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
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offer_engine.features import ALLOWED, Matrix, Schema, Side, Vector, assemble
from offer_engine.learning.rewards import RewardRule, Unknown
from offer_engine.rank import PriorityRanker, preferred

Integers = npt.NDArray[np.int64]

BATCH_DECISIONS: Final = 4_096
NOT_DRAWN: Final = PriorityRanker.exploration
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
    is judged on other subjects than it was trained on. ``only_drawn``: decisions by chance or by a model that explores.
    """

    schema: Schema
    rule: RewardRule
    now_ms: int
    share: tuple[int, int] = (0, 100)
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
        kept: list[tuple[_Record, float]] = []
        for line in lines:
            if not line.strip():
                continue
            self.lines += 1
            record = self._record(line)
            if record.is_erased:
                self.erased += 1
                continue
            if not self.share[0] <= subject_share(record.fields["subject"]) < self.share[1]:
                self.other_share += 1
                continue
            if self.only_drawn and record.fields.get("exploration") == NOT_DRAWN:
                self.not_drawn += 1  # (3)
                continue
            match record.reward:
                case Unknown.NOT_PRESENTED:
                    self.not_presented += 1
                case Unknown.IMMATURE:
                    self.immature += 1
                case reward:
                    kept.append((record, reward))
            if len(kept) == size:
                yield self._batch(kept)
                kept = []
        if kept:
            yield self._batch(kept)

    def _record(self, line: str | bytes) -> "_Record":
        try:
            fields = json.loads(line)
            candidates = fields["candidates"]
            vector = [each["propensity"] for each in candidates]
            [chosen] = [place for place, each in enumerate(candidates) if each["offer"] == fields["chosen"]]
            subject_code(fields["subject"] or "")
            whole = abs(math.fsum(vector) - 1) < _WHOLE and min(vector) >= 0 < vector[chosen]
            first = preferred(candidates)
            reward = self.rule.reward(fields, min(self.now_ms, fields.get("exported_ms", self.now_ms)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            whole = False
        if not whole:
            raise LogInvalid(f"line {self.lines} is no decision record with whole propensities")  # (1)
        return _Record(fields, reward, first)

    def _batch(self, kept: "list[tuple[_Record, float]]") -> Batch:
        records = [record.fields for record, _ in kept]
        firsts = [record.preferred for record, _ in kept]
        candidates = [each for record in records for each in record["candidates"]]
        counts = np.array([len(record["candidates"]) for record in records])
        places = [_place(record) for record in records]
        moments = [int(record["decided_ms"]) for record in records]
        self.used += len(kept)
        self.first_ms = min([*moments, self.first_ms if self.first_ms is not None else moments[0]])
        self.last_ms = max([*moments, self.last_ms or 0])
        context, offer = self._columns([record["context"].get("features", {}) for record in records], candidates)
        return Batch(
            counts=counts,
            chosen=np.cumsum(counts) - counts + np.array(places),
            reward=np.array([reward for _, reward in kept], dtype=np.float64),
            subject=np.array([subject_code(record["subject"]) for record in records], dtype=np.uint64),
            decided_ms=np.array(moments),
            features=assemble(self.schema, context, offer, counts),
            arm=np.array(
                [self.arms.code(each["offer"], int(each.get("features", {}).get("category", 0))) for each in candidates]
            ),
            propensity=np.array([each["propensity"] for each in candidates], dtype=np.float64),
            preferred=_ones_at(firsts, counts),
        )

    def _columns(
        self, contexts: list[Mapping[str, float]], candidates: list[Mapping[str, Any]]
    ) -> tuple[dict[str, Vector], dict[str, Vector]]:
        offers = [each.get("features", {}) for each in candidates]
        sides: dict[Side, dict[str, Vector]] = {Side.CONTEXT: {}, Side.OFFER: {}}
        for feature in self.schema.features:
            side = ALLOWED[feature.name]
            rows = contexts if side is Side.CONTEXT else offers
            sides[side][feature.name] = np.array([row.get(feature.name, 0.0) for row in rows], dtype=np.float64)
        return sides[Side.CONTEXT], sides[Side.OFFER]


@dataclass(frozen=True, slots=True)
class _Record:
    fields: dict[str, Any]
    reward: float | Unknown
    preferred: int

    @property
    def is_erased(self) -> bool:
        """Whether its subject asked to be forgotten; a pseudonym of nobody may stand in their place."""
        return self.fields["subject"] is None or bool(self.fields.get("erased"))


def _ones_at(places: list[int], counts: Integers) -> Vector:
    """1 for one candidate of each decision."""
    column = np.zeros(int(counts.sum()))
    column[np.cumsum(counts) - counts + np.array(places)] = 1.0
    return column


def _place(record: Mapping[str, Any]) -> int:
    return next(place for place, each in enumerate(record["candidates"]) if each["offer"] == record["chosen"])


def subject_code(subject: str) -> int:
    """64 bits that keep the decisions of one subject together (4)."""
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest(), "big")


def subject_share(subject: str) -> int:
    """The percent of an even split, 0 to 99, that a subject falls into; independent of folds and groups."""
    return (subject_code(subject) >> 40) % 100
