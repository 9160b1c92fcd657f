"""The pages as documents: escaped, self-contained, labelled, and without a card in them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vault_zone.pages.render
from tests.vault_zone.card_strategies import NOW, names, numbers
from tests.vault_zone.pages.page_views import Document, card_view
from tokenization.ids import letters_of
from vault_zone.capture_form import MESSAGES, FormErrors, SafeValues, parse_capture_form, safe_values
from vault_zone.card import CardField, CardProblem
from vault_zone.pages.render import (
    NOTICES,
    AssetUnknown,
    NoticeKind,
    NoticeView,
    UnsafeUrl,
    asset_headers,
    asset_url,
    render_card_page,
    render_notice,
    security_headers,
    static_asset,
)

PAGES = Path(vault_zone.pages.render.__file__).parent
ERRORS = FormErrors({CardField.NUMBER: CardProblem.FAILED_CHECK, CardField.CVC: CardProblem.MISSING})
HOSTILE = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("<>\"'&{}%/\u202e\u2069\x00")), max_size=60)


def _rendered() -> dict[str, str]:
    back = "https://fernhill.example/back"
    return {
        "card": render_card_page(card_view()),
        "card with errors": render_card_page(card_view(errors=ERRORS, safe_values=SafeValues("Ada", "E1 6AN"))),
        "card without extras": render_card_page(card_view(cancel_url=None, sandbox=False, description_lines=[])),
        **{
            kind.value: render_notice(NoticeView(kind=kind, merchant_name="Fernhill", continue_url=back, sandbox=True))
            for kind in NoticeKind
        },
        "bare notice": render_notice(NoticeView(kind=NoticeKind.NOT_FOUND)),
    }


RENDERED = _rendered()
EVERY_PAGE = pytest.mark.parametrize("html", RENDERED.values(), ids=RENDERED.keys())


@given(HOSTILE, HOSTILE, st.lists(HOSTILE, min_size=2, max_size=2), HOSTILE, HOSTILE)
def test_no_text_changes_the_structure_of_the_page(
    merchant: str, amount: str, lines: list[str], expires: str, name: str
) -> None:
    hostile = card_view(
        merchant_name=merchant,
        amount_text=amount,
        description_lines=lines,
        expires_text=expires,
        safe_values=SafeValues(name=f"A{name}", postal_code="1"),
    )
    usual = card_view(safe_values=SafeValues(name="A", postal_code="1"))
    tags = [tag for tag, _ in Document(render_card_page(hostile)).elements]
    assert tags == [tag for tag, _ in Document(render_card_page(usual)).elements]


@given(HOSTILE)
def test_no_merchant_changes_the_structure_of_a_notice(merchant: str) -> None:
    view = NoticeView(kind=NoticeKind.RECEIVED, merchant_name=f"A{merchant}")
    usual = NoticeView(kind=NoticeKind.RECEIVED, merchant_name="A")
    tags = [tag for tag, _ in Document(render_notice(view)).elements]
    assert tags == [tag for tag, _ in Document(render_notice(usual)).elements]


def test_a_name_that_turns_the_writing_direction_is_isolated_and_disarmed() -> None:
    html = render_card_page(card_view(merchant_name="\u202eevil \u2069\u2066shop\u200f", amount_text="\u202e$1"))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]", html)
    assert html.count("<bdi>evil shop</bdi>") == 1
    assert "<title>Pay evil shop</title>" in html
    assert html.count("<bdi>$1</bdi>") == 2


def _shown_values(html: str) -> list[str]:
    """What a page can show of a submission: the values of its fields, and its texts outside labels and hints."""
    document = Document(html)
    ours = {
        text for texts in MESSAGES["en"].values() for text in texts.values()
    }  # "Use 2 to 12 letters" is no echo of 212
    texts = (text for tag, text in document.texts if tag in ("title", "bdi", "a", "h1"))
    return [*document.values("value"), *(text for text in texts if text not in ours)]


@given(
    st.one_of(numbers(), st.text("0123456789 ", max_size=24)),
    st.text("0123456789", min_size=3, max_size=4),
    st.one_of(names(), numbers()),
    st.text("0123456789ABC ", max_size=12),
)
def test_a_page_never_holds_a_submitted_number_or_code(number: str, cvc: str, name: str, postal_code: str) -> None:
    fields = {"number": number, "expiry": "01/20", "cvc": cvc, "name": name, "postal_code": postal_code}
    errors = parse_capture_form(fields, NOW)
    assert isinstance(errors, FormErrors)
    bare = card_view(amount_text="ten", description_lines=[], errors=errors, safe_values=safe_values(fields))
    assert _echoed(render_card_page(bare), number, cvc) == []


def _echoed(html: str, number: str, cvc: str) -> list[str]:
    secrets = [digits for digits in (re.sub(r"\D", "", number), cvc) if digits]
    shown = [
        re.sub(r"\D", "", text.replace("3 digits", "").replace("4 digits", "").replace("20 years", ""))
        for text in _shown_values(html)
    ]
    return [text for text in shown for secret in secrets if secret in text]


def test_a_planted_echo_is_found_by_the_same_check() -> None:
    careless = SafeValues(name="Ada 4242 4242 4242 4242", postal_code="12345")
    html = render_card_page(card_view(amount_text="ten", description_lines=[], errors=ERRORS, safe_values=careless))
    assert len(_echoed(html, "4242 4242 4242 4242", "234")) == 2


@EVERY_PAGE
def test_every_page_is_well_formed_and_names_its_language_and_itself(html: str) -> None:
    document = Document(html)
    assert html.startswith("<!doctype html>")
    assert document.all("html") == [{"lang": "en"}]
    assert len([text for tag, text in document.texts if tag == "title"]) == 1
    assert len(document.all("h1")) == 1
    assert len(document.all("main")) == 1


@EVERY_PAGE
def test_every_id_stands_once_and_every_reference_finds_one(html: str) -> None:
    document = Document(html)
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    referred = [
        *(
            name
            for value in document.values("aria-describedby") + document.values("aria-labelledby")
            for name in value.split()
        ),
        *document.values("for"),
        *(href[1:] for href in document.values("href") if href.startswith("#")),
    ]
    assert set(referred) <= set(ids)


@EVERY_PAGE
def test_no_page_holds_a_script_or_style_of_its_own(html: str) -> None:
    document = Document(html)
    assert document.all("style") == []
    assert document.values("style") == []
    assert [name for _, attrs in document.elements for name in attrs if name.startswith("on")] == []
    assert all(attrs.get("src") for attrs in document.all("script"))
    assert [text for tag, text in document.texts if tag == "script"] == []


@EVERY_PAGE
def test_no_page_points_outside_except_by_the_links_it_was_given(html: str) -> None:
    document = Document(html)
    urls = [url for name in ("src", "href", "action", "data", "srcset", "poster") for url in document.values(name)]
    outside = [url for url in urls if not url.startswith(("/assets/", "/capture/", "#"))]
    assert set(outside) <= {"https://fernhill.example/back"}
    assert {tag for tag, _ in document.elements} & {
        "iframe",
        "img",
        "object",
        "embed",
        "base",
        "audio",
        "video",
    } == set()


@pytest.mark.parametrize("name", ["card.css", "card.js", "fields.css", "fields.js", "cordon-fields.js"])
def test_static_files_fetch_nothing(name: str) -> None:
    text = (PAGES / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)


FORBIDDEN_IN_SCRIPT = re.compile(
    r"\b(fetch|XMLHttpRequest|sendBeacon|WebSocket|EventSource|localStorage|sessionStorage|indexedDB|cookie|caches|eval|"
    r"Function|innerHTML|outerHTML|insertAdjacentHTML|write|postMessage|console|import|globalThis|setTimeout)\b"
)


def test_the_script_has_no_network_no_storage_and_no_globals() -> None:
    text = (PAGES / "card.js").read_text(encoding="utf-8")
    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE).strip()
    assert FORBIDDEN_IN_SCRIPT.findall(code) == []
    assert code.startswith('(() => {\n  "use strict";')
    assert code.endswith("})();")
    assert FORBIDDEN_IN_SCRIPT.findall("window.localStorage.setItem('n', number.value)") == ["localStorage"]


@pytest.mark.parametrize(
    ("name", "may"),
    [("fields.js", {"fetch", "postMessage"}), ("cordon-fields.js", {"postMessage", "setTimeout"})],
)
def test_the_scripts_of_card_fields_do_what_they_are_for_and_nothing_else(name: str, may: set[str]) -> None:
    code = re.sub(r"^\s*//.*$|//[^\n\"]*$", "", (PAGES / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(FORBIDDEN_IN_SCRIPT.findall(code)) == may


def _mismatches(html: str) -> list[str]:
    """The static files of a page whose content is not what its `integrity` promises."""
    document = Document(html)
    links = [attrs for attrs in document.all("link") + document.all("script") if "href" in attrs or "src" in attrs]
    wrong = []
    for attrs in links:
        url = attrs.get("href") or attrs.get("src") or ""
        body = static_asset(url.removeprefix("/assets/")).body
        digest = base64.b64encode(hashlib.sha384(body).digest()).decode()
        if attrs.get("integrity") != f"sha384-{digest}":
            wrong.append(url)
    return wrong


@EVERY_PAGE
def test_every_static_file_is_what_its_integrity_promises(html: str) -> None:
    assert 'rel="stylesheet"' in html
    assert _mismatches(html) == []


def test_a_planted_wrong_integrity_is_found_by_the_same_check() -> None:
    html = RENDERED["card"]
    assert len(_mismatches(html.replace("sha384-", "sha384-A"))) == 2
    assert len(_mismatches(re.sub(r' integrity="[^"]*"', "", html))) == 2


def test_static_files_are_found_by_their_hashed_name_alone() -> None:
    for source, content_type in (
        ("card.css", "text/css; charset=utf-8"),
        ("card.js", "text/javascript; charset=utf-8"),
    ):
        name = asset_url(source).removeprefix("/assets/")
        body, kind, integrity = static_asset(name)
        assert body == (PAGES / source).read_bytes()
        assert kind == content_type
        assert letters_of(base64.b64decode(integrity.removeprefix("sha384-"))).startswith(name.split(".")[1])
    for name in ("card.js", "card.00000000.js", "../render.py", "card.html", ""):
        with pytest.raises(AssetUnknown):
            static_asset(name)
    with pytest.raises(AssetUnknown):
        asset_url("render.py")
    assert asset_headers()["Cache-Control"] == "public, max-age=31536000, immutable"


AUTOCOMPLETE = {
    "number": "cc-number",
    "expiry": "cc-exp",
    "cvc": "cc-csc",
    "name": "cc-name",
    "postal_code": "postal-code",
}


def _shown_fields(html: str) -> list[dict[str, str | None]]:
    return Document(html).all("input", lambda attrs: attrs.get("type") != "hidden")


def _unlabelled(html: str) -> list[str]:
    labelled = set(Document(html).values("for"))
    return [attrs.get("id") or "" for attrs in _shown_fields(html) if attrs.get("id") not in labelled]


@pytest.mark.parametrize("page", ["card", "card with errors"])
def test_every_field_has_a_label_a_description_and_its_autofill_name(page: str) -> None:
    html = RENDERED[page]
    fields = _shown_fields(html)
    assert _unlabelled(html) == []
    assert {attrs["name"]: attrs["autocomplete"] for attrs in fields} == AUTOCOMPLETE
    assert all(f"{attrs['id']}-error" in (attrs["aria-describedby"] or "").split() for attrs in fields)
    assert {attrs["name"] for attrs in fields if attrs.get("inputmode") == "numeric"} == {"number", "expiry", "cvc"}
    assert all(attrs["type"] == "text" for attrs in fields)


def test_a_planted_field_without_label_is_found_by_the_same_check() -> None:
    assert _unlabelled(RENDERED["card"].replace('for="cvc"', 'for="cvv"')) == ["cvc"]


def test_a_page_with_errors_says_so_first_and_links_to_the_fields() -> None:
    html = RENDERED["card with errors"]
    document = Document(html)
    summary = document.all("div", lambda attrs: attrs.get("role") == "alert")
    assert ("title", "Error: Pay Fernhill Outfitters") in document.texts
    assert len(summary) == 1
    assert "autofocus" in summary[0]
    assert "hidden" not in summary[0]
    assert [attrs["href"] for attrs in document.all("a")][1:] == ["#number", "#cvc"]
    assert {attrs["id"] for attrs in document.all("input") if "aria-invalid" in attrs} == {"number", "cvc"}
    assert {attrs.get("value") for attrs in _shown_fields(html)} == {None, "Ada", "E1 6AN"}


def test_a_page_without_errors_hides_the_summary() -> None:
    document = Document(RENDERED["card"])
    assert "hidden" in document.all("div", lambda attrs: attrs.get("role") == "alert")[0]
    assert ("title", "Pay Fernhill Outfitters") in document.texts
    assert document.values("aria-invalid") == []


def test_the_page_says_who_is_paid_how_much_for_what_and_who_does_not_see_the_card() -> None:
    html = RENDERED["card"]
    assert "Pay <bdi>$137.17</bdi></span></button>" in html
    assert '<h1 id="order-title">Pay <bdi>Fernhill Outfitters</bdi></h1>' in html
    assert "<li><bdi>2 × Merino hiking socks</bdi></li>" in html
    assert "The assistant never sees it." in html
    assert "This page is open until 15:42." in html


def test_the_sandbox_shows_itself_and_production_does_not() -> None:
    assert "Use test cards only" in RENDERED["card"]
    assert "Sandbox" not in RENDERED["card without extras"]


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_notice_says_what_happened_and_what_to_do_without_a_script(kind: NoticeKind) -> None:
    html = RENDERED[kind.value]
    texts = NOTICES["en"][kind]
    assert f"<h1>{texts.title}</h1>" in html
    assert Document(html).all("script") == []
    assert f'rel="noreferrer">{texts.action}</a>' in html
    assert f'href="#icon-{texts.icon}"' in html


def test_a_notice_without_a_way_on_has_no_link() -> None:
    assert Document(RENDERED["bare notice"]).all("a") == []


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "http://shop.example/",
        "/relative",
        "https:",
        "https:///path",
        "",
        "http://localhost.evil.example/",
    ],
)
def test_links_that_are_not_secure_are_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        card_view(cancel_url=url)
    with pytest.raises(UnsafeUrl):
        NoticeView(kind=NoticeKind.RECEIVED, continue_url=url)


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "//evil.example", "/\\evil.example", "capture", "", "javascript:x", "/a b", '/"x']
)
def test_a_form_posts_nowhere_but_to_its_own_site(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        card_view(action_url=url)


def _directives(headers: Mapping[str, str]) -> dict[str, list[str]]:
    parts = [part.split() for part in headers["Content-Security-Policy"].split(";")]
    assert len({part[0] for part in parts}) == len(parts)
    return {part[0]: part[1:] for part in parts}


def _weaknesses(headers: Mapping[str, str], allowed: set[str]) -> set[str]:
    sources = {source for values in _directives(headers).values() for source in values}
    return sources - {"'none'", "'self'", "'script'"} - allowed


def test_the_policy_allows_nothing_but_this_site_and_the_return() -> None:
    headers = security_headers("https://shop.example")
    directives = _directives(headers)
    assert _weaknesses(headers, {"https://shop.example"}) == set()
    assert directives["form-action"] == ["'self'", "https://shop.example"]
    assert directives["default-src"] == directives["connect-src"] == directives["base-uri"] == ["'none'"]
    assert directives["frame-ancestors"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == ["'self'"]
    assert _directives(security_headers(None))["form-action"] == ["'self'"]


def test_a_planted_weak_policy_is_found_by_the_same_check() -> None:
    headers = security_headers(None)
    for weak in ("'unsafe-inline'", "'unsafe-eval'", "data:", "*", "https:"):
        policy = headers["Content-Security-Policy"].replace("script-src 'self'", f"script-src 'self' {weak}")
        assert _weaknesses({"Content-Security-Policy": policy}, set()) == {weak}


def test_pages_are_not_stored_framed_sniffed_or_referred() -> None:
    headers = security_headers(None)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "payment=()" in headers["Permissions-Policy"].split(", ")


def test_transport_security_is_demanded_over_https_alone() -> None:
    assert security_headers(None)["Strict-Transport-Security"].startswith("max-age=63072000")
    assert "Strict-Transport-Security" not in security_headers(None, https=False)


@pytest.mark.parametrize(
    "origin", ["https://shop.example", "https://shop.example:8443", "http://localhost:3000", "http://127.0.0.1"]
)
def test_origins_to_return_to_are_accepted(origin: str) -> None:
    assert origin in security_headers(origin)["Content-Security-Policy"]


@pytest.mark.parametrize(
    "origin",
    [
        "http://shop.example",
        "https://shop.example/",
        "https://shop.example; script-src *",
        "https://shop.example\r\nSet-Cookie: a=b",
        "https://shop.example\n",
        "https://*",
        "*",
        "",
        "'unsafe-inline'",
        "https://a b",
        "https://user@shop.example",
        "HTTPS://shop.example",
        "javascript:",
    ],
)
def test_an_origin_that_could_widen_the_policy_is_refused(origin: str) -> None:
    with pytest.raises(UnsafeUrl):
        security_headers(origin)


@given(st.text(max_size=40))
def test_any_origin_is_refused_or_stands_in_form_action_alone(origin: str) -> None:
    try:
        headers = security_headers(origin)
    except UnsafeUrl:
        return
    assert _directives(headers)["form-action"] == ["'self'", origin]
