"""What a view opens ChatGPT's payment sheet with.

The shopper pays in the sheet with a card that the platform gives to the shop's vault, and the platform calls
``complete_checkout`` with the token (completing.py). A session has the fields of ACP 2026-04-17 (checkout session), and
``payment_provider`` and ``payment_mode`` beside them, which OpenAI's page asks for (Apps SDK, monetization).

What holds for a session that a view is given:
 1. Who asks is a shopper who signed in and may pay with a token (scope ``payments:execute``): nobody else could finish it.
 2. The checkout can be paid as it is, and its total is within what assistants may pay.
 3. Each amount is one that the checkout shows, in the same currency. They add up to its total, or there is no session.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel

from commerce_api.agent_desk import AgentDesk
from commerce_api.policy import Policy
from commerce_api.policy_assistants import ChatGptSheet
from commerce_api.schemas import CheckoutLineView, CheckoutView, TotalsView
from mcp_server.bearer import Access, access_of
from mcp_server.profiles import Profile
from mcp_server.results import answer
from mcp_server.scopes import need_of

SESSION: Final = "cordon/payment_sheet"  # in a result's _meta, which is the view's and not the model's

ToldCheckout = Callable[["Context[Any, Any]", CheckoutView], Awaitable[CallToolResult]]


class SheetProvider(BaseModel):
    """Who makes the token."""

    provider: str
    merchant_id: str
    supported_payment_methods: list[str]


class SheetTotal(BaseModel):
    """A sum in minor units of the session's currency. What is taken off is a positive amount under its own type."""

    type: Literal["items_base_amount", "discount", "fulfillment", "tax", "total"]
    display_text: str
    amount: int


class SheetItem(BaseModel):
    """What is bought."""

    id: str
    name: str
    unit_amount: int


class SheetLine(BaseModel):
    """A line."""

    id: str
    item: SheetItem
    quantity: int
    totals: list[SheetTotal]


class SheetLink(BaseModel):
    """What the shopper may want to read before paying."""

    type: Literal["terms_of_use", "privacy_policy", "support"]
    url: str


class SheetSession(BaseModel):
    """What a view opens the sheet with."""

    id: str
    payment_provider: SheetProvider
    status: Literal["ready_for_payment"] = "ready_for_payment"
    currency: str
    line_items: list[SheetLine]
    totals: list[SheetTotal]
    links: list[SheetLink]
    payment_mode: Literal["test", "live"]


def told_checkout(desk: AgentDesk, brand: str, profile: Profile) -> ToldCheckout:
    """How a checkout is told at an endpoint: where the sheet is, with what opens it."""

    async def plain(ctx: "Context[Any, Any]", checkout: CheckoutView) -> CallToolResult:
        return answer(checkout)

    async def with_session(ctx: "Context[Any, Any]", checkout: CheckoutView) -> CallToolResult:
        result = answer(checkout)
        if may_pay(access_of(ctx.request_context.request)):  # (1)
            session = sheet_session(checkout, (await desk.brand(brand)).policy)
            result.meta = {SESSION: session.model_dump(mode="json")} if session is not None else None
        return result

    return with_session if profile.has_sheet else plain


def may_pay(access: Access) -> bool:
    """(1) The brand's own agent is no shopper."""
    paying = need_of("complete_checkout", ("payment_data",))
    return access.shopper is not None and access.may_call(paying, guest_checkout=False)


def sheet_session(checkout: CheckoutView, policy: Policy) -> SheetSession | None:
    """What opens the sheet for a checkout, or None where it is not to be opened."""
    allowed = policy.assistant_payments
    sheet = allowed.chatgpt_sheet if allowed is not None else None
    total = checkout.totals.total
    if allowed is None or sheet is None or checkout.status != "ready_for_complete":  # (2)
        return None
    totals = _totals(checkout.totals)
    if total.amount_minor > allowed.maximum_minor or not totals:  # (2) (3)
        return None
    return SheetSession(
        id=checkout.checkout_id,
        payment_provider=_provider(sheet),
        currency=total.currency,
        line_items=[_line(line) for line in checkout.lines],
        totals=totals,
        links=_links(policy),
        payment_mode=sheet.mode,
    )


def _provider(sheet: ChatGptSheet) -> SheetProvider:
    return SheetProvider(
        provider=sheet.provider, merchant_id=sheet.merchant_id, supported_payment_methods=list(sheet.methods)
    )


def _line(line: CheckoutLineView) -> SheetLine:
    return SheetLine(
        id=line.variant_id,
        item=SheetItem(id=line.variant_id, name=line.title, unit_amount=line.unit_price.amount_minor),
        quantity=line.quantity,
        totals=[SheetTotal(type="total", display_text="Total", amount=line.total.amount_minor)],
    )


def _totals(totals: TotalsView) -> list[SheetTotal]:
    """The parts of the total and the total; empty where they do not add up (3). What is nothing is left out."""
    money = (totals.items, totals.discount, totals.shipping, totals.tax, totals.total)
    items, discount, shipping, tax, total = (amount.amount_minor for amount in money)
    if len({amount.currency for amount in money}) > 1:
        return []
    if items - discount + shipping == total:
        tax = 0  # the prices hold it
    if items - discount + shipping + tax != total:
        return []
    parts = [
        SheetTotal(type="items_base_amount", display_text="Items", amount=items),
        SheetTotal(type="discount", display_text="Discount", amount=discount),
        SheetTotal(type="fulfillment", display_text="Shipping", amount=shipping),
        SheetTotal(type="tax", display_text="Tax", amount=tax),
    ]
    return [*(part for part in parts if part.amount), SheetTotal(type="total", display_text="Total", amount=total)]


def _links(policy: Policy) -> list[SheetLink]:
    found: list[SheetLink] = []
    if policy.terms_url:
        found.append(SheetLink(type="terms_of_use", url=policy.terms_url))
    if policy.privacy_url:
        found.append(SheetLink(type="privacy_policy", url=policy.privacy_url))
    if policy.support_url:
        found.append(SheetLink(type="support", url=policy.support_url))
    return found
