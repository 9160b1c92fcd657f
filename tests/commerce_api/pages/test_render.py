"""The pages as documents: escaped, self-contained, without a field or a script, and never a way to pay twice."""

import base64
import hashlib
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import commerce_api.pages.render
from commerce_api.errors import CommerceError
from commerce_api.pages.masking import card_text, masked_email, shortened_address
from commerce_api.pages.render import (
    Notice,
    UnsafeUrl,
    page_headers,
    render_checkout,
    render_notice,
    static_asset,
)
from commerce_api.pages.texts import GENERAL_PROBLEM, NOTICES, PROBLEMS
from commerce_api.pages.view import Screen, days_text, moment_text, screen_of
from commerce_api.schemas import AppliedView, BuyerGiven, CardView, MoneyView, Status
from tests.commerce_api.pages.page_views import (
    AUTHENTICATION,
    BANK_URL,
    DECLINED,
    DECLINED_TEXT,
    EXPIRED,
    OPENER,
    PAGE_URL,
    PAY_URL,
    Document,
    address,
    bare_brand,
    brand,
    checkout,
    incomplete,
    line,
    message,
    option,
    order,
    page,
    totals,
    usd,
)

PAGES = Path(commerce_api.pages.render.__file__).parent
HOSTILE = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("<>\"'&{}%/\u202e\u2069\x00\n")), max_size=20)
BREAKS = st.sampled_from(
    ["<b>", "</bdi>", "</title>", '"><i a="', "' onclick='", "<!--", "]]>", "<script>", "</main>", "&#60;b>"]
)
SHOWN = st.tuples(HOSTILE, BREAKS, HOSTILE).map(lambda texts: f"A{''.join(texts)}"[:150])
STATUSES = get_args(Status)
# What commerce_api/checkout_pages.py may hand to the page, and the rest of the closed set.
EXPECTED_PROBLEMS = {
    CommerceError.OUT_OF_STOCK,
    CommerceError.CHECKOUT_NOT_READY,
    CommerceError.CHECKOUT_IN_PAYMENT,
    CommerceError.CHECKOUT_FINISHED,
    CommerceError.PAYMENT_UNAVAILABLE,
    CommerceError.BUSY,
    CommerceError.INTERNAL,
    CommerceError.TOTAL_OUT_OF_BOUNDS,
    CommerceError.PRODUCT_UNKNOWN,
    CommerceError.SHIPPING_OPTION_UNKNOWN,
}

BACK_URL = "https://acorn.example/cb?error=x&iss=y"


def _rendered() -> dict[str, str]:
    return {
        "review": page(),
        "review of what nobody escalated": page(checkout("ready_for_complete")),
        "review without terms": page(of=bare_brand()),
        "declined": page(checkout(messages=[DECLINED])),
        "changed total": page(problem=CommerceError.CHECKOUT_NOT_READY),
        "out of stock": page(problem=CommerceError.OUT_OF_STOCK),
        "incomplete": page(incomplete()),
        "empty": page(checkout("incomplete", lines=[], buyer=None, shipping_address=None, shipping_option_id=None)),
        "bank": page(checkout(messages=[AUTHENTICATION]), action_url=BANK_URL),
        "waiting": page(checkout("complete_in_progress")),
        "waiting with a problem": page(checkout("complete_in_progress"), problem=CommerceError.PAYMENT_UNAVAILABLE),
        "receipt": page(checkout("completed", order_id="ord_k3v9q2m7x4"), paid=order()),
        "receipt without terms": page(checkout("completed"), of=bare_brand(), paid=order(sandbox=False)),
        "receipt whose order is not at hand": page(checkout("completed", order_id="ord_k3v9q2m7x4")),
        "already paid": page(checkout("completed"), paid=order(), problem=CommerceError.CHECKOUT_FINISHED),
        "canceled": page(checkout("canceled")),
        "expired": page(checkout("canceled", messages=[EXPIRED])),
        "expired while open": page(problem=CommerceError.CHECKOUT_FINISHED),
        **{notice.value: render_notice(notice) for notice in Notice},
        "notice with a way back": render_notice(Notice.CLIENT_MISTAKEN, back_url=BACK_URL),
    }


