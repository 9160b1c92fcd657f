"""What became of a model's decisions beside those of the incumbent, since its stage began: the guards of its promotion.

What holds for a comparison:
 1. Sides are those of the record: a decision is the model's where the record names it, also where the priorities had to
    stand in for it; the incumbent's where the priorities decided for others. The hold-out, by chance, is neither.
 2. Every decision of the stage counts, shown or not: subjects fall to a side by their hash, and what a model does not offer is
    its doing. Both sides decided over the same time, so that rewards which are still to come are missing on both alike.
 3. Nothing after the look's moment counts, whenever the log was read (looks.py).
 4. Decisions of one subject stay together in the intervals, and a few that came out alike are not taken for many.
    A subject counts with SUBJECT_DECISIONS at most: one that asks a thousand times would make every interval so wide that no
    guard sees anything.
 5. A guard that one side has nothing to say of is missing. It is never taken for good.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

import numpy as np

from offer_engine.features import Vector
from offer_engine.judging.intervals import Interval, contrasts
from offer_engine.judging.looks import LEVEL, Look
from offer_engine.judging.promotion import Guard, Measured, Side
from offer_engine.learning.log import subject_code
from offer_engine.learning.rewards import Measure, RewardRule, latest

GROUPS: Final = 4_096  # subjects are put together by their hash into at most so many groups
SUBJECT_DECISIONS: Final = 10
GROUP_DECISIONS: Final = 200  # a group of shoppers with fewer on either side is not compared
GROUPS_MAXIMUM: Final = 12  # of one kind; those that come up later are one group together
REPLICATES: Final = 400
_SEED: Final = 20_261_127
_REFUSALS: Final = frozenset({"dismissed", "declined"})
_OTHERS: Final = "others"
_REWARD = RewardRule(Measure.CONVERSION)
_MARGIN = RewardRule(Measure.MARGIN)


def _country(record: Mapping[str, Any]) -> str:
    return str(record["context"].get("region") or "not known")[:2]


def _returning(record: Mapping[str, Any]) -> str:
    return "returning" if record["context"].get("known", {}).get("owned") else "new"


# What shoppers may be told apart by. Nothing that the law protects is on the record, so nothing of it can be here.
GROUPINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "verification": lambda record: str(record["verification"]),
    "country": _country,
    "returning": _returning,
}
GROUPINGS_USUAL: Final = ("verification", "returning")


@dataclass(slots=True)
class _Sums:
    """Numerators and denominators of one side's quotient, by group of subjects."""

    numerators: Vector = field(default_factory=lambda: np.zeros(GROUPS))
    denominators: Vector = field(default_factory=lambda: np.zeros(GROUPS))

    def add(self, group: int, numerator: float, denominator: float = 1.0) -> None:
        """Takes in a decision."""
        self.numerators[group] += numerator
        self.denominators[group] += denominator


