"""Outcomes and what was reversed of them become lines of the bill.

What holds:
 1. An outcome is on record once, by what it is evidence of (the order; the conversation and the brand's reference), however
    often and under whatever key it is reported. Under other terms than before it is refused.
 2. It is rated by the contract that was in force when it happened, and by none that came later.
 3. Lines are only ever added: the database refuses to change or delete one. What is missing between them and what rating.py
    says is written as one more line, so that a report that comes again adds nothing.
 4. A line counts in the month in which it happened, and once that is closed, in the month in which it was written.
 5. A sale follows its order: what the zone says was refunded or disputed, in the transaction that learns it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.billing.contract import Contract, OutcomeType, SaleTerm, contract_at, contract_of
from commerce_api.billing.rating import CHARGE, DAY_MS, Due, Reversal, dues
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import billed_outcome, billing_line, billing_reversal, offer_decision
from tokenization.ids import new_id

BILLED: Final = "billed"
PAGE: Final = "page"  # the channel of a shopper who came without an agent
FUTURE_MS: Final = 5 * 60_000  # how far a reporter's clock may be ahead
SERVICE: Final = "service:commerce"


@dataclass(frozen=True, slots=True)
class Reported:
    """An outcome with its evidence. ``value_minor`` is in the brand's currency; ``conversation`` a SHA-256, in letters."""

    kind: OutcomeType
    value_minor: int
    at_ms: int
    decision: str | None = None
    conversation: str | None = None
    order: str | None = None
    reference: str | None = None
    channel: str = ""

    @property
    def key(self) -> str:
        """What makes it one and the same outcome (1)."""
        parts = (self.kind, self.order or "") if self.kind == "sale" else (self.kind, self.conversation, self.reference)
        return sha256("\0".join(part or "" for part in parts).encode()).hexdigest()


def report(tx: Transaction, brand: str, reported: Reported, actor: str = SERVICE) -> "Row[Any]":
    """Puts an outcome on record and rates it; the one that is there where it was reported before (1).

    Raises CommerceRefusal: INVALID_REQUEST for one that is yet to come or of before 1970, OUTCOME_CONFLICT.
    """
    if not 0 <= reported.at_ms <= tx.now_ms + FUTURE_MS:
        raise CommerceRefusal(CommerceError.INVALID_REQUEST)
    known = find_reported(tx, brand, reported)
    if known is not None:
        return known
    contract = contract_at(tx.connection, brand, reported.at_ms)  # (2)
    ruling = _ruling(tx, brand, contract, reported)
    row = tx.execute(
        insert(billed_outcome)
        .values(
            id=new_id("bot"),
            brand=brand,
            key=reported.key,
            type=reported.kind,
            value_minor=reported.value_minor,
            decision=reported.decision,
            conversation=reported.conversation,
            order_id=reported.order,
            reference=reported.reference,
            contract_version=contract.version if contract is not None else None,
            ruling=ruling,
            at_ms=reported.at_ms,
            recorded_ms=tx.now_ms,
        )
        .returning(*billed_outcome.c)
    ).one()
    _record(tx, EventType.OUTCOME_REPORTED, row, actor, {"kind": row.type, "reason": ruling})
    settle(tx, row)
    return row


def find_reported(tx: Transaction, brand: str, reported: Reported) -> "Row[Any] | None":
    """The outcome that is on record for this evidence (1). Raises CommerceRefusal(OUTCOME_CONFLICT) where it is another one."""
    of = (billed_outcome.c.brand == brand, billed_outcome.c.key == reported.key)
    known = tx.execute(select(billed_outcome).where(*of)).first()
    if known is not None and (known.value_minor, known.decision) != (reported.value_minor, reported.decision):
        raise CommerceRefusal(CommerceError.OUTCOME_CONFLICT)
    return known


def reverse(tx: Transaction, row: "Row[Any]", reversal: Reversal, reason: str, actor: str = SERVICE) -> None:
    """Part of an outcome, or all of it, did not last. The same key again is the same reversal.

    Raises CommerceRefusal(IDEMPOTENCY_CONFLICT) for a key that stands for another amount.
    """
    of = (billing_reversal.c.outcome == row.id, billing_reversal.c.key == reversal.key)
    known = tx.execute(select(billing_reversal).where(*of)).first()
    if known is not None:
        if (known.amount_minor, known.reason) != (reversal.amount_minor, reason):
            raise CommerceRefusal(CommerceError.IDEMPOTENCY_CONFLICT)
        return
    tx.execute(
        insert(billing_reversal).values(
            outcome=row.id,
            key=reversal.key,
            reason=reason,
            amount_minor=reversal.amount_minor,
            at_ms=reversal.at_ms,
            recorded_ms=tx.now_ms,
        )
    )
    _record(tx, EventType.OUTCOME_REVERSED, row, actor, {"kind": row.type, "reason": reason})
    settle(tx, row)


