"""How the views look and read: both schemes, narrow and wide, the colours of brand and host, screen readers, no script."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from commerce_api.theme import Theme
from mcp_server.apps import pages
from mcp_server.apps.pages import VIEWS, page
from tests.commerce_api.purchases import KETTLE, lines, ready
from tests.mcp_server.apps.host import HOST, VIEW, Host, hosting, needs_host
from tests.mcp_server.conformance.suite import TOOLS
from tests.mcp_server.serving import Site, client

pytestmark = [pytest.mark.anyio, needs_host]

AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
JUDGEMENTS = Path(__file__).parents[2] / "commerce_api" / "pages" / "judgements.js"
GROUND = "() => getComputedStyle(document.body).backgroundColor"
INK = "() => getComputedStyle(document.body).color"
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 20)"}
SIZES = {"wide": 900, "narrow": 320}
COLOURS = {"--color-background-primary": "rgb(250, 249, 245)", "--color-text-primary": "rgb(20, 20, 19)"}


async def states(host: Host, site: Site) -> dict[str, tuple[str, dict[str, Any]]]:
    """What can be seen: a tool and its arguments for each look of a view."""
    call = host.client.call_tool
    paid = (await call("create_checkout", ready(discount_codes=["WELCOME5"]))).structured_content or {}
    await call("complete_checkout", {"checkout_id": paid["checkout_id"]})
    await site.world.commerce.payments.capture_link(site.world.brand, paid["checkout_id"])
    site.world.vault.capture()
    order = (await call("get_checkout", {"checkout_id": paid["checkout_id"]})).structured_content or {}
    await call("request_order_change", {"order_id": order["order_id"], "kind": "return"})
    return {
        "products": ("search_catalog", {"query": "kettle mug", "limit": 4}),
        "one": ("get_product", {"product_id": "hp-mug"}),
        "compared": ("get_product", {"product_id": "hp-mug", "compare_with": ["hp-kettle"]}),
        "asked": ("ask_brand", {"need": "a kettle under $100 and two mugs"}),
        "nothing": ("search_catalog", {"query": "zeppelin"}),
        "incomplete": ("create_checkout", {"lines": lines()}),
        "ready": ("create_checkout", ready(lines=lines() + lines(KETTLE, 1), discount_codes=["WELCOME5", "NO-SUCH"])),
        "paid": ("get_checkout", {"checkout_id": paid["checkout_id"]}),
        "order": ("get_order", {"order_id": order["order_id"]}),
        "refused": ("get_order", {"order_id": "ord_none"}),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", PAPER)
async def test_everything_can_be_read_reached_and_named(
    browser: Browser, host_script: str, site: Site, scheme: str, size: str
) -> None:
    """axe judges names, roles and contrast (WCAG 2.2 A and AA); the house's own judgements, sizes and room."""
    async with client(site) as connected, hosting(browser, connected, host_script, width=SIZES[size]) as host:
        for name, (tool, arguments) in (await states(host, site)).items():
            host.context["theme"] = scheme
            view = await host.show(tool, arguments)
            await expect(view.locator("h1, .alert").first).to_be_visible()
            assert await host.ask(GROUND) == PAPER[scheme]
            assert await host.ask(JUDGEMENTS.read_text(encoding="utf-8")) == [], (name, scheme, size)
            assert await complaints_of_axe(host) == [], (name, scheme, size)
        assert host.complaints == []


async def complaints_of_axe(host: Host) -> list[str]:
    """The rules that the view breaks."""
    await host.ask(AXE.read_text(encoding="utf-8"))
    found: list[str] = await host.ask(
        """async () => {
          const only = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] };
          const { violations } = await axe.run(document, { runOnly: only, iframes: false });
          return violations.map((each) => `${each.id}: ${each.nodes[0].html}`);
        }"""
    )
    return found


