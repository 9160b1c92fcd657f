"""The list of tools, and what each takes and gives: typed both ways, and the same for everybody."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.server.mcpserver import MCPServer
from mcp_types import Tool

from commerce_api.errors import CommerceError
from commerce_api.models import offer_outcome
from tests.commerce_api.purchases import MUG, OFF_SHELF, lines, ready
from tests.mcp_server.serving import (
    LEGACY,
    MODERN,
    Site,
    body,
    call_body,
    client,
    code_of,
    mcp_site,
    post,
    result_of,
    structured,
)

pytestmark = pytest.mark.anyio

# Universal Commerce Protocol, MCP binding: names of catalogue, checkout and order tools. Where it has none they are our own:
# asking, offers, requests about an order, saved methods.
CANONICAL = {
    "search_catalog",
    "get_product",
    "ask_brand",
    "get_offers",
    "create_checkout",
    "get_checkout",
    "update_checkout",
    "complete_checkout",
    "cancel_checkout",
    "get_order",
    "request_order_change",
    "get_saved_payment_methods",
}
MOST_TOOLS = 12


async def listed(site: Site, mode: str = MODERN) -> list[Tool]:
    """The tools of the brand's server."""
    async with client(site, mode=mode) as connected:
        return (await connected.list_tools()).tools


async def test_the_tools_have_the_canonical_names_and_are_at_most_twelve(site: Site) -> None:
    tools = await listed(site)
    assert {tool.name for tool in tools} == CANONICAL
    assert len(tools) == len(CANONICAL) <= MOST_TOOLS


async def test_every_tool_has_a_title_a_description_annotations_and_schemas_both_ways(site: Site) -> None:
    for tool in await listed(site):
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert None not in (
            tool.annotations.read_only_hint,
            tool.annotations.destructive_hint,
            tool.annotations.open_world_hint,
        )
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema)


async def test_only_reading_tools_say_that_they_only_read(site: Site) -> None:
    reading = {tool.name for tool in await listed(site) if tool.annotations and tool.annotations.read_only_hint}
    assert reading == {
        *("search_catalog", "get_product", "get_order", "get_checkout"),
        "get_saved_payment_methods",
    }


async def test_no_tool_has_a_field_for_a_card(site: Site) -> None:
    names = {name for tool in await listed(site) for name in property_names(tool.input_schema)}
    assert not [name for name in names if any(word in name for word in ("card", "pan", "cvc", "cvv", "expiry"))]
    assert "variant_id" in names  # the walk sees nested fields


def property_names(schema: Any) -> set[str]:
    """Every property of a JSON schema, however deep."""
    if isinstance(schema, list):
        return set().union(*map(property_names, schema))
    if not isinstance(schema, dict):
        return set()
    found = set(schema.get("properties", {}))
    return found.union(*map(property_names, schema.values()))


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_the_list_is_the_same_each_time_and_for_everybody(site: Site, mode: str) -> None:
    first = [tool.model_dump() for tool in await listed(site, mode)]
    async with client(site, mode=mode, key=await site.world.agent_key()) as connected:
        again = [tool.model_dump() for tool in (await connected.list_tools()).tools]
    assert again == first


