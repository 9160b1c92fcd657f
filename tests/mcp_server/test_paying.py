"""Payment tokens over MCP: who may pay with one, what the shopper allowed, and what each host's endpoint has."""

import asyncio
from typing import Any

import httpx
import pytest

from commerce_api.models import oauth_grant, payment
from mcp_server import scopes
from mcp_server.bearer import CHALLENGES
from mcp_server.metadata import WELL_KNOWN
from tests.commerce_api.purchases import ready
from tests.commerce_api.world import World
from tests.mcp_server.oauth_site import OAuthSite, browser, program, tokens_for
from tests.mcp_server.paying import PAYS, allowed, bought, call
from tests.mcp_server.serving import Host, Site, body, call_body, client, post, result_of, structured

pytestmark = pytest.mark.anyio


async def test_an_assistant_that_the_shopper_gave_a_limit_pays_within_it(paying: OAuthSite) -> None:
    told = await allowed(paying, "10000")
    assert told["scope"] == PAYS
    paid = await bought(paying.world, paying.resource, told["access_token"])
    assert paid["structuredContent"]["status"] == "completed"
    [grant] = await paying.world.rows(oauth_grant)
    assert [row.oauth_grant for row in await paying.world.rows(payment)] == [grant.id]
    over = await bought(
        paying.world, paying.resource, told["access_token"], lines=[{"variant_id": "hp-kettle-oat", "quantity": 2}]
    )
    assert over["structuredContent"]["error"]["code"] == "spending_limit"


@pytest.mark.parametrize("limit", [None, "", "10001", "-1", "1e9", "9" * 40, "\u0661\u0660"])
async def test_without_one_of_the_brands_limits_paying_is_not_allowed_at_all(
    paying: OAuthSite, limit: str | None
) -> None:
    told = await allowed(paying, limit)
    assert told["scope"] == PAYS.replace(" payments:execute", "")
    assert [row.limit_minor for row in await paying.world.rows(oauth_grant)] == [None]
    made = (await call(paying.resource, "create_checkout", ready(), told["access_token"]))["structuredContent"]
    said = {"checkout_id": made["checkout_id"], "payment_token": "vt_" + "b" * 32}
    answer = await post(
        paying.resource, call_body("complete_checkout", said), authorization=f"Bearer {told['access_token']}"
    )
    assert answer.status_code == 403
    assert 'scope="checkout:write payments:execute"' in answer.headers["www-authenticate"]


async def test_the_consent_page_asks_for_a_limit_where_paying_is_asked_for_and_nowhere_else(
    paying: OAuthSite, world: World
) -> None:
    client = await program(paying)
    async with browser(paying) as shopper:
        await shopper.open(client.address(scope=PAYS))
        page = await shopper.sign_in()
        assert "Nothing: I pay myself" in page.text
        assert "Up to $100.00" in page.text
        await shopper.open(client.address(scope="checkout:write"))
        assert "Up to $" not in (await shopper.sign_in()).text


async def test_a_brand_that_does_not_let_assistants_pay_asks_for_no_limit_and_takes_none(flow: OAuthSite) -> None:
    told = await allowed(flow, "10000")
    assert "payments:execute" not in told["scope"]
    assert [row.limit_minor for row in await flow.world.rows(oauth_grant)] == [None]


async def test_a_guests_platform_pays_where_the_brand_lets_it(own_site: Site) -> None:
    for changes in (None, {"guests": False}):
        if changes is not None:
            await own_site.world.let_assistants_pay(**changes)
        refused = await bought(own_site.world, own_site.endpoint())
        assert refused["structuredContent"]["error"]["code"] == "payment_not_allowed"
    await own_site.world.let_assistants_pay()
    paid = await bought(own_site.world, own_site.endpoint())
    assert paid["structuredContent"]["status"] == "completed"
    assert own_site.world.vault.calls.count("charge") == 1


async def test_planted_fault_by_the_tools_name_alone_a_client_without_the_scope_reaches_the_payment(
    paying: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "MORE", {})
    told = await allowed(paying, "")
    paid = await bought(paying.world, paying.resource, told["access_token"])
    assert paid["structuredContent"]["error"]["code"] == "payment_not_allowed"  # the second lock: there is no limit


async def test_the_endpoint_for_hosts_that_may_not_pay_has_no_argument_for_a_token(own_site: Site) -> None:
    await own_site.world.let_assistants_pay()
    url = f"{own_site.endpoint()}/claude"
    answer = result_of(await post(url, body("tools/list")))["result"]["tools"]
    [tool] = [tool for tool in answer if tool["name"] == "complete_checkout"]
    assert set(tool["inputSchema"]["properties"]) == {"checkout_id", "confirmation"}
    refused = await bought(own_site.world, url)
    assert refused["structuredContent"]["error"]["code"] == "invalid_request"
    made = (await call(url, "create_checkout", ready()))["structuredContent"]
    handed = await call(url, "complete_checkout", {"checkout_id": made["checkout_id"]})
    assert handed["structuredContent"]["continue_url"]
    assert own_site.world.vault.charges == {}