async def test_planted_fault_axe_and_the_judgements_notice(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pages._script()
    monkeypatch.setattr(
        pages, "_script", lambda: honest.replace('"aria-label": `One more: ${name}`, ', "").replace('"+"', '""')
    )
    monkeypatch.setattr(pages, "_theme_style", lambda theme: ":root { --soft: #bbbbbb; }")
    pages.page.cache_clear()
    view = await host.show("create_checkout", ready())
    pages.page.cache_clear()
    await expect(view.get_by_role("button", name="Pay")).to_be_visible()
    assert {each.partition(":")[0] for each in await complaints_of_axe(host)} == {"button-name", "color-contrast"}
    assert any(each.startswith("faint") for each in await host.ask(JUDGEMENTS.read_text(encoding="utf-8")))


async def test_the_host_s_theme_is_followed_while_the_view_stands(host: Host) -> None:
    view = await host.show("create_checkout", ready())
    await expect(view.get_by_role("button", name="Pay")).to_be_visible()
    for scheme in ("dark", "light", "dark"):
        await host.change(theme=scheme)
        await host.page.frames[-1].wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'")
        assert await host.ask(GROUND) == PAPER[scheme]
    await host.change(safeAreaInsets={"top": 24, "right": 0, "bottom": 0, "left": 0})
    await host.page.frames[-1].wait_for_function("() => getComputedStyle(document.body).paddingTop === '40px'")


async def test_what_is_typed_outlives_a_change_of_the_host_s(host: Host) -> None:
    view = await host.show("create_checkout", ready())
    await view.get_by_label("Discount code").fill("WELC")
    await host.change(theme="dark")
    await host.page.frames[-1].wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    await expect(view.get_by_label("Discount code")).to_have_value("WELC")
    await expect(view.get_by_label("Discount code")).to_be_focused()


async def test_the_host_s_colours_are_taken_where_it_gives_ground_and_ink(host: Host) -> None:
    host.context["styles"] = {"variables": {"--color-background-primary": COLOURS["--color-background-primary"]}}
    view = await host.show("create_checkout", ready())
    await expect(view.get_by_role("button", name="Pay")).to_be_visible()
    assert await host.ask(GROUND) == PAPER["light"]  # a ground without its ink could not be read
    host.context["styles"] = {"variables": {**COLOURS, "--font-sans": "monospace", "background": "red"}}
    await host.show("create_checkout", ready())
    await expect(view.get_by_role("button", name="Pay")).to_be_visible()
    assert await host.ask(GROUND) == COLOURS["--color-background-primary"]
    assert await host.ask(INK) == COLOURS["--color-text-primary"]
    assert await host.ask("() => getComputedStyle(document.body).fontFamily") == "monospace"


async def test_the_brand_s_accent_is_on_the_button_to_pay(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.apps.resources.theme_of", lambda brand: Theme(accent="#7a1fa2"))
    for scheme, accent in (("light", "rgb(122, 31, 162)"), ("dark", "")):
        host.context["theme"] = scheme
        view = await host.show("create_checkout", ready())
        await expect(view.get_by_role("button", name="Pay")).to_be_visible()
        painted = await view.locator("button.pay").first.evaluate("one => getComputedStyle(one).backgroundColor")
        assert painted == accent or (not accent and painted not in ("rgb(122, 31, 162)", "rgb(76, 195, 148)"))
        assert await complaints_of_axe(host) == []


async def test_dates_are_written_as_the_host_s_language_has_them(host: Host, site: Site) -> None:
    tool, arguments = (await states(host, site))["order"]
    for locale, written in (
        ("de-DE", "18. November 2026"),
        ("en-US", "November 18, 2026"),
        ("no such", "November 18, 2026"),
    ):
        host.context["locale"] = locale
        view = await host.show(tool, arguments)
        await expect(view.get_by_text(written)).to_be_visible()


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
async def test_without_script_a_view_says_where_to_look(browser: Browser, view: pages.View) -> None:
    """In a frame that may run none."""
    context = await browser.new_context()

    async def serve(route: Route) -> None:
        held = page(view, "Harbour & Pine", Theme())
        around = f'<iframe sandbox="" src="{VIEW}"></iframe>'
        body = held if route.request.url == VIEW else around
        await route.fulfill(body=body, content_type="text/html; charset=utf-8")

    await context.route("**/*", serve)
    shown = await context.new_page()
    await shown.goto(HOST)
    frame = shown.frame_locator("iframe")
    await expect(frame.locator("noscript p")).to_be_visible()  # Playwright finds no text in <noscript>
    await expect(frame.locator("noscript p")).to_contain_text("the conversation says everything that it would show")
    await expect(frame.get_by_text("stands in the conversation as well, as text")).to_be_visible()
    await context.close()
