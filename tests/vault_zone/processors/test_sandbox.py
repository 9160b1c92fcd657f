"""The sandbox's connector: a webhook is believed only signed and fresh; an answer only where it is definite."""

import hashlib
import hmac
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault_zone.processors.port import Outcome, ProcessorAnswer, WebhookRefused
from vault_zone.processors.sandbox import WEBHOOK_TOLERANCE_SECONDS, SandboxProcessor, _read_answer

SECRET = b"a webhook secret for tests"
NOW_MS = 1_795_000_000_000
BODY = json.dumps({"id": "sbx_evt_a", "data": {"reference": "chg_a", "status": "succeeded", "id": "sbx_ch_a"}}).encode()


def signed(body: bytes, at_seconds: int, secret: bytes = SECRET) -> dict[str, str]:
    signature = hmac.new(secret, f"{at_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"sandbox-signature": f"t={at_seconds},v1={signature}"}


@pytest.fixture
def processor() -> SandboxProcessor:
    return SandboxProcessor("http://127.0.0.1:1", "key", SECRET)


def test_a_signed_fresh_webhook_is_read(processor: SandboxProcessor) -> None:
    [event] = processor.read_webhook(signed(BODY, NOW_MS // 1000), BODY, NOW_MS)
    assert isinstance(event.news, ProcessorAnswer)
    assert (event.event_id, event.reference, event.news.outcome) == ("sbx_evt_a", "chg_a", Outcome.SUCCEEDED)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sandbox-signature": ""},
        {"sandbox-signature": "t=,v1="},
        {"sandbox-signature": "t=٣,v1=00"},
        signed(BODY, NOW_MS // 1000, b"another secret"),
        signed(BODY + b" ", NOW_MS // 1000),
        signed(BODY, NOW_MS // 1000 - WEBHOOK_TOLERANCE_SECONDS - 1),
        signed(BODY, NOW_MS // 1000 + WEBHOOK_TOLERANCE_SECONDS + 1),
    ],
)
def test_any_other_webhook_is_refused(processor: SandboxProcessor, headers: dict[str, str]) -> None:
    with pytest.raises(WebhookRefused):
        processor.read_webhook(headers, BODY, NOW_MS)


READER = SandboxProcessor("http://127.0.0.1:1", "key", SECRET)  # made once: its TLS context takes longer than a reading
CHARGE_NEWS = {"reference": "chg_a", "status": "authorized", "id": "sbx_ch_a"}
REFUND_NEWS = {
    "object": "modification",
    "id": "sbx_ref_a",
    "kind": "refund",
    "reference": "mod_a",
    "charge": "sbx_ch_a",
    "charge_reference": "chg_a",
    "status": "pending",
    "amount_minor": 100,
    "currency": "EUR",
}
DISPUTE_NEWS = {
    "object": "dispute",
    "id": "sbx_dp_a",
    "charge": "sbx_ch_a",
    "charge_reference": "chg_a",
    "status": "needs_response",
    "amount_minor": 100,
    "currency": "EUR",
    "reason": "fraudulent",
    "fee_minor": 1500,
    "evidence_due_at": "2026-11-25T11:06:40.000Z",
}
ANYTHING: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just({})
)


@st.composite
def spoiled_notices(draw: st.DrawFn) -> bytes:
    """A notice of each kind with one field that is anything, or that is missing."""
    news: dict[str, object] = dict(draw(st.sampled_from([CHARGE_NEWS, REFUND_NEWS, DISPUTE_NEWS])))
    field = draw(st.sampled_from([*news, "object"]))
    news[field] = draw(ANYTHING)
    if draw(st.booleans()):
        del news[field]
    return json.dumps({"id": "sbx_evt_a", "data": draw(ANYTHING | st.just(news))}).encode()


@settings(deadline=None)  # how long one takes is the machine's affair; that each ends soon is shown by the fuzz corpus
@given(st.binary(max_size=300) | spoiled_notices())
def test_a_signed_body_of_any_form_is_read_or_refused_and_never_fails(body: bytes) -> None:
    try:
        READER.read_webhook(signed(body, NOW_MS // 1000), body, NOW_MS)
    except WebhookRefused:
        return


@given(
    st.sampled_from([200, 201, 302, 400, 401, 409, 422, 429, 500, 502, 503]),
    st.binary(max_size=100)
    | st.sampled_from([b"[]", b"1", b'""', b'{"error":[]}', b'{"error":{"code":[]}}', b'{"status":[],"action":1}'])
    | st.just(b'{"error":{"code":"internal_error"}}')
    | st.just(b'{"status":"strange"}'),
)
def test_an_answer_that_is_not_definite_is_unknown(status: int, body: bytes) -> None:
    outcome = _read_answer(httpx.Response(status, content=body)).outcome
    assert outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "code", ["invalid_request", "live_card_refused", "unauthenticated", "idempotency_key_required"]
)
def test_a_refusal_before_any_effect_is_known_not_to_have_charged(code: str) -> None:
    answer = _read_answer(httpx.Response(422, json={"error": {"code": code}}))
    assert answer.outcome is Outcome.NEVER_SENT


@pytest.mark.anyio
async def test_a_processor_that_is_not_there_was_never_sent_anything() -> None:
    from tests.vault_zone.world import a_card, usd
    from vault_zone.processors.port import ProcessorCharge

    processor = SandboxProcessor("http://127.0.0.1:1", "key", SECRET)
    asked = ProcessorCharge("chg_a", "shop", usd(1), a_card(), None, "http://127.0.0.1/return")
    assert (await processor.charge(asked)).outcome is Outcome.NEVER_SENT
    found = await processor.find("chg_a")
    assert found is not None
    assert found.outcome is Outcome.UNKNOWN
    await processor.close()
