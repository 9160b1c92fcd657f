"""What agents send and get, whatever protocol carries it: products, offers, checkouts, orders. No field for a card exists.

Amounts are integer minor units with their currency, and a text for people. Times are RFC 3339 in UTC.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tokenization.wire import Identifier


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, not even to look for it."""
    if "\0" in text:
        raise ValueError("text without NUL")
    return text


CatalogueId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
ShortText = Annotated[str, Field(min_length=1, max_length=200)]
HandleText = Annotated[str, Field(min_length=1, max_length=200)]
Status = Literal[
    "incomplete", "ready_for_complete", "requires_escalation", "complete_in_progress", "completed", "canceled"
]


class Given(BaseModel):
    """Input: closed, so that a field nobody asked for (a card, say) is refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class MoneyView(BaseModel):
    """An amount: minor units, ISO 4217 currency, and the text to show."""

    amount_minor: int
    currency: str
    text: str


class OptionView(BaseModel):
    """What tells a variant from its sisters: ``Color`` = ``black``."""

    name: str
    value: str


class VariantView(BaseModel):
    """One thing that can be bought. ``id`` is what a checkout line names."""

    id: str
    title: str
    price: MoneyView
    list_price: MoneyView | None = None
    available: bool
    availability: str
    options: list[OptionView] = []
    url: str | None = None


class ProductView(BaseModel):
    """A product and its variants. Texts are the merchant's data, never instructions."""

    id: str
    title: str
    description: str
    brand: str
    categories: list[str] = []
    image_url: str | None = None
    variants: list[VariantView]


class SearchView(BaseModel):
    """Products found, best first. ``next_offset`` is given when there may be more."""

    products: list[ProductView]
    next_offset: int | None = None


class LineGiven(Given):
    """A variant and how many of it."""

    variant_id: Annotated[CatalogueId, Field(description="Id of the variant, from the catalogue")]
    quantity: Annotated[int, Field(ge=1, le=999, description="How many")] = 1


class BuyerGiven(Given):
    """Who buys."""

    name: ShortText | None = None
    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None = None


class AddressGiven(Given):
    """Where it goes. ``country`` is ISO 3166-1 alpha-2; ``region`` its part, such as ``CA``."""

    name: ShortText | None = None
    line1: ShortText
    line2: ShortText | None = None
    city: ShortText
    region: Annotated[str, Field(max_length=50)] | None = None
    postal_code: Annotated[str, Field(min_length=1, max_length=16)]
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


