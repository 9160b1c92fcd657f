"""What became of an order's money after it was placed: captured, refunded, disputed, as the zone's record says.

What holds:
 1. The zone is asked; what a notice or a caller claims is never written here.
 2. An answer is written only over what was known before it was asked for. Else an older one could come after a newer one: then
    the zone is asked again. One that changes no amount is a newer answer all the same, and older ones no longer count.
 3. The order's amounts, what they mean for its offer and for the bill, and the event commit together.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api.billing import outcomes as billing
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import order
from commerce_api.offering import outcomes
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.wire import Charge

ATTEMPTS_MAXIMUM: Final = 8  # each but the last was overtaken by somebody who wrote: so many at once are no accident


class OrderMoney(NamedTuple):
    """Amounts in minor units of the order's currency."""

    captured_minor: int
    refunded_minor: int
    disputed_minor: int


async def refresh(database: Database, vault: VaultClient, merchant: str, payment: str) -> None:
    """Brings an order's amounts up to the zone's record.

    Raises CommerceRefusal: PAYMENT_UNAVAILABLE, or BUSY where others kept changing it. Then nothing changed here.
    """
    for _ in range(ATTEMPTS_MAXIMUM):
        if await _brought_up(database, vault, merchant, payment):
            return
    raise CommerceRefusal(CommerceError.BUSY)


async def _brought_up(database: Database, vault: VaultClient, merchant: str, payment: str) -> bool:
    """Asks and writes once. False where somebody wrote between the two (2)."""
    known = await database.read(lambda connection: _known(connection, merchant, payment))
    if known is None:
        return True  # no order came of it (yet): the one that is placed begins with the charge's amounts
    try:
        charge = await vault.find_charge(merchant, payment)  # (1)
    except (VaultUnavailable, VaultRefused):
        raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
    if charge is None:
        return True
    if money_of(charge) == _money(known):
        return await database.maintain(lambda tx: _is_newest(tx, known))
    return await database.change(lambda tx: _write(tx, merchant, charge, known))


def money_of(charge: Charge) -> OrderMoney:
    """The amounts of a charge."""
    return OrderMoney(charge.captured_minor, charge.refunded_minor, charge.disputed_minor)


def pass_on(
    tx: Transaction,
    merchant: str,
    order_id: str,
    document: dict[str, Any],
    charge: Charge,
    *,
    before: OrderMoney,
    change: int,
) -> None:
    """What went back of an order's money, is disputed, or was restored, reaches its offer and its bill (3).

    ``change`` is the order's ``money_version`` with it: each is told to the offer once, and another of the same size too.
    """
    for outcome, amount_minor in _changed(charge, before):
        outcomes.given_back(tx, merchant, document, order_id, outcome, amount_minor, change)
    gone_minor = charge.refunded_minor + charge.disputed_minor
    billing.given_back(tx, merchant, order_id, gone_minor, _reason(charge, before))


def _changed(charge: Charge, before: OrderMoney) -> Iterator[tuple[outcomes.Gone, int]]:
    """What the offer is told: of each amount that is another one, which way it went and what it is."""
    if charge.refunded_minor != before.refunded_minor:
        went_back = charge.refunded_minor > before.refunded_minor
        yield ("refunded" if went_back else "refund_returned"), charge.refunded_minor
    if charge.disputed_minor != before.disputed_minor:
        is_disputed = charge.disputed_minor > before.disputed_minor
        yield ("chargeback" if is_disputed else "dispute_won"), charge.disputed_minor


def _known(connection: Connection, merchant: str, payment: str) -> "Row[Any] | None":
    return connection.execute(select(order).where(order.c.brand == merchant, order.c.payment == payment)).first()


def _money(row: "Row[Any]") -> OrderMoney:
    return OrderMoney(row.captured_minor, row.refunded_minor, row.disputed_minor)


def _reason(charge: Charge, before: OrderMoney) -> str:
    """What an auditor reads of the change."""
    if charge.refunded_minor < before.refunded_minor:
        return "refund_returned"
    return "disputed" if charge.disputed_minor else "refunded" if charge.refunded_minor else "captured"


def _as_known(known: "Row[Any]") -> ColumnElement[bool]:
    """(2) By version: amounts may go and come back."""
    unchanged: ColumnElement[bool] = order.c.money_version == known.money_version
    return unchanged


def _is_newest(tx: Transaction, known: "Row[Any]", **changed: int) -> bool:
    """(2) Makes this answer the newest, unless somebody wrote since it was asked for."""
    newer = update(order).where(order.c.id == known.id, _as_known(known))
    return tx.execute(newer.values(money_version=known.money_version + 1, **changed)).rowcount == 1


def _write(tx: Transaction, merchant: str, charge: Charge, known: "Row[Any]") -> bool:
    if not _is_newest(tx, known, **money_of(charge)._asdict(), money_changed_ms=tx.now_ms):
        return False
    document = json.loads(known.document)
    pass_on(tx, merchant, known.id, document, charge, before=_money(known), change=known.money_version + 1)
    tx.record(
        Event(
            type=EventType.ORDER_MONEY_CHANGED,
            outcome="success",
            actor="service:commerce",
            origin=ORIGIN,
            resource=known.id,
            merchant=merchant,
            data={
                "payment": charge.payment,
                "charge": charge.charge,
                "amount_minor": charge.captured_minor - charge.refunded_minor - charge.disputed_minor,
                "currency": charge.currency,
                "reason": _reason(charge, _money(known)),
            },
        )
    )
    return True
