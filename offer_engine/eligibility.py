"""Which offers may be made at all, checked before ranking; every offer left out has its reason on record."""

from enum import StrEnum

from offer_engine.offers import Context, Offer, OfferKind, applies_to, discount_minor


class Exclusion(StrEnum):
    """Why an offer was left out. Codes are only ever added."""

    NOT_YET_VALID = "not_yet_valid"
    NO_LONGER_VALID = "no_longer_valid"
    OTHER_CURRENCY = "other_currency"
    NO_PRODUCT_IN_SCOPE = "no_product_in_scope"
    SUBTOTAL_TOO_LOW = "subtotal_too_low"
    NOTHING_TO_GIVE = "nothing_to_give"


def exclusion(offer: Offer, context: Context) -> Exclusion | None:
    """The first rule that keeps the offer from being made, or None."""
    if context.now_ms < offer.valid_from_ms:
        return Exclusion.NOT_YET_VALID
    if offer.valid_until_ms is not None and context.now_ms >= offer.valid_until_ms:
        return Exclusion.NO_LONGER_VALID
    if offer.currency != context.currency:
        return Exclusion.OTHER_CURRENCY
    if not any(applies_to(offer, line) for line in context.lines):
        return Exclusion.NO_PRODUCT_IN_SCOPE
    if context.subtotal_minor < offer.minimum_subtotal_minor:
        return Exclusion.SUBTOTAL_TOO_LOW
    if offer.kind is not OfferKind.FREE_SHIPPING and discount_minor(offer, context.lines) <= 0:
        return Exclusion.NOTHING_TO_GIVE
    return None
