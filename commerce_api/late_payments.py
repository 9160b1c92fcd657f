"""Money that arrived after its payment counted as failed: it becomes the checkout's order, or goes back. Never neither.

The zone says so when two operators decided that a late success is one (vault_zone/attention.py); before, nothing is done here.
What holds:
 1. Only what the zone says of the charge counts, asked for now.
 2. It becomes an order when the checkout is as the shopper confirmed it: handed off, its total what was charged, stock there.
 3. Otherwise it goes back, and the checkout ends: the zone takes no second charge for it.
 4. Payment, order or return, checkout and their events commit together. A return is written down with the key that the zone is
    asked under before it is asked (I3), and is asked about until the zone says that the money went back.
 5. A return that was refused, or came back, is tried anew under a fresh key.
 6. Another payment of the checkout that waits for the zone is ended with it: the zone refuses it from now on.
"""

from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api import stock
from commerce_api.brands import ORIGIN, find_brand
from commerce_api.checkout import service
from commerce_api.checkout.service import Checkout
from commerce_api.checkout.states import CHANGEABLE, IN_PAYMENT, CheckoutState
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import payment
from commerce_api.offering import outcomes
from commerce_api.orders import place_order
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.clock import Clock
from tokenization.ids import new_id
from tokenization.wire import (
    Charge,
    ChargeState,
    Modification,
    ModificationKind,
    ModificationRequest,
    ModificationState,
)

SERVICE: Final = "service:commerce"
ALREADY_CHARGED: Final = (
    "checkout_already_charged"  # the zone's word when another payment of the checkout took the money
)
RETURNING, RETURNED = "returning", "returned"
REASON: Final = "paid_late"
ASK_AGAIN_SECONDS: Final = 60  # about a return that has not ended
TRY_AGAIN_SECONDS: Final = 600  # one that was refused
log = structlog.get_logger("commerce_api")
_ENDED: Final = ("declined", "failed")
_TOOK_MONEY: Final = (ChargeState.SUCCEEDED, ChargeState.AUTHORIZED)
_NOT_DONE: Final = (ModificationState.DECLINED, ModificationState.FAILED, ModificationState.RETURNED)


