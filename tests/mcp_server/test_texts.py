"""The text beside the data: for people, in whole sentences, with every figure and id that is needed to go on."""

import json
from typing import Any

import pytest
from mcp_types import TextContent

from commerce_api.schemas import MoneyView
from mcp_server import results
from mcp_server.texts import text_of
from tests.commerce_api.purchases import KETTLE, MUG, lines, ready
from tests.mcp_server.serving import Site, client, structured

pytestmark = pytest.mark.anyio


async def said(site: Site, tool: str, *, key: str | None = None, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """A tool's text and its data, which the second text holds again."""
    async with client(site, key=key) as connected:
        answer = await connected.call_tool(tool, arguments)
    first, second = answer.content
    assert isinstance(first, TextContent)
    assert isinstance(second, TextContent)
    assert json.loads(second.text) == structured(answer)
    assert first.annotations is not None
    assert first.annotations.audience == ["user", "assistant"]
    return first.text, structured(answer)


async def test_a_search_reads_as_a_list_with_prices_and_the_ids_to_buy_by(site: Site) -> None:
    text, data = await said(site, "search_catalog", query="kettle", limit=2)
    assert text.startswith(f"{len(data['products'])} product")
    for product in data["products"]:
        for variant in product["variants"][:6]:
            assert f"[{variant['id']}]" in text
            assert variant["price"]["text"] in text
    nothing, _ = await said(site, "search_catalog", query="zzzzzz")
    assert nothing.startswith("Nothing was found.")


async def test_a_search_with_more_to_come_says_how_to_get_it(site: Site) -> None:
    text, data = await said(site, "search_catalog", limit=1)
    assert data["next_offset"] == 1
    assert text.endswith("search again with offset 1.")
    following, after = await said(site, "search_catalog", limit=1, offset=1)
    assert after["products"][0]["id"] != data["products"][0]["id"]
    assert following != text


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(site: Site) -> None:
    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        _, data = await said(site, "search_catalog", limit=3, offset=offset)
        found += [product["id"] for product in data["products"]]
        offset = data["next_offset"]
    _, whole = await said(site, "search_catalog", limit=20)
    assert found == [product["id"] for product in whole["products"]]
    assert len(found) > 6


async def test_a_comparison_has_a_value_for_each_product_and_says_only_what_the_records_do(site: Site) -> None:
    text, whole = await said(
        site, "get_product", product_id="hp-mug", compare_with=["hp-kettle", "hp-mug", "hp-kettle"]
    )
    data = whole["comparison"]
    assert [product["id"] for product in data["products"]] == ["hp-mug", "hp-kettle"]
    assert {len(row["values"]) for row in data["rows"]} == {2}
    rows = {row["name"]: row["values"] for row in data["rows"]}
    prices = [[v["price"]["amount_minor"] for v in product["variants"]] for product in data["products"]]
    for shown, minor in zip(rows["price"], prices, strict=True):
        assert f"${min(minor) / 100:.2f}" in shown
    records = json.dumps(data["products"])
    for name, values in rows.items():
        if name not in ("price", "available", "category"):
            assert all(part in records for value in values for part in value.split(", ") if part != "-")
    assert "\nCompared: “" in text


async def test_a_checkout_reads_as_what_is_in_it_what_it_comes_to_and_what_is_next(site: Site) -> None:
    async with client(site) as connected:
        own = structured(await connected.call_tool("create_checkout", ready(lines=[*lines(MUG), *lines(KETTLE, 1)])))
        applied = {"checkout_id": own["checkout_id"], "discount_codes": ["WELCOME5"]}
        await connected.call_tool("update_checkout", applied)
    text, data = await said(site, "complete_checkout", checkout_id=own["checkout_id"])
    assert data["totals"]["total"]["text"] in text
    assert "5% off your first order" in text
    assert data["continue_url"] in text
    assert "waits for the shopper" in text
    assert text.count("×") == 2


async def test_an_order_a_request_and_saved_methods_read_well(site: Site) -> None:
    world = site.world
    async with client(site) as connected:
        own = {"checkout_id": structured(await connected.call_tool("create_checkout", ready()))["checkout_id"]}
        await connected.call_tool("complete_checkout", own)
        await world.commerce.payments.capture_link(world.brand, own["checkout_id"])
        world.vault.capture()
        order = structured(await connected.call_tool("get_checkout", own))["order_id"]
    asked, request = await said(site, "request_order_change", order_id=order, kind="return", reason="damaged")
    assert asked.startswith(f"The request to return order {order} is open: {request['request_id']}.")
    assert "Thirty days" in asked
    text, data = await said(site, "get_order", order_id=order)
    assert "Paid with visa ending 4242." in text
    assert f"Return request {request['request_id']}: open." in text
    assert data["requests"][0]["reason"] == "damaged"
    none, _ = await said(site, "get_saved_payment_methods", key=await world.agent_key(), shopper="shp_nobody")
    assert none.startswith("The shopper has no saved payment method")


def test_a_view_without_a_text_is_a_defect() -> None:
    with pytest.raises(TypeError):
        text_of(MoneyView(amount_minor=1, currency="USD", text="$0.01"))


def test_every_code_of_a_refusal_is_in_the_schema() -> None:
    widened = results.output_schema({"type": "object", "properties": {"a": {}}, "required": ["a"]})
    codes = widened["properties"]["error"]["properties"]["code"]["enum"]
    assert {"card_text_refused", "rate_limited", "order_unknown", "internal"} <= set(codes)
    assert widened["anyOf"] == [{"required": ["a"]}, {"required": ["error"]}]
    assert "required" not in widened
