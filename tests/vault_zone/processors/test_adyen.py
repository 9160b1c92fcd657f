"""The Adyen connector: the contract suite against a small counterpart in Adyen's documented shapes, and what is Adyen's own."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.adyen_counterpart import (
    API_KEY,
    CHALLENGE,
    HMAC_KEY,
    MERCHANT_ACCOUNT,
    AdyenCounterpart,
    webhook,
)
from tests.vault_zone.processors.connector_suite import Answering, ConnectorSuite, Counterpart, Meant, Notice, a_charge
from tests.vault_zone.processors.fault_proxy import Fault, FaultProxy
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.world import usd
from tokenization.money import Money
from tokenization.wire import DisputeState, Initiator
from vault_zone.card import Cryptogram
from vault_zone.device import Device
from vault_zone.processors import adyen_connector
from vault_zone.processors.adyen_connector import AdyenProcessor
from vault_zone.processors.adyen_objects import HOLD, payment_answer
from vault_zone.processors.adyen_webhooks import read_events
from vault_zone.processors.port import DisputeNews, Outcome, ProcessorAnswer, WebhookRefused


class AdyenInFront(Counterpart):
    """The connector in front of the counterpart."""

    cards: ClassVar[dict[Meant, str]] = {
        Meant.SUCCEED: "4111111111111111",
        Meant.DECLINE: "4000000000009995",
        Meant.DECLINE_ELSEWHERE: "4000000000000119",
        Meant.CHALLENGE: CHALLENGE,
    }
    processor: AdyenProcessor
    has_dated_webhooks: ClassVar[bool] = False
    now_ms = 1_795_000_000_000

    def __init__(self, record: AdyenCounterpart, proxy: FaultProxy, url: str) -> None:
        self.record, self.proxy = record, proxy
        self.processor = self.at(url)

    def fault(self, fault: Fault) -> None:
        self.proxy.faults.append(fault)

    def at(self, url: str) -> AdyenProcessor:
        return AdyenProcessor(API_KEY, MERCHANT_ACCOUNT, HMAC_KEY, api_base=url, timeout_seconds=5.0)

    async def charges(self, reference: str) -> int:
        return sum(payment["state"] == "authorised" for payment in self.under(reference))

    async def moved(self, reference: str) -> tuple[int, int]:
        found = self.under(reference)
        return sum(p["captured"] for p in found), sum(p["refunded"] for p in found)

    async def notices(self, at_ms: int | None = None) -> Sequence[Notice]:
        return [({}, webhook(item)) for item in self.record.items]

    async def authenticate(self, reference: str, *, success: bool) -> None:
        self.record.authenticate(reference, success=success)

    def under(self, reference: str) -> list[dict[str, Any]]:
        """Adyen's payments under our reference."""
        return [p for p in self.record.payments.values() if p["reference"].removesuffix(HOLD) == reference]


@pytest.fixture
async def counterpart() -> AsyncIterator[AdyenInFront]:
    record = AdyenCounterpart()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(record.app), base_url="http://adyen") as upstream:
        proxy = FaultProxy(upstream, lambda request: request.method == "POST")
        async with served(proxy) as url:
            made = AdyenInFront(record, proxy, url)
            yield made
            await made.processor.close()


class TestAdyen(ConnectorSuite):
    """The contract suite."""


def processor() -> AdyenProcessor:
    """The connector, with nobody at the other end."""
    return AdyenProcessor(API_KEY, MERCHANT_ACCOUNT, HMAC_KEY, api_base="http://127.0.0.1:1")


def item(**other: Any) -> dict[str, Any]:
    """A notice's item."""
    return {
        "pspReference": "PSPATEST",
        "merchantAccountCode": MERCHANT_ACCOUNT,
        "merchantReference": "chg_a",
        "amount": {"value": 100, "currency": "USD"},
        "eventCode": "AUTHORISATION",
        "success": "true",
        **other,
    }


def payment(asked: Any) -> dict[str, Any]:
    """The body that the connector would send."""
    body: dict[str, Any] = processor()._payment(asked)
    return body


@pytest.mark.parametrize(
    ("initiator", "interaction", "model"),
    [
        (Initiator.SHOPPER, "Ecommerce", "CardOnFile"),
        (Initiator.MERCHANT_UNSCHEDULED, "ContAuth", "UnscheduledCardOnFile"),
        (Initiator.MERCHANT_RECURRING, "ContAuth", "Subscription"),
    ],
)
async def test_who_began_a_charge_is_said_in_adyens_words(
    counterpart: AdyenInFront, initiator: Initiator, interaction: str, model: str
) -> None:
    body = payment(a_charge(counterpart, initiator=initiator, initial_network_reference="MCC123"))
    assert (body["shopperInteraction"], body["recurringProcessingModel"]) == (interaction, model)
    assert body["paymentMethod"]["networkPaymentReference"] == "MCC123"


