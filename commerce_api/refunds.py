"""Money of an order that goes back because an operator says so: at most once for what was asked, whatever dies between.

What holds:
 1. A refund's id is the zone's request key; refund and state ``asked`` commit before the zone is asked (I3).
 2. A reply that does not come changes nothing: who asks for the same again, asks under the same id.
 3. An order has at most one refund whose outcome is not known. The database enforces it; another one waits.
 4. What came of it is what the zone says; the order's amounts are brought up to the zone's record and never counted here.
 5. One that succeeded may come back later. Then it says so, and the same may be asked for anew.
"""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api.brands import ORIGIN, find_brand
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order, order_refund
from commerce_api.order_money import OrderMoney, refresh
from commerce_api.orders import find_order
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.ids import new_id
from tokenization.wire import Modification, ModificationKind, ModificationRequest, ModificationState

OPERATOR: Final = "operator"
ASKED: Final = "asked"  # the zone may have been asked, and has not said how it ended
REFUSED: Final = "refused"  # the zone did nothing
_OPEN: Final = {ModificationState.PENDING, ModificationState.UNKNOWN}
_MAY_MOVE: Final = (ASKED, ModificationState.ACCEPTED.value, ModificationState.SUCCEEDED.value)  # (5)


class AnotherRefund(Exception):
    """A refund of other content has not ended. ``amount_minor`` and ``reason`` are that one's."""

    def __init__(self, amount_minor: int | None, reason: str) -> None:
        super().__init__(reason)
        self.amount_minor = amount_minor
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as it stands. ``amount_minor`` None: all that was left. ``code`` says why it was declined or refused."""

    id: str
    state: str
    amount_minor: int | None
    reason: str
    code: str | None
    created_ms: int


@dataclass(frozen=True, slots=True)
class OrderShown:
    """An order's amounts by the zone's record, and its refunds, oldest first."""

    id: str
    currency: str
    money: OrderMoney
    is_sandbox: bool
    refunds: tuple[Refund, ...]


@dataclass(frozen=True, slots=True)
class Refunds:
    """Refunds orders through the zone."""

    database: Database
    vault: VaultClient

    async def refund(self, brand: str, order_id: str, amount_minor: int | None, reason: str) -> Refund:
        """Gives back a part, or all that is left with None. The refund as it stands; ``asked`` ends by asking the same again.

        Raises CommerceRefusal (BRAND_UNKNOWN, ORDER_UNKNOWN, PAYMENT_UNAVAILABLE), AnotherRefund.
        """
        try:
            row = await self.database.change(lambda tx: _intend(tx, brand, order_id, amount_minor, reason))  # (1)
        except IntegrityError:  # (3) somebody else began one in this moment
            row = await self.database.change(lambda tx: _intend(tx, brand, order_id, amount_minor, reason))
        asked = ModificationRequest(
            request=row.id,
            merchant=brand,
            payment=row.payment,
            kind=ModificationKind.REFUND,
            amount_minor=row.amount_minor,
            reason=row.reason,
        )
        try:
            said: Modification | VaultRefused = await self.vault.modify(asked)
        except VaultUnavailable:  # (2)
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
        except VaultRefused as refused:
            said = refused
        await self.database.change(lambda tx: _settle(tx, row.id, said))  # (4)
        with contextlib.suppress(
            CommerceRefusal
        ):  # it is done: a zone that is away now must not read as a failure of it
            await refresh(self.database, self.vault, brand, row.payment)
        return await self._read(row.id)

    async def shown(self, brand: str, order_id: str) -> OrderShown:
        """The order with its refunds, each asked about that may have moved.

        Raises CommerceRefusal (BRAND_UNKNOWN, ORDER_UNKNOWN, PAYMENT_UNAVAILABLE).
        """
        known = await self.database.read(lambda connection: _order(connection, brand, order_id))
        await self.follow(brand, known.payment)
        await refresh(self.database, self.vault, brand, known.payment)
        return await self.database.read(lambda connection: _shown(connection, brand, order_id))

    async def follow(self, brand: str, payment: str) -> None:
        """Brings the refunds of a payment up to what the zone says of each. Raises CommerceRefusal(PAYMENT_UNAVAILABLE)."""
        of_payment = select(order_refund.c.id).join(order, order.c.id == order_refund.c.order_id)
        wanted = of_payment.where(
            order.c.brand == brand, order_refund.c.payment == payment, order_refund.c.state.in_(_MAY_MOVE)
        )
        ids = await self.database.read(lambda connection: connection.execute(wanted).scalars().all())
        try:
            for refund in ids:
                said = await self.vault.find_modification(brand, refund)
                if said is not None:
                    await self.database.change(partial(_settle, refund=refund, said=said))
        except (VaultUnavailable, VaultRefused):
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None

    async def _read(self, refund: str) -> Refund:
        query = select(order_refund).where(order_refund.c.id == refund)
        return _refund(await self.database.read(lambda connection: connection.execute(query).one()))


def _shown(connection: Connection, brand_id: str, order_id: str) -> OrderShown:
    brand = find_brand(connection, brand_id)
    document = find_order(connection, brand, order_id, None)
    return OrderShown(
        id=order_id,
        currency=brand.currency,
        money=OrderMoney(document["captured_minor"], document["refunded_minor"], document["disputed_minor"]),
        is_sandbox=document["sandbox"],
        refunds=tuple(map(_refund, _refunds(connection, order_id))),
    )


def _order(connection: Connection, brand: str, order_id: str) -> "Row[Any]":
    find_order(connection, find_brand(connection, brand), order_id, None)
    return connection.execute(select(order).where(order.c.id == order_id)).one()


def _refunds(connection: Connection, order_id: str) -> "list[Row[Any]]":
    query = select(order_refund).where(order_refund.c.order_id == order_id)
    return list(connection.execute(query.order_by(order_refund.c.created_ms, order_refund.c.id)).all())


def _refund(row: "Row[Any]") -> Refund:
    return Refund(row.id, row.state, row.amount_minor, row.reason, row.code, row.created_ms)


def _intend(tx: Transaction, brand: str, order_id: str, amount_minor: int | None, reason: str) -> "Row[Any]":
    """The refund of this order that has not ended, or a new one."""
    known = _order(tx.connection, brand, order_id)
    unended = order_refund.c.state.in_((ASKED, ModificationState.ACCEPTED.value))
    live = tx.execute(select(order_refund).where(order_refund.c.order_id == order_id, unended)).all()
    for row in live:
        if (row.amount_minor, row.reason) == (amount_minor, reason):
            return row  # (2)
    for row in live:
        if row.state == ASKED:  # (3)
            raise AnotherRefund(row.amount_minor, row.reason)
    begun = tx.execute(
        insert(order_refund)
        .values(
            id=new_id("req"),
            order_id=order_id,
            payment=known.payment,
            amount_minor=amount_minor,
            reason=reason,
            state=ASKED,
            created_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
        .returning(*order_refund.c)
    ).one()
    _record(tx, begun, brand, EventType.ORDER_REFUND_ASKED, "success")
    return begun


def _settle(tx: Transaction, refund: str, said: Modification | VaultRefused) -> None:
    """Writes what the zone said, once; nothing while it does not know. Of one that succeeded, that it came back (5)."""
    state = REFUSED if isinstance(said, VaultRefused) else said.state.value
    if isinstance(said, Modification) and said.state in _OPEN:  # (2)
        return
    code = said.code if isinstance(said, VaultRefused) else said.decline_code
    may_follow = _MAY_MOVE if state == ModificationState.RETURNED else (ASKED, ModificationState.ACCEPTED.value)
    row = tx.execute(
        update(order_refund)
        .where(
            order_refund.c.id == refund,
            order_refund.c.state.in_(may_follow),
            order_refund.c.state != state,
        )
        .values(state=state, code=code, changed_ms=tx.now_ms)
        .returning(*order_refund.c)
    ).first()
    if row is not None:
        brand: str = tx.execute(select(order.c.brand).where(order.c.id == row.order_id)).scalar_one()
        is_done = state in (ModificationState.SUCCEEDED, ModificationState.ACCEPTED)
        _record(tx, row, brand, EventType.ORDER_REFUND_SETTLED, "success" if is_done else "failure")


def _record(
    tx: Transaction, row: "Row[Any]", brand: str, kind: EventType, outcome: Literal["success", "failure"]
) -> None:
    amount = {} if row.amount_minor is None else {"amount_minor": row.amount_minor}
    tx.record(
        Event(
            type=kind,
            outcome=outcome,
            actor=OPERATOR,
            origin=ORIGIN,
            resource=row.order_id,
            merchant=brand,
            data={"payment": row.payment, "reason": row.reason, "state": row.state, **amount},
        )
    )
