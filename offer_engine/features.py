"""Features: what a ranker may know, and one way to lay it out in columns, for one decision online as for a log of millions.

What holds for features:
 1. Their names are a closed list. No attribute that the law protects is on it, nor where a person lives, nor what language they
    speak; a schema that names anything else is refused.
 2. A category enters as a number, a hash of its text; a schema takes it modulo its buckets. 0 means: not known.
 3. ``assemble`` is the only code that turns features into a ranker's columns. What it is given is what the record keeps.
 4. Nothing here is about one person: a subject is not a feature, and a model has no row for one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offer_engine.offers import Context, Offer, OfferKind, Scope

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Side(StrEnum):
    """Whether a feature is the same for every candidate of a decision."""

    CONTEXT = "context"
    OFFER = "offer"


class Form(StrEnum):
    """How a feature becomes columns: the number, or log(1 + |x|) with the sign of x, over its scale; or one bucket of many."""

    NUMBER = "number"
    LOGARITHM = "logarithm"
    CATEGORY = "category"


MEMORY: Final = ("memory.size", "memory.budget_minor", "memory.gift", "memory.fast_delivery")  # told by the shopper
ALLOWED: Final[Mapping[str, Side]] = {
    **dict.fromkeys(
        (
            *("subtotal_minor", "line_count", "unit_count", "highest_price_minor", "main_category"),
            *("hour_of_day", "day_of_week", "channel", "slot", "verification_level"),
            *("visits_30d", "purchases_365d", "spend_365d_minor", "days_since_purchase"),
            *("offers_shown_30d", "offers_accepted_90d", "offers_declined_30d"),
            *MEMORY,
        ),
        Side.CONTEXT,
    ),
    **dict.fromkeys(
        (
            *("discount_minor", "discount_share", "margin_minor", "margin_share", "priority"),
            *("kind", "category", "minimum_subtotal_minor", "hours_left"),
        ),
        Side.OFFER,
    ),
}
SOURCES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("subtotal_minor", "line_count", "unit_count", "highest_price_minor", "main_category"), "the basket"
    ),
    **dict.fromkeys(("hour_of_day", "day_of_week"), "the clock, UTC"),
    **dict.fromkeys(("channel", "slot"), "where the offer is shown"),
    **dict.fromkeys(("verification_level",), "how the shopper signed in"),
    **dict.fromkeys(
        (
            *("visits_30d", "purchases_365d", "spend_365d_minor", "days_since_purchase"),
            *("offers_shown_30d", "offers_accepted_90d", "offers_declined_30d"),
        ),
        "the brand's own record of the shopper's pseudonym",
    ),
    **dict.fromkeys(MEMORY, "told by the shopper, who let it be remembered"),
    **dict.fromkeys(
        ("discount_minor", "discount_share", "margin_minor", "margin_share"), "the offer's terms, and the basket"
    ),
    **dict.fromkeys(("priority", "kind", "category", "minimum_subtotal_minor", "hours_left"), "the offer's terms"),
}


class SchemaRefused(ValueError):
    """A schema names a feature that is not on the list, twice, or in a form that makes no columns."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a schema. ``scale`` divides numbers; ``buckets`` is a category's number of columns."""

    name: str
    form: Form = Form.NUMBER
    scale: float = 1.0
    buckets: int = 0

    @property
    def width(self) -> int:
        """How many columns it takes."""
        return self.buckets if self.form is Form.CATEGORY else 1


@dataclass(frozen=True, slots=True)
class Schema:
    """Features in the order of their columns, after a first column of ones. Raises SchemaRefused."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        if refused := [name for name in names if name not in ALLOWED]:  # (1)
            raise SchemaRefused(f"{len(refused)} features of the schema are not on the list of allowed names")
        if len(set(names)) < len(names):
            raise SchemaRefused("a schema names each feature once")
        if any(feature.width < 1 or not 0 < feature.scale < float("inf") for feature in self.features):
            raise SchemaRefused("a category needs buckets, and a scale is above 0")

    @property
    def width(self) -> int:
        """The number of columns, the first of ones included."""
        return 1 + sum(feature.width for feature in self.features)

    @property
    def hash(self) -> str:
        """SHA-256 of the schema: what a model was fitted on and what it is served with must agree in it."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    def as_json(self) -> list[dict[str, Any]]:
        """The features as JSON data."""
        return [asdict(feature) for feature in self.features]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> "Schema":
        """The schema that ``as_json`` wrote. Raises SchemaRefused."""
        return cls(tuple(Feature(**{**each, "form": Form(each["form"])}) for each in data))


DEFAULT_SCHEMA: Final = Schema(
    (
        Feature("subtotal_minor", Form.LOGARITHM, 10.0),
        Feature("unit_count", Form.LOGARITHM, 3.0),
        Feature("highest_price_minor", Form.LOGARITHM, 10.0),
        Feature("hour_of_day", scale=24.0),
        Feature("verification_level", scale=2.0),
        Feature("purchases_365d", Form.LOGARITHM, 3.0),
        Feature("offers_declined_30d", Form.LOGARITHM, 3.0),
        Feature("main_category", Form.CATEGORY, buckets=8),
        Feature("discount_minor", Form.LOGARITHM, 10.0),
        Feature("discount_share"),
        Feature("margin_share"),
    )
)


