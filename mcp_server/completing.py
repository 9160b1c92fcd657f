"""``complete_checkout`` as each profile has it: how a checkout leaves the conversation to be paid.

The ladder that it climbs is in handoff.py; what must hold for a payment without the shopper on a page, in
commerce_api/assistant_payments.py. No form of it has a field for a card.
"""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import Field

from commerce_api.agent_desk import AgentDesk
from commerce_api.checkout.service import ANONYMOUS
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.rates import Limits
from commerce_api.runtime import Commerce
from commerce_api.schemas import BuyerGiven, CheckoutGiven, CheckoutView
from mcp_server.bearer import caller_from
from mcp_server.handoff import hand_off
from mcp_server.profiles import Profile
from mcp_server.results import answer
from mcp_server.sheet import PaymentToken, SheetPayment, SheetView, sheet_view

TITLE = "Hand over to payment"
CheckoutId = Annotated[
    str, Field(max_length=64, description="Id from create_checkout. It lasts as long as its expires_at.")
]
Confirmation = Annotated[
    str,
    Field(
        max_length=64,
        description="The checkout's confirmation, once the shopper agreed to what it shows; what has changed since is then "
        "refused, not handed over. Needed with a payment_token",
    ),
]


def add_complete_checkout(
    server: MCPServer[Any], commerce: Commerce, brand: str, profile: Profile, hints: ToolAnnotations, limits: Limits
) -> None:
    """Gives the server the form of it that the profile has."""
    if profile.has_sheet:
        _add_for_sheet(server, commerce.desk, brand, hints)
    elif profile.takes_tokens:
        _add_with_token(server, commerce.desk, brand, hints, limits)
    else:
        _add_by_address(server, commerce.desk, brand, hints, limits)


def _add_with_token(
    server: MCPServer[Any], desk: AgentDesk, brand: str, hints: ToolAnnotations, limits: Limits
) -> None:
    @server.tool(title=TITLE, annotations=hints)
    async def complete_checkout(
        ctx: Context[Any, Any],
        checkout_id: CheckoutId,
        confirmation: Confirmation | None = None,
        payment_token: PaymentToken | None = None,
    ) -> Annotated[CallToolResult, CheckoutView] | InputRequiredResult:
        """Hands the checkout to the shopper, who pays at continue_url, or says how the payment went. Safe to call again."""
        return await _completed(ctx, desk, brand, checkout_id, confirmation, payment_token, limits)


def _add_by_address(
    server: MCPServer[Any], desk: AgentDesk, brand: str, hints: ToolAnnotations, limits: Limits
) -> None:
    @server.tool(title=TITLE, annotations=hints)
    async def complete_checkout(
        ctx: Context[Any, Any], checkout_id: CheckoutId, confirmation: Confirmation | None = None
    ) -> Annotated[CallToolResult, CheckoutView] | InputRequiredResult:
        """Hands the checkout to the shopper, who pays at continue_url, or says how the payment went. Safe to call again."""
        return await _completed(ctx, desk, brand, checkout_id, confirmation, None, limits)


def _add_for_sheet(server: MCPServer[Any], desk: AgentDesk, brand: str, hints: ToolAnnotations) -> None:
    @server.tool(title=TITLE, annotations=hints)
    async def complete_checkout(
        ctx: Context[Any, Any],
        checkout_session_id: CheckoutId,
        payment_data: SheetPayment | None = None,
        buyer: BuyerGiven | None = None,
    ) -> Annotated[CallToolResult, SheetView] | InputRequiredResult:
        """Pays the checkout that the payment sheet showed with the token that it got, or hands it to the shopper to pay at
        continue_url. Safe to call again."""
        caller = caller_from(ctx.request_context.request)
        shown = await desk.get_checkout(brand, caller, checkout_session_id)
        if buyer is not None and shown.buyer is None:
            shown = await desk.update_checkout(brand, caller, shown.checkout_id, CheckoutGiven(buyer=buyer), None)
        # The sheet has no word for what it showed. Its token's ceiling, which the vault holds it to, is that total; goods and
        # address are what the shopper's own assistant made them, because nobody else may change a signed-in shopper's checkout.
        if payment_data is not None and caller.principal == ANONYMOUS:
            raise CommerceRefusal(CommerceError.PAYMENT_NOT_ALLOWED)
        paid = await desk.complete_checkout(
            brand,
            caller,
            shown.checkout_id,
            confirmation=shown.confirmation if payment_data else None,
            payment_token=payment_data.token if payment_data else None,
        )
        return answer(sheet_view(paid, desk.links))


async def _completed(
    ctx: "Context[Any, Any]",
    desk: AgentDesk,
    brand: str,
    checkout_id: str,
    confirmation: str | None,
    token: str | None,
    limits: Limits,
) -> CallToolResult | InputRequiredResult:
    caller = caller_from(ctx.request_context.request)
    checkout = await desk.complete_checkout(brand, caller, checkout_id, confirmation=confirmation, payment_token=token)
    handed = await hand_off(ctx, checkout, lambda: desk.get_checkout(brand, caller, checkout_id), limits)
    return answer(handed) if isinstance(handed, CheckoutView) else handed
