"""The browser in which a shopper pressed pay is the only one that can use the link to the card page. In real browsers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy import func, select

import commerce_api.payment
import vault_zone.openers
from tests.journeys.two_sides import TwoSides, two_sides
from tests.vault_zone.pages.test_browser import CHROMIUM, FLAGS
from tokenization.wire import OpenCaptureSession
from vault_zone.models import capture_session, card_record

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
CARD = {"number": "4242424242424242", "expiry": "1234", "cvc": "737", "name": "Robin Field", "postal_code": "97209"}
STEP_MILLISECONDS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[TwoSides]:
    with two_sides(tmp_path) as running:
        yield running


@pytest.fixture
def shopper(browser: Browser) -> Iterator[BrowserContext]:
    yield from _context(browser)


@pytest.fixture
def thief(browser: Browser) -> Iterator[BrowserContext]:
    """Another browser: cookies, storage and memory of its own."""
    yield from _context(browser)


def _context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(STEP_MILLISECONDS)
    yield context
    context.close()


def press_pay(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Continue to secure payment").click()


def press_pay_and_be_stopped(context: BrowserContext, address: str) -> None:
    """The link is made, and the shopper's browser does not get to it: whoever has the link now may be the first."""
    page = context.new_page()
    page.goto(address)
    opener = page.get_attribute("button[name=opener]", "value") or ""
    answer = context.request.post(f"{address}/pay", form={"opener": opener}, max_redirects=0)
    assert answer.status == 307
    page.close()


def takes_a_card(context: BrowserContext, link: str) -> bool:
    """Whether this browser is shown the card form under the link."""
    page = context.new_page()
    page.goto(link)
    shown = page.locator("#card-form").count() == 1
    assert shown or "where you began" in page.content()
    page.close()
    return shown


def fill_and_send(page: Page) -> None:
    page.wait_for_selector("#card-form")
    for name, text in CARD.items():
        page.locator(f"#{name}").press_sequentially(text)
    page.locator("#pay").click()


def cards(sides: TwoSides) -> int:
    count: int = sides.run(
        sides.zone.database.read(lambda c: c.execute(select(func.count()).select_from(card_record)).scalar_one())
    )
    return count


def test_the_browser_that_began_pays_and_no_address_ever_holds_its_secret(
    sides: TwoSides, shopper: BrowserContext
) -> None:
    page = shopper.new_page()
    addresses: list[str] = []
    openers: list[str] = []
    page.on("request", lambda request: addresses.append(request.url + str(request.headers.get("referer"))))
    page.on("request", lambda request: openers.append(request.post_data or "") if "/claim" in request.url else None)
    press_pay(page, sides.checkout())
    fill_and_send(page)
    page.get_by_text("Your order is confirmed").wait_for()
    assert cards(sides) == 1
    (sent,) = openers
    assert sent.startswith("opener=opn_")
    assert not any("opn_" in address for address in addresses)
    assert [cookie["name"] for cookie in shopper.cookies()] == ["cordon_claim"]


def test_a_stolen_link_opens_nothing_in_another_browser_even_if_it_is_the_first_there(
    sides: TwoSides, shopper: BrowserContext, thief: BrowserContext
) -> None:
    address = sides.checkout()
    press_pay_and_be_stopped(shopper, address)
    assert not takes_a_card(thief, sides.vault.links[-1])
    assert not takes_a_card(shopper, sides.vault.links[-1]), "not even there without the proof"
    page = shopper.new_page()
    press_pay(page, address)
    page.wait_for_selector("#card-form")
    assert not takes_a_card(thief, sides.vault.links[-1])
    fill_and_send(page)
    page.get_by_text("Your order is confirmed").wait_for()
    assert cards(sides) == 1


def _first_browser_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(**asked: Any) -> OpenCaptureSession:
        return OpenCaptureSession(**{**asked, "opener_digest": None})

    monkeypatch.setattr(commerce_api.payment, "OpenCaptureSession", without)


def test_without_the_openers_digest_the_thief_would_have_the_card_page(
    sides: TwoSides, shopper: BrowserContext, thief: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the test above finds it."""
    _first_browser_has_it(monkeypatch)
    press_pay_and_be_stopped(shopper, sides.checkout())
    assert takes_a_card(thief, sides.vault.links[-1])


def test_another_browsers_own_opener_is_not_the_links(
    sides: TwoSides, shopper: BrowserContext, thief: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief with the checkout's link as well has a page, and an opener, of his own; it proves nothing for this link."""
    address = sides.checkout()
    press_pay_and_be_stopped(shopper, address)
    page = thief.new_page()
    page.goto(address)
    opener = page.get_attribute("button[name=opener]", "value")
    assert thief.request.post(f"{sides.vault.links[-1]}/claim", form={"opener": opener or ""}).status == 403
    monkeypatch.setattr(vault_zone.openers, "_began", lambda *_: True)
    assert thief.request.post(f"{sides.vault.links[-1]}/claim", form={"opener": opener or ""}).status == 200, (
        "the check"
    )


def test_a_form_without_an_opener_makes_no_link_and_shows_the_page_again(
    sides: TwoSides, shopper: BrowserContext
) -> None:
    address = sides.checkout()
    forms: list[dict[str, str | float | bool]] = [
        {},
        {"opener": "opn_x"},
        {"opener": "opn_" + "b" * 64, "more": "x"},
    ]
    for sent in forms:
        answer = shopper.request.post(f"{address}/pay", form=sent, max_redirects=0)
        assert (answer.status, answer.headers["location"]) == (303, address)
    assert sides.vault.links == []


def test_the_card_may_be_saved_only_where_the_brands_agent_named_the_shopper(
    sides: TwoSides, shopper: BrowserContext
) -> None:
    page = shopper.new_page()
    press_pay(page, sides.checkout())
    page.wait_for_selector("#card-form")
    assert page.locator("[name=save_card]").count() == 0
    press_pay(page, sides.checkout(shopper="shp_robin"))
    page.wait_for_selector("[name=save_card]")
    assert not page.is_checked("[name=save_card]")
    page.check("[name=save_card]")
    fill_and_send(page)
    page.get_by_text("Your order is confirmed").wait_for()
    saved = select(card_record.c.shopper).join(capture_session, capture_session.c.token == card_record.c.token)
    assert sides.run(sides.zone.database.read(lambda c: c.execute(saved).scalars().all())) == ["shp_robin"]
