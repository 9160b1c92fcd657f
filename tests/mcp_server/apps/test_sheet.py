"""ChatGPT's payment sheet opened by the checkout view: a stand-in for that host, everything else as it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Browser, expect

from mcp_server import sheet_session as sheets
from tests.commerce_api.purchases import KETTLE, lines, ready
from tests.commerce_api.world import SHEET
from tests.mcp_server.apps.host import Host, hosting, needs_host
from tests.mcp_server.apps.test_looks import PAPER, complaints_of_axe
from tests.mcp_server.oauth_site import OAuthSite
from tests.mcp_server.serving import structured

pytestmark = [pytest.mark.anyio, needs_host]
TOTAL = "$41.90"


@asynccontextmanager
async def chatgpt(
    browser: Browser, script: str, url: str, token: str | None, *, has_sheet: bool = True
) -> AsyncIterator[Host]:
    """The host, connected as the shopper whose token it is."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30, headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as connected,
        hosting(browser, connected, script, has_sheet=has_sheet) as host,
    ):
        yield host


@pytest.fixture
async def shown(browser: Browser, host_script: str, sheet: tuple[str, str]) -> AsyncIterator[Host]:
    """The host of a shopper who signed in."""
    async with chatgpt(browser, host_script, *sheet) as host:
        yield host


def pays(host: Host, paying: OAuthSite) -> None:
    """In the sheet the shopper pays: the platform gets a token of the vault and completes the checkout with it."""

    async def pay(session: dict[str, Any]) -> dict[str, Any]:
        vault = paying.world.vault.delegate(session["id"], session["totals"][-1]["amount"])
        given = {"checkout_session_id": session["id"], "payment_data": {"token": vault, "provider": SHEET["provider"]}}
        told = await host.client.call_tool("complete_checkout", given)
        return structured(told)

    host.when_sheet = pay


async def test_a_shopper_pays_in_the_sheet_and_the_view_shows_the_order(shown: Host, paying: OAuthSite) -> None:
    pays(shown, paying)
    view = await shown.show("create_checkout", ready())
    await view.get_by_role("button", name=f"Pay {TOTAL}", exact=True).click()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Paid")
    [session] = shown.sheets
    assert session["totals"][-1]["amount"] == 4190
    [charged] = paying.world.vault.charges.values()
    assert charged.amount_minor == 4190
    assert "The shopper paid in the payment sheet." in shown.remembered[-1]
    await view.get_by_role("button", name="Show the order").click()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Order confirmed")
    assert shown.complaints == []


async def test_a_sheet_that_is_closed_leaves_the_checkout_to_be_paid(shown: Host, paying: OAuthSite) -> None:
    view = await shown.show("create_checkout", ready())
    await view.get_by_role("button", name=f"Pay {TOTAL}", exact=True).click()
    await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_be_enabled()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")
    assert len(shown.sheets) == 1
    assert paying.world.vault.charges == {}
    await view.get_by_role("button", name="Pay on the payment page").click()
    await expect(view.get_by_text("Waiting for your payment.")).to_be_visible()
    assert len(shown.opened) == 1


async def test_a_sheet_that_fails_is_said_and_the_page_is_left(shown: Host) -> None:
    async def fails(session: dict[str, Any]) -> None:
        raise RuntimeError(session["id"])

    shown.when_sheet = fails
    view = await shown.show("create_checkout", ready())
    await view.get_by_role("button", name=f"Pay {TOTAL}", exact=True).click()
    await expect(view.get_by_role("alert")).to_have_text("The payment sheet did not open. Pay on the payment page.")
    await expect(view.get_by_role("button", name="Pay on the payment page")).to_be_enabled()


async def test_what_the_host_says_of_a_payment_is_not_believed(shown: Host, paying: OAuthSite) -> None:
    async def lies(session: dict[str, Any]) -> dict[str, Any]:
        return {"id": session["id"], "status": "completed", "order": {"id": "ord_made_up"}}

    shown.when_sheet = lies
    view = await shown.show("create_checkout", ready())
    await view.get_by_role("button", name=f"Pay {TOTAL}", exact=True).click()
    await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_be_enabled()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")


async def test_what_changed_behind_the_view_is_shown_before_a_sheet_opens(shown: Host) -> None:
    made = structured(await shown.client.call_tool("create_checkout", ready()))
    view = await shown.show("get_checkout", {"checkout_id": made["checkout_id"]})
    await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_be_visible()
    await shown.client.call_tool("update_checkout", {"checkout_id": made["checkout_id"], "lines": lines(KETTLE, 1)})
    await view.get_by_role("button", name=f"Pay {TOTAL}", exact=True).click()
    await expect(view.get_by_role("alert")).to_contain_text("This changed meanwhile.")
    assert shown.sheets == []
    await view.get_by_role("button", name="Pay $84.90", exact=True).click()
    await expect(view.get_by_role("button", name="Pay $84.90", exact=True)).to_be_enabled()
    assert [session["totals"][-1]["amount"] for session in shown.sheets] == [8490]


async def test_both_ways_to_pay_can_be_read_reached_and_named(shown: Host) -> None:
    for scheme in PAPER:
        shown.context["theme"] = scheme
        view = await shown.show("create_checkout", ready())
        await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_be_visible()
        assert await complaints_of_axe(shown) == []


async def test_where_no_host_has_a_sheet_the_view_leads_to_the_page_alone(
    browser: Browser, host_script: str, sheet: tuple[str, str]
) -> None:
    async with chatgpt(browser, host_script, *sheet, has_sheet=False) as host:
        view = await host.show("create_checkout", ready())
        await expect(view.get_by_role("button", name=f"Pay {TOTAL} on the payment page")).to_be_visible()
        await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_have_count(0)


async def test_a_guest_in_that_host_is_led_to_the_page(
    browser: Browser, host_script: str, sheet: tuple[str, str]
) -> None:
    async with chatgpt(browser, host_script, sheet[0], None) as host:
        view = await host.show("create_checkout", ready())
        await expect(view.get_by_role("button", name=f"Pay {TOTAL} on the payment page")).to_be_visible()
        await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_have_count(0)


async def test_planted_fault_without_a_session_from_the_shop_no_sheet_is_offered(
    browser: Browser, host_script: str, sheet: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "SESSION", "another/name")
    async with chatgpt(browser, host_script, *sheet) as host:
        view = await host.show("create_checkout", ready())
        await expect(view.get_by_role("button", name=f"Pay {TOTAL}", exact=True)).to_have_count(0)
