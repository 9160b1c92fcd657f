"""Stock: reserved while a shopper pays, given back when they do not, never oversold.

What holds:
 1. ``reserved`` is never more than ``stock``: one conditional UPDATE, and a CHECK in the table behind it.
 2. A checkout's reservation is all of its lines or none.
 3. A reservation past its time counts as free for whoever comes next, and is released by that same transaction.
 4. A sale takes the reserved quantity out of stock in the transaction that makes the order.
 5. Lines whose feed does not count stock are sold while the feed calls them available.
"""

from collections.abc import Mapping

from sqlalchemy import delete, func, insert, or_, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import reservation, variant

ORIGIN = "commerce_api"
NEVER_MS = 2**53  # a reservation that is being paid for does not end by time


def reserve(tx: Transaction, *, brand: str, checkout: str, quantities: Mapping[str, int], expires_ms: int) -> None:
    """Holds these quantities for the checkout until then, in place of what it held. Raises CommerceRefusal(OUT_OF_STOCK)."""
    _give_back(tx, checkout)
    for variant_id, quantity in sorted(quantities.items()):  # one order for all, so that two checkouts cannot deadlock
        _release_overdue(tx, brand, variant_id)  # (3)
        held = tx.execute(
            update(variant)
            .where(
                variant.c.brand == brand,
                variant.c.id == variant_id,
                variant.c.available == 1,  # (5)
                or_(variant.c.stock.is_(None), variant.c.stock - variant.c.reserved >= quantity),  # (1)
            )
            .values(reserved=variant.c.reserved + quantity)
        )
        if held.rowcount != 1:
            raise CommerceRefusal(CommerceError.OUT_OF_STOCK)  # (2) the transaction undoes the other lines
        tx.execute(
            insert(reservation).values(
                checkout=checkout, brand=brand, variant=variant_id, quantity=quantity, expires_ms=expires_ms
            )
        )
    _record(tx, EventType.STOCK_RESERVED, brand, checkout, len(quantities))


def pin(tx: Transaction, *, brand: str, checkout: str, quantities: Mapping[str, int]) -> None:
    """Makes the reservation last until it is sold or released: for a payment that is about to start.

    Raises CommerceRefusal(OUT_OF_STOCK) when it had lapsed and somebody else has the stock now.
    """
    rows = tx.execute(
        select(reservation.c.variant, reservation.c.quantity).where(
            reservation.c.checkout == checkout, reservation.c.expires_ms > tx.now_ms
        )
    )
    held: dict[str, int] = {row.variant: row.quantity for row in rows}
    if held != dict(quantities):
        reserve(tx, brand=brand, checkout=checkout, quantities=quantities, expires_ms=NEVER_MS)
        return
    tx.execute(update(reservation).where(reservation.c.checkout == checkout).values(expires_ms=NEVER_MS))
    _record(tx, EventType.STOCK_RESERVED, brand, checkout, len(quantities))


def hold_until(tx: Transaction, *, checkout: str, expires_ms: int) -> None:
    """Gives what the checkout holds an end again, after pin()."""
    tx.execute(update(reservation).where(reservation.c.checkout == checkout).values(expires_ms=expires_ms))


def sell(tx: Transaction, checkout: str) -> None:
    """Takes what the checkout holds out of stock for good (4)."""
    for row in tx.execute(select(reservation).where(reservation.c.checkout == checkout)).all():
        tx.execute(
            update(variant)
            .where(variant.c.brand == row.brand, variant.c.id == row.variant)
            .values(reserved=variant.c.reserved - row.quantity, stock=variant.c.stock - row.quantity)
        )
    tx.execute(delete(reservation).where(reservation.c.checkout == checkout))


def release(tx: Transaction, *, brand: str, checkout: str) -> None:
    """Gives back what the checkout holds, if it holds anything."""
    if lines := _give_back(tx, checkout):
        _record(tx, EventType.STOCK_RELEASED, brand, checkout, lines)


def release_lapsed(tx: Transaction, limit: int) -> int:
    """Gives back reservations past their time; returns how many checkouts lost theirs."""
    lapsed = tx.execute(
        select(reservation.c.checkout, func.min(reservation.c.brand).label("brand"))
        .where(reservation.c.expires_ms <= tx.now_ms)
        .group_by(reservation.c.checkout)
        .limit(limit)
    ).all()
    for row in lapsed:
        release(tx, brand=row.brand, checkout=row.checkout)
    return len(lapsed)


def _give_back(tx: Transaction, checkout: str) -> int:
    rows = tx.execute(select(reservation).where(reservation.c.checkout == checkout)).all()
    for row in rows:
        tx.execute(
            update(variant)
            .where(variant.c.brand == row.brand, variant.c.id == row.variant)
            .values(reserved=variant.c.reserved - row.quantity)
        )
    if rows:
        tx.execute(delete(reservation).where(reservation.c.checkout == checkout))
    return len(rows)


def _release_overdue(tx: Transaction, brand: str, variant_id: str) -> None:
    overdue = (
        tx.execute(
            select(reservation.c.checkout)
            .where(
                reservation.c.brand == brand, reservation.c.variant == variant_id, reservation.c.expires_ms <= tx.now_ms
            )
            .limit(100)
        )
        .scalars()
        .all()
    )
    for other in overdue:
        release(tx, brand=brand, checkout=other)


def _record(tx: Transaction, kind: EventType, brand: str, checkout: str, lines: int) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor="service:commerce",
            origin=ORIGIN,
            resource=checkout,
            merchant=brand,
            data={"lines": lines},
        )
    )