async def test_the_list_is_built_once_and_answers_are_byte_for_byte_the_same(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = MCPServer.list_tools

    async def counted(self: MCPServer[Any]) -> list[Tool]:
        built.append(1)
        return await build(self)

    monkeypatch.setattr(MCPServer, "list_tools", counted)
    answers = {(await post(own_site.endpoint(), body("tools/list"))).content for _ in range(3)}
    await post(own_site.endpoint(), call_body("search_catalog", {"query": "mug"}))  # the SDK looks up its schema
    assert len(answers) == 1
    assert len(built) == 1


@pytest.mark.parametrize("method", ["tools/list", "server/discover"])
async def test_what_is_the_same_for_everybody_may_be_kept_and_shared(site: Site, method: str) -> None:
    key = await site.world.agent_key()
    answers = [
        result_of(await post(site.endpoint(), body(method), **headers))["result"]
        for headers in ({}, {"authorization": f"Bearer {key}"})
    ]
    assert answers[0] == answers[1]
    assert answers[0]["ttlMs"] > 0
    assert answers[0]["cacheScope"] == "public"


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_what_every_tool_gives_is_valid_against_its_own_schema(site: Site, mode: str) -> None:
    world = site.world
    seen: dict[str, dict[str, Any]] = {}
    async with client(site, mode=mode) as connected:
        schemas = {tool.name: tool.output_schema or {} for tool in (await connected.list_tools()).tools}

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await connected.call_tool(tool, arguments)
            assert not answer.is_error, (tool, structured(answer))
            seen[tool] = structured(answer)
            return seen[tool]

        found = await call("search_catalog", query="mug")
        await call("get_product", product_id=found["products"][0]["id"])
        await call("get_product", product_id="hp-mug", compare_with=["hp-kettle"])
        await call("ask_brand", need="a quiet kettle under $150, in Leeds by Friday")
        await call("get_offers", lines=lines("hp-kettle-oat"))
        other = await call("create_checkout", lines=lines())
        await call("cancel_checkout", checkout_id=other["checkout_id"])
        made = await call("create_checkout", lines=lines())
        await call("update_checkout", checkout_id=made["checkout_id"], **ready())
        await call("complete_checkout", checkout_id=made["checkout_id"])
        await world.commerce.payments.capture_link(world.brand, made["checkout_id"])
        world.vault.capture()
        paid = await call("get_checkout", checkout_id=made["checkout_id"])
        await call("request_order_change", order_id=paid["order_id"], kind="return")
        await call("get_order", order_id=paid["order_id"])
    async with client(site, mode=mode, key=await world.agent_key()) as connected:
        await call("get_saved_payment_methods", shopper="shp_robin")
    assert seen.keys() == CANONICAL
    for tool, answer in seen.items():
        Draft202012Validator(schemas[tool]).validate(answer)


async def test_planted_fault_a_field_of_the_wrong_type_fails_that_validation(site: Site) -> None:
    [schema] = [tool.output_schema or {} for tool in await listed(site) if tool.name == "get_checkout"]
    async with client(site) as connected:
        answer = structured(await connected.call_tool("create_checkout", ready()))
    assert Draft202012Validator(schema).is_valid(answer)
    answer["totals"]["total"]["amount_minor"] = "41.90"
    assert not Draft202012Validator(schema).is_valid(answer)


REFUSALS: list[tuple[str, dict[str, Any], CommerceError]] = [
    ("get_product", {"product_id": "no-such"}, CommerceError.PRODUCT_UNKNOWN),
    ("get_offers", {"lines": lines("no-such")}, CommerceError.PRODUCT_UNKNOWN),
    ("create_checkout", {"lines": lines("no-such")}, CommerceError.PRODUCT_UNKNOWN),
    ("create_checkout", {"lines": lines(MUG, 0)}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {"lines": lines(MUG, -1)}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {"lines": lines(MUG, 10**9)}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {"lines": lines(MUG, 1.5)}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {"lines": lines(MUG, 999) + lines(MUG, 1)}, CommerceError.QUANTITY_INVALID),
    ("create_checkout", {"lines": []}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {"lines": lines() * 51}, CommerceError.INVALID_REQUEST),
    ("create_checkout", {}, CommerceError.INVALID_REQUEST),
    ("create_checkout", ready(shipping_option_id="teleport"), CommerceError.SHIPPING_OPTION_UNKNOWN),
    ("create_checkout", ready(buyer={"email": "no address"}), CommerceError.INVALID_REQUEST),
    ("create_checkout", ready(currency="EUR"), CommerceError.INVALID_REQUEST),  # there is no such argument
    ("create_checkout", ready(idempotency_key=""), CommerceError.INVALID_REQUEST),
    ("create_checkout", ready(idempotency_key="x" * 256), CommerceError.INVALID_REQUEST),
    ("get_checkout", {"checkout_id": "chk_" + "b" * 32}, CommerceError.CHECKOUT_UNKNOWN),
    ("update_checkout", {"checkout_id": "../../etc", "lines": lines()}, CommerceError.CHECKOUT_UNKNOWN),
    ("complete_checkout", {"checkout_id": ""}, CommerceError.CHECKOUT_UNKNOWN),
    ("cancel_checkout", {"checkout_id": "chk_"}, CommerceError.CHECKOUT_UNKNOWN),
    ("get_order", {"order_id": "ord_" + "b" * 32}, CommerceError.ORDER_UNKNOWN),
    ("get_product", {"product_id": "hp-mug", "compare_with": ["no-such"]}, CommerceError.PRODUCT_UNKNOWN),
    ("ask_brand", {"need": "a mug", "variant_id": "no-such"}, CommerceError.PRODUCT_UNKNOWN),
    ("ask_brand", {"need": ""}, CommerceError.INVALID_REQUEST),
    ("get_product", {"product_id": "hp-mug", "compare_with": ["x"] * 5}, CommerceError.INVALID_REQUEST),
    ("request_order_change", {"order_id": "ord_x", "kind": "return"}, CommerceError.ORDER_UNKNOWN),
    ("request_order_change", {"order_id": "ord_x", "kind": "refund"}, CommerceError.INVALID_REQUEST),
    ("create_checkout", ready(shopper="shp_robin"), CommerceError.UNAUTHENTICATED),
    ("search_catalog", {"limit": 0}, CommerceError.INVALID_REQUEST),
    ("search_catalog", {"query": "x" * 301}, CommerceError.INVALID_REQUEST),
]


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_every_refusal_is_a_result_with_a_closed_code_that_echoes_nothing(site: Site, mode: str) -> None:
    async with client(site, mode=mode) as connected:
        answers = [(given, await connected.call_tool(given[0], given[1])) for given in REFUSALS]
    for (tool, arguments, expected), answer in answers:
        assert code_of(answer) == expected.code, (tool, arguments)
        assert structured(answer)["error"]["message"] == expected.message
        assert getattr(answer.content[0], "text", "").startswith(f"Refused ({expected.code}). {expected.message}")


async def test_a_refused_form_names_our_own_fields_and_the_rule_and_no_name_of_the_callers(site: Site) -> None:
    async with client(site) as connected:
        wrong = [{"variant_id": 7, "quantity": "many", "colour_of_my_own": 1}]
        nested = await connected.call_tool("create_checkout", {"lines": wrong})
        outer = await connected.call_tool("get_checkout", {"checkout_id": "x", "colour_of_my_own": 1})
    assert structured(nested)["broken"] == [
        "lines.0.*: extra_forbidden",
        "lines.0.quantity: int_parsing",
        "lines.0.variant_id: string_type",
    ]
    assert structured(outer)["broken"] == ["*: extra_forbidden"]


async def test_a_tool_that_is_not_there_is_a_protocol_error_that_does_not_repeat_its_name(site: Site) -> None:
    for mode, content in ((MODERN, call_body("pay_with_card")), (LEGACY, None)):
        if content is not None:
            response = await post(site.endpoint(), content)
            assert result_of(response)["error"]["code"] == -32602
            assert "pay_with_card" not in response.text
        else:
            async with client(site, mode=mode) as connected:
                with pytest.raises(Exception, match="There is no such tool here"):
                    await connected.call_tool("pay_with_card", {})


async def test_a_checkout_that_lacks_something_is_not_handed_over(site: Site) -> None:
    async with client(site) as connected:
        made = structured(await connected.call_tool("create_checkout", {"lines": lines()}))
        refused = await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})
    assert made["status"] == "incomplete"
    assert {message["path"] for message in made["messages"]} == {"$.shipping_address", "$.buyer.email"}
    assert code_of(refused) == CommerceError.CHECKOUT_NOT_READY.code


