"""Step 5, order: made in the transaction that learns that the charge succeeded, from what was priced and paid."""

import json
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.billing import outcomes as billing
from commerce_api.brands import ORIGIN, Brand
from commerce_api.checkout.service import Caller, Checkout
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order
from commerce_api.offering import outcomes
from commerce_api.offering.crediting import credited_with
from commerce_api.order_money import OrderMoney, money_of, pass_on
from tokenization.ids import is_id, new_id
from tokenization.wire import Charge


def place_order(tx: Transaction, paid: Checkout, charge: Charge, offer_key: bytes) -> str:
    """Writes the order of a paid checkout and returns its id. The table allows one order for a checkout and for a payment.

    Of its money some may have gone back already: the zone took it before commerce heard of it.
    """
    identifier = new_id("ord")
    caller = Caller(paid.principal, paid.channel)
    document = {
        **paid.document,
        "priced": paid.priced.stored(),
        "card": {"brand": charge.card.brand, "last4": charge.card.last4},
        "sandbox": charge.sandbox,
        "credited": credited_with(tx.connection, paid.brand.id, caller, paid.document, offer_key, tx.now_ms),
    }
    tx.execute(
        insert(order).values(
            id=identifier,
            brand=paid.brand.id,
            checkout=paid.id,
            payment=charge.payment,
            principal=paid.principal,
            state="confirmed",
            document=json.dumps(document),
            **money_of(charge)._asdict(),
            created_ms=tx.now_ms,
        )
    )
    tx.record(
        Event(
            type=EventType.ORDER_CREATED,
            outcome="success",
            actor="service:commerce",
            origin=ORIGIN,
            resource=identifier,
            merchant=paid.brand.id,
            data={
                "checkout": paid.id,
                "payment": charge.payment,
                "amount_minor": charge.amount_minor,
                "currency": charge.currency,
            },
        )
    )
    outcomes.ordered(tx, paid.brand.id, document, identifier, charge.amount_minor)
    billing.sold(tx, paid.brand.id, document, identifier, charge.amount_minor, paid.channel)
    pass_on(tx, paid.brand.id, identifier, document, charge, before=OrderMoney(charge.captured_minor, 0, 0), change=0)
    return identifier


def find_order(connection: Connection, brand: Brand, identifier: str, caller: Caller | None) -> dict[str, Any]:
    """The order's document with ``id``, ``checkout`` and ``created_ms``. Raises CommerceRefusal(ORDER_UNKNOWN)."""
    row = None
    if is_id(identifier, "ord"):
        row = connection.execute(select(order).where(order.c.id == identifier, order.c.brand == brand.id)).first()
    if row is None or (caller is not None and not caller.may_see(brand.id, row.principal)):
        raise CommerceRefusal(CommerceError.ORDER_UNKNOWN)
    return {
        **json.loads(row.document),
        "id": row.id,
        "checkout": row.checkout,
        "created_ms": row.created_ms,
        "captured_minor": row.captured_minor,
        "refunded_minor": row.refunded_minor,
        "disputed_minor": row.disputed_minor,
    }
