"""Passkeys in a shopper's real browser, whose device is Chromium's own virtual authenticator: added, used, by keyboard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, CDPSession, Page

from commerce_api.models import oauth_request, passkey, shopper_account
from tests.commerce_api.pages.test_browser import CHROMIUM, JUDGEMENTS
from tests.commerce_api.world import World
from tests.mcp_server.oauth_site import SHOPPER, OAuthSite, oauth_site, program
from tests.mcp_server.serving import serving
from tests.mcp_server.test_oauth_browser import Landing, chromium, typed

__all__ = ["chromium"]
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium"),
]
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass
class Phone:
    """A browser with a device that keeps passkeys. ``complaints`` is what its console says."""

    flow: OAuthSite
    context: BrowserContext
    page: Page
    session: CDPSession
    device: str
    complaints: list[str] = field(default_factory=list)

    @property
    def connections(self) -> str:
        """The address of the shopper's page."""
        return f"{self.flow.commerce_url}/{self.flow.world.brand}/connections"

    async def sign_in_by_mail(self) -> None:
        """From the page that asks for the mailbox to what follows the code."""
        await self.page.wait_for_selector("input[name=email]")
        await typed(self.page, SHOPPER)
        await self.page.wait_for_selector("input[name=code]")
        await self.page.wait_for_selector("input[name=passkey][value=here]", state="attached")
        await typed(self.page, self.flow.mailbox.code)

    async def add(self) -> None:
        """Opens the shopper's page for the first time, and adds a passkey on the way there."""
        await self.page.goto(self.connections)
        await self.sign_in_by_mail()
        await self.page.wait_for_selector("text=Sign in faster next time")
        await self.page.click("text=Add a passkey")
        await self.page.wait_for_selector("text=A passkey that signs you in")

    async def forget_cookies(self) -> None:
        """As a browser that was never here, with the device that was."""
        await self.context.clear_cookies()

    async def kept(self) -> list[dict[str, Any]]:
        """What the device keeps."""
        told = await self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.device})
        found: list[dict[str, Any]] = told["credentials"]
        return found


@asynccontextmanager
async def phone(flow: OAuthSite, chromium: Browser, **changes: Any) -> AsyncIterator[Phone]:
    """A fresh one."""
    context = await chromium.new_context()
    context.set_default_timeout(20_000)
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": {**DEVICE, **changes}})
    found = Phone(flow, context, page, session, made["authenticatorId"])
    page.on("console", lambda message: found.complaints.append(message.text))
    try:
        yield found
    finally:
        await context.close()


@pytest.fixture
async def local(world: World) -> AsyncIterator[OAuthSite]:
    """The site under a name that can have passkeys."""
    async with oauth_site(world, "localhost") as served:
        yield served


async def test_a_passkey_is_added_after_the_first_code_and_signs_in_by_keyboard_alone(
    local: OAuthSite, chromium: Browser
) -> None:
    async with phone(local, chromium) as shopper:
        await shopper.add()
        [kept] = await shopper.kept()
        assert (kept["rpId"], kept["isResidentCredential"]) == ("localhost", True)
        await shopper.forget_cookies()
        letters = len(local.mailbox.letters)
        await shopper.page.goto(shopper.connections)
        await shopper.page.wait_for_selector("text=Sign in with a passkey")
        for _ in range(3):  # the address, its button, the passkey's
            await shopper.page.keyboard.press("Tab")
        await shopper.page.keyboard.press("Enter")
        await shopper.page.wait_for_selector("text=A passkey that signs you in")
        assert shopper.complaints == []
        assert len(local.mailbox.letters) == letters
    [row] = await local.world.rows(passkey)
    assert row.sign_count > 0
    assert len(await local.world.rows(shopper_account)) == 1
    assert await local.world.rows(oauth_request) == []
    kinds = [len(await local.world.events(f"passkey.{kind}")) for kind in ("registered", "used", "refused")]
    assert kinds == [1, 1, 0]


async def test_an_assistant_is_connected_with_a_passkey_alone(local: OAuthSite, chromium: Browser) -> None:
    landing = Landing()
    async with serving(landing) as client_url, phone(local, chromium) as shopper:
        client = await program(local, redirect_uris=[f"{client_url}/callback"])
        await shopper.page.goto(client.address())
        await shopper.sign_in_by_mail()
        await shopper.page.click("text=Add a passkey")
        await shopper.page.wait_for_selector("button[value=allow]")
        await shopper.forget_cookies()
        await shopper.page.goto(client.address())
        await shopper.page.click("text=Sign in with a passkey")
        await shopper.page.click("button[value=allow]")
        await shopper.page.wait_for_url(f"{client_url}/callback**")
        assert shopper.complaints == []
    assert (await client.exchange(landing.queries[0]["code"])).status_code == 200


