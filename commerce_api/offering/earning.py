"""What each way to choose an offer would earn, as far as a brand's record can tell, and what offers add over chance.

What holds:
 1. Policies are judged on decisions in which every candidate could have been chosen: by chance, or by a model that explores. Of
    others nothing can be told from what the priorities did.
 2. A policy that these decisions cannot tell of has a reason in plain words, and no value.
 3. Uplift is held against subjects whom chance decided for, over the same time.
 4. At most DECISIONS_READ are read, the newest, and JUDGED_MAXIMUM of them judged, with ROWS_MAXIMUM candidates in all.
 5. A model of either kind is judged as it serves. One that cannot be loaded here, or would take longer than SCORING_SECONDS to
    score them, has that as its reason.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
from offer_engine.learning.log import Reading
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


class Record(NamedTuple):
    """Decisions as they are needed here: those that tell of other policies, as lines, and the sides of a comparison."""

    lines: list[str]
    comparison: Comparison


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
    record = _read(connection, brand, stage, now_ms)
    schema = DEFAULT_SCHEMA if serving.ranker is None else serving.ranker.schema
    model, why = _model(serving, Reading(schema, RewardRule(), now_ms), record.lines)
    untold = () if why is None else (Earned(_MODEL, None, (why,), is_model=True),)
    reading = Reading(schema, RewardRule(), now_ms)
    used = sum(batch.counts.size for batch in reading.batches(record.lines))
    names = {Side.MODEL: _MODEL, Side.INCUMBENT: "Your priorities"}
    uplifts = [(name, uplift) for side, name in names.items() if (uplift := record.comparison.uplift(side)) is not None]
    if not used:
        nothing = (WHY[Refusal.NO_DECISIONS],)
        policies = tuple(Earned(name, None, nothing) for name in ("Your priorities", "By chance"))
        return Earning(untold + policies, 0, reading.immature, tuple(uplifts), None)
    wanted: list[Policy] = [model] if model is not None else []
    judgement = Judge(replicates=_REPLICATES).judge(reading, from_lines(reading, lambda: record.lines), wanted)
    qini = None
    if model is not None and used >= QINI_DECISIONS:
        qini = uplift_of(model, reading.batches(record.lines), reading.arms)
    return Earning(untold + _named(judgement, brand), used, reading.immature, tuple(uplifts), qini)


def _read(connection: Connection, brand: Brand, stage: Change | None, now_ms: int) -> Record:
    """(4)"""
    since_ms = now_ms - _LOOKED_BACK_MS
    model, began_ms = (stage.model, stage.at_ms) if stage is not None else ("none", since_ms)
    found, rows = Record([], Comparison(model, began_ms, Look(1, now_ms))), 0
    for record in read_newest(connection, brand.id, since_ms, now_ms, DECISIONS_READ):
        found.comparison.add(record)
        if len(found.lines) >= JUDGED_MAXIMUM or rows >= ROWS_MAXIMUM:
            continue
        if _tells_of_others(record["candidates"]):
            rows += len(record["candidates"])
            found.lines.append(json.dumps(record, separators=(",", ":")))
    return found


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


def _tells_of_others(candidates: Iterable[Mapping[str, Any]]) -> bool:
    """(1)"""
    return all(each["propensity"] > 0 for each in candidates)


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
