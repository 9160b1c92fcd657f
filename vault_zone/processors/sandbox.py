"""The connector to the sandbox processor. No money moves; it takes published test numbers only."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from tokenization.money import Money, MoneyInvalid
from tokenization.scanner import contains_card
from tokenization.wire import DisputeState, Initiator, ModificationKind
from vault_zone.card import Card, Cryptogram, Cvc, Exposure
from vault_zone.device import Device
from vault_zone.processors.port import (
    DisputeNews,
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
    WebhookRefused,
)

CONNECT_TIMEOUT_SECONDS = 3.0
WEBHOOK_TOLERANCE_SECONDS = 300  # the usual window against replay
MAXIMUM_ANSWER_BYTES = 64 * 1024
_OUTCOMES = {
    "succeeded": Outcome.SUCCEEDED,
    "declined": Outcome.DECLINED,
    "requires_action": Outcome.ACTION_REQUIRED,
    "authorized": Outcome.AUTHORIZED,
    "voided": Outcome.VOIDED,
    "expired": Outcome.EXPIRED,
}
_MODIFICATION_OUTCOMES = {
    "succeeded": ModificationOutcome.SUCCEEDED,
    "pending": ModificationOutcome.ACCEPTED,
    "declined": ModificationOutcome.DECLINED,
}
_PATHS = {ModificationKind.CAPTURE: "captures", ModificationKind.VOID: "void", ModificationKind.REFUND: "refunds"}
# The codes with which the sandbox refuses a request before it has any effect.
_REFUSED_WITHOUT_EFFECT = {"invalid_request", "live_card_refused", "unauthenticated", "idempotency_key_required"}
# The sandbox's word for a failure of its own or of the network; every other decline is of the card or of its bank.
_MAY_GO_ELSEWHERE = {"processing_error"}
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # no connection was made: nothing left


class SandboxProcessor:
    """Speaks the sandbox's HTTP interface. See docs/sandbox.md."""

    is_sandbox = True
    features = frozenset(Feature)
    authorization_lifetime_seconds = 7 * 86_400.0  # docs/sandbox.md: --authorization-seconds, unless it is given

    def __init__(
        self,
        base_url: str,
        api_key: str,
        webhook_secret: bytes,
        *,
        name: str = "sandbox",
        timeout_seconds: float = 10.0,
        request_lifetime_seconds: float = 15.0,
    ) -> None:
        self.name = name
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
            "capture": request.capture,
            "card": {**_card_fields(request.card, request.cvc), **_cryptogram_fields(request.cryptogram)},
            "merchant": request.merchant,
            "return_url": request.return_url,
            **_agreement_fields(request.initiator, request.initial_network_reference),
            **_browser_fields(request.device),
        }
        try:
            answer = await self._client.post("/v1/charges", json=body, headers={"idempotency-key": request.reference})
        except _NOT_CONNECTED:
            return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
        except httpx.HTTPError:
            return ProcessorAnswer(Outcome.UNKNOWN)
        return _read_answer(answer)

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """Asks for the record by our reference. See Processor.find."""
        try:
            answer = await self._client.get("/v1/charges", params={"reference": reference})
        except httpx.HTTPError:
            return ProcessorAnswer(Outcome.UNKNOWN)
        return _read_list(answer)

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """One request, its reference as the idempotency key. See Processor.modify.

        The sandbox knows charges by its own id; without it, its record is asked first. That question has no effect, so when
        it is not answered nothing was sent.
        """
        charge = request.processor_charge or await self._charge_id(request.charge)
        if charge is None:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        try:
            answer = await self._client.post(
                f"/v1/charges/{quote(charge, safe='')}/{_PATHS[request.kind]}",
                json=_modification_fields(request),
                headers={"idempotency-key": request.reference},
            )
        except _NOT_CONNECTED:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        except httpx.HTTPError:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        return _read_modification_answer(answer, request)

    async def _charge_id(self, reference: str) -> str | None:
        found = await self.find(reference)
        return None if found is None else found.processor_charge

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """Asks for the record by our reference. See Processor.find_modification."""
        try:
            answer = await self._client.get("/v1/modifications", params={"reference": request.reference})
        except httpx.HTTPError:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        return _read_modification_list(answer, request)

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
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
            return _read_event(_parsed(body))
        except (ValueError, KeyError, TypeError):
            pass
        raise WebhookRefused  # outside the handler: the parser's error, which knows the body, is not chained to it

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


def _agreement_fields(initiator: Initiator, network_reference: str | None) -> dict[str, str]:
    agreed = {} if network_reference is None else {"network_reference": network_reference}
    return {**({} if initiator is Initiator.SHOPPER else {"initiator": initiator.value}), **agreed}


def _modification_fields(request: ProcessorModification) -> dict[str, Any]:
    fields: dict[str, Any] = {"reference": request.reference}
    if request.amount is not None:
        fields |= {"amount_minor": request.amount.amount_minor, "currency": request.amount.currency}
    if request.kind is ModificationKind.CAPTURE:
        fields["final"] = request.is_final
    return fields


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
    code = _refusal(content)
    if code in _REFUSED_WITHOUT_EFFECT:
        return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=code)
    return ProcessorAnswer(Outcome.UNKNOWN)


def _refusal(content: object) -> str | None:
    """The code of an error, or None for what is none."""
    failure = content.get("error") if isinstance(content, dict) else None
    code = failure.get("code") if isinstance(failure, dict) else None
    return code if isinstance(code, str) else None