def settle(tx: Transaction, row: "Row[Any]") -> None:
    """Adds the lines that an outcome's bill lacks (3)."""
    if row.ruling != BILLED:
        return
    contract = contract_of(tx.connection, row.brand, row.contract_version)
    term = contract.term(row.type)
    if term is None:
        return
    reversals = [
        Reversal(one.key, one.amount_minor, one.at_ms)
        for one in tx.execute(select(billing_reversal).where(billing_reversal.c.outcome == row.id))
    ]
    written = {
        line.source: (int(line.amount_minor), int(line.lines))
        for line in tx.execute(
            select(
                billing_line.c.source,
                func.sum(billing_line.c.amount_minor).label("amount_minor"),
                func.count().label("lines"),
            )
            .where(billing_line.c.outcome == row.id)
            .group_by(billing_line.c.source)
        )
    }
    for due in dues(term, row.value_minor, row.at_ms, reversals):
        amount_minor, count = written.get(due.source, (0, 0))
        if due.amount_minor != amount_minor:
            _write(tx, row, contract, due._replace(amount_minor=due.amount_minor - amount_minor), count + 1)


def sold(tx: Transaction, brand: str, document: dict[str, Any], order: str, amount_minor: int, channel: str) -> None:
    """An order was placed. On record where the brand has a contract; the offer in it, if one was applied, is its evidence."""
    if contract_at(tx.connection, brand, tx.now_ms) is None:
        return
    decision = None
    if document["priced"]["totals"]["offer_taken_minor"] is not None:
        of = (offer_decision.c.id == document["offer_id"], offer_decision.c.brand == brand)
        decision = tx.execute(select(offer_decision.c.id).where(*of)).scalar()
    report(tx, brand, Reported("sale", amount_minor, tx.now_ms, decision, order=order, channel=channel))


def given_back(tx: Transaction, brand: str, order: str, total_minor: int, reason: str) -> None:
    """Of an order's money so much in all is refunded or disputed by now; less than before when a refund came back (5)."""
    row = tx.execute(
        select(billed_outcome).where(billed_outcome.c.brand == brand, billed_outcome.c.key == _sale_key(order))
    ).first()
    if row is None:
        return
    changes = tx.execute(select(billing_reversal.c.amount_minor).where(billing_reversal.c.outcome == row.id))
    so_far_minor = [amount_minor or 0 for amount_minor in changes.scalars()]
    change_minor = total_minor - sum(so_far_minor)
    if change_minor:
        reverse(tx, row, Reversal(f"money:{len(so_far_minor) + 1:06}", change_minor, tx.now_ms), reason)


def _sale_key(order: str) -> str:
    return Reported("sale", 0, 0, order=order).key


def _ruling(tx: Transaction, brand: str, contract: Contract | None, reported: Reported) -> str:
    """Why an outcome is billed, or is not: a closed set (docs/outcome-pricing.md)."""
    if contract is None:
        return "no_contract"
    term = contract.term(reported.kind)
    if term is None:
        return "not_in_contract"
    if isinstance(term, SaleTerm):
        if term.attributed_by == "conversation":
            return BILLED if reported.channel != PAGE else "not_attributed"
        if reported.decision is None:
            return "not_attributed"
    if reported.decision is None:
        return BILLED
    presented_ms = tx.execute(
        select(offer_decision.c.presented_ms).where(
            offer_decision.c.id == reported.decision, offer_decision.c.brand == brand
        )
    ).first()
    if presented_ms is None:
        raise CommerceRefusal(CommerceError.OFFER_UNKNOWN)
    if presented_ms[0] is None or presented_ms[0] > reported.at_ms:
        return "not_attributed"
    return BILLED if reported.at_ms <= presented_ms[0] + term.attribution_days * DAY_MS else "outside_window"


def _write(tx: Transaction, row: "Row[Any]", contract: Contract, due: Due, place: int) -> None:
    kind = _kind(due, place)
    identifier = new_id("bil")
    tx.execute(
        insert(billing_line).values(
            id=identifier,
            brand=row.brand,
            outcome=row.id,
            source=due.source,
            place=place,
            kind=kind,
            amount_minor=due.amount_minor,
            currency=contract.currency,
            contract_version=contract.version,
            at_ms=due.at_ms,
            posted_ms=due.at_ms if tx.now_ms < _closes_ms(due.at_ms, contract.closing_days) else tx.now_ms,  # (4)
            recorded_ms=tx.now_ms,
        )
    )
    data: dict[str, str | int | bool] = {"kind": kind, "amount_minor": due.amount_minor, "currency": contract.currency}
    _record(tx, EventType.BILLING_LINE_WRITTEN, row, SERVICE, {**data, "entry": identifier})


def _kind(due: Due, place: int) -> str:
    if place > 1:
        return "correction"  # a report came late of what happened before another one
    if due.source == CHARGE:
        return "charge"
    return "reversal" if due.amount_minor < 0 else "reinstatement"


def _closes_ms(moment_ms: int, closing_days: int) -> int:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000) + closing_days * DAY_MS


def _record(tx: Transaction, kind: EventType, row: "Row[Any]", actor: str, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=row.id,
            merchant=row.brand,
            data=data | ({"order": row.order_id} if row.order_id else {}),
        )
    )
