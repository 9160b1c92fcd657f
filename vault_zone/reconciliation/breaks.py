"""Where reports and books do not agree: listed by age, and resolved by somebody who says why. The record keeps both."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import ORIGIN
from vault_zone.models import settlement_break

LIST_LIMIT: Final = 200


def open_breaks(
    connection: Connection, merchant: str, *, resolved: bool = False, after: str | None = None
) -> "Sequence[Row[Any]]":
    """The merchant's open breaks, oldest first (or those that were resolved), from behind the break ``after`` on."""
    b = settlement_break.c
    statement = select(settlement_break).where(
        b.merchant == merchant, b.resolved_ms.is_not(None) if resolved else b.resolved_ms.is_(None)
    )
    if after is not None:
        mark = connection.execute(select(b.found_ms).where(b.id == after, b.merchant == merchant)).scalar_one_or_none()
        if mark is None:
            return ()
        statement = statement.where((b.found_ms > mark) | ((b.found_ms == mark) & (b.id > after)))
    return connection.execute(statement.order_by(b.found_ms, b.id).limit(LIST_LIMIT)).all()


def resolve(tx: Transaction, merchant: str, broken: str, reason: str, actor: str) -> "Row[Any]":
    """Writes down who explained the break and how, once. Raises ZoneRefusal: NOT_FOUND, BREAK_NOT_OPEN.

    What it left in suspense stays there until the entry is undone, which takes two people.
    """
    b = settlement_break.c
    mine = (b.id == broken, b.merchant == merchant)
    done = tx.execute(
        update(settlement_break)
        .where(*mine, b.resolved_ms.is_(None))
        .values(resolved_ms=tx.now_ms, resolved_by=actor, reason=reason)
    )
    row = tx.execute(select(settlement_break).where(*mine)).first()
    if row is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    if done.rowcount != 1:
        raise ZoneRefusal(ZoneError.BREAK_NOT_OPEN)
    tx.record(
        Event(
            type=EventType.SETTLEMENT_BREAK_RESOLVED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=broken,
            merchant=merchant,
            data={"settlement": row.settlement, "reason": reason, "processor": row.processor},
        )
    )
    return row
