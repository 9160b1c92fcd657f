"""Which offers may be made at all, checked before ranking; every offer left out has its reason on record.

Two kinds of rules. Those of an offer's terms hold for as long as it is used: checkout asks them again, of what is in the basket
then. Those of its making are asked once, when it is decided: whose turn it is, and how much of it is left. An offer that was
made holds, though its budget is used up by then, or the brand makes no more of them.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from offer_engine.offers import Context, Left, Offer, OfferKind, Verification, applies_to, is_within, margin_minor

DAY_MS: Final = 86_400_000


class Exclusion(StrEnum):
    """Why an offer was left out. Codes are only ever added."""

    PAUSED = "paused"
    NOT_YET_VALID = "not_yet_valid"
    NO_LONGER_VALID = "no_longer_valid"
    OTHER_CURRENCY = "other_currency"
    REGION_NOT_SERVED = "region_not_served"
    NO_PRODUCT_IN_SCOPE = "no_product_in_scope"
    EXCLUDED_BY_LAW = "excluded_by_law"
    OUT_OF_STOCK = "out_of_stock"
    SUBTOTAL_TOO_LOW = "subtotal_too_low"
    NOTHING_TO_GIVE = "nothing_to_give"
    DISCOUNT_TOO_HIGH = "discount_too_high"
    MARGIN_TOO_LOW = "margin_too_low"
    DOES_NOT_STACK = "does_not_stack"
    CONSENT_MISSING = "consent_missing"
    VERIFICATION_TOO_LOW = "verification_too_low"
    NOT_OWNED = "not_owned"
    OWNED_ALREADY = "owned_already"
    SHOWN_TOO_OFTEN = "shown_too_often"
    REFUSED_RECENTLY = "refused_recently"
    BUDGET_SPENT = "budget_spent"
    BUDGET_HELD = "budget_held"


def exclusion(offer: Offer, context: Context) -> Exclusion | None:
    """The first rule that keeps the offer from being made, or None."""
    return first_broken(offer, context, _ALL)


def no_longer_applies(offer: Offer, context: Context) -> Exclusion | None:
    """The first of its terms that an offer which was made does not meet, or None."""
    return first_broken(offer, context, _TERMS)


def rules_for(offer: Offer) -> "Asked":
    """Those of all rules that this offer could break: who asks a thousand offers asks no rule that has no condition."""
    return tuple(rule for rule in _ALL if rule[0] not in _IDLE or not _IDLE[rule[0]](offer))


def open_in(context: Context, rules: "Asked") -> "Asked":
    """Those of these rules that could be broken in this context: worked out once for all offers that are asked the same."""
    quiet = {reason for reason, is_quiet in _QUIET.items() if is_quiet(context)}
    return tuple(rule for rule in rules if rule[0] not in quiet)


def first_broken(offer: Offer, context: Context, rules: "Asked") -> Exclusion | None:
    """The first of these rules that is broken, or None."""
    for reason, broken in rules:
        if broken(offer, context):
            return reason
    return None


def _is_over(offer: Offer, context: Context) -> bool:
    return offer.valid_until_ms is not None and context.now_ms >= offer.valid_until_ms


def _is_elsewhere(offer: Offer, context: Context) -> bool:
    return bool(offer.audience.regions) and not is_within(context.region, offer.audience.regions)


def _is_unlawful(offer: Offer, context: Context) -> bool:
    return any(applies_to(offer, line) for line in context.lines_under_law)


def _is_too_high(offer: Offer, context: Context) -> bool:
    cap = context.rules.maximum_discount_basis_points
    return cap < 10_000 and context.taken_minor(offer) * 10_000 > context.subtotal_minor * cap


def _is_below_margin(offer: Offer, context: Context) -> bool:
    floor = context.rules.minimum_margin_basis_points
    return floor is not None and margin_minor(offer, context) * 10_000 < context.subtotal_minor * floor


def _is_out_of_stock(offer: Offer, context: Context) -> bool:
    return any(applies_to(offer, line) and not line.in_stock for line in context.lines)


def _was_shown_too_often(offer: Offer, context: Context) -> bool:
    """What is open may be shown and taken yet: it counts, or a shopper could collect more than they are to be shown."""
    limits, seen = offer.limits, context.known.history.get(offer.id)
    if limits.per_subject is None or seen is None:
        return False
    since_ms = context.now_ms - limits.per_subject_days * DAY_MS
    return sum(shown_ms > since_ms for shown_ms in seen.shown_ms) + seen.open_count >= limits.per_subject


def _was_refused_recently(offer: Offer, context: Context) -> bool:
    seen = context.known.history.get(offer.id)
    if not offer.limits.cooldown_days or seen is None or seen.refused_ms is None:
        return False
    return seen.refused_ms > context.now_ms - offer.limits.cooldown_days * DAY_MS


def _is_spent(offer: Offer, context: Context) -> bool:
    """A budget whose rest is not told counts as spent: nothing is given that nobody counted."""
    left = context.left.get(offer.id, Left(0, 0))
    minor_left = offer.limits.budget_minor is None or (
        left.minor is not None and left.minor >= max(1, context.taken_minor(offer))
    )
    uses_left = offer.limits.budget_uses is None or (left.uses is not None and left.uses >= 1)
    return not (minor_left and uses_left)


def _is_held(offer: Offer, context: Context) -> bool:
    """There is enough of it, but guests hold as much as they may until some of them buy or let it go."""
    left = context.left.get(offer.id, Left())
    if context.known.verification is not Verification.ANONYMOUS:
        return False
    short_of_minor = left.guest_minor is not None and left.guest_minor < max(1, context.taken_minor(offer))
    return short_of_minor or (left.guest_uses is not None and left.guest_uses < 1)


_Rule = tuple[Exclusion, Callable[[Offer, Context], bool]]
Asked = tuple[_Rule, ...]
_TERMS: Final[Asked] = (
    (Exclusion.NOT_YET_VALID, lambda offer, context: context.now_ms < offer.valid_from_ms),
    (Exclusion.NO_LONGER_VALID, _is_over),
    (Exclusion.OTHER_CURRENCY, lambda offer, context: offer.currency != context.currency),
    (Exclusion.REGION_NOT_SERVED, _is_elsewhere),
    (
        Exclusion.NO_PRODUCT_IN_SCOPE,
        lambda offer, context: context.in_scope_minor(offer) is None,
    ),
    (Exclusion.EXCLUDED_BY_LAW, _is_unlawful),
    (Exclusion.SUBTOTAL_TOO_LOW, lambda offer, context: context.subtotal_minor < offer.minimum_subtotal_minor),
    (
        Exclusion.NOTHING_TO_GIVE,
        lambda offer, context: offer.kind is not OfferKind.FREE_SHIPPING and context.taken_minor(offer) <= 0,
    ),
    (Exclusion.DISCOUNT_TOO_HIGH, _is_too_high),
    (Exclusion.MARGIN_TOO_LOW, _is_below_margin),
    (Exclusion.DOES_NOT_STACK, lambda offer, context: context.has_codes and not offer.limits.stacks_with_codes),
)
_MAKING: Final[Asked] = (
    (Exclusion.OUT_OF_STOCK, _is_out_of_stock),
    (Exclusion.CONSENT_MISSING, lambda offer, context: offer.audience.needs_consent and not context.known.consents),
    (
        Exclusion.VERIFICATION_TOO_LOW,
        lambda offer, context: context.known.verification < offer.audience.verification,
    ),
    (
        Exclusion.NOT_OWNED,
        lambda offer, context: bool(offer.audience.owns) and not offer.audience.owns & context.known.owned,
    ),
    (Exclusion.OWNED_ALREADY, lambda offer, context: bool(offer.audience.owns_none_of & context.known.owned)),
    (Exclusion.SHOWN_TOO_OFTEN, _was_shown_too_often),
    (Exclusion.REFUSED_RECENTLY, _was_refused_recently),
    (Exclusion.BUDGET_SPENT, _is_spent),
    (Exclusion.BUDGET_HELD, _is_held),
)
_PAUSED: Final[_Rule] = (Exclusion.PAUSED, lambda _, context: context.rules.paused)
_ALL: Final = (_PAUSED, *_TERMS, *_MAKING)


def _has_budget(offer: Offer) -> bool:
    return offer.limits.budget_minor is not None or offer.limits.budget_uses is not None


# When a rule cannot be broken, whatever the context.
_IDLE: Final[dict[Exclusion, Callable[[Offer], bool]]] = {
    Exclusion.NOT_YET_VALID: lambda offer: offer.valid_from_ms <= 0,
    Exclusion.NO_LONGER_VALID: lambda offer: offer.valid_until_ms is None,
    Exclusion.REGION_NOT_SERVED: lambda offer: not offer.audience.regions,
    Exclusion.SUBTOTAL_TOO_LOW: lambda offer: offer.minimum_subtotal_minor <= 0,
    Exclusion.DOES_NOT_STACK: lambda offer: offer.limits.stacks_with_codes,
    Exclusion.CONSENT_MISSING: lambda offer: not offer.audience.needs_consent,
    Exclusion.VERIFICATION_TOO_LOW: lambda offer: not offer.audience.verification,
    Exclusion.NOT_OWNED: lambda offer: not offer.audience.owns,
    Exclusion.OWNED_ALREADY: lambda offer: not offer.audience.owns_none_of,
    Exclusion.SHOWN_TOO_OFTEN: lambda offer: offer.limits.per_subject is None,
    Exclusion.REFUSED_RECENTLY: lambda offer: not offer.limits.cooldown_days,
    Exclusion.BUDGET_SPENT: lambda offer: not _has_budget(offer),
    Exclusion.BUDGET_HELD: lambda offer: not _has_budget(offer),
}
# When no offer can break a rule in this context.
_QUIET: Final[dict[Exclusion, Callable[[Context], bool]]] = {
    Exclusion.PAUSED: lambda context: not context.rules.paused,
    Exclusion.EXCLUDED_BY_LAW: lambda context: not context.lines_under_law,
    Exclusion.DISCOUNT_TOO_HIGH: lambda context: context.rules.maximum_discount_basis_points >= 10_000,
    Exclusion.MARGIN_TOO_LOW: lambda context: context.rules.minimum_margin_basis_points is None,
    Exclusion.DOES_NOT_STACK: lambda context: not context.has_codes,
    Exclusion.OUT_OF_STOCK: lambda context: all(line.in_stock for line in context.lines),
    Exclusion.OWNED_ALREADY: lambda context: not context.known.owned,
    Exclusion.SHOWN_TOO_OFTEN: lambda context: not context.known.history,
    Exclusion.REFUSED_RECENTLY: lambda context: not context.known.history,
    Exclusion.BUDGET_HELD: lambda context: context.known.verification is not Verification.ANONYMOUS,
}