RENDERED = _rendered()
EVERY_PAGE = pytest.mark.parametrize("html", RENDERED.values(), ids=RENDERED.keys())
EVERY_PROBLEM = pytest.mark.parametrize("problem", CommerceError)


# Structure.


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
    referred = [*document.values("aria-labelledby"), *(url[1:] for url in document.values("href") if url[:1] == "#")]
    assert set(referred) <= set(ids)


@EVERY_PAGE
def test_headings_descend_without_a_gap_and_sections_are_named(html: str) -> None:
    document = Document(html)
    levels = {int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)}
    assert levels in ({1}, {1, 2})
    assert all(attrs.get("aria-labelledby") for attrs in document.all("section"))
    assert all(attrs.get("aria-label") for attrs in document.all("ul") if attrs.get("class") != "needs")
    assert all(attrs.get("aria-hidden") == "true" for attrs in document.all("svg"))


def _entries(html: str) -> list[str]:
    """Everything a person could type or choose something in."""
    fields = {"input", "textarea", "select", "iframe", "object", "embed", "dialog", "datalist"}
    document = Document(html)
    return [tag for tag, attrs in document.elements if tag in fields or "contenteditable" in attrs]


@EVERY_PAGE
def test_no_page_has_a_field_of_any_kind(html: str) -> None:
    assert _entries(html) == []


def test_the_pay_button_alone_carries_the_opener_and_sends_it_in_a_body() -> None:
    for name, html in RENDERED.items():
        carried = [attrs for _, attrs in Document(html).elements if OPENER in attrs.values()]
        if "Continue to secure payment" in html:
            assert [(attrs["type"], attrs["name"]) for attrs in carried] == [("submit", "opener")], name
            assert [attrs["method"] for attrs in Document(html).all("form")] == ["post"]
            assert html.count(OPENER) == 1
        else:
            assert OPENER not in html, name


def test_a_planted_card_field_is_found_by_the_same_check() -> None:
    assert _entries(RENDERED["review"].replace("<button", '<input name="number"><button')) == ["input"]


def _own_code(html: str) -> list[str]:
    document = Document(html)
    return [
        *(tag for tag, _ in document.elements if tag in ("script", "style", "base")),
        *(name for _, attrs in document.elements for name in attrs if name == "style" or name.startswith("on")),
        *(url for url in document.values("href") if url.lower().startswith(("javascript:", "data:"))),
    ]


@EVERY_PAGE
def test_no_page_holds_a_script_or_a_style_of_its_own(html: str) -> None:
    assert _own_code(html) == []


def test_planted_code_is_found_by_the_same_check() -> None:
    html = RENDERED["review"].replace("<button", '<script></script><button onclick="x" style="y"')
    assert _own_code(html) == ["script", "onclick", "style"]


@EVERY_PAGE
def test_no_page_points_outside_but_to_the_brand_the_bank_and_the_client_that_asked(html: str) -> None:
    document = Document(html)
    urls = [url for name in ("src", "href", "action", "data", "srcset", "poster") for url in document.values(name)]
    outside = {url for url in urls if not url.startswith(("/assets/", PAGE_URL, "#"))}
    assert outside <= {
        *(f"https://fernhill.example/{page}" for page in ("help", "terms", "privacy")),
        BANK_URL,
        BACK_URL,
    }
    links = document.all("a", lambda attrs: (attrs["href"] or "").startswith("https:"))
    assert all(attrs["rel"] == "noreferrer" for attrs in links)


# Untrusted texts.


