"""The payment hand-off ladder, over HTTP with the official client: every era with every kind of host."""

import json

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, InputRequiredResult

from commerce_api.checkout.states import CheckoutState
from commerce_api.models import checkout as checkout_table
from mcp_server import handoff, sessions
from mcp_server.bearer import NOT_ALLOWED
from tests.commerce_api.purchases import ADDRESS, EMAIL, ready
from tests.mcp_server.serving import (
    LEGACY,
    LEGACY_HEADERS,
    MODERN,
    Host,
    Site,
    client,
    legacy_call,
    post,
    result_of,
    structured,
)

pytestmark = pytest.mark.anyio

URL_ELICITATION_REQUIRED = -32042
MODES = ["auto", MODERN, LEGACY]


async def handed_over(connected: Client) -> tuple[str, CallToolResult]:
    """A checkout with everything it needs, and what complete_checkout says of it."""
    made = structured(await connected.call_tool("create_checkout", ready()))
    return made["checkout_id"], await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("forms_only", [False, True])
async def test_a_host_that_opens_no_addresses_gets_a_plain_link_in_data_and_text(
    site: Site, mode: str, forms_only: bool
) -> None:
    host = Host() if forms_only else None
    async with client(site, mode=mode, host=host, forms_only=forms_only) as connected:
        checkout_id, answer = await handed_over(connected)
    link = site.world.commerce.links.checkout_page(site.world.brand, checkout_id)
    assert not answer.is_error
    assert structured(answer)["continue_url"] == link
    assert structured(answer)["status"] == "requires_escalation"
    assert any(link in getattr(block, "text", "") for block in answer.content)
    assert host is None or host.asked == []


@pytest.mark.parametrize("mode", ["auto", MODERN])
async def test_a_modern_host_that_opens_addresses_is_asked_to_and_then_gets_the_result(site: Site, mode: str) -> None:
    host = Host()
    async with client(site, mode=mode, host=host) as connected:
        checkout_id, answer = await handed_over(connected)
    link = site.world.commerce.links.checkout_page(site.world.brand, checkout_id)
    assert host.urls == [link]
    assert structured(answer)["continue_url"] == link


async def test_the_modern_request_is_an_input_request_in_url_mode_and_its_state_is_sealed(site: Site) -> None:
    async with client(site, host=Host()) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        answer = await connected.session.call_tool(
            "complete_checkout", {"checkout_id": made["checkout_id"]}, allow_input_required=True
        )
    assert isinstance(answer, InputRequiredResult)
    assert answer.request_state is not None
    assert made["checkout_id"] not in answer.request_state
    [asked] = (answer.input_requests or {}).values()
    assert asked.model_dump(by_alias=True)["params"]["mode"] == "url"


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_whatever_the_shopper_answers_nobody_is_asked_in_a_circle(site: Site, action: str) -> None:
    host = Host(action)
    async with client(site, host=host) as connected:
        _, answer = await handed_over(connected)
    assert len(host.asked) == 1
    assert structured(answer)["status"] == "requires_escalation"


async def test_a_handshake_era_host_that_opens_addresses_gets_the_same_address_as_error_32042(site: Site) -> None:
    async with client(site, mode=LEGACY, host=Host()) as connected:
        with pytest.raises(MCPError) as refused:
            await handed_over(connected)
    assert refused.value.error.code == URL_ELICITATION_REQUIRED
    [asked] = refused.value.error.data["elicitations"]
    states = {
        site.world.commerce.links.checkout_page(row.brand, row.id): row.state
        for row in await site.world.rows(checkout_table)
    }
    assert asked["mode"] == "url"
    assert states[asked["url"]] == CheckoutState.ESCALATED


async def test_planted_fault_without_session_ids_a_handshake_era_host_is_not_recognised(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "session_for", lambda body: None)
    async with client(site, mode=LEGACY, host=Host()) as connected:
        _, answer = await handed_over(connected)
    assert not answer.is_error


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["none", "forms", "addresses"])
async def test_no_host_in_any_era_sees_an_internal_error_from_any_tool(site: Site, mode: str, kind: str) -> None:
    host = None if kind == "none" else Host()
    codes: list[int] = []
    async with client(site, mode=mode, host=host, forms_only=kind == "forms") as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        own = {"checkout_id": made["checkout_id"]}
        calls = [
            ("search_catalog", {"query": "mug"}),
            ("get_product", {"product_id": "hp-mug"}),
            ("get_offers", {"lines": ready()["lines"]}),
            ("get_order", {"order_id": "ord_none"}),
            ("ask_brand", {"need": "a quiet kettle under $150"}),
            ("request_order_change", {"order_id": "ord_none", "kind": "cancel"}),
            ("get_saved_payment_methods", {"shopper": "shp_robin"}),
            ("update_checkout", {**own, "discount_codes": ["WELCOME5"]}),
            ("get_checkout", own),
            ("complete_checkout", own),
            ("complete_checkout", own),
            ("cancel_checkout", own),
            ("complete_checkout", own),
        ]
        for tool, arguments in calls:
            try:
                await connected.call_tool(tool, arguments)
            except MCPError as refused:
                codes.append(refused.error.code)
    assert INTERNAL_ERROR not in codes
    assert set(codes) <= {URL_ELICITATION_REQUIRED, NOT_ALLOWED}


async def test_planted_fault_a_modern_input_request_to_a_handshake_era_host_is_an_internal_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "MODERN", "2000-01-01")
    async with client(site, mode=LEGACY, host=Host()) as connected:
        with pytest.raises(MCPError) as refused:
            await handed_over(connected)
    assert refused.value.error.code == INTERNAL_ERROR


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_what_the_host_is_asked_to_open_and_show_holds_no_personal_data(site: Site, mode: str) -> None:
    host = Host()
    async with client(site, mode=mode, host=host) as connected:
        try:
            await handed_over(connected)
            told = json.dumps([params.model_dump(mode="json") for params in host.asked])
        except MCPError as refused:
            told = json.dumps(refused.error.data)
    assert "/checkout/chk_" in told
    personal = [EMAIL, "Robin", "Field", *(value for value in ADDRESS.values() if len(value) > 2)]
    assert [text for text in personal if text in told] == []


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
async def test_a_paid_checkout_is_told_as_a_result_to_every_host(site: Site, mode: str) -> None:
    world = site.world
    async with client(site, mode=mode, host=Host()) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        await world.commerce.payments.capture_link(world.brand, made["checkout_id"])
        world.vault.capture()
        answer = await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})
        order = structured(await connected.call_tool("get_order", {"order_id": structured(answer)["order_id"]}))
    assert structured(answer)["status"] == "completed"
    assert structured(answer)["continue_url"] is None
    assert order["paid_with"] == {"brand": "visa", "last4": "4242"}
    assert [charge.checkout for charge in world.vault.charges.values()].count(made["checkout_id"]) == 1


async def test_a_handshake_era_session_is_understood_by_a_process_that_never_saw_its_handshake(site: Site) -> None:
    session = sessions.session_for(
        b'{"method": "initialize", "params": {"capabilities": {"elicitation": {"url": {}}}}}'
    )
    async with client(site) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
    content = legacy_call("complete_checkout", {"checkout_id": made["checkout_id"]})
    headers = {**LEGACY_HEADERS, sessions.HEADER: session or ""}
    answer = result_of(await post(site.endpoint(), content, headers))
    assert answer["error"]["code"] == URL_ELICITATION_REQUIRED
