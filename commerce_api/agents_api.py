"""The agents' API: REST for a brand's own chat and voice agents, by the brand's agent key. The same desk as the MCP tools."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import Field

from commerce_api.brands import is_agent_key
from commerce_api.catalogue.search import Search
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.rates import Rates
from commerce_api.runtime import Commerce
from commerce_api.schemas import (
    CatalogueId,
    CheckoutGiven,
    CheckoutView,
    CompareView,
    Given,
    LineGiven,
    OffersView,
    OrderRequestGiven,
    OrderRequestView,
    OrderView,
    ProductView,
    SavedMethodsView,
    SearchView,
)
from tokenization.edge import Scope, bearer_of, header
from tokenization.wire import Identifier

PREFIX = "/agents/v1/"
router = APIRouter(prefix=PREFIX + "{brand}", tags=["agents"])


class OffersGiven(Given):
    """The lines to find an offer for. ``region`` is where it would go, ``shopper`` whom you speak for. What is ``deferred``
    counts as shown when you say so. With a ``locale`` (BCP 47) the offer comes with a text in that language.
    """

    lines: Annotated[list[LineGiven], Field(min_length=1, max_length=50)]
    region: Annotated[str, Field(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")] | None = None
    shopper: Identifier | None = None
    deferred: bool = False
    locale: Annotated[str, Field(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$")] | None = None


class RefusedGiven(Given):
    """How an offer was refused: waved away, or declined in words."""

    how: Literal["dismissed", "declined"]


class CompareGiven(Given):
    """The products to compare."""

    product_ids: Annotated[list[CatalogueId], Field(min_length=2, max_length=5)]


def commerce_of(request: Request) -> Commerce:
    """The running commerce side."""
    commerce: Commerce = request.app.state.commerce
    return commerce


CommerceIn = Annotated[Commerce, Depends(commerce_of)]


def presented(scope: Scope) -> str | None:
    """What a request presents to agent_of(), at its brand. Empty for what is never right, None for nothing (rates.py)."""
    said = header(scope, b"authorization")
    if said is None:
        return None
    key, brand = bearer_of(said), brand_of(scope["path"])
    return f"{brand}\0{key}" if key is not None and brand is not None else ""


def brand_of(path: str) -> str | None:
    """The brand whose agent a path is for, or None where it is no path of an agent."""
    return path.removeprefix(PREFIX).partition("/")[0] or None if path.startswith(PREFIX) else None


async def agent_of(
    request: Request, brand: str, commerce: CommerceIn, authorization: Annotated[str, Header(max_length=300)] = ""
) -> Caller:
    """The brand's agent, by its key. Raises UNAUTHENTICATED, also for a brand that does not exist."""
    rates: Rates = request.app.state.rates
    is_right = await _is_key(commerce, brand, bearer_of(authorization.strip(" \t")))
    rates.found(request.scope, right=is_right)
    if not is_right:
        raise CommerceRefusal(CommerceError.UNAUTHENTICATED)
    return Caller(f"agent:{brand}", "agents_api")


async def _is_key(commerce: Commerce, brand: str, key: str | None) -> bool:
    try:
        known = await commerce.desk.brand(brand)
    except CommerceRefusal:
        return False
    return key is not None and is_agent_key(known, commerce.agent_secret, key)


AgentIn = Annotated[Caller, Depends(agent_of)]
KeyIn = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@router.get("/products")
async def search_products(
    brand: str,
    commerce: CommerceIn,
    _: AgentIn,
    query: Annotated[str, Query(max_length=300)] = "",
    minimum_minor: Annotated[int, Query(ge=0)] = 0,
    maximum_minor: Annotated[int, Query(ge=0, le=2**53)] = 2**53,
    available_only: bool = False,
    limit: Annotated[int, Query(ge=1, le=20)] = 10,
    offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
) -> SearchView:
    """Searches the catalogue. Prices are minor units of the brand's currency."""
    search = Search(query, minimum_minor, maximum_minor, available_only, limit, offset)
    return await commerce.desk.search_catalog(brand, search)


