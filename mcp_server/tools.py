"""The tools of a brand's server: names as in UCP where it has one, typed in and out, each one call to the agent desk.

No tool has a field for a card, and none ever will: payment leaves by an address (see handoff.py).
"""

import hashlib
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field

from commerce_api.brands import Brand
from commerce_api.catalogue.search import Search
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.rates import Limits
from commerce_api.runtime import Commerce
from commerce_api.schemas import (
    AddressGiven,
    AskView,
    BuyerGiven,
    CheckoutGiven,
    CheckoutView,
    ComparedView,
    LineGiven,
    OffersView,
    OrderRequestGiven,
    OrderRequestView,
    OrderView,
    SavedMethodsView,
    SearchView,
)
from mcp_server import sessions, waiting
from mcp_server.bearer import access_of, caller_from
from mcp_server.completing import CheckoutId, add_complete_checkout
from mcp_server.profiles import Profile
from mcp_server.results import answer
from mcp_server.sheet_session import ToldCheckout, told_checkout
from tokenization.wire import Identifier

READ = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
WRITE = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
OFFER = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
END = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

OrderId = Annotated[str, Field(max_length=64, description="order_id of a completed checkout")]
Key = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=255,
        description="A UUID of yours; a call repeated with it is done once. A shorter word counts within a session",
    ),
]
Lines = Annotated[
    list[LineGiven], Field(min_length=1, max_length=50, description="What to buy: variant ids and quantities")
]
Codes = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(max_length=5, description="Discount codes to apply; they replace the earlier ones, [] takes them off"),
]
ShippingId = Annotated[str, Field(max_length=64, description="One of the checkout's shipping_options")]
OfferId = Annotated[str, Field(max_length=64, description="offer_id from get_offers, to take that offer")]
DecisionId = Annotated[str, Field(max_length=64, description="decision_id from get_offers, where it had no offer")]
Shopper = Annotated[
    Identifier, Field(description="Your own id of who buys. Only the brand's own agent, by its key, may say it")
]
ProductIds = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(max_length=4, description="Ids of products to compare it with; the answer then has a comparison"),
]
VariantIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(min_length=1, max_length=50, description="What of the order it is about; leave out for all of it"),
]
WaitSeconds = Annotated[
    int,
    Field(
        ge=0,
        le=waiting.MAXIMUM_SECONDS,
        description="Wait so long for the shopper to pay, instead of asking again and again. Progress is told meanwhile",
    ),
]
UNGUESSABLE = 32  # characters: a UUID's, without its dashes
Reason = Literal["changed_mind", "damaged", "wrong_item", "not_as_described", "not_arrived", "other"]


def add_tools(
    server: MCPServer[Any], commerce: Commerce, brand: Brand, profile: Profile, limits: Limits | None = None
) -> None:
    """Gives the server its tools for one brand, as a profile has them. ``limits`` bound how many calls of a client wait."""
    limits = limits or Limits()
    told = told_checkout(commerce.desk, brand.id, profile)
    _add_reading_tools(server, commerce, brand.id)
    _add_checkout_tools(server, commerce, brand.id, told)
    _add_closing_tools(server, commerce, brand.id, told, limits)
    add_complete_checkout(server, commerce, brand.id, profile, WRITE, limits)
    _add_order_tools(server, commerce, brand.id)


def caller_of(ctx: "Context[Any, Any]") -> Caller:
    """Who calls, as the door found it."""
    return caller_from(ctx.request_context.request)


def signed_in(ctx: "Context[Any, Any]") -> str | None:
    """The shopper who is signed in: buys for themselves, without being named."""
    return access_of(ctx.request_context.request).shopper


def own_key(ctx: "Context[Any, Any]", caller: Caller, key: str | None) -> str | None:
    """The idempotency key as the caller's own. All anonymous callers are one principal, and their keys are simple words.

    Two of them that choose the same word for the same cart must not be given one checkout, in which each would read the
    other's address. So an anonymous key counts only with where it comes from; a retry from elsewhere makes another draft. Many
    come from one address, an assistant's or a proxy's: without a session or conversation to tell them apart, only a key that
    nobody guesses counts.
    """
    if key is None or caller.principal != ANONYMOUS:
        return key
    request = ctx.request_context.request
    headers = getattr(request, "headers", None) or {}
    if len(key) < UNGUESSABLE and not (headers.get(sessions.HEADER) or headers.get("conversation-id")):
        return None
    client = getattr(request, "client", None)
    said = [headers.get(name, "") for name in ("user-agent", sessions.HEADER, "conversation-id")]
    return hashlib.sha256("\0".join([client.host if client else "", *said, key]).encode()).hexdigest()


