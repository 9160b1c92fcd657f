"""The policy's offers: what each takes off, of what and for whom, how much of it there is, and what holds for all of them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from commerce_api.policy_fields import (
    FULL_BASIS_POINTS,
    AmountMinor,
    Days,
    Id,
    Part,
    PercentBasisPoints,
    PositiveAmountMinor,
    Region,
    Title,
)
from offer_engine.offers import NO_OFFER


def _is_an_offer(text: str) -> str:
    if text == NO_OFFER:
        raise ValueError("write another id: in the record of a decision this one says that no offer was made")
    return text


OfferId = Annotated[Id, AfterValidator(_is_an_offer)]
Products = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=10_000)]
Categories = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=750)], ...], Field(max_length=1_000)]


class AppliesTo(Part):
    """What an offer is for: one of the products, one of the categories, and the subtotal; an empty part is no bound."""

    product_ids: Products = ()
    categories: Categories = ()
    minimum_subtotal_minor: AmountMinor = 0


class OfferAudience(Part):
    """Whom an offer may be made to; an empty part is no bound. Regions are places of delivery (``DE``, ``US-CA``)."""

    regions: Annotated[tuple[Region, ...], Field(max_length=5_000)] = ()
    needs_consent: bool = False
    verification: Literal["anonymous", "claimed", "verified"] = "anonymous"
    owns_product_ids: Products = ()
    owns_none_of_product_ids: Products = ()


class OfferLimits(Part):
    """How much of an offer there is. ``budget_minor`` bounds what all its uses take off together, ``budget_uses`` their number;
    guests, of whom nothing is known, hold at most ``guest_percent`` of either at one moment, and one of them always may;
    ``per_shopper`` how often one shopper is shown it in ``per_shopper_days``; after a refusal it rests ``cooldown_days``.
    """

    budget_minor: PositiveAmountMinor | None = None
    budget_uses: Annotated[int, Field(gt=0, le=10**9)] | None = None
    guest_percent: Annotated[int, Field(ge=1, le=100)] = 50
    per_shopper: Annotated[int, Field(gt=0, le=1_000)] | None = None
    per_shopper_days: Annotated[int, Field(gt=0, le=365)] = 30
    cooldown_days: Days = 0
    stacks_with_codes: bool = True


class NeverDiscounted(Part):
    """Categories that no offer may touch, with all below them, in these regions or everywhere, and the law that says so."""

    categories: Annotated[Categories, Field(min_length=1)]
    regions: Annotated[tuple[Region, ...], Field(max_length=5_000)] = ()
    reason: Title


class OfferRules(Part):
    """What holds for all offers. Margin is what each offer's ``margin_basis_points`` say; a floor needs them in every offer.

    ``hold_out_percent`` of the subjects get an offer, or none, by chance: without them no model can be judged.
    """

    paused: bool = False
    maximum_discount_basis_points: PercentBasisPoints = FULL_BASIS_POINTS
    minimum_margin_basis_points: Annotated[int, Field(ge=-FULL_BASIS_POINTS, le=FULL_BASIS_POINTS)] | None = None
    never_discounted: Annotated[tuple[NeverDiscounted, ...], Field(max_length=100)] = ()
    hold_out_percent: Annotated[int, Field(ge=0, le=50)] = 0


class Models(Part):
    """How models that rank offers come to serve. They go back by themselves; with ``automatic`` they go on so, too.

    ``groups``: shoppers whom a model must do as well by, told apart so (offer_engine/judging/guards.py).
    """

    ramp: Literal["by_hand", "automatic"] = "by_hand"
    groups: Annotated[tuple[Literal["verification", "country", "returning"], ...], Field(max_length=3)] = (
        "verification",
        "returning",
    )


class Offer(Part):
    """An offer that may be made in conversation, and its bounds. A change of its terms gets a higher ``version``."""

    id: OfferId
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    title: Title
    kind: Literal["percent_off", "amount_off", "free_shipping"]
    percent_basis_points: PercentBasisPoints | None = None
    amount_minor: PositiveAmountMinor | None = None
    applies_to: AppliesTo = AppliesTo()
    maximum_discount_minor: PositiveAmountMinor | None = None
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    priority: Annotated[int, Field(ge=0, le=1_000)] = 100
    margin_basis_points: Annotated[int, Field(ge=-FULL_BASIS_POINTS, le=FULL_BASIS_POINTS)] | None = None
    audience: OfferAudience = OfferAudience()
    limits: OfferLimits = OfferLimits()
    disclosures: Annotated[tuple[Title, ...], Field(max_length=4)] = ()

    @model_validator(mode="after")
    def _kind_has_its_figure(self) -> Self:
        wanted = {"percent_off": (True, False), "amount_off": (False, True), "free_shipping": (False, False)}
        if (self.percent_basis_points is not None, self.amount_minor is not None) != wanted[self.kind]:
            raise ValueError(
                "percent_off needs percent_basis_points alone, amount_off needs amount_minor alone, "
                "free_shipping needs neither"
            )
        return self

    @model_validator(mode="after")
    def _what_has_a_budget_takes_something_off(self) -> Self:
        if self.kind == "free_shipping" and self.limits.budget_minor is not None:
            raise ValueError("free_shipping takes nothing off the goods: bound it by budget_uses")
        return self

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        return self
