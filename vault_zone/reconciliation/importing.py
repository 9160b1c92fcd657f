"""A report, read in: its lines held against the charges, its fees and payouts told to the books, what does not agree kept.

What holds:
 1. A file is known by its digest, and a line by the processor's id of it: reading either again changes nothing.
 2. A batch of lines is one transaction with its event. Killed between two, the file is simply read again.
 3. A charge whose outcome was not known is settled by the report, before it is judged, through the charge engine (I3).
 4. Whatever the report shows and the books do not explain goes to suspense: behind the last line, what the processor holds
    by the books has changed by just what the report says.
 5. A break is found once, and stays until somebody, a later report, or what is learnt afterwards (explaining.py) explains it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, exists, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import ChargeState
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger.events import (
    BooksEvent,
    FeeCharged,
    FeeReturned,
    PaidOut,
    PayoutReturned,
    UnexplainedGain,
    UnexplainedLoss,
)
from vault_zone.ledger.posting import record
from vault_zone.models import charge, settlement, settlement_break, settlement_line
from vault_zone.models import merchant as merchants
from vault_zone.processors.port import Outcome, ProcessorAnswer
from vault_zone.reconciliation.line import Line, LineType
from vault_zone.reconciliation.matching import AWAITED, Code, Known, Verdict

BATCH_LIMIT: Final = 25  # lines in one call and one transaction; a call is 16 KiB at most
MISSING_LIMIT: Final = 1_000  # breaks that the end of one report brings at most
GRACE_MS: Final = 86_400_000  # a processor's day may end later than ours: the edges of a report prove nothing
READING, FINISHED = "reading", "finished"

# Tells the charge engine what a report says of a charge whose outcome is awaited; in the transaction of the batch.
SettleFromReport = Callable[[Transaction, str, ProcessorAnswer], None]


@dataclass(frozen=True, slots=True)
class Read:
    """What came of a batch: how many lines were new, how many of them agree, and the breaks found, by their ids."""

    lines: int
    matched: int
    breaks: tuple[str, ...]


def leave_unknown(tx: Transaction, charge_id: str, answer: ProcessorAnswer) -> None:
    """Where no charge engine listens, a charge stays as it is, and the line is a break."""


def begin(tx: Transaction, merchant: str, processor: str, digest: str, actor: str) -> "Row[Any]":
    """The report under this digest, begun now or before (1). Raises ZoneRefusal(NOT_FOUND) for an unknown merchant."""
    found = _report(tx, merchant, processor, digest)
    if found is not None:
        return found
    if tx.execute(select(merchants.c.id).where(merchants.c.id == merchant)).first() is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    made = new_id("set")
    tx.execute(
        settlement.insert().values(
            id=made,
            merchant=merchant,
            processor=processor,
            digest=digest,
            state=READING,
            lines=0,
            matched=0,
            started_by=actor,
            started_ms=tx.now_ms,
        )
    )
    tx.record(_event(EventType.SETTLEMENT_STARTED, made, merchant, actor, {"processor": processor}))
    return tx.execute(select(settlement).where(settlement.c.id == made)).one()


def read_lines(
    tx: Transaction, merchant: str, report: str, lines: Sequence[Line], actor: str, settle: SettleFromReport
) -> Read:
    """Takes a batch in (2). Raises ZoneRefusal(SETTLEMENT_NOT_OPEN)."""
    row = _open(tx, merchant, report)
    new = _new_lines(tx, row, lines)
    if not new:
        return Read(0, 0, ())
    known = Known(tx.connection, merchant, row.processor, new)
    if _settle_awaited(tx, known, new, settle):  # (3)
        known = Known(tx.connection, merchant, row.processor, new)
    breaks: list[str] = []
    for line in new:
        verdict = known.judge(line)
        _keep(tx, row, line, verdict)
        entry = _book(tx, row, line, verdict)
        if verdict.code is not None:
            breaks.append(_break(tx, row, verdict, line, entry))
        elif verdict.charge is not None and line.type is LineType.CHARGE:
            explain_missing(tx, row.merchant, row.processor, verdict.charge, report=row.id)
    matched = len(new) - len(breaks)
    _count(tx, row, new, matched)
    counted: dict[str, str | int | bool] = {"lines": len(new), "matched": matched, "breaks": len(breaks)}
    tx.record(_event(EventType.SETTLEMENT_MATCHED, row.id, merchant, actor, {**counted, "processor": row.processor}))
    return Read(len(new), matched, tuple(breaks))


def judge(connection: Any, merchant: str, processor: str, lines: Sequence[Line]) -> list[Verdict]:
    """What a batch would come to, without anything being written or settled: each line by itself and those before it."""
    tx = Transaction(connection, 0)
    known_ids = _known_ids(tx, merchant, processor, lines)
    known = Known(connection, merchant, processor, lines)
    return [known.judge(line) for line in lines if line.reported_id not in known_ids]


def finish(tx: Transaction, merchant: str, report: str, actor: str) -> Read:
    """Ends a report: what was captured in its time and stands in none is a break. Raises ZoneRefusal(SETTLEMENT_NOT_OPEN)."""
    row = _open(tx, merchant, report)
    breaks = [
        _break(tx, row, Verdict(Code.MISSING_AT_PROCESSOR, one.id, ours_minor=one.captured_minor), None, None, one)
        for one in _unreported(tx, row)
    ]
    tx.execute(update(settlement).where(settlement.c.id == row.id).values(state=FINISHED, finished_ms=tx.now_ms))
    counted: dict[str, str | int | bool] = {"lines": row.lines, "matched": row.matched, "breaks": len(breaks)}
    tx.record(_event(EventType.SETTLEMENT_FINISHED, row.id, merchant, actor, {**counted, "processor": row.processor}))
    return Read(row.lines, row.matched, tuple(breaks))


def _report(tx: Transaction, merchant: str, processor: str, digest: str) -> "Row[Any] | None":
    s = settlement.c
    return tx.execute(
        select(settlement).where(s.merchant == merchant, s.processor == processor, s.digest == digest)
    ).first()


def _open(tx: Transaction, merchant: str, report: str) -> "Row[Any]":
    s = settlement.c
    row = tx.execute(select(settlement).where(s.id == report, s.merchant == merchant, s.state == READING)).first()
    if row is None:
        raise ZoneRefusal(ZoneError.SETTLEMENT_NOT_OPEN)
    return row


def _known_ids(tx: Transaction, merchant: str, processor: str, lines: Sequence[Line]) -> set[str]:
    line = settlement_line.c
    return set(
        tx.execute(
            select(line.reported_id).where(
                line.merchant == merchant,
                line.processor == processor,
                line.reported_id.in_({one.reported_id for one in lines}),
            )
        ).scalars()
    )


def _new_lines(tx: Transaction, row: "Row[Any]", lines: Sequence[Line]) -> list[Line]:
    """(1) The lines that no report brought before, each once."""
    known = _known_ids(tx, row.merchant, row.processor, lines)
    return list({line.reported_id: line for line in reversed(lines) if line.reported_id not in known}.values())[::-1]


def _settle_awaited(tx: Transaction, known: Known, lines: Sequence[Line], settle: SettleFromReport) -> bool:
    """(3) Whether any charge was settled."""
    settled = False
    for line in lines:
        found = known.charge_of(line) if line.type is LineType.CHARGE else None
        is_awaited = found is not None and found.state in AWAITED and found.currency == line.currency
        if found is not None and is_awaited and line.gross_minor > 0:
            theirs = found.processor_charge or next(iter(line.processor_ids), None)
            settle(tx, found.id, ProcessorAnswer(Outcome.SUCCEEDED, theirs, captured_minor=line.gross_minor))
            settled = True
    return settled


def _keep(tx: Transaction, row: "Row[Any]", line: Line, verdict: Verdict) -> None:
    tx.execute(
        settlement_line.insert().values(
            merchant=row.merchant,
            processor=row.processor,
            reported_id=line.reported_id,
            settlement=row.id,
            type=line.type,
            charge_id=verdict.charge,
            modification_id=verdict.modification,
            gross_minor=line.gross_minor,
            fee_minor=line.fee_minor,
            net_minor=line.net_minor,
            currency=line.currency,
            payout=line.payout,
            created_ms=line.created_seconds * 1000,
            reference=line.reference,
            processor_ids=json.dumps(line.processor_ids),
            ours_minor=verdict.ours_minor,
        )
    )


def _book(tx: Transaction, row: "Row[Any]", line: Line, verdict: Verdict) -> str | None:
    """(4) Tells the books of the line; returns the entry in suspense, if it left one."""

    def told(gain: type[BooksEvent], loss: type[BooksEvent], amount_minor: int) -> str | None:
        if amount_minor == 0:
            return None
        fact = gain if amount_minor > 0 else loss
        money = Money(abs(amount_minor), line.currency)
        return record(tx, fact(row.merchant, verdict.charge, line.reported_id, money, row.processor)).entry

    if line.type is LineType.PAYOUT:
        told(PayoutReturned, PaidOut, line.gross_minor)
        told(FeeReturned, FeeCharged, -line.fee_minor)
        return None
    if line.type is LineType.FEE:
        told(FeeReturned, FeeCharged, line.net_minor)
        return None
    told(FeeReturned, FeeCharged, -line.fee_minor)
    return (
        None if verdict.code is None else told(UnexplainedGain, UnexplainedLoss, line.gross_minor - verdict.ours_minor)
    )


def _break(
    tx: Transaction,
    row: "Row[Any]",
    verdict: Verdict,
    line: Line | None,
    entry: str | None,
    unreported: "Row[Any] | None" = None,
) -> str:
    """(5) Writes the break down; returns its id."""
    made = new_id("brk")
    tx.execute(
        settlement_break.insert().values(
            id=made,
            settlement=row.id,
            merchant=row.merchant,
            processor=row.processor,
            code=verdict.code,
            subject=line.reported_id if line else verdict.charge,
            charge_id=verdict.charge,
            ours_minor=verdict.ours_minor,
            theirs_minor=line.gross_minor if line else None,
            currency=line.currency if line else unreported.currency if unreported is not None else "",
            entry=entry,
            found_ms=tx.now_ms,
        )
    )
    return made


def explain_missing(tx: Transaction, merchant: str, processor: str, charge_id: str, *, report: str) -> None:
    """(5) A charge that an earlier report left out is in this one."""
    b = settlement_break.c
    tx.execute(
        update(settlement_break)
        .where(
            b.merchant == merchant,
            b.processor == processor,
            b.code == Code.MISSING_AT_PROCESSOR,
            b.subject == charge_id,
            b.resolved_ms.is_(None),
        )
        .values(resolved_ms=tx.now_ms, resolved_by="service:vault_zone", reason=f"in report {report}")
    )


def _count(tx: Transaction, row: "Row[Any]", lines: Sequence[Line], matched: int) -> None:
    times = [line.created_seconds * 1000 for line in lines]
    tx.execute(
        update(settlement)
        .where(settlement.c.id == row.id)
        .values(
            lines=row.lines + len(lines),
            matched=row.matched + matched,
            first_ms=min(times if row.first_ms is None else [*times, row.first_ms]),
            last_ms=max(times if row.last_ms is None else [*times, row.last_ms]),
        )
    )


def _unreported(tx: Transaction, row: "Row[Any]") -> "Sequence[Row[Any]]":
    """Charges captured well within the report's time that stand in no report, and are not a break already."""
    if row.first_ms is None or row.last_ms is None:
        return ()
    c, line, b = charge.c, settlement_line.c, settlement_break.c
    reported = exists().where(line.charge_id == c.id, line.type == LineType.CHARGE)
    found_before = exists().where(b.subject == c.id, b.code == Code.MISSING_AT_PROCESSOR)
    return tx.execute(
        select(charge)
        .where(
            c.merchant == row.merchant,
            c.processor == row.processor,
            c.state == ChargeState.SUCCEEDED,
            c.captured_minor > 0,
            c.changed_ms.between(row.first_ms, row.last_ms - GRACE_MS),
            ~reported,
            ~found_before,
        )
        .order_by(c.changed_ms)
        .limit(MISSING_LIMIT)
    ).all()


def _event(kind: EventType, resource: str, merchant: str, actor: str, data: dict[str, str | int | bool]) -> Event:
    return Event(
        type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=resource, merchant=merchant, data=data
    )
