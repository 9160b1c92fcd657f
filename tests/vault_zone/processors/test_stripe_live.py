"""The contract suite against Stripe itself, in test mode: the only test that leaves the machine (docs/connectors.md).

    CORDON_STRIPE_TEST_KEY=sk_test_… .venv/bin/pytest tests/vault_zone/processors/test_stripe_live.py

The fault proxy stands between the connector and Stripe, so that replies are lost after they took effect there. Notices are
made from Stripe's own objects and signed here: Stripe cannot reach this machine.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar

import httpx
import pytest
import stripe
from starlette.requests import Request

from tests.loopback_only import loopback_only
from tests.no_skips import NO_ACCOUNT
from tests.vault_zone.processors.connector_suite import ConnectorSuite, Counterpart, Meant, Notice
from tests.vault_zone.processors.fault_proxy import Fault, FaultProxy
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.processors.test_stripe import SECRET, signed
from tokenization.clock import now_milliseconds
from vault_zone.processors.stripe_connector import API_BASE, StripeProcessor
from vault_zone.processors.stripe_objects import CHARGE
from vault_zone.processors.stripe_transport import StripeTransport

KEY = os.environ.get("CORDON_STRIPE_TEST_KEY", "")
WANTED = "set CORDON_STRIPE_TEST_KEY to a key that begins with sk_test_"
_KIND_OF = {
    "succeeded": "payment_intent.succeeded",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "requires_payment_method": "payment_intent.payment_failed",
    "canceled": "payment_intent.canceled",
}


def usable(key: str) -> bool:
    """Whether a key may be used here: never one that moves money."""
    return key.startswith("sk_test_") and len(key) > len("sk_test_")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """In place of the guard that keeps every other test on this machine; with no key it stands here too."""
    with contextlib.nullcontext() if usable(KEY) else loopback_only():
        yield


class StripeItself(Counterpart):
    """The connector in front of Stripe, through the fault proxy."""

    cards: ClassVar[dict[Meant, str]] = {
        Meant.SUCCEED: "4242424242424242",
        Meant.DECLINE: "4000000000009995",
        Meant.DECLINE_ELSEWHERE: "4000000000000119",
    }

    def __init__(self, proxy: FaultProxy, url: str) -> None:
        self.proxy, self.now_ms = proxy, now_milliseconds()
        self.client = stripe.StripeClient(KEY, max_network_retries=0, http_client=StripeTransport(30.0))
        self.processor = self.at(url)

    def fault(self, fault: Fault) -> None:
        self.proxy.faults.append(fault)

    def at(self, url: str) -> StripeProcessor:
        return StripeProcessor(KEY, SECRET, api_base=url, timeout_seconds=20.0)

    async def charges(self, reference: str) -> int:
        return sum(intent["status"] in ("succeeded", "requires_capture") for intent in await self.under(reference))

    async def moved(self, reference: str) -> tuple[int, int]:
        taken = await self.under(reference)
        refunds = [await self.client.v1.refunds.list_async({"payment_intent": intent["id"]}) for intent in taken]
        return sum(i["amount_received"] for i in taken), sum(r.amount for page in refunds for r in page.data)

    async def notices(self, at_ms: int | None = None) -> Sequence[Notice]:
        page = await self.client.v1.payment_intents.list_async(
            {"created": {"gte": self.now_ms // 1000 - 5}, "limit": 100}
        )
        told = [intent.to_dict() for intent in page.data if intent.status in _KIND_OF]
        return [
            signed(
                {"id": f"evt_{each['id']}", "type": _KIND_OF[each["status"]], "data": {"object": each}},
                at_ms or self.now_ms,
            )
            for each in reversed(told)
        ]

    async def authenticate(self, reference: str, *, success: bool) -> None:
        raise NotImplementedError("the shopper's bank is a page that needs a browser")

    async def under(self, reference: str) -> list[dict[str, Any]]:
        """The PaymentIntents that hold our reference."""
        since: Any = {"created": {"gte": self.now_ms // 1000 - 60}, "limit": 100}
        listed = (await self.client.v1.payment_intents.list_async(since)).data
        return [found for each in listed if (found := each.to_dict())["metadata"].get(CHARGE) == reference]


def moves_money(request: Request) -> bool:
    """As tests.vault_zone.processors.localstripe.moves_money."""
    return request.method == "POST" and request.url.path.startswith(("/v1/payment_intents", "/v1/refunds"))


@pytest.fixture
async def counterpart() -> AsyncIterator[StripeItself]:
    async with httpx.AsyncClient(base_url=API_BASE, timeout=60) as upstream:
        proxy = FaultProxy(upstream, moves_money)
        async with served(proxy) as url:
            made = StripeItself(proxy, url)
            yield made
            await made.processor.close()


@pytest.mark.skipif(not usable(KEY), reason=NO_ACCOUNT + WANTED)
class TestStripeItself(ConnectorSuite):
    """The contract suite, without the shopper's bank."""

    @pytest.mark.parametrize("success", [True, False])
    async def test_a_charge_waits_for_the_shoppers_bank_and_ends_by_its_word(
        self, counterpart: Counterpart, *, success: bool
    ) -> None:
        pytest.skip(NO_ACCOUNT + "the bank's page needs a browser; localstripe shows this part")


def test_no_key_but_a_test_key_is_used() -> None:
    assert [key for key in ("sk_live_a", "rk_test_a", "", "sk_test_", "sk_test_a") if usable(key)] == ["sk_test_a"]
