"""What happens without a merchant's request: refunds and authorizations end in time, banks dispute, money is paid out."""

import asyncio
from collections.abc import Callable

from vault_zone.processors.sandbox_server.books import Books
from vault_zone.processors.sandbox_server.connection import Waiter, news_or
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.objects import (
    Charge,
    Dispute,
    DisputeReason,
    DisputeStatus,
    Kind,
    Modification,
    ModificationStatus,
    Transaction,
)
from vault_zone.processors.sandbox_server.store import Effects, Store
from vault_zone.processors.sandbox_server.timing import Clock
from vault_zone.processors.sandbox_server.wire import ModificationOrder

WINNING_EVIDENCE = "winning_evidence"  # as Stripe's testing page has it: the text that decides a test dispute
LOSING_EVIDENCE = "losing_evidence"
_VERDICTS = {WINNING_EVIDENCE: DisputeStatus.WON, LOSING_EVIDENCE: DisputeStatus.LOST}


class Happenings:
    """Makes them happen, each in one transaction with its event. Raises Refusal for what is not there."""

    def __init__(
        self, *, store: Store, books: Books, clock: Clock, waiter: Waiter, on_event: Callable[[], None]
    ) -> None:
        """``on_event`` is told that an event was committed."""
        self._store = store
        self._books = books
        self._clock = clock
        self._waiter = waiter
        self._on_event = on_event
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Tells that something may have been begun which ends by itself."""
        self._news.set()

    async def run(self) -> None:
        """Ends what is due, until cancelled."""
        while True:
            self._news.clear()
            self.end_due()
            at = self._store.next_happening_at()
            await news_or(self._news, self._waiter, None if at is None else max(at - self._clock(), 0) / 1000)

    def end_due(self) -> None:
        """Ends the pending refunds, the authorizations and the unanswered disputes whose time has come."""
        now = self._clock()
        for refund in self._store.due_modifications(now):
            self._change(lambda refund=refund: self._refund_settled(refund))  # type: ignore[misc]  # bound now
        for charge in self._store.expired_charges(now):
            self._change(lambda charge=charge: self._books.expired(self._charge(charge.id)))  # type: ignore[misc]
        for dispute in self._store.unanswered_disputes(now):
            self.move_dispute(dispute.id, DisputeStatus.LOST)

    def _refund_settled(self, refund: Modification) -> Effects | None:
        current = self._store.modification(refund.id)
        if current is None or current.status is not ModificationStatus.PENDING:
            return None
        return self._books.refund_settled(self._charge(refund.charge_id), current)

    def expire(self, reference: str) -> Charge:
        """Ends the charge's authorization, or its wait for the shopper, now. A charge with neither stays as it is."""
        charge_id = self._of_reference(reference).id
        self._change(lambda: self._books.expired(self._charge(charge_id)))
        return self._charge(charge_id)

    def refund(self, reference: str, amount_minor: int | None) -> Modification:
        """A refund that no merchant's program asked for, as by hand in a processor's own pages: it has no reference."""
        charge_id = self._of_reference(reference).id
        order = ModificationOrder(Kind.REFUND, charge_id, None, amount_minor)
        effects = self._change(lambda: self._books.modified(self._charge(charge_id), order))
        if effects is None or effects.modification is None:
            raise Refusal(ErrorCode.INTERNAL_ERROR)
        return effects.modification

    def open_dispute(self, reference: str, amount_minor: int | None, reason: DisputeReason) -> Dispute:
        """The cardholder disputes the charge: the amount, or all of it that is neither refunded nor disputed."""
        charge_id = self._of_reference(reference).id

        def opened() -> Effects:
            charge = self._charge(charge_id)
            amount = amount_minor or charge.refundable_minor
            if not 0 < amount <= charge.refundable_minor:
                raise Refusal(ErrorCode.INVALID_REQUEST, ("amount_minor",))
            return self._books.disputed(charge, amount, reason)

        effects = self._change(opened)
        if effects is None or effects.dispute is None:
            raise Refusal(ErrorCode.INTERNAL_ERROR)
        return effects.dispute

    def answer_dispute(self, dispute_id: str, text: str) -> Dispute:
        """Evidence: the dispute is under review; the two texts of the testing page decide it as well."""
        self.move_dispute(dispute_id, DisputeStatus.UNDER_REVIEW)
        verdict = _VERDICTS.get(text)
        return self._dispute(dispute_id) if verdict is None else self.move_dispute(dispute_id, verdict)

    def move_dispute(self, dispute_id: str, status: DisputeStatus) -> Dispute:
        """Moves the dispute on; one that is there already, or further, stays as it is."""

        def moved() -> Effects | None:
            dispute = self._dispute(dispute_id)
            return self._books.dispute_moved(self._charge(dispute.charge_id), dispute, status)

        self._change(moved)
        return self._dispute(dispute_id)

    def pay_out(self) -> tuple[Transaction, ...]:
        """Pays out each currency's balance, where there is one."""
        effects = self._change(lambda: self._books.paid_out(self._store.unpaid()))
        return effects.payouts if effects is not None else ()

    def _change(self, effect: Callable[[], Effects | None]) -> Effects | None:
        effects = self._store.change(effect)
        if effects is not None and effects.events:
            self._on_event()
        return effects

    def _charge(self, charge_id: str) -> Charge:
        charge = self._store.charge(charge_id)
        if charge is None:
            raise Refusal(ErrorCode.NOT_FOUND)
        return charge

    def _of_reference(self, reference: str) -> Charge:
        charges = self._store.charges_of(reference)
        if not charges:
            raise Refusal(ErrorCode.NOT_FOUND)
        return charges[-1]

    def _dispute(self, dispute_id: str) -> Dispute:
        dispute = self._store.dispute(dispute_id)
        if dispute is None:
            raise Refusal(ErrorCode.NOT_FOUND)
        return dispute
