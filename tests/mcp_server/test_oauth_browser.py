"""A shopper's real browser on the sign-in pages: by keyboard, without script, back to the client; and how they look."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.async_api import Browser, Page, async_playwright

from commerce_api.pages.authorize import PROBLEMS, Step, render_step
from commerce_api.pages.render import render_template, static_asset
from tests.commerce_api.pages.test_browser import CHROMIUM, FLAGS, JUDGEMENTS
from tests.mcp_server.oauth_site import SHOPPER, OAuthSite, program
from tests.mcp_server.serving import serving
from tokenization.edge import Receive, Scope, Send

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium"),
]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        await started.close()


class Landing:
    """The client's own address, where the browser ends up."""

    def __init__(self) -> None:
        self.queries: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["path"] == "/callback":
            self.queries.append(dict(parse_qsl(scope["query_string"].decode())))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<title>Back</title>"})


async def typed(page: Page, text: str) -> None:
    """Goes to the page's one field by keyboard, types, and sends the form."""
    await page.keyboard.press("Tab")
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def test_a_shopper_connects_an_assistant_by_keyboard_without_script(flow: OAuthSite, chromium: Browser) -> None:
    landing, complaints = Landing(), list[str]()
    async with serving(landing) as client_url:
        client = await program(flow, redirect_uris=[f"{client_url}/callback"])
        context = await chromium.new_context(java_script_enabled=False)
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(client.address())
        await typed(page, SHOPPER)
        await page.wait_for_selector("input[name=code]")
        await typed(page, flow.mailbox.code)
        await page.wait_for_selector("button[value=allow]")
        assert "127.0.0.1" in await page.inner_text("dl")
        assert "your own computer" in await page.inner_text("main")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{client_url}/callback**")
        cookies = await context.cookies()
        await context.close()
    assert [sorted(query) for query in landing.queries] == [["code", "iss", "state"]]
    assert complaints == []
    # The request is over, and so is its cookie; the browser stays signed in for the brand's own pages.
    assert [(cookie["name"], cookie["path"]) for cookie in cookies] == [("cordon-shopper", f"/{flow.world.brand}")]
    assert (await client.exchange(landing.queries[0]["code"])).status_code == 200


async def test_the_browser_keeps_the_form_to_this_site_and_the_clients_address(
    flow: OAuthSite, chromium: Browser
) -> None:
    """What a page that was tampered with could do: nothing, because the policy names both."""
    landing, evil = Landing(), Landing()
    async with serving(landing) as client_url, serving(evil) as evil_url:
        client = await program(flow, redirect_uris=[f"{client_url}/callback"])
        page = await (await chromium.new_context()).new_page()
        answer = await page.goto(client.address())
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert f"form-action 'self' {client_url}" in policy
        await page.evaluate(
            "where => { document.forms[0].action = where; document.forms[0].noValidate = true; }", evil_url
        )
        async with page.expect_console_message(lambda message: "form-action" in message.text):
            await page.evaluate("document.forms[0].submit()")
        assert evil.queries == []
        assert page.url.startswith(flow.commerce_url)


def pages() -> dict[str, str]:
    """Every page, with everything on it that can be."""
    common: dict[str, Any] = {
        "brand_name": "Donaudampfschifffahrtsgesellschaft " * 2,
        "allows": ["See products, prices and offers", "x" * 80],
        "limits": [(10_000, "$100.00"), (10**11, "$1,000,000,000.00")],
        "path": "/harbour-pine/oauth/requests/oar_x",
    }
    local: dict[str, Any] = {
        "client_host": None,
        "redirect_host": "127.0.0.1:33418",
        "is_local": True,
        "client_name": "y" * 60,
    }
    hosted = {**local, "client_host": "a" * 60 + ".example", "redirect_host": "b" * 60 + ".example", "is_local": False}
    found = {}
    for step in Step:
        for name, client in (("local", local), ("hosted", hosted)):
            found[f"{step.name} {name}"] = render_step(step=step, problem=None, **common, **client)
    for problem in PROBLEMS:
        found[f"problem {problem}"] = render_step(step=Step.EMAIL, problem=problem, **common, **hosted)
    own = {**hosted, "client_name": None}
    found["for a page"] = render_step(step=Step.EMAIL, problem=None, **common, **own)
    found["sign in first"] = render_template(
        "sign_in_first.html", alert=None, brand_name=common["brand_name"], path=common["path"], sandbox=False
    )
    return found


async def test_everything_can_be_read_and_hit_at_every_width_in_both_schemes(
    flow: OAuthSite, chromium: Browser
) -> None:
    page = await chromium.new_page(reduced_motion="reduce")
    await page.goto(f"{flow.commerce_url}/health")
    for name, html in pages().items():
        await page.set_content(html)
        await page.wait_for_function(
            "getComputedStyle(document.querySelector('.pay')).minHeight === '56px'"
        )  # it is styled
        for width in (320, 390, 768, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate(JUDGEMENTS) == [], (name, width)
        await page.emulate_media(color_scheme="dark")
        assert await page.evaluate(JUDGEMENTS) == [], (name, "dark")
        await page.emulate_media(color_scheme="light")


def test_a_clients_name_is_shown_as_text_and_nothing_else() -> None:
    html = render_step(
        step=Step.CONSENT,
        brand_name="<b>Shop</b>",
        client_name="</bdi><script>alert(1)</script>\u202e",
        client_host=None,
        redirect_host="a.example",
        is_local=False,
        allows=[],
        limits=[],
        path="/b/oauth/requests/oar_x",
        problem=None,
    )
    assert "<script" not in html
    assert "<b>" not in html
    assert "\u202e" not in html
    assert static_asset("nothing.css") is None
