"""What a charge, capture, refund or dispute does to amounts and to the balance: decided here, written by the store.

Amounts are whole minor units. Fees: of each capture 2.9 % rounded half up, and 30; of each dispute 1500, whoever wins. Nothing
is given back for a refund. The same numbers hold in every currency: this is a stand-in.
"""

import json
from dataclasses import replace
from typing import Any, Final

from vault_zone.processors.sandbox_server.cards import Behaviour
from vault_zone.processors.sandbox_server.objects import (
    Charge,
    Dispute,
    DisputeReason,
    DisputeStatus,
    Entry,
    Kind,
    Modification,
    ModificationDecline,
    ModificationStatus,
    Status,
    Transaction,
    as_text,
    charge_object,
    dispute_object,
    modification_object,
    payout_object,
)
from vault_zone.processors.sandbox_server.store import Effects, Event
from vault_zone.processors.sandbox_server.timing import Clock, IdMaker, Timing
from vault_zone.processors.sandbox_server.wire import ModificationOrder

FEE_BASIS_POINTS: Final = 290
FEE_FIXED_MINOR: Final = 30
DISPUTE_FEE_MINOR: Final = 1_500

_PREFIXES: Final = {Kind.CAPTURE: "sbx_cap_", Kind.VOID: "sbx_void_", Kind.REFUND: "sbx_ref_"}
_LATE: Final = {Behaviour.REFUND_LATER.value, Behaviour.REFUND_FAILS.value}
_DISPUTED: Final = {
    Behaviour.DISPUTE_FRAUDULENT.value: DisputeReason.FRAUDULENT,
    Behaviour.DISPUTE_NOT_RECEIVED.value: DisputeReason.PRODUCT_NOT_RECEIVED,
}
_NOT_HELD: Final = {
    Status.REQUIRES_ACTION: ModificationDecline.AUTHENTICATION_PENDING,
    Status.DECLINED: ModificationDecline.CHARGE_DECLINED,
    Status.VOIDED: ModificationDecline.ALREADY_VOIDED,
    Status.EXPIRED: ModificationDecline.AUTHORIZATION_EXPIRED,
    Status.SUCCEEDED: ModificationDecline.ALREADY_CAPTURED,
}
_ENDED: Final = frozenset({DisputeStatus.WON, DisputeStatus.LOST})


def fee_minor(captured_minor: int) -> int:
    """What the sandbox keeps of a capture. May be more than the capture."""
    return (captured_minor * FEE_BASIS_POINTS + 5_000) // 10_000 + FEE_FIXED_MINOR


