"""Adyen's standard webhooks: believed only signed, by the client library's own check; then read into the port's events.

What must hold before a notice is acted on:
 1. Each of its items is signed under the key: the library checks the first item only, so it is asked for each.
 2. Nothing is read that the signature does not cover, but for words that explain: references, amount, event and success.
    What the signed text joins with colons holds none itself, or two items could share a signature.
 3. It is for our merchant account.
Adyen signs no time. A notice told again is known by its id, whenever it comes: event, reference and success.

Source: https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures and .../webhooks/webhook-types.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from Adyen.util import is_valid_hmac_notification

from tokenization.money import Money
from tokenization.wire import DisputeState, ModificationKind
from vault_zone.processors.adyen_objects import HOLD, REASON_DECLINED, UNITS, is_temporary, refusal_reason
from vault_zone.processors.believing import child, parsed_object, text
from vault_zone.processors.port import (
    DisputeNews,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
    WebhookRefused,
)

_SIGNED: Final = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "eventCode",
    "success",
)
_MODIFICATIONS: Final = {
    "CAPTURE": ModificationKind.CAPTURE,
    "CAPTURE_FAILED": ModificationKind.CAPTURE,
    "CANCELLATION": ModificationKind.VOID,
    "TECHNICAL_CANCEL": ModificationKind.VOID,
    "REFUND": ModificationKind.REFUND,
    "REFUND_FAILED": ModificationKind.REFUND,
    "REFUNDED_REVERSED": ModificationKind.REFUND,
}
_UNDONE: Final = frozenset(
    {"CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"}
)  # their success is that of the failure
_DISPUTES: Final = {
    "REQUEST_FOR_INFORMATION": DisputeState.NEEDS_RESPONSE,
    "NOTIFICATION_OF_CHARGEBACK": DisputeState.NEEDS_RESPONSE,
    "CHARGEBACK": DisputeState.NEEDS_RESPONSE,
    "INFORMATION_SUPPLIED": DisputeState.UNDER_REVIEW,
    "CHARGEBACK_REVERSED": DisputeState.UNDER_REVIEW,  # given back for now: the bank may still take it a second time
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": DisputeState.WON,
    "PREARBITRATION_WON": DisputeState.WON,
    "SECOND_CHARGEBACK": DisputeState.LOST,
    "PREARBITRATION_LOST": DisputeState.LOST,
}
# https://docs.adyen.com/risk-management/disputes-api/dispute-notifications: until CHARGEBACK no money is taken back.
_WITHHOLDS: Final = {
    "REQUEST_FOR_INFORMATION": False,
    "NOTIFICATION_OF_CHARGEBACK": False,
    "INFORMATION_SUPPLIED": None,  # of either
}


def read_events(hmac_key: str, merchant_account: str, body: bytes) -> Sequence[ProcessorEvent]:
    """The events of a webhook. Raises WebhookRefused."""
    try:
        items = parsed_object(body).get("notificationItems")
        if not isinstance(items, list) or not items:
            raise WebhookRefused
        verified = [_verified(hmac_key, merchant_account, child(item, "NotificationRequestItem")) for item in items]
        return tuple(event for item in verified for event in _events(item))
    except (ValueError, TypeError, OverflowError):  # MoneyInvalid and AmountUnsayable among them
        raise WebhookRefused from None


def _verified(hmac_key: str, merchant_account: str, item: Any) -> dict[str, Any]:
    words = [child(item, name) for name in _SIGNED]
    currency, signature = child(item, "amount", "currency"), child(item, "additionalData", "hmacSignature")
    said = [word for word in (*words, currency) if word is not None]
    if not isinstance(item, dict) or not isinstance(signature, str) or not signature.isascii():
        raise WebhookRefused
    if not all(isinstance(word, str) and ":" not in word for word in said):  # (2)
        raise WebhookRefused
    if type(child(item, "amount", "value")) is not int or item.get("merchantAccountCode") != merchant_account:  # (3)
        raise WebhookRefused
    signed = {**{name: word for name, word in zip(_SIGNED, words, strict=True) if word is not None}}
    one = {**signed, "amount": item["amount"], "additionalData": {"hmacSignature": signature}}
    if is_valid_hmac_notification(one, hmac_key) is not True:  # (1)
        raise WebhookRefused
    return item


def _events(item: dict[str, Any]) -> Iterator[ProcessorEvent]:
    kind, psp = str(item.get("eventCode")), text(item.get("pspReference"))
    if psp is None or item.get("success") not in ("true", "false"):
        raise WebhookRefused
    succeeded = item["success"] == "true"
    name = f"{kind}:{psp}:{item['success']}"
    money = UNITS.money(child(item, "amount", "value"), child(item, "amount", "currency"))
    reference, charge = text(item.get("merchantReference")), text(item.get("originalReference"))
    if kind == "AUTHORISATION":
        yield ProcessorEvent(name, _without_hold(reference), _authorised(item, psp, reference, succeeded), psp)
    elif kind == "OFFER_CLOSED":  # the shopper did not come back from the bank in time
        yield ProcessorEvent(name, _without_hold(reference), ProcessorAnswer(Outcome.VOIDED, psp), psp)
    elif kind in _MODIFICATIONS:
        done = succeeded and kind not in _UNDONE
        reason = None if done else refusal_reason(item.get("reason")) or REASON_DECLINED
        outcome = ModificationOutcome.SUCCEEDED if done else ModificationOutcome.DECLINED
        news = ModificationNews(_MODIFICATIONS[kind], reference, ModificationAnswer(outcome, psp, reason), money)
        yield ProcessorEvent(name, None, news, charge)
    elif kind in _DISPUTES and succeeded:
        yield ProcessorEvent(name, None, _dispute(kind, psp, money, item), charge)


def _authorised(item: dict[str, Any], psp: str, reference: str | None, succeeded: bool) -> ProcessorAnswer:
    network = text(child(item, "additionalData", "networkTxReference"))
    if succeeded:
        is_held = reference is not None and reference.endswith(HOLD)
        return ProcessorAnswer(Outcome.AUTHORIZED if is_held else Outcome.SUCCEEDED, psp, network_reference=network)
    reason = refusal_reason(item.get("reason")) or REASON_DECLINED
    return ProcessorAnswer(Outcome.DECLINED, psp, reason, may_go_elsewhere=is_temporary(reason))


def _dispute(kind: str, psp: str, money: Money, item: dict[str, Any]) -> DisputeNews:
    why = refusal_reason(item.get("reason")) or "general"
    return DisputeNews(psp, _DISPUTES[kind], money, why, withholds=_WITHHOLDS.get(kind, True))


def _without_hold(reference: str | None) -> str | None:
    return reference.removesuffix(HOLD) if reference is not None else None
