"""The pages in a real browser: without script, by keyboard, in both schemes, and what the browser sends and refuses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from commerce_api.errors import CommerceError
from commerce_api.pages.render import Notice, render_notice
from commerce_api.schemas import AppliedView
from tests.commerce_api.pages.checkout_site import CheckoutSite, serving
from tests.commerce_api.pages.page_views import (
    AUTHENTICATION,
    DECLINED,
    OPENER,
    PAGE_URL,
    PAY_URL,
    address,
    brand,
    checkout,
    incomplete,
    line,
    order,
    page,
    totals,
    usd,
)

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
JUDGEMENTS = Path(__file__).with_name("judgements.js").read_text(encoding="utf-8")
THANKS = "<!doctype html><title>Thanks</title>"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")

LONG = page(
    checkout(
        lines=[line("x" * 190, 999, 10**6), line("Donaudampfschifffahrtsgesellschaft " * 5, 2, 1_800)],
        shipping_address=address(city="Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"),
        totals=totals(applied=[AppliedView(id="x", title="y" * 190, amount=usd(10**9))], total=usd(10**9)),
        messages=[DECLINED],
    ),
    of=brand("Donaudampfschifffahrtsgesellschaftskapitänsmützenmanufaktur " * 2),
)
PAGES = {
    "review": page(),
    "long": LONG,
    "declined": page(checkout(messages=[DECLINED])),
    "out of stock": page(problem=CommerceError.OUT_OF_STOCK),
    "incomplete": page(incomplete()),
    "bank": page(checkout(messages=[AUTHENTICATION]), action_url="https://bank.example/confirm/1"),
    "waiting": page(checkout("complete_in_progress")),
    "receipt": page(checkout("completed"), paid=order()),
    "already paid": page(checkout("completed"), paid=order(), problem=CommerceError.CHECKOUT_FINISHED),
    "canceled": page(checkout("canceled")),
    "unavailable": render_notice(Notice.UNAVAILABLE),
    "way back": render_notice(Notice.CLIENT_MISTAKEN, back_url=f"https://{'a' * 60}.example/cb?error=x"),
}


@dataclass
class Shopper:
    """A browser without script and the shop's site. What the browser complains of is kept in `complaints`."""

    browser: Browser
    site: CheckoutSite
    complaints: list[str]

    def open(
        self, html: str, *, width: int = 1280, height: int = 800, scheme: str = "light", script: bool = False
    ) -> Page:
        self.site.pages[PAGE_URL] = html
        context = self.browser.new_context(
            java_script_enabled=script,
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(10_000)
        opened = context.new_page()
        opened.on("console", lambda message: self.complaints.append(message.text))
        opened.goto(f"{self.site.url}{PAGE_URL}")
        return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def shopper(browser: Browser) -> Iterator[Shopper]:
    with serving() as site:
        yield Shopper(browser, site, [])
        for context in browser.contexts:
            context.close()


def _pay(opened: Page) -> None:
    opened.get_by_role("button", name="Continue to secure payment").click()


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES.keys())
def test_everything_can_be_read_and_hit_at_every_width_in_both_schemes(shopper: Shopper, html: str) -> None:
    opened = shopper.open(html, script=True)
    for width in (320, 390, 768, 1280):
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate(JUDGEMENTS) == [], width
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(JUDGEMENTS) == []
    assert shopper.complaints == []


def test_planted_flaws_are_found_by_the_same_check(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["review"], width=390, script=True)
    opened.eval_on_selector(".promise span", "element => { element.style.color = '#999999'; }")
    opened.eval_on_selector(".pay", "element => { element.style.minHeight = '2rem'; element.style.width = '30rem'; }")
    opened.eval_on_selector("h2", "element => { element.style.fontSize = '11px'; }")
    found = opened.evaluate(JUDGEMENTS)
    assert sorted(found) == ["faint: span.", "hard to hit: button.pay", "scrolls sideways", "small: h2."]


def test_the_button_stays_in_reach_on_a_phone_and_hides_nothing_that_has_focus(shopper: Shopper) -> None:
    opened = shopper.open(LONG, width=390, height=844, script=True)
    button = opened.get_by_role("button").bounding_box()
    assert button is not None
    assert button["y"] + button["height"] <= 844
    for _ in range(4):
        opened.keyboard.press("Tab")
        covered = """() => {
          const box = document.activeElement.getBoundingClientRect();
          const seen = document.elementFromPoint(box.left + 2, box.top + box.height / 2);
          return !document.activeElement.contains(seen);
        }"""
        assert not opened.evaluate(covered)


