"""What Stripe's objects and errors say, in the port's words. Whatever is not definite is UNKNOWN (I3).

Source: the API reference of version 2026-10-28, which stripe 16.1 speaks, and https://docs.stripe.com/declines/codes.
"""

from dataclasses import dataclass
from typing import Any, Final

import stripe

from tokenization.money import Money, MoneyInvalid
from tokenization.wire import DisputeState, ModificationKind
from vault_zone.processors.believing import child, reason, text
from vault_zone.processors.port import (
    DisputeNews,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
)
from vault_zone.processors.units import AmountUnsayable, Units

CHARGE: Final = "cordon_charge"  # metadata of a PaymentIntent: our reference
MERCHANT: Final = "cordon_merchant"
REFUND: Final = "cordon_refund"  # metadata of a Refund: our reference of the refund
REASON_NOT_REPRESENTABLE: Final = "amount_not_representable"

# https://docs.stripe.com/currencies: MGA has no decimals there; ISK and UGX have none and are counted as if they had two.
UNITS: Final = Units({"MGA": 0, "ISK": 2, "UGX": 2})
# Nobody judged the card: its issuer or the way to it was out of order, so another processor may be asked.
_MAY_GO_ELSEWHERE: Final = frozenset(
    {"issuer_not_available", "processing_error", "reenter_transaction", "try_again_later"}
)
# Ended by Stripe because its time was over; every other reason is somebody's wish.
_RAN_OUT: Final = frozenset({"automatic", "expired"})
_INQUIRY: Final = "warning_"  # https://docs.stripe.com/disputes/how-disputes-work: an inquiry withdraws no money
_DISPUTES: Final = {
    "warning_needs_response": DisputeState.NEEDS_RESPONSE,
    "needs_response": DisputeState.NEEDS_RESPONSE,
    "appeal_needs_response": DisputeState.NEEDS_RESPONSE,
    "warning_under_review": DisputeState.UNDER_REVIEW,
    "under_review": DisputeState.UNDER_REVIEW,
    "appeal_under_review": DisputeState.UNDER_REVIEW,
    "warning_closed": DisputeState.WON,
    "prevented": DisputeState.WON,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
}
_REFUNDS: Final = {
    "succeeded": ModificationOutcome.SUCCEEDED,
    "pending": ModificationOutcome.ACCEPTED,
    "requires_action": ModificationOutcome.ACCEPTED,
    "failed": ModificationOutcome.DECLINED,
    "canceled": ModificationOutcome.DECLINED,
}
_BUSY: Final = 429  # too many requests, or the object is in use: not begun
_NOT_ALLOWED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that Stripe itself sent: its status, type and codes, and the PaymentIntent's id where one was made."""

    status: int
    kind: str
    code: str | None
    intent: str | None

    @property
    def is_of_the_card(self) -> bool:
        """Whether the card, its issuer or the balance refused: a definite decline."""
        return self.status == 402 and self.kind == "card_error"

    @property
    def is_of_the_request(self) -> bool:
        """Whether the request was refused for what it asks, before any effect. A key used for another request is not that."""
        return self.status in (400, 404) and self.kind == "invalid_request_error"

    @property
    def is_of_the_account(self) -> bool:
        """Whether it was turned away at the door: a wrong key, no right, too many requests."""
        return self.status == _BUSY or self.status in _NOT_ALLOWED


def refusal(failure: stripe.StripeError) -> Refusal | None:
    """What the error says; None for one that Stripe did not send. The error itself holds the answer's text: let it go."""
    error = child(failure.json_body, "error")
    kind = child(error, "type")
    if not isinstance(kind, str) or not isinstance(failure.http_status, int):
        return None
    code = reason(child(error, "decline_code")) or reason(child(error, "code"))
    return Refusal(failure.http_status, kind, code, text(child(error, "payment_intent", "id")))


def charge_refused(said: Refusal) -> ProcessorAnswer:
    """What a refusal of the request that moves money means for the charge."""
    if said.is_of_the_card:
        return ProcessorAnswer(
            Outcome.DECLINED,
            said.intent,
            said.code or "card_declined",
            may_go_elsewhere=said.code in _MAY_GO_ELSEWHERE,
        )
    if said.is_of_the_request:
        return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=said.code)
    if said.is_of_the_account:
        return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=said.code, may_go_elsewhere=True)
    return ProcessorAnswer(Outcome.UNKNOWN)


def method_refused(said: Refusal | None) -> ProcessorAnswer:
    """What it means that the card could not be handed over: whatever happened, no charge was asked for."""
    if said is not None and said.is_of_the_card:
        return charge_refused(said)
    malformed = said is not None and said.is_of_the_request
    code = said.code if said is not None else None
    return ProcessorAnswer(Outcome.NEVER_SENT, decline_code=code, may_go_elsewhere=not malformed)


