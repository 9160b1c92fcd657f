"""An agent of Pydantic AI that buys, with a model that follows a script; test_mcp_foreign_clients.py says what it tells.

The framework finds the tools, holds arguments against their schemas, calls, and tells the model; this is the model alone. It
runs in an environment of its own (deploy/test-needs.sh).
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Generator
from typing import Any

import httpx2
from fastmcp.client import Client
from fastmcp.client.transports import StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

Turn = tuple[str, dict[str, Any]]
Told = tuple[bool, Any]


def say(**told: Any) -> None:
    """A line for who started this program."""
    print(json.dumps(told), flush=True)  # noqa: T201  # it is what the program is for


def script(wishes: dict[str, Any]) -> Generator[Turn, Told, None]:
    """What the model wants next, each time it is told how the last call ended."""

    def call(tool: str, **arguments: Any) -> Generator[Turn, Told, Any]:
        went_well, answer = yield tool, arguments
        if not went_well:
            raise AssertionError(f"{tool} was refused")
        return answer

    found = yield from call("search_catalog", query=wishes["query"], limit=2)
    products = []
    for product in found["products"]:
        products.append((yield from call("get_product", product_id=product["id"])))  # noqa: PERF401  # no comprehension can yield
    chosen = min(products, key=lambda product: min(each["price"]["amount_minor"] for each in product["variants"]))
    line = {"variant_id": next(each["id"] for each in chosen["variants"] if each["available"]), "quantity": 1}
    offers = (yield from call("get_offers", lines=[line]))["offers"]
    taken = {"offer_id": offers[0]["offer_id"]} if offers else {}
    key = {"idempotency_key": str(uuid.uuid4())}
    made = yield from call("create_checkout", lines=[line], **taken, **key)
    again = yield from call("create_checkout", lines=[line], **taken, **key)
    own = {"checkout_id": made["checkout_id"]}
    ready = yield from call("update_checkout", **own, **wishes["delivery"])
    handed = yield from call("complete_checkout", **own)
    say(pay=handed["continue_url"])
    while (paid := (yield from call("get_checkout", **own, wait_seconds=20)))["status"] != "completed":
        pass
    order = yield from call("get_order", order_id=paid["order_id"])
    say(
        compared=[product["id"] for product in products],
        offers=len(offers),
        made=[made["checkout_id"], again["checkout_id"]],
        confirmed=ready["totals"]["total"],
        order=order,
    )
    for tool, arguments in wishes["refused"]:
        went_well, answer = yield tool, arguments
        say(tool=tool, refused=not went_well, code=answer["error"]["code"])


class Scripted:
    """A model whose every answer is the script's next call."""

    def __init__(self, wishes: dict[str, Any]) -> None:
        self._script = script(wishes)
        self._begun = False

    def __call__(self, messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        """See pydantic_ai.models.function.FunctionDef."""
        try:
            tool, arguments = self._script.send(told(messages[-1])) if self._begun else next(self._script)
        except StopIteration:
            return ModelResponse(parts=[TextPart("It is bought.")])
        self._begun = True
        return ModelResponse(parts=[ToolCallPart(tool, arguments)])


def told(message: ModelMessage) -> Told:
    """How a call ended, as the framework tells a model: whether it went well, and the answer's data."""
    assert isinstance(message, ModelRequest)
    [part] = [part for part in message.parts if isinstance(part, ToolReturnPart)]
    content = part.content if isinstance(part.content, dict) else json.loads(str(part.content))
    return part.outcome == "success", content


async def main(url: str, era: str, wishes: dict[str, Any]) -> None:
    """Runs the agent once, in the era of the protocol that it was told."""

    def http(**given: Any) -> httpx2.AsyncClient:
        headers = {**(given.pop("headers", None) or {}), "connection": "close"}
        return httpx2.AsyncClient(**{**given, "headers": headers, "trust_env": False, "timeout": 60})

    transport = StreamableHttpTransport(url, httpx_client_factory=http)
    client = Client(transport, mode="legacy" if era == "2025-11-25" else era)
    agent = Agent(FunctionModel(Scripted(wishes)), toolsets=[MCPToolset(client, tool_error_behavior="failed")])
    async with client:
        say(protocol=client.session.protocol_version)
        await agent.run("Buy me the cheapest of two.")


asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