@dataclass(slots=True)
class Comparison:
    """The model's side beside the incumbent's, as one look sees them. ``groupings`` names some of GROUPINGS."""

    model: str
    began_ms: int
    look: Look
    groupings: Sequence[str] = ()
    decisions: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    _sums: defaultdict[tuple[Side, str], _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    _seen: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _counted: Counter[int] = field(default_factory=Counter)
    _margins: tuple[float, float] = (0.0, 0.0)  # the least and the most that a decision could earn

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes in a decision as it is exported; those before the stage, after the look or of another model are passed over."""
        is_of_stage = self.began_ms <= record["decided_ms"] < self.look.at_ms
        side = self._side(record)
        if not is_of_stage or side is None or record["subject"] is None:
            return
        subject = subject_code(record["subject"])
        if self._counted[subject] >= SUBJECT_DECISIONS:
            return
        self._counted[subject] += 1
        self.decisions[side] += 1
        now_ms, group = self.look.at_ms, subject % GROUPS  # (4)
        outcomes = {each["type"] for each in latest(record.get("outcomes", ()), now_ms)}  # (3)
        reward = _REWARD.so_far(record, now_ms)
        least, most = _margins(record)
        self._margins = (min(self._margins[0], least), max(self._margins[1], most))
        self._sums[side, "reward"].add(group, reward)
        self._sums[side, "margin"].add(group, _MARGIN.so_far(record, now_ms))
        self._sums[side, "refunds"].add(group, float(reward < 0), float(reward != 0))
        self._sums[side, "opt_outs"].add(group, float(bool(outcomes & _REFUSALS)))
        self._sums[side, "faults"].add(group, float(record.get("fell_back") is not None))
        for name in self.groupings:
            self._sums[side, self._group(name, GROUPINGS[name](record))].add(group, reward)

    def measured(self) -> Measured:
        """What the look shows."""
        lost = {"reward": _RANGE, "margin": self._margins[1] - self._margins[0]}
        wanted: dict[Guard, tuple[dict[tuple[Side, str], float], float]] = {
            Guard.REWARD_LOST: (_less(Side.INCUMBENT, Side.MODEL, "reward"), lost["reward"]),
            Guard.MARGIN_LOST: (_less(Side.INCUMBENT, Side.MODEL, "margin"), lost["margin"]),
            Guard.REFUNDS: (_less(Side.MODEL, Side.INCUMBENT, "refunds"), 1.0),
            Guard.OPT_OUTS: (_less(Side.MODEL, Side.INCUMBENT, "opt_outs"), 1.0),
            Guard.FAULTS: ({(Side.MODEL, "faults"): 1.0}, 1.0),  # the incumbent has none by its nature
        }
        known = {guard: of for guard, of in wanted.items() if self._is_known(of[0])}  # (5)
        level = self.look.level(len(Guard))
        guards = dict(zip(known, self._intervals(list(known.values()), level), strict=True))
        gap = self._gap()
        if gap is not None:
            guards[Guard.GROUP_GAP] = gap
        return Measured(self.decisions[Side.MODEL], self.look.at_ms - self.began_ms, guards)

    def uplift(self, side: Side) -> Interval | None:
        """What a side earned beyond the hold-out, a decision; at LEVEL, for one look. None where one has nothing to say."""
        of = _less(side, Side.HOLD_OUT, "reward")
        return self._intervals([(of, _RANGE)], LEVEL)[0] if self._is_known(of) else None

    def _side(self, record: Mapping[str, Any]) -> Side | None:
        """(1)"""
        if self.model in (record.get("model_hash"), record.get("fell_back")):
            return Side.MODEL
        if record.get("fell_back") is not None:
            return None
        by = str(record["policy"]).partition(":")[0]
        return {"priority": Side.INCUMBENT, "chance": Side.HOLD_OUT}.get(by)

    def _group(self, name: str, value: str) -> str:
        seen = self._seen[name]
        if value not in seen:
            if len(seen) >= GROUPS_MAXIMUM:
                return f"{name}:{_OTHERS}"
            seen.append(value)
        return f"{name}:{value}"

    def _gap(self) -> Interval | None:
        """The largest difference of the model's effect between two groups of a kind: 0 where there are no two to compare."""
        if not self.decisions[Side.MODEL] or not self.decisions[Side.INCUMBENT]:
            return None
        pairs = [
            {key: sign * weight for name, sign in ((one, 1.0), (other, -1.0)) for key, weight in _effect(name).items()}
            for kind in self.groupings
            for one, other in permutations(self._groups_of(kind), 2)
        ]
        if not pairs:
            return Interval(0.0, 0.0, 0.0, 0.0, 0.0)
        found = self._intervals([(of, _RANGE) for of in pairs], self.look.level(len(Guard) * len(pairs)))
        return Interval(*(max(getattr(each, name) for each in found) for name in Interval.__slots__))

    def _groups_of(self, kind: str) -> list[str]:
        names = {name for _, name in self._sums if name.startswith(f"{kind}:")}
        return sorted(
            name
            for name in names
            if all(
                self._sums[side, name].denominators.sum() >= GROUP_DECISIONS for side in (Side.MODEL, Side.INCUMBENT)
            )
        )

    def _is_known(self, of: Iterable[tuple[Side, str]]) -> bool:
        return all(key in self._sums and self._sums[key].denominators.any() for key in of)

    def _intervals(
        self, wanted: Sequence[tuple[Mapping[tuple[Side, str], float], float]], level: float
    ) -> list[Interval]:
        """One for each weighted sum of quotients, with the width of what one decision can add to its numerators."""
        if not wanted:
            return []
        keys = list(dict.fromkeys(key for of, _ in wanted for key in of))
        spans = np.array([max(span for of, span in wanted if key in of) for key in keys])
        weights = np.array([[of.get(key, 0.0) for key in keys] for of, _ in wanted])
        numerators = np.stack([self._sums[key].numerators for key in keys], axis=1)
        denominators = np.stack([self._sums[key].denominators for key in keys], axis=1)
        present = denominators.any(axis=1)
        if present.sum() < 2:
            return [_nothing_known(span) for _, span in wanted]
        return contrasts(
            numerators[present],
            denominators[present],
            weights,
            spans,
            level=level,
            replicates=REPLICATES,
            seed=_SEED,
        )


_RANGE: Final = 1.0 - _REWARD.reversal  # a reward is between what a purchase earns and what one that came back does


def _less(one: Side, other: Side, name: str) -> dict[tuple[Side, str], float]:
    return {(one, name): 1.0, (other, name): -1.0}


def _effect(name: str) -> dict[tuple[Side, str], float]:
    return _less(Side.MODEL, Side.INCUMBENT, name)


def _nothing_known(span: float) -> Interval:
    """Of one subject alone nothing follows."""
    return Interval(0.0, -span, span, -span, span)


def _margins(record: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the most margin that a decision could earn: what was bought with an offer, without it, and came back."""
    margins = [0.0]
    for each in record["candidates"]:
        margins += [float(each["margin_minor"]), float(each["margin_minor"] + each["discount_minor"])]
    return min(*margins, _MARGIN.reversal * max(map(abs, margins))), max(margins)