def test_focus_is_always_visible_and_an_alert_has_it_first(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["declined"], script=True)
    opened.wait_for_function("document.activeElement.id === 'alert'")
    reached = []
    for _ in range(5):
        opened.keyboard.press("Tab")
        assert opened.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
        reached.append(opened.evaluate("document.activeElement.innerText"))
    assert reached == ["Continue to secure payment", "Returns", "Help and contact", "Terms of sale", "Privacy"]


def test_the_returns_open_by_keyboard_without_script(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["review"])
    opened.get_by_text("Returns").press("Enter")
    assert opened.get_by_text("We pay the way back").is_visible()


def test_a_screen_reader_is_told_how_it_was_paid(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["receipt"])
    assert opened.get_by_role("img", name="Visa ending in 4242").inner_text() == "Visa •••• 4242"
    assert opened.get_by_role("heading", level=1).inner_text() == "Your order is confirmed"


def test_the_page_asks_for_its_style_sheet_and_nothing_else(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["review"])
    assert [path.partition(".")[0] for path in shopper.site.gets] == [PAGE_URL, "/assets/checkout"]
    assert opened.context.cookies() == []
    assert shopper.complaints == []


# What the browser sends and where it lets the form go.


def test_the_form_says_where_it_was_sent_from_and_carries_the_opener_alone(shopper: Shopper) -> None:
    shopper.site.after_post = PAGE_URL
    _pay(shopper.open(PAGES["review"]))
    sent = shopper.site.posts[0]
    assert sent["origin"] == shopper.site.url
    assert sent["sec-fetch-site"] == "same-origin"
    assert sent["content-length"] == str(len(f"opener={OPENER}"))


def test_with_no_referrer_the_form_would_not_say_it(shopper: Shopper) -> None:
    shopper.site.after_post = PAGE_URL
    shopper.site.headers = {"Referrer-Policy": "no-referrer"}
    _pay(shopper.open(PAGES["review"]))
    assert shopper.site.posts[0]["origin"] == "null"


def test_after_the_form_the_browser_goes_to_the_card_page_which_is_not_told_the_link(shopper: Shopper) -> None:
    with serving() as card_site:
        card_site.pages["/capture/x"] = THANKS
        shopper.site.card_page_origin = card_site.url
        shopper.site.after_post = f"{card_site.url}/capture/x"
        opened = shopper.open(PAGES["review"], script=True)
        _pay(opened)
        opened.wait_for_url("**/capture/x")
        assert opened.evaluate("document.referrer") == ""


def test_after_the_form_the_browser_goes_to_no_other_origin(shopper: Shopper) -> None:
    with serving() as elsewhere:
        elsewhere.pages["/capture/x"] = THANKS
        shopper.site.after_post = f"{elsewhere.url}/capture/x"
        opened = shopper.open(PAGES["review"])
        with opened.expect_console_message(lambda message: "form-action" in message.text):
            _pay(opened)
        assert elsewhere.gets == []


def test_nothing_planted_in_the_page_runs_or_loads(shopper: Shopper) -> None:
    planted = "<script>document.title = 'stolen'</script><img src='/pixel' onerror=\"document.title = 'stolen'\">"
    opened = shopper.open(PAGES["review"].replace("<main", f"{planted}<main"), script=True)
    assert opened.title() == "Your order · Fernhill Outfitters"
    assert "/pixel" not in shopper.site.gets
    assert len(shopper.complaints) >= 2


def test_waiting_moves_on_by_itself_without_script(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["waiting"])
    shopper.site.pages[PAGE_URL] = PAGES["receipt"]
    opened.get_by_text("Your order is confirmed").wait_for()


def test_waiting_that_answers_a_post_moves_on_to_the_page_and_posts_nothing_again(shopper: Shopper) -> None:
    shopper.site.answer = page(checkout("complete_in_progress"), problem=CommerceError.CHECKOUT_IN_PAYMENT)
    opened = shopper.open(PAGES["review"])
    _pay(opened)
    opened.wait_for_url(f"**{PAY_URL}")
    shopper.site.pages[PAGE_URL] = PAGES["receipt"]
    opened.get_by_text("Your order is confirmed").wait_for()
    assert opened.url == f"{shopper.site.url}{PAGE_URL}"
    assert len(shopper.site.posts) == 1


def test_the_printed_receipt_is_dark_on_white_and_shows_the_returns(shopper: Shopper) -> None:
    opened = shopper.open(PAGES["receipt"], scheme="dark", script=True)
    opened.emulate_media(media="print", color_scheme="dark")
    colors = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
    assert opened.eval_on_selector("body", colors) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert opened.get_by_text("Sandbox").is_visible()
    assert opened.get_by_text("We pay the way back").is_visible()
    assert not opened.get_by_text("Print or save this page").is_visible()