def _hostile_pages(texts: list[str]) -> list[str]:
    """Every page, with each text that comes from outside taken from `texts`."""
    taken = iter(texts)
    name, title, applied, city, region, shipping, content, returns, amount = (next(taken) for _ in range(9))
    money = MoneyView(amount_minor=100, currency="USD", text=amount)
    of = brand(name, return_policy_text=None)
    object.__setattr__(of.policy, "return_policy_text", returns)  # as if a policy had passed with markup in it
    lines = [line(title, 2, 500).model_copy(update={"total": money, "unit_price": money})]
    sums = totals(total=money, tax=money, applied=[AppliedView(id="x", title=applied, amount=money)])
    where = address(city=city, region=region, postal_code=f"1{content}"[:16])
    ways = [option(title=shipping)]
    said = [
        message("payment_declined", content, kind="warning"),
        message("unheard_of", content, kind="error"),
        message("unheard_of", content, kind="warning"),
        message("out_of_stock", content, "$.lines[0]", "error"),
    ]
    changed = {
        "lines": lines,
        "totals": sums,
        "shipping_address": where,
        "shipping_options": ways,
        "messages": said,
        "expires_at": content,
        "buyer": BuyerGiven.model_construct(email=f"{content}@{content}"),
        "order_id": f"o{content}",
    }
    paid = order(
        lines=lines,
        totals=sums,
        shipping_address=where,
        shipping_option=ways[0],
        order_id=content,
        placed_at=content,
        paid_with=CardView(brand=content, last4=content),
    )
    shown = [page(checkout(status, **changed), of=of) for status in STATUSES]
    return [*shown, page(checkout("completed", **changed), of=of, paid=paid)]


USUAL_PAGES = [Document(html).structure for html in _hostile_pages(["A"] * 9)]


@settings(max_examples=40, deadline=None)
@given(st.lists(SHOWN, min_size=9, max_size=9).filter(lambda texts: len(texts[4]) <= 50))
def test_no_text_changes_the_structure_of_any_page(texts: list[str]) -> None:
    texts[7] = texts[7].replace("\n", " ")  # a line break in the returns is a paragraph, on purpose
    assert [Document(html).structure for html in _hostile_pages(texts)] == USUAL_PAGES


def test_a_planted_unescaped_title_is_found_by_the_same_check() -> None:
    html = page().replace("Merino hiking socks", "<b>Merino</b> hiking socks")
    assert Document(html).structure != Document(page()).structure


@given(SHOWN)
def test_no_brand_name_changes_a_notice_or_the_title(name: str) -> None:
    html = page(checkout("canceled"), of=brand(name))
    assert Document(html).structure == Document(RENDERED["canceled"]).structure


def test_markup_is_shown_as_it_was_written() -> None:
    evil = '"><script>alert(1)</script>{{ 7*7 }}'
    html = page(checkout(lines=[line(evil, 1, 500)]), of=brand("<i>Shop</i>"))
    assert "<script" not in html
    assert "&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}" in html
    assert "<title>Your order · &lt;i&gt;Shop&lt;/i&gt;</title>" in html


def test_a_text_that_turns_the_writing_direction_is_isolated_and_disarmed() -> None:
    html = page(checkout(lines=[line("\u202eevil \u2069\u2066socks\u200f\x07", 1, 500)]), of=brand("\u202eshop"))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\x07]", html)
    assert "<bdi>evil socks</bdi>" in html
    assert "<bdi>shop</bdi>" in html


# What may be paid.


def _pay_forms(html: str) -> list[dict[str, str | None]]:
    return Document(html).all("form")


def _situations() -> list[tuple[str, CommerceError | None, str | None, tuple[str, ...]]]:
    codes = ((), ("authentication_required",), ("expired",), ("payment_declined",))
    problems = (None, CommerceError.CHECKOUT_IN_PAYMENT, CommerceError.CHECKOUT_FINISHED, CommerceError.BUSY)
    return list(product(STATUSES, problems, (None, BANK_URL), codes))


def _wrong_ways_to_pay() -> list[object]:
    """Situations in which a payment may be under way or over, and the page offers to start one."""
    wrong: list[object] = []
    for status, problem, action_url, codes in _situations():
        shown = checkout(status, messages=[message(code, "x") for code in codes])
        html = page(shown, problem=problem, action_url=action_url, paid=order() if status == "completed" else None)
        under_way = action_url is not None or "authentication_required" in codes
        refused = problem in (CommerceError.CHECKOUT_IN_PAYMENT, CommerceError.CHECKOUT_FINISHED)
        payable = status in ("ready_for_complete", "requires_escalation") and not under_way and not refused
        if _pay_forms(html) and not payable:
            wrong.append((status, problem, action_url, codes))
    return wrong


