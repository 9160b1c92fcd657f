"""The payment hand-off ladder: the best way to the shopper that the host declares, ending in a plain link that always works.

 a. Protocol 2026-07-28 with ``elicitation.url``: an input request in URL mode; the client retries and learns the outcome.
 b. Protocol 2025-11-25 with ``elicitation.url``: JSON-RPC error -32042 with the same address.
 c. Anything else: the checkout with ``continue_url`` in structured content and in the text.

Card details are never part of any rung: the address leads to the merchant's page, and from there to the card page.
"""

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp_types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult

from commerce_api.schemas import CheckoutView
from mcp_server import sessions

MODERN = "2026-07-28"
PAY = "pay"


def hand_off(ctx: "Context[object, object]", checkout: CheckoutView) -> CheckoutView | InputRequiredResult:
    """The checkout as a result, or a request to open its address where the host can do that.

    Raises UrlElicitationRequiredError on rung b. A call that already carries the shopper's answer gets the plain result, so
    that a host which answers by itself is not asked in a circle.
    """
    waits_for_shopper = checkout.status == "requires_escalation" and checkout.continue_url is not None
    if not waits_for_shopper or not _opens_addresses(ctx) or ctx.input_responses:
        return checkout
    asked = ElicitRequestURLParams(
        message=f"Review your order ({checkout.totals.total.text}) and pay on the merchant's secure page.",
        url=checkout.continue_url or "",
    )
    if (ctx.protocol_version or "") >= MODERN:
        return InputRequiredResult(
            input_requests={PAY: ElicitRequest(params=asked)}, request_state=checkout.checkout_id
        )
    raise UrlElicitationRequiredError([asked.model_copy(update={"elicitation_id": checkout.checkout_id})])


def _opens_addresses(ctx: "Context[object, object]") -> bool:
    declared = ctx.client_capabilities
    if declared is None:  # the handshake was another request, perhaps to another process
        return sessions.opens_addresses((ctx.headers or {}).get(sessions.HEADER))
    return declared.elicitation is not None and declared.elicitation.url is not None
