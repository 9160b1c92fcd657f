"""The views in a real browser, in a host on the official bridge: a purchase by buttons, and what a host may refuse."""

import base64
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Browser, FrameLocator, expect

from commerce_api.brands import find_brand, save_brand
from commerce_api.policy_assistants import AssistantPayments, ChatGptSheet
from commerce_api.theme import Theme
from mcp_server.apps import pages
from tests.commerce_api.purchases import KETTLE, MUG, lines, ready
from tests.commerce_api.world import BRAND_NAME, CURRENCY, LEGAL, SHEET, World
from tests.mcp_server.apps.host import Host, as_json, hosting, needs_host
from tests.mcp_server.serving import Site, client, structured

pytestmark = [pytest.mark.anyio, needs_host]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
RING = "Waiting for your payment. This page tells you when it is there."


def pays(world: World, checkout_id: str) -> Callable[[], Awaitable[None]]:
    """What the shopper does on the payment page."""

    async def pay() -> None:
        await world.commerce.payments.capture_link(world.brand, checkout_id)
        world.vault.capture()

    return pay


async def test_a_shopper_buys_by_the_buttons_of_the_views(host: Host, site: Site) -> None:
    view = await host.show("search_catalog", {"query": "kettle", "limit": 3})
    await view.get_by_role("button", name="Add to checkout: Drift Electric Kettle - oat").click()
    await expect(view.get_by_role("status")).to_have_text("Added to your checkout. Total $79.00.")
    await view.get_by_role("button", name="Go to checkout").click()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Not complete yet")
    checkout_id = structured_id(host)
    # The shopper tells the assistant what is missing; the model gives it.
    given = {key: value for key, value in ready().items() if key != "lines"}
    await host.client.call_tool("update_checkout", {"checkout_id": checkout_id, **given})
    await view.get_by_role("button", name="Check again").click()
    await view.get_by_role("button", name="One more: Drift Electric Kettle").click()
    await view.get_by_role("radio", name="Express shipping").check()
    await view.get_by_label("Discount code").fill("welcome5")
    await view.get_by_role("button", name="Apply").click()
    await expect(view.get_by_role("term").filter(has_text="5% off your first order")).to_be_visible()
    await expect(view.get_by_label("Discount code")).to_have_value("")
    host.when_opened = pays(site.world, checkout_id)
    await view.get_by_role("button", name="Pay $165.00 on the payment page").click()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Paid")
    await view.get_by_role("button", name="Show the order").click()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Order confirmed")
    await expect(view.get_by_role("definition").filter(has_text="visa ending 4242")).to_be_visible()

    links = site.world.commerce.links
    assert host.opened == [links.checkout_page(site.world.brand, checkout_id)]
    assert host.refused == []
    assert host.complaints == []
    assert (
        len({call["arguments"]["idempotency_key"] for call in host.called if "idempotency_key" in call["arguments"]})
        == 4
    )
    assert host.remembered[0].startswith("The shopper put a product into the checkout.\nCheckout chk_")
    assert host.remembered[-1].startswith("The shopper's checkout changed.\nCheckout chk_")
    assert host.said == []


def structured_id(host: Host) -> str:
    """The checkout that a view made, as the model reads of it."""
    return host.remembered[0].split()[9]


async def test_the_way_back_leads_to_the_products(host: Host) -> None:
    view = await host.show("search_catalog", {"query": "kettle", "limit": 2})
    await view.get_by_role("button", name="Add to checkout").first.click()
    await view.get_by_role("button", name="Go to checkout").click()
    await view.get_by_role("button", name="One more").click()
    await expect(view.get_by_role("status")).to_contain_text("Quantity changed.")
    await view.get_by_role("button", name="Back to the products").click()
    await expect(view.get_by_text("2 in your checkout")).to_be_visible()
    await view.get_by_role("button", name="Add to checkout").first.click()
    await expect(view.get_by_text("3 in your checkout")).to_be_visible()
    assert [call["name"] for call in host.called] == ["create_checkout", "update_checkout", "update_checkout"]


async def test_more_products_come_behind_those_that_are_there(host: Host) -> None:
    view = await host.show("search_catalog", {"limit": 2})
    await expect(view.get_by_role("listitem")).to_have_count(3)
    await view.get_by_role("button", name="More products").click()
    await expect(view.get_by_role("listitem")).to_have_count(5)
    assert host.called == [{"name": "search_catalog", "arguments": {"limit": 2, "offset": 2}}]