@pytest.mark.parametrize("named_in", ["create_checkout", "update_checkout", None])
async def test_a_guest_who_was_offered_nothing_and_buys_is_known_by_the_decision_that_the_checkout_names(
    own_site: Site, named_in: str | None
) -> None:
    world = own_site.world
    async with client(own_site) as connected:
        offers = await connected.call_tool("get_offers", {"lines": lines()})
        decision = structured(offers)["decision_id"]
        assert f"decision_id {decision}" in getattr(offers.content[0], "text", "")
        named = {"decision_id": decision}
        made = structured(
            await connected.call_tool("create_checkout", ready(**named if named_in == "create_checkout" else {}))
        )
        own = {"checkout_id": made["checkout_id"]}
        changed = structured(await connected.call_tool("update_checkout", own | (named if named_in else {})))
        assert changed["totals"] == made["totals"]
        await connected.call_tool("complete_checkout", own)
        await world.commerce.payments.capture_link(world.brand, made["checkout_id"])
        world.vault.capture()
        paid = structured(await connected.call_tool("get_checkout", own))
    came = [(row.decision, row.type, row.key) for row in await world.rows(offer_outcome) if row.type != "shown"]
    assert came == ([(decision, "purchased_without", paid["order_id"])] if named_in else [])


async def test_what_is_out_of_stock_is_said_and_not_handed_over(site: Site) -> None:
    async with client(site) as connected:
        made = structured(await connected.call_tool("create_checkout", ready(lines=lines(OFF_SHELF))))
        refused = await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})
    assert "out_of_stock" in {message["code"] for message in made["messages"]}
    assert code_of(refused) == CommerceError.CHECKOUT_NOT_READY.code