def category_number(text: str) -> int:
    """The number that stands for a category's text: 32 bits of its hash, never 0."""
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=4).digest(), "big") or 1  # (2)


def assemble(schema: Schema, context: Mapping[str, Vector], offer: Mapping[str, Vector], counts: Counts) -> Matrix:
    """The columns of every candidate of n decisions, shape (sum of counts, schema.width), C order.

    ``context`` holds a value for each decision, ``offer`` one for each candidate, decision after decision; ``counts`` says how
    many candidates each decision has. A feature that is missing is 0.
    """
    rows = int(counts.sum())
    matrix = np.zeros((rows, schema.width))
    matrix[:, 0] = 1.0
    at = 1
    for feature in schema.features:
        source = context if ALLOWED[feature.name] is Side.CONTEXT else offer
        if feature.name in source:
            values = _columns(feature, source[feature.name])
            matrix[:, at : at + feature.width] = np.repeat(values, counts, axis=0) if source is context else values
        at += feature.width
    return matrix


def _columns(feature: Feature, values: Vector) -> Matrix:
    if feature.form is Form.NUMBER:
        return values[:, None] / feature.scale
    if feature.form is Form.LOGARITHM:
        return (np.sign(values) * np.log1p(np.abs(values)) / feature.scale)[:, None]
    columns = np.zeros((values.size, feature.buckets))
    known = np.flatnonzero(values)
    columns[known, values[known].astype(np.int64) % feature.buckets] = 1.0
    return columns


def context_features(context: Context) -> dict[str, float]:
    """What a context says by itself, what is known of the subject included."""
    seconds = context.now_ms // 1000
    since_ms = context.now_ms - _MONTH_MS
    seen = context.known.history.values()
    dearest = max(context.lines, key=lambda line: line.unit_price_minor * line.quantity, default=None)
    return {
        "subtotal_minor": context.subtotal_minor,
        "line_count": len(context.lines),
        "unit_count": sum(line.quantity for line in context.lines),
        "highest_price_minor": max((line.unit_price_minor for line in context.lines), default=0),
        "main_category": category_number(min(dearest.categories)) if dearest and dearest.categories else 0,
        "hour_of_day": seconds // 3600 % 24,
        "day_of_week": (seconds // 86_400 + 3) % 7,
        "verification_level": int(context.known.verification),
        "offers_shown_30d": sum(shown_ms > since_ms for each in seen for shown_ms in each.shown_ms),
        "offers_declined_30d": sum((each.refused_ms or 0) > since_ms for each in seen),
        **{name: value for name, value in context.known.memory.items() if name in MEMORY},
    }


_MONTH_MS: Final = 30 * 86_400_000
_TERMS: Final = attrgetter(
    *("percent_basis_points", "amount_minor", "maximum_discount_minor", "margin_basis_points", "priority"),
    *("minimum_subtotal_minor", "valid_until_ms", "kind", "product_ids", "categories"),
)


def offer_features(context: Context, offers: Sequence[Offer]) -> dict[str, Vector]:
    """The candidates' features as columns, one value for each offer. Discounts are those of ``discount_minor``, all at once."""
    if not offers:
        return {}
    percent, amount, most, margin, priority, least, until, kinds, products, categories = zip(
        *map(_TERMS, offers), strict=True
    )
    in_scope, main = _scopes(context, offers, list(zip(products, categories, strict=True)))
    kind = np.array([_KINDS[each] for each in kinds])
    flat = np.where(kind == _KINDS[OfferKind.AMOUNT_OFF], amount, 0)
    taken = np.where(kind == _KINDS[OfferKind.PERCENT_OFF], (in_scope * np.array(percent) + 5_000) // 10_000, flat)
    unlimited = np.iinfo(np.int64).max
    taken = np.minimum(taken, np.array([unlimited if limit is None else limit for limit in most]))
    discount = np.minimum(taken, in_scope)
    subtotal = context.subtotal_minor
    left = (subtotal * np.array(margin) // 10_000 - discount).astype(np.float64)
    return {
        "discount_minor": discount.astype(np.float64),
        "discount_share": discount / max(subtotal, 1),
        "margin_minor": left,
        "margin_share": left / max(subtotal, 1),
        "priority": np.array(priority, dtype=np.float64),
        "kind": kind,
        "category": main,
        "minimum_subtotal_minor": np.array(least, dtype=np.float64),
        "hours_left": np.array([0.0 if end is None else (end - context.now_ms) / 3_600_000 for end in until]),
    }


_KINDS: Final = {kind: float(category_number(kind.value)) for kind in OfferKind}


def _scopes(context: Context, offers: Sequence[Offer], scopes: list[Scope]) -> tuple[npt.NDArray[np.int64], Vector]:
    """What the lines that each offer is about come to, and the offer's category: worked out once for each scope."""
    known: dict[Scope, tuple[int, float]] = {}
    for offer, scope in zip(offers, scopes, strict=True):
        if scope not in known:
            category = category_number(min(scope[1])) if scope[1] else 0.0
            known[scope] = (context.in_scope_minor(offer) or 0, category)
    in_scope, main = zip(*map(known.__getitem__, scopes), strict=True)
    return np.array(in_scope, dtype=np.int64), np.array(main, dtype=np.float64)
