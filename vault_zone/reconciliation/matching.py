"""What a line of a report means here: which charge it is about, and whether charges and books say the same.

Nothing is written here; importing.py writes what a verdict calls for. Codes of breaks, as an operator sees them: Code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.engine import Connection

from tokenization.wire import ChargeState, ModificationKind, ModificationState
from vault_zone.ledger.accounts import EntryKind
from vault_zone.models import charge, ledger_entry, modification, settlement_line
from vault_zone.reconciliation.line import Line, LineType


class Code(StrEnum):
    """Why a report and the books do not agree."""

    MISSING_AT_PROCESSOR = "missing_at_processor"  # captured here, in no report of that time
    MISSING_HERE = "missing_here"  # reported, and nothing of it is known here
    AMOUNT_DIFFERS = "amount_differs"
    CURRENCY_DIFFERS = "currency_differs"
    DUPLICATE = "duplicate"  # the same thing was reported before under another id
    UNKNOWN_TYPE = "unknown_type"
    STATE_DIFFERS = "state_differs"  # reported as done, and here it is not


# States that the processor's word is awaited for: its report is that word.
# A report ends these. One that waits for the shopper's bank is a break for a person: a report is one operator's word.
AWAITED = frozenset({ChargeState.PENDING, ChargeState.UNKNOWN})
_OF_REFUND = {
    LineType.REFUND: (ModificationState.SUCCEEDED, ModificationState.RETURNED),
    LineType.REFUND_FAILURE: (ModificationState.RETURNED,),
}
_OF_ACCOUNT = (LineType.FEE, LineType.PAYOUT)
_BOOKED_AS = {LineType.DISPUTE: EntryKind.DISPUTE_OPENED, LineType.DISPUTE_REVERSAL: EntryKind.DISPUTE_WON}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``code`` is None when all agrees.

    ``ours_minor`` is what of the books the line accounts for, with the report's sign: no other line accounts for it too.
    """

    code: Code | None = None
    charge: str | None = None
    modification: str | None = None
    ours_minor: int = 0


