"""What an offer is, and what is known when one is chosen. Amounts are integer minor units, rates are basis points."""

from dataclasses import dataclass
from enum import StrEnum


class OfferKind(StrEnum):
    """What an offer gives."""

    PERCENT_OFF = "percent_off"
    AMOUNT_OFF = "amount_off"
    FREE_SHIPPING = "free_shipping"


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


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A product that the shopper looks at or has in the checkout."""

    variant_id: str
    product_id: str
    categories: frozenset[str]
    unit_price_minor: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Context:
    """All that a decision may depend on. ``subject`` is a pseudonym; no personal data, no card."""

    brand: str
    subject: str
    currency: str
    lines: tuple[ContextLine, ...]
    now_ms: int

    @property
    def subtotal_minor(self) -> int:
        """The lines' sum before anything is taken off."""
        return sum(line.unit_price_minor * line.quantity for line in self.lines)


def discount_minor(offer: Offer, lines: tuple[ContextLine, ...]) -> int:
    """What the offer takes off these lines: never more than they come to, rounded half up on the minor unit."""
    eligible_minor = sum(line.unit_price_minor * line.quantity for line in lines if applies_to(offer, line))
    if offer.kind is OfferKind.PERCENT_OFF:
        taken = (eligible_minor * offer.percent_basis_points + 5_000) // 10_000
    elif offer.kind is OfferKind.AMOUNT_OFF:
        taken = offer.amount_minor
    else:
        taken = 0
    if offer.maximum_discount_minor is not None:
        taken = min(taken, offer.maximum_discount_minor)
    return min(taken, eligible_minor)


def applies_to(offer: Offer, line: ContextLine) -> bool:
    """Whether the offer is about this line at all."""
    if offer.product_ids and line.product_id not in offer.product_ids:
        return False
    return not offer.categories or bool(offer.categories & line.categories)
