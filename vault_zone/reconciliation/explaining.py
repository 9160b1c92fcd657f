"""A break whose explanation comes later: the report was read before the webhook, the outcome or the decision that it tells of.

A line that does not agree stands in suspense. Once the books hold what it tells of, the two together count it twice: so lines
with an open break are judged again, a few at a time, whatever it was that changed. What holds:
 1. In whatever order a line and what it tells of are learnt, the books end the same: what is explained leaves suspense by the
    opposite entry, and what is left of the difference is booked anew.
 2. Only a break that is open is judged again: what somebody resolved stays as they said.
 3. A line is judged as if it had come last, beside all others that were read.
 4. A pass that finds nothing new writes nothing. Each of its moves is on record, in the transaction that makes it.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, and_, select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.money import Money
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger.events import UnexplainedGain, UnexplainedLoss
from vault_zone.ledger.posting import Outcome, record, reverse
from vault_zone.models import settlement_break, settlement_line
from vault_zone.reconciliation.importing import explain_missing
from vault_zone.reconciliation.line import Line, LineType
from vault_zone.reconciliation.matching import Code, Known, Verdict

PASS_LIMIT: Final = 25  # breaks looked at in one pass
ACTOR: Final = "service:vault_zone"
EXPLAINED: Final = "explained by what was learnt since"
# What may be explained by what is learnt later. A currency, and a word that is not known, stay what they are.
_MAY_CHANGE: Final = (Code.MISSING_HERE, Code.AMOUNT_DIFFERS, Code.DUPLICATE, Code.STATE_DIFFERS)
_Judged = tuple["Row[Any]", Line, Verdict]


class Explaining:
    """Judges open breaks again, a pass at a time, each pass going on behind the last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = ""

    async def look(self) -> int:
        """One pass; returns how many breaks it resolved or changed."""
        after = self._after
        found = await self._database.read(lambda connection: _open(connection, after))
        self._after = found[-1].id if len(found) == PASS_LIMIT else ""
        ids = [row.id for row in found]
        if not ids or not await self._database.read(lambda connection: _changed(connection, ids)):  # (4)
            return 0
        return await self._database.change(lambda tx: explain(tx, ids))


def explain(tx: Transaction, breaks: Sequence[str]) -> int:
    """Judges these breaks again, and moves those that are not what they were; returns how many."""
    changed = _changed(tx.connection, breaks)
    for row, line, verdict in changed:
        _move(tx, row, line, verdict)
    return len(changed)


def _open(connection: Connection, after: str) -> "Sequence[Row[Any]]":
    b = settlement_break.c
    wanted = select(b.id).where(b.resolved_ms.is_(None), b.code.in_(_MAY_CHANGE), b.id > after)  # (2)
    return connection.execute(wanted.order_by(b.id).limit(PASS_LIMIT)).all()


def _changed(connection: Connection, breaks: Sequence[str]) -> list[_Judged]:
    """(3) Those of the breaks that are not what they were, each with its line and what it is now."""
    b, line = settlement_break.c, settlement_line.c
    its_line = and_(line.merchant == b.merchant, line.processor == b.processor, line.reported_id == b.subject)
    columns = (line.reported_id, line.type, line.reference, line.processor_ids, line.modification_id, line.gross_minor)
    others = (line.fee_minor, line.net_minor, line.payout, line.created_ms, line.charge_id.label("line_charge"))
    rows = connection.execute(
        select(settlement_break, *columns, *others)
        .join(settlement_line, its_line)
        .where(b.id.in_(breaks), b.resolved_ms.is_(None), b.code.in_(_MAY_CHANGE))
        .order_by(line.created_ms, line.reported_id)
    ).all()
    accounts: dict[tuple[str, str], list[tuple[Row[Any], Line]]] = defaultdict(list)
    for row in rows:
        accounts[row.merchant, row.processor].append((row, _line(row)))
    changed: list[_Judged] = []
    for (merchant, processor), told in accounts.items():
        known = Known(connection, merchant, processor, [line for _, line in told])
        judged = [(row, line, known.judge(line)) for row, line in told]
        changed += [one for one in judged if _is_another(one[0], one[2])]
    return changed


def _line(row: "Row[Any]") -> Line:
    return Line(
        reported_id=row.reported_id,
        type=LineType(row.type),
        reference=row.reference or row.modification_id or row.line_charge,
        processor_ids=tuple(json.loads(row.processor_ids)),
        gross_minor=row.gross_minor,
        fee_minor=row.fee_minor,
        net_minor=row.net_minor,
        currency=row.currency,
        created_seconds=row.created_ms // 1000,
        payout=row.payout,
    )


def _is_another(row: "Row[Any]", verdict: Verdict) -> bool:
    return (row.code, row.ours_minor, row.charge_id) != (verdict.code, verdict.ours_minor, verdict.charge)


def _move(tx: Transaction, row: "Row[Any]", line: Line, verdict: Verdict) -> None:
    """(1) (4) The line, its entry in suspense and its break become what they are now."""
    if row.entry is not None:
        undone = reverse(tx, row.entry, row.merchant)
        if undone.outcome is Outcome.REFUSED:
            return
        _record(tx, EventType.LEDGER_REVERSED, row, row.entry, {"entry": undone.entry or ""})
    left_minor = line.gross_minor - verdict.ours_minor if verdict.code is not None else 0
    entry = None
    if left_minor:
        fact = UnexplainedGain if left_minor > 0 else UnexplainedLoss
        money, source = (
            Money(abs(left_minor), line.currency),
            row.entry or row.id,
        )  # the line's own stands for the first
        entry = record(tx, fact(row.merchant, verdict.charge, source, money, row.processor)).entry
    of = settlement_line.c
    tx.execute(
        update(settlement_line)
        .where(of.merchant == row.merchant, of.processor == row.processor, of.reported_id == row.reported_id)
        .values(charge_id=verdict.charge, modification_id=verdict.modification, ours_minor=verdict.ours_minor)
    )
    its_break = update(settlement_break).where(settlement_break.c.id == row.id)
    if verdict.code is None:
        tx.execute(
            its_break.values(resolved_ms=tx.now_ms, resolved_by=ACTOR, reason=EXPLAINED, charge_id=verdict.charge)
        )
        data: dict[str, str | int | bool] = {"reason": EXPLAINED}
        _record(tx, EventType.SETTLEMENT_BREAK_RESOLVED, row, row.id, data | _of(row))
        if verdict.charge is not None and line.type is LineType.CHARGE:
            explain_missing(tx, row.merchant, row.processor, verdict.charge, report=row.settlement)
        return
    now = {"code": verdict.code, "ours_minor": verdict.ours_minor, "charge_id": verdict.charge, "entry": entry}
    tx.execute(its_break.values(now))
    moved: dict[str, str | int | bool] = {"from": row.code, "to": verdict.code.value}
    _record(tx, EventType.SETTLEMENT_BREAK_CHANGED, row, row.id, moved | _of(row))


def _of(row: "Row[Any]") -> dict[str, str | int | bool]:
    return {"settlement": row.settlement, "processor": row.processor}


def _record(
    tx: Transaction, kind: EventType, row: "Row[Any]", resource: str, data: dict[str, str | int | bool]
) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=ACTOR,
            origin=ORIGIN,
            resource=resource,
            merchant=row.merchant,
            data=data,
        )
    )
