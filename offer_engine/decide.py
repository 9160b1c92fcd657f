"""The port of the offer engine: ``decide`` chooses among a brand's offers and says why, in a record that can be replayed.

The record is written down before the offer is shown (the caller's transaction does that), holds every candidate with its
score, every exclusion with its reason, and the probability with which each could have been chosen, unrounded, so that a later
policy can be judged on it. "No offer" is a candidate like any other.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import Any, Final, NamedTuple, Protocol

from offer_engine.eligibility import Asked, first_broken, open_in, rules_for
from offer_engine.features import context_features, offer_features
from offer_engine.offers import NO_OFFER, Context, ContextLine, Offer, Rules, margin_minor


class Scored(NamedTuple):
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

    @property
    def exploration(self) -> str:
        """How it draws, as the record says it: ``none`` where the best is always chosen."""

    @property
    def model_hash(self) -> str | None:
        """The model's name in the registry; None where there is no model."""

    @property
    def feature_schema(self) -> str | None:
        """The hash of the schema that it was fitted on; None where there is no model."""

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
    fell_back: str | None = None  # the model whose turn it was, and that could not decide

    def record(self) -> dict[str, Any]:
        """The decision as JSON data: context, policy, candidates, exclusions with reasons, choice with its propensity.

        It holds no word of the shopper's and nothing that names them. docs/offers.md says what each field is.
        """
        data: dict[str, Any] = json.loads(self.record_text())
        return data

    def record_text(self) -> str:
        """The same as it is written down: the text that json.dumps() gives for it, to the byte."""
        context = self.context
        before = {
            "brand": context.brand,
            "subject": context.subject,
            "verification": context.known.verification.name.lower(),
            "policy": self.policy,
            "policy_hash": self.policy_hash,
            "model_hash": self.model_hash,
            "feature_schema": self.feature_schema,
            "exploration": self.exploration,
            "draw": self.draw,
            "context": _context(context),
        }
        after = {
            "excluded": [{"offer": offer, "reason": reason} for offer, reason in self.excluded],
            "chosen": self.chosen.name,
            **({"fell_back": self.fell_back} if self.fell_back else {}),
        }
        candidates = ", ".join(_candidates(self.ranked, context))
        return f'{json.dumps(before)[:-1]}, "candidates": [{candidates}], {json.dumps(after)[1:]}'


def _context(context: Context) -> dict[str, Any]:
    return {
        "currency": context.currency,
        "subtotal_minor": context.subtotal_minor,
        "region": context.region,
        "now_ms": context.now_ms,
        "lines": [_line(line) for line in context.lines],
        "known": {
            "consents": context.known.consents,
            "owned": sorted(context.known.owned),
            "history": {
                offer: [list(seen.shown_ms), seen.refused_ms, seen.open_count]
                for offer, seen in context.known.history.items()
            },
            "memory": dict(context.known.memory),
        },
        "rules": _rules(context.rules),
        "left": {offer: list(astuple(left)) for offer, left in context.left.items()},
        "has_codes": context.has_codes,
        "features": context_features(context),
    }


def _line(line: ContextLine) -> list[Any]:
    return [
        *(line.variant_id, line.quantity, line.unit_price_minor),
        *(line.product_id, sorted(line.categories), line.in_stock),
    ]


def _rules(rules: Rules) -> dict[str, Any]:
    never = [[sorted(never.categories), sorted(never.regions)] for never in rules.never_discounted]
    return {**asdict(rules), "never_discounted": never}


# There may be a thousand candidates, all of this form: putting them into words is most of what writing a record takes.
_CANDIDATE: Final = (
    '{"features": {%s}, "offer": %s, "version": %d, "discount_minor": %d, "margin_minor": %d, "expires_ms": %s, '
    '"score": %s, "propensity": %s}'
)


def _candidates(ranked: Sequence[Scored], context: Context) -> Iterator[str]:
    """Each as text, with its features as a ranker sees them; those of no offer are all 0, which goes without saying."""
    columns = offer_features(context, [scored.offer for scored in ranked if scored.offer])
    form = ", ".join(f'"{name}": %s' for name in columns)
    features = zip(*(map(float.__repr__, values.tolist()) for values in columns.values()), strict=True)
    for offer, score, propensity in ranked:
        if offer is None:
            terms = ("", f'"{NO_OFFER}"', 0, 0, 0, "null")
        else:
            until = "null" if offer.valid_until_ms is None else str(offer.valid_until_ms)
            margin, taken = margin_minor(offer, context), context.taken_minor(offer)
            terms = (form % next(features), encode_basestring_ascii(offer.id), offer.version, taken, margin, until)
        yield _CANDIDATE % (*terms, _number(score), _number(propensity))


def _number(value: float) -> str:
    """As json.dumps() has it, which has names of its own for what is not finite."""
    return float.__repr__(value) if type(value) is float and isfinite(value) else json.dumps(value)


class Catalogue:
    """A brand's offers, with what is the same for every decision over them worked out once.

    In the order of their ids, whatever order they came in: the same offers give the same decision, and the same record of it.
    """

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.offers = tuple(sorted(offers, key=lambda offer: offer.id))
        alike: dict[Asked, Asked] = {}
        each = ((offer, rules_for(offer)) for offer in self.offers)
        self.rules = tuple((offer, alike.setdefault(rules, rules)) for offer, rules in each)
        self.asked = tuple(alike)
        self.hash = policy_hash(self.offers)


def decide(context: Context, offers: Catalogue, ranker: Ranker, draw: float) -> Decision:
    """Chooses at most one offer for the context. ``draw`` is uniform from [0, 1); the same inputs give the same decision."""
    rules_of = {id(rules): open_in(context, rules) for rules in offers.asked}
    reasons = [(offer, first_broken(offer, context, rules_of[id(rules)])) for offer, rules in offers.rules]
    ranked = ranker.rank(context, [offer for offer, reason in reasons if reason is None])
    return Decision(
        context=context,
        policy=f"{ranker.name}:{ranker.version}",
        policy_hash=offers.hash,
        ranked=tuple(ranked),
        excluded=tuple((offer.id, reason.value) for offer, reason in reasons if reason is not None),
        chosen=ranker.choose(ranked, draw),
        draw=draw,
        exploration=ranker.exploration,
        model_hash=ranker.model_hash,
        feature_schema=ranker.feature_schema,
    )


def policy_hash(offers: Sequence[Offer]) -> str:
    """SHA-256 over the offers that were on the table, whatever their order."""
    content = sorted(json.dumps(asdict(offer), sort_keys=True, default=sorted) for offer in offers)
    return hashlib.sha256("\n".join(content).encode()).hexdigest()