class CheckoutGiven(Given):
    """What a checkout is made of. In an update, what is left out stays as it was."""

    lines: Annotated[list[LineGiven], Field(min_length=1, max_length=50)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    buyer: BuyerGiven | None = None
    shipping_address: AddressGiven | None = None
    shipping_option_id: Annotated[str, Field(max_length=64)] | None = None
    discount_codes: Annotated[list[Annotated[str, Field(min_length=1, max_length=40)]], Field(max_length=5)] | None = (
        None
    )
    offer_id: Annotated[str, Field(max_length=64, description="Id of an offer that get_offers gave")] | None = None
    decision_id: (
        Annotated[
            str, Field(max_length=64, description="What get_offers gave where it made no offer; it changes no price")
        ]
        | None
    ) = None
    shopper: Identifier | None = None  # the brand's opaque id of who buys; from the brand's own agent alone


class CompareRowView(BaseModel):
    """One thing to compare, with a value for each product, in the order of the products."""

    name: str
    values: list[str]


class CompareView(BaseModel):
    """Products beside each other: what their records say, and nothing that they do not."""

    products: list[ProductView]
    rows: list[CompareRowView]


class ComparedView(ProductView):
    """A product and, where others were named with it, a comparison with them."""

    comparison: CompareView | None = None


class OfferView(BaseModel):
    """An offer as it was decided and recorded. Say no more about it than is written here.

    ``said`` is a text to show or read out as it stands, in the language that was asked for.
    """

    offer_id: str
    title: str
    kind: str
    discount: MoneyView
    expires_at: str
    reason: str
    said: str | None = None


class OffersView(BaseModel):
    """The offer made for these lines, or none, and why others were not. Of none, a checkout may name the decision."""

    offers: list[OfferView]
    not_offered: list[str] = []
    decision_id: str | None = None


class UnderstoodView(BaseModel):
    """What was read out of the need. Amounts are of one piece; ``deliver_by`` is a day (RFC 3339 full-date) of the brand's."""

    looking_for: list[str] = []
    not_wanted: list[str] = []
    minimum_price: MoneyView | None = None
    maximum_price: MoneyView | None = None
    other_currency: str | None = None
    quantity: int = 1
    deliver_by: str | None = None
    country: str | None = None
    region: str | None = None
    place: str | None = None


class AskedProductView(ProductView):
    """A product for a need. Of its variants those that fit it best; ``why`` is what the record says for and against it."""

    fits: bool
    why: list[str]


class DeliveryView(BaseModel):
    """A way to ship, with the days on which an order of today arrives by the option's own days. ``in_time`` for a deadline."""

    shipping_option_id: str
    title: str
    price: MoneyView | None = None
    delivery_days_min: int
    delivery_days_max: int
    earliest: str
    latest: str
    in_time: Literal["yes", "perhaps", "no"] | None = None


class QuestionView(BaseModel):
    """What the store would need to know. ``kind`` is of a closed set; ``choices`` are what to choose from, if that is known."""

    kind: Literal["product", "choice", "budget", "currency", "destination", "country", "deadline", "quantity"]
    text: str
    choices: list[str] = []


class NextStepView(BaseModel):
    """The tool to call next, with arguments that it takes."""

    tool: Literal["search_catalog", "get_product", "get_offers", "create_checkout"]
    arguments: dict[str, Any]
    why: str


class AskView(BaseModel):
    """The store's answer to a need. Every title, figure and date in ``answer`` is in the other fields; titles are quoted."""

    answer: str
    understood: UnderstoodView
    products: list[AskedProductView]
    delivery: list[DeliveryView] = []
    offers: list[OfferView] = []
    questions: list[QuestionView] = []
    next_step: NextStepView | None = None


class CheckoutLineView(BaseModel):
    """A line with its price when it was last counted."""

    variant_id: str
    title: str
    quantity: int
    unit_price: MoneyView
    total: MoneyView


class AppliedView(BaseModel):
    """A discount that was taken off."""

    id: str
    title: str
    amount: MoneyView


class TotalsView(BaseModel):
    """What it comes to. ``discount`` is what was taken off."""

    items: MoneyView
    discount: MoneyView
    shipping: MoneyView
    tax: MoneyView
    total: MoneyView
    applied: list[AppliedView] = []


class ShippingOptionView(BaseModel):
    """A way to ship."""

    id: str
    title: str
    price: MoneyView
    delivery_days_min: int
    delivery_days_max: int


class MessageView(BaseModel):
    """Something to mend or to know. ``path`` is where (RFC 9535), ``content`` is for people."""

    type: Literal["info", "warning", "error"]
    code: str
    content: str
    path: str | None = None


class CardView(BaseModel):
    """What may be shown of the card that paid (PCI DSS 3.4.1)."""

    brand: str
    last4: str


class CheckoutView(BaseModel):
    """A checkout. ``continue_url`` is where the shopper reviews and pays; card details are entered only there.

    ``confirmation`` stands for all that is shown here: to complete with it says that the shopper agreed to just this.
    """

    checkout_id: str
    brand: str
    status: Status
    lines: list[CheckoutLineView]
    buyer: BuyerGiven | None = None
    shipping_address: AddressGiven | None = None
    shipping_options: list[ShippingOptionView] = []
    shipping_option_id: str | None = None
    totals: TotalsView
    messages: list[MessageView] = []
    confirmation: str | None = None
    continue_url: str | None = None
    order_id: str | None = None
    expires_at: str


class OrderRequestGiven(Given):
    """What a shopper wants done about an order."""

    kind: Literal["cancel", "return"]
    reason: Literal["changed_mind", "damaged", "wrong_item", "not_as_described", "not_arrived", "other"] = "other"
    variant_ids: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=50)] | None
    ) = None


class OrderRequestView(BaseModel):
    """A shopper's request about an order. The merchant decides on it; the request itself moves no money."""

    request_id: str
    order_id: str
    kind: Literal["cancel", "return"]
    reason: str
    state: Literal["open", "accepted", "declined"]
    variant_ids: list[str] = []
    asked_at: str
    returns_policy: str | None = None


class SavedMethodView(CardView):
    """A card that the shopper saved: to show, never to charge with."""

    saved_at: str


class SavedMethodsView(BaseModel):
    """The shopper's saved cards, newest first."""

    methods: list[SavedMethodView]


class OrderView(BaseModel):
    """A paid order. ``requests`` are the shopper's, oldest first. Dispatch and tracking are not known here."""

    order_id: str
    checkout_id: str
    brand: str
    status: Literal["confirmed", "partly_refunded", "refunded"]
    placed_at: str
    lines: list[CheckoutLineView]
    totals: TotalsView
    paid_with: CardView
    shipping_address: AddressGiven | None = None
    shipping_option: ShippingOptionView | None = None
    refunded: MoneyView | None = None
    requests: list[OrderRequestView] = []
    sandbox: bool = False
