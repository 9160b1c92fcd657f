"""The example shop with card fields of a real zone, on two origins, in a real browser that takes no third-party cookies."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser, Frame, Page, Route, sync_playwright
from sqlalchemy import func, select

from tests.vault_zone.pages.fields_site import FieldsSite, fields_site
from tests.vault_zone.pages.test_browser import CHROMIUM, FLAGS
from tests.vault_zone.world import ACTOR, charge_request
from vault_zone.models import capture_session, card_record
from vault_zone.puzzle import ANSWER, FREE_TRIES, PUZZLE, read_challenge, zero_bits

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
NUMBER = "4242424242424242"
CARD = {"number": NUMBER, "expiry": "1234", "cvc": "737", "name": "Ada Lovelace", "postal_code": "SW1A 1AA"}
LISTEN = "window.heard = []; window.addEventListener('message', (event) => window.heard.push(event.data));"

UNTIL_HEARD = """(type) => new Promise((resolve) => {
  const look = () => (window.heard.some((message) => message.type === type) ? resolve() : requestAnimationFrame(look));
  look();
})"""


@dataclass
class Visit:
    """A page of the shop, its frame, and what the browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def frame(self) -> Frame:
        (frame,) = [one for one in self.page.frames if "/fields/" in one.url]
        return frame

    def fill(self, **other: str) -> None:
        """Types a card by keyboard, from field to field."""
        self.frame.focus("#number")
        for text in {**CARD, **other}.values():
            self.page.keyboard.insert_text(text)
            self.page.keyboard.press("Tab")

    def pay(self) -> None:
        self.page.click("#pay:not([disabled])")

    def thanked(self) -> None:
        self.page.locator("#said", has_text="Thank you").wait_for()

    def heard(self) -> list[dict[str, object]]:
        """Every message that reached the page."""
        messages: list[dict[str, object]] = self.page.evaluate("window.heard")
        return messages


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = [*FLAGS, "--test-third-party-cookie-phaseout"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FieldsSite]:
    with fields_site(tmp_path) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, site: FieldsSite) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(20_000)
    context.add_init_script(LISTEN)
    visit = Visit(context.new_page())
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.goto(site.shop_url)
    visit.page.wait_for_selector("#pay:not([disabled])")
    yield visit
    context.close()


def cards(site: FieldsSite) -> int:
    count: int = site.run(
        site.world.database.read(lambda c: c.execute(select(func.count()).select_from(card_record)).scalar_one())
    )
    return count


def test_a_card_is_taken_in_the_frame_and_the_page_hears_states_alone(visit: Visit, site: FieldsSite) -> None:
    visit.fill()
    visit.pay()
    visit.thanked()
    assert cards(site) == 1
    heard = visit.heard()
    kinds = {str(message["type"]) for message in heard}
    assert {"hello", "ready", "height", "validity", "busy", "captured"} == kinds
    text = json.dumps(heard)
    for typed in (NUMBER, "4242", "737", "Lovelace", "SW1A", "12 / 34", "visa"):
        assert typed not in text
    assert visit.frame.input_value("#number") == ""
    assert visit.frame.inner_text("#state") == "Your card details were received."
    assert visit.page.context.cookies() == []
    assert visit.complaints == []


def test_the_frame_sends_what_3d_secure_asks_of_the_browser(visit: Visit, site: FieldsSite) -> None:
    visit.fill()
    visit.pay()
    visit.thanked()
    rows = select(capture_session.c.checkout, capture_session.c.grant_id).where(capture_session.c.grant_id.is_not(None))
    (taken,) = site.run(site.world.database.read(lambda c: c.execute(rows).all()))
    asked = charge_request(taken.grant_id, checkout=taken.checkout)
    site.run(site.world.engine.charge(asked, ACTOR))
    (device,) = site.world.processor.devices
    assert device is not None
    shown = visit.frame.evaluate("[screen.width, screen.height, navigator.language, navigator.userAgent]")
    assert [device.screen_width, device.screen_height, device.language, device.user_agent] == shown
    assert device.javascript_enabled


def test_the_frame_is_as_tall_as_its_fields(visit: Visit) -> None:
    shown = visit.page.eval_on_selector("iframe", "frame => frame.getBoundingClientRect().height")
    needed = visit.frame.evaluate("document.documentElement.scrollHeight")
    assert shown >= 300
    assert abs(shown - needed) <= 2


def test_enter_in_a_field_sends_the_card(visit: Visit, site: FieldsSite) -> None:
    visit.fill()
    visit.frame.focus("#postal_code")
    visit.page.keyboard.press("Enter")
    visit.thanked()
    assert cards(site) == 1


