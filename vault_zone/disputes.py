"""Disputes, as the processor tells of them: opened, evidence due, under review, won, lost.

What holds:
 1. One row for each dispute of a processor; it moves by the table of moves only, whatever order the notices come in.
 2. What is withheld is counted on the charge in the same transaction: added when opened, let go when won, kept when lost.
 3. Each move has its event, its entry in the books and its notice to commerce, in that transaction.
 4. An inquiry withholds nothing, so its end gives nothing back. It becomes a chargeback by the first word that money is
    withheld, once, whatever its state; word of the inquiry that comes after that is from before.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import NoResultFound

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.clock import as_datetime
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import Dispute, DisputeState
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger.events import Books, DisputeLost, DisputeOpened, DisputeWon, unbooked
from vault_zone.models import charge, dispute
from vault_zone.notices import Disputes
from vault_zone.outbox import announce
from vault_zone.processors.port import DisputeNews
from vault_zone.states import dispute_move

LIST_ROWS = 200
OPEN = (DisputeState.NEEDS_RESPONSE, DisputeState.UNDER_REVIEW)


def disputes_in(books: Books) -> Disputes:
    """What the charge engine does with a notice of a dispute, with these books."""

    def take(tx: Transaction, charge_row: "Row[Any]", news: DisputeNews) -> None:
        apply_dispute(tx, charge_row, news, charge_row.processor, books)

    return take


def apply_dispute(
    tx: Transaction, charge_row: "Row[Any]", news: DisputeNews, processor: str, books: Books = unbooked
) -> str | None:
    """Takes the processor's word on a dispute of a charge; returns the dispute's id when it moved, else None.

    Its fee is booked from the settlement report, where it has a line of its own.
    """
    known = tx.execute(
        select(dispute).where(dispute.c.processor == processor, dispute.c.processor_dispute == news.processor_dispute)
    ).first()
    if known is None:
        return _open(tx, charge_row, news, processor, books)
    source = DisputeState(known.state)
    escalates = known.is_inquiry and news.withholds is True
    if news.withholds is False and not known.is_inquiry:  # (4)
        return None
    if escalates and news.amount.currency != known.currency:
        return None  # as when it is opened
    if source is news.state and not escalates:
        return known.id if _note_due_day(tx, charge_row, known, news, processor) else None
    if not escalates and not dispute_move(source, news.state):  # (1) late, or of an older state
        return None
    amount = news.amount if escalates else Money(known.amount_minor, known.currency)
    moved = tx.execute(
        update(dispute)
        .where(dispute.c.id == known.id, dispute.c.state == source)
        .values(
            state=news.state,
            is_inquiry=known.is_inquiry and not escalates,
            amount_minor=amount.amount_minor,
            evidence_due_ms=news.evidence_due_ms if news.evidence_due_ms is not None else known.evidence_due_ms,
            changed_ms=tx.now_ms,
            **_fee_of(news),
        )
    )
    if moved.rowcount != 1:
        return None
    if escalates:
        _take_back(tx, known, news.state, amount, processor, books)
    elif news.state is DisputeState.WON and not known.is_inquiry:  # (4)
        _withhold(tx, known.charge_id, -known.amount_minor)  # (2)
        books(tx, DisputeWon(known.merchant, known.charge_id, known.id, amount, processor))  # (3)
    elif news.state is DisputeState.LOST and not known.is_inquiry:
        books(tx, DisputeLost(known.merchant, known.charge_id, known.id, amount, processor))
    _record(tx, EventType.DISPUTE_CHANGED, known.id, charge_row, news, processor, source)
    announce(tx, EventType.DISPUTE_CHANGED, merchant=known.merchant, charge_id=known.charge_id, dispute_id=known.id)
    return str(known.id)


def list_disputes(
    connection: Connection, merchant: str, *, payment: str | None = None, only_open: bool = False
) -> Sequence[Dispute]:
    """The merchant's disputes, those with the nearest day for evidence first; at most LIST_ROWS."""
    found = select(dispute, charge.c.payment).join(charge, charge.c.id == dispute.c.charge_id)
    found = found.where(dispute.c.merchant == merchant)
    if payment is not None:
        found = found.where(charge.c.payment == payment)
    if only_open:
        found = found.where(dispute.c.state.in_(OPEN))
    ordered = found.order_by(dispute.c.evidence_due_ms.is_(None), dispute.c.evidence_due_ms, dispute.c.id)
    return [_view(row) for row in connection.execute(ordered.limit(LIST_ROWS))]