async def test_a_canceled_checkout_takes_nothing_any_more_and_canceling_again_changes_nothing(site: Site) -> None:
    async with client(site) as connected:
        own = {"checkout_id": structured(await connected.call_tool("create_checkout", ready()))["checkout_id"]}
        canceled = [structured(await connected.call_tool("cancel_checkout", own)) for _ in range(2)]
        late = [
            await connected.call_tool("complete_checkout", own),
            await connected.call_tool("update_checkout", {**own, "lines": lines()}),
        ]
    assert [view["status"] for view in canceled] == ["canceled", "canceled"]
    assert [code_of(answer) for answer in late] == [CommerceError.CHECKOUT_FINISHED.code] * 2


async def test_an_expired_checkout_takes_nothing_any_more(own_site: Site) -> None:
    async with client(own_site) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        own = {"checkout_id": made["checkout_id"]}
        own_site.world.clock.advance(8 * 24 * 3600)
        late = [
            await connected.call_tool("complete_checkout", own),
            await connected.call_tool("update_checkout", {**own, "lines": lines()}),
        ]
    assert [code_of(answer) for answer in late] == [CommerceError.CHECKOUT_FINISHED.code] * 2
    assert own_site.world.vault.calls == []


async def test_a_failure_of_ours_is_a_result_with_a_closed_code_and_no_text_of_its_own(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.transaction import DatabaseBusy
    from commerce_api.agent_desk import AgentDesk

    failures: list[Exception] = [RuntimeError("a secret of ours"), DatabaseBusy("a secret of ours")]

    async def fails(*_: object) -> None:
        raise failures.pop(0)

    monkeypatch.setattr(AgentDesk, "get_product", fails)
    async with mcp_site(world) as served:
        answers = [await post(served.endpoint(), call_body("get_product", {"product_id": "x"})) for _ in range(2)]
    codes = [result_of(answer)["result"]["structuredContent"]["error"]["code"] for answer in answers]
    assert codes == [CommerceError.INTERNAL.code, CommerceError.BUSY.code]
    assert not [answer for answer in answers if "secret" in answer.text]
