"""The shopper: opens the link from the chat, reviews, types the card on the zone's page, comes back to the receipt.

In a real headless browser where there is one; else over HTTP, with the same forms.
"""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from examples.demo.leaks import Card

NAME, POSTAL_CODE, EXPIRY = "Robin Field", "97209", "12 / 34"
STEP_TIMEOUT_MILLISECONDS = 20_000
BROWSER_ARGUMENTS = [
    "--no-sandbox",  # as root in a container there is no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Tell = Callable[[str], None]


class ShopperStuck(Exception):
    """A page was not what a shopper needs to go on; says which page."""


def pay_in_browser(browser: str, link: str, card: Card, pictures: Path, tell: Tell) -> None:
    """Pays in headless Chromium, with a picture of each page. Raises ShopperStuck."""
    from playwright.sync_api import Error, sync_playwright

    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=BROWSER_ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(STEP_TIMEOUT_MILLISECONDS)
        try:
            page.goto(link)
            tell(f"opens the link: “{page.title()}”")
            page.screenshot(path=pictures / "1-review.png", full_page=True)
            page.locator("form button").first.click()
            page.wait_for_url(re.compile("/capture/"))
            tell(f"is on the card page, {urlsplit(page.url).netloc}: “{page.title()}”")
            page.screenshot(path=pictures / "2-card.png", full_page=True)
            page.locator("[name=number]").press_sequentially(card.number)
            page.locator("[name=expiry]").press_sequentially(EXPIRY.replace(" ", ""))
            page.locator("[name=cvc]").press_sequentially(card.code)
            page.locator("[name=name]").fill(NAME)
            page.locator("[name=postal_code]").fill(POSTAL_CODE)
            tell("types the card, and presses the button")
            page.locator("form button[type=submit], form button:not([type])").first.click()
            page.wait_for_url(re.compile("/checkout/[a-z_]+$"))
            page.get_by_text(re.compile("ord_")).first.wait_for()
            page.screenshot(path=pictures / "3-receipt.png", full_page=True)
            tell(f"is back with the merchant: “{page.title()}”")
        except Error as failure:
            page.screenshot(path=pictures / "stuck.png", full_page=True)
            raise ShopperStuck(f"at {urlsplit(page.url).path[:40]}: {str(failure).splitlines()[0]}") from None
        finally:
            chromium.close()


def pay_over_http(link: str, card: Card, tell: Tell) -> None:
    """Pays with the pages' own forms, without a browser. Raises ShopperStuck."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        review = client.get(link)
        tell("opens the link (over HTTP: no browser is installed here)")
        button = _first_form(review).button
        card_page = client.post(_form_action(review), data=button, follow_redirects=True)
        tell(f"is on the card page, {card_page.url.netloc.decode()}")
        fields = {
            "number": card.number,
            "expiry": EXPIRY,
            "cvc": card.code,
            "name": NAME,
            "postal_code": POSTAL_CODE,
        }
        tell("fills in the card, and sends it")
        back = client.post(_form_action(card_page), data=fields, follow_redirects=True)
        if back.status_code != httpx.codes.OK or "/checkout/" not in str(back.url):
            raise ShopperStuck(f"after the card: HTTP {back.status_code}")
        tell("is back with the merchant")


class _FirstForm(HTMLParser):
    """A page's first form: where it is sent, and what its button sends with it."""

    action: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.button: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = given.get("action") or ""
        elif tag == "button" and not self.button and (name := given.get("name")):
            self.button = {name: given.get("value") or ""}


def _first_form(page: httpx.Response) -> _FirstForm:
    form = _FirstForm()
    form.feed(page.text)
    if form.action is None:
        raise ShopperStuck(f"no form at {urlsplit(str(page.url)).path[:40]}: HTTP {page.status_code}")
    return form


def _form_action(page: httpx.Response) -> str:
    return urljoin(str(page.url), _first_form(page).action or "")
