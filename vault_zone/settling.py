"""Applies what a processor says to a charge or a modification: its state, its amounts, the record and the books.

What holds, in one transaction each:
 1. A state moves only as states.py allows, from the state that was read; the write names it again.
 2. Amounts move with the state. What is under way is held (``capturing``, ``refunding``), so two acts never take the same
    money; the database refuses what is beyond what was authorized or captured.
 3. Each move is on record, and each movement of money is told to the books, once.
 4. Word of a processor that is not the charge's own (any more) moves nothing.
 5. Money that moved for what counts as ended without it is never lost: its amounts stand on the row, from where they can be
    given back, and a person is told. The state that commerce was told stays.
 6. Word of the charge waits for a capture or release that is under way: its own outcome says the same, and which it was.
 7. Commerce is told of each move in the transaction that makes it (outbox.py).
 8. A refund that comes back after it succeeded gives its amount back, once, in the row, in the books and on record. A person
    is told all the same: the shopper has not got the money. What else is said of it afterwards is from before.
"""

import re
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import NoResultFound

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import FINAL_MODIFICATION_STATES, ChargeState, ModificationKind, ModificationState
from vault_zone.charge_rows import charge_row, modification_row, open_kinds
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger.events import (
    AuthorizationReleased,
    Authorized,
    Books,
    BooksEvent,
    Captured,
    Refunded,
    RefundReturned,
    unbooked,
)
from vault_zone.models import charge, charge_leg, modification
from vault_zone.outbox import announce
from vault_zone.processors.port import Feature, ModificationAnswer, ModificationOutcome, Outcome, ProcessorAnswer
from vault_zone.processors.registry import Processors
from vault_zone.states import modification_move, move

STATE_OF = {
    Outcome.SUCCEEDED: ChargeState.SUCCEEDED,
    Outcome.AUTHORIZED: ChargeState.AUTHORIZED,
    Outcome.VOIDED: ChargeState.VOIDED,
    Outcome.EXPIRED: ChargeState.EXPIRED,
    Outcome.DECLINED: ChargeState.DECLINED,
    Outcome.ACTION_REQUIRED: ChargeState.ACTION_REQUIRED,
    Outcome.UNKNOWN: ChargeState.UNKNOWN,
    Outcome.NEVER_SENT: ChargeState.FAILED,
}
MODIFICATION_STATE_OF = {
    ModificationOutcome.SUCCEEDED: ModificationState.SUCCEEDED,
    ModificationOutcome.ACCEPTED: ModificationState.ACCEPTED,
    ModificationOutcome.DECLINED: ModificationState.DECLINED,
    ModificationOutcome.UNKNOWN: ModificationState.UNKNOWN,
    ModificationOutcome.NEVER_SENT: ModificationState.FAILED,
}
LATE_SUCCESS = "late_success"
MAYBE_HELD = "maybe_still_held"
TWO_PROCESSORS = "two_processors_took_it"
DOES_NOT_FIT = "amount_does_not_fit"
CAME_BACK = "came_back"
_EVENT_OF = {
    ChargeState.SUCCEEDED: EventType.CHARGE_SUCCEEDED,
    ChargeState.DECLINED: EventType.CHARGE_DECLINED,
    ChargeState.FAILED: EventType.CHARGE_FAILED,
    ChargeState.UNKNOWN: EventType.CHARGE_UNKNOWN,
    ChargeState.ACTION_REQUIRED: EventType.CHARGE_ACTION_REQUIRED,
    ChargeState.AUTHORIZED: EventType.CHARGE_AUTHORIZED,
    ChargeState.VOIDED: EventType.CHARGE_VOIDED,
    ChargeState.EXPIRED: EventType.CHARGE_EXPIRED,
}
_MODIFICATION_EVENT_OF = {
    ModificationState.UNKNOWN: EventType.MODIFICATION_UNKNOWN,
    ModificationState.RETURNED: EventType.MODIFICATION_RETURNED,
}
_WORD_FROM_BEFORE = (ModificationState.ACCEPTED, ModificationState.RETURNED)  # (8) whatever contradicts these is old
_MONEY_IS_HELD = (ChargeState.AUTHORIZED, ChargeState.SUCCEEDED)
_ENDED_WITHOUT = (ChargeState.DECLINED, ChargeState.FAILED, ChargeState.VOIDED, ChargeState.EXPIRED)
# Run for each charge, so made once: to build a statement takes longer than to run it. Its columns come with its parameters.
_MOVE_CHARGE = update(charge).where(charge.c.id == bindparam("of_charge"), charge.c.state == bindparam("from_state"))
_END_LEG = update(charge_leg).where(
    charge_leg.c.charge_id == bindparam("of_charge"), charge_leg.c.processor == bindparam("at_processor")
)
_REASON = re.compile(r"[a-z][a-z_]{0,39}")
Data = dict[str, str | int | bool]