def test_an_incomplete_card_is_not_sent_and_the_summary_has_the_focus(visit: Visit, site: FieldsSite) -> None:
    visit.fill(number="4242424242424241")
    visit.pay()
    visit.frame.wait_for_selector("#problems:focus")
    assert site.asked == []
    assert visit.frame.get_attribute("#number", "aria-invalid") == "true"


def test_what_the_server_refuses_is_shown_by_field_and_mended(visit: Visit, site: FieldsSite) -> None:
    visit.fill(expiry="0120")  # the browser's clock may be wrong, so a date that is past is sent
    visit.pay()
    visit.frame.wait_for_selector("#expiry[aria-invalid]")
    visit.page.evaluate(UNTIL_HEARD, "refused")
    (refused,) = [message for message in visit.heard() if message["type"] == "refused"]
    assert refused["problems"] == {"expiry": "past"}
    visit.frame.fill("#expiry", "12 / 34")
    visit.pay()
    visit.thanked()
    assert cards(site) == 1


def test_a_further_try_carries_the_answer_to_the_puzzle_that_came_with_the_refusal(
    visit: Visit, site: FieldsSite
) -> None:
    sent: list[dict[str, str]] = []
    visit.page.on("request", lambda one: sent.append(dict(parse_qsl(one.post_data or "", keep_blank_values=True))))
    visit.fill(expiry="0120")
    for _ in range(FREE_TRIES):
        visit.page.evaluate("window.heard = []")
        visit.pay()
        visit.page.evaluate(UNTIL_HEARD, "refused")
        site.world.clock.advance(60)  # longer than any delay between tries
    visit.frame.fill("#expiry", "12 / 34")
    visit.pay()
    visit.thanked()
    forms = [form for form in sent if "number" in form]
    asked = [claimed for claimed in (read_challenge(form[PUZZLE]) for form in forms) if claimed is not None]
    assert len(asked) == len(forms) == FREE_TRIES + 1, "the frame sends the challenge that it was given"
    assert [claimed.bits > 0 for claimed in asked] == [False] * FREE_TRIES + [True]
    assert zero_bits(asked[-1].mac[:32], forms[-1][ANSWER]) >= asked[-1].bits


def test_a_lost_reply_is_sent_again_and_one_card_is_kept(visit: Visit, site: FieldsSite) -> None:
    site.lose_replies = 1
    visit.fill()
    visit.pay()
    visit.frame.locator("#state", has_text="could not reach").wait_for()
    assert cards(site) == 1
    visit.pay()
    visit.thanked()
    assert cards(site) == 1


def test_a_reload_goes_on_with_the_same_fields_and_after_the_card_says_so(visit: Visit, site: FieldsSite) -> None:
    before = visit.frame.url
    visit.page.reload()
    visit.page.wait_for_selector("#pay:not([disabled])")
    assert visit.frame.url == before
    visit.fill()
    visit.pay()
    visit.thanked()
    visit.page.reload()
    visit.thanked()
    assert cards(site) == 1


def test_the_later_of_two_tabs_has_the_fields_and_the_earlier_takes_them_back_by_sending(
    visit: Visit, site: FieldsSite
) -> None:
    fields_url = visit.frame.url
    opener = visit.page.evaluate("JSON.parse(sessionStorage.getItem('opener')).secret")
    assert visit.page.request.post(f"{fields_url}/claim", form={"opener": opener}).status == 200
    visit.fill()
    visit.pay()
    visit.thanked()
    assert cards(site) == 1


def test_no_other_origin_can_frame_the_fields(visit: Visit, site: FieldsSite) -> None:
    fields_url = visit.frame.url
    context = visit.page.context.browser.new_context()  # type: ignore[union-attr]
    page = context.new_page()
    elsewhere = site.shop_url.replace("localhost", "127.0.0.1")  # the shop's own server under an origin nobody set
    page.goto(elsewhere)
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text) as refused:
        page.evaluate(
            "(url) => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }",
            fields_url,
        )
    assert refused.value.type == "error"
    context.close()


FORGED = """(message) => {
  const frame = document.querySelector('iframe').contentWindow;
  frame.postMessage(message, '*');
}"""
# A window takes its messages in their order: when it has the last one, it had those before.
TO_ITSELF = """(message) => new Promise((resolve) => {
  window.addEventListener('message', (event) => event.data === 'last' && resolve());
  window.postMessage(message, '*');
  window.postMessage('last', '*');
})"""
UNTIL_TAKEN = """() => new Promise((resolve) => {
  window.addEventListener('message', (event) => event.data === 'last' && resolve());
  window.parent.postMessage('ask', '*');
})"""
SUBMIT = {"protocol": "cordon-fields", "version": 1, "type": "submit"}
CAPTURED = {"protocol": "cordon-fields", "version": 1, "type": "captured"}
CHECKS = {
    "fields": ("event.source !== window.parent || event.origin !== parentOrigin", "false"),
    "cordon-fields": ("event.source !== frame.contentWindow || event.origin !== origin", "false"),
}


