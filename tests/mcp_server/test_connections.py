"""A shopper's page of connections: their own, in words; ending one ends its tokens; nobody else does, and no other site."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser as Chromium

from commerce_api.authorization import connections, grants
from commerce_api.models import oauth_grant
from tests.commerce_api.pages.test_browser import CHROMIUM
from tests.mcp_server.oauth_site import SHOPPER, Browser, OAuthSite, Program, browser, program, tokens_for
from tests.mcp_server.serving import call_body, post
from tests.mcp_server.test_oauth_browser import chromium, typed

__all__ = ["chromium"]
pytestmark = pytest.mark.anyio
OTHER = "morgan@shopper.example"


def page_of(flow: OAuthSite) -> str:
    """Its address."""
    return f"{flow.commerce_url}/{flow.world.brand}/connections"


async def opened(flow: OAuthSite, shopper: Browser, mailbox: str = SHOPPER) -> httpx.Response:
    """The page, after signing in for it."""
    await shopper.open(page_of(flow))
    return await shopper.sign_in(mailbox)


async def connected(flow: OAuthSite, mailbox: str = SHOPPER, **changes: str | None) -> tuple[Program, dict[str, Any]]:
    """A program that a shopper connected, with its tokens."""
    client = await program(flow)
    return client, await tokens_for(flow, client, mailbox, **changes)


async def calls(flow: OAuthSite, tokens: dict[str, Any]) -> int:
    """How a call with these tokens is answered."""
    authorization = f"Bearer {tokens['access_token']}"
    return (await post(flow.resource, call_body("search_catalog"), authorization=authorization)).status_code


async def test_a_shopper_sees_what_is_connected_for_what_and_since_when(flow: OAuthSite) -> None:
    await connected(flow, scope="catalog:read payment_methods:read")
    await connected(flow, OTHER, scope="orders:write")
    async with browser(flow) as shopper:
        page = await opened(flow, shopper)
    assert page.status_code == 200
    assert "Acorn" in page.text
    assert "nobody: it registered itself" in page.text
    assert "See which cards you saved" in page.text
    assert "Ask the shop to cancel" not in page.text  # that is somebody else's
    assert " UTC" in page.text
    assert page.text.count("End this connection") == 1


async def test_who_has_none_is_told_so(flow: OAuthSite) -> None:
    async with browser(flow) as shopper:
        assert "No program is connected" in (await opened(flow, shopper)).text


async def test_ending_one_ends_its_tokens_at_once_and_is_on_record(flow: OAuthSite) -> None:
    client, tokens = await connected(flow)
    _, others = await connected(flow, OTHER)
    assert await calls(flow, tokens) == 200
    async with browser(flow) as shopper:
        await opened(flow, shopper)
        page = await shopper.send("end")
        assert "The connection is ended" in page.text
        assert "No program is connected" in page.text
    assert await calls(flow, tokens) == 401
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await calls(flow, others) == 200
    [event] = await flow.world.events("authorization.revoked")
    assert b'"reason":"shopper"' in event.entry


async def ends_anothers(flow: OAuthSite) -> int:
    """How it is answered that a shopper ends another's connection by its id."""
    await connected(flow)
    [grant] = await flow.world.rows(oauth_grant)
    async with browser(flow) as thief:
        await opened(flow, thief, OTHER)
        return (await thief.http.post(f"{page_of(flow)}/{grant.id}/end")).status_code


async def test_nobody_ends_anothers(flow: OAuthSite) -> None:
    assert await ends_anothers(flow) == 404
    [grant] = await flow.world.rows(oauth_grant)
    assert grant.revoked_ms is None


async def test_planted_fault_without_the_owner_anybody_ends_it(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = connections.end

    def of_anybody(tx: Any, brand: str, _: str, identifier: str) -> bool:
        row = grants.find_grant(tx, brand, identifier)
        return row is not None and end(tx, brand, row.shopper, identifier)

    monkeypatch.setattr(connections, "end", of_anybody)
    assert await ends_anothers(flow) == 303


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}], ids=str)
@pytest.mark.parametrize("action", ["end", "sign-out"])
async def test_another_sites_form_does_nothing(flow: OAuthSite, headers: dict[str, str], action: str) -> None:
    await connected(flow)
    [grant] = await flow.world.rows(oauth_grant)
    async with browser(flow) as shopper:
        await opened(flow, shopper)
        path = f"/{grant.id}/end" if action == "end" else "/sign-out"
        assert (await shopper.http.post(f"{page_of(flow)}{path}", headers=headers)).status_code == 403
        assert "End this connection" in (await shopper.open(page_of(flow))).text


async def test_planted_fault_without_the_check_another_sites_form_ends_it(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "is_same_site", lambda *_: True)
    await connected(flow)
    [grant] = await flow.world.rows(oauth_grant)
    async with browser(flow) as shopper:
        await opened(flow, shopper)
        evil = {"origin": "https://evil.example"}
        assert (await shopper.http.post(f"{page_of(flow)}/{grant.id}/end", headers=evil)).status_code == 303


async def test_who_signs_out_is_asked_again_and_the_program_stays_connected(flow: OAuthSite) -> None:
    _, tokens = await connected(flow)
    async with browser(flow) as shopper:
        await opened(flow, shopper)
        cookies = dict(shopper.http.cookies)
        assert "You are signed out" in (await shopper.send("sign-out")).text
        shopper.http.cookies.update(cookies)  # a copy of it opens nothing either
        assert "Send me a code" in (await shopper.open(page_of(flow))).text
    assert await calls(flow, tokens) == 200


async def test_a_brand_without_sign_in_has_no_such_page(flow: OAuthSite) -> None:
    async with browser(flow) as shopper:
        assert (await shopper.http.get(f"{flow.commerce_url}/nobody/connections")).status_code == 404


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
async def test_a_connection_is_ended_by_keyboard_without_script(flow: OAuthSite, chromium: Chromium) -> None:
    await connected(flow)
    complaints = list[str]()
    context: AbstractAsyncContextManager[Any] = await chromium.new_context(java_script_enabled=False)
    async with context as opened_context:
        page = await opened_context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(page_of(flow))
        await typed(page, SHOPPER)
        await page.wait_for_selector("input[name=code]")
        await typed(page, flow.mailbox.code)
        await page.wait_for_selector("text=End this connection")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=No program is connected")
    assert complaints == []
    [grant] = await flow.world.rows(oauth_grant)
    assert grant.revoked_ms is not None