class Books:
    """Decides. Reads no store and writes none: each method makes the effects that are to be written together."""

    def __init__(self, *, clock: Clock, new_id: IdMaker, public_url: str, timing: Timing) -> None:
        """``public_url`` is where a shopper finds a challenge."""
        self._clock = clock
        self._new_id = new_id
        self._public_url = public_url
        self._timing = timing

    def text(self, charge: Charge) -> dict[str, Any]:
        """The charge as the API shows it."""
        return charge_object(charge, self._public_url)

    def announced(self, charge: Charge) -> Effects:
        """The charge as it is, with its event."""
        return Effects(charge, events=(self._charge_event(charge),))

    def approved(self, charge: Charge) -> Effects:
        """The bank agrees: the money is captured, or held where that was asked for."""
        if not charge.capture:
            expires_at = self._clock() + int(self._timing.authorization_seconds * 1000)
            held = replace(
                charge, status=Status.AUTHORIZED, capturable_minor=charge.amount_minor, expires_at=expires_at
            )
            return self.announced(held)
        taken = replace(charge, status=Status.SUCCEEDED, captured_minor=charge.amount_minor)
        return self._taken(taken, charge.reference, charge.id, charge.amount_minor, (self._charge_event(taken),))

    def modified(self, charge: Charge, order: ModificationOrder) -> Effects:
        """The capture, void or refund, made or declined. What it decides from must be what it is written over.

        1. Captured and held are never more than was authorized; refunded, being refunded and disputed never more than captured.
        2. A declined one changes no amount.
        """
        amount_minor, code = self._allowed(charge, order)  # (1)
        if code is not None:
            declined = self._modification(charge, order, amount_minor, ModificationStatus.DECLINED, code)
            return Effects(modification=declined, events=(self._modification_event(declined),))  # (2)
        if order.kind is Kind.CAPTURE:
            return self._captured(charge, order, amount_minor or 0)
        if order.kind is Kind.VOID:
            return self._voided(charge, order)
        return self._refunded(charge, order, amount_minor or 0)

    def _allowed(self, charge: Charge, order: ModificationOrder) -> tuple[int | None, ModificationDecline | None]:
        """The amount that is meant, and why not."""
        if order.currency not in {None, charge.currency}:
            return order.amount_minor, ModificationDecline.CURRENCY_MISMATCH
        if order.kind is Kind.VOID:
            return None, None if charge.status is Status.REQUIRES_ACTION else self._not_held(charge, partly=False)
        if order.kind is Kind.CAPTURE:
            return self._capturable(charge, order.amount_minor)
        return _refundable(charge, order.amount_minor)

    def _not_held(self, charge: Charge, *, partly: bool) -> ModificationDecline | None:
        """Why there is no money held that could be taken or let go. ``partly``: some of it may have been captured."""
        if charge.status is not Status.AUTHORIZED and not (partly and charge.capturable_minor):
            return _NOT_HELD[charge.status]
        is_over = charge.expires_at is not None and charge.expires_at <= self._clock()
        return ModificationDecline.AUTHORIZATION_EXPIRED if is_over else None

    def _capturable(self, charge: Charge, asked: int | None) -> tuple[int | None, ModificationDecline | None]:
        if (code := self._not_held(charge, partly=True)) is not None:
            return asked, code
        amount_minor = asked or charge.capturable_minor
        too_much = amount_minor > charge.capturable_minor
        return amount_minor, ModificationDecline.AMOUNT_EXCEEDS_CAPTURABLE if too_much else None

    def _captured(self, charge: Charge, order: ModificationOrder, amount_minor: int) -> Effects:
        taken = replace(
            charge,
            status=Status.SUCCEEDED,
            captured_minor=charge.captured_minor + amount_minor,
            capturable_minor=0 if order.is_final else charge.capturable_minor - amount_minor,
        )
        capture = self._modification(charge, order, amount_minor, ModificationStatus.SUCCEEDED)
        news: tuple[Event, ...] = (self._modification_event(capture),)
        if charge.status is not Status.SUCCEEDED:
            news += (self._charge_event(taken),)
        effects = self._taken(taken, order.reference, capture.id, amount_minor, news)
        return replace(effects, modification=capture)

    def _taken(
        self, charge: Charge, reference: str | None, processor_id: str, amount_minor: int, news: tuple[Event, ...]
    ) -> Effects:
        """The line of balance of a capture; the dispute that the card brings with it, once."""
        fee = fee_minor(amount_minor)
        line = self._line(Entry.CHARGE, charge, reference, processor_id, amount_minor, fee)
        effects = Effects(charge, transactions=(line,), events=news)
        reason = _DISPUTED.get(charge.behaviour)
        if reason is None or charge.disputed_minor:
            return effects
        disputed = self.disputed(charge, amount_minor, reason)
        return replace(
            disputed, transactions=(line, *disputed.transactions), events=(*effects.events, *disputed.events)
        )

    def _voided(self, charge: Charge, order: ModificationOrder) -> Effects:
        """Also ends a challenge that was not answered: the shopper can no longer say yes to it."""
        void = self._modification(charge, order, None, ModificationStatus.SUCCEEDED)
        let_go = replace(charge, status=Status.VOIDED, capturable_minor=0)
        return Effects(let_go, void, events=(self._modification_event(void), self._charge_event(let_go)))

    def _refunded(self, charge: Charge, order: ModificationOrder, amount_minor: int) -> Effects:
        if charge.behaviour in _LATE:
            refund = self._modification(charge, order, amount_minor, ModificationStatus.PENDING)
            refund = replace(refund, due_at=self._clock() + int(self._timing.refund_seconds * 1000))
            waiting = replace(charge, refunding_minor=charge.refunding_minor + amount_minor)
            return Effects(waiting, refund, events=(self._modification_event(refund),))
        refund = self._modification(charge, order, amount_minor, ModificationStatus.SUCCEEDED)
        return self._given_back(charge, refund)

    def _given_back(self, charge: Charge, refund: Modification) -> Effects:
        amount_minor = refund.amount_minor or 0
        back = replace(charge, refunded_minor=charge.refunded_minor + amount_minor)
        line = self._line(Entry.REFUND, charge, refund.reference, refund.id, -amount_minor, 0)
        return Effects(back, refund, transactions=(line,), events=(self._modification_event(refund),))

    def refund_settled(self, charge: Charge, refund: Modification) -> Effects:
        """The end of a pending refund: as the charge's card has it."""
        amount_minor = refund.amount_minor or 0
        freed = replace(charge, refunding_minor=charge.refunding_minor - amount_minor)
        if charge.behaviour != Behaviour.REFUND_FAILS:
            return self._given_back(freed, replace(refund, status=ModificationStatus.SUCCEEDED, due_at=None))
        code = ModificationDecline.REFUND_FAILED.value
        failed = replace(refund, status=ModificationStatus.DECLINED, decline_code=code, due_at=None)
        return Effects(freed, failed, events=(self._modification_event(failed),))

    def expired(self, charge: Charge) -> Effects | None:
        """What is held is let go; None when nothing is. Of what was partly captured the captured part stays."""
        if charge.status in {Status.AUTHORIZED, Status.REQUIRES_ACTION}:
            return self.announced(replace(charge, status=Status.EXPIRED, capturable_minor=0))
        return self.announced(replace(charge, capturable_minor=0)) if charge.capturable_minor else None

    def disputed(self, charge: Charge, amount_minor: int, reason: DisputeReason) -> Effects:
        """A dispute: the amount and a fee leave the balance at once."""
        now = self._clock()
        dispute = Dispute(
            id=f"sbx_dp_{self._new_id()}",
            charge_id=charge.id,
            charge_reference=charge.reference,
            status=DisputeStatus.NEEDS_RESPONSE,
            amount_minor=amount_minor,
            currency=charge.currency,
            reason=reason.value,
            fee_minor=DISPUTE_FEE_MINOR,
            evidence_due_at=now + int(self._timing.evidence_seconds * 1000),
            created_at=now,
        )
        lines = (
            self._line(Entry.DISPUTE, charge, charge.reference, dispute.id, -amount_minor, 0),
            self._line(Entry.FEE, charge, charge.reference, dispute.id, 0, DISPUTE_FEE_MINOR),
        )
        held = replace(charge, disputed_minor=charge.disputed_minor + amount_minor)
        return Effects(held, dispute=dispute, transactions=lines, events=(self._dispute_event("opened", dispute),))

    def dispute_moved(self, charge: Charge, dispute: Dispute, status: DisputeStatus) -> Effects | None:
        """Under review, or won or lost, for good: None for a dispute that is already there or further."""
        if dispute.status in _ENDED or status in {dispute.status, DisputeStatus.NEEDS_RESPONSE}:
            return None
        moved = replace(dispute, status=status)
        if status not in _ENDED:
            return Effects(dispute=moved, events=(self._dispute_event("updated", moved),))
        news = (self._dispute_event("closed", moved),)
        if status is DisputeStatus.LOST:
            return Effects(dispute=moved, events=news)
        back = replace(charge, disputed_minor=charge.disputed_minor - dispute.amount_minor)
        line = self._line(Entry.DISPUTE_REVERSAL, charge, charge.reference, dispute.id, dispute.amount_minor, 0)
        return Effects(back, dispute=moved, transactions=(line,), events=news)

    def paid_out(self, balances: dict[str, int]) -> Effects:
        """One payout for each currency in which there is something to pay."""
        payouts = tuple(self._payout(currency, net_minor) for currency, net_minor in balances.items() if net_minor > 0)
        events = tuple(self._event("payout.paid", payout_object(payout)) for payout in payouts)
        return Effects(payouts=payouts, events=events)

    def _payout(self, currency: str, net_minor: int) -> Transaction:
        payout_id = f"sbx_po_{self._new_id()}"
        return Transaction(
            id=f"sbx_txn_{self._new_id()}",
            type=Entry.PAYOUT,
            reference=None,
            processor_id=payout_id,
            charge_reference=None,
            gross_minor=-net_minor,
            fee_minor=0,
            net_minor=-net_minor,
            currency=currency,
            payout_id=payout_id,
            created_at=self._clock(),
        )

    def _line(
        self, entry: Entry, charge: Charge, reference: str | None, processor_id: str, gross_minor: int, fee: int
    ) -> Transaction:
        return Transaction(
            id=f"sbx_txn_{self._new_id()}",
            type=entry,
            reference=reference,
            processor_id=processor_id,
            charge_reference=charge.reference,
            gross_minor=gross_minor,
            fee_minor=fee,
            net_minor=gross_minor - fee,
            currency=charge.currency,
            payout_id=None,
            created_at=self._clock(),
        )

    def _modification(
        self,
        charge: Charge,
        order: ModificationOrder,
        amount_minor: int | None,
        status: ModificationStatus,
        code: ModificationDecline | None = None,
    ) -> Modification:
        return Modification(
            id=f"{_PREFIXES[order.kind]}{self._new_id()}",
            reference=order.reference,
            kind=order.kind,
            charge_id=charge.id,
            charge_reference=charge.reference,
            status=status,
            amount_minor=amount_minor,
            currency=charge.currency,
            is_final=order.is_final,
            decline_code=None if code is None else code.value,
            due_at=None,
            created_at=self._clock(),
        )

    def _charge_event(self, charge: Charge) -> Event:
        return self._event(f"charge.{charge.status}", self.text(charge))

    def _modification_event(self, modification: Modification) -> Event:
        return self._event(f"{modification.kind}.{modification.status}", modification_object(modification))

    def _dispute_event(self, what: str, dispute: Dispute) -> Event:
        return self._event(f"dispute.{what}", dispute_object(dispute))

    def _event(self, kind: str, content: dict[str, Any]) -> Event:
        event_id, now = f"sbx_evt_{self._new_id()}", self._clock()
        body = {"id": event_id, "type": kind, "created_at": as_text(now), "data": content, "sandbox": True}
        return Event(event_id, json.dumps(body), due_at=now)


def _refundable(charge: Charge, asked: int | None) -> tuple[int | None, ModificationDecline | None]:
    if charge.status is not Status.SUCCEEDED:
        return asked, ModificationDecline.NOTHING_CAPTURED
    if charge.refundable_minor == 0:
        disputed = charge.disputed_minor > 0
        return asked, ModificationDecline.CHARGE_DISPUTED if disputed else ModificationDecline.ALREADY_REFUNDED
    amount_minor = asked or charge.refundable_minor
    too_much = amount_minor > charge.refundable_minor
    return amount_minor, ModificationDecline.AMOUNT_EXCEEDS_REFUNDABLE if too_much else None