class Known:
    """What is known here of the lines of one batch, read with one query a table.

    Lines that were read before count as well, but for those of the batch itself: they are judged again.
    """

    def __init__(self, connection: Connection, merchant: str, processor: str, lines: Sequence[Line]) -> None:
        references = {line.reference for line in lines if line.reference}
        theirs = {one for line in lines for one in line.processor_ids}
        c, m = charge.c, modification.c
        self._modifications = list(
            connection.execute(
                select(modification).where(
                    m.merchant == merchant,
                    m.processor == processor,
                    or_(m.id.in_(references), m.processor_reference.in_(theirs)),
                )
            )
        )
        ids = references | {row.charge_id for row in self._modifications}
        mine = and_(c.merchant == merchant, c.processor == processor)
        self.charges = {
            row.id: row
            for row in connection.execute(
                select(charge).where(mine, or_(c.id.in_(ids), c.processor_charge.in_(theirs)))
            )
        }
        self._captures = _by_charge(
            connection.execute(
                select(modification).where(
                    m.charge_id.in_(self.charges),
                    m.kind == ModificationKind.CAPTURE,
                    m.state == ModificationState.SUCCEEDED,
                )
            )
        )
        self._booked = _by_charge(
            connection.execute(
                select(ledger_entry).where(
                    ledger_entry.c.charge_id.in_(self.charges), ledger_entry.c.kind.in_(_BOOKED_AS.values())
                )
            )
        )
        line = settlement_line.c
        self._reported = _by_charge(
            connection.execute(
                select(settlement_line).where(
                    line.charge_id.in_(self.charges),
                    line.merchant == merchant,
                    line.processor == processor,
                    line.reported_id.not_in({one.reported_id for one in lines}),
                )
            )
        )
        self._added: list[tuple[Line, Verdict]] = []

    def judge(self, line: Line) -> Verdict:
        """What the line means, in the light of those before it."""
        verdict = self._judged(line)
        self._added.append((line, verdict))
        return verdict

    def charge_of(self, line: Line) -> "Row[Any] | None":
        """The charge that the line is about: by our reference, or by the processor's id."""
        if line.reference in self.charges:
            return self.charges[line.reference]
        changed = self._modification_of(line)
        if changed is not None and changed.charge_id in self.charges:
            return self.charges[changed.charge_id]
        return next((row for row in self.charges.values() if row.processor_charge in line.processor_ids), None)

    def _modification_of(self, line: Line) -> "Row[Any] | None":
        kind = ModificationKind.REFUND if line.type in _OF_REFUND else ModificationKind.CAPTURE
        for row in self._modifications:
            if row.kind == kind and (row.id == line.reference or row.processor_reference in line.processor_ids):
                return row
        return None

    def _judged(self, line: Line) -> Verdict:
        if line.type is LineType.UNKNOWN:
            return Verdict(Code.UNKNOWN_TYPE)
        if line.type in _OF_ACCOUNT:
            found = self.charge_of(line)
            return Verdict(charge=found.id if found else None)
        found = self.charge_of(line)
        if found is None:
            return Verdict(Code.MISSING_HERE)
        if found.currency != line.currency:
            return Verdict(Code.CURRENCY_DIFFERS, found.id)
        if line.type is LineType.CHARGE:
            return self._captured(line, found)
        return self._refunded(line, found) if line.type in _OF_REFUND else self._disputed(line, found)

    def _captured(self, line: Line, found: "Row[Any]") -> Verdict:
        if found.state != ChargeState.SUCCEEDED:
            return Verdict(Code.STATE_DIFFERS, found.id)
        left = found.captured_minor - sum(self._accounted(found.id, LineType.CHARGE))
        parts = [row.amount_minor for row in self._captures.get(found.id, ())]
        changed = self._modification_of(line)
        was_reported = changed is not None and changed.id in self._reported_modifications(found.id, LineType.CHARGE)
        if left <= 0 or was_reported:
            return Verdict(Code.DUPLICATE, found.id)
        expected = min(changed.amount_minor, left) if changed is not None else left
        of = changed.id if changed is not None else None
        if line.gross_minor == expected or (line.gross_minor in parts and line.gross_minor <= left):
            return Verdict(None, found.id, of, line.gross_minor)
        return Verdict(Code.AMOUNT_DIFFERS, found.id, of, expected)

    def _refunded(self, line: Line, found: "Row[Any]") -> Verdict:
        """A refund, or that it came back: the same act, with the other sign."""
        changed = self._modification_of(line)
        if changed is None:
            return Verdict(Code.MISSING_HERE, found.id)
        if changed.state not in _OF_REFUND[line.type]:
            return Verdict(Code.STATE_DIFFERS, found.id, changed.id)
        if changed.id in self._reported_modifications(found.id, line.type):
            return Verdict(Code.DUPLICATE, found.id, changed.id)
        ours_minor = -changed.amount_minor if line.type is LineType.REFUND else changed.amount_minor
        code = None if line.gross_minor == ours_minor else Code.AMOUNT_DIFFERS
        return Verdict(code, found.id, changed.id, ours_minor)

    def _disputed(self, line: Line, found: "Row[Any]") -> Verdict:
        booked = [row.amount_minor for row in self._booked.get(found.id, ()) if row.kind == _BOOKED_AS[line.type]]
        before = [abs(amount) for amount in self._accounted(found.id, line.type)]
        for amount in before:
            if amount in booked:
                booked.remove(amount)
        if abs(line.gross_minor) in booked:
            return Verdict(None, found.id, None, line.gross_minor)
        if not booked:
            return Verdict(Code.DUPLICATE if before else Code.MISSING_HERE, found.id)
        sign = 1 if line.gross_minor > 0 else -1
        return Verdict(Code.AMOUNT_DIFFERS, found.id, ours_minor=sign * booked[0])

    def _accounted(self, charge_id: str, kind: LineType) -> list[int]:
        """What other lines of this kind account for of the charge."""
        stored = [row.ours_minor for row in self._reported.get(charge_id, ()) if row.type == kind]
        added = [said.ours_minor for line, said in self._added if said.charge == charge_id and line.type is kind]
        return [amount for amount in (*stored, *added) if amount]

    def _reported_modifications(self, charge_id: str, kind: LineType) -> set[str]:
        """Acts that other lines of this kind account for."""
        reported = self._reported.get(charge_id, ())
        stored = {row.modification_id for row in reported if row.type == kind and row.ours_minor}
        return stored | {
            said.modification
            for line, said in self._added
            if said.charge == charge_id and said.modification and line.type is kind and said.ours_minor
        }


def _by_charge(rows: "Iterable[Row[Any]]") -> "Mapping[str, list[Row[Any]]]":
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.charge_id, []).append(row)
    return found
