"""What each way to choose an offer would earn, as far as a brand's record can tell, and what offers add over chance.

What holds:
 1. Policies are judged on decisions that were drawn: by chance, or by a model that explores. Of others nothing can be told from
    what the priorities did, and those in which there was nothing to choose would stand for more than their share.
 2. A policy that these decisions cannot tell of has a reason in plain words, and no value.
 3. Uplift is held against subjects whom chance decided for, over the same time.
 4. At most DECISIONS_READ are read, the newest whose windows are closed, and JUDGED_MAXIMUM of them judged, with ROWS_MAXIMUM
    candidates in all: however many came since, they take no place of theirs. As many are read of the newest of all for (3).
 5. A model of either kind is judged as it serves. One that cannot be loaded here, or would take longer than SCORING_SECONDS to
    score them, has that as its reason.
 6. A model is judged on subjects that it was not trained on, and all others beside it on the same.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.offering.export import read_newest
from offer_engine.features import DEFAULT_SCHEMA, SchemaRefused
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.guards import Comparison
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judge, Judgement, Verdict, from_lines
from offer_engine.judging.looks import Look
from offer_engine.judging.policies import Policy, ScoringPolicy
from offer_engine.judging.promotion import Side
from offer_engine.judging.support import Refusal
from offer_engine.judging.uplift import Qini, uplift_of
from offer_engine.learning.gbdt import ExtraMissing
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.log import NOT_DRAWN, TRAINED_PERCENT, Reading, subject_share
from offer_engine.learning.rankers import ModelRanker
from offer_engine.learning.registry import Change, ModelMissing
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.serving import Rankers
from tokenization.clock import monotonic_seconds

DECISIONS_READ: Final = 50_000
JUDGED_MAXIMUM: Final = 10_000
ROWS_MAXIMUM: Final = 200_000
SCORING_SECONDS: Final = 20.0
_TRIED: Final = 100  # decisions, to see how long a model takes
_READINGS: Final = 2  # of a model's scores: to judge it, and for its curve
QINI_DECISIONS: Final = 1_000
NO_LIBRARY: Final = "LightGBM is not installed here: pip install 'cordon[offers]'"
NOT_LOADED: Final = "it cannot be loaded here: its file is missing, damaged or of a later version"
TOO_SLOW: Final = "it takes too long here; offer-engine evaluate judges it"
_MODEL: Final = "The model"
_LOOKED_BACK_MS: Final = 180 * DAY_MS
_REPLICATES: Final = 400
Share = tuple[int, int]  # of the subjects, from and to a percent of them
WHY: Final[Mapping[Refusal, str]] = {
    Refusal.NO_DECISIONS: "no decision by chance or by a model is old enough",
    Refusal.TOO_FEW_SUBJECTS: "too few shoppers were decided for by chance or by a model",
    Refusal.NO_SUPPORT: "it would do what nobody has tried yet",
    Refusal.MEAN_WEIGHT_IS_NOT_ONE: "the probabilities on record are not those that were drawn from",
    Refusal.EFFECTIVE_SAMPLE_TOO_SMALL: "too few decisions came out as it would choose",
    Refusal.TOO_FEW_REWARDED: "too few sales speak for it",
    Refusal.ESTIMATORS_DISAGREE: "two ways to reckon it do not agree",
}


class Earned(NamedTuple):
    """A policy by its name on the page; ``value`` is rewards a decision, or None with reasons."""

    name: str
    value: Interval | None
    why: tuple[str, ...]
    is_model: bool = False


class Serving(NamedTuple):
    """The model that has traffic, or in words why it is not here. Neither where none has any."""

    ranker: ModelRanker | None
    why: str | None = None


class Earning(NamedTuple):
    """What a brand's record tells. ``uplifts`` are of the model and the priorities over chance, where both sides decided."""

    policies: tuple[Earned, ...]
    judged: int
    too_young: int
    uplifts: tuple[tuple[str, Interval], ...]
    qini: Qini | None


def serving_of(rankers: Rankers, brand: Brand) -> Serving:
    """The brand's model (5)."""
    try:
        return Serving(rankers.serving(brand.id))
    except ExtraMissing:
        return Serving(None, NO_LIBRARY)
    except (ModelMissing, ModelInvalid, SchemaRefused, OSError):
        return Serving(None, NOT_LOADED)


