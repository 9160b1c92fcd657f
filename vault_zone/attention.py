"""What a person has to look at, and what two operators decide about it: the end of what the processor's record does not end.

What holds for a decision:
 1. One operator asks for it with a reason, another approves it (operations.py); both names and the reason are on record.
 2. It is about a charge or modification that needs attention now, and ends the attention in the transaction of its effect.
 3. What is ``unknown`` takes the outcome that is decided, with its amounts, as if the processor had said it.
 4. Money that came late (settling.py, 5) is either taken as the charge's success, if its checkout was not paid otherwise; or
    the decision that the charge failed waits until the money is given back.
 5. A refund that came back (settling.py, 8) is not made to have succeeded: the shopper is refunded anew.
 6. Each move has its event and its notice to commerce, as if the processor had said it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import EventType
from audit.transaction import Transaction
from tokenization.wire import ChargeState, ModificationState
from vault_zone.charge_rows import charge_row, modification_row
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import charge, modification
from vault_zone.operations import Act, Operation, finish
from vault_zone.processors.port import ModificationAnswer, ModificationOutcome, Outcome, ProcessorAnswer
from vault_zone.settling import LATE_SUCCESS, Data, Settler, charge_event
from vault_zone.states import by_hand

if TYPE_CHECKING:
    from vault_zone.runtime import Zone

LIST_LIMIT = 500
_ENDED = (ChargeState.DECLINED, ChargeState.FAILED, ChargeState.VOIDED, ChargeState.EXPIRED)


class Waiting(NamedTuple):
    """Something that needs attention. ``subject`` is the charge's id, or the modification's."""

    subject: str
    charge: str
    merchant: str
    kind: str  # charge, or the modification's
    state: str
    reason: str
    since_ms: int


def waiting(connection: Connection) -> Sequence[Waiting]:
    """What needs attention, of every merchant, the oldest first; at most LIST_LIMIT of charges and of modifications."""
    charges = select(charge).where(charge.c.attention.is_not(None)).order_by(charge.c.attention_ms).limit(LIST_LIMIT)
    others = (
        select(modification)
        .where(modification.c.attention.is_not(None))
        .order_by(modification.c.attention_ms)
        .limit(LIST_LIMIT)
    )
    found = [
        Waiting(row.id, row.id, row.merchant, "charge", row.state, row.attention, row.attention_ms)
        for row in connection.execute(charges)
    ]
    found += [
        Waiting(row.id, row.charge_id, row.merchant, row.kind, row.state, row.attention, row.attention_ms)
        for row in connection.execute(others)
    ]
    return sorted(found, key=lambda one: one.since_ms)


async def carry_out_decision(zone: "Zone", approved: Operation) -> None:
    """The executor: decides what was asked and approved, in one transaction with the operation's end (1)."""

    def work(tx: Transaction) -> None:
        decide(tx, zone.engine.settler, approved)
        finish(tx, approved)

    try:
        await zone.database.change(work)
    except IntegrityError:  # another charge pays this checkout
        raise ZoneRefusal(ZoneError.CHECKOUT_ALREADY_CHARGED) from None


def decide(tx: Transaction, settler: Settler, approved: Operation) -> None:
    """Gives a charge or modification its end. Raises ZoneRefusal: NOT_FOUND, MODIFICATION_NOT_POSSIBLE; IntegrityError (4)."""
    succeeded = approved.act is Act.RESOLVE_AS_SUCCEEDED
    subject = approved.subject or ""
    row, changed = charge_row(tx.connection, subject), modification_row(tx.connection, subject)
    found = row if row is not None else changed
    if found is None or found.merchant != approved.merchant or found.attention is None:  # (2)
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    if row is not None:
        _decide_charge(tx, settler, row, succeeded, approved.requested_by)
        tx.execute(update(charge).where(charge.c.id == subject).values(attention=None, attention_ms=None))
    else:
        _decide_modification(tx, settler, found, succeeded, approved.requested_by)
        tx.execute(update(modification).where(modification.c.id == subject).values(attention=None, attention_ms=None))
    data: Data = {
        "decision": "succeeded" if succeeded else "failed",
        "decided_by": approved.decided_by or "",
        "from": found.state,
    }
    if approved.grounds:
        data["reason"] = approved.grounds
    tx.record(charge_event(EventType.CHARGE_NEEDS_ATTENTION, subject, found.merchant, approved.requested_by, data))


def _decide_charge(tx: Transaction, settler: Settler, row: "Row[Any]", succeeded: bool, actor: str) -> None:
    state = ChargeState(row.state)
    if state in (ChargeState.UNKNOWN, ChargeState.ACTION_REQUIRED):  # (3)
        taken = Outcome.SUCCEEDED if row.capture == "automatic" else Outcome.AUTHORIZED
        settler.charge(tx, row.id, ProcessorAnswer(taken if succeeded else Outcome.NEVER_SENT), row.processor)
    elif state is ChargeState.AUTHORIZED and not succeeded:
        settler.let_go(tx, row, ChargeState.EXPIRED, source_id=row.id)
    elif state in _ENDED and succeeded and row.authorized_minor:  # (4)
        target = ChargeState.SUCCEEDED if row.captured_minor else ChargeState.AUTHORIZED
        if not by_hand(state, target):
            raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)
        settler.count_late_charge(tx, row, target, actor)  # (6)
    elif (state in _ENDED and row.captured_minor != row.refunded_minor) or (
        state in _ENDED and row.authorized_minor and not row.is_closed
    ):  # (4)
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)


def _decide_modification(tx: Transaction, settler: Settler, row: "Row[Any]", succeeded: bool, actor: str) -> None:
    state = ModificationState(row.state)
    if state in (ModificationState.UNKNOWN, ModificationState.ACCEPTED):  # (3)
        outcome = ModificationOutcome.SUCCEEDED if succeeded else ModificationOutcome.DECLINED
        settler.modification(tx, row.id, ModificationAnswer(outcome))
    elif state is ModificationState.SUCCEEDED and not succeeded:
        settler.modification(tx, row.id, ModificationAnswer(ModificationOutcome.DECLINED))  # a refund comes back
    elif state is ModificationState.RETURNED and succeeded:  # (5)
        raise ZoneRefusal(ZoneError.MODIFICATION_NOT_POSSIBLE)
    elif row.attention == LATE_SUCCESS and succeeded:
        settler.count_late(tx, row, actor)  # (6)
