"""The Inspector's command line, a client on the TypeScript SDK: it lists and calls every tool, in both protocol eras."""

import json
from typing import Any

import pytest

from mcp_server.apps.resources import SHOWN_IN
from tests.commerce_api.purchases import MUG, lines, ready
from tests.mcp_server.conformance.suite import INSPECTOR, Finished, needs_tools, node
from tests.mcp_server.serving import Site, client, structured

pytestmark = [pytest.mark.anyio, needs_tools]

ERAS = ["modern", "legacy"]
IS_ERROR = 5  # the Inspector's exit code for a result with isError


async def inspect(site: Site, era: str, *arguments: str, key: str = "") -> Finished:
    """One call of the Inspector."""
    signed = ("--header", f"Authorization: Bearer {key}") if key else ()
    common = ("--cli", site.endpoint(), "--transport", "http", "--protocol-era", era, "--format", "json")
    return await node(INSPECTOR, *common, *arguments, *signed)


async def call(site: Site, era: str, tool: str, *, key: str = "", **arguments: Any) -> dict[str, Any]:
    """A tool's structured answer by way of the Inspector, which checks it against the tool's schema."""
    named = ("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
    done = await inspect(site, era, *named, key=key)
    assert done.code == 0, (tool, done.errors)
    content: dict[str, Any] = json.loads(done.out)["result"]["structuredContent"]
    return content


@pytest.mark.parametrize("era", ERAS)
async def test_it_lists_the_tools_and_finds_no_schema_that_a_host_would_stumble_over(site: Site, era: str) -> None:
    async with client(site) as connected:
        names = [tool.name for tool in (await connected.list_tools()).tools]
    done = await inspect(site, era, "--method", "tools/list", "--strict")
    assert done.code == 0, done.errors
    assert [tool["name"] for tool in json.loads(done.out)["result"]["tools"]] == names


@pytest.mark.parametrize("era", ERAS)
async def test_it_finds_the_views_and_may_show_them(site: Site, era: str) -> None:
    done = await inspect(site, era, "--method", "tools/list", "--app-info")
    assert done.code == 0, done.errors
    told = {line["toolName"]: line for line in map(json.loads, done.out.splitlines())}
    assert {name for name, line in told.items() if line["hasApp"]} == SHOWN_IN.keys()
    for line in told.values():
        assert not line["hasApp"] or line["resourceMimeType"] == "text/html;profile=mcp-app"
        assert not any(line.get("csp", {}).values())


@pytest.mark.parametrize("era", ERAS)
async def test_it_calls_every_tool(site: Site, era: str) -> None:
    world, key = site.world, await site.world.agent_key()
    called = {"get_saved_payment_methods"}
    await call(site, era, "get_saved_payment_methods", key=key, shopper="shp_robin")
    found = await call(site, era, "search_catalog", query="mug", limit=2)
    await call(site, era, "get_product", product_id=found["products"][0]["id"])
    await call(site, era, "get_product", product_id="hp-mug", compare_with=["hp-kettle"])
    await call(site, era, "ask_brand", need="a quiet kettle under $150, in Leeds by Friday")
    await call(site, era, "get_offers", lines=lines())
    other = await call(site, era, "create_checkout", lines=lines())
    await call(site, era, "cancel_checkout", checkout_id=other["checkout_id"])
    own = {"checkout_id": (await call(site, era, "create_checkout", lines=lines()))["checkout_id"]}
    await call(site, era, "update_checkout", **own, **ready())
    handed = await call(site, era, "complete_checkout", **own)
    assert handed["continue_url"]
    await world.commerce.payments.capture_link(world.brand, own["checkout_id"])
    world.vault.capture()
    paid = await call(site, era, "get_checkout", **own)
    order = await call(site, era, "get_order", order_id=paid["order_id"])
    asked = await call(site, era, "request_order_change", order_id=order["order_id"], kind="return", variant_ids=[MUG])
    assert asked["state"] == "open"
    called |= {
        *("search_catalog", "get_product", "ask_brand", "get_offers", "create_checkout", "cancel_checkout"),
        *("update_checkout", "complete_checkout", "get_checkout", "get_order", "request_order_change"),
    }
    async with client(site) as connected:
        assert called == {tool.name for tool in (await connected.list_tools()).tools}


@pytest.mark.parametrize("era", ERAS)
async def test_a_refusal_reaches_it_as_a_result_with_its_code(site: Site, era: str) -> None:
    """Its SDK holds refusals against the output schema as well; one that did not fit would be lost as a protocol error."""
    done = await inspect(
        site, era, "--method", "tools/call", "--tool-name", "get_order", "--tool-args-json", '{"order_id":"ord_none"}'
    )
    assert done.code == IS_ERROR, done.errors
    assert json.loads(done.out)["result"]["structuredContent"]["error"]["code"] == "order_unknown"


async def test_planted_fault_a_schema_without_refusals_loses_them(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.brand_server.output_schema", lambda view: view)
    done = await inspect(
        own_site, "modern", "--method", "tools/call", "--tool-name", "get_order", "--tool-args-json", '{"order_id":"x"}'
    )
    assert done.code not in (0, IS_ERROR)
    async with client(own_site) as connected:  # the Python SDK reads it all the same
        assert structured(await connected.call_tool("get_order", {"order_id": "x"}))["error"]["code"] == "order_unknown"
