"""The official Python client as a program that buys; test_mcp_foreign_clients.py says what it tells."""

import asyncio
import json
import sys
import uuid
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def say(**told: Any) -> None:
    """A line for who started this program."""
    print(json.dumps(told), flush=True)  # noqa: T201  # it is what the program is for


async def buy(call: Any, wishes: dict[str, Any]) -> None:
    """From a search to an order."""
    found = await call("search_catalog", query=wishes["query"], limit=2)
    products = [await call("get_product", product_id=product["id"]) for product in found["products"]]
    chosen = min(products, key=lambda product: min(each["price"]["amount_minor"] for each in product["variants"]))
    line = {"variant_id": next(each["id"] for each in chosen["variants"] if each["available"]), "quantity": 1}
    offers = (await call("get_offers", lines=[line]))["offers"]
    taken = {"offer_id": offers[0]["offer_id"]} if offers else {}
    key = {"idempotency_key": str(uuid.uuid4())}
    made = await call("create_checkout", lines=[line], **taken, **key)
    again = await call("create_checkout", lines=[line], **taken, **key)
    own = {"checkout_id": made["checkout_id"]}
    ready = await call("update_checkout", **own, **wishes["delivery"])
    handed = await call("complete_checkout", **own)
    say(pay=handed["continue_url"])
    while (paid := await call("get_checkout", **own, wait_seconds=20))["status"] != "completed":
        pass
    order = await call("get_order", order_id=paid["order_id"])
    say(
        compared=[product["id"] for product in products],
        offers=len(offers),
        made=[made["checkout_id"], again["checkout_id"]],
        confirmed=ready["totals"]["total"],
        order=order,
    )


async def meet_refusals(session: Client, wishes: dict[str, Any]) -> None:
    """What each of these calls is answered with."""
    for tool, arguments in wishes["refused"]:
        answer = await session.call_tool(tool, arguments)
        content = answer.structured_content or {}
        say(tool=tool, refused=answer.is_error, code=content.get("error", {}).get("code"))


async def main(url: str, era: str, wishes: dict[str, Any]) -> None:
    """Connects and buys, in the era of the protocol that it was told."""
    mode = "legacy" if era == "2025-11-25" else era
    async with (
        httpx2.AsyncClient(headers={"connection": "close"}, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as session,
    ):
        say(protocol=session.protocol_version)

        async def call(tool: str, **arguments: Any) -> Any:
            answer = await session.call_tool(tool, arguments)
            if answer.is_error:
                raise AssertionError(f"{tool} was refused")
            return answer.structured_content

        await buy(call, wishes)
        await meet_refusals(session, wishes)


asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
