"""What a checkout comes to: items, discounts, shipping, tax, total. Pure arithmetic on integers of minor units (I7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from commerce_api.policy import DiscountCode, Policy, ShippingOption, Tax
from offer_engine.offers import ContextLine, Offer, OfferKind, discount_minor


@dataclass(frozen=True, slots=True)
class Totals:
    """Each amount in minor units; ``discount_minor`` is what is taken off, as a positive number.

    ``offer_taken_minor`` is what of that the offer takes off, None without one. ``applied`` is for people: a code in it may be
    named as an offer is.
    """

    items_minor: int
    discount_minor: int
    shipping_minor: int
    tax_minor: int
    total_minor: int
    applied: tuple[tuple[str, str, int], ...]  # (code or offer id, title, minor units taken off)
    offer_taken_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where it goes, as far as tax depends on it: ISO country, and region as in ``US-CA``."""

    country: str
    region: str | None = None


class TaxCalculator(Protocol):
    """Says what tax is due. MUST be a pure function of its arguments; returns minor units, and whether prices include it."""

    def tax(self, taxable_minor: int, shipping_minor: int, destination: Destination | None) -> tuple[int, bool]:
        """The tax on goods and shipping, rounded half up on the minor unit."""


class FlatTax:
    """The policy's flat rates by region."""

    def __init__(self, tax: Tax) -> None:
        self._tax = tax

    def tax(self, taxable_minor: int, shipping_minor: int, destination: Destination | None) -> tuple[int, bool]:
        """See TaxCalculator. Without a destination the policy's general rate holds."""
        if self._tax.kind == "none":
            return 0, False
        rate = self._rate(self._tax.by_region, destination)
        base_minor = taxable_minor + shipping_minor
        if self._tax.included:
            return (base_minor * rate + (10_000 + rate) // 2) // (10_000 + rate), True
        return (base_minor * rate + 5_000) // 10_000, False

    def _rate(self, by_region: Mapping[str, int], destination: Destination | None) -> int:
        if destination is None:
            return self._tax.rate_basis_points
        by_country = by_region.get(destination.country, self._tax.rate_basis_points)
        return by_region.get(destination.region, by_country) if destination.region else by_country


def totals(
    lines: tuple[ContextLine, ...],
    *,
    codes: Sequence[DiscountCode],
    offer: Offer | None,
    shipping: ShippingOption | None,
    destination: Destination | None,
    tax: TaxCalculator,
) -> Totals:
    """The sums. An offer comes off first, then each code off what is left; never below zero."""
    items_minor = sum(line.unit_price_minor * line.quantity for line in lines)
    left_minor = items_minor
    applied: list[tuple[str, str, int]] = []
    offer_taken_minor = None
    if offer is not None:
        offer_taken_minor = min(discount_minor(offer, lines), left_minor)
        left_minor -= offer_taken_minor
        applied.append((offer.id, offer.title, offer_taken_minor))
    for code in codes:
        taken = min(code_discount_minor(code, left_minor), left_minor)
        left_minor -= taken
        applied.append((code.code, code.title, taken))
    free_by_offer = offer is not None and offer.kind is OfferKind.FREE_SHIPPING
    shipping_minor = 0 if shipping is None or free_by_offer else shipping_price_minor(shipping, items_minor)
    tax_minor, included = tax.tax(left_minor, shipping_minor, destination)
    return Totals(
        items_minor=items_minor,
        discount_minor=items_minor - left_minor,
        shipping_minor=shipping_minor,
        tax_minor=tax_minor,
        total_minor=left_minor + shipping_minor + (0 if included else tax_minor),
        applied=tuple(applied),
        offer_taken_minor=offer_taken_minor,
    )


def code_discount_minor(code: DiscountCode, subtotal_minor: int) -> int:
    """What a code takes off a subtotal."""
    if code.percent_basis_points is not None:
        return (subtotal_minor * code.percent_basis_points + 5_000) // 10_000
    return code.amount_minor or 0


def shipping_price_minor(option: ShippingOption, subtotal_minor: int) -> int:
    """The option's price for a subtotal: nothing from ``free_from_minor`` on."""
    if option.free_from_minor is not None and subtotal_minor >= option.free_from_minor:
        return 0
    return option.price_minor


def find_code(policy: Policy, text: str, subtotal_minor: int, now_ms: int) -> DiscountCode | None:
    """The policy's code of this text, case ignored, if it holds now for this subtotal."""
    for code in policy.discount_codes:
        if code.code.upper() == text.upper():
            expired = code.expires_at is not None and code.expires_at.timestamp() * 1000 <= now_ms
            return None if expired or subtotal_minor < code.minimum_subtotal_minor else code
    return None