def test_no_situation_offers_a_second_payment() -> None:
    assert _wrong_ways_to_pay() == []


def test_a_planted_second_payment_is_found_by_the_same_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commerce_api.pages.render, "screen_of", lambda *_: Screen.REVIEW)
    assert len(_wrong_ways_to_pay()) > 50


@pytest.mark.parametrize("status", ["ready_for_complete", "requires_escalation"])
def test_what_can_be_paid_has_one_button_that_posts_to_the_pay_address(status: str) -> None:
    html = page(checkout(status))
    assert _pay_forms(html) == [{"class": "act stay", "method": "post", "action": PAY_URL}]
    assert "Continue to secure payment</button>" in html
    assert "The assistant never sees it" in html


def test_a_declined_payment_says_so_and_can_be_tried_again() -> None:
    html = RENDERED["declined"]
    assert Document(html).all("div", lambda attrs: attrs.get("role") == "alert")
    assert DECLINED_TEXT in html
    assert len(_pay_forms(html)) == 1


def test_words_for_agents_are_not_shown_to_shoppers() -> None:
    handed = message("payment_handed_off", "Give the shopper continue_url. Then call complete_checkout.")
    assert "complete_checkout" not in page(checkout(messages=[handed]))


def test_the_bank_takes_the_place_of_the_button() -> None:
    document = Document(RENDERED["bank"])
    link = document.all("a", lambda attrs: attrs["href"] == BANK_URL)
    assert link == [{"class": "pay", "href": BANK_URL, "rel": "noreferrer"}]
    assert "Your bank asks you to confirm" in document.text


@pytest.mark.parametrize("status", ["ready_for_complete", "requires_escalation"])
def test_who_presses_the_button_while_a_payment_runs_is_shown_that_it_runs(status: Status) -> None:
    assert screen_of(checkout(status), CommerceError.CHECKOUT_IN_PAYMENT, None) is Screen.WAITING


def test_a_confirmation_whose_address_is_gone_waits_and_does_not_pay_again() -> None:
    assert screen_of(checkout(messages=[AUTHENTICATION]), None, None) is Screen.WAITING


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://bank.example/", "//bank.example", "", "https://["])
def test_a_bank_address_that_is_not_secure_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        page(action_url=url)


