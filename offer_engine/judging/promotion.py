"""How a model comes to serve, and how it goes: a pure state machine over what was measured.

    apprentice ──▶ canary (1 %) ──▶ ramp (5, 20, 50 %) ──▶ full (95 %)
        │               │                 │                 │
        └───────────────┴────── rolled back ◀───────────────┘     ends there: a new attempt is a new model, or a person's act

What holds:
 1. A model leaves apprenticeship only through the gate: judged on a log that can tell, better than the incumbent and at
    least as good as the best fixed offer, no guard worse.
 2. It moves one stage at a time, on enough decisions of that stage and after its time, and never while a guard is worse.
    What it earns must be as good as the incumbent's beyond doubt: one that ties waits.
 3. A guard that is worse beyond doubt takes all its traffic away at once, at any stage.
 4. A subject stays on its side while a stage lasts, and who was on the model's side at a lower share is so at a higher one.
 5. No stage is the model's alone: at the last one too some subjects are the incumbent's, so that a model which turns bad is
    held against somebody, however long it has served.
 6. The hold-out is never served by the model and never by the incumbent: a share of subjects that gets random candidates, no
    offer among them, whatever the stage. Without it a later model could not be judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from offer_engine.judging.estimators import Estimator
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judgement


class Stage(StrEnum):
    """Where a model stands."""

    APPRENTICE = "apprentice"
    CANARY = "canary"
    RAMP_5 = "ramp_5"
    RAMP_20 = "ramp_20"
    RAMP_50 = "ramp_50"
    FULL = "full"
    ROLLED_BACK = "rolled_back"


SHARE_PERCENT: Final[Mapping[Stage, int]] = {
    Stage.APPRENTICE: 0,
    Stage.CANARY: 1,
    Stage.RAMP_5: 5,
    Stage.RAMP_20: 20,
    Stage.RAMP_50: 50,
    Stage.FULL: 95,  # (5)
    Stage.ROLLED_BACK: 0,
}
_NEXT: Final[Mapping[Stage, Stage]] = {
    Stage.APPRENTICE: Stage.CANARY,
    Stage.CANARY: Stage.RAMP_5,
    Stage.RAMP_5: Stage.RAMP_20,
    Stage.RAMP_20: Stage.RAMP_50,
    Stage.RAMP_50: Stage.FULL,
}


class Reason(StrEnum):
    """Why a model moved or did not. Codes are only ever added."""

    PASSED = "passed"
    ENDED = "ended"
    LOG_CANNOT_TELL = "log_cannot_tell"
    NOT_JUDGED = "not_judged"
    NOT_BETTER_THAN_INCUMBENT = "not_better_than_incumbent"
    NO_FIXED_OFFER_TOLD = "no_fixed_offer_told"
    WORSE_THAN_BEST_FIXED = "worse_than_best_fixed"
    TOO_FEW_DECISIONS = "too_few_decisions"
    TOO_SOON = "too_soon"
    GUARD_WORSE = "guard_worse"
    GUARD_MISSING = "guard_missing"
    GUARD_UNCLEAR = "guard_unclear"


class Guard(StrEnum):
    """What must not become worse while the reward becomes better. Each is a difference from the incumbent, larger is worse."""

    REWARD_LOST = "reward_lost"
    MARGIN_LOST = "margin_lost"
    REFUNDS = "refunds"
    OPT_OUTS = "opt_outs"
    FAULTS = "faults"
    GROUP_GAP = "group_gap"


# How much worse a guard may be, where nobody says otherwise: shares, of decisions or of purchases; the gap in rewards. Of
# reward and margin nothing may be lost.
TOLERANCE: Final[Mapping[Guard, float]] = {
    Guard.REFUNDS: 0.02,
    Guard.OPT_OUTS: 0.01,
    Guard.FAULTS: 0.01,
    Guard.GROUP_GAP: 0.15,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """When a model may move. ``tolerance``: how much worse each guard may be; a guard that is not named tolerates nothing."""

    decisions: int = 1_000
    stage_ms: int = 24 * 3_600_000
    tolerance: Mapping[Guard, float] = field(default_factory=lambda: TOLERANCE)

    def worse(self, guards: Mapping[Guard, Interval]) -> list[Guard]:
        """The guards that are worse beyond doubt: not even the lower bound is within what is tolerated."""
        return [guard for guard, interval in guards.items() if not interval.lower <= self.tolerance.get(guard, 0.0)]

    def unclear(self, guards: Mapping[Guard, Interval]) -> list[Guard]:
        """The guards of which it is not clear enough that they are no worse: the value must be within what is tolerated, and of
        the reward the upper bound as well."""
        return [
            guard
            for guard, interval in guards.items()
            if not (interval.upper if guard is Guard.REWARD_LOST else interval.value) <= self.tolerance.get(guard, 0.0)
        ]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen since the stage began. ``guards`` are intervals of model less incumbent, in that stage's own traffic.

    ``lately``: those of its last days by themselves, by how many these are. They take a model back and let none go on.
    """

    decisions: int
    stage_ms: int
    guards: Mapping[Guard, Interval]
    lately: Mapping[int, Mapping[Guard, Interval]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """Where the model stands next, and why."""

    stage: Stage
    reason: Reason


def gate(judgement: Judgement, model: str) -> Reason:
    """Whether the judgement lets a model out of its apprenticeship (1)."""
    verdict = judgement.verdicts.get(model)
    if verdict is None:
        return Reason.NOT_JUDGED
    if verdict.refusals or verdict.lift is None:
        return Reason.LOG_CANNOT_TELL
    if verdict.lift.lower <= 0:
        return Reason.NOT_BETTER_THAN_INCUMBENT
    if judgement.best_fixed is None:
        return Reason.NO_FIXED_OFFER_TOLD
    fixed = judgement.verdicts[judgement.best_fixed].values[Estimator.DR]
    return Reason.PASSED if verdict.values[Estimator.DR].value >= fixed.value else Reason.WORSE_THAN_BEST_FIXED


def advance(stage: Stage, measured: Measured, rules: Rules, gate_reason: Reason) -> Move:
    """The next stage. Apprentices have no traffic of their own: theirs is the gate alone."""
    if stage is Stage.ROLLED_BACK:
        return Move(stage, Reason.ENDED)
    verdict = _guards(measured.guards, rules)
    if verdict is Reason.GUARD_WORSE or any(rules.worse(guards) for guards in measured.lately.values()):
        return Move(Stage.ROLLED_BACK, Reason.GUARD_WORSE)  # (3)
    if stage is Stage.APPRENTICE:
        return Move(_NEXT[stage] if gate_reason is Reason.PASSED else stage, gate_reason)  # (1)
    if stage is Stage.FULL:
        return Move(stage, Reason.ENDED)
    if verdict is not Reason.PASSED:
        return Move(stage, verdict)  # (2)
    if measured.decisions < rules.decisions:
        return Move(stage, Reason.TOO_FEW_DECISIONS)
    if measured.stage_ms < rules.stage_ms:
        return Move(stage, Reason.TOO_SOON)
    return Move(_NEXT[stage], Reason.PASSED)


def _guards(guards: Mapping[Guard, Interval], rules: Rules) -> Reason:
    if rules.worse(guards):
        return Reason.GUARD_WORSE
    if set(Guard) - guards.keys():
        return Reason.GUARD_MISSING
    return Reason.GUARD_UNCLEAR if rules.unclear(guards) else Reason.PASSED


class Side(StrEnum):
    """Who decides for a subject."""

    HOLD_OUT = "hold_out"
    MODEL = "model"
    INCUMBENT = "incumbent"


def side(subject: str, model: str, stage: Stage, hold_out_percent: float = 5.0) -> Side:
    """Who decides for a subject, by its hash. The hold-out's hash does not depend on the model: it stays the same."""
    if _point("hold-out", subject) < hold_out_percent:
        return Side.HOLD_OUT  # (6)
    return Side.MODEL if _point(model, subject) < SHARE_PERCENT[stage] else Side.INCUMBENT  # (4)


def _point(salt: str, subject: str) -> float:
    """A number from [0, 100) for a subject."""
    digest = blake2b(subject.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100
