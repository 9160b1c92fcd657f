"""The puzzle in a real browser: answered while the card is typed, waited for where it is not, and not needed without script."""

import base64
import hashlib
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Error, Page

from tests.vault_zone.pages.page_views import card_view
from tests.vault_zone.pages.test_browser import CHROMIUM, Shop, browser, shop
from vault_zone.pages.render import asset_url, render_card_page, static_asset
from vault_zone.puzzle import ANSWER, PUZZLE, Puzzle, make_puzzle, zero_bits

__all__ = ["browser", "shop"]
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
FIELDS = {
    "number": "4242424242424242",
    "expiry": "1234",
    "cvc": "737",
    "name": "Robin Field",
    "postal_code": "97209",
}

FILL_AND_SEND_AT_ONCE = """fields => {
    for (const [name, value] of Object.entries(fields)) { document.getElementById(name).value = value; }
    document.getElementById("card-form").requestSubmit();
}"""
Check = Callable[[Shop, Callable[[str], str]], None]


def a_puzzle(bits: int) -> Puzzle:
    return make_puzzle("key_" + "b" * 32, b"k", session="cap_a", tries=2, bits=bits, now_ms=1_795_000_000_000)


def page_with(puzzle: Puzzle) -> str:
    return render_card_page(card_view(puzzle=puzzle))


def sent(shop: Shop) -> dict[str, str]:
    """The one form that was posted."""
    [body] = shop.site.posts
    return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}


def fill_and_send(page: Page) -> None:
    for field, value in FIELDS.items():
        page.fill(f"#{field}", value)
    page.click("#pay")
    page.wait_for_url("**/done")


def check_the_answer_is_right(shop: Shop, html: Callable[[str], str]) -> None:
    puzzle = a_puzzle(10)
    page = shop.open(html(page_with(puzzle)))
    page.wait_for_selector("#card-form[data-solved]", state="attached")
    fill_and_send(page)
    form = sent(shop)
    assert form[PUZZLE] == puzzle.challenge
    assert zero_bits(puzzle.seed, form[ANSWER]) >= puzzle.bits


def check_a_form_sent_early_goes_by_itself_when_the_answer_is_there(shop: Shop, html: Callable[[str], str]) -> None:
    puzzle = a_puzzle(20)  # the page has to be quicker than the answer
    page = shop.open(html(page_with(puzzle)))
    page.evaluate(FILL_AND_SEND_AT_ONCE, FIELDS)
    page.wait_for_url("**/done")
    assert zero_bits(puzzle.seed, sent(shop)[ANSWER]) >= puzzle.bits


CHECKS: dict[Check, tuple[str, str]] = {
    check_the_answer_is_right: ("(early >>> 3)", "(early >>> 4)"),
    check_a_form_sent_early_goes_by_itself_when_the_answer_is_there: ("event.preventDefault();", ""),
}


@pytest.mark.parametrize("check", CHECKS)
def test_in_a_browser(shop: Shop, check: Check) -> None:
    check(shop, lambda html: html)
    assert shop.complaints == []


@pytest.mark.parametrize("check", CHECKS)
def test_a_planted_fault_is_found(shop: Shop, check: Check) -> None:
    old, new = CHECKS[check]

    def faulty(html: str) -> str:
        url = asset_url("puzzle.js")
        body, _, integrity = static_asset(url.removeprefix("/assets/"))
        assert body.decode().count(old) == 1
        script = body.decode().replace(old, new).encode()
        shop.site.files["/assets/faulty.js"] = script
        digest = base64.b64encode(hashlib.sha384(script).digest()).decode()
        return html.replace(url, "/assets/faulty.js").replace(integrity, f"sha384-{digest}")

    with pytest.raises((AssertionError, Error)):  # a form that goes twice may break off its own first going
        check(shop, faulty)


def test_without_script_the_form_goes_without_an_answer(shop: Shop) -> None:
    puzzle = a_puzzle(15)
    fill_and_send(shop.open(page_with(puzzle), script=False))
    assert (sent(shop)[PUZZLE], sent(shop)[ANSWER]) == (puzzle.challenge, "")


def test_a_page_that_asks_for_no_work_loads_no_script_for_it(shop: Shop) -> None:
    assert "puzzle" in page_with(a_puzzle(0))
    assert asset_url("puzzle.js") not in page_with(a_puzzle(0))


def test_the_page_answers_to_typing_while_it_works(shop: Shop) -> None:
    page = shop.open(page_with(a_puzzle(31)))  # never done while the test lasts
    page.type("#number", FIELDS["number"])
    assert page.input_value("#number") == "4242 4242 4242 4242"
    longest = page.evaluate(
        """() => new Promise((done) => {
            let last = performance.now(), longest = 0, turns = 0;
            const turn = () => {
                const now = performance.now();
                longest = Math.max(longest, now - last);
                last = now;
                if ((turns += 1) > 40) { done(longest); } else { setTimeout(turn, 0); }
            };
            setTimeout(turn, 0);
        })"""
    )
    assert longest < 1_000, "no slice keeps the page for long"


@pytest.mark.parametrize("script", [True, False])
def test_who_has_to_wait_is_told_first_and_how_long(shop: Shop, script: bool) -> None:
    html = render_card_page(card_view(puzzle=a_puzzle(15), too_many_tries=True, wait_seconds=8))
    page = shop.open(html, script=script)
    assert page.title().startswith("Please wait")
    told = page.get_by_role("alert").filter(visible=True)
    assert "Please wait 8 seconds" in told.inner_text()
    assert "Nothing was charged" in told.inner_text()
    assert page.locator("#wait").evaluate("wait => wait === document.activeElement")