async def test_chatgpt_is_told_what_is_lacking_in_the_result_and_others_by_the_status(paying: OAuthSite) -> None:
    told = await call(f"{paying.resource}/chatgpt", "get_saved_payment_methods", {})
    [challenge] = told["_meta"][CHALLENGES]
    assert told["isError"] is True
    assert told["structuredContent"]["error"]["code"] == "unauthenticated"
    assert f'resource_metadata="{paying.mcp.url}/{WELL_KNOWN}/{paying.world.brand}/mcp/chatgpt"' in challenge
    assert 'scope="payment_methods:read"' in challenge
    assert 'error="invalid_token", error_description="' in challenge
    answer = await post(paying.resource, call_body("get_saved_payment_methods"))
    assert answer.status_code == 401
    wrong = await post(f"{paying.resource}/chatgpt", call_body("search_catalog"), authorization="Bearer wrong")
    assert wrong.status_code == 401


async def test_a_token_for_one_endpoint_is_worth_nothing_at_another(paying: OAuthSite) -> None:
    at_claude = f"{paying.resource}/claude"
    told = await tokens_for(paying, await program(paying), resource=at_claude)
    own = await post(at_claude, call_body("search_catalog"), authorization=f"Bearer {told['access_token']}")
    other = await post(paying.resource, call_body("search_catalog"), authorization=f"Bearer {told['access_token']}")
    assert (own.status_code, other.status_code) == (200, 401)


@pytest.mark.parametrize("grant_type", ["code", "refresh"])
async def test_a_code_or_refresh_token_for_one_endpoint_gives_none_for_another(
    paying: OAuthSite, grant_type: str
) -> None:
    client = await program(paying)
    at_claude = f"{paying.resource}/claude"
    async with browser(paying) as shopper:
        await shopper.open(client.address())
        await shopper.sign_in()
        code = (await shopper.decide())["code"]
    if grant_type == "code":
        answer = await client.exchange(code, resource=at_claude)
    else:
        first = (await client.exchange(code)).json()
        answer = await client.refresh(first["refresh_token"], resource=at_claude)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


@pytest.mark.parametrize("profile", ["", "/claude", "/chatgpt"])
async def test_each_endpoint_says_which_resource_it_is(paying: OAuthSite, profile: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        found = await http.get(f"{paying.mcp.url}/{WELL_KNOWN}/{paying.world.brand}/mcp{profile}")
    assert found.json()["resource"] == f"{paying.resource}{profile}"


@pytest.mark.parametrize("path", ["/mcp/gemini", "/mcp/", "/mcp/claude/x", "/mcp/claude//x"])
async def test_there_are_no_other_endpoints(site: Site, path: str) -> None:
    answer = await post(f"{site.url}/{site.world.brand}{path}", call_body("search_catalog"))
    assert answer.status_code == (200 if path == "/mcp/" else 404)


async def test_what_a_shopper_chose_last_counts_for_all_that_a_program_holds(paying: OAuthSite) -> None:
    client = await program(paying)
    first = await allowed(paying, "25000", client=client)
    assert (await bought(paying.world, paying.resource, first["access_token"]))["structuredContent"]["order_id"]
    await allowed(paying, "", client=client)
    again = await bought(paying.world, paying.resource, first["access_token"])
    assert again["structuredContent"]["error"]["code"] == "payment_not_allowed"


async def test_two_connections_of_a_program_share_one_limit(paying: OAuthSite) -> None:
    client = await program(paying)
    tokens = [(await allowed(paying, "10000", client=client))["access_token"] for _ in range(2)]
    told = [await bought(paying.world, paying.resource, tokens[place % 2]) for place in range(4)]
    codes = [one["structuredContent"].get("error", {}).get("code") for one in told]
    total_minor = told[0]["structuredContent"]["totals"]["total"]["amount_minor"]
    assert codes.count(None) == 10_000 // total_minor
    assert set(codes) == {None, "spending_limit"}


async def test_without_the_flag_chatgpt_has_the_same_tool_as_any_host(own_site: Site) -> None:
    answer = result_of(await post(f"{own_site.endpoint()}/chatgpt", body("tools/list")))["result"]["tools"]
    [tool] = [tool for tool in answer if tool["name"] == "complete_checkout"]
    assert "checkout_session_id" not in tool["inputSchema"]["properties"]


async def test_a_host_that_opened_the_address_learns_within_the_call_that_the_shopper_paid(site: Site) -> None:
    world = site.world

    class Pays(Host):
        async def __call__(self, context: Any, params: Any) -> Any:
            async def in_a_while() -> None:
                checkout = params.url.rsplit("/", 1)[1]
                await world.commerce.payments.capture_link(world.brand, checkout)
                world.vault.capture()

            self.paying = asyncio.create_task(in_a_while())
            return await super().__call__(context, params)

    host = Pays()
    async with client(site, host=host) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        answer = await connected.call_tool("complete_checkout", {"checkout_id": made["checkout_id"]})
        await host.paying
    assert structured(answer)["status"] == "completed"
    assert len(host.asked) == 1