class Settler:
    """Settles charges and modifications; every one of its methods runs inside the caller's transaction."""

    def __init__(self, processors: Processors, books: Books = unbooked) -> None:
        self._processors = processors
        self._books = books

    def charge(
        self, tx: Transaction, charge_id: str, answer: ProcessorAnswer, processor: str, *, is_notice: bool = False
    ) -> None:
        """Moves the charge where its processor's answer says, if it may go there from where it stands.

        ``is_notice``: said at some time before, and not of this moment, as an answer or a record is.
        """
        row = charge_row(tx.connection, charge_id)
        if row is None:
            return
        source, target = ChargeState(row.state), STATE_OF[answer.outcome]
        if row.processor != processor:  # (4)
            self._of_an_earlier_leg(tx, row, target, processor)
        elif source in _MONEY_IS_HELD:
            self._of_held_money(tx, row, target, answer)
        elif source in _ENDED_WITHOUT and target in _MONEY_IS_HELD:
            self._late(tx, row, target, answer, is_notice=is_notice)
        elif source in _ENDED_WITHOUT and row.attention == MAYBE_HELD and not is_notice:
            self._was_stale(tx, row, target)
        elif source is not target and move(source, target):  # (1)
            self._answered(tx, row, target, answer)

    def modification(self, tx: Transaction, modification_id: str, answer: ModificationAnswer) -> None:
        """Moves the modification where the processor's answer says, and with it the amounts and state of its charge."""
        row = modification_row(tx.connection, modification_id)
        if row is None:
            return
        source, target = ModificationState(row.state), MODIFICATION_STATE_OF[answer.outcome]
        if _comes_back(row, target):
            target = ModificationState.RETURNED  # (8)
        if source is target:
            return
        if not modification_move(source, target):
            self._modification_contradicted(tx, row, source, target)
            return
        moved = tx.execute(
            update(modification)
            .where(modification.c.id == row.id, modification.c.state == source)  # (1)
            .values(
                state=target,
                decline_code=reason_of(answer.decline_code),
                processor_reference=answer.processor_reference or row.processor_reference,
                attention=None,
                attention_ms=None,
                changed_ms=tx.now_ms,
            )
        )
        if moved.rowcount != 1:
            return
        if target is ModificationState.SUCCEEDED:
            self._took_effect(tx, row)
        elif target in (ModificationState.DECLINED, ModificationState.FAILED):
            self._let_go_of_hold(tx, row)
        elif target is ModificationState.RETURNED:
            self._returned(tx, row)
        self._record_modification(tx, row, source, target, reason_of(answer.decline_code))

    def outside(
        self,
        tx: Transaction,
        row: "Row[Any]",
        kind: ModificationKind,
        amount: Money | None,
        reference: str | None,
        answer: ModificationAnswer | None = None,
    ) -> None:
        """Writes down an act that was done at the processor and not asked for through Cordon, with its effect."""
        answer = answer or ModificationAnswer(ModificationOutcome.SUCCEEDED, reference)
        if answer.outcome is ModificationOutcome.DECLINED and kind is ModificationKind.REFUND and amount is not None:
            self._failed_outside(tx, row, amount, answer)
            return
        if answer.outcome not in (ModificationOutcome.SUCCEEDED, ModificationOutcome.ACCEPTED):
            return  # it had no effect, and nobody here waits for it
        amount_minor = None if kind is ModificationKind.VOID else amount.amount_minor if amount else 0
        left = {
            ModificationKind.CAPTURE: row.authorized_minor - row.captured_minor - row.capturing_minor,
            ModificationKind.REFUND: row.captured_minor - row.refunded_minor - row.refunding_minor,
        }
        if amount_minor is not None and (
            amount is None or amount.currency != row.currency or amount_minor > left[kind]
        ):
            needs_attention(tx, row, DOES_NOT_FIT, f"processor:{row.processor}", keeps_first=True)
            return
        is_final = kind is not ModificationKind.CAPTURE or self._closes(row, amount)
        made = _write_outside(tx, row, kind, amount_minor, reference, ModificationState.PENDING, is_final=is_final)
        hold(tx, row.id, kind, amount_minor or 0)
        self.modification(tx, made, answer)

    @staticmethod
    def _failed_outside(tx: Transaction, row: "Row[Any]", amount: Money, answer: ModificationAnswer) -> None:
        """(8) A refund at the processor whose failure is told first: that it went through, told later, is from before."""
        if answer.processor_reference is None or amount.currency != row.currency:
            return
        state = ModificationState.DECLINED
        of = (ModificationKind.REFUND, amount.amount_minor, answer.processor_reference)
        made = modification_row(tx.connection, _write_outside(tx, row, *of, state, is_final=True))
        if made is not None:
            Settler._record_modification(tx, made, ModificationState.PENDING, state, reason_of(answer.decline_code))

    def _answered(self, tx: Transaction, row: "Row[Any]", target: ChargeState, answer: ProcessorAnswer) -> None:
        source = ChargeState(row.state)
        taken = self._taken(row, answer) if target is ChargeState.SUCCEEDED else 0
        reason = reason_of(answer.decline_code)
        moved = tx.execute(
            _MOVE_CHARGE,  # (1)
            {
                "of_charge": row.id,
                "from_state": source,
                "state": target,
                "decline_code": reason,
                "action_url": answer.action_url if target is ChargeState.ACTION_REQUIRED else None,
                "processor_charge": answer.processor_charge or row.processor_charge,
                "network_reference": answer.network_reference or row.network_reference,
                "attention": None,
                "attention_ms": None,
                "changed_ms": tx.now_ms,
                **self._amounts(row, target, taken),
            },
        )
        if moved.rowcount != 1:
            return
        end_leg(tx, row.id, row.processor, answer)
        self._record_charge(tx, row, target, reason)
        if target in _MONEY_IS_HELD:
            self._book_charge(tx, row, taken, closed=target is ChargeState.SUCCEEDED)

    def _amounts(self, row: "Row[Any]", target: ChargeState, taken: int) -> dict[str, Any]:
        """The columns of amounts after the processor's first word of money (2)."""
        if target is ChargeState.SUCCEEDED:
            return {"authorized_minor": row.amount_minor, "captured_minor": taken, "is_closed": True}
        if target is ChargeState.AUTHORIZED:
            return {"authorized_minor": row.amount_minor, "authorized_until_ms": self._held_until(row)}
        return {"is_closed": target in _ENDED_WITHOUT}

    def _of_held_money(self, tx: Transaction, row: "Row[Any]", target: ChargeState, answer: ProcessorAnswer) -> None:
        """What the processor says of a charge whose money is held or taken: an act outside Cordon, or an end (6)."""
        if ModificationKind.CAPTURE in {kind for kind, _ in open_kinds(tx.connection, row.id)}:
            return  # (6)
        if target is ChargeState.SUCCEEDED and not row.is_closed:
            more = self._taken(row, answer) - row.captured_minor
            if more > 0:
                self.outside(tx, row, ModificationKind.CAPTURE, Money(more, row.currency), None)
        elif move(ChargeState(row.state), target):
            self.let_go(tx, row, target, source_id=row.id)

    def let_go(self, tx: Transaction, row: "Row[Any]", target: ChargeState, *, source_id: str) -> None:
        """Ends what is held of a charge: nothing more can be captured. ``target`` is its state if nothing was."""
        source = ChargeState(row.state)
        state = target if move(source, target) else source
        closed = tx.execute(
            update(charge)
            .where(charge.c.id == row.id, charge.c.state == source, charge.c.is_closed.is_(False))
            .values(state=state, is_closed=True, action_url=None, changed_ms=tx.now_ms)
        )
        if closed.rowcount != 1:
            return
        self._book(tx, AuthorizationReleased, row, source_id, row.authorized_minor - row.captured_minor)
        if state is not source:
            self._record_charge(tx, row, state, None)

    def _late(
        self, tx: Transaction, row: "Row[Any]", target: ChargeState, answer: ProcessorAnswer, *, is_notice: bool
    ) -> None:
        """(5) Money was taken, or is held, for a charge that counts as ended without it."""
        if row.captured_minor or (target is ChargeState.AUTHORIZED and row.authorized_minor):
            return  # told before; or it is word from before the end, that was on its way
        if is_notice and target is ChargeState.AUTHORIZED and self._processors.has(row.processor, Feature.QUERY):
            # It may have been let go since, and this is how it once stood: the record says, and is asked next.
            if not row.attention:
                needs_attention(tx, row, MAYBE_HELD, f"processor:{row.processor}")
            return
        taken = self._taken(row, answer) if target is ChargeState.SUCCEEDED else 0
        tx.execute(
            update(charge)
            .where(charge.c.id == row.id, charge.c.state == row.state)
            .values(
                processor_charge=answer.processor_charge or row.processor_charge,
                changed_ms=tx.now_ms,
                **self._amounts(row, target, taken),
                **({"is_closed": False} if target is ChargeState.AUTHORIZED else {}),
            )
        )
        self._book_charge(tx, row, taken, closed=target is ChargeState.SUCCEEDED)
        needs_attention(tx, row, LATE_SUCCESS, f"processor:{row.processor}")

    def _was_stale(self, tx: Transaction, row: "Row[Any]", target: ChargeState) -> None:
        """The record says that nothing is held for a charge of which a notice said so."""
        if target not in _ENDED_WITHOUT:
            return
        tx.execute(update(charge).where(charge.c.id == row.id).values(attention=None, attention_ms=None))
        data: Data = {"payment": row.payment, "checkout": row.checkout, "state": row.state}
        tx.record(charge_event(EventType.CHARGE_RESOLVED, row.id, row.merchant, f"processor:{row.processor}", data))

    @staticmethod
    def _of_an_earlier_leg(tx: Transaction, row: "Row[Any]", target: ChargeState, processor: str) -> None:
        """(4) A processor that was left for another one says that it holds or took money: a person has to see to it."""
        legs = select(charge_leg.c.leg).where(charge_leg.c.charge_id == row.id, charge_leg.c.processor == processor)
        was_asked = tx.connection.execute(legs).first() is not None
        if was_asked and target in _MONEY_IS_HELD and row.attention != TWO_PROCESSORS:
            needs_attention(tx, row, TWO_PROCESSORS, f"processor:{processor}")

    def _took_effect(self, tx: Transaction, row: "Row[Any]") -> None:
        """(2) (3) What a modification that succeeded does to its charge."""
        its_charge = charge_row(tx.connection, row.charge_id)
        if its_charge is None:
            return
        if row.kind == ModificationKind.VOID:
            self.let_go(tx, its_charge, ChargeState.VOIDED, source_id=row.id)
        elif row.kind == ModificationKind.REFUND:
            tx.execute(
                update(charge)
                .where(charge.c.id == row.charge_id)
                .values(
                    refunding_minor=charge.c.refunding_minor - row.amount_minor,
                    refunded_minor=charge.c.refunded_minor + row.amount_minor,
                    changed_ms=tx.now_ms,
                )
            )
            self._book(tx, Refunded, its_charge, row.id, row.amount_minor)
        else:
            self._captured(tx, row, its_charge)

    def _captured(self, tx: Transaction, row: "Row[Any]", its_charge: "Row[Any]") -> None:
        source = ChargeState(its_charge.state)
        target = ChargeState.SUCCEEDED if move(source, ChargeState.SUCCEEDED) else source
        tx.execute(
            update(charge)
            .where(charge.c.id == row.charge_id, charge.c.state == source)  # (1)
            .values(
                state=target,
                capturing_minor=charge.c.capturing_minor - row.amount_minor,
                captured_minor=charge.c.captured_minor + row.amount_minor,
                is_closed=row.is_final,
                changed_ms=tx.now_ms,
            )
        )
        self._book(tx, Captured, its_charge, row.id, row.amount_minor)
        if row.is_final:
            rest = its_charge.authorized_minor - its_charge.captured_minor - row.amount_minor
            self._book(tx, AuthorizationReleased, its_charge, row.id, rest)
        if target is not source:
            self._record_charge(tx, its_charge, target, None)

    def _let_go_of_hold(self, tx: Transaction, row: "Row[Any]") -> None:
        """(2) A modification that had no effect gives back the amount it held."""
        hold(tx, row.charge_id, ModificationKind(row.kind), -(row.amount_minor or 0))

    def _returned(self, tx: Transaction, row: "Row[Any]") -> None:
        """(8) What a refund that came back does to its charge."""
        its_charge = charge_row(tx.connection, row.charge_id)
        if its_charge is None:
            return
        tx.execute(
            update(charge)
            .where(charge.c.id == row.charge_id)
            .values(refunded_minor=charge.c.refunded_minor - row.amount_minor, changed_ms=tx.now_ms)
        )
        self._book(tx, RefundReturned, its_charge, row.id, row.amount_minor)
        fresh = modification_row(tx.connection, row.id)
        if fresh is not None:
            modification_needs_attention(tx, fresh, CAME_BACK, f"processor:{row.processor}")

    def _modification_contradicted(
        self, tx: Transaction, row: "Row[Any]", source: ModificationState, target: ModificationState
    ) -> None:
        """(5) The processor says otherwise than it said, or than its record's absence said."""
        ends = (ModificationState.SUCCEEDED, ModificationState.DECLINED)
        if target not in ends or row.attention:
            return
        if source in _WORD_FROM_BEFORE:
            return
        reason = LATE_SUCCESS if target is ModificationState.SUCCEEDED else CAME_BACK
        modification_needs_attention(tx, row, reason, f"processor:{row.processor}")

    def count_late(self, tx: Transaction, row: "Row[Any]", actor: str) -> None:
        """A modification that counted as without effect had it after all, as two operators decided: its amounts move.

        ``actor`` is who asked for the decision. Raises IntegrityError when the amounts do not fit any more, NoResultFound when
        it has moved meanwhile.
        """
        hold(tx, row.charge_id, ModificationKind(row.kind), row.amount_minor or 0)
        moved = tx.execute(
            update(modification)
            .where(modification.c.id == row.id, modification.c.state == row.state)
            .values(state=ModificationState.SUCCEEDED, decline_code=None, changed_ms=tx.now_ms)
        )
        if moved.rowcount != 1:
            raise NoResultFound  # another decision came first; nothing of this one stays
        self._took_effect(tx, row)
        source, target = ModificationState(row.state), ModificationState.SUCCEEDED
        self._record_modification(tx, row, source, target, None, actor=actor)  # (3) (7)

    def count_late_charge(self, tx: Transaction, row: "Row[Any]", target: ChargeState, actor: str) -> None:
        """A charge whose money came late is its checkout's after all, as two operators decided. Its amounts stand already.

        ``actor`` is who asked for the decision. Raises IntegrityError when another charge pays the checkout, NoResultFound
        when it has moved meanwhile.
        """
        moved = tx.execute(
            update(charge)
            .where(charge.c.id == row.id, charge.c.state == row.state)  # (1)
            .values(state=target, decline_code=None, changed_ms=tx.now_ms)
        )
        if moved.rowcount != 1:
            raise NoResultFound
        self._record_charge(tx, row, target, None, actor=actor)  # (3) (7)

    def _taken(self, row: "Row[Any]", answer: ProcessorAnswer) -> int:
        """How much the processor has captured, never more than the charge's amount."""
        told = answer.captured_minor
        whole: int = row.amount_minor
        return whole if told is None else max(0, min(told, whole))

    def _closes(self, row: "Row[Any]", amount: Money | None) -> bool:
        """Whether a capture outside Cordon was the last one."""
        whole = amount is not None and amount.amount_minor == row.authorized_minor - row.captured_minor
        return whole or not self._processors.has(row.processor, Feature.MULTIPLE_CAPTURES)

    def _held_until(self, row: "Row[Any]") -> int | None:
        """From when it was asked for: never later than the processor itself lets go."""
        connector = self._processors.get(row.processor)
        if connector is None:
            return None
        return int(row.intended_ms + connector.authorization_lifetime_seconds * 1000)

    def _book_charge(self, tx: Transaction, row: "Row[Any]", taken: int, *, closed: bool) -> None:
        self._book(tx, Authorized, row, row.id, row.amount_minor)
        self._book(tx, Captured, row, row.id, taken)
        if closed:
            self._book(tx, AuthorizationReleased, row, row.id, row.amount_minor - taken)

    def _book(self, tx: Transaction, kind: type[BooksEvent], row: "Row[Any]", source: str, amount_minor: int) -> None:
        if amount_minor > 0:  # (3)
            self._books(tx, kind(row.merchant, row.id, source, Money(amount_minor, row.currency), row.processor))

    @staticmethod
    def _record_charge(
        tx: Transaction, row: "Row[Any]", target: ChargeState, reason: str | None, *, actor: str | None = None
    ) -> None:
        data: Data = {"payment": row.payment, "checkout": row.checkout, "from": row.state}
        if reason:
            data["reason"] = reason
        tx.record(charge_event(_EVENT_OF[target], row.id, row.merchant, actor or f"processor:{row.processor}", data))
        if target is not ChargeState.UNKNOWN:  # commerce asks about that by itself
            announce(tx, _EVENT_OF[target], merchant=row.merchant, charge_id=row.id)  # (7)

    @staticmethod
    def _record_modification(
        tx: Transaction,
        row: "Row[Any]",
        source: ModificationState,
        target: ModificationState,
        reason: str | None,
        *,
        actor: str | None = None,
    ) -> None:
        data: Data = {"charge": row.charge_id, "kind": row.kind, "from": source.value, "state": target.value}
        if row.amount_minor is not None:
            data |= {"amount_minor": row.amount_minor, "currency": row.currency}
        if reason:
            data["reason"] = reason
        kind = _MODIFICATION_EVENT_OF.get(target, EventType.MODIFICATION_SETTLED)
        failed = target in (ModificationState.DECLINED, ModificationState.FAILED, ModificationState.RETURNED)
        told_by = actor or f"processor:{row.processor}"
        tx.record(charge_event(kind, row.id, row.merchant, told_by, data, failed=failed))
        if target in FINAL_MODIFICATION_STATES:
            announce(tx, kind, merchant=row.merchant, charge_id=row.charge_id, modification_id=row.id)  # (7)


