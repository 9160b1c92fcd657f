"""The payment hand-off ladder: the best way to the shopper that the host declares, ending in a plain link that always works.

 a. Protocol 2026-07-28 with ``elicitation.url``: an input request in URL mode; the client retries and learns the outcome.
 b. Protocol 2025-11-25 with ``elicitation.url``: JSON-RPC error -32042 with the same address.
 c. Anything else: the checkout with ``continue_url`` in structured content and in the text.

Card details are never part of any rung: the address leads to the merchant's page, and from there to the card page.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp_types import ElicitRequest, ElicitRequestURLParams, ElicitResult, InputRequiredResult

from commerce_api.rates import Limits
from commerce_api.schemas import CheckoutView
from mcp_server import sessions
from mcp_server.waiting import MAXIMUM_SECONDS, client_that_waits, until_changed

MODERN = "2026-07-28"
PAY = "pay"


async def hand_off(
    ctx: "Context[Any, Any]", checkout: CheckoutView, look: Callable[[], Awaitable[CheckoutView]], limits: Limits
) -> CheckoutView | InputRequiredResult:
    """The checkout as a result, or a request to open its address where the host can do that.

    Raises UrlElicitationRequiredError on rung b. A call that already carries the shopper's answer is not asked in a circle:
    where the shopper went to the page, ``look`` says for a while whether they have paid, and the host hears how it goes.
    """
    waits_for_shopper = checkout.status == "requires_escalation" and checkout.continue_url is not None
    if not waits_for_shopper or not _opens_addresses(ctx):
        return checkout
    if ctx.input_responses:
        if not _went(ctx):
            return checkout
        client = client_that_waits(ctx.request_context.request, limits)
        return await until_changed(look, MAXIMUM_SECONDS, ctx.report_progress, client)
    asked = ElicitRequestURLParams(
        message=f"Review your order ({checkout.totals.total.text}) and pay on the merchant's secure page.",
        url=checkout.continue_url or "",
    )
    if (ctx.protocol_version or "") >= MODERN:
        return InputRequiredResult(
            input_requests={PAY: ElicitRequest(params=asked)}, request_state=checkout.checkout_id
        )
    raise UrlElicitationRequiredError([asked.model_copy(update={"elicitation_id": checkout.checkout_id})])


def _went(ctx: "Context[Any, Any]") -> bool:
    """Whether the shopper agreed to open the address. That says nothing of a payment (MCP, elicitation, URL mode)."""
    said = (ctx.input_responses or {}).get(PAY)
    return isinstance(said, ElicitResult) and said.action == "accept"


def _opens_addresses(ctx: "Context[Any, Any]") -> bool:
    declared = ctx.client_capabilities
    if declared is None:  # the handshake was another request, perhaps to another process
        return sessions.opens_addresses((ctx.headers or {}).get(sessions.HEADER))
    return declared.elicitation is not None and declared.elicitation.url is not None