def _add_reading_tools(server: MCPServer[Any], commerce: Commerce, brand: str) -> None:
    desk = commerce.desk

    @server.tool(title="Search products", annotations=READ)
    async def search_catalog(
        query: Annotated[str, Field(max_length=300, description="Words to look for; empty browses everything")] = "",
        minimum_price_minor: Annotated[int, Field(ge=0, description="Lowest price, in minor units (cents)")] = 0,
        maximum_price_minor: Annotated[int, Field(ge=0, le=2**53, description="Highest price, in minor units")] = 2**53,
        available_only: Annotated[bool, Field(description="Leave out what cannot be bought now")] = False,
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
        offset: Annotated[int, Field(ge=0, le=10_000, description="next_offset of the answer before")] = 0,
    ) -> Annotated[CallToolResult, SearchView]:
        """Finds products with live prices and stock. Use the variant ids of the answer in a checkout."""
        search = Search(query, minimum_price_minor, maximum_price_minor, available_only, limit, offset)
        return answer(await desk.search_catalog(brand, search))

    @server.tool(title="Get a product", annotations=READ)
    async def get_product(
        product_id: Annotated[str, Field(max_length=200, description="Id of a product or of one of its variants")],
        compare_with: ProductIds | None = None,
    ) -> Annotated[CallToolResult, ComparedView]:
        """A product with all its variants, prices and availability; with compare_with also a comparison of what the records
        say. Claim no other difference."""
        return answer(await desk.get_compared(brand, product_id, compare_with or []))

    @server.tool(title="Ask the store", annotations=OFFER)
    async def ask_brand(
        ctx: Context[Any, Any],
        need: Annotated[
            str,
            Field(
                min_length=1,
                max_length=1_000,
                description="The whole need in plain English: what, budget, how many, by when, which country, what not",
            ),
        ],
        variant_id: Annotated[
            str | None, Field(max_length=200, description="What the shopper chose from an earlier answer")
        ] = None,
    ) -> Annotated[CallToolResult, AskView]:
        """Answers a need from the record: what was understood, what fits and why, delivery, offers, questions, the next step.
        Nothing is kept between calls. Claim nothing that the answer does not say."""
        return answer(await desk.ask(brand, caller_of(ctx), need, variant_id))

    @server.tool(title="Get offers", annotations=OFFER)
    async def get_offers(ctx: Context[Any, Any], lines: Lines) -> Annotated[CallToolResult, OffersView]:
        """The offer for these products, if there is one. Promise no discount that is not in the answer; take it by offer_id.
        Where there is none, name its decision_id in the checkout."""
        return answer(await desk.get_offers(brand, caller_of(ctx), lines))


def _add_checkout_tools(server: MCPServer[Any], commerce: Commerce, brand: str, told: ToldCheckout) -> None:
    desk = commerce.desk

    @server.tool(title="Start a checkout", annotations=WRITE)
    async def create_checkout(
        ctx: Context[Any, Any],
        lines: Lines,
        buyer: BuyerGiven | None = None,
        shipping_address: AddressGiven | None = None,
        shipping_option_id: ShippingId | None = None,
        discount_codes: Codes | None = None,
        offer_id: OfferId | None = None,
        decision_id: DecisionId | None = None,
        shopper: Shopper | None = None,
        idempotency_key: Key = None,
    ) -> Annotated[CallToolResult, CheckoutView]:
        """Starts a checkout and counts its total. Its messages say what is still missing."""
        buys = shopper or signed_in(ctx)
        offered = (offer_id, decision_id)
        given = _given(lines, buyer, shipping_address, shipping_option_id, discount_codes, offered, buys)
        caller = caller_of(ctx)
        made = await desk.create_checkout(brand, caller, given, own_key(ctx, caller, idempotency_key))
        return await told(ctx, made)

    @server.tool(title="Change a checkout", annotations=WRITE)
    async def update_checkout(
        ctx: Context[Any, Any],
        checkout_id: CheckoutId,
        lines: Lines | None = None,
        buyer: BuyerGiven | None = None,
        shipping_address: AddressGiven | None = None,
        shipping_option_id: ShippingId | None = None,
        discount_codes: Codes | None = None,
        offer_id: OfferId | None = None,
        decision_id: DecisionId | None = None,
        idempotency_key: Key = None,
    ) -> Annotated[CallToolResult, CheckoutView]:
        """Changes what you give and leaves the rest: goods, buyer, address, shipping, discount codes, an offer."""
        offered = (offer_id, decision_id)
        given = _given(lines, buyer, shipping_address, shipping_option_id, discount_codes, offered)
        caller = caller_of(ctx)
        return await told(ctx, await desk.update_checkout(brand, caller, checkout_id, given, idempotency_key))