@dataclass(frozen=True, slots=True)
class LatePayments:
    """Settles payments whose money came late."""

    database: Database
    vault: VaultClient
    offer_key: bytes
    clock: Clock

    async def take_up(self, brand: str, payment_id: str) -> bool:
        """Settles a payment if the zone says that it took money after it had ended here; whether it did, now or before.

        Raises CommerceRefusal(PAYMENT_UNAVAILABLE); then it is to be called again.
        """
        row = await self.database.read(lambda connection: _payment(connection, brand, payment_id))
        if row is None:
            return False
        try:
            if row.state == RETURNED:
                return await self._look_again(row)
            if row.state not in _ENDED:
                return bool(row.state == RETURNING)
            charge = await self.vault.find_charge(brand, payment_id)  # (1)
        except (VaultUnavailable, VaultRefused):
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
        if charge is None or not _holds_money(charge):
            return False
        try:
            await self.database.change(lambda tx: self._settle(tx, row, charge, may_order=True))
        except CommerceRefusal as refusal:
            if refusal.kind is not CommerceError.OUT_OF_STOCK:
                raise
            await self.database.change(lambda tx: self._settle(tx, row, charge, may_order=False))  # (2) sold meanwhile
        return True

    async def take_up_of(self, brand: str, checkout_id: str) -> bool:
        """As take_up(), of whichever ended payment of the checkout took the money."""
        ended = select(payment.c.id).where(payment.c.checkout == checkout_id, payment.c.state.in_(_ENDED))
        newest = ended.order_by(payment.c.created_ms.desc())
        ids = await self.database.read(lambda connection: connection.execute(newest).scalars().all())
        for one in ids:
            if await self.take_up(brand, one):
                return True
        return False

    async def give_back_due(self, limit: int) -> int:
        """Asks the zone about returns whose turn it is; returns how many. Raises CommerceRefusal(PAYMENT_UNAVAILABLE)."""
        now_ms = self.clock()
        if not await self.database.read(lambda connection: _due(connection, now_ms, 1)):
            return 0
        rows = await self.database.maintain(lambda tx: _take_turns(tx, limit))
        for row in rows:
            try:
                said = await self._ask(row)
            except VaultRefused as refused:  # withheld by a dispute, say: asked again when its next turn comes
                log.error("payment_not_given_back", payment=row.id, reason=refused.code)
                continue
            except VaultUnavailable:
                raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
            await self.database.change(lambda tx, row=row, said=said: _returned(tx, row, said))  # type: ignore[misc]
        return len(rows)

    async def _ask(self, row: "Row[Any]") -> Modification | None:
        """What became of the return, or None when the zone did nothing and there is nothing to give back any more."""
        charge = await self.vault.find_charge(row.brand, row.id)
        if charge is None or not _holds_money(charge):
            return None
        return await self.vault.modify(
            ModificationRequest(
                request=row.return_request,
                merchant=row.brand,
                payment=row.id,
                kind=ModificationKind.VOID if charge.state is ChargeState.AUTHORIZED else ModificationKind.REFUND,
                reason=REASON,
            )
        )

    async def _look_again(self, row: "Row[Any]") -> bool:
        """(5) A return that had ended may have come back."""
        said = await self.vault.find_modification(row.brand, row.return_request)
        if said is not None and said.state in _NOT_DONE:
            await self.database.change(lambda tx: _returned(tx, row, said))
        return True

    def _settle(self, tx: Transaction, row: "Row[Any]", charge: Charge, *, may_order: bool) -> None:
        """(4) The payment's end, in one transaction. Raises CommerceRefusal: OUT_OF_STOCK, BUSY."""
        fresh = _payment(tx.connection, row.brand, row.id)
        if fresh is None or fresh.state not in _ENDED:
            return  # somebody else was first
        current = self._load(tx, row)
        others = (payment.c.checkout == row.checkout, payment.c.state.in_(("pending", "action_required")))
        ended = {"state": "failed", "decline_code": ALREADY_CHARGED, "action_url": None, "changed_ms": tx.now_ms}
        tx.execute(update(payment).where(*others).values(ended))  # (6)
        if may_order and _is_as_confirmed(current, charge):
            self._order(tx, row, current, charge)
        else:
            self._give_back(tx, row, current)

    def _order(self, tx: Transaction, row: "Row[Any]", current: Checkout, charge: Charge) -> None:
        stock.pin(tx, brand=row.brand, checkout=row.checkout, quantities=current.quantities)
        if current.state is CheckoutState.ESCALATED:
            service.write(tx, current, state=CheckoutState.PROCESSING)
            current = self._load(tx, row)
        settled = {"state": "succeeded", "charge": charge.charge, "decline_code": None, "changed_ms": tx.now_ms}
        tx.execute(update(payment).where(payment.c.id == row.id).values(settled))
        order_id = place_order(tx, current, charge, self.offer_key)
        stock.sell(tx, row.checkout)
        service.write(tx, current, state=CheckoutState.COMPLETED, order_id=order_id)
        _record(tx, row, "success", {"charge": charge.charge, "order": order_id, "reason": REASON})
        service.record(tx, EventType.CHECKOUT_COMPLETED, row.brand, row.checkout, SERVICE, {"order": order_id})

    def _give_back(self, tx: Transaction, row: "Row[Any]", current: Checkout) -> None:
        """(3) (4)"""
        begun = {
            "state": RETURNING,
            "return_request": new_id("req"),
            "return_due_ms": tx.now_ms,
            "changed_ms": tx.now_ms,
        }
        tx.execute(update(payment).where(payment.c.id == row.id).values(begun))
        _record(tx, row, "success", {"state": RETURNING, "reason": REASON})
        if current.state in IN_PAYMENT:
            service.write(tx, current, state=CheckoutState.ESCALATED)
            current = self._load(tx, row)
        if current.state in CHANGEABLE:
            stock.release(tx, brand=row.brand, checkout=row.checkout)
            outcomes.let_go(tx, row.checkout)
            service.write(tx, current, state=CheckoutState.CANCELED)
            service.record(tx, EventType.CHECKOUT_CANCELED, row.brand, row.checkout, SERVICE, {"reason": REASON})

    def _load(self, tx: Transaction, row: "Row[Any]") -> Checkout:
        brand = find_brand(tx.connection, row.brand)
        return service.load(tx.connection, brand, row.checkout, None, self.offer_key, tx.now_ms, as_stored=True)


