"""The brand's selling policy: where it ships and for how much, tax, discount codes. A file, no database.

What it says of offers is in policy_offers.py, of assistants that pay in policy_assistants.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator

from commerce_api.memory.terms import BrandKey, MemoryTerms, Wording
from commerce_api.policy_assistants import AssistantPayments
from commerce_api.policy_fields import (
    COUNTRIES,
    FULL_BASIS_POINTS,
    AmountMinor,
    Country,
    Currency,
    Days,
    Id,
    Paragraphs,
    Part,
    PercentBasisPoints,
    PositiveAmountMinor,
    Region,
    Title,
    Url,
)
from commerce_api.policy_offers import AppliesTo, Models, Offer, OfferRules
from commerce_api.theme import Theme
from tokenization.money import exponent

MAXIMUM_POLICY_BYTES: Final = 1024 * 1024
_DAY_SECONDS: Final = 86_400
_EURO_AREA_CODES: Final = "AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK"


class ShippingOption(Part):
    """One way to ship. ``free_from_minor``: free for a subtotal of at least that."""

    id: Id
    title: Title
    price_minor: AmountMinor
    delivery_days_min: Days
    delivery_days_max: Days
    free_from_minor: AmountMinor | None = None

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.delivery_days_min > self.delivery_days_max:
            raise ValueError("delivery_days_min must not be above delivery_days_max")
        return self


class Tax(Part):
    """Flat tax by place of delivery: ``by_region`` (``US-CA``, ``DE``) before ``rate_basis_points``; 725 is 7.25 %.

    An address whose region is no code of ISO 3166-2 is somewhere in its country: the country's rate holds, or the general one.
    """

    kind: Literal["none", "flat"] = "none"
    rate_basis_points: Annotated[int, Field(ge=0, le=FULL_BASIS_POINTS)] = 0
    included: bool = False
    by_region: dict[Region, Annotated[int, Field(ge=0, le=FULL_BASIS_POINTS)]] = Field(
        default_factory=dict, max_length=5_000
    )

    @model_validator(mode="after")
    def _none_has_no_rate(self) -> Self:
        if self.kind == "none" and (self.rate_basis_points or self.by_region or self.included):
            raise ValueError("kind none has no rate_basis_points, no by_region and is not included; or write kind flat")
        return self

    def tells_regions_apart(self, country: str) -> bool:
        """Whether the tax in this country depends on the region."""
        return any(code.startswith(f"{country}-") for code in self.by_region)

    def countries_without_rate(self) -> tuple[str, ...]:
        """Countries of which only regions have a rate: elsewhere in them the general one holds."""
        return tuple(sorted({code[:2] for code in self.by_region} - self.by_region.keys()))


class DiscountCode(Part):
    """A code the shopper enters, case ignored: either a share of the subtotal or an amount."""

    code: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{1,39}$")]
    title: Title
    percent_basis_points: PercentBasisPoints | None = None
    amount_minor: PositiveAmountMinor | None = None
    minimum_subtotal_minor: AmountMinor = 0
    expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.percent_basis_points is None) == (self.amount_minor is None):
            raise ValueError("write either percent_basis_points or amount_minor")
        return self


class Policy(Part):
    """How a brand sells. Amounts are minor units of ``currency``; None takes the feed's currency.

    ``offer_wording`` is whose words offers are said in: ``template``, a model's that are ``chosen`` from sentences, or its own
    (``free``); what is not there in ``offer_wording_seconds`` is said by the template.
    """

    currency: Currency | None = None
    ships_to: Annotated[tuple[Country, ...], Field(min_length=1, max_length=len(COUNTRIES))]
    shipping_options: Annotated[tuple[ShippingOption, ...], Field(min_length=1, max_length=50)]
    tax: Tax = Tax()
    discount_codes: Annotated[tuple[DiscountCode, ...], Field(max_length=10_000)] = ()
    offers: Annotated[tuple[Offer, ...], Field(max_length=1_000)] = ()
    offer_rules: OfferRules = OfferRules()
    offer_wording: Literal["template", "chosen", "free"] = "template"
    offer_wording_seconds: Annotated[int, Field(ge=1, le=20)] = 6
    models: Models = Models()
    checkout_lifetime_seconds: Annotated[int, Field(ge=60, le=_DAY_SECONDS)] = 1_800
    reservation_seconds: Annotated[int, Field(ge=30, le=_DAY_SECONDS)] = 900
    assistant_payments: AssistantPayments | None = None
    support_url: Url | None = None
    terms_url: Url | None = None
    privacy_url: Url | None = None
    return_policy_text: Paragraphs | None = None
    theme: Theme | None = None
    memory: MemoryTerms = MemoryTerms()

    @cached_property
    def spoken_of(self) -> frozenset[str]:
        """The regions that a tax, a law or an offer's audience names."""
        laws = (law.regions for law in self.offer_rules.never_discounted)
        return frozenset(chain(self.tax.by_region, *laws, *(offer.audience.regions for offer in self.offers)))

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        _refuse_repeated(self.ships_to, "ships_to names a country twice")
        _refuse_repeated((option.id for option in self.shipping_options), "shipping_options has an id twice")
        _refuse_repeated((offer.id for offer in self.offers), "offers has an id twice")
        _refuse_repeated(self.models.groups, "models.groups names a group twice")
        _refuse_repeated((code.code.upper() for code in self.discount_codes), "discount_codes has a code twice")
        return self

    @model_validator(mode="after")
    def _margins_are_known_where_they_have_a_floor(self) -> Self:
        floor = self.offer_rules.minimum_margin_basis_points
        if floor is not None and any(offer.margin_basis_points is None for offer in self.offers):
            raise ValueError("minimum_margin_basis_points needs margin_basis_points in every offer")
        return self

    @model_validator(mode="after")
    def _the_sheet_has_its_links(self) -> Self:
        sheet = self.assistant_payments.chatgpt_sheet if self.assistant_payments else None
        if sheet is not None and not (self.terms_url and self.privacy_url):
            raise ValueError("chatgpt_sheet shows the shopper terms_url and privacy_url: the policy needs both")
        return self

    @model_validator(mode="after")
    def _reservation_within_checkout(self) -> Self:
        if self.reservation_seconds > self.checkout_lifetime_seconds:
            raise ValueError("reservation_seconds must not be above checkout_lifetime_seconds")
        return self


