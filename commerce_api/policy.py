"""The brand's selling policy: where it ships and for how much, tax, discount codes and offers. A file, no database."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.event import looks_like_card
from commerce_api.catalogue.feed_rows import Refusal
from commerce_api.catalogue.feed_text import is_plain
from commerce_api.catalogue.feed_url import safe_url
from commerce_api.memory.terms import BrandKey, MemoryTerms, Wording
from commerce_api.regions import is_assigned
from commerce_api.theme import Theme
from offer_engine.offers import NO_OFFER
from tokenization.money import MoneyInvalid, exponent

MAXIMUM_POLICY_BYTES: Final = 1024 * 1024
MAXIMUM_AMOUNT_MINOR: Final = 10**11  # as the highest price of a feed
FULL_BASIS_POINTS: Final = 10_000
_DAY_SECONDS: Final = 86_400

# ISO 3166-1 alpha-2, officially assigned, and XK, which postal services use for Kosovo.
_COUNTRY_CODES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
)
COUNTRIES: Final = frozenset(_COUNTRY_CODES.split())
_REGION: Final = re.compile("[A-Z]{2}(?:-[A-Z0-9]{1,3})?")
_EURO_AREA_CODES: Final = "AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK"


def _country(text: str) -> str:
    if text not in COUNTRIES:
        raise ValueError("write an ISO 3166-1 alpha-2 country code, such as US or GB")
    return text


def _region(text: str) -> str:
    if text[:2] not in COUNTRIES or not _REGION.fullmatch(text) or not (len(text) == 2 or is_assigned(text)):
        raise ValueError("write a country code, or one with an ISO 3166-2 subdivision, such as US-CA")
    return text


def _currency(text: str) -> str:
    try:
        exponent(text)
    except MoneyInvalid:
        raise ValueError("write an ISO 4217 currency code, such as USD") from None
    return text


def _id(text: str) -> str:
    if looks_like_card(text):  # it could never be recorded
        raise ValueError("write an id with fewer than 13 digits in a row; dashes and points between them do not count")
    return text


def _is_an_offer(text: str) -> str:
    if text == NO_OFFER:
        raise ValueError("write another id: in the record of a decision this one says that no offer was made")
    return text


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("write plain text on one line: no HTML tags, no invisible characters, no space at the ends")
    return text


def _plain_paragraphs(text: str) -> str:
    if not all(is_plain(line) for line in text.split("\n")):
        raise ValueError("write plain text: no HTML tags, no invisible characters, no space at the ends of a line")
    return text


def _public_url(text: str) -> str:
    try:
        url = safe_url(text, "")
    except Refusal:
        url = None
    if url is None or not url.startswith("https://"):
        raise ValueError("write a public https address with a host name")
    return url


Country = Annotated[str, AfterValidator(_country)]
Region = Annotated[str, AfterValidator(_region)]
Currency = Annotated[str, AfterValidator(_currency)]
Id = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"), AfterValidator(_id)]
OfferId = Annotated[Id, AfterValidator(_is_an_offer)]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Url = Annotated[str, Field(max_length=2_000), AfterValidator(_public_url)]
AmountMinor = Annotated[int, Field(ge=0, le=MAXIMUM_AMOUNT_MINOR)]
PositiveAmountMinor = Annotated[int, Field(gt=0, le=MAXIMUM_AMOUNT_MINOR)]
PercentBasisPoints = Annotated[int, Field(gt=0, le=FULL_BASIS_POINTS)]
Days = Annotated[int, Field(ge=0, le=365)]
Products = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=10_000)]
Categories = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=750)], ...], Field(max_length=1_000)]


class _Part(BaseModel):
    """Strict, closed and frozen: a misspelt field is an error, ``"5"`` is no number, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class ShippingOption(_Part):
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


class Tax(_Part):
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


class DiscountCode(_Part):
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


class AppliesTo(_Part):
    """What an offer is for: one of the products, one of the categories, and the subtotal; an empty part is no bound."""

    product_ids: Products = ()
    categories: Categories = ()
    minimum_subtotal_minor: AmountMinor = 0


class OfferAudience(_Part):
    """Whom an offer may be made to; an empty part is no bound. Regions are places of delivery (``DE``, ``US-CA``)."""

    regions: Annotated[tuple[Region, ...], Field(max_length=5_000)] = ()
    needs_consent: bool = False
    verification: Literal["anonymous", "claimed", "verified"] = "anonymous"
    owns_product_ids: Products = ()
    owns_none_of_product_ids: Products = ()


class OfferLimits(_Part):
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


class NeverDiscounted(_Part):
    """Categories that no offer may touch, with all below them, in these regions or everywhere, and the law that says so."""

    categories: Annotated[Categories, Field(min_length=1)]
    regions: Annotated[tuple[Region, ...], Field(max_length=5_000)] = ()
    reason: Title


class OfferRules(_Part):
    """What holds for all offers. Margin is what each offer's ``margin_basis_points`` say; a floor needs them in every offer.

    ``hold_out_percent`` of the subjects get an offer, or none, by chance: without them no model can be judged.
    """

    paused: bool = False
    maximum_discount_basis_points: PercentBasisPoints = FULL_BASIS_POINTS
    minimum_margin_basis_points: Annotated[int, Field(ge=-FULL_BASIS_POINTS, le=FULL_BASIS_POINTS)] | None = None
    never_discounted: Annotated[tuple[NeverDiscounted, ...], Field(max_length=100)] = ()
    hold_out_percent: Annotated[int, Field(ge=0, le=50)] = 0


class Models(_Part):
    """How models that rank offers come to serve. They go back by themselves; with ``automatic`` they go on so, too.

    ``groups``: shoppers whom a model must do as well by, told apart so (offer_engine/judging/guards.py).
    """

    ramp: Literal["by_hand", "automatic"] = "by_hand"
    groups: Annotated[tuple[Literal["verification", "country", "returning"], ...], Field(max_length=3)] = (
        "verification",
        "returning",
    )


class Offer(_Part):
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


class ChatGptSheet(_Part):
    """Lets shoppers pay in ChatGPT's payment sheet, a private beta of OpenAI's, which shows the terms and privacy notice.

    ``provider`` and ``merchant_id`` are the names under which OpenAI gives a shopper's card to the shop's vault; ``test`` moves
    no money.
    """

    provider: Id
    merchant_id: Id
    methods: Annotated[tuple[Literal["card", "apple_pay", "google_pay"], ...], Field(min_length=1, max_length=3)] = (
        "card",
    )
    mode: Literal["test", "live"] = "test"


class AssistantPayments(_Part):
    """Lets assistants pay with tokens that their platforms get from the zone. A policy without it: only shoppers pay.

    ``maximum_minor`` bounds each purchase; of ``limits_minor`` shoppers choose what an assistant of theirs may spend in all.
    ``guests``: whether tokens are taken from who did not sign in, for whom nobody set a limit.
    """

    maximum_minor: PositiveAmountMinor
    guests: bool = False
    limits_minor: Annotated[tuple[PositiveAmountMinor, ...], Field(min_length=1, max_length=6)]
    chatgpt_sheet: ChatGptSheet | None = None


class Policy(_Part):
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
    return_policy_text: Annotated[str, Field(max_length=5_000), AfterValidator(_plain_paragraphs)] | None = None
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
