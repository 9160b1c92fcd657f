"""An assistant's platform gives the shopper's card to the vault and its assistant pays with the token: over real processes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.commerce_api.purchases import ready
from tests.journeys.running import BRAND, ROOT, STORE, Running, add_store, cordon, running_stack
from tests.mcp_server.serving import call_body, headers_of, result_of

VISA = "4242424242424242"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running stack whose brand lets assistants pay."""
    data = tmp_path_factory.mktemp("assistant")
    add_store(data)
    policy = json.loads((STORE / "policy.json").read_text(encoding="utf-8"))
    policy["assistant_payments"] = {"maximum_minor": 50_000, "limits_minor": [10_000], "guests": True}
    (data / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    feed = str(STORE / "products.csv")
    done = cordon(
        *("brand", "add", "Harbour & Pine", "--feed", feed),
        *("--policy", str(data / "policy.json"), "--data", str(data)),
    )
    assert done.returncode == 0, done.stderr
    with running_stack(data) as running:
        yield running


@pytest.fixture(scope="module")
def bearer(stack: Running) -> str:
    """The key of a platform that the zone's operator let in."""
    command = ("platforms", "add", "Chat", "--protocol", "acp", "--merchant", BRAND, "--data", str(stack.data / "zone"))
    done = subprocess.run(
        [sys.executable, "-m", "vault_zone", *command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"plk_[a-z]+", done.stdout)
    assert found is not None
    return found.group()


def called(stack: Running, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool's structured answer to a guest, on a connection of its own."""
    content = call_body(tool, arguments)
    answer = httpx.post(
        stack.brand["mcp_url"], content=content, headers=headers_of(content), timeout=60, trust_env=False
    )
    told: dict[str, Any] = result_of(answer)["result"]["structuredContent"]
    return told


def delegated(stack: Running, bearer: str, checkout: dict[str, Any], key: str) -> str:
    """The token for a checkout, as the platform gets it (ACP, delegate payment)."""
    total = checkout["totals"]["total"]
    body = {
        "payment_method": {
            "type": "card",
            "card_number_type": "fpan",
            "number": VISA,
            "exp_month": "12",
            "exp_year": "2034",
            "name": "Robin Field",
            "cvc": "737",
            "display_card_funding_type": "credit",
            "display_brand": "visa",
            "display_last4": "4242",
            "metadata": {},
        },
        "allowance": {
            "reason": "one_time",
            "max_amount": total["amount_minor"],
            "currency": total["currency"].lower(),
            "checkout_session_id": checkout["checkout_id"],
            "merchant_id": BRAND,
            "expires_at": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="seconds"),
        },
        "risk_signals": [{"type": "card_testing", "score": 1, "action": "authorized"}],
        "metadata": {},
    }
    answer = httpx.post(
        f"{stack.described['capture_url']}/agentic_commerce/delegate_payment",
        json=body,
        headers={"authorization": f"Bearer {bearer}", "api-version": "2026-04-17", "idempotency-key": key},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["id"]
    return token


def test_the_assistant_pays_with_the_token_and_nobody_sees_a_page(stack: Running, bearer: str) -> None:
    made = called(stack, "create_checkout", ready())
    said = {
        "checkout_id": made["checkout_id"],
        "confirmation": made["confirmation"],
        "payment_token": delegated(stack, bearer, made, "one"),
    }
    told = [called(stack, "complete_checkout", said) for _ in range(2)]
    assert [one["status"] for one in told] == ["completed", "completed"]
    order = called(stack, "get_order", {"order_id": told[0]["order_id"]})
    assert order["paid_with"] == {"brand": "visa", "last4": "4242"}
    assert order["totals"]["total"] == made["totals"]["total"]
    assert len(stack.charges()) == 1
    log = (stack.data / "commerce").rglob("*")
    assert [path for path in log if path.is_file() and VISA.encode() in path.read_bytes()] == []


def test_the_vault_holds_a_token_to_its_checkout_and_the_shopper_pays_on_the_page_instead(
    stack: Running, bearer: str
) -> None:
    other = called(stack, "create_checkout", ready())
    made = called(stack, "create_checkout", ready())
    said = {
        "checkout_id": made["checkout_id"],
        "confirmation": made["confirmation"],
        "payment_token": delegated(stack, bearer, other, "two"),
    }
    before = len(stack.charges())
    told = called(stack, "complete_checkout", said)
    assert told["status"] == "requires_escalation"
    assert len(stack.charges()) == before
    assert stack.pay(told)
    assert called(stack, "get_checkout", {"checkout_id": made["checkout_id"]})["status"] == "completed"