@pytest.mark.parametrize(
    "url", ["https://evil.example/pay", "//evil.example/pay", "/\\evil/pay", "pay", "", "/a b/pay", '/"/pay', "/shop"]
)
def test_the_button_posts_nowhere_but_to_its_own_site(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        render_checkout(
            brand=brand(), checkout=checkout(), order=None, problem=None, pay_url=url, action_url=None, opener=OPENER
        )


# Waiting.


def test_waiting_loads_itself_again_says_that_leaving_is_safe_and_offers_no_payment() -> None:
    document = Document(RENDERED["waiting"])
    assert document.all("meta", lambda attrs: attrs.get("http-equiv") == "refresh") == [
        {"http-equiv": "refresh", "content": "2"}
    ]
    assert "It is safe to leave" in document.text
    assert "You cannot be charged twice" in document.text
    assert document.all("button") == []


def test_waiting_after_a_refused_post_goes_back_to_the_page_and_not_to_the_post() -> None:
    assert f'http-equiv="refresh" content="2; url={PAGE_URL}"' in RENDERED["waiting with a problem"]


@pytest.mark.parametrize("name", [name for name in RENDERED if not name.startswith("waiting")])
def test_nothing_but_waiting_loads_itself_again(name: str) -> None:
    assert "http-equiv" not in RENDERED[name]


# Receipt, canceled, expired.


def test_the_receipt_says_what_was_bought_how_it_was_paid_and_where_it_goes() -> None:
    text = Document(RENDERED["receipt"]).text
    for shown in (
        "ord_k3v9q2m7x4",
        "22 November 2026, 15:20 UTC",
        "Visa •••• 4242",
        "Alder trail jacket, moss, size M",
        "$18.00",
        "−$15.50",
        "$12.64",
        "$157.14",
        "Standard shipping, 3–7 days",
        "Portland, OR 97•••, US",
        "a•••@example.com",
        "Sandbox — no money moved.",
    ):
        assert shown in text
    assert Document(RENDERED["receipt"]).values("aria-label")[0] == "Visa ending in 4242"


def test_a_real_order_is_not_called_a_sandbox() -> None:
    assert "Sandbox" not in RENDERED["receipt without terms"]


def test_the_receipt_shows_what_the_order_says_and_not_what_the_checkout_says_now() -> None:
    html = page(checkout("completed", lines=[line("Something else", 1, 1)]), paid=order())
    assert "Something else" not in html


def test_a_paid_checkout_whose_order_is_not_at_hand_is_still_confirmed() -> None:
    text = Document(RENDERED["receipt whose order is not at hand"]).text
    assert "Your order is confirmed" in text
    assert "ord_k3v9q2m7x4" in text


def test_what_is_over_says_how_it_ended_and_where_to_go() -> None:
    assert "This checkout was canceled" in RENDERED["canceled"]
    for name in ("expired", "expired while open"):
        assert "This checkout has expired" in RENDERED[name]
    for name in ("canceled", "expired", "expired while open"):
        assert "Go back to your conversation" in RENDERED[name]
        assert "$" not in Document(RENDERED[name]).text


@pytest.mark.parametrize("notice", Notice)
def test_every_notice_says_what_happened_and_what_to_do(notice: Notice) -> None:
    html = render_notice(notice)
    assert f"<h1>{NOTICES[notice].title}</h1>" in html
    assert NOTICES[notice].body in html


# Problems and what is missing.


def test_every_problem_that_can_come_has_words_of_its_own() -> None:
    assert set(PROBLEMS) == EXPECTED_PROBLEMS
    assert len({alert.title for alert in PROBLEMS.values()}) == len(PROBLEMS)


@EVERY_PROBLEM
@pytest.mark.parametrize("status", STATUSES)
def test_every_problem_is_told_first_and_as_an_alert(problem: CommerceError, status: str) -> None:
    html = page(checkout(status), problem=problem, paid=order() if status == "completed" else None)
    document = Document(html)
    alerts = document.all("div", lambda attrs: attrs.get("role") == "alert")
    assert len(alerts) == 1
    if "autofocus" in alerts[0]:
        assert alerts[0]["tabindex"] == "-1"
    assert problem.message not in html  # those words are for agents


@EVERY_PROBLEM
def test_a_problem_on_review_shows_its_words_and_the_button_only_where_it_can_help(problem: CommerceError) -> None:
    if screen_of(checkout(), problem, None) is not Screen.REVIEW:
        return
    alert = PROBLEMS.get(problem, GENERAL_PROBLEM)
    html = page(problem=problem)
    assert alert.title in html
    assert bool(_pay_forms(html)) == alert.may_pay
    assert (f'href="{PAGE_URL}"' in html) != alert.may_pay


def test_no_words_for_shoppers_claim_that_nothing_was_charged() -> None:
    """The zone may have charged when it cannot be reached: only a settled payment can say so."""
    bodies = [alert.body.lower() for alert in (*PROBLEMS.values(), GENERAL_PROBLEM)]
    assert [body for body in bodies if "nothing was charged" in body or "not been charged" in body] == []


def test_an_incomplete_order_says_what_is_missing_and_cannot_be_paid() -> None:
    text = Document(RENDERED["incomplete"]).text
    for needed in (
        "Say where it should be delivered.",
        "Give your e-mail address.",
        "Merino hiking socks : There is not enough left.",
        "A discount code is not valid here. It is not in this total.",
        "Total so far",
        "Not known yet",
    ):
        assert needed in text
    assert _pay_forms(RENDERED["incomplete"]) == []


def test_a_message_that_is_not_known_shows_as_it_came() -> None:
    html = page(checkout("incomplete", messages=[message("unheard_of", "Add a gift text.", kind="error")]))
    assert "Add a gift text." in html


@pytest.mark.parametrize("path", [None, "$.lines[7]", "$.lines[-1]", "$.lines[x]", "$.lines"])
def test_a_line_that_is_not_there_is_not_named(path: str | None) -> None:
    html = page(checkout("incomplete", messages=[message("out_of_stock", "x", path, "error")]))
    assert "There is not enough left." in html


# Amounts.


def test_amounts_are_the_texts_they_came_with() -> None:
    text = MoneyView(amount_minor=1, currency="USD", text="one cent")
    sums = totals(items=text, discount=text, shipping=text, tax=text, total=text, applied=[])
    shown = checkout(totals=sums, lines=[line("Socks", 2, 1).model_copy(update={"unit_price": text, "total": text})])
    amounts = re.findall(r"<bdi[^>]*>([^<]*one cent)</bdi>", page(shown))
    assert amounts == ["one cent", "one cent", "one cent", "one cent", "−one cent", "one cent", "one cent", "one cent"]
    assert not re.search(r"\d\.\d\d", Document(page(shown)).text)


def test_free_delivery_and_an_offer_of_no_amount_have_words() -> None:
    sums = totals(
        discount=usd(0),
        shipping=usd(0),
        total=usd(16_764),
        applied=[AppliedView(id="f", title="Free shipping", amount=usd(0))],
    )
    text = Document(page(checkout(totals=sums))).text
    assert "Delivery Free" in text
    assert "Free shipping Applied" in text
    assert "−$0.00" not in text


def test_tax_that_the_total_holds_already_is_not_shown_as_added() -> None:
    included = Document(page(checkout(totals=totals(total=usd(14_450))))).text
    added = Document(page()).text
    assert "Tax of $12.64 is included." in included
    assert "Tax $12.64" not in included
    assert "Tax $12.64" in added
    assert "is included" not in added


# What of a person is shown.


def _told(html: str) -> list[str]:
    """What the page must keep from whoever got hold of its link, and does not."""
    secrets = ("Quillfeather", "Larkspur", "1742", "Apartment", "97205", "ada.")
    return [secret for secret in secrets if secret in html]


@EVERY_PAGE
def test_no_page_tells_name_street_postal_code_or_mailbox(html: str) -> None:
    assert _told(html) == []


def test_a_planted_full_address_is_found_by_the_same_check() -> None:
    assert _told(RENDERED["review"].replace("Portland, OR 97•••", "1742 Larkspur Lane, OR 97205")) == [
        "Larkspur",
        "1742",
        "97205",
    ]


@given(st.emails())
def test_an_email_shows_its_domain_and_at_most_one_character_before_it(email: str) -> None:
    name, _, domain = email.rpartition("@")
    shown, _, shown_domain = masked_email(email).rpartition("@")
    assert shown_domain == domain
    assert shown in ("•••", f"{name[0]}•••")
    assert len(name) > 1 or shown == "•••"


@pytest.mark.parametrize(
    ("code", "shown"), [("97205", "97•••"), ("E1 6AN", "E1•••"), ("K1A 0B1", "K1A•••"), ("101", "1•••"), ("9", "•••")]
)
def test_a_postal_code_is_cut_to_its_beginning(code: str, shown: str) -> None:
    assert shortened_address(address(postal_code=code)) == f"Portland, OR {shown}, US"
    assert shortened_address(address(postal_code=code, region=None)) == f"Portland, {shown}, US"


@given(st.text("0123456789ABC -", min_size=1, max_size=16))
def test_no_postal_code_is_shown_by_more_than_half(code: str) -> None:
    shown = shortened_address(address(city="C", region=None, postal_code=code)).split(", ")[1].removesuffix("•••")
    assert code.strip().startswith(shown)
    assert len(shown) <= min(3, len(code.strip()) // 2)


@given(st.text("0123456789", max_size=19))
def test_a_card_is_never_shown_by_more_than_four_digits(digits: str) -> None:
    shown = card_text(CardView(brand="visa", last4=digits))
    assert len(re.sub(r"\D", "", shown)) <= 4


@pytest.mark.parametrize(
    ("name", "shown"), [("visa", "Visa"), ("amex", "American Express"), ("diners", "Diners Club"), ("new", "Card")]
)
def test_a_network_is_called_by_its_name(name: str, shown: str) -> None:
    assert card_text(CardView(brand=name, last4="4242")) == f"{shown} •••• 4242"


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-11-22T15:42:00.000Z", "22 November 2026, 15:42 UTC"),
        ("2026-01-02T00:30:00+01:00", "1 January 2026, 23:30 UTC"),
        ("2026-11-22T15:42:00", "2026-11-22T15:42:00"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("soon", "soon"),
    ],
)
def test_a_moment_is_written_for_people_or_left_alone(moment: str, shown: str) -> None:
    assert moment_text(moment) == shown


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [(3, 7, "3–7 days"), (2, 2, "2 days"), (1, 1, "1 day"), (0, 1, "0–1 day"), (0, 0, "same day")],
)
def test_days_of_delivery_read_naturally(first: int, last: int, shown: str) -> None:
    assert days_text(option(delivery_days_min=first, delivery_days_max=last)) == shown


