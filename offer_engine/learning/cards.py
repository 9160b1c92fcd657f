"""A model's card: what a reviewer asks of it, from the training that made it, and as text to read."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from offer_engine.exploration import Exploration
from offer_engine.features import SOURCES, Schema
from offer_engine.learning.log import Reading
from offer_engine.learning.registry import Card
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.learning.summary import Scorer, Summary

OFFERS_LISTED: Final = 50
FAIRNESS: Final = (
    "No protected attribute, no place, no language and no row of a person is among the features: the list is closed, and a "
    "schema with another name is refused. That does not rule out what stands in for such an attribute: measure group_gap, a "
    "guard of promotion."
)
LIMITS: Final = (
    "It knows what came of decisions that were shown, under whoever decided then; where an offer was never tried it guesses.",
    "Metrics are of the logged choices. What the model would earn is what `offer-engine evaluate` says, with its interval.",
    "An offer that came up later scores as its category does (linear), or as any unknown offer does (boosted).",
    "Tastes drift: it knows nothing after the end of its data.",
)


def about(reading: Reading, summary: Summary, model: Scorer) -> dict[str, Any]:
    """The card's fields that training knows."""
    rule = reading.rule
    counts = summary.by_offer()
    most = sorted(counts, key=lambda name: (-counts[name][0], name))[:OFFERS_LISTED]
    return {
        "data_from_ms": reading.first_ms or 0,
        "data_until_ms": reading.last_ms or 0,
        "lines": reading.lines,
        "decisions": int(summary.decisions.sum()),
        "left_out": {
            "not_presented": reading.not_presented,
            "immature": reading.immature,
            "erased": reading.erased,
            "kept_for_judging": summary.held_out_decisions,
        },
        "offers": len(counts),
        "by_offer": {name: counts[name] for name in most},
        "metrics": summary.metrics(model),
        "calibration": summary.calibration(model),
        **_rewards(rule),
        **_schema(reading.schema),
        "exploration": asdict(Exploration()),
        "limits": list(LIMITS),
        "fairness": FAIRNESS,
        "code_hash": code_hash(),
    }


def _rewards(rule: RewardRule) -> dict[str, Any]:
    return {
        "measure": rule.measure.value,
        "purchase_days": rule.purchase_window_ms / DAY_MS,
        "reversal_days": rule.reversal_window_ms / DAY_MS,
    }


def _schema(schema: Schema) -> dict[str, Any]:
    names = [feature.name for feature in schema.features]
    return {"features": names, "schema_hash": schema.hash, "sources": {name: SOURCES[name] for name in names}}


@cache
def code_hash() -> str:
    """SHA-256 over this package's Python files, by name: the same program, the same hash, checkout or wheel."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def as_text(card: Card) -> str:
    """The card to read, a section for each question."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield f"{card.model}"
    yield f"{card.kind.name.lower()}; trained {_day(card.trained_ms)} by {card.trained_by} on {card.machines} machine(s)"
    yield f"program {card.code_hash[:16] or 'not recorded'}, schema {card.schema_hash[:16]}"
    yield f"\nPurpose\n  {card.purpose}"
    yield f"\nData\n  {_day(card.data_from_ms)} to {_day(card.data_until_ms)}"
    yield f"  {card.lines:,} lines read, {card.decisions:,} trained on, {card.offers:,} offers"
    yield from (f"  left out: {number:,} {why.replace('_', ' ')}" for why, number in card.left_out.items())
    yield f"  reward: {card.measure}, bought within {card.purchase_days:g} days, back within {card.reversal_days:g}"
    yield "\nFeatures, and where each is from"
    yield from (f"  {name:24}{card.sources.get(name, '')}" for name in card.features)
    yield "\nOn subjects that it was not trained on"
    yield from (f"  {name.replace('_', ' '):24}{value:.6g}" for name, value in card.metrics.items())
    if card.calibration:
        yield "  by tenths       expected      seen   decisions"
        yield from (
            f"  {place:9}{row[0]:15.4f}{row[1]:10.4f}{row[2]:12,.0f}" for place, row in enumerate(card.calibration, 1)
        )
    yield f"\nOffers ({len(card.by_offer)} of {card.offers:,}): decisions, mean reward"
    yield from (f"  {name:24}{row[0]:12,.0f}{row[1]:10.4f}" for name, row in card.by_offer.items())
    yield f"\nExploration, unless it is said otherwise\n  {_said(card.exploration)}"
    yield f"\nParameters\n  {_said(card.parameters)}"
    yield "\nLimits"
    yield from (f"  - {limit}" for limit in card.limits)
    yield f"\nFairness\n  {card.fairness}"


def _said(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value).strip(chr(34))}" for name, value in values.items()) or "not recorded"


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d")
