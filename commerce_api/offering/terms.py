"""A brand's policy in the offer engine's form."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from commerce_api.offering.budget import is_limited
from commerce_api.policy import Policy
from commerce_api.policy_offers import Offer as PolicyOffer
from commerce_api.policy_offers import OfferLimits, OfferRules
from offer_engine.decide import Catalogue
from offer_engine.offers import Audience, Limits, NeverDiscounted, Offer, OfferKind, Rules, Verification

_KEPT = 256
_terms: "OrderedDict[tuple[int, str], tuple[Policy, Terms]]" = OrderedDict()


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows from a policy alone, the same for every decision under it.

    ``limited`` has the offers of which there is only so much, by id; caps on what one shopper is shown look back as far and on
    as many of an offer as ``looks_back`` says.
    """

    offers: Catalogue
    limited: Mapping[str, OfferLimits]
    looks_back_days: int
    looks_back_times: int


def terms_of(policy: Policy, currency: str) -> Terms:
    """The offers that a policy has, and what goes for all of them.

    Kept by the policy object, which is the same from one call to the next (commerce_api/brands.py); it is kept too, so that no
    other can come to have its identity.
    """
    key = (id(policy), currency)
    kept = _terms.get(key)
    if kept is None:
        kept = _terms[key] = (policy, _worked_out(policy, currency))
        while len(_terms) > _KEPT:
            _terms.popitem(last=False)
    return kept[1]


def _worked_out(policy: Policy, currency: str) -> Terms:
    limits = [offer.limits for offer in policy.offers]
    return Terms(
        offers=Catalogue([engine_offer(offer, currency) for offer in policy.offers]),
        limited={offer.id: offer.limits for offer in policy.offers if is_limited(offer.limits)},
        looks_back_days=max((max(each.per_shopper_days, each.cooldown_days) for each in limits), default=0),
        looks_back_times=max((each.per_shopper or 0 for each in limits), default=0),
    )


def rules_of(rules: OfferRules, *, paused: bool = False) -> Rules:
    """What holds for all of them. ``paused``: the operator's switch, beside the policy's own."""
    return Rules(
        paused=paused or rules.paused,
        maximum_discount_basis_points=rules.maximum_discount_basis_points,
        minimum_margin_basis_points=rules.minimum_margin_basis_points,
        never_discounted=tuple(
            NeverDiscounted(frozenset(never.categories), frozenset(never.regions)) for never in rules.never_discounted
        ),
    )


def engine_offer(offer: PolicyOffer, currency: str) -> Offer:
    """One offer."""
    audience, limits = offer.audience, offer.limits
    return Offer(
        id=offer.id,
        version=offer.version,
        title=offer.title,
        kind=OfferKind(offer.kind),
        currency=currency,
        percent_basis_points=offer.percent_basis_points or 0,
        amount_minor=offer.amount_minor or 0,
        maximum_discount_minor=offer.maximum_discount_minor,
        product_ids=frozenset(offer.applies_to.product_ids),
        categories=frozenset(offer.applies_to.categories),
        minimum_subtotal_minor=offer.applies_to.minimum_subtotal_minor,
        valid_from_ms=int(offer.valid_from.timestamp() * 1000) if offer.valid_from else 0,
        valid_until_ms=int(offer.valid_until.timestamp() * 1000) if offer.valid_until else None,
        priority=offer.priority,
        margin_basis_points=offer.margin_basis_points or 0,
        audience=Audience(
            regions=frozenset(audience.regions),
            needs_consent=audience.needs_consent,
            verification=Verification[audience.verification.upper()],
            owns=frozenset(audience.owns_product_ids),
            owns_none_of=frozenset(audience.owns_none_of_product_ids),
        ),
        limits=Limits(
            budget_minor=limits.budget_minor,
            budget_uses=limits.budget_uses,
            per_subject=limits.per_shopper,
            per_subject_days=limits.per_shopper_days,
            cooldown_days=limits.cooldown_days,
            stacks_with_codes=limits.stacks_with_codes,
        ),
    )