# Terms.


def test_terms_are_shown_where_the_brand_states_them_and_nowhere_else() -> None:
    text = Document(RENDERED["review"]).text
    for shown in ("Returns", "unworn.", "We pay the way back", "Help and contact", "Terms of sale", "Privacy"):
        assert shown in text
    bare = Document(RENDERED["review without terms"])
    assert bare.all("a") == bare.all("details") == []


# Style sheet.


def _mismatches(html: str) -> list[str]:
    """Style sheets of a page whose content is not what their `integrity` promises."""
    wrong = []
    for attrs in Document(html).all("link"):
        found = static_asset((attrs["href"] or "").removeprefix("/assets/"))
        content = found.content if found is not None else b""
        if attrs.get("integrity") != f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}":
            wrong.append(attrs["href"] or "")
    return wrong


@EVERY_PAGE
def test_the_style_sheet_is_what_its_integrity_promises(html: str) -> None:
    assert len(Document(html).all("link", lambda attrs: attrs["rel"] == "stylesheet")) == 1
    assert _mismatches(html) == []


def test_a_planted_wrong_integrity_is_found_by_the_same_check() -> None:
    assert len(_mismatches(RENDERED["review"].replace("sha384-", "sha384-A"))) == 1
    assert len(_mismatches(re.sub(r' integrity="[^"]*"', "", RENDERED["review"]))) == 1