async def test_a_network_token_goes_with_its_cryptogram(counterpart: AdyenInFront) -> None:
    cryptogram = Cryptogram.parse("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "05")
    body = payment(a_charge(counterpart, cryptogram=cryptogram, cvc=None))
    assert body["paymentMethod"]["type"] == "networkToken"
    assert body["mpiData"] == {"tokenAuthenticationVerificationValue": "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "eci": "05"}


@pytest.mark.parametrize(("amount", "value"), [(Money(100, "ISK"), 10_000), (Money(500, "IDR"), 5), (usd(7), 7)])
async def test_amounts_go_in_adyens_units(counterpart: AdyenInFront, amount: Money, value: int) -> None:
    assert payment(a_charge(counterpart, amount=amount))["amount"]["value"] == value


async def test_an_amount_that_adyen_cannot_say_is_not_sent(counterpart: AdyenInFront) -> None:
    answer = await counterpart.processor.charge(a_charge(counterpart, amount=Money(501, "IDR")))
    assert (answer.outcome, counterpart.record.payments) == (Outcome.NEVER_SENT, {})


@pytest.mark.parametrize(
    ("status", "code", "outcome", "elsewhere"),
    [
        (401, "000", Outcome.NEVER_SENT, True),
        (403, "901", Outcome.NEVER_SENT, True),
        (429, "x", Outcome.NEVER_SENT, True),
        (400, "702", Outcome.NEVER_SENT, False),
        (422, "130", Outcome.NEVER_SENT, False),
        (422, "704", Outcome.UNKNOWN, False),
        (422, None, Outcome.UNKNOWN, False),
        (500, "905", Outcome.UNKNOWN, False),
    ],
)
async def test_an_error_is_definite_only_where_adyen_says_that_nothing_was_begun(
    counterpart: AdyenInFront, status: int, code: str | None, outcome: Outcome, elsewhere: bool
) -> None:
    async with served(Answering(status, json.dumps({"status": status, "errorCode": code}).encode())) as url:
        odd = counterpart.at(url)
        answer = await odd.charge(a_charge(counterpart))
        await odd.close()
    assert (answer.outcome, answer.may_go_elsewhere) == (outcome, elsewhere)


def test_a_held_charge_is_told_from_a_captured_one_by_what_the_signature_covers() -> None:
    for reference, outcome in (("chg_a", Outcome.SUCCEEDED), (f"chg_a{HOLD}", Outcome.AUTHORIZED)):
        [event] = processor().read_webhook({}, webhook(item(merchantReference=reference)), 0)
        assert event.reference == "chg_a"
        assert event.news == ProcessorAnswer(outcome, "PSPATEST")


def test_every_item_of_a_notice_is_verified_and_not_the_first_alone() -> None:
    forged = json.loads(webhook(item(), item(pspReference="PSPBTEST")))
    forged["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] = 1
    with pytest.raises(WebhookRefused):
        processor().read_webhook({}, json.dumps(forged).encode(), 0)
    assert len(processor().read_webhook({}, webhook(item(), item(pspReference="PSPBTEST")), 0)) == 2


@pytest.mark.parametrize(
    "odd",
    [
        item(merchantAccountCode="Another"),
        item(merchantReference="chg_a:100"),
        item(success="maybe"),
        item(amount={"value": 100, "currency": "XXX"}),
    ],
)
def test_a_signed_item_that_is_not_ours_or_is_ambiguous_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(WebhookRefused):
        processor().read_webhook({}, webhook(odd), 0)


def test_a_chargeback_is_news_of_a_dispute() -> None:
    about = item(eventCode="CHARGEBACK", originalReference="PSPATEST", pspReference="DISPUTE", reason="Fraud")
    [event] = processor().read_webhook({}, webhook(about), 0)
    assert event.news == DisputeNews("DISPUTE", DisputeState.NEEDS_RESPONSE, usd(100), "fraud")
    assert (event.reference, event.processor_charge) == (None, "PSPATEST")


@pytest.mark.parametrize(
    ("code", "state", "withholds"),
    [
        ("REQUEST_FOR_INFORMATION", DisputeState.NEEDS_RESPONSE, False),
        ("NOTIFICATION_OF_CHARGEBACK", DisputeState.NEEDS_RESPONSE, False),
        ("INFORMATION_SUPPLIED", DisputeState.UNDER_REVIEW, None),
        ("CHARGEBACK", DisputeState.NEEDS_RESPONSE, True),
        ("SECOND_CHARGEBACK", DisputeState.LOST, True),
    ],
)
def test_before_a_chargeback_no_money_is_withheld(code: str, state: DisputeState, withholds: bool | None) -> None:
    about = item(eventCode=code, originalReference="PSPATEST", pspReference="DISPUTE")
    [event] = processor().read_webhook({}, webhook(about), 0)
    assert isinstance(event.news, DisputeNews)
    assert (event.news.state, event.news.withholds) == (state, withholds)


_WORDS = st.sampled_from(
    ["notificationItems", "NotificationRequestItem", "amount", "value", "additionalData", "hmacSignature"]
)
_ANY = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.dictionaries(_WORDS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _ANY.map(lambda value: json.dumps(value).encode()))
def test_a_body_of_any_form_is_read_or_refused_and_never_fails(body: bytes) -> None:
    with contextlib.suppress(WebhookRefused):
        read_events(HMAC_KEY, MERCHANT_ACCOUNT, body)


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("capture", [True, False])
async def test_what_the_shopper_brings_back_ends_the_authentication(
    counterpart: AdyenInFront, *, success: bool, capture: bool
) -> None:
    asked = a_charge(counterpart, Meant.CHALLENGE, capture=capture)
    assert (await counterpart.processor.charge(asked)).outcome is Outcome.ACTION_REQUIRED
    brought = counterpart.record.bring_back(payment(asked)["reference"], success=success)
    query = urlencode({"capture_session": "cps_a", "redirectResult": brought})
    ended = await counterpart.processor.end_authentication(asked.reference, query, capture=capture)
    taken = Outcome.SUCCEEDED if capture else Outcome.AUTHORIZED
    assert ended.outcome is (taken if success else Outcome.DECLINED)
    assert await counterpart.charges(asked.reference) == int(success)


async def brought_back_to_another(counterpart: AdyenInFront) -> ProcessorAnswer:
    """A purchase for little is confirmed at the bank, and what came of it is brought back to another purchase."""
    cheap, dear = a_charge(counterpart, Meant.CHALLENGE, amount=usd(1)), a_charge(counterpart, Meant.CHALLENGE)
    for asked in (cheap, dear):
        await counterpart.processor.charge(asked)
    query = urlencode({"redirectResult": counterpart.record.bring_back(cheap.reference, success=True)})
    return await counterpart.processor.end_authentication(dear.reference, query, capture=True)


async def test_what_is_brought_back_of_another_charge_ends_nothing(counterpart: AdyenInFront) -> None:
    assert await brought_back_to_another(counterpart) == ProcessorAnswer(Outcome.UNKNOWN)


async def test_a_connector_that_does_not_look_whose_it_is_would_take_one_for_the_other(
    counterpart: AdyenInFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        adyen_connector, "details_answer", lambda answer, reference, capture: payment_answer(answer, capture=capture)
    )
    assert (await brought_back_to_another(counterpart)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "query", ["", "redirectResult=", "redirectResult=a&redirectResult=b", "redirectResult=made-up", "&" * 50]
)
async def test_what_nobody_brought_from_a_bank_ends_nothing(counterpart: AdyenInFront, query: str) -> None:
    asked = a_charge(counterpart, Meant.CHALLENGE)
    await counterpart.processor.charge(asked)
    ended = await counterpart.processor.end_authentication(asked.reference, query, capture=True)
    assert ended == ProcessorAnswer(Outcome.UNKNOWN)


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY])
async def test_an_answer_that_does_not_come_leaves_the_authentication_as_it_is(
    counterpart: AdyenInFront, fault: Fault
) -> None:
    asked = a_charge(counterpart, Meant.CHALLENGE)
    await counterpart.processor.charge(asked)
    query = urlencode({"redirectResult": counterpart.record.bring_back(asked.reference, success=True)})
    counterpart.fault(fault)
    assert await counterpart.processor.end_authentication(asked.reference, query, capture=True) == ProcessorAnswer(
        Outcome.UNKNOWN
    )
    ended = await counterpart.processor.end_authentication(asked.reference, query, capture=True)
    assert ended.outcome is Outcome.SUCCEEDED  # the page is opened again


async def test_what_the_browser_told_goes_in_adyens_words(counterpart: AdyenInFront) -> None:
    device = Device("text/html", "Mozilla/5.0", True, language="en-GB", ip="192.0.2.1", color_depth=24, tz=-60)
    body = payment(a_charge(counterpart, device=device))
    assert body["browserInfo"] == {
        "acceptHeader": "text/html",
        "userAgent": "Mozilla/5.0",
        "javaScriptEnabled": True,
        "language": "en-GB",
        "colorDepth": 24,
        "timeZoneOffset": -60,
    }
    assert (body["channel"], body["shopperIP"]) == ("Web", "192.0.2.1")
    assert "browserInfo" not in payment(a_charge(counterpart))


def test_another_address_than_adyens_is_this_machine() -> None:
    with pytest.raises(ValueError, match="this machine"):
        AdyenProcessor(API_KEY, MERCHANT_ACCOUNT, HMAC_KEY, api_base="https://adyen.example")


async def test_the_client_is_given_nothing_that_its_errors_could_keep(counterpart: AdyenInFront) -> None:
    sent: list[Any] = []
    transport: Any = vars(counterpart.processor)["_transport"]
    request = transport.request

    def watched(*arguments: Any, **named: Any) -> Any:
        sent.append(request(*arguments, **named))
        return sent[-1]

    transport.request = watched
    await counterpart.processor.charge(a_charge(counterpart))
    [(_, kept, status, headers)] = sent
    assert (kept, status, headers) == (None, 200, {})


pytestmark = pytest.mark.anyio