def without_check(visit: Visit, site: FieldsSite, script: str) -> None:
    """Opens the shop again with a check taken out of a script, and with what would keep a changed script from running."""
    check, nothing = CHECKS[script]
    changed = []

    def serve(route: Route) -> None:
        answer = route.fetch()
        text, kind = answer.text(), route.request.resource_type
        if kind == "script" and check in text:
            changed.append(route.request.url)
            text = text.replace(check, nothing)
        headers = {name: value for name, value in answer.headers.items() if name != "content-security-policy"}
        route.fulfill(response=answer, headers=headers, body=re.sub(r' integrity="[^"]*"', "", text))

    visit.page.route(lambda url: True, serve)
    visit.page.goto(site.shop_url)
    visit.page.wait_for_selector("#pay:not([disabled])")
    assert changed, "the check is not in the script any more"


@pytest.mark.parametrize(
    "message",
    [
        "submit",
        None,
        {"protocol": "other", "version": 1, "type": "submit"},
        {"protocol": "cordon-fields", "version": 2, "type": "submit"},
        {"protocol": "cordon-fields", "version": 1, "type": "constructor"},
        {"protocol": "cordon-fields", "version": 1, "type": "init", "opener": "opn_x"},
    ],
)
def test_a_message_out_of_the_protocol_does_nothing(visit: Visit, site: FieldsSite, message: object) -> None:
    visit.fill()
    visit.page.evaluate(
        "window.addEventListener('message', (e) => e.data === 'ask' && e.source.postMessage('last', '*'))"
    )
    visit.page.evaluate(FORGED, message)
    visit.frame.evaluate(UNTIL_TAKEN)
    assert site.asked == []
    assert visit.complaints == []


def test_a_message_from_another_window_does_nothing(visit: Visit, site: FieldsSite) -> None:
    """A second frame of the page, of the zone's origin or not, is not the parent."""
    visit.fill()
    visit.frame.evaluate(TO_ITSELF, SUBMIT)  # from itself, not its parent
    assert site.asked == []
    visit.page.evaluate(TO_ITSELF, CAPTURED)  # as if it were the frame
    assert "Thank you" not in visit.page.inner_text("#said")


def test_without_its_check_the_frame_would_act_on_another_windows_message(visit: Visit, site: FieldsSite) -> None:
    without_check(visit, site, "fields")
    visit.fill()
    visit.frame.evaluate(TO_ITSELF, SUBMIT)
    visit.thanked()
    assert len(site.asked) == 1


def test_without_its_check_the_page_would_believe_another_windows_message(visit: Visit, site: FieldsSite) -> None:
    without_check(visit, site, "cordon-fields")
    visit.page.evaluate(TO_ITSELF, CAPTURED)
    assert "Thank you" in visit.page.inner_text("#said")
    assert site.asked == []


@pytest.mark.parametrize(
    "theme",
    [
        {"background": "#ffffff", "text": "#eeeeee"},
        {"text": "url(https://evil.example)"},
        {"font": "#000000"},
        {"radius": 999},
        {"scheme": "neon"},
        "red",
        {"accent": "#FFF"},
    ],
)
def test_a_theme_that_cannot_be_read_or_is_no_theme_is_refused_whole(visit: Visit, theme: object) -> None:
    visit.page.route("**/page.js", lambda route: route.fulfill(body=themed(theme), content_type="text/javascript"))
    visit.page.reload()
    visit.page.wait_for_selector("#pay:not([disabled])")
    visit.page.evaluate(UNTIL_HEARD, "ready")
    assert [m["code"] for m in visit.heard() if m["type"] == "problem"] == ["theme_refused"]
    assert visit.frame.evaluate("document.documentElement.getAttribute('style')") is None


def themed(theme: object) -> str:
    script = (Path(__file__).parents[3] / "examples/card_fields/page.js").read_text(encoding="utf-8")
    start, end = script.index("theme: {"), script.index("radius: 4 },")
    return script[:start] + f"theme: {json.dumps(theme)}," + script[end + len("radius: 4 },") :]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_scrolls_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    for one in (visit.page, visit.frame):
        assert one.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_every_field_is_named_for_a_screen_reader_and_the_frame_too(visit: Visit) -> None:
    for name in ("Card number", "Expiry date", "Security code", "Name on card", "Billing postal code"):
        assert visit.frame.get_by_role("textbox", name=name).count() == 1
    assert visit.page.get_attribute("iframe", "title") == "Card details for Harbour & Pine"
    assert visit.frame.evaluate("document.documentElement.lang") == "en"
