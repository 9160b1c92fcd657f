"""A merchant's journal, newest first, in pages."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.engine import Connection

from vault_zone.ledger.chain import postings_of
from vault_zone.models import ledger_entry

PAGE_LIMIT: Final = 200


class Entry(NamedTuple):
    """An entry with its postings: (account, amount, balance behind it)."""

    row: "Row[Any]"
    postings: Sequence[tuple[str, int, int]]


def journal(
    connection: Connection, merchant: str, *, charge: str | None = None, before: str | None = None, limit: int = 50
) -> list[Entry]:
    """The newest entries of the merchant, of one charge or of all, from behind the entry ``before`` on."""
    entry = ledger_entry.c
    statement = select(ledger_entry).where(entry.merchant == merchant)
    if charge is not None:
        statement = statement.where(entry.charge_id == charge)
    if before is not None:
        mark = connection.execute(
            select(entry.recorded_ms).where(entry.id == before, entry.merchant == merchant)
        ).scalar_one_or_none()
        if mark is None:
            return []
        statement = statement.where(or_(entry.recorded_ms < mark, and_(entry.recorded_ms == mark, entry.id < before)))
    ordered = statement.order_by(entry.recorded_ms.desc(), entry.id.desc()).limit(min(limit, PAGE_LIMIT))
    rows = connection.execute(ordered).all()
    postings = postings_of(connection, [row.id for row in rows])
    return [
        Entry(row, [(one["kind"], one["amount_minor"], one["balance_minor"]) for one in postings.get(row.id, ())])
        for row in rows
    ]