async def test_a_host_that_opens_nothing_leaves_the_address_to_copy(host: Host, site: Site) -> None:
    host.opens = False
    view = await host.show("create_checkout", ready())
    await view.get_by_role("button", name="Pay").click()
    await expect(view.get_by_text("The payment page was not opened for you.")).to_be_visible()
    assert await view.locator("code").text_content() == host.opened[0]
    assert await view.locator("a, iframe").count() == 0
    assert len(host.page.frames) == 2


async def test_the_page_waits_until_the_payment_is_there(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.waiting.LOOK_SECONDS", 0.02)
    view = await host.show("create_checkout", ready())
    await view.get_by_role("button", name="Pay").click()
    await expect(view.get_by_text(RING)).to_be_visible()
    await pays(site.world, host.opened[0].rsplit("/", 1)[1])()
    await expect(view.get_by_role("heading", level=1)).to_have_text("Paid")
    await expect(view.get_by_role("status")).to_have_text("Paid.")
    assert "is paid" in host.remembered[-1]


async def test_a_view_that_is_taken_down_asks_no_more(host: Host, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.waiting.LOOK_SECONDS", 0.0)
    view = await host.show("create_checkout", ready())
    await view.get_by_role("button", name="Pay").click()
    await expect(view.get_by_text(RING)).to_be_visible()
    assert await host.page.evaluate("() => window.bridge.teardownResource({})") == {}
    await expect(view.get_by_text(RING)).not_to_be_visible()
    assert len([call for call in host.called if call["name"] == "get_checkout"]) < 12


async def test_a_call_whose_answer_is_lost_is_made_once_more_with_the_same_key(host: Host, site: Site) -> None:
    host.fails = 1
    view = await host.show("search_catalog", {"query": "kettle", "limit": 1})
    await view.get_by_role("button", name="Add to checkout").click()
    await expect(view.get_by_role("alert")).to_have_text(
        "This could not be done from here. Ask for it in the conversation."
    )
    await view.get_by_role("button", name="Add to checkout").click()
    await expect(view.get_by_text("1 in your checkout")).to_be_visible()
    first, second = host.called
    assert first == second
    await view.get_by_role("button", name="Add another").click()
    await expect(view.get_by_text("2 in your checkout")).to_be_visible()
    assert host.called[2]["arguments"]["idempotency_key"] != first["arguments"]["idempotency_key"]


async def pressed(host: Host, view: FrameLocator, name: str, left: int) -> None:
    """A quantity's button is pressed, and the view then shows so many."""
    await view.get_by_role("button", name=f"One {name}").click()
    await expect(view.get_by_role("group").get_by_text(str(left), exact=True)).to_be_visible()


async def lost_and_wished_again(host: Host) -> int:
    """Three is asked for and its answer lost; then one, two, and three again. How many the shop has in the end."""
    made = structured(await host.client.call_tool("create_checkout", ready()))
    view = await host.show("get_checkout", {"checkout_id": made["checkout_id"]})
    host.fails = 1
    await pressed(host, view, "more", 2)
    await expect(view.get_by_role("alert")).to_be_visible()
    for name, left in (("less", 1), ("more", 2), ("more", 3)):
        await pressed(host, view, name, left)
    now = structured(await host.client.call_tool("get_checkout", {"checkout_id": made["checkout_id"]}))
    return int(now["lines"][0]["quantity"])


async def test_a_wish_that_was_given_up_and_comes_again_later_is_another_one(host: Host) -> None:
    assert await lost_and_wished_again(host) == 3


async def test_planted_fault_a_key_that_outlives_newer_changes_shows_what_is_not_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pages._script()
    planted = honest.replace(
        "      keys.clear(); // (3)\n      return result;", "      keys.delete(what);\n      return result;"
    )
    assert planted != honest
    monkeypatch.setattr(pages, "_script", lambda: planted)
    pages.page.cache_clear()
    try:
        assert await lost_and_wished_again(host) == 2
    finally:
        pages.page.cache_clear()


async def test_what_a_look_showed_is_what_the_next_wish_begins_from(host: Host) -> None:
    made = structured(await host.client.call_tool("create_checkout", {"lines": lines(MUG, 2)}))
    checkout_id = made["checkout_id"]
    view = await host.show("get_checkout", {"checkout_id": checkout_id})
    host.fails = 1
    await pressed(host, view, "more", 2)
    await expect(view.get_by_role("alert")).to_be_visible()
    await host.client.call_tool("update_checkout", {"checkout_id": checkout_id, "lines": lines(MUG, 2)})
    await view.get_by_role("button", name="Check again").click()
    await expect(view.get_by_role("alert")).not_to_be_visible()
    await pressed(host, view, "more", 3)
    now = structured(await host.client.call_tool("get_checkout", {"checkout_id": checkout_id}))
    assert now["lines"][0]["quantity"] == 3


async def test_a_refusal_is_said_and_leaves_the_page_as_it_was(host: Host) -> None:
    view = await host.show("create_checkout", ready())
    await view.get_by_label("Discount code").fill("NO-SUCH")
    await view.get_by_role("button", name="Apply").click()
    await expect(view.get_by_role("region", name="Please note").get_by_role("listitem")).to_have_count(1)
    await expect(view.get_by_role("button", name="Pay $41.90")).to_be_enabled()


async def test_saved_cards_are_shown_when_asked_for_and_a_guest_is_told_why_not(host: Host) -> None:
    view = await host.show("create_checkout", ready())
    assert host.called == []  # asking would have some hosts send the shopper to sign in
    await view.get_by_role("button", name="Show my saved cards").click()
    await expect(view.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("can", [{}, {"message": {"text": {}}}], ids=["nothing", "messages"])
async def test_a_host_that_calls_nothing_is_asked_for_nothing(
    browser: Browser, host_script: str, site: Site, can: dict[str, object]
) -> None:
    async with client(site) as connected, hosting(browser, connected, host_script, capabilities=can) as host:
        view = await host.show("search_catalog", {"query": "kettle", "limit": 1})
        await view.get_by_role("button", name="Add to checkout").click()
        if can:
            await expect(view.get_by_role("alert")).to_have_count(0)
            assert host.said == [f"Please put {KETTLE} into a checkout for me."]
        else:
            await expect(view.get_by_role("alert")).to_contain_text("Ask for it in the conversation.")
        view = await host.show("create_checkout", ready())
        await expect(view.get_by_role("heading", level=1)).to_have_text("Ready to pay")
        assert await view.get_by_role("button").count() == 0  # no address to pay at yet, and nothing to change it with
        assert await view.locator("input, select").count() == 0
        assert (host.called, host.opened) == ([], [])


async def test_an_address_that_is_there_can_be_opened_where_no_tool_can_be_called(
    browser: Browser, host_script: str, site: Site
) -> None:
    async with client(site) as connected:
        made = structured(await connected.call_tool("create_checkout", ready()))
        async with hosting(browser, connected, host_script, capabilities={"openLinks": {}}) as host:
            view = await host.show("complete_checkout", {"checkout_id": made["checkout_id"]})
            await view.get_by_role("button", name="Pay").click()
            await expect(view.get_by_role("button", name="Pay")).to_be_enabled()
            assert host.opened == [site.world.commerce.links.checkout_page(site.world.brand, made["checkout_id"])]


async def test_a_shopper_walks_the_products_by_arrow_keys(host: Host) -> None:
    view = await host.show("search_catalog", {"limit": 4})
    stops = view.get_by_role("button", name="Add to checkout")
    await stops.first.focus()
    for key, place in (("ArrowRight", 1), ("End", 3), ("ArrowLeft", 2), ("Home", 0), ("ArrowLeft", 0)):
        await host.page.keyboard.press(key)
        await expect(stops.nth(place)).to_be_focused()
    await host.page.keyboard.press("Enter")
    await expect(view.get_by_text("1 in your checkout")).to_be_visible()
    await expect(view.get_by_role("button", name="Add another")).to_be_focused()


async def test_what_goes_wrong_before_there_is_an_answer_is_said(host: Host) -> None:
    view = await host.show("get_order", {"order_id": "ord_none"})
    await expect(view.get_by_role("alert")).to_have_text("There is no such order here.")
    view = await host.show("search_catalog", {"query": "kettle"}, pending=True)
    await expect(view.get_by_text("Looking…")).to_be_visible()
    await host.page.evaluate("() => window.bridge.sendToolCancelled({ reason: 'user action' })")
    await expect(view.get_by_role("alert")).to_have_text("This was stopped before there was an answer.")
    view = await host.show("search_catalog", {}, result={"content": [], "structuredContent": {"products": 7}})
    await expect(view.get_by_role("alert")).to_contain_text("This answer cannot be shown here.")
    assert host.complaints == []


async def test_the_frame_is_as_high_as_what_is_in_it(host: Host) -> None:
    host.fits = True
    view = await host.show("create_checkout", ready(lines=lines() + lines(KETTLE, 1)))
    await expect(view.get_by_role("button", name="Pay")).to_be_visible()
    await host.page.wait_for_function(
        "() => window.heights.length && document.querySelector('iframe').offsetHeight === window.heights.at(-1)"
    )
    inner = await host.ask("() => document.documentElement.getBoundingClientRect().height")
    shown = await host.page.evaluate("() => window.heights.at(-1)")
    assert 300 < inner <= shown < inner + 2


async def test_one_product_a_comparison_and_an_answer_are_shown_as_products_are(host: Host) -> None:
    view = await host.show("get_product", {"product_id": "hp-mug"})
    await expect(view.get_by_role("heading", level=2)).to_have_text(["Harbour Mug - sand / 300 ml"])
    await view.get_by_label("Choose").select_option(MUG)
    await expect(view.get_by_role("heading", level=2)).to_have_text(["Harbour Mug - sea / 300 ml"])
    await view.get_by_role("button", name="Add to checkout").click()
    await expect(view.get_by_text("1 in your checkout")).to_be_visible()
    assert host.called[-1]["arguments"]["lines"] == [{"variant_id": MUG, "quantity": 1}]

    view = await host.show("get_product", {"product_id": "hp-mug", "compare_with": ["hp-kettle"]})
    await expect(view.get_by_role("row", name="price $18.00 to $22.00 $79.00 to $94.00")).to_be_visible()
    await expect(view.get_by_role("button", name="Add to checkout")).to_have_count(2)

    view = await host.show("ask_brand", {"need": "a kettle under $100"})
    await expect(view.get_by_text("$79.00 is within $100.00")).to_be_visible()
    assert host.complaints == []


async def test_images_come_from_the_hosts_that_the_brand_named_and_no_other(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mcp_server.apps.resources.theme_of", lambda brand: Theme(image_hosts=("images.harbour.example",))
    )
    host.images = {"https://images.harbour.example/kettle.png": PIXEL}
    found = as_json(await host.client.call_tool("search_catalog", {"query": "kettle", "limit": 2}))
    first, second = found["structuredContent"]["products"]
    first["image_url"] = "https://images.harbour.example/kettle.png"
    for other in ("https://evil.example/kettle.png", "http://images.harbour.example/kettle.png", "javascript:1", ""):
        second["image_url"] = other
        view = await host.show("search_catalog", {"query": "kettle"}, result=found)
        await expect(view.locator("img")).to_have_count(1)
        await host.page.frames[-1].wait_for_function("() => document.images[0].naturalWidth === 1")
    assert host.complaints == []


async def test_at_chatgpt_s_endpoint_the_view_leads_to_the_page_too(
    browser: Browser, host_script: str, own_site: Site, world: World
) -> None:
    """There complete_checkout has the arguments of the payment sheet, and its answer is for the sheet."""
    payments = AssistantPayments(
        maximum_minor=50_000, limits_minor=(10_000,), chatgpt_sheet=ChatGptSheet.model_validate(SHEET)
    )
    brand = await world.commerce.database.read(lambda connection: find_brand(connection, world.brand))
    policy = brand.policy.model_copy(update={"assistant_payments": payments, **LEGAL})
    await world.commerce.database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        transport = streamable_http_client(f"{own_site.endpoint()}/chatgpt", http_client=http)
        async with Client(transport) as connected, hosting(browser, connected, host_script) as host:
            assert "resourceUri" not in (host.tools["complete_checkout"].meta or {})["ui"]
            view = await host.show("create_checkout", ready())
            await view.get_by_role("button", name="Pay").click()
            await expect(view.get_by_text(RING)).to_be_visible()
            assert list(host.called[0]["arguments"]) == ["checkout_session_id"]
            assert len(host.opened) == 1


async def test_what_the_shopper_agreed_to_is_what_was_shown(host: Host) -> None:
    """Changed behind the page's back, the checkout is not handed over: the page shows what it is now."""
    made = await host.client.call_tool("create_checkout", ready())
    checkout_id = structured(made)["checkout_id"]
    view = await host.show("get_checkout", {"checkout_id": checkout_id})
    await expect(view.get_by_role("button", name="Pay $41.90")).to_be_visible()
    await host.client.call_tool("update_checkout", {"checkout_id": checkout_id, "lines": lines(KETTLE, 3)})
    await view.get_by_role("button", name="Pay $41.90").click()
    await expect(view.get_by_role("alert")).to_be_visible()
    assert host.opened == []
    await expect(view.get_by_role("button", name="Pay $237.00")).to_be_visible()


async def test_planted_fault_a_tool_that_is_the_model_s_alone_is_not_called_for_a_view(
    browser: Browser, host_script: str, own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no test of a purchase would pass with: the host holds the view to what the tool says."""
    monkeypatch.setattr("mcp_server.apps.resources.CALLED_BY_PAGES", frozenset({"search_catalog"}))
    async with client(own_site) as connected, hosting(browser, connected, host_script) as host:
        view = await host.show("search_catalog", {"query": "kettle", "limit": 1})
        await view.get_by_role("button", name="Add to checkout").click()
        await expect(view.get_by_role("alert")).to_contain_text("Ask for it in the conversation.")
        assert host.refused == ["create_checkout"]