def test_the_style_sheet_is_found_by_its_hashed_name_alone() -> None:
    name = (Document(RENDERED["review"]).all("link")[0]["href"] or "").removeprefix("/assets/")
    assert re.fullmatch(r"checkout\.[0-9a-f]{8}\.css", name)
    found = static_asset(name)
    assert found is not None
    assert found.content == (PAGES / "checkout.css").read_bytes()
    assert found.content_type == "text/css; charset=utf-8"
    assert found.integrity.startswith("sha384-")
    for other in ("checkout.css", "checkout.00000000.css", "../render.py", "", f"/{name}", f"{name}/"):
        assert static_asset(other) is None


def test_the_style_sheet_fetches_nothing_and_knows_dark_print_and_calm() -> None:
    text = (PAGES / "checkout.css").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)
    for wanted in ("prefers-color-scheme: dark", "prefers-reduced-motion", "forced-colors", "@media print"):
        assert wanted in text


def test_no_template_turns_escaping_off() -> None:
    for template in PAGES.glob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape", template.read_text(encoding="utf-8"))
    assert {path.suffix for path in PAGES.iterdir() if path.is_file()} == {".py", ".html", ".css", ".js"}


# Headers.


def _directives(headers: Mapping[str, str]) -> dict[str, list[str]]:
    parts = [part.split() for part in headers["Content-Security-Policy"].split(";")]
    assert len({part[0] for part in parts}) == len(parts)
    return {part[0]: part[1:] for part in parts}


