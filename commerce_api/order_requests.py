"""What a shopper asks for about an order: to cancel it, or to send something back. A person of the brand's decides.

What holds:
 1. A request is about an order that who asks may see, and about products that are in it.
 2. An order has at most one open request of a kind; asking again gives that one. The database enforces it.
 3. A request moves no money and changes no order: what is given back is an operator's act (refunds.py).
 4. An answer is given once.
"""

import json
from typing import Any, Final, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN, Brand
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order_request
from commerce_api.orders import find_order
from commerce_api.schemas import OrderRequestGiven
from tokenization.ids import new_id

OPEN: Final = "open"
OPERATOR: Final = "operator"
Answer = Literal["accepted", "declined"]


def ask(tx: Transaction, brand: Brand, caller: Caller, order_id: str, given: OrderRequestGiven) -> "Row[Any]":
    """The open request of this kind, or a new one. Raises ORDER_UNKNOWN, ORDER_LINE_UNKNOWN, ORDER_REFUNDED."""
    document = find_order(tx.connection, brand, order_id, caller)  # (1)
    known = tx.execute(_open_one(order_id, given.kind)).first()
    if known is not None:
        return known  # (2)
    if document["captured_minor"] and document["refunded_minor"] >= document["captured_minor"]:
        raise CommerceRefusal(CommerceError.ORDER_REFUNDED)
    variants = sorted(set(given.variant_ids or ()))
    if not {line["variant_id"] for line in document["lines"]}.issuperset(variants):
        raise CommerceRefusal(CommerceError.ORDER_LINE_UNKNOWN)
    made = tx.execute(
        insert(order_request)
        .values(
            id=new_id("orq"),
            order_id=order_id,
            brand=brand.id,
            kind=given.kind,
            reason=given.reason,
            variants=json.dumps(variants),
            principal=caller.principal,
            channel=caller.channel,
            state=OPEN,
            created_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
        .returning(*order_request.c)
    ).one()
    data = {
        "operation": made.id,
        "kind": given.kind,
        "reason": given.reason,
        "variants": len(variants),
        "channel": caller.channel,
    }
    _record(tx, made, EventType.ORDER_REQUEST_MADE, caller.principal, data)
    return made


def answer(tx: Transaction, brand: str, request_id: str, said: Answer) -> "Row[Any]":
    """Writes what the merchant decided (4). Raises CommerceRefusal(ORDER_UNKNOWN) where there is no such open request."""
    row = tx.execute(
        update(order_request)
        .where(order_request.c.id == request_id, order_request.c.brand == brand, order_request.c.state == OPEN)
        .values(state=said, changed_ms=tx.now_ms)
        .returning(*order_request.c)
    ).first()
    if row is None:
        raise CommerceRefusal(CommerceError.ORDER_UNKNOWN)
    data: dict[str, str | int | bool] = {"operation": row.id, "kind": row.kind, "state": said}
    _record(tx, row, EventType.ORDER_REQUEST_ANSWERED, OPERATOR, data)
    return row


def requests_of(connection: Connection, order_id: str) -> "list[Row[Any]]":
    """An order's requests, oldest first."""
    query = select(order_request).where(order_request.c.order_id == order_id)
    return list(connection.execute(query.order_by(order_request.c.created_ms, order_request.c.id)).all())


def open_requests(connection: Connection, brand: str, limit: int = 100) -> "list[Row[Any]]":
    """A brand's requests that wait for an answer, oldest first."""
    query = select(order_request).where(order_request.c.brand == brand, order_request.c.state == OPEN)
    return list(connection.execute(query.order_by(order_request.c.created_ms, order_request.c.id).limit(limit)).all())


def _open_one(order_id: str, kind: str) -> Any:
    return select(order_request).where(
        order_request.c.order_id == order_id, order_request.c.kind == kind, order_request.c.state == OPEN
    )


def _record(tx: Transaction, row: "Row[Any]", kind: EventType, actor: str, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=row.order_id,
            merchant=row.brand,
            data=data,
        )
    )