def earning_of(connection: Connection, brand: Brand, stage: Change | None, serving: Serving, now_ms: int) -> Earning:
    """What can be told by now. ``stage`` and ``serving`` are those of the model that has traffic, if one has."""
    share = (TRAINED_PERCENT, 100) if serving.ranker is not None else (0, 100)  # (6)
    schema, rule = DEFAULT_SCHEMA if serving.ranker is None else serving.ranker.schema, RewardRule()
    closed_ms = now_ms - rule.purchase_window_ms - rule.reversal_window_ms
    comparison, young = _compared(connection, brand, stage, share, closed_ms, now_ms)
    lines = _lines(connection, brand, share, closed_ms)
    model, why = _model(serving, Reading(schema, rule, now_ms), lines)
    untold = () if why is None else (Earned(_MODEL, None, (why,), is_model=True),)
    reading = Reading(schema, rule, now_ms)
    used = sum(batch.counts.size for batch in reading.batches(lines))
    too_young = young + reading.immature
    names = {Side.MODEL: _MODEL, Side.INCUMBENT: "Your priorities"}
    uplifts = tuple((name, uplift) for side, name in names.items() if (uplift := comparison.uplift(side)) is not None)
    if not used:
        nothing = (WHY[Refusal.NO_DECISIONS],)
        policies = tuple(Earned(name, None, nothing) for name in ("Your priorities", "By chance"))
        return Earning(untold + policies, 0, too_young, uplifts, None)
    wanted: list[Policy] = [model] if model is not None else []
    judgement = Judge(replicates=_REPLICATES).judge(reading, from_lines(reading, lambda: lines), wanted)
    qini = None
    if model is not None and used >= QINI_DECISIONS:
        qini = uplift_of(model, reading.batches(lines), reading.arms)
    return Earning(untold + _named(judgement, brand), used, too_young, uplifts, qini)


def _compared(
    connection: Connection, brand: Brand, stage: Change | None, share: Share, closed_ms: int, now_ms: int
) -> tuple[Comparison, int]:
    """The sides over the same time (3), and how many could be judged if their windows were closed."""
    since_ms = now_ms - _LOOKED_BACK_MS
    model, began_ms = (stage.model, stage.at_ms) if stage is not None else ("none", since_ms)
    comparison, young = Comparison(model, began_ms, Look(1, now_ms)), 0
    for record in read_newest(connection, brand.id, since_ms, now_ms, DECISIONS_READ):
        comparison.add(record)
        young += record["decided_ms"] >= closed_ms and _is_of(share, record) and _tells_of_others(record)
    return comparison, young


def _lines(connection: Connection, brand: Brand, share: Share, closed_ms: int) -> list[str]:
    """Decisions that tell of other policies (4), as lines."""
    lines: list[str] = []
    rows = 0
    for record in read_newest(connection, brand.id, closed_ms - _LOOKED_BACK_MS, closed_ms, DECISIONS_READ):
        if _is_of(share, record) and _tells_of_others(record):
            lines.append(json.dumps(record, separators=(",", ":")))
            rows += len(record["candidates"])
            if len(lines) == JUDGED_MAXIMUM or rows >= ROWS_MAXIMUM:
                break
    return lines


def _model(serving: Serving, tried: Reading, lines: Sequence[str]) -> tuple[ScoringPolicy | None, str | None]:
    """The model as a policy, or why there is none (5)."""
    if serving.ranker is None:
        return None, serving.why
    policy = serving.ranker.policy()
    began_seconds = monotonic_seconds()
    for batch in tried.batches(lines[-_TRIED:]):  # the oldest: of young ones no reward is known
        policy.scores(batch, tried.arms)
    taken_seconds = (monotonic_seconds() - began_seconds) * _READINGS * len(lines) / _TRIED
    return (policy, None) if taken_seconds <= SCORING_SECONDS else (None, TOO_SLOW)


def _is_of(share: Share, record: Mapping[str, Any]) -> bool:
    """(6)"""
    return share[0] <= subject_share(record["subject"]) < share[1]


def _tells_of_others(record: Mapping[str, Any]) -> bool:
    """(1)"""
    return bool(record["exploration"] != NOT_DRAWN)


def _named(judgement: Judgement, brand: Brand) -> tuple[Earned, ...]:
    """The model and what it must be held against, in the order of the page; of single offers those that the policy has."""
    titles = {f"always {offer.id}": f"Always {offer.title}" for offer in brand.policy.offers}
    names = {"model": _MODEL, judgement.incumbent: "Your priorities", judgement.random: "By chance"}
    names |= {**titles, "always no_offer": "Never an offer"}
    return tuple(
        _earned(name, judgement.verdicts[policy], is_model=policy == "model")
        for policy, name in names.items()
        if policy in judgement.verdicts
    )


def _earned(name: str, verdict: Verdict, *, is_model: bool) -> Earned:
    """(2)"""
    why = tuple(WHY[refusal] for refusal in verdict.refusals)
    return Earned(name, verdict.values[Estimator.DR] if not why else None, why, is_model)