def modification_refused(said: Refusal) -> ModificationAnswer:
    """What a refusal means for a capture, void or refund."""
    if said.is_of_the_card or said.is_of_the_request:
        return ModificationAnswer(ModificationOutcome.DECLINED, decline_code=said.code or "refused")
    if said.is_of_the_account:
        return ModificationAnswer(ModificationOutcome.NEVER_SENT, decline_code=said.code)
    return ModificationAnswer(ModificationOutcome.UNKNOWN)


def intent_answer(intent: object) -> ProcessorAnswer:
    """What a PaymentIntent says of its charge; UNKNOWN for one that is under way, and for anything that is none."""
    names = text(child(intent, "id")), child(intent, "status")
    if child(intent, "object") != "payment_intent" or names[0] is None:
        return ProcessorAnswer(Outcome.UNKNOWN)
    match names:
        case (held, "succeeded"):
            return _captured(intent, held)
        case (held, "requires_capture"):
            return ProcessorAnswer(Outcome.AUTHORIZED, held, network_reference=_network_reference(intent))
        case (held, "requires_action"):
            url = text(child(intent, "next_action", "redirect_to_url", "url"), 2000)
            return ProcessorAnswer(Outcome.ACTION_REQUIRED, held, action_url=url)
        case (held, "requires_payment_method"):
            code = _failure_code(child(intent, "last_payment_error"))
            return ProcessorAnswer(Outcome.DECLINED, held, code, may_go_elsewhere=code in _MAY_GO_ELSEWHERE)
        case (held, "canceled"):
            ran_out = child(intent, "cancellation_reason") in _RAN_OUT
            return ProcessorAnswer(Outcome.EXPIRED if ran_out else Outcome.VOIDED, held)
        case (held, _):
            return ProcessorAnswer(Outcome.UNKNOWN, held)


def _captured(intent: object, held: str | None) -> ProcessorAnswer:
    try:
        asked = UNITS.money(child(intent, "amount"), child(intent, "currency"))
        taken = UNITS.money(child(intent, "amount_received"), child(intent, "currency"))
    except (MoneyInvalid, AmountUnsayable):
        return ProcessorAnswer(Outcome.UNKNOWN, held)
    part = None if taken == asked else taken.amount_minor
    return ProcessorAnswer(Outcome.SUCCEEDED, held, network_reference=_network_reference(intent), captured_minor=part)


def _failure_code(error: object) -> str:
    return reason(child(error, "decline_code")) or reason(child(error, "code")) or "card_declined"


def _network_reference(intent: object) -> str | None:
    charge = child(intent, "latest_charge")
    return text(child(charge, "payment_method_details", "card", "network_transaction_id"))


def refund_answer(refund: object) -> ModificationAnswer:
    """What a Refund says; UNKNOWN for anything that is none."""
    held, outcome = text(child(refund, "id")), _REFUNDS.get(str(child(refund, "status")))
    if child(refund, "object") != "refund" or held is None or outcome is None:
        return ModificationAnswer(ModificationOutcome.UNKNOWN)
    code = reason(child(refund, "failure_reason")) if outcome is ModificationOutcome.DECLINED else None
    return ModificationAnswer(outcome, held, code)


def refund_news(refund: object) -> ModificationNews:
    """A Refund as news, with its amount. Raises MoneyInvalid, AmountUnsayable."""
    amount = UNITS.money(child(refund, "amount"), child(refund, "currency"))
    reference = text(child(refund, "metadata", REFUND))
    return ModificationNews(ModificationKind.REFUND, reference, refund_answer(refund), amount)


def dispute_news(dispute: object) -> DisputeNews | None:
    """A Dispute as news; None for a state that is not known. Raises MoneyInvalid, AmountUnsayable."""
    status = str(child(dispute, "status"))
    held, state = text(child(dispute, "id")), _DISPUTES.get(status)
    if held is None or state is None:
        return None
    amount = UNITS.money(child(dispute, "amount"), child(dispute, "currency"))
    due = child(dispute, "evidence_details", "due_by")
    return DisputeNews(
        held,
        state,
        amount,
        reason(child(dispute, "reason")) or "general",
        evidence_due_ms=due * 1000 if type(due) is int else None,
        fee=_fee(child(dispute, "balance_transactions")),
        withholds=not status.startswith(_INQUIRY),
    )


def _fee(entries: Any) -> Money | None:
    """What Stripe kept for a dispute, over its balance transactions. They are in the account's currency, not the charge's."""
    charged = [entry for entry in entries if child(entry, "fee")] if isinstance(entries, list) else []
    if not charged:
        return None
    total = sum(fee for entry in charged if type(fee := child(entry, "fee")) is int)
    return UNITS.money(total, child(charged[0], "currency"))