def _add_closing_tools(
    server: MCPServer[Any], commerce: Commerce, brand: str, told: ToldCheckout, limits: Limits
) -> None:
    desk = commerce.desk

    @server.tool(title="Look at a checkout", annotations=READ)
    async def get_checkout(
        ctx: Context[Any, Any], checkout_id: CheckoutId, wait_seconds: WaitSeconds = 0
    ) -> Annotated[CallToolResult, CheckoutView]:
        """Where a checkout stands, with its total and its order once it is paid."""
        caller = caller_of(ctx)
        found = await waiting.until_changed(
            lambda: desk.get_checkout(brand, caller, checkout_id),
            wait_seconds,
            ctx.report_progress,
            waiting.client_that_waits(ctx.request_context.request, limits),
        )
        return await told(ctx, found)

    @server.tool(title="Cancel a checkout", annotations=END)
    async def cancel_checkout(
        ctx: Context[Any, Any], checkout_id: CheckoutId
    ) -> Annotated[CallToolResult, CheckoutView]:
        """Ends a checkout that is not being paid, and frees what it held. A paid order: request_order_change."""
        return answer(await desk.cancel_checkout(brand, caller_of(ctx), checkout_id))


def _add_order_tools(server: MCPServer[Any], commerce: Commerce, brand: str) -> None:
    desk = commerce.desk

    @server.tool(title="Get an order", annotations=READ)
    async def get_order(ctx: Context[Any, Any], order_id: OrderId) -> Annotated[CallToolResult, OrderView]:
        """A paid order: what was bought, what it came to, where it goes, what was given back, what was asked for."""
        return answer(await desk.get_order(brand, caller_of(ctx), order_id))

    @server.tool(title="Ask to cancel or return", annotations=WRITE)
    async def request_order_change(
        ctx: Context[Any, Any],
        order_id: OrderId,
        kind: Annotated[Literal["cancel", "return"], Field(description="Cancel the order, or send goods back")],
        reason: Reason = "other",
        variant_ids: VariantIds | None = None,
    ) -> Annotated[CallToolResult, OrderRequestView]:
        """Asks the merchant to cancel a paid order or to take goods back. Confirm with the shopper first. The merchant
        decides, and no money moves by it; asking again gives the request that is open."""
        given = OrderRequestGiven(kind=kind, reason=reason, variant_ids=variant_ids)
        return answer(await desk.request_about_order(brand, caller_of(ctx), order_id, given))

    @server.tool(title="Saved payment methods", annotations=READ)
    async def get_saved_payment_methods(
        ctx: Context[Any, Any], shopper: Shopper | None = None
    ) -> Annotated[CallToolResult, SavedMethodsView]:
        """Brand and last four digits of the cards a shopper saved, to show. Leave the shopper out where one is signed in."""
        return answer(await desk.saved_methods(brand, caller_of(ctx), shopper or signed_in(ctx) or ""))


def _given(
    lines: list[LineGiven] | None,
    buyer: BuyerGiven | None,
    shipping_address: AddressGiven | None,
    shipping_option_id: str | None,
    discount_codes: list[str] | None,
    offered: tuple[str | None, str | None],
    shopper: str | None = None,
) -> CheckoutGiven:
    """What was given, and only that: a field left out stays as it was. ``offered``: the offer, or the decision without one."""
    offer_id, decision_id = offered
    fields = {
        "lines": lines,
        "buyer": buyer,
        "shipping_address": shipping_address,
        "shipping_option_id": shipping_option_id,
        "discount_codes": discount_codes,
        "offer_id": offer_id,
        "decision_id": decision_id,
        "shopper": shopper,
    }
    return CheckoutGiven.model_validate({name: value for name, value in fields.items() if value is not None})
