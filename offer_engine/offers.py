"""What an offer is, and what is known when one is chosen. Amounts are integer minor units, rates are basis points."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Final

NO_OFFER: Final = "no_offer"  # the name, beside the offers' ids, of making none


class OfferKind(StrEnum):
    """What an offer gives."""

    PERCENT_OFF = "percent_off"
    AMOUNT_OFF = "amount_off"
    FREE_SHIPPING = "free_shipping"


class Verification(IntEnum):
    """How well it is known who is asked. A telephone number or a name that somebody gives is a claim."""

    ANONYMOUS = 0
    CLAIMED = 1
    VERIFIED = 2


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an offer may be made to. Empty conditions mean: anybody. Regions are ISO 3166 countries or subdivisions."""

    regions: frozenset[str] = frozenset()
    needs_consent: bool = False
    verification: Verification = Verification.ANONYMOUS
    owns: frozenset[str] = frozenset()
    owns_none_of: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of an offer there is: in all, and for one person. None means: no bound."""

    budget_minor: int | None = None
    budget_uses: int | None = None
    per_subject: int | None = None
    per_subject_days: int = 30
    cooldown_days: int = 0
    stacks_with_codes: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """One version of an offer of a brand. Empty conditions mean: no condition."""

    id: str
    version: int
    title: str
    kind: OfferKind
    currency: str
    percent_basis_points: int = 0
    amount_minor: int = 0
    maximum_discount_minor: int | None = None
    product_ids: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    minimum_subtotal_minor: int = 0
    valid_from_ms: int = 0
    valid_until_ms: int | None = None
    priority: int = 0
    margin_basis_points: int = 0
    audience: Audience = Audience()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A product that the shopper looks at or has in the checkout."""

    variant_id: str
    product_id: str
    categories: frozenset[str]
    unit_price_minor: int
    quantity: int
    in_stock: bool = True


@dataclass(frozen=True, slots=True)
class NeverDiscounted:
    """What no offer may be about, in these regions or everywhere: fixed book prices, tobacco, medicines."""

    categories: frozenset[str]
    regions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all offers of a brand. ``paused`` is its kill switch."""

    paused: bool = False
    maximum_discount_basis_points: int = 10_000
    minimum_margin_basis_points: int | None = None
    never_discounted: tuple[NeverDiscounted, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What became of an offer with this subject: when it was shown, when it was last refused, and how many of it are open:
    made, still holding, and not shown so far as anybody said.
    """

    shown_ms: tuple[int, ...] = ()
    refused_ms: int | None = None
    open_count: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of an offer's budget, and how much more of it guests may hold just now. None means: no bound."""

    minor: int | None = None
    uses: int | None = None
    guest_minor: int | None = None
    guest_uses: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of who is asked, by a pseudonym: no name, no address, no protected attribute."""

    verification: Verification = Verification.ANONYMOUS
    consents: bool = False
    owned: frozenset[str] = frozenset()
    history: Mapping[str, History] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)  # what the shopper let be remembered, as features


@dataclass(frozen=True)
class Context:
    """All that a decision may depend on. ``subject`` is a pseudonym; no personal data, no card."""

    brand: str
    subject: str
    currency: str
    lines: tuple[ContextLine, ...]
    now_ms: int
    region: str | None = None
    known: Known = Known()
    rules: Rules = Rules()
    left: Mapping[str, Left] = field(default_factory=dict)
    has_codes: bool = False

    @cached_property
    def subtotal_minor(self) -> int:
        """The lines' sum before anything is taken off."""
        return sum(line.unit_price_minor * line.quantity for line in self.lines)

    @cached_property
    def lines_under_law(self) -> tuple[ContextLine, ...]:
        """The lines that no offer may be about, where it goes. That may not be known yet, or only the country: then a rule of
        any place in it counts.
        """
        here = [
            category
            for rule in self.rules.never_discounted
            if not rule.regions or may_be_within(self.region, rule.regions)
            for category in rule.categories
        ]
        if not here:
            return ()
        return tuple(line for line in self.lines if any(is_below(each, here) for each in line.categories))

    @cached_property
    def _scopes(self) -> "dict[Scope, int | None]":
        return {}

    @cached_property
    def _taken(self) -> "dict[int, tuple[Offer, int]]":
        return {}

    def in_scope_minor(self, offer: Offer) -> int | None:
        """What the lines that the offer is about come to, or None where it is about none; worked out once for each scope."""
        scope = (offer.product_ids, offer.categories)
        try:
            return self._scopes[scope]
        except KeyError:
            known = self._scopes[scope] = in_scope_minor(offer, self.lines)
            return known

    def taken_minor(self, offer: Offer) -> int:
        """discount_minor() of these lines, worked out once: rules, ranker and record all ask for it."""
        known = self._taken.get(id(offer))
        if known is None:
            known = self._taken[id(offer)] = (offer, _taken_of(offer, self.in_scope_minor(offer) or 0))
        return known[1]


Scope = tuple[frozenset[str], frozenset[str]]


def in_scope_minor(offer: Offer, lines: tuple[ContextLine, ...]) -> int | None:
    """What the lines that the offer is about come to, or None where it is about none of them."""
    within = [line.unit_price_minor * line.quantity for line in lines if applies_to(offer, line)]
    return sum(within) if within else None


def discount_minor(offer: Offer, lines: tuple[ContextLine, ...]) -> int:
    """What the offer takes off these lines: never more than they come to, rounded half up on the minor unit."""
    return _taken_of(offer, in_scope_minor(offer, lines) or 0)


def _taken_of(offer: Offer, eligible_minor: int) -> int:
    if offer.kind is OfferKind.PERCENT_OFF:
        taken = (eligible_minor * offer.percent_basis_points + 5_000) // 10_000
    elif offer.kind is OfferKind.AMOUNT_OFF:
        taken = offer.amount_minor
    else:
        taken = 0
    if offer.maximum_discount_minor is not None:
        taken = min(taken, offer.maximum_discount_minor)
    return min(taken, eligible_minor)


def margin_minor(offer: Offer, context: Context) -> int:
    """What the offer leaves of the merchant's margin on these lines, rounded down."""
    return context.subtotal_minor * offer.margin_basis_points // 10_000 - context.taken_minor(offer)


def applies_to(offer: Offer, line: ContextLine) -> bool:
    """Whether the offer is about this line at all."""
    if offer.product_ids and line.product_id not in offer.product_ids:
        return False
    return not offer.categories or bool(offer.categories & line.categories)


def is_below(category: str, categories: Iterable[str]) -> bool:
    """Whether a category is one of these or below one: ``Books > Novels`` is below ``books``. Case and spaces say nothing."""
    path = _path(category)
    return any(path[: len(above)] == above for above in map(_path, categories))


def _path(category: str) -> list[str]:
    return [part.strip().casefold() for part in category.split(">")]


def may_be_within(region: str | None, regions: frozenset[str]) -> bool:
    """Whether a place is, or may turn out to be, in one of the regions: of ``US`` nobody knows yet that it is not ``US-CA``."""
    return region is None or is_within(region, regions) or any(each.startswith(f"{region}-") for each in regions)


def is_within(region: str | None, regions: frozenset[str]) -> bool:
    """Whether a place is in one of the regions: ``US-CA`` is in ``US``. A place that is not known is in none."""
    return region is not None and (region in regions or region.partition("-")[0] in regions)
