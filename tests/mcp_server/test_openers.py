"""Who opens the address that an assistant hands out: the shopper whose assistant it is, and for a guest whoever has it."""

from typing import Any

import httpx
import pytest

from commerce_api import checkout_openers
from commerce_api.authorization import browser_session
from commerce_api.models import browser_session as session_table
from commerce_api.models import oauth_request
from tests.commerce_api.purchases import ready
from tests.mcp_server.oauth_site import Browser, OAuthSite, browser, program, tokens_for
from tests.mcp_server.serving import call_body, post, result_of

pytestmark = pytest.mark.anyio
PRODUCT = "Mug"


async def handed_over(flow: OAuthSite, token: str | None) -> str:
    """The address of a checkout that an assistant made and handed over."""
    authorization = {"authorization": f"Bearer {token}"} if token else {}

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await post(flow.resource, call_body(tool, arguments), **authorization)
        content: dict[str, Any] = result_of(answer)["result"]["structuredContent"]
        return content

    made = await call("create_checkout", ready())
    told = await call("complete_checkout", {"checkout_id": made["checkout_id"]})
    address: str = told["continue_url"]
    return address


async def of_a_shopper(flow: OAuthSite) -> str:
    """As handed_over(), for the assistant of Robin, who is signed in."""
    return await handed_over(flow, (await tokens_for(flow, await program(flow)))["access_token"])


def shows_the_order(page: httpx.Response) -> bool:
    """Whether the page shows what is bought and a way to pay it."""
    return PRODUCT in page.text and "Continue to secure payment" in page.text


async def signed_in(shopper: Browser, address: str, mailbox: str) -> httpx.Response:
    """The checkout's page after signing in for it."""
    await shopper.open(address)
    await shopper.send("sign-in")
    return await shopper.sign_in(mailbox)


async def test_the_owner_signs_in_once_and_then_sees_and_pays_it(flow: OAuthSite) -> None:
    address = await of_a_shopper(flow)
    async with browser(flow) as robin:
        first = await robin.open(address)
        assert (first.status_code, shows_the_order(first)) == (403, False)
        assert shows_the_order(await signed_in(robin, address, "robin@shopper.example"))
        again = await robin.open(await of_a_shopper(flow))
        assert shows_the_order(again)
        paid = await robin.send("pay", opener=_opener(again))
        assert paid.status_code == 307
    assert await flow.world.rows(oauth_request) == []


async def test_the_browser_in_which_the_assistant_was_connected_is_signed_in_already(flow: OAuthSite) -> None:
    client = await program(flow)
    async with browser(flow) as robin:
        await robin.open(client.address())
        await robin.sign_in()
        code = (await robin.decide())["code"]
        token = (await client.exchange(code)).json()["access_token"]
        assert shows_the_order(await robin.open(await handed_over(flow, token)))


@pytest.mark.parametrize("mailbox", [None, "morgan@shopper.example"])
async def test_nobody_else_sees_or_pays_it_signed_in_or_not(flow: OAuthSite, mailbox: str | None) -> None:
    address = await of_a_shopper(flow)
    async with browser(flow) as thief:
        page = await thief.open(address)
        if mailbox:
            page = await signed_in(thief, address, mailbox)
        assert page.status_code == 403
        assert [text for text in (PRODUCT, "$", "Robin", "97209") if text in page.text] == []
        async with browser(flow) as guest:
            opener = _opener(await guest.open(await handed_over(flow, None)))
        answer = await thief.http.post(f"{address}/pay", data={"opener": opener})
        assert (answer.status_code, PRODUCT in answer.text) == (403, False)
    assert "open_capture" not in flow.world.vault.calls


async def test_planted_fault_without_the_check_a_thief_is_let_in(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await of_a_shopper(flow)
    monkeypatch.setattr(checkout_openers, "_account_of", lambda *_: None)
    async with browser(flow) as thief:
        assert shows_the_order(await thief.open(address))


async def test_a_checkout_that_nobody_signed_for_is_opened_by_its_address(flow: OAuthSite) -> None:
    async with browser(flow) as anybody:
        assert shows_the_order(await anybody.open(await handed_over(flow, None)))


async def test_a_session_ends_with_its_time_and_opens_no_other_brand(flow: OAuthSite) -> None:
    address = await of_a_shopper(flow)
    async with browser(flow) as robin:
        await signed_in(robin, address, "robin@shopper.example")
        [(name, secret)] = robin.http.cookies.items()
        [cookie] = [cookie for cookie in robin.http.cookies.jar if cookie.name == name]
        assert cookie.path == f"/{flow.world.brand}"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert [row for row in await flow.world.rows(session_table) if secret in str(row)] == []
    database, now_ms = flow.world.commerce.database, flow.world.clock()

    async def found(brand: str, at_ms: int) -> str | None:
        return await database.read(lambda connection: browser_session.shopper_of(connection, brand, secret, at_ms))

    end_ms = now_ms + browser_session.LIFETIME_SECONDS * 1000
    assert await found(flow.world.brand, end_ms - 1)
    assert await found(flow.world.brand, end_ms) is None
    assert await found("another-brand", now_ms) is None
    await database.maintain(lambda tx: browser_session.end(tx, flow.world.brand, secret))
    assert await found(flow.world.brand, now_ms) is None


@pytest.mark.parametrize("checkout", ["chk_x", "..%2Fconnections", "https:%2F%2Fevil.example"])
async def test_signing_in_leads_to_a_page_of_this_site_and_to_nothing_else(flow: OAuthSite, checkout: str) -> None:
    async with browser(flow) as anybody:
        answer = await anybody.http.post(f"{flow.commerce_url}/{flow.world.brand}/checkout/{checkout}/sign-in")
    assert answer.status_code in (400, 404)
    assert "location" not in answer.headers


async def test_another_sites_form_begins_no_sign_in(flow: OAuthSite) -> None:
    address = await of_a_shopper(flow)
    async with browser(flow) as robin:
        await robin.open(address)
        answer = await robin.send("sign-in", origin="https://evil.example")
    assert answer.status_code == 403


def _opener(page: httpx.Response) -> str:
    return page.text.split('name="opener" value="', 1)[1].split('"', 1)[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"shipping_address": {**ready()["shipping_address"], "line1": "1 Elsewhere Road"}},
        {"buyer": {"name": "Mallory", "email": "mallory@shopper.example"}},
        {"lines": [{"variant_id": "hp-mug-sand-300ml", "quantity": 2}]},
        {"shipping_option_id": "express"},
    ],
)
async def test_what_somebody_changed_behind_a_page_is_shown_before_it_is_paid(
    flow: OAuthSite, changed: dict[str, Any]
) -> None:
    address = await handed_over(flow, None)
    checkout = address.rsplit("/", 1)[1]
    async with browser(flow) as shopper:
        page = await shopper.open(address)
        await post(flow.resource, call_body("update_checkout", {"checkout_id": checkout, **changed}))
        again = await shopper.send("pay", opener=_opener(page))
        assert again.status_code == 409
        assert "Your order has changed" in again.text
        assert "open_capture" not in flow.world.vault.calls
        paid = await shopper.send("pay", opener=_opener(again))
        assert paid.status_code == 307
