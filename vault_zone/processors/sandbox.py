"""The connector to the sandbox processor. No money moves; it takes published test numbers only."""

import hashlib
import hmac
import json
from dataclasses import asdict
from typing import Any

import httpx

from tokenization.scanner import contains_card
from vault_zone.card import Card, Cryptogram, Cvc, Exposure
from vault_zone.device import Device
from vault_zone.processors.port import Outcome, ProcessorAnswer, ProcessorCharge, ProcessorEvent, WebhookRefused

CONNECT_TIMEOUT_SECONDS = 3.0
WEBHOOK_TOLERANCE_SECONDS = 300  # the usual window against replay
MAXIMUM_ANSWER_BYTES = 64 * 1024
_OUTCOMES = {
    "succeeded": Outcome.SUCCEEDED,
    "declined": Outcome.DECLINED,
    "requires_action": Outcome.ACTION_REQUIRED,
}
# The codes with which the sandbox refuses a request before it has any effect.
_REFUSED_WITHOUT_EFFECT = {"invalid_request", "live_card_refused", "unauthenticated", "idempotency_key_required"}


class SandboxProcessor:
    """Speaks the sandbox's HTTP interface. See docs/sandbox.md."""

    name = "sandbox"
    is_sandbox = True

    def __init__(
        self,
        base_url: str,
        api_key: str,
        webhook_secret: bytes,
        *,
        timeout_seconds: float = 10.0,
        request_lifetime_seconds: float = 15.0,
    ) -> None:
        self.request_lifetime_seconds = request_lifetime_seconds
        self._webhook_secret = webhook_secret
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """One request, its reference as the idempotency key. See Processor.charge."""
        body = {
            "reference": request.reference,
            "amount_minor": request.amount.amount_minor,
            "currency": request.amount.currency,
            "capture": True,
            "card": {**_card_fields(request.card, request.cvc), **_cryptogram_fields(request.cryptogram)},
            "merchant": request.merchant,
            "return_url": request.return_url,
            **_browser_fields(request.device),
        }
        try:
            answer = await self._client.post("/v1/charges", json=body, headers={"idempotency-key": request.reference})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return ProcessorAnswer(Outcome.NEVER_SENT)  # no connection was made, so nothing left
        except httpx.HTTPError:
            return ProcessorAnswer(Outcome.UNKNOWN)
        return _read_answer(answer)

    async def find(self, reference: str) -> ProcessorAnswer | None:
        """Asks for the record by our reference. See Processor.find."""
        try:
            answer = await self._client.get("/v1/charges", params={"reference": reference})
        except httpx.HTTPError:
            return ProcessorAnswer(Outcome.UNKNOWN)
        return _read_list(answer)

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> ProcessorEvent | None:
        """Verifies ``Sandbox-Signature: t=…,v1=…`` (HMAC-SHA-256 over ``t.body``) in constant time, then reads the event."""
        parts = dict(part.split("=", 1) for part in headers.get("sandbox-signature", "").split(",") if "=" in part)
        sent_at, signature = parts.get("t", ""), parts.get("v1", "")
        if not sent_at.isascii() or not sent_at.isdigit() or len(sent_at) > 12:
            raise WebhookRefused
        expected = hmac.new(self._webhook_secret, f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise WebhookRefused
        if abs(now_ms // 1000 - int(sent_at)) > WEBHOOK_TOLERANCE_SECONDS:
            raise WebhookRefused
        try:
            event = _parsed(body)
            charge = event["data"]
            names = str(event["id"])[:80], str(charge["reference"])[:80]
        except (ValueError, KeyError, TypeError):
            raise WebhookRefused from None
        if any(map(contains_card, names)):
            raise WebhookRefused
        return ProcessorEvent(*names, _read_charge(charge))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


def _card_fields(card: Card, cvc: Cvc | None) -> dict[str, Any]:
    month, year = card.expiry.expose(Exposure.PROCESSOR)
    held = {"name": card.name, "postal_code": card.postal_code, "cvc": cvc}
    return {
        "number": card.pan.expose(Exposure.PROCESSOR),
        "exp_month": month,
        "exp_year": year,
        **{field: value.expose(Exposure.PROCESSOR) for field, value in held.items() if value is not None},
    }


def _cryptogram_fields(cryptogram: Cryptogram | None) -> dict[str, str]:
    if cryptogram is None:
        return {}
    value, indicator = cryptogram.expose(Exposure.PROCESSOR)
    return {"cryptogram": value, **({"eci": indicator} if indicator else {})}


def _browser_fields(device: Device | None) -> dict[str, Any]:
    """The elements that are known, under their names of EMV 3-D Secure (table A.1), without ``browser``."""
    if device is None:
        return {}
    return {"browser": {name: value for name, value in asdict(device).items() if value is not None}}


def _read_answer(answer: httpx.Response) -> ProcessorAnswer:
    try:
        content = _parsed(answer.content)
    except ValueError:
        return ProcessorAnswer(Outcome.UNKNOWN)
    if answer.status_code == httpx.codes.OK:
        return _read_charge(content)
    failure = content.get("error") if isinstance(content, dict) else None
    code = failure.get("code") if isinstance(failure, dict) else None
    if isinstance(code, str) and code in _REFUSED_WITHOUT_EFFECT:
        return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=code)
    return ProcessorAnswer(Outcome.UNKNOWN)


def _read_list(answer: httpx.Response) -> ProcessorAnswer | None:
    """The one charge of a list, None for an empty one, UNKNOWN for anything that is not one: absence must be certain (I3)."""
    try:
        content = _parsed(answer.content) if answer.status_code == httpx.codes.OK else None
    except ValueError:
        return ProcessorAnswer(Outcome.UNKNOWN)
    charges = content.get("charges") if isinstance(content, dict) else None
    if not isinstance(charges, list):
        return ProcessorAnswer(Outcome.UNKNOWN)
    return _read_charge(charges[0]) if charges else None  # one reference, one charge: it is the idempotency key


def _parsed(content: bytes) -> Any:
    """The JSON value of a bounded text. Raises ValueError for any text that has none, however deep it is nested."""
    if len(content) > MAXIMUM_ANSWER_BYTES:
        raise ValueError("too long")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_charge(charge: object) -> ProcessorAnswer:
    """What a charge object says; UNKNOWN for anything that is not one."""
    if not isinstance(charge, dict):
        return ProcessorAnswer(Outcome.UNKNOWN)
    outcome = _OUTCOMES.get(str(charge.get("status")))
    if outcome is None:
        return ProcessorAnswer(Outcome.UNKNOWN)
    action = charge.get("action")
    return ProcessorAnswer(
        outcome,
        processor_charge=_text(charge.get("id"), 80),
        decline_code=_text(charge.get("decline_code"), 40),
        action_url=_text(action.get("url"), 2000) if isinstance(action, dict) else None,
    )


def _text(value: object, limit: int) -> str | None:
    """A processor's word, cut to its limit; None for what is no text, and for a card number that it gives back (I1)."""
    return value[:limit] if isinstance(value, str) and not contains_card(value) else None
