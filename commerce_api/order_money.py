"""What became of an order's money after it was placed: captured, refunded, disputed, as the zone's record says.

The zone is asked; what a notice or a caller claims is never written here.
"""

import json
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api.billing import outcomes as billing
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order
from commerce_api.offering import outcomes
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.wire import Charge


class OrderMoney(NamedTuple):
    """Amounts in minor units of the order's currency."""

    captured_minor: int
    refunded_minor: int
    disputed_minor: int


async def refresh(database: Database, vault: VaultClient, merchant: str, payment: str) -> None:
    """Brings an order's amounts up to the zone's record. Raises CommerceRefusal(PAYMENT_UNAVAILABLE); then nothing changed."""
    known = await database.read(lambda connection: _money_of(connection, merchant, payment))
    if known is None:
        return  # no order came of it (yet): the one that is placed begins with the charge's amounts
    try:
        charge = await vault.find_charge(merchant, payment)
    except (VaultUnavailable, VaultRefused):
        raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
    if charge is not None and money_of(charge) != known:
        await database.change(lambda tx: _write(tx, merchant, payment, charge, known))


def money_of(charge: Charge) -> OrderMoney:
    """The amounts of a charge."""
    return OrderMoney(charge.captured_minor, charge.refunded_minor, charge.disputed_minor)


def _money_of(connection: Connection, merchant: str, payment: str) -> OrderMoney | None:
    row = connection.execute(
        select(order.c.captured_minor, order.c.refunded_minor, order.c.disputed_minor).where(
            order.c.brand == merchant, order.c.payment == payment
        )
    ).first()
    return OrderMoney._make(row) if row is not None else None


def _reason(charge: Charge, known: OrderMoney) -> str:
    """What an auditor reads of the change."""
    if charge.refunded_minor < known.refunded_minor:
        return "refund_returned"
    return "disputed" if charge.disputed_minor else "refunded" if charge.refunded_minor else "captured"


def _write(tx: Transaction, merchant: str, payment: str, charge: Charge, known: OrderMoney) -> None:
    row = tx.execute(
        update(order)
        .where(order.c.brand == merchant, order.c.payment == payment)
        .values(**money_of(charge)._asdict(), money_changed_ms=tx.now_ms)
        .returning(order.c.id, order.c.document)
    ).first()
    if row is None:
        return
    outcomes.given_back(tx, merchant, json.loads(row.document), charge.refunded_minor, charge.disputed_minor)
    billing.given_back(tx, merchant, row.id, charge.refunded_minor + charge.disputed_minor, _reason(charge, known))
    tx.record(
        Event(
            type=EventType.ORDER_MONEY_CHANGED,
            outcome="success",
            actor="service:commerce",
            origin=ORIGIN,
            resource=row.id,
            merchant=merchant,
            data={
                "payment": payment,
                "charge": charge.charge,
                "amount_minor": charge.captured_minor - charge.refunded_minor - charge.disputed_minor,
                "currency": charge.currency,
                "reason": _reason(charge, known),
            },
        )
    )
