"""The Stripe connector: the contract suite against localstripe behind the fault proxy, and what is Stripe's own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import httpx
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.connector_suite import ConnectorSuite, Counterpart, Meant, Notice
from tests.vault_zone.processors.fault_proxy import Fault
from tests.vault_zone.processors.localstripe import CHALLENGE, MISSING, PYTHON, TEST_KEY, StripeProxy, localstripe
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.world import a_card, usd
from tokenization.clock import now_milliseconds
from tokenization.money import Money
from tokenization.wire import DisputeState, Initiator, ModificationKind
from vault_zone.card import Cryptogram, Cvc
from vault_zone.processors.port import (
    DisputeNews,
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorModification,
    WebhookRefused,
)
from vault_zone.processors.stripe_connector import SHARED_TOKEN_VERSION, SharedTokenCharge, StripeProcessor
from vault_zone.processors.stripe_objects import CHARGE, UNITS
from vault_zone.processors.stripe_transport import StripeTransport
from vault_zone.processors.stripe_webhooks import read_event

SECRET = "whsec_for_tests_only"


class StripeCounterpart(Counterpart):
    """The connector in front of localstripe and its proxy."""

    cards: ClassVar[dict[Meant, str]] = {
        Meant.SUCCEED: "4242424242424242",
        Meant.DECLINE: "4000000000009995",
        Meant.DECLINE_ELSEWHERE: "4000000000000119",
        Meant.CHALLENGE: CHALLENGE,
    }

    def __init__(self, proxy: StripeProxy, url: str) -> None:
        self.proxy = proxy
        self.url = url
        self.now_ms = now_milliseconds()
        self.processor: StripeProcessor = self.at(url)

    def fault(self, fault: Fault) -> None:
        self.proxy.faults.append(fault)

    def at(self, url: str) -> StripeProcessor:
        return StripeProcessor(TEST_KEY, SECRET, api_base=url, timeout_seconds=5.0)

    async def charges(self, reference: str) -> int:
        return sum(intent["status"] in ("succeeded", "requires_capture") for intent in await self.under(reference))

    async def moved(self, reference: str) -> tuple[int, int]:
        intents = await self.under(reference)
        taken = [intent["id"] for intent in intents if intent["amount_received"]]
        refunded = [await self.proxy.refunded(intent) for intent in taken]
        return sum(intent["amount_received"] for intent in intents), sum(refunded)

    async def notices(self, at_ms: int | None = None) -> Sequence[Notice]:
        return [
            signed({"id": f"evt_{number}", "type": kind, "data": {"object": about}}, at_ms or self.now_ms)
            for number, (kind, about) in enumerate(self.proxy.events)
        ]

    async def authenticate(self, reference: str, *, success: bool) -> None:
        [intent] = await self.under(reference)
        await self.proxy.authenticate(intent["id"], success=success)

    async def under(self, reference: str) -> list[dict[str, Any]]:
        """The PaymentIntents that hold our reference."""
        return [intent for intent in await self.proxy.intents() if intent["metadata"].get(CHARGE) == reference]


def signed(event: dict[str, Any], at_ms: int, secret: str = SECRET) -> Notice:
    """An event as Stripe would send it."""
    body = json.dumps({"object": "event", **event})
    header = stripe.WebhookSignature.generate_signature_header(body, secret, at_ms // 1000)
    return {"stripe-signature": header}, body.encode()


@pytest.fixture(scope="module")
def stripe_url() -> Iterator[str]:
    """A localstripe; a skip where it is not installed."""
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    with localstripe() as url:
        yield url


@asynccontextmanager
async def stripe_counterpart(stripe_url: str, **options: Any) -> AsyncIterator[StripeCounterpart]:
    """An empty localstripe behind the proxy, with the connector in front."""
    async with httpx.AsyncClient(base_url=stripe_url, trust_env=False, timeout=30) as upstream:
        await upstream.delete("/_config/data")
        proxy = StripeProxy(upstream, **options)
        async with served(proxy) as url:
            counterpart = StripeCounterpart(proxy, url)
            yield counterpart
            await counterpart.processor.close()


@pytest.fixture
async def counterpart(stripe_url: str) -> AsyncIterator[StripeCounterpart]:
    async with stripe_counterpart(stripe_url) as made:
        yield made


class TestStripe(ConnectorSuite):
    """The contract suite."""


def answering(status: int, content: object) -> StripeProcessor:
    """The connector, with an answer for every request."""
    mock = httpx.MockTransport(lambda _: httpx.Response(status, json=content))
    return StripeProcessor(TEST_KEY, SECRET, transport=StripeTransport(5.0, mock))


def recording(requests: list[httpx.Request]) -> StripeProcessor:
    """The connector, with its requests written down and answered as by Stripe."""

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        kind = "payment_method" if request.url.path.endswith("payment_methods") else "payment_intent"
        return httpx.Response(200, json={"id": f"{kind}_a", "object": kind, "status": "requires_capture"})

    return StripeProcessor(TEST_KEY, SECRET, transport=StripeTransport(5.0, httpx.MockTransport(answer)))


def form(request: httpx.Request) -> dict[str, str]:
    """The fields of a request."""
    return dict(parse_qsl(request.content.decode()))


def fixed_charge(**other: Any) -> ProcessorCharge:
    """A charge on the published card."""
    fields: dict[str, Any] = {"cvc": Cvc.parse("737", None), **other}
    return ProcessorCharge(
        "chg_a", "shop", fields.pop("amount", usd(100)), a_card(), fields.pop("cvc"), "https://s.example", **fields
    )


@pytest.mark.anyio
async def test_both_requests_go_once_under_keys_of_the_charge_and_the_card_is_in_the_first_alone() -> None:
    sent: list[httpx.Request] = []
    answer = await recording(sent).charge(fixed_charge(capture=False))
    assert answer.outcome is Outcome.AUTHORIZED
    assert [(r.url.path, r.headers["idempotency-key"]) for r in sent] == [
        ("/v1/payment_methods", "chg_a:pm"),
        ("/v1/payment_intents", "chg_a"),
    ]
    assert form(sent[0])["card[number]"] == "4242424242424242"
    assert "4242" not in sent[1].content.decode()
    assert (form(sent[1])["capture_method"], form(sent[1])["metadata[cordon_charge]"]) == ("manual", "chg_a")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("initiator", "field", "value"),
    [
        (Initiator.SHOPPER, "return_url", "https://s.example"),
        (Initiator.MERCHANT_UNSCHEDULED, "off_session", "true"),
        (Initiator.MERCHANT_RECURRING, "off_session", "recurring"),
    ],
)
async def test_who_began_a_charge_is_said_in_stripes_words(initiator: Initiator, field: str, value: str) -> None:
    sent: list[httpx.Request] = []
    await recording(sent).charge(fixed_charge(initiator=initiator))
    assert form(sent[1])[field] == value
    assert ("off_session" in form(sent[1])) is (initiator is not Initiator.SHOPPER)


@pytest.mark.anyio
async def test_a_network_token_is_not_sent_since_the_published_api_takes_none() -> None:
    sent: list[httpx.Request] = []
    stripe_ = recording(sent)
    answer = await stripe_.charge(fixed_charge(cryptogram=Cryptogram.parse("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", None)))
    assert (answer.outcome, sent) == (Outcome.NEVER_SENT, [])
    assert Feature.NETWORK_TOKEN not in stripe_.features


@pytest.mark.anyio
async def test_a_shared_payment_token_is_charged_in_the_version_that_knows_it_under_our_key() -> None:
    sent: list[httpx.Request] = []
    asked = SharedTokenCharge("chg_a", "shop", usd(100), "spt_granted", "https://s.example")
    answer = await recording(sent).charge_shared_token(asked)
    assert answer.outcome is Outcome.AUTHORIZED
    [request] = sent
    assert (request.headers["stripe-version"], request.headers["idempotency-key"]) == (SHARED_TOKEN_VERSION, "chg_a")
    assert form(request)["payment_method_data[shared_payment_granted_token]"] == "spt_granted"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("amount", "sent_amount"),
    [
        (Money(1_234, "USD"), "1234"),
        (Money(500, "JPY"), "500"),
        (Money(500, "ISK"), "50000"),
        (Money(500, "UGX"), "50000"),
        (Money(50_000, "MGA"), "500"),
        (Money(1_230, "KWD"), "1230"),
    ],
)
async def test_amounts_go_in_stripes_units(amount: Money, sent_amount: str) -> None:
    sent: list[httpx.Request] = []
    await recording(sent).charge(fixed_charge(amount=amount))
    assert form(sent[1])["amount"] == sent_amount
    assert UNITS.money(int(sent_amount), amount.currency.lower()) == amount


@pytest.mark.anyio
async def test_an_amount_that_stripe_cannot_say_is_not_sent() -> None:
    sent: list[httpx.Request] = []
    answer = await recording(sent).charge(fixed_charge(amount=Money(50_001, "MGA")))
    assert (answer.outcome, sent) == (Outcome.NEVER_SENT, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "error", "outcome", "elsewhere"),
    [
        (400, {"type": "invalid_request_error", "code": "parameter_missing"}, Outcome.NEVER_SENT, False),
        (400, {"type": "idempotency_error"}, Outcome.UNKNOWN, False),
        (401, {"type": "invalid_request_error"}, Outcome.NEVER_SENT, True),
        (402, {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}, Outcome.DECLINED, False),
        (402, {"type": "card_error", "decline_code": "issuer_not_available"}, Outcome.DECLINED, True),
        (402, {"type": "api_error"}, Outcome.UNKNOWN, False),
        (402, {}, Outcome.UNKNOWN, False),
        (409, {"type": "invalid_request_error", "code": "idempotency_key_in_use"}, Outcome.UNKNOWN, False),
        (429, {"type": "invalid_request_error", "code": "lock_timeout"}, Outcome.NEVER_SENT, True),
        (500, {"type": "api_error"}, Outcome.UNKNOWN, False),
    ],
)
async def test_an_error_is_definite_only_where_stripe_says_that_nothing_was_begun(
    status: int, error: dict[str, str], outcome: Outcome, elsewhere: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("payment_methods"):
            return httpx.Response(200, json={"id": "pm_a", "object": "payment_method"})
        return httpx.Response(status, json={"error": error})

    mock = StripeTransport(5.0, httpx.MockTransport(answer))
    said = await StripeProcessor(TEST_KEY, SECRET, transport=mock).charge(fixed_charge())
    assert (said.outcome, said.may_go_elsewhere) == (outcome, elsewhere)


@pytest.mark.anyio
async def test_whatever_becomes_of_handing_over_the_card_no_charge_was_asked_for() -> None:
    for status, error in [(500, {"type": "api_error"}), (409, {"type": "x"}), (429, {"type": "x"})]:
        said = await answering(status, {"error": error}).charge(fixed_charge())
        assert (said.outcome, said.may_go_elsewhere) == (Outcome.NEVER_SENT, True)
    declined = await answering(402, {"error": {"type": "card_error", "code": "incorrect_number"}}).charge(
        fixed_charge()
    )
    assert (declined.outcome, declined.decline_code) == (Outcome.DECLINED, "incorrect_number")


@pytest.mark.anyio
async def test_absence_is_said_only_after_every_payment_since_was_seen() -> None:
    other = {"id": "pi_b", "object": "payment_intent", "metadata": {}}
    assert await answering(200, {"data": [other], "has_more": False}).find("chg_a", None, 1) is None
    unsure: list[object] = [
        {"data": [other], "has_more": True},  # the same page for ever
        {"data": [other]},
        {"data": [], "has_more": True},
        {"data": {}, "has_more": False},
    ]
    for page in unsure:
        assert await answering(200, page).find("chg_a", None, 1) == ProcessorAnswer(Outcome.UNKNOWN)


@pytest.mark.anyio
async def test_what_stripe_has_under_its_id_counts_only_if_it_is_our_charge() -> None:
    ours = {"id": "pi_a", "object": "payment_intent", "status": "canceled", "metadata": {CHARGE: "chg_a"}}
    found = await answering(200, ours).find("chg_a", "pi_a")
    assert found == ProcessorAnswer(Outcome.VOIDED, "pi_a")
    expired = await answering(200, {**ours, "cancellation_reason": "automatic"}).find("chg_a", "pi_a")
    assert expired == ProcessorAnswer(Outcome.EXPIRED, "pi_a")
    for odd in ({**ours, "metadata": {CHARGE: "chg_b"}}, {"error": {"type": "invalid_request_error"}}):
        assert await answering(200, odd).find("chg_a", "pi_a") == ProcessorAnswer(Outcome.UNKNOWN)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("taken", "marks", "found"),
    [
        (0, {}, None),
        (50, {"mod_a": "captured"}, ModificationOutcome.SUCCEEDED),
        (50, {"mod_b": "captured"}, None),
        (50, {}, ModificationOutcome.UNKNOWN),
    ],
)
async def test_a_capture_is_known_by_its_mark_and_money_that_nobody_marked_is_not_taken_for_its_absence(
    taken: int, marks: dict[str, str], found: ModificationOutcome | None
) -> None:
    status = "succeeded" if taken else "requires_capture"
    intent = {"id": "pi_a", "object": "payment_intent", "status": status, "amount": 100, "currency": "usd"}
    said = answering(200, {**intent, "amount_received": taken, "metadata": {CHARGE: "chg_a", **marks}})
    capture = ProcessorModification("mod_a", ModificationKind.CAPTURE, "shop", "chg_a", "pi_a", usd(50))
    answer = await said.find_modification(capture)
    assert (answer.outcome if answer else None) is found
    own = await said.modify(capture)
    assert own.outcome is (ModificationOutcome.SUCCEEDED if taken else ModificationOutcome.UNKNOWN)


def test_a_dispute_is_news_with_its_money_its_day_and_its_fee() -> None:
    dispute = {
        "id": "dp_a",
        "status": "needs_response",
        "amount": 500,
        "currency": "usd",
        "reason": "fraudulent",
        "payment_intent": "pi_a",
        "evidence_details": {"due_by": 1_800_000_000},
        "balance_transactions": [{"fee": 1_500, "currency": "usd"}],
    }
    now_ms = now_milliseconds()
    headers, body = signed({"id": "evt_a", "type": "charge.dispute.created", "data": {"object": dispute}}, now_ms)
    [event] = answering(200, {}).read_webhook(headers, body, now_ms)
    expected = DisputeNews("dp_a", DisputeState.NEEDS_RESPONSE, usd(500), "fraudulent", 1_800_000_000_000, usd(1_500))
    assert (event.news, event.processor_charge, event.reference) == (expected, "pi_a", None)


@pytest.mark.parametrize(
    ("status", "state", "withholds"),
    [
        ("warning_needs_response", DisputeState.NEEDS_RESPONSE, False),
        ("warning_under_review", DisputeState.UNDER_REVIEW, False),
        ("warning_closed", DisputeState.WON, False),
        ("under_review", DisputeState.UNDER_REVIEW, True),
        ("lost", DisputeState.LOST, True),
    ],
)
def test_an_inquiry_is_a_dispute_that_withholds_nothing(status: str, state: DisputeState, withholds: bool) -> None:
    about = {"id": "dp_a", "status": status, "amount": 500, "currency": "usd", "payment_intent": "pi_a"}
    now_ms = now_milliseconds()
    headers, body = signed({"id": "evt_a", "type": "charge.dispute.updated", "data": {"object": about}}, now_ms)
    [event] = answering(200, {}).read_webhook(headers, body, now_ms)
    assert isinstance(event.news, DisputeNews)
    assert (event.news.state, event.news.withholds) == (state, withholds)


@pytest.mark.parametrize("kind", ["refund.updated", "charge.refunded"])
def test_a_refund_made_in_the_dashboard_is_news_without_a_reference_of_ours(kind: str) -> None:
    refund = {"id": "re_a", "object": "refund", "status": "succeeded", "amount": 5, "currency": "usd", "metadata": {}}
    about = {"payment_intent": "pi_a", **(refund if kind == "refund.updated" else {"refunds": {"data": [refund]}})}
    now_ms = now_milliseconds()
    headers, body = signed({"id": "evt_a", "type": kind, "data": {"object": about}}, now_ms)
    [event] = answering(200, {}).read_webhook(headers, body, now_ms)
    answer = ModificationAnswer(ModificationOutcome.SUCCEEDED, "re_a")
    assert event.news == ModificationNews(ModificationKind.REFUND, None, answer, usd(5))
    assert event.processor_charge == "pi_a"


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda c: st.dictionaries(
            st.sampled_from(["id", "type", "data", "object", "status", "amount", "currency", "metadata"]), c, max_size=5
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_signed_body_of_any_form_is_read_or_refused_and_never_fails(body: bytes) -> None:
    now_ms = now_milliseconds()
    text = body.decode("utf-8", "replace")
    header = stripe.WebhookSignature.generate_signature_header(text, SECRET, now_ms // 1000)
    with contextlib.suppress(WebhookRefused):
        read_event(SECRET, header, text.encode(), now_ms)


def test_cards_go_over_https_or_to_this_machine() -> None:
    for address in ("http://api.stripe.com", "http://127.0.0.1.example", "ftp://127.0.0.2"):
        with pytest.raises(ValueError, match="https"):
            StripeProcessor(TEST_KEY, SECRET, api_base=address)


def test_only_a_test_key_is_called_a_sandbox() -> None:
    keys = {"sk_test_a": True, "rk_test_a": True, "sk_live_a": False, "sk_live_test_a": False}
    assert {key: StripeProcessor(key, SECRET).is_sandbox for key in keys} == keys


def test_the_client_library_prints_and_writes_nothing_whatever_the_environment_says(tmp_path: Path) -> None:
    program = (
        "import asyncio, logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from tests.vault_zone.processors.test_stripe import fixed_charge, StripeProcessor\n"
        "processor = StripeProcessor('sk_test_a', 'whsec_a', api_base='http://127.0.0.1:1')\n"
        "raise SystemExit(asyncio.run(processor.charge(fixed_charge())).outcome != 'never_sent')\n"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STRIPE_LOG": "debug",
        "http_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert "4242424242424242" not in done.stdout + done.stderr
    assert list(tmp_path.rglob("telemetry_id")) == []
