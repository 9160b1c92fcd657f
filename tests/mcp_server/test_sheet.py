"""ChatGPT's payment sheet: what a view opens it with, for whom, and what the platform then pays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.policy import load_policy
from commerce_api.policy_assistants import AssistantPayments
from commerce_api.schemas import CheckoutLineView, CheckoutView, TotalsView
from commerce_api.views import money_view
from mcp_server import sheet_session as sheets
from mcp_server.bearer import CHALLENGES
from mcp_server.sheet_session import SESSION, sheet_session
from tests.commerce_api.purchases import lines, ready
from tests.commerce_api.world import LEGAL, SHEET, STORE
from tests.mcp_server.oauth_site import OAuthSite
from tests.mcp_server.paying import allowed, call
from tests.vault_zone.delegation.specs import ACP, acp_validator

pytestmark = pytest.mark.anyio
PAYMENTS = AssistantPayments.model_validate(
    {"maximum_minor": 50_000, "limits_minor": (10_000,), "chatgpt_sheet": SHEET}
)
POLICY = load_policy(STORE / "policy.json").model_copy(update={"assistant_payments": PAYMENTS, **LEGAL})
needs_acp = pytest.mark.skipif(not ACP.exists(), reason="ACP's published schemas are not beside this checkout")
AMOUNTS = st.integers(0, 60_000)


def session_in(result: dict[str, Any]) -> dict[str, Any] | None:
    """What a result has for the view to open the sheet with."""
    found: dict[str, Any] | None = result.get("_meta", {}).get(SESSION)
    return found


def checkout(items: int, discount: int, shipping: int, tax: int, total: int, **changes: Any) -> CheckoutView:
    """A checkout that comes to this."""

    def usd(amount_minor: int) -> Any:
        return money_view(amount_minor, "USD")

    return CheckoutView(
        checkout_id="chk_example",
        brand="harbour-pine",
        status="ready_for_complete",
        lines=[CheckoutLineView(variant_id="hp-mug", title="Mug", quantity=1, unit_price=usd(items), total=usd(items))],
        totals=TotalsView(
            items=usd(items), discount=usd(discount), shipping=usd(shipping), tax=usd(tax), total=usd(total)
        ),
        expires_at="2026-11-27T12:00:00Z",
    ).model_copy(update=changes)


async def test_a_signed_in_shopper_s_checkout_comes_with_what_opens_the_sheet(
    paying: OAuthSite, sheet: tuple[str, str]
) -> None:
    url, token = sheet
    made = await call(url, "create_checkout", ready(discount_codes=["WELCOME5"]), token)
    session = session_in(made)
    assert session is not None
    checkout_id, totals = made["structuredContent"]["checkout_id"], made["structuredContent"]["totals"]
    assert session["id"] == checkout_id
    assert session["payment_provider"] == {**SHEET, "supported_payment_methods": ["card"]}
    assert (session["status"], session["currency"], session["payment_mode"]) == ("ready_for_payment", "USD", "test")
    assert session["totals"][-1]["amount"] == totals["total"]["amount_minor"]
    assert {link["type"] for link in session["links"]} == {"terms_of_use", "privacy_policy"}
    for tool in ("get_checkout", "update_checkout"):
        assert session_in(await call(url, tool, {"checkout_id": checkout_id}, token)) == session


async def test_the_model_is_told_nothing_of_the_session(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, token = sheet
    made = await call(url, "create_checkout", ready(), token)
    assert session_in(made) is not None
    assert "merchant_id" not in str({**made, "_meta": None})


@needs_acp
async def test_lines_totals_and_links_are_those_of_acp(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, token = sheet
    session = session_in(await call(url, "create_checkout", ready(discount_codes=["WELCOME5"]), token))
    assert session is not None
    parts = {"LineItem": session["line_items"], "Total": session["totals"], "Link": session["links"]}
    for name, found in parts.items():
        for one in found:
            acp_validator(name, "agentic_checkout").validate(one)
    beside = {"payment_provider", "payment_mode"}
    as_acp = {key: value for key, value in session.items() if key not in beside}
    whole = {**as_acp, "fulfillment_options": [], "messages": [], "capabilities": {}}
    acp_validator("CheckoutSession", "agentic_checkout").validate(whole)


async def test_a_guest_and_one_who_may_not_pay_get_no_session(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, _ = sheet
    narrow = (await allowed(paying, "", resource=url))["access_token"]
    for token in (None, narrow):
        assert session_in(await call(url, "create_checkout", ready(), token)) is None


async def test_planted_fault_without_the_scope_a_session_would_open_a_sheet_that_cannot_pay(
    paying: OAuthSite, sheet: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "may_pay", lambda access: True)
    url, _ = sheet
    assert session_in(await call(url, "create_checkout", ready())) is not None


async def test_a_checkout_that_lacks_something_has_no_session(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, token = sheet
    given = {"lines": ready()["lines"]}
    made = await call(url, "create_checkout", given, token)
    assert (made["structuredContent"]["status"], session_in(made)) == ("incomplete", None)


async def test_the_other_endpoints_have_no_session(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    for profile in ("", "/claude"):
        url = f"{paying.resource}{profile}"
        token = (await allowed(paying, "10000", resource=url))["access_token"]
        assert session_in(await call(url, "create_checkout", ready(), token)) is None


async def test_a_total_above_what_assistants_may_pay_has_no_session(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, token = sheet
    made = await call(url, "create_checkout", ready(lines=lines("hp-kettle-oat", 7)), token)
    assert made["structuredContent"]["totals"]["total"]["amount_minor"] > PAYMENTS.maximum_minor
    assert session_in(made) is None


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.booleans())
def test_the_parts_of_a_session_add_up_to_what_is_paid(
    items: int, discount: int, shipping: int, tax: int, is_included: bool
) -> None:
    total = items - discount + shipping + (0 if is_included else tax)
    session = sheet_session(checkout(items, discount, shipping, tax, total), POLICY)
    if total > PAYMENTS.maximum_minor:
        assert session is None
        return
    assert session is not None
    signs = {"discount": -1}
    *parts, last = session.totals
    assert sum(signs.get(part.type, 1) * part.amount for part in parts) == last.amount == total


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 50_000))
def test_parts_that_do_not_add_up_give_no_session(items: int, discount: int, shipping: int, tax: int, off: int) -> None:
    total = items - discount + shipping + tax + off
    assert sheet_session(checkout(items, discount, shipping, tax, total), POLICY) is None


@pytest.mark.parametrize(
    "status", ["incomplete", "requires_escalation", "complete_in_progress", "completed", "canceled"]
)
def test_only_what_can_be_paid_as_it_is_has_a_session(status: str) -> None:
    assert sheet_session(checkout(500, 0, 0, 0, 500), POLICY) is not None
    assert sheet_session(checkout(500, 0, 0, 0, 500, status=status), POLICY) is None


def test_a_policy_with_the_sheet_has_to_name_what_the_shopper_may_want_to_read() -> None:
    given = POLICY.model_dump(mode="json", exclude={"privacy_url"})
    with pytest.raises(ValueError, match="terms_url and privacy_url"):
        type(POLICY).model_validate_json(json.dumps(given))


async def test_the_payment_sheet_pays_once_and_gets_the_order(paying: OAuthSite, sheet: tuple[str, str]) -> None:
    url, token = sheet
    given = ready()
    del given["buyer"]
    made = (await call(url, "create_checkout", given, token))["structuredContent"]
    vault = paying.world.vault.delegate(made["checkout_id"], made["totals"]["total"]["amount_minor"])
    said = {
        "checkout_session_id": made["checkout_id"],
        "buyer": {"name": "Robin Field", "email": "robin@shopper.example"},
        "payment_data": {"token": vault, "provider": "cordon"},
    }
    told = [await call(url, "complete_checkout", said, token) for _ in range(2)]
    assert [one["structuredContent"]["status"] for one in told] == ["completed"] * 2
    assert told[0]["structuredContent"]["order"] == told[1]["structuredContent"]["order"]
    page = f"{paying.commerce_url}/{paying.world.brand}/checkout/{made['checkout_id']}"
    assert told[0]["structuredContent"]["order"]["permalink_url"] == page
    assert len(paying.world.vault.charges) == 1


async def test_the_payment_sheets_token_pays_no_total_above_the_one_that_it_showed(
    paying: OAuthSite, sheet: tuple[str, str]
) -> None:
    url, token = sheet
    made = (await call(url, "create_checkout", ready(), token))["structuredContent"]
    vault = paying.world.vault.delegate(made["checkout_id"], made["totals"]["total"]["amount_minor"])
    more = {"checkout_id": made["checkout_id"], "lines": [{"variant_id": "hp-mug-sea-300ml", "quantity": 3}]}
    await call(url, "update_checkout", more, token)
    said = {"checkout_session_id": made["checkout_id"], "payment_data": {"token": vault}}
    told = (await call(url, "complete_checkout", said, token))["structuredContent"]
    assert told["status"] == "ready_for_payment"
    assert "payment_declined" in {message["code"] for message in told["messages"]}
    assert paying.world.vault.charges == {}


async def test_by_the_sheet_nobody_pays_for_a_checkout_that_a_stranger_may_have_changed(
    paying: OAuthSite, sheet: tuple[str, str]
) -> None:
    url, _ = sheet
    made = (await call(url, "create_checkout", ready()))["structuredContent"]
    vault = paying.world.vault.delegate(made["checkout_id"], made["totals"]["total"]["amount_minor"])
    said = {"checkout_session_id": made["checkout_id"], "payment_data": {"token": vault}}
    told = await call(url, "complete_checkout", said)
    assert told["structuredContent"]["error"]["code"] == "unauthenticated"
    assert 'scope="checkout:write payments:execute"' in told["_meta"][CHALLENGES][0]
    assert paying.world.vault.charges == {}


async def test_a_token_that_may_not_pay_is_asked_to_step_up_by_the_sheet_too(
    paying: OAuthSite, sheet: tuple[str, str]
) -> None:
    url, _ = sheet
    narrow = (await allowed(paying, "", resource=url))["access_token"]
    made = (await call(url, "create_checkout", ready(), narrow))["structuredContent"]
    said = {"checkout_session_id": made["checkout_id"], "payment_data": {"token": "vt_" + "b" * 32}}
    told = await call(url, "complete_checkout", said, narrow)
    assert told["structuredContent"]["error"]["code"] == "scope_insufficient"
    assert "insufficient_scope" in told["_meta"][CHALLENGES][0]
