"""Calls over MCP that pay with a platform's token, and what a shopper allows on the consent page."""

from typing import Any

from tests.commerce_api.purchases import ready
from tests.commerce_api.world import World
from tests.mcp_server.oauth_site import OAuthSite, Program, browser, program
from tests.mcp_server.serving import call_body, post, result_of

PAYS = "catalog:read checkout:write orders:read payments:execute"


async def call(url: str, tool: str, arguments: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    """The result of a call."""
    more = {"authorization": f"Bearer {token}"} if token else {}
    answer = await post(url, call_body(tool, arguments), **more)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = result_of(answer)["result"]
    return result


async def bought(world: World, url: str, token: str | None = None, **changes: Any) -> dict[str, Any]:
    """A checkout made and paid with a platform's token."""
    made = (await call(url, "create_checkout", ready(**changes), token))["structuredContent"]
    vault = world.vault.delegate(made["checkout_id"], made["totals"]["total"]["amount_minor"])
    said = {"checkout_id": made["checkout_id"], "confirmation": made["confirmation"], "payment_token": vault}
    return await call(url, "complete_checkout", said, token)


async def allowed(flow: OAuthSite, limit: str | None, client: Program | None = None, **changes: str) -> dict[str, Any]:
    """The tokens of a client that asked to pay, and what the shopper chose on the consent page."""
    client = client or await program(flow)
    async with browser(flow) as shopper:
        await shopper.open(client.address(scope=PAYS, **changes))
        await shopper.sign_in()
        given = {} if limit is None else {"limit": limit}
        answer = await shopper.send("decision", decision="allow", **given)
        code = dict(pair.split("=") for pair in answer.headers["location"].split("?", 1)[1].split("&"))["code"]
    told: dict[str, Any] = (await client.exchange(code)).json()
    return told
