"""The challenge: the shopper's page, its two outcomes, and the way back to the merchant."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.sandbox_server.world import CHALLENGE, World, charge
from vault_zone.processors.sandbox_server.pages import TEMPLATES, display_amount, display_number, page_policy

pytestmark = pytest.mark.anyio

CHALLENGE_THEN_DECLINE = "4000008400001629"


async def open_challenge(client: httpx.AsyncClient, number: str = CHALLENGE, **body: str) -> str:
    url = (await charge(client, number=number, **body)).json()["action"]["url"]
    return str(url)


@pytest.mark.parametrize(
    ("number", "outcome", "status", "code"),
    [
        (CHALLENGE, "approve", "succeeded", None),
        ("4000002500003155", "approve", "succeeded", None),
        (CHALLENGE, "fail", "declined", "authentication_failed"),
        (CHALLENGE_THEN_DECLINE, "approve", "declined", "card_declined"),
        (CHALLENGE_THEN_DECLINE, "fail", "declined", "authentication_failed"),
    ],
)
async def test_the_shoppers_answer_ends_the_challenge_and_leads_back_to_the_merchant(
    world: World, number: str, outcome: str, status: str, code: str | None
) -> None:
    async with world.client() as client, world.client(None) as shopper:
        url = await open_challenge(client, number)
        sent_back = await shopper.post(url, data={"outcome": outcome})
        content = (await client.get("/v1/charges", params={"reference": "chg_one"})).json()["charges"][0]
    assert sent_back.status_code == 303
    assert sent_back.headers["Location"] == "https://shop.example/return?cart=7&reference=chg_one"
    assert (content["status"], content.get("decline_code")) == (status, code)
    assert "action" not in content


async def test_the_outcome_is_announced_by_a_signed_event_of_its_own(world: World) -> None:
    async with world.client() as client:
        await client.post(await open_challenge(client), data={"outcome": "approve"})
    await world.courier.deliver_due()
    assert [event["type"] for event in world.receiver.events()] == ["charge.requires_action", "charge.succeeded"]


async def test_the_first_outcome_stands_however_often_the_form_is_sent(world: World) -> None:
    async with world.client() as client:
        url = await open_challenge(client)
        for outcome in ("fail", "approve", "fail"):
            assert (await client.post(url, data={"outcome": outcome})).status_code == 303
        charges = (await client.get("/v1/charges", params={"reference": "chg_one"})).json()["charges"]
    await world.courier.deliver_due()
    assert [each["status"] for each in charges] == ["declined"]
    assert len(world.receiver.events()) == 2


async def test_a_challenge_survives_a_restart(world: World) -> None:
    async with world.client() as client:
        url = await open_challenge(client)
    world.restart()
    async with world.client() as client:
        await client.post(url, data={"outcome": "approve"})
    assert world.store.all_charges()[0].status == "succeeded"


@pytest.mark.parametrize(
    "form", [b"", b"outcome=", b"outcome=maybe", b"outcome=approve&outcome=fail", b"\xff=1", b"a&" * 20, b"=" * 9]
)
async def test_what_is_no_outcome_changes_nothing(world: World, form: bytes) -> None:
    async with world.client() as client:
        url = await open_challenge(client)
        answer = await client.post(url, content=form)
    assert answer.status_code == 422
    assert world.store.all_charges()[0].status == "requires_action"


async def test_an_unknown_challenge_is_a_page_not_a_failure(world: World) -> None:
    async with world.client(None) as shopper:
        shown = await shopper.get("/acs/sbx_acs_unknown")
        sent = await shopper.post("/acs/sbx_acs_unknown", data={"outcome": "approve"})
    assert (shown.status_code, sent.status_code) == (404, 404)
    assert "No such authentication" in shown.text


async def test_the_page_shows_what_is_being_paid_and_escapes_what_the_merchant_sent(world: World) -> None:
    async with world.client() as client:
        page = (await client.get(await open_challenge(client, merchant='Nord & <script>"x"'))).text
    assert "Nord &amp; &lt;script&gt;&#34;x&#34;" in page
    assert "<script" not in page
    assert "EUR 123.50" in page
    assert "Visa ending in 3184" in page
    assert CHALLENGE not in page
    assert "Sandbox — no money moves" in page


async def test_the_page_is_a_plain_form_with_two_named_buttons(world: World) -> None:
    async with world.client() as client:
        page = (await client.get(await open_challenge(client))).text
    buttons = re.findall(r'<button class="[^"]+" type="submit" name="outcome" value="(\w+)">([^<]+)</button>', page)
    assert buttons == [("approve", "Complete authentication"), ("fail", "Fail authentication")]
    assert '<form method="post"' in page
    assert '<html lang="en">' in page
    assert "width=device-width" in page


@pytest.mark.parametrize(
    ("number", "outcome", "heading"),
    [
        (CHALLENGE, "approve", "Payment confirmed"),
        (CHALLENGE, "fail", "Not confirmed"),
        (CHALLENGE_THEN_DECLINE, "approve", "Payment declined"),
    ],
)
async def test_a_challenge_that_has_ended_offers_the_way_back_and_no_buttons(
    world: World, number: str, outcome: str, heading: str
) -> None:
    async with world.client() as client:
        url = await open_challenge(client, number)
        await client.post(url, data={"outcome": outcome})
        page = (await client.get(url)).text
    assert f"<h1>{heading}</h1>" in page
    assert "<button" not in page
    assert 'href="https://shop.example/return?cart=7&amp;reference=chg_one"' in page


async def test_every_page_forbids_scripts_frames_and_foreign_content(world: World) -> None:
    async with world.client() as client:
        url = await open_challenge(client)
        policies = {
            path: (await client.get(path)).headers["Content-Security-Policy"]
            for path in ("/", url, "/acs/unknown", "/health", "/static/sandbox.css")
        }
    for policy in policies.values():
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
    assert policies[url].endswith("form-action 'self' https://shop.example")
    assert policies["/"].endswith("form-action 'none'")


def test_no_template_holds_a_script_or_a_style_that_the_policy_would_refuse() -> None:
    for template in TEMPLATES.glob("*.html"):
        assert not re.search(r"<script|<style|\bstyle=|\bon\w+=", template.read_text(encoding="utf-8")), template.name


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://shop.example/a", "https://shop.example"),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/a", "http:"),
    ],
)
def test_the_form_may_lead_to_the_merchants_origin_only(address: str, source: str) -> None:
    assert page_policy(address).endswith(f"form-action 'self' {source}")


@pytest.mark.parametrize(
    ("return_url", "expected"),
    [
        ("https://shop.example", "https://shop.example?reference=chg_one"),
        ("https://shop.example/a#top", "https://shop.example/a?reference=chg_one#top"),
        ("https://shop.example/?a=%26&b", "https://shop.example/?a=%26&b&reference=chg_one"),
    ],
)
async def test_the_reference_is_added_to_the_query_of_the_return_url(
    world: World, return_url: str, expected: str
) -> None:
    async with world.client() as client:
        answer = await client.post(await open_challenge(client, return_url=return_url), data={"outcome": "approve"})
    assert answer.headers["Location"] == expected


@pytest.mark.parametrize("reference", ["a&b=c", "a#b", "a?b", "a%26", 'a"><b', "a+b"])
async def test_a_reference_with_marks_of_its_own_comes_back_as_it_was(world: World, reference: str) -> None:
    async with world.client() as client:
        answer = await client.post(await open_challenge(client, reference=reference), data={"outcome": "fail"})
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query == {"cart": ["7"], "reference": [reference]}


@pytest.mark.parametrize(
    ("amount_minor", "currency", "shown"),
    [
        (5, "EUR", "EUR 0.05"),
        (123_456_789, "USD", "USD 1,234,567.89"),
        (1_500, "JPY", "JPY 1,500"),
        (1_500, "KWD", "KWD 1.500"),
    ],
)
def test_an_amount_is_shown_by_its_currencys_minor_unit(amount_minor: int, currency: str, shown: str) -> None:
    assert display_amount(amount_minor, currency) == shown


@given(st.integers(min_value=1, max_value=10**12), st.sampled_from(["EUR", "JPY", "BHD"]))
def test_an_amount_that_is_shown_has_every_digit_of_the_amount(amount_minor: int, currency: str) -> None:
    digits = re.sub(r"\D", "", display_amount(amount_minor, currency))
    assert int(digits) == amount_minor


def test_a_number_is_shown_in_embossed_groups() -> None:
    assert display_number("4242424242424242") == "4242 4242 4242 4242"
    assert display_number("378282246310005") == "3782 822463 10005"
    assert display_number("6205500000000000004") == "6205 5000 0000 0000 004"