@router.get("/products/{product}")
async def get_product(brand: str, product: CatalogueId, commerce: CommerceIn, _: AgentIn) -> ProductView:
    """A product with its variants, by its own id or a variant's."""
    return await commerce.desk.get_product(brand, product)


@router.post("/products/compare")
async def compare_products(brand: str, asked: CompareGiven, commerce: CommerceIn, _: AgentIn) -> CompareView:
    """Products beside each other, by what their records say."""
    return await commerce.desk.compare_products(brand, list(dict.fromkeys(asked.product_ids)))


@router.post("/offers")
async def post_offers(brand: str, asked: OffersGiven, commerce: CommerceIn, agent: AgentIn) -> OffersView:
    """The offer for these lines. It holds only by its id, and only as it is written."""
    return await commerce.desk.get_offers(
        brand,
        agent,
        asked.lines,
        region=asked.region,
        shopper=asked.shopper,
        shown=not asked.deferred,
        locale=asked.locale,
    )


@router.post("/offers/{offer}/shown", status_code=204)
async def post_offer_shown(brand: str, offer: str, commerce: CommerceIn, agent: AgentIn) -> None:
    """An offer that was asked for as deferred was shown to the shopper. May be said again."""
    await commerce.desk.offer_shown(brand, agent, offer)


@router.post("/offers/{offer}/refused", status_code=204)
async def post_offer_refused(brand: str, offer: str, given: RefusedGiven, commerce: CommerceIn, agent: AgentIn) -> None:
    """The shopper did not want the offer. May be said again; the first counts."""
    await commerce.desk.offer_refused(brand, agent, offer, given.how)


@router.post("/checkouts", status_code=201)
async def post_checkout(
    brand: str, given: CheckoutGiven, commerce: CommerceIn, agent: AgentIn, key: KeyIn = None
) -> CheckoutView:
    """Makes a checkout. Send an Idempotency-Key: the same call again then gives the same checkout."""
    return await commerce.desk.create_checkout(brand, agent, given, key)


@router.get("/checkouts/{checkout}")
async def get_checkout(brand: str, checkout: str, commerce: CommerceIn, agent: AgentIn) -> CheckoutView:
    """Where the checkout stands."""
    return await commerce.desk.get_checkout(brand, agent, checkout)


@router.patch("/checkouts/{checkout}")
async def patch_checkout(
    brand: str, checkout: str, given: CheckoutGiven, commerce: CommerceIn, agent: AgentIn, key: KeyIn = None
) -> CheckoutView:
    """Changes what is given and leaves the rest."""
    return await commerce.desk.update_checkout(brand, agent, checkout, given, key)


@router.post("/checkouts/{checkout}/complete")
async def complete_checkout(brand: str, checkout: str, commerce: CommerceIn, agent: AgentIn) -> CheckoutView:
    """Hands the checkout to the shopper to pay at ``continue_url``, or says how the payment went."""
    return await commerce.desk.complete_checkout(brand, agent, checkout)


@router.post("/checkouts/{checkout}/cancel")
async def cancel_checkout(brand: str, checkout: str, commerce: CommerceIn, agent: AgentIn) -> CheckoutView:
    """Ends a checkout that is not being paid."""
    return await commerce.desk.cancel_checkout(brand, agent, checkout)


@router.get("/orders/{order}")
async def get_order(brand: str, order: str, commerce: CommerceIn, agent: AgentIn) -> OrderView:
    """A paid order."""
    return await commerce.desk.get_order(brand, agent, order)


@router.post("/orders/{order}/requests", status_code=201)
async def post_order_request(
    brand: str, order: str, given: OrderRequestGiven, commerce: CommerceIn, agent: AgentIn
) -> OrderRequestView:
    """Asks the merchant to cancel an order or to take something back. Asking again gives the request that is open."""
    return await commerce.desk.request_about_order(brand, agent, order, given)


@router.get("/shoppers/{shopper}/payment-methods")
async def get_saved_methods(brand: str, shopper: Identifier, commerce: CommerceIn, agent: AgentIn) -> SavedMethodsView:
    """The shopper's saved cards, to show: brand and last four digits."""
    return await commerce.desk.saved_methods(brand, agent, shopper)