async def test_who_wants_none_now_goes_on_and_adds_one_later_behind_a_code(local: OAuthSite, chromium: Browser) -> None:
    async with phone(local, chromium) as shopper:
        await shopper.page.goto(shopper.connections)
        await shopper.sign_in_by_mail()
        await shopper.page.click("text=Not now")
        await shopper.page.wait_for_selector("text=No program is connected")
        await shopper.page.click("text=Add a passkey")
        await shopper.sign_in_by_mail()
        await shopper.page.click("text=Add a passkey")
        await shopper.page.wait_for_selector("text=The passkey is added")
        await shopper.page.click("text=Remove this passkey")
        await shopper.page.wait_for_selector("text=The passkey is removed")
        assert await local.world.rows(passkey) == []
        await shopper.forget_cookies()
        await shopper.page.goto(shopper.connections)
        await shopper.page.click("text=Sign in with a passkey")
        await shopper.page.wait_for_selector("text=That passkey does not work here")
        await shopper.sign_in_by_mail()
        await shopper.page.wait_for_selector("text=Sign in faster next time")


async def test_a_device_that_cannot_tell_who_holds_it_signs_nobody_in(local: OAuthSite, chromium: Browser) -> None:
    async with phone(local, chromium) as shopper:
        await shopper.add()
        await shopper.session.send(
            "WebAuthn.setUserVerified", {"authenticatorId": shopper.device, "isUserVerified": False}
        )
        await shopper.forget_cookies()
        await shopper.page.goto(shopper.connections)
        await shopper.page.click("text=Sign in with a passkey")
        await shopper.page.wait_for_selector("text=No passkey was used")
        await shopper.page.fill("input[name=email]", SHOPPER)  # the page still serves
        await shopper.page.click("text=Send me a code")
        await shopper.page.wait_for_selector("input[name=code]")
    assert await local.world.events("passkey.used") == []


async def test_a_shopper_without_a_device_is_offered_none_after_the_code(local: OAuthSite, chromium: Browser) -> None:
    async with phone(local, chromium, transport="usb") as shopper:
        await shopper.page.goto(shopper.connections)
        await typed(shopper.page, SHOPPER)
        await shopper.page.wait_for_selector("input[name=passkey][value=elsewhere]", state="attached")
        await typed(shopper.page, local.mailbox.code)
        await shopper.page.wait_for_selector("text=No program is connected")


async def test_where_the_host_is_a_number_everything_is_as_without(flow: OAuthSite, chromium: Browser) -> None:
    async with phone(flow, chromium) as shopper:
        answer = await shopper.page.goto(shopper.connections)
        assert answer is not None
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "publickey-credentials-get=()" in answer.headers["permissions-policy"]
        assert "passkey" not in await shopper.page.content()
        await typed(shopper.page, SHOPPER)
        await shopper.page.wait_for_selector("input[name=code]")
        assert "passkey" not in await shopper.page.content()
        await typed(shopper.page, flow.mailbox.code)
        await shopper.page.wait_for_selector("text=No program is connected")
        assert "passkey" not in await shopper.page.content()


async def test_without_script_everything_is_as_without_passkeys(local: OAuthSite, chromium: Browser) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{local.commerce_url}/{local.world.brand}/connections")
    assert not await page.is_visible("text=Sign in with a passkey")
    await typed(page, SHOPPER)
    await page.wait_for_selector("input[name=code]")
    await typed(page, local.mailbox.code)
    await page.wait_for_selector("text=No program is connected")
    assert not await page.is_visible("text=Add a passkey")
    await context.close()


async def test_the_policy_runs_no_other_script(local: OAuthSite, chromium: Browser) -> None:
    """What a page that was tampered with could do."""
    async with phone(local, chromium) as shopper:
        answer = await shopper.page.goto(shopper.connections)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert policy.count("script-src http://localhost:") == 1
        assert "publickey-credentials-get=(self)" in answer.headers["permissions-policy"]
        for planted in ("script.textContent = 'document.title = 1'", "script.src = '/assets/other.js'"):
            async with shopper.page.expect_console_message(lambda message: "Content Security Policy" in message.text):
                await shopper.page.evaluate(
                    f"() => {{ const script = document.createElement('script'); try {{ {planted} }} catch (refused) {{"
                    " console.error('Content Security Policy: ' + refused); } document.head.append(script); }"
                )
        assert await shopper.page.title() != "1"


async def test_every_page_with_a_passkey_can_be_read_and_hit_at_every_width(
    local: OAuthSite, chromium: Browser
) -> None:
    async with phone(local, chromium) as shopper:
        page = shopper.page

        async def judged(wanted: str) -> None:
            await page.wait_for_selector(f"text={wanted}")
            for width in (320, 390, 768, 1280):
                await page.set_viewport_size({"width": width, "height": 800})
                assert await page.evaluate(JUDGEMENTS) == [], (wanted, width)

        await page.goto(shopper.connections)
        await judged("Sign in with a passkey")
        await shopper.sign_in_by_mail()
        await judged("Not now")
        await page.click("text=Add a passkey")
        await judged("Remove this passkey")
