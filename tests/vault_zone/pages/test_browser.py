"""The card page in a real browser: typing, keyboard, errors, double clicks, the back button, and life without script."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.vault_zone.card_strategies import NOW, PUBLISHED_NUMBERS
from tests.vault_zone.pages.card_site import CardSite, serving
from tests.vault_zone.pages.page_views import card_view
from vault_zone.capture_form import (
    MESSAGES,
    FormErrors,
    SafeValues,
    parse_capture_form,
    parse_form_body,
)
from vault_zone.card import CapturedCard, CardField, CardProblem, Exposure
from vault_zone.device import COLOR_DEPTHS, Client, Device, read_device
from vault_zone.pages.render import NoticeKind, NoticeView, asset_url, render_card_page, render_notice

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ERRORS = FormErrors({CardField.NUMBER: CardProblem.FAILED_CHECK, CardField.CVC: CardProblem.THREE_DIGITS})

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")


@dataclass
class Shop:
    """A browser and a site. `open` gives a page and keeps what went wrong on it in `complaints`."""

    browser: Browser
    site: CardSite
    complaints: list[str]

    def open(self, html: str, *, script: bool = True, width: int = 1280, calm: bool = True) -> Page:
        self.site.pages["/card"] = html
        context = self.browser.new_context(
            java_script_enabled=script,
            viewport={"width": width, "height": 800},
            reduced_motion="reduce" if calm else "no-preference",
        )
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.site.url}/card")
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def shop(browser: Browser) -> Iterator[Shop]:
    with serving() as site:
        site.pages["/done"] = render_notice(NoticeView(kind=NoticeKind.RECEIVED))
        yield Shop(browser, site, [])
        for context in browser.contexts:
            context.close()


CARD = render_card_page(card_view())


def _value(page: Page, field: str) -> str:
    return page.input_value(f"#{field}")


def _caret(page: Page, field: str) -> int:
    return int(page.eval_on_selector(f"#{field}", "input => input.selectionStart"))


def _place_caret(page: Page, field: str, at: int) -> None:
    page.focus(f"#{field}")
    page.eval_on_selector(f"#{field}", "(input, at) => input.setSelectionRange(at, at)", at)


def _paste(page: Page, field: str, text: str) -> None:
    page.focus(f"#{field}")
    page.keyboard.insert_text(text)


def _error(page: Page, field: str) -> str:
    return page.inner_text(f"#{field}-error")


def _focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def _type_card(page: Page) -> None:
    """A whole purchase by keyboard: fields are reached by Tab and named as a screen reader names them."""
    page.get_by_role("textbox", name="Card number").focus()
    for text in ("4242424242424242", "1230", "123", "Ada Lovelace", "SW1A 1AA"):
        page.keyboard.insert_text(text)
        page.keyboard.press("Tab")


# Each check is a behaviour. It must hold on the page, and must fail on the page with its planted fault.


def check_digits_are_grouped_as_on_the_card(page: Page) -> None:
    for number in PUBLISHED_NUMBERS:
        page.fill("#number", "")
        page.type("#number", number.replace(" ", ""))
        if len(number.replace(" ", "")) != 14:
            assert _value(page, "number") == number


def check_american_express_is_grouped_4_6_5(page: Page) -> None:
    page.type("#number", "378282246310005")
    assert _value(page, "number") == "3782 822463 10005"


def check_digits_beyond_the_brand_are_not_taken(page: Page) -> None:
    page.type("#number", "5555555555554444999")
    assert _value(page, "number") == "5555 5555 5555 4444"


def check_typing_in_the_middle_keeps_the_caret(page: Page) -> None:
    page.type("#number", "42424242")
    _place_caret(page, "number", 4)
    page.keyboard.type("17")
    assert _value(page, "number") == "4242 1742 42"
    assert _caret(page, "number") == 7


def check_a_digit_deleted_in_the_middle_keeps_the_caret(page: Page) -> None:
    page.type("#number", "4242123456789")
    _place_caret(page, "number", 7)
    page.keyboard.press("Backspace")
    assert _value(page, "number") == "4242 1345 6789"
    assert _caret(page, "number") == 6


def check_backspace_crosses_a_gap(page: Page) -> None:
    page.type("#number", "42421")
    _place_caret(page, "number", 5)
    page.keyboard.press("Backspace")
    assert _value(page, "number") == "4241"
    assert _caret(page, "number") == 3


def check_delete_crosses_a_gap(page: Page) -> None:
    page.type("#number", "424217")
    _place_caret(page, "number", 4)
    page.keyboard.press("Delete")
    assert _value(page, "number") == "4242 7"
    assert _caret(page, "number") == 4


def check_a_pasted_number_is_read_whatever_its_dashes(page: Page) -> None:
    _paste(page, "number", "4242-4242\u20114242\u00a04242")
    assert _value(page, "number") == "4242 4242 4242 4242"
    page.fill("#number", "")
    _paste(page, "number", "４２４２４２４２４２４２４２４２")
    assert _value(page, "number") == "4242 4242 4242 4242"


def check_the_brand_is_shown_and_said(page: Page) -> None:
    status = page.locator("#brand-name")
    assert status.get_attribute("role") == "status"
    for digits, title in (("4", "Visa"), ("51", "Mastercard"), ("37", "American Express"), ("", "")):
        page.fill("#number", digits)
        assert status.inner_text() == title
        assert page.locator("#brand-mark").is_visible() == bool(title)
        assert page.locator(".marks").is_visible() == (not title)


def check_the_security_code_hint_follows_the_brand(page: Page) -> None:
    page.fill("#number", "37")
    assert page.inner_text("#cvc-hint") == "4 digits on the front"
    page.fill("#number", "42")
    assert page.inner_text("#cvc-hint") == "3 digits on the back"
    page.fill("#number", "")
    assert page.inner_text("#cvc-hint") == "3 digits on the back. Amex: 4 on the front"


def check_a_date_is_typed_without_its_slash(page: Page) -> None:
    for typed, shown in (
        ("1230", "12 / 30"),
        ("12", "12 / "),
        ("830", "08 / 30"),
        ("1/30", "01 / 30"),
        ("12/2030", "12 / 30"),
        ("12 / 30", "12 / 30"),
        ("1", "1"),
        ("0", "0"),
    ):
        page.fill("#expiry", "")
        page.type("#expiry", typed)
        assert _value(page, "expiry") == shown, typed


def check_a_date_can_be_deleted_to_its_start(page: Page) -> None:
    page.type("#expiry", "1230")
    seen = []
    for _ in range(4):
        page.keyboard.press("Backspace")
        seen.append(_value(page, "expiry"))
    assert seen == ["12 / 3", "12", "1", ""]


def check_a_field_left_wrong_says_how_to_mend_it_until_it_is_mended(page: Page) -> None:
    page.type("#number", "4242424242424241")
    page.keyboard.press("Tab")
    assert _error(page, "number") == MESSAGES["en"][CardField.NUMBER][CardProblem.FAILED_CHECK]
    assert page.get_attribute("#number", "aria-invalid") == "true"
    page.focus("#number")
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("2")
    assert _error(page, "number") == ""
    assert page.get_attribute("#number", "aria-invalid") is None


def check_a_field_left_empty_is_not_scolded(page: Page) -> None:
    page.focus("#number")
    page.keyboard.press("Tab")
    assert _error(page, "number") == ""


def check_sending_an_incomplete_form_leads_to_the_summary(page: Page) -> None:
    page.type("#number", "4242424242424242")
    page.keyboard.press("Enter")
    assert _focused(page) == "problems"
    assert page.get_attribute("#problems", "role") == "alert"
    assert page.title() == "Error: Pay Fernhill Outfitters"
    assert page.locator("#problems a").all_inner_texts() == [
        MESSAGES["en"][field][CardProblem.MISSING] for field in MESSAGES["en"] if field is not CardField.NUMBER
    ]
    page.locator("#problems a").nth(1).click()
    assert _focused(page) == "cvc"


def check_leaving_the_page_forgets_the_number_and_the_code(page: Page) -> None:
    _type_card(page)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert (_value(page, "number"), _value(page, "cvc")) == ("", "")
    assert page.locator(".marks").is_visible()


def check_a_page_brought_back_can_be_sent_again(page: Page) -> None:
    _type_card(page)
    page.evaluate("document.getElementById('pay').disabled = true")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert page.locator("#pay").is_enabled()
    assert (_value(page, "number"), _value(page, "cvc")) == ("", "")


Check = Callable[[Page], None]
CHECKS: dict[Check, tuple[str, str]] = {
    check_digits_are_grouped_as_on_the_card: ('.filter(Boolean).join(" ")', '.filter(Boolean).join("")'),
    check_american_express_is_grouped_4_6_5: (
        "const groups = brandOf(typed.digits).groups;",
        "const groups = unbranded.groups;",
    ),
    check_digits_beyond_the_brand_are_not_taken: ("typed.digits.slice(0, most)", "typed.digits"),
    check_typing_in_the_middle_keeps_the_caret: ("input.setSelectionRange(at, at);", ""),
    check_a_digit_deleted_in_the_middle_keeps_the_caret: ("input.setSelectionRange(at, at);", ""),
    check_backspace_crosses_a_gap: ("deleteContentBackward: -1, ", ""),
    check_delete_crosses_a_gap: (", deleteContentForward: 1", ""),
    check_a_pasted_number_is_read_whatever_its_dashes: ('text.normalize("NFKC")', "text"),
    check_the_brand_is_shown_and_said: ('byId("brand-name").textContent = brand.title;', ""),
    check_the_security_code_hint_follows_the_brand: ("{ 3: hint3, 4: hint4 }[brand.cvc] || hint", "hint"),
    check_a_date_is_typed_without_its_slash: ("digits = `0${digits}`;", "digits = `${digits}`;"),
    check_a_date_can_be_deleted_to_its_start: ("(digits.length === 2 && !typed.deleting)", "digits.length === 2"),
    check_a_field_left_wrong_says_how_to_mend_it_until_it_is_mended: (
        'passesLuhn(digits) ? null : "failed_check"',
        "null",
    ),
    check_a_field_left_empty_is_not_scolded: ("if (input.value.trim()) {", "{"),
    check_sending_an_incomplete_form_leads_to_the_summary: ("problems.focus();", ""),
    check_leaving_the_page_forgets_the_number_and_the_code: ('window.addEventListener("pagehide", forget);', ""),
    check_a_page_brought_back_can_be_sent_again: ("event.persisted ||", ""),
}
EVERY_CHECK = pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])


@EVERY_CHECK
def test_the_page_behaves(shop: Shop, check: Check) -> None:
    check(shop.open(CARD))
    assert shop.complaints == []


@EVERY_CHECK
def test_a_planted_fault_is_found_by_its_check(shop: Shop, check: Check) -> None:
    page = shop.open(shop.site.plant(CARD, *CHECKS[check]))
    assert shop.complaints == []
    with pytest.raises(AssertionError):
        check(page)


def test_a_purchase_is_made_by_keyboard_alone(shop: Shop) -> None:
    page = shop.open(CARD)
    _type_card(page)
    assert page.get_by_role("button", name="Pay $137.17").evaluate("button => button === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url("**/done")
    captured = parse_capture_form(parse_form_body(shop.site.posts[0]), NOW)
    assert isinstance(captured, CapturedCard)
    assert captured.card.pan.expose(Exposure.SEAL) == "4242424242424242"
    assert len(shop.site.posts) == 1
    assert shop.complaints == []


def _device_sent(shop: Shop) -> Device:
    return read_device(parse_form_body(shop.site.posts[0]), Client("192.0.2.7", "text/html", "a browser", "de-AT"))


def test_the_form_carries_what_3d_secure_asks_of_the_browser(shop: Shop) -> None:
    page = shop.open(CARD)
    asked = "[navigator.language, screen.height, screen.width, new Date().getTimezoneOffset()]"
    language, height, width, tz = page.evaluate(asked)
    _type_card(page)
    page.keyboard.press("Enter")
    page.wait_for_url("**/done")
    sent = _device_sent(shop)
    assert (sent.javascript_enabled, sent.java_enabled, sent.language) == (True, False, language)
    assert (sent.screen_height, sent.screen_width, sent.tz) == (height, width, tz)
    assert sent.color_depth in COLOR_DEPTHS


def test_a_purchase_is_made_without_script(shop: Shop) -> None:
    page = shop.open(CARD, script=False)
    for field, text in (
        ("#number", "4242-4242-4242-4242"),
        ("#expiry", "12/2030"),
        ("#cvc", "123"),
        ("#name", "Ada Lovelace"),
        ("#postal_code", "SW1A 1AA"),
    ):
        page.fill(field, text)
    page.click("#pay")
    page.wait_for_url("**/done")
    assert isinstance(parse_capture_form(parse_form_body(shop.site.posts[0]), NOW), CapturedCard)
    assert _device_sent(shop) == Device("text/html", "a browser", False, "de-AT", "192.0.2.7")


def test_a_script_that_was_tampered_with_does_not_run_and_the_form_still_works(shop: Shop) -> None:
    shop.site.files[asset_url("card.js")] = b"document.title = 'stolen';"
    shop.site.pages["/card"] = CARD
    genuine = shop.site.file

    def tampered(path: str) -> object:
        if path == asset_url("card.js"):
            return 200, shop.site.files[path], {"Content-Type": "text/javascript"}
        return genuine(path)

    shop.site.file = tampered  # type: ignore[method-assign, assignment]
    page = shop.open(CARD)
    assert page.title() == "Pay Fernhill Outfitters"
    assert any("integrity" in complaint for complaint in shop.complaints)
    page.type("#number", "4242424242424242")
    assert _value(page, "number") == "4242424242424242"


@pytest.mark.parametrize("script", [True, False])
def test_a_page_that_comes_with_errors_begins_at_the_summary(shop: Shop, script: bool) -> None:
    html = render_card_page(card_view(errors=ERRORS, safe_values=SafeValues("Ada Lovelace", "E1 6AN")))
    page = shop.open(html, script=script)
    page.wait_for_function("document.activeElement.id === 'problems'") if script else None
    assert page.locator("#problems:focus").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#number:focus").count() == 1
    assert [_value(page, field) for field in ("number", "cvc", "name")] == ["", "", "Ada Lovelace"]
    assert shop.complaints == []


SUBMISSIONS: dict[str, list[str]] = {
    "number": ["4242424242424242", "4242424242424241", "4242", "1111111111111117", "378282246310005", "5555555555554"],
    "expiry": ["12/30", "13/30", "00/30", "12/3", "01/20", "12/60"],
    "cvc": ["123", "12", "1234"],
    "name": ["Ada", "1234", "Ada 123456789"],
    "postal_code": ["E1 6AN", "1", "-12", "E1*6AN"],
}


FILL_AND_LEAVE = """([number, id, text]) => {
  for (const [at, value] of [["number", number], [id, text]]) {
    const input = document.getElementById(at);
    input.value = value;
    input.dispatchEvent(new InputEvent("input"));
  }
  document.getElementById(id).dispatchEvent(new FocusEvent("blur"));
  const values = ["number", id].map((at) => document.getElementById(at).value);
  return [...values, document.getElementById(`${id}-error`).textContent];
}"""


@pytest.mark.parametrize("number", ["4242424242424242", "378282246310005", ""])
def test_the_page_and_the_server_say_the_same(shop: Shop, number: str) -> None:
    page = shop.open(CARD)
    for field, texts in SUBMISSIONS.items():
        for text in filter(None, texts):
            shown_number, shown, message = page.evaluate(FILL_AND_LEAVE, [number, field, text])
            result = parse_capture_form({"number": shown_number, field: shown}, NOW)
            assert isinstance(result, FormErrors)
            said = {error.field.value: error.message for error in result.shown()}
            assert message == said.get(field, ""), (field, text)


def test_a_device_with_a_wrong_clock_can_still_send(shop: Shop) -> None:
    page = shop.open(CARD)
    page.clock.set_fixed_time("2040-01-01T00:00:00Z")
    _type_card(page)
    assert _error(page, "expiry") == MESSAGES["en"][CardField.EXPIRY][CardProblem.PAST]
    page.keyboard.press("Enter")
    page.wait_for_url("**/done")
    assert len(shop.site.posts) == 1


SEND_THRICE = """() => {
  const let_through = [];
  const note = (event) => let_through.push(!event.defaultPrevented);
  addEventListener("submit", note);
  const pay = document.getElementById("pay");
  pay.click();
  pay.click();
  pay.form.requestSubmit();
  const said = document.getElementById("progress").textContent;
  return { let_through, disabled: pay.disabled, label: pay.textContent.trim(), said };
}"""


def check_a_form_is_sent_once(page: Page) -> None:
    _type_card(page)
    sent = page.evaluate(SEND_THRICE)
    assert sent == {"let_through": [True, False], "disabled": True, "label": "Processing…", "said": "Processing…"}


def test_a_form_is_sent_once_however_often_it_is_clicked(shop: Shop) -> None:
    page = shop.open(CARD)
    check_a_form_is_sent_once(page)
    page.wait_for_url("**/done")
    assert len(shop.site.posts) == 1


@pytest.mark.parametrize("guard", ["setBusy(true);", "if (pay.disabled) {\n      event.preventDefault();"])
def test_a_planted_second_sending_is_found_by_the_same_check(shop: Shop, guard: str) -> None:
    page = shop.open(shop.site.plant(CARD, guard, "if (false) {" if "{" in guard else ""))
    with pytest.raises(AssertionError):
        check_a_form_is_sent_once(page)
    page.wait_for_url("**/done")


def test_the_back_button_brings_back_no_card(shop: Shop) -> None:
    page = shop.open(CARD)
    _type_card(page)
    page.keyboard.press("Enter")
    page.wait_for_url("**/done")
    page.go_back()
    assert (_value(page, "number"), _value(page, "cvc")) == ("", "")
    assert page.locator("#pay").is_enabled()


@pytest.mark.parametrize("allowed", [True, False])
def test_after_the_form_the_browser_goes_to_the_return_origin_and_to_no_other(shop: Shop, allowed: bool) -> None:
    with serving() as elsewhere:
        elsewhere.pages["/thanks"] = "<!doctype html><title>Thanks</title>"
        shop.site.return_origin = elsewhere.url if allowed else None
        shop.site.after_post = f"{elsewhere.url}/thanks"
        page = shop.open(CARD)
        _type_card(page)
        if allowed:
            page.keyboard.press("Enter")
            page.wait_for_url("**/thanks")
            return
        with page.expect_console_message(lambda message: "form-action" in message.text):
            page.keyboard.press("Enter")
        assert page.url == f"{shop.site.url}/card"


def test_the_page_asks_for_its_two_files_and_nothing_else(shop: Shop) -> None:
    shop.site.pages["/card"] = CARD
    context = shop.browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{shop.site.url}/card", wait_until="networkidle")
    page.type("#number", "4242424242424242")
    assert sorted(asked) == sorted(
        [f"{shop.site.url}/card", shop.site.url + asset_url("card.css"), shop.site.url + asset_url("card.js")]
    )
    assert context.cookies() == []
    assert page.evaluate("[localStorage.length, sessionStorage.length, Object.keys(window).includes('form')]") == [
        0,
        0,
        False,
    ]


LONG = render_card_page(
    card_view(
        merchant_name="Donaudampfschifffahrtsgesellschaftskapitänsmützenmanufaktur " * 2,
        amount_text="CHF 1’234’567’890.00",
        description_lines=["x" * 90, "A very long line of goods that goes on and on, in several colours and sizes"],
        errors=FormErrors(dict.fromkeys(MESSAGES["en"], CardProblem.MISSING)),
    )
)
LAYOUTS = {
    "card": CARD,
    "long card": LONG,
    **{kind.value: render_notice(NoticeView(kind=kind, merchant_name="Fernhill", sandbox=True)) for kind in NoticeKind},
}


def _overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_no_width_from_320_pixels_scrolls_sideways(shop: Shop) -> None:
    page = shop.open(CARD)
    for name, html in LAYOUTS.items():
        shop.site.pages["/layout"] = html
        page.goto(f"{shop.site.url}/layout")
        for width in (320, 390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert _overflow(page) == 0, (name, width)


def test_a_planted_wide_element_is_found_by_the_same_check(shop: Shop) -> None:
    page = shop.open(CARD.replace('maxlength="32"', 'maxlength="32" size="80"'), width=320)
    page.eval_on_selector("#number", "input => { input.style.width = '400px'; }")
    assert _overflow(page) > 0


CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")


def _too_faint(page: Page) -> list[str]:
    """Texts under 4.5:1, large texts and field borders under 3:1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    return [str(found) for found in page.evaluate(CONTRASTS)]


