"""The assistant: a program of its own that speaks to the brand only over MCP, with the official client.

It follows a script instead of a model, and prints one JSON object a line for each thing it does. Run by the demonstration:

    python -m examples.demo.assistant MCP_URL
"""

import asyncio
import json
import sys
from typing import Any

from mcp import Client

WANT = "a kettle that pours slowly, and something to drink from"
PASTED_CARD = "4000 0566 5566 5556"  # a published test number; not the one the shopper will use
WAIT_SECONDS = 90
ONE_CALL_SECONDS = 20
ADDRESS = {
    "name": "Robin Field",
    "line1": "12 Quay Street",
    "city": "Portland",
    "region": "OR",
    "postal_code": "97209",
    "country": "US",
}


class ToolFailed(Exception):
    """A tool answered with an error that the script did not expect."""


def tell(step: str, **facts: object) -> None:
    """Prints what happened, for the demonstration's timeline."""
    sys.stdout.write(json.dumps({"step": step, **facts}) + "\n")
    sys.stdout.flush()


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """A tool's structured answer. Raises ToolFailed."""
    answer = await client.call_tool(tool, dict(arguments))
    content: dict[str, Any] = answer.structured_content or {}
    if answer.is_error:
        raise ToolFailed(f"{tool}: {json.dumps(content)}")
    return content


async def shop(mcp_url: str) -> None:
    """Connects, and buys."""
    async with Client(mcp_url) as client:
        try:
            await buy(client)
        except (ToolFailed, TimeoutError) as failure:
            tell("failed", reason=str(failure) or type(failure).__name__)


async def buy(client: Client) -> None:
    """Finds, asks for an offer, fills a checkout, hands over, waits for the order. Raises ToolFailed, TimeoutError."""
    tools = await client.list_tools()
    tell("connected", tools=[tool.name for tool in tools.tools], want=WANT)
    found = await call(client, "search_catalog", query="kettle slow pour", available_only=True)
    kettle = found["products"][0]["variants"][0]
    tell("found", query="kettle slow pour", title=kettle["title"], price=kettle["price"]["text"])
    cups = await call(client, "search_catalog", query="mug", available_only=True)
    mug = cups["products"][0]["variants"][0]
    tell("found", query="mug", title=mug["title"], price=mug["price"]["text"])
    lines = [{"variant_id": kettle["id"], "quantity": 1}, {"variant_id": mug["id"], "quantity": 2}]
    offers = await call(client, "get_offers", lines=lines)
    offer = offers["offers"][0]
    tell("offered", title=offer["title"], discount=offer["discount"]["text"])
    checkout = await call(
        client, "create_checkout", lines=lines, offer_id=offer["offer_id"], idempotency_key="demo-checkout"
    )
    tell("checkout", total=checkout["totals"]["total"]["text"], missing=[m["code"] for m in checkout["messages"]])
    identifier = checkout["checkout_id"]
    await refused_card(client, identifier)
    checkout = await call(
        client,
        "update_checkout",
        checkout_id=identifier,
        buyer={"name": "Robin Field", "email": "robin@shopper.example"},
        shipping_address=ADDRESS,
        shipping_option_id="standard",
    )
    totals = {name: checkout["totals"][name]["text"] for name in ("items", "discount", "shipping", "tax", "total")}
    tell("ready", status=checkout["status"], **totals)
    handed = await call(client, "complete_checkout", checkout_id=identifier)
    tell("handed_off", status=handed["status"], continue_url=handed["continue_url"])
    order = await wait_for_order(client, identifier)
    tell("ordered", order=order)


async def refused_card(client: Client, identifier: str) -> None:
    """The shopper pastes a card into the chat, and a careless assistant passes it on."""
    answer = await client.call_tool(
        "update_checkout", {"checkout_id": identifier, "buyer": {"name": f"my card is {PASTED_CARD}"}}
    )
    content = answer.structured_content or {}
    tell("card_pasted", refused=answer.is_error, code=content.get("error", {}).get("code"))


async def wait_for_order(client: Client, identifier: str) -> dict[str, Any]:
    """Waits in the tool until the shopper has paid, as long as one call may, and again. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            checkout = await call(client, "get_checkout", checkout_id=identifier, wait_seconds=ONE_CALL_SECONDS)
            if checkout["status"] == "completed":
                return await call(client, "get_order", order_id=checkout["order_id"])


if __name__ == "__main__":
    asyncio.run(shop(sys.argv[1]))