def _open(tx: Transaction, charge_row: "Row[Any]", news: DisputeNews, processor: str, books: Books) -> str | None:
    if news.amount.currency != charge_row.currency:
        return None  # reconciliation lists it as a break; two currencies are never mixed (I7)
    identifier = new_id("dsp")
    is_inquiry = news.withholds is not True  # (4)
    opened = tx.execute(
        dispute.insert()
        .values(
            id=identifier,
            charge_id=charge_row.id,
            merchant=charge_row.merchant,
            processor=processor,
            processor_dispute=news.processor_dispute,
            state=news.state,
            amount_minor=news.amount.amount_minor,
            currency=news.amount.currency,
            reason=news.reason,
            evidence_due_ms=news.evidence_due_ms,
            is_inquiry=is_inquiry,
            opened_ms=tx.now_ms,
            changed_ms=tx.now_ms,
            **_fee_of(news),
        )
        .returning(*dispute.c)
    ).one()
    if not is_inquiry:
        _take_back(tx, opened, news.state, news.amount, processor, books)
    _record(tx, EventType.DISPUTE_OPENED, identifier, charge_row, news, processor, None)
    announce(tx, EventType.DISPUTE_OPENED, merchant=charge_row.merchant, charge_id=charge_row.id, dispute_id=identifier)
    return identifier


def _take_back(
    tx: Transaction, row: "Row[Any]", state: DisputeState, amount: Money, processor: str, books: Books
) -> None:
    """(2) (3) What the first word that money is withheld does: nothing, when it is that it was given back."""
    if state is DisputeState.WON:
        return
    _withhold(tx, row.charge_id, amount.amount_minor)
    books(tx, DisputeOpened(row.merchant, row.charge_id, row.id, amount, processor))
    if state is DisputeState.LOST:
        books(tx, DisputeLost(row.merchant, row.charge_id, row.id, amount, processor))


def _fee_of(news: DisputeNews) -> dict[str, int | str]:
    """The columns of a fee in its own currency (I7); none where nothing is said of one."""
    return {} if news.fee is None else {"fee_minor": news.fee.amount_minor, "fee_currency": news.fee.currency}


def _note_due_day(
    tx: Transaction, charge_row: "Row[Any]", known: "Row[Any]", news: DisputeNews, processor: str
) -> bool:
    if news.evidence_due_ms is None or news.evidence_due_ms == known.evidence_due_ms:
        return False
    tx.execute(
        update(dispute)
        .where(dispute.c.id == known.id)
        .values(evidence_due_ms=news.evidence_due_ms, changed_ms=tx.now_ms)
    )
    _record(tx, EventType.DISPUTE_CHANGED, known.id, charge_row, news, processor, news.state)
    announce(tx, EventType.DISPUTE_CHANGED, merchant=known.merchant, charge_id=known.charge_id, dispute_id=known.id)
    return True


def _withhold(tx: Transaction, charge_id: str, amount_minor: int) -> None:
    changed = tx.execute(
        update(charge)
        .where(charge.c.id == charge_id)
        .values(disputed_minor=charge.c.disputed_minor + amount_minor, changed_ms=tx.now_ms)
    )
    if changed.rowcount != 1:
        raise NoResultFound


def _view(row: "Row[Any]") -> Dispute:
    return Dispute(
        dispute=row.id,
        payment=row.payment,
        charge=row.charge_id,
        state=DisputeState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        fee_minor=row.fee_minor,
        fee_currency=row.fee_currency,
        is_inquiry=row.is_inquiry,
        reason=row.reason,
        evidence_due_ms=row.evidence_due_ms,
        opened_ms=row.opened_ms,
        changed_ms=row.changed_ms,
    )


def _record(
    tx: Transaction,
    kind: EventType,
    identifier: str,
    charge_row: "Row[Any]",
    news: DisputeNews,
    processor: str,
    source: DisputeState | None,
) -> None:
    data: dict[str, str | int | bool] = {
        "charge": charge_row.id,
        "payment": charge_row.payment,
        "checkout": charge_row.checkout,
        "amount_minor": news.amount.amount_minor,
        "currency": news.amount.currency,
        "reason": news.reason,
        "to": news.state.value,
        "kind": "chargeback" if news.withholds else "inquiry",
    }
    if source is not None:
        data["from"] = source.value
    if news.evidence_due_ms is not None:
        data["expires_at"] = f"{as_datetime(news.evidence_due_ms):%Y-%m-%d}"
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=f"processor:{processor}",
            origin=ORIGIN,
            resource=identifier,
            merchant=charge_row.merchant,
            data=data,
        )
    )