def _read_modification_answer(answer: httpx.Response, request: ProcessorModification) -> ModificationAnswer:
    try:
        content = _parsed(answer.content)
    except ValueError:
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    if answer.status_code == httpx.codes.OK:
        return _read_modification(content, request)
    code = _refusal(content)
    # The sandbox forgets no charge, so one that it does not know has never been modified either.
    if code in {*_REFUSED_WITHOUT_EFFECT, "not_found"}:
        return ModificationAnswer(ModificationOutcome.NEVER_SENT, decline_code=code)
    return ModificationAnswer(ModificationOutcome.UNKNOWN)


def _read_modification_list(answer: httpx.Response, request: ProcessorModification) -> ModificationAnswer | None:
    """The one modification of a list, None for an empty one, UNKNOWN for anything that is not one (I3)."""
    try:
        content = _parsed(answer.content) if answer.status_code == httpx.codes.OK else None
    except ValueError:
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    found = content.get("modifications") if isinstance(content, dict) else None
    if not isinstance(found, list):
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    return _read_modification(found[0], request) if found else None


def _read_modification(content: object, request: ProcessorModification) -> ModificationAnswer:
    """What a modification object says; UNKNOWN for anything that is not the one that was asked for."""
    if not isinstance(content, dict):
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    if (content.get("kind"), content.get("reference")) != (request.kind.value, request.reference):
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    return _modification_answer(content)


def _modification_answer(content: Mapping[str, object]) -> ModificationAnswer:
    return ModificationAnswer(
        _MODIFICATION_OUTCOMES.get(str(content.get("status")), ModificationOutcome.UNKNOWN),
        processor_reference=_text(content.get("id"), 80),
        decline_code=_text(content.get("decline_code"), 40),
    )


def _read_event(event: Any) -> Sequence[ProcessorEvent]:
    """The event's news by its object; none for one that Cordon does not ask after. Raises ValueError, KeyError, TypeError."""
    about = event["data"]
    kind = about.get("object", "charge") if isinstance(about, dict) else None
    if kind == "charge":
        return (_event(event, about["reference"], about.get("id"), _read_charge(about)),)
    if kind == "modification":
        return (_event(event, about["charge_reference"], about["charge"], _modification_news(about)),)
    if kind == "dispute":
        return (_event(event, about["charge_reference"], about["charge"], _dispute_news(about)),)
    if isinstance(kind, str):
        return ()
    raise ValueError("no object")


def _event(
    event: Mapping[str, object],
    reference: object,
    processor_charge: object,
    news: ProcessorAnswer | ModificationNews | DisputeNews,
) -> ProcessorEvent:
    return ProcessorEvent(_name(event["id"]), _name(reference), news, _text(processor_charge, 80))


def _name(value: object) -> str:
    """An id as a notice gives it. Raises ValueError for a card number (I1)."""
    name = str(value)[:80]
    if contains_card(name):
        raise ValueError("a card number")
    return name


def _modification_news(about: Mapping[str, Any]) -> ModificationNews:
    reference = about["reference"]
    amount_minor = about["amount_minor"]
    return ModificationNews(
        kind=ModificationKind(about["kind"]),
        reference=None if reference is None else _name(reference),
        answer=_modification_answer(about),
        amount=None if amount_minor is None else _money(amount_minor, about["currency"]),
    )


def _dispute_news(about: Mapping[str, Any]) -> DisputeNews:
    return DisputeNews(
        processor_dispute=_name(about["id"]),
        state=DisputeState(about["status"]),
        amount=_money(about["amount_minor"], about["currency"]),
        reason=_name(about["reason"]),
        evidence_due_ms=_milliseconds(about["evidence_due_at"]),
        fee=_money(about["fee_minor"], about["currency"]),
    )


def _money(amount_minor: object, currency: object) -> Money:
    """Raises ValueError for what is no amount of a currency."""
    if type(amount_minor) is not int or not isinstance(currency, str) or amount_minor < 0:
        raise MoneyInvalid("amount_malformed")
    return Money(amount_minor, currency)


def _milliseconds(moment: object) -> int:
    """RFC 3339 as milliseconds since the epoch. Raises ValueError or TypeError."""
    told = datetime.fromisoformat(moment) if isinstance(moment, str) else None
    if told is None or told.tzinfo is None:
        raise ValueError("no moment in UTC")
    return (told - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


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
    action, code = charge.get("action"), _text(charge.get("decline_code"), 40)
    return ProcessorAnswer(
        outcome,
        processor_charge=_text(charge.get("id"), 80),
        decline_code=code,
        action_url=_text(action.get("url"), 2000) if isinstance(action, dict) else None,
        network_reference=_text(charge.get("network_reference"), 80),
        captured_minor=_part_captured(charge) if outcome is Outcome.SUCCEEDED else None,
        may_go_elsewhere=outcome is Outcome.DECLINED and code in _MAY_GO_ELSEWHERE,
    )


def _part_captured(charge: Mapping[str, object]) -> int | None:
    """What was captured of the charge's amount, when that is only a part of it."""
    captured, amount = charge.get("captured_minor"), charge.get("amount_minor")
    if type(captured) is not int or type(amount) is not int or not 0 <= captured < amount:
        return None
    return captured


def _text(value: object, limit: int) -> str | None:
    """A processor's word, cut to its limit; None for what is no text, and for a card number that it gives back (I1)."""
    return value[:limit] if isinstance(value, str) and not contains_card(value) else None
