"""Stripe's webhooks: believed only signed and fresh, by the client library's own check; then read into the port's events.

What must hold before a notice is acted on:
 1. Its signature over time and body verifies under the endpoint's secret.
 2. It was sent within five minutes of now, by the zone's clock, in either direction: the library looks at one direction only.
 3. It says something definite; otherwise it is of no interest, and Stripe's record tells.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import stripe

from vault_zone.processors.believing import MAXIMUM_ANSWER_BYTES, child, parsed_object, text
from vault_zone.processors.port import Outcome, ProcessorEvent, WebhookRefused
from vault_zone.processors.stripe_objects import CHARGE, dispute_news, intent_answer, refund_news

TOLERANCE_SECONDS: Final = 300
_INTENT: Final = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.amount_capturable_updated",
        "payment_intent.requires_action",
    }
)
_REFUND: Final = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})


def read_event(secret: str, signature: str, body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
    """The events of a webhook. Raises WebhookRefused."""
    _verify(secret, signature, body, now_ms)
    try:
        event = parsed_object(body)
        name, kind = text(event.get("id")), event.get("type")
        if name is None or not isinstance(kind, str):
            raise WebhookRefused
        return tuple(_events(name, kind, child(event, "data", "object")))
    except (ValueError, TypeError, OverflowError):  # MoneyInvalid and AmountUnsayable among them
        raise WebhookRefused from None


def _verify(secret: str, signature: str, body: bytes, now_ms: int) -> None:
    if len(body) > MAXIMUM_ANSWER_BYTES:
        raise WebhookRefused
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, tolerance=None)  # (1)
        sent_at = next(int(part[2:]) for part in signature.split(",") if part.startswith("t="))
    except (stripe.SignatureVerificationError, ValueError, TypeError, StopIteration):
        raise WebhookRefused from None  # the library's error holds the body
    if abs(now_ms // 1000 - sent_at) > TOLERANCE_SECONDS:  # (2)
        raise WebhookRefused


def _events(name: str, kind: str, about: Any) -> Iterator[ProcessorEvent]:
    if kind in _INTENT:
        answer = intent_answer(about)
        if answer.outcome is not Outcome.UNKNOWN:  # (3)
            yield ProcessorEvent(name, text(child(about, "metadata", CHARGE)), answer, answer.processor_charge)
    elif kind in _REFUND:
        yield _refund(name, about)
    elif kind == "charge.refunded":
        # Older API versions send the refunds with the charge; newer ones send refund.created beside this.
        refunds = child(about, "refunds", "data")
        for refund in refunds if isinstance(refunds, list) else ():
            yield _refund(f"{name}:{text(child(refund, 'id'))}", refund, child(about, "payment_intent"))
    elif kind.startswith("charge.dispute.") and (news := dispute_news(about)) is not None:
        yield ProcessorEvent(name, None, news, text(child(about, "payment_intent")))


def _refund(name: str, refund: Any, intent: Any = None) -> ProcessorEvent:
    held = text(child(refund, "payment_intent")) or text(intent)
    return ProcessorEvent(name, None, refund_news(refund), held)