def _is_as_confirmed(current: Checkout, charge: Charge) -> bool:
    """(2) A change takes a checkout out of the shopper's hands: one that is there is as it was confirmed."""
    in_hands = current.state is CheckoutState.ESCALATED or current.state in IN_PAYMENT
    same = (current.priced.totals.total_minor, current.brand.currency) == (charge.amount_minor, charge.currency)
    whole = charge.refunded_minor == 0 and charge.disputed_minor == 0
    return in_hands and same and whole and charge.state is ChargeState.SUCCEEDED


def _holds_money(charge: Charge) -> bool:
    given_back = 0 < charge.captured_minor == charge.refunded_minor
    return charge.state in _TOOK_MONEY and not given_back


def _payment(connection: Connection, brand: str, payment_id: str) -> "Row[Any] | None":
    wanted = select(payment).where(payment.c.id == payment_id, payment.c.brand == brand)
    return connection.execute(wanted).first()


def _due(connection: Connection, now_ms: int, limit: int) -> "list[Row[Any]]":
    """Returns whose turn it is."""
    wanted = select(payment).where(payment.c.return_due_ms <= now_ms).order_by(payment.c.return_due_ms).limit(limit)
    return list(connection.execute(wanted).all())


def _take_turns(tx: Transaction, limit: int) -> "list[Row[Any]]":
    """As _due(). Each has its next turn later, whatever comes of this one: none keeps the others waiting."""
    rows = _due(tx.connection, tx.now_ms, limit)
    later = {"return_due_ms": tx.now_ms + ASK_AGAIN_SECONDS * 1000}
    if rows:
        tx.execute(update(payment).where(payment.c.id.in_([row.id for row in rows])).values(later))
    return rows


def _returned(tx: Transaction, row: "Row[Any]", said: Modification | None) -> None:
    """What the zone said of a return; nothing while it does not know the end."""
    same = (payment.c.id == row.id, payment.c.return_request == row.return_request)
    if said is None or said.state is ModificationState.SUCCEEDED:
        done = {"state": RETURNED, "return_due_ms": None, "changed_ms": tx.now_ms}
        if tx.execute(update(payment).where(*same, payment.c.state == RETURNING).values(done)).rowcount == 1:
            _record(tx, row, "success", {"state": RETURNED, "reason": REASON})
    elif said.state in _NOT_DONE:  # (5)
        due_ms = tx.now_ms + TRY_AGAIN_SECONDS * 1000
        anew = {"state": RETURNING, "return_request": new_id("req"), "return_due_ms": due_ms, "changed_ms": tx.now_ms}
        if tx.execute(update(payment).where(*same).values(anew)).rowcount == 1:
            _record(tx, row, "failure", {"state": RETURNING, "reason": said.decline_code or said.state.value})
            log.error("payment_not_given_back", payment=row.id, reason=said.state.value)


def _record(tx: Transaction, row: "Row[Any]", outcome: str, data: dict[str, str | int | bool]) -> None:
    tx.record(
        Event(
            type=EventType.PAYMENT_SETTLED,
            outcome="failure" if outcome == "failure" else "success",
            actor=SERVICE,
            origin=ORIGIN,
            resource=row.id,
            merchant=row.brand,
            data={"checkout": row.checkout, "amount_minor": row.amount_minor, "currency": row.currency, **data},
        )
    )