class PolicyInvalid(ValueError):
    """The policy cannot be used. Each of ``problems`` is a field's path and what is expected there, never a value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_policy(path: Path) -> Policy:
    """Reads the policy from a JSON file. Raises PolicyInvalid with every problem that was found."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAXIMUM_POLICY_BYTES + 1)
    except OSError:
        raise PolicyInvalid(("the file cannot be read; check the path and its permissions",)) from None
    if len(content) > MAXIMUM_POLICY_BYTES:
        raise PolicyInvalid(("the file is above 1 MiB; a policy is a small JSON object",))
    try:
        policy = Policy.model_validate_json(content)
    except ValidationError as invalid:
        raise PolicyInvalid(_problems(invalid)) from None
    _refuse_names_of_two_things(policy)
    return policy


def _refuse_names_of_two_things(policy: Policy) -> None:
    """A shopper could not tell them apart in what was taken off. A policy that is in force is not refused for it."""
    offers = {offer.id.upper() for offer in policy.offers}
    for place, code in enumerate(policy.discount_codes):
        if code.code.upper() in offers:
            raise PolicyInvalid((f"discount_codes[{place}].code: an offer has this id; give the code another name",))


def default_policy(currency: str) -> Policy:
    """Standard and express shipping at home, no tax, and 10 % off orders of at least 100 major units.

    Raises MoneyInvalid for an unknown currency, PolicyInvalid for one of several countries that is not the euro.
    """
    major_minor = 10 ** exponent(currency)
    return Policy(
        currency=currency,
        ships_to=_home_countries(currency),
        shipping_options=(
            ShippingOption(
                id="standard",
                title="Standard shipping",
                price_minor=5 * major_minor,
                delivery_days_min=3,
                delivery_days_max=7,
            ),
            ShippingOption(
                id="express",
                title="Express shipping",
                price_minor=15 * major_minor,
                delivery_days_min=1,
                delivery_days_max=2,
            ),
        ),
        offers=(
            Offer(
                id="ten-percent-off",
                version=1,
                title="10% off your order",
                kind="percent_off",
                percent_basis_points=1_000,
                applies_to=AppliesTo(minimum_subtotal_minor=100 * major_minor),
            ),
        ),
    )


def _home_countries(currency: str) -> tuple[str, ...]:
    """ISO 4217 begins a currency's code with its country's code."""
    if currency == "EUR":
        return tuple(_EURO_AREA_CODES.split())
    if currency[:2] not in COUNTRIES:
        raise PolicyInvalid(("ships_to: this currency belongs to several countries; name yours in a policy file",))
    return (currency[:2],)


def _refuse_repeated(values: Iterable[str], message: str) -> None:
    if any(count > 1 for count in Counter(values).values()):
        raise ValueError(message)


_MODELS: Final[tuple[type[BaseModel], ...]] = (
    *(Policy, ShippingOption, Tax, DiscountCode, Offer, AppliesTo),
    *(AssistantPayments, Theme),
    *(MemoryTerms, BrandKey, Wording),
)
_KNOWN_NAMES: Final = frozenset(name for model in _MODELS for name in model.model_fields)


def _problems(invalid: ValidationError) -> tuple[str, ...]:
    errors = invalid.errors(include_url=False, include_context=False, include_input=False)
    # A list whose items are wrong is also called too short: the items say it better.
    inner = {error["loc"][:length] for error in errors for length in range(len(error["loc"]))}
    return tuple(
        dict.fromkeys(
            f"{_field_path(error['loc'])}: {_expected(error)}" for error in errors if error["loc"] not in inner
        )
    )


def _field_path(location: tuple[int | str, ...]) -> str:
    """The path in the policy's own names: a key that the file made up shows as ``*``."""
    parts = (part for part in location if part != "[key]")
    names = (f"[{part}]" if isinstance(part, int) else f".{part if part in _KNOWN_NAMES else '*'}" for part in parts)
    return "".join(names).lstrip(".") or "policy"


def _expected(error: Mapping[str, object]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no field of this name; docs/feeds.md lists them"
    return str(error["msg"]).removeprefix("Value error, ")