def _write_outside(
    tx: Transaction,
    row: "Row[Any]",
    kind: ModificationKind,
    amount_minor: int | None,
    reference: str | None,
    state: ModificationState,
    *,
    is_final: bool,
) -> str:
    """Writes down an act at the processor; its id."""
    made = new_id("mod")
    tx.execute(
        modification.insert().values(
            id=made,
            request=new_id("out"),
            charge_id=row.id,
            merchant=row.merchant,
            kind=kind,
            amount_minor=amount_minor,
            currency=row.currency,
            is_final=is_final,
            is_ours=False,
            state=state,
            processor=row.processor,
            processor_reference=reference,
            intended_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
    )
    return made


def _comes_back(row: "Row[Any]", said: ModificationState) -> bool:
    """(8) Whether the word that a refund failed comes after it went through."""
    after = row.state in (ModificationState.SUCCEEDED, ModificationState.RETURNED)
    return after and row.kind == ModificationKind.REFUND and said is ModificationState.DECLINED


def hold(tx: Transaction, charge_id: str, kind: ModificationKind, amount_minor: int) -> None:
    """Sets an amount aside for a modification that begins; a negative one gives it back."""
    if kind is ModificationKind.CAPTURE:
        values = {"capturing_minor": charge.c.capturing_minor + amount_minor}
    elif kind is ModificationKind.REFUND:
        values = {"refunding_minor": charge.c.refunding_minor + amount_minor}
    else:
        return
    tx.execute(update(charge).where(charge.c.id == charge_id).values(values))


def end_leg(tx: Transaction, charge_id: str, processor: str, answer: ProcessorAnswer) -> None:
    """How the charge stands at this processor, on the leg that went there."""
    tx.execute(
        _END_LEG,
        {
            "of_charge": charge_id,
            "at_processor": processor,
            "outcome": answer.outcome,
            "decline_code": reason_of(answer.decline_code),
            "ended_ms": tx.now_ms,
        },
    )


def needs_attention(tx: Transaction, row: "Row[Any]", reason: str, actor: str, *, keeps_first: bool = False) -> None:
    """A person has to look at the charge: on its row, and on record.

    ``keeps_first``: where somebody has to look already, the row keeps that reason and its time; this one is on record alone.
    """
    asked = update(charge).where(charge.c.id == row.id)
    if keeps_first:
        asked = asked.where(charge.c.attention.is_(None))
    tx.execute(asked.values(attention=reason, attention_ms=tx.now_ms))
    data: Data = {"payment": row.payment, "checkout": row.checkout, "state": row.state, "reason": reason}
    tx.record(charge_event(EventType.CHARGE_NEEDS_ATTENTION, row.id, row.merchant, actor, data))


def modification_needs_attention(tx: Transaction, row: "Row[Any]", reason: str, actor: str) -> None:
    """As needs_attention(), of a capture, void or refund."""
    tx.execute(update(modification).where(modification.c.id == row.id).values(attention=reason, attention_ms=tx.now_ms))
    data: Data = {"state": row.state, "reason": reason}
    tx.record(charge_event(EventType.CHARGE_NEEDS_ATTENTION, row.id, row.merchant, actor, data))


def reason_of(code: str | None) -> str | None:
    """A processor's code if it has the form of one: its words could keep the outcome from being recorded."""
    return code if code is None or _REASON.fullmatch(code) else "other"


def charge_event(
    kind: EventType, resource: str, merchant: str, actor: str, data: Data, *, failed: bool = False
) -> Event:
    """An entry about a charge or a modification."""
    failed = failed or kind in (EventType.CHARGE_DECLINED, EventType.CHARGE_FAILED)
    return Event(
        type=kind,
        outcome="failure" if failed else "success",
        actor=actor,
        origin=ORIGIN,
        resource=resource,
        merchant=merchant,
        data=data,
    )