def test_every_text_and_border_can_be_seen_in_both_schemes(shop: Shop) -> None:
    page = shop.open(CARD)
    for name, html in LAYOUTS.items():
        shop.site.pages["/layout"] = html
        page.goto(f"{shop.site.url}/layout")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert _too_faint(page) == [], (name, scheme)


def test_a_planted_faint_text_is_found_by_the_same_check(shop: Shop) -> None:
    page = shop.open(CARD)
    page.eval_on_selector(".promise", "element => { element.style.color = '#999999'; }")
    page.eval_on_selector("#name", "element => { element.style.borderColor = '#cccccc'; }")
    assert len(_too_faint(page)) == 2


def test_focus_is_always_visible(shop: Shop) -> None:
    page = shop.open(CARD)
    for _ in range(7):
        page.keyboard.press("Tab")
        outline = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert outline >= 2, _focused(page)


def test_touch_targets_are_large_enough_and_text_is_not_zoomed_by_phones(shop: Shop) -> None:
    page = shop.open(CARD, width=390)
    for control in page.locator("input:not([type=hidden]), button, a.back").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    sizes = page.eval_on_selector_all(
        "input:not([type=hidden])", "all => all.map((input) => parseFloat(getComputedStyle(input).fontSize))"
    )
    assert min(sizes) >= 16


def test_the_security_code_is_masked_while_it_is_typed(shop: Shop) -> None:
    page = shop.open(CARD)
    page.type("#cvc", "123")
    assert page.eval_on_selector("#cvc", "input => getComputedStyle(input).webkitTextSecurity") == "disc"


def _moving(page: Page) -> list[str]:
    durations = page.eval_on_selector_all(
        "*",
        "all => [...new Set(all.flatMap((e) => [getComputedStyle(e).transitionDuration, getComputedStyle(e).animationName]))]",
    )
    return sorted(set(durations) - {"0s", "none"})


def test_nothing_moves_for_those_who_asked_for_calm(shop: Shop) -> None:
    assert _moving(shop.open(CARD)) == []
    assert _moving(shop.open(CARD, calm=False)) != []