def _weaknesses(headers: Mapping[str, str], allowed: set[str]) -> set[str]:
    sources = {source for values in _directives(headers).values() for source in values}
    return sources - {"'none'", "'self'", "'script'"} - allowed


def test_the_policy_allows_our_style_sheet_and_the_way_to_the_card_page_and_nothing_else() -> None:
    headers = page_headers("https://pay.shop.example")
    directives = _directives(headers)
    assert _weaknesses(headers, {"https://pay.shop.example"}) == set()
    assert directives["form-action"] == ["'self'", "https://pay.shop.example"]
    assert directives["style-src"] == ["'self'"]
    for name in ("default-src", "img-src", "base-uri", "frame-ancestors"):
        assert directives[name] == ["'none'"]
    assert not {"script-src", "connect-src", "font-src", "frame-src"} & set(directives)  # default-src 'none' holds
    assert _directives(page_headers(None))["form-action"] == ["'self'"]


def test_a_planted_weak_policy_is_found_by_the_same_check() -> None:
    policy = page_headers(None)["Content-Security-Policy"]
    for weak in ("'unsafe-inline'", "data:", "*", "https:"):
        planted = policy.replace("style-src 'self'", f"style-src 'self' {weak}")
        assert _weaknesses({"Content-Security-Policy": planted}, set()) == {weak}


def test_pages_are_not_stored_framed_sniffed_or_told_to_others() -> None:
    headers = page_headers(None)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "payment=()" in headers["Permissions-Policy"].split(", ")


def test_transport_security_is_demanded_over_https_alone() -> None:
    assert page_headers(None)["Strict-Transport-Security"] == "max-age=63072000"
    assert "Strict-Transport-Security" not in page_headers(None, https=False)


@pytest.mark.parametrize(
    "origin", ["https://pay.example", "https://pay.example:8443", "http://localhost:3000", "http://127.0.0.1"]
)
def test_origins_of_card_pages_are_accepted(origin: str) -> None:
    assert origin in page_headers(origin)["Content-Security-Policy"]


@pytest.mark.parametrize(
    "origin",
    [
        "http://pay.example",
        "https://pay.example/",
        "https://pay.example; script-src *",
        "https://pay.example\r\nSet-Cookie: a=b",
        "https://pay.example\n",
        "https://*",
        "*",
        "",
        "'unsafe-inline'",
        "https://user@pay.example",
        "HTTPS://pay.example",
        "javascript:",
    ],
)
def test_an_origin_that_could_widen_the_policy_is_refused(origin: str) -> None:
    with pytest.raises(UnsafeUrl):
        page_headers(origin)


@given(st.text(max_size=40))
def test_any_origin_is_refused_or_stands_in_form_action_alone(origin: str) -> None:
    try:
        headers = page_headers(origin)
    except UnsafeUrl:
        return
    assert _directives(headers)["form-action"] == ["'self'", origin]


def test_a_brand_s_accents_are_in_its_style_sheet_and_in_no_other_s() -> None:
    html = page(of=brand(theme={"accent": "#7a1fa2"}))
    assert _mismatches(html) == []
    name = (Document(html).all("link")[0]["href"] or "").removeprefix("/assets/")
    assert re.fullmatch(r"checkout\.[0-9a-f]{8}\.7a1fa2\.[0-9a-f]{6}\.css", name)
    found = static_asset(name)
    assert found is not None
    plain = (PAGES / "checkout.css").read_bytes()
    assert found.content.startswith(plain)
    assert found.content.count(b"#7a1fa2") == 1
    assert b"@media screen" in found.content[len(plain) :]  # what is printed stays black
    assert (Document(page()).all("link")[0]["href"] or "").count(".") == 2


def test_a_style_sheet_is_made_of_accents_that_can_be_read_alone() -> None:
    hashed = "checkout.00000000"
    for other in (
        ".7a1fa2.c77fe6",
        ".ffffff.000000",
        ".7a1fa2",
        ".7a1fa2.c77fe6.c77fe6",
        ".7A1FA2.c77fe6",
        ".red.blue",
    ):
        assert static_asset(f"{hashed}{other}.css") is None
