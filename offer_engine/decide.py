"""The port of the offer engine: ``decide`` chooses among a brand's offers and says why, in a record that can be replayed.

The record is written down before the offer is shown (the caller's transaction does that), holds every candidate with its
score, every exclusion with its reason, and the probability with which each could have been chosen, unrounded, so that a later
policy can be judged on it. "No offer" is a candidate like any other.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol

from offer_engine.eligibility import exclusion
from offer_engine.features import context_features, offer_features
from offer_engine.offers import Context, Offer, discount_minor, margin_minor

NO_OFFER = "no_offer"


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with the ranker's score and the probability with which it is chosen. ``offer`` is None for no offer."""

    offer: Offer | None
    score: float
    propensity: float

    @property
    def name(self) -> str:
        """The offer's id, or ``no_offer``."""
        return self.offer.id if self.offer else NO_OFFER


class Ranker(Protocol):
    """Scores eligible offers and gives each a probability.

    ``name`` and ``version`` identify what served. MUST be a pure function of its arguments and its own frozen parameters;
    the probabilities MUST be those with which ``choose`` draws, and sum to 1.
    """

    name: str
    version: str

    def rank(self, context: Context, candidates: Sequence[Offer]) -> list[Scored]:
        """The candidates and no offer, best first."""

    def choose(self, ranked: Sequence[Scored], draw: float) -> Scored:
        """The one to make, given a uniform draw from [0, 1)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for a context, and all that is needed to explain it."""

    context: Context
    policy: str
    policy_hash: str
    ranked: tuple[Scored, ...]
    excluded: tuple[tuple[str, str], ...]
    chosen: Scored
    draw: float
    exploration: str = "none"
    model_hash: str | None = None
    feature_schema: str | None = None

    def record(self) -> dict[str, Any]:
        """The decision as JSON data: context, policy, candidates, exclusions with reasons, choice with its propensity.

        It holds no word of the shopper's and nothing that names them. docs/offers.md says what each field is.
        """
        context = self.context
        return {
            "brand": context.brand,
            "subject": context.subject,
            "verification": context.known.verification.name.lower(),
            "policy": self.policy,
            "policy_hash": self.policy_hash,
            "model_hash": self.model_hash,
            "feature_schema": self.feature_schema,
            "exploration": self.exploration,
            "draw": self.draw,
            "context": {
                "currency": context.currency,
                "subtotal_minor": context.subtotal_minor,
                "region": context.region,
                "now_ms": context.now_ms,
                "lines": [[line.variant_id, line.quantity, line.unit_price_minor] for line in context.lines],
                "features": context_features(context),
            },
            "candidates": _candidates(self.ranked, context),
            "excluded": [{"offer": offer, "reason": reason} for offer, reason in self.excluded],
            "chosen": self.chosen.name,
        }


def _candidates(ranked: Sequence[Scored], context: Context) -> list[dict[str, Any]]:
    """Each with its features as a ranker sees them; those of no offer are all 0, which goes without saying."""
    offers = [scored.offer for scored in ranked if scored.offer]
    columns = offer_features(context, offers)
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    features = {offer.id: dict(zip(columns, row, strict=True)) for offer, row in zip(offers, rows, strict=True)}
    return [_candidate(scored, context, features.get(scored.name, {})) for scored in ranked]


def _candidate(scored: Scored, context: Context, features: dict[str, float]) -> dict[str, Any]:
    offer = scored.offer
    return {
        "features": features,
        "offer": scored.name,
        "version": offer.version if offer else 0,
        "discount_minor": discount_minor(offer, context.lines) if offer else 0,
        "margin_minor": margin_minor(offer, context) if offer else None,
        "expires_ms": offer.valid_until_ms if offer else None,
        "score": scored.score,
        "propensity": scored.propensity,
    }


def decide(context: Context, offers: Sequence[Offer], ranker: Ranker, draw: float) -> Decision:
    """Chooses at most one offer for the context. ``draw`` is uniform from [0, 1); the same inputs give the same decision."""
    reasons = [(offer, exclusion(offer, context)) for offer in offers]
    ranked = ranker.rank(context, [offer for offer, reason in reasons if reason is None])
    return Decision(
        context=context,
        policy=f"{ranker.name}:{ranker.version}",
        policy_hash=policy_hash(offers),
        ranked=tuple(ranked),
        excluded=tuple((offer.id, reason.value) for offer, reason in reasons if reason is not None),
        chosen=ranker.choose(ranked, draw),
        draw=draw,
        exploration=getattr(ranker, "exploration", "none"),
        model_hash=getattr(ranker, "model_hash", None),
        feature_schema=getattr(ranker, "feature_schema", None),
    )


def policy_hash(offers: Sequence[Offer]) -> str:
    """SHA-256 over the offers that were on the table, whatever their order."""
    return _hash_of(tuple(offers))


@lru_cache(maxsize=256)
def _hash_of(offers: tuple[Offer, ...]) -> str:
    """Kept, because a brand's offers are the same from one decision to the next, and there may be a thousand."""
    content = sorted(json.dumps(asdict(offer), sort_keys=True, default=sorted) for offer in offers)
    return hashlib.sha256("\n".join(content).encode()).hexdigest()
