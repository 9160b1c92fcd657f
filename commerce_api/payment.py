"""Steps 4 and 5 seen from commerce: a captured card becomes a charge becomes an order, at most once, whatever dies between.

What holds:
 1. The payment's id is the charge's idempotency key; payment and state ``processing`` commit before the zone is asked (I3).
 2. A reply that does not come changes nothing: the same payment is asked about again, by whoever comes next.
 3. A checkout has at most one payment that took, or may yet take, money. The database enforces it.
 4. What is charged is the total that the card page showed; a total that changed since it was last counted is shown first.
 5. The stock is held before the charge starts and until its outcome is known.
 6. Outcome, order, sold stock and their events commit together.
 7. After a decline the checkout is the shopper's again: another card, a new link, a new payment.
 8. Where the zone says that the checkout is charged already, the payment ends, and the one that took the money is taken up
    (late_payments.py).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from commerce_api import stock
from commerce_api.brands import ORIGIN, Brand, find_brand
from commerce_api.checkout import service
from commerce_api.checkout.pricing import Priced, price
from commerce_api.checkout.service import Checkout
from commerce_api.checkout.states import CHANGEABLE, IN_PAYMENT, CheckoutState
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.late_payments import ALREADY_CHARGED, LatePayments
from commerce_api.links import Links
from commerce_api.models import checkout as checkout_table
from commerce_api.models import payment
from commerce_api.orders import place_order
from commerce_api.vault_client import VaultClient, VaultRefused, VaultUnavailable
from tokenization.clock import Clock
from tokenization.ids import digest, new_id
from tokenization.logs import cause_of
from tokenization.scanner import contains_card_in_json
from tokenization.wire import (
    CaptureState,
    CardSummary,
    Charge,
    ChargeRequest,
    ChargeState,
    OpenCaptureSession,
    ReturnRequest,
)

SHOPPER = "shopper"
SERVICE = "service:commerce"
# The zone's refusals after which only a new card can help. Any other refusal leaves the payment to be asked again.
_CARD_AGAIN = {"grant_not_usable", "amount_over_ceiling", "security_code_gone", "keys_destroyed"}
_SETTLED = {
    ChargeState.SUCCEEDED: "succeeded",
    ChargeState.DECLINED: "declined",
    ChargeState.FAILED: "failed",
    ChargeState.VOIDED: "failed",  # the shopper did not come back from the bank, and the charge was let go
    ChargeState.EXPIRED: "failed",
}
_LET_GO = {ChargeState.VOIDED: "authentication_abandoned", ChargeState.EXPIRED: "authorization_expired"}
_Data = dict[str, str | int | bool]
log = structlog.get_logger("commerce_api")


class Turn(NamedTuple):
    """Behind which ids the next pass over checkouts goes on: of those with a charge under way, and of those with a shopper."""

    charging: str = ""
    with_shopper: str = ""


@dataclass(frozen=True, slots=True)
class Payments:
    """Leads shoppers to the card page and turns captured cards into orders."""

    database: Database
    vault: VaultClient
    links: Links
    offer_key: bytes
    clock: Clock

    @property
    def late(self) -> LatePayments:
        """What settles money that came after its payment had ended."""
        return LatePayments(self.database, self.vault, self.offer_key, self.clock)

    async def capture_link(self, brand_id: str, checkout_id: str, opener: str | None = None) -> str:
        """The card page's one-time address for a checkout.

        ``opener`` is the secret of the browser that asks: the zone gets its digest, and nobody else can use the link. Without
        one the first browser that opens the link has it.

        Raises CommerceRefusal: CHECKOUT_NOT_READY when the total is not what was shown any more, OUT_OF_STOCK,
        CHECKOUT_IN_PAYMENT, CHECKOUT_FINISHED, PAYMENT_UNAVAILABLE.
        """
        current = await self._confirmed(brand_id, checkout_id)
        asked = OpenCaptureSession(
            merchant=brand_id,
            merchant_name=current.brand.name,
            checkout=checkout_id,
            amount_minor=current.priced.totals.total_minor,
            currency=current.brand.currency,
            summary=_summary(current),
            return_url=self.links.checkout_return(brand_id, checkout_id),
            cancel_url=self.links.checkout_page(brand_id, checkout_id),
            lifetime_seconds=max(60, min(3600, current.brand.policy.reservation_seconds)),
            opener_digest=digest(opener) if opener else None,
            shopper=current.document.get("shopper"),
        )
        try:
            session = await self.vault.open_capture(asked)
        except (VaultUnavailable, VaultRefused) as failure:
            log.warning("capture_link_not_made", cause=cause_of(failure))
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
        if session.url is None:
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE)

        def remember(tx: Transaction) -> None:
            fresh = self._load(tx.connection, brand_id, checkout_id, tx.now_ms)
            if fresh.version != current.version:  # changed, or paid, while the zone was asked: this link is not the one
                raise CommerceRefusal(CommerceError.BUSY)
            service.write(tx, fresh, state=CheckoutState.ESCALATED, capture_session=session.session)
            service.record(
                tx, EventType.CHECKOUT_HANDED_OFF, brand_id, checkout_id, SHOPPER, {"session": session.session}
            )

        await self.database.change(remember)
        return session.url

    async def advance(self, brand_id: str, checkout_id: str, *, query: str = "") -> None:
        """Takes a checkout as far as it can go now: card captured → charge → order. May be called any number of times.

        ``query``: of the address at which the shopper came back, for a processor that has to be told of it.

        Raises CommerceRefusal(PAYMENT_UNAVAILABLE) when the zone cannot be asked; nothing is lost by that.
        """
        try:
            current = await self._read(brand_id, checkout_id)
            if not may_advance(current):
                return
            if current.state is CheckoutState.ESCALATED:
                current = await self._start(current)
            if current.state in IN_PAYMENT:
                await self._ask_zone(current, query)
        except (VaultUnavailable, VaultRefused):  # (2)
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None

    async def zone_answers(self, brand_id: str) -> bool:
        """Whether the zone can be asked at all."""
        try:
            await self.vault.find_charge(brand_id, "pay_nothing")
        except (VaultUnavailable, VaultRefused) as failure:
            return isinstance(failure, VaultRefused)
        return True

    async def action_url(self, checkout_id: str) -> str | None:
        """Where the shopper's bank wants them, while a payment of this checkout waits for that."""
        row = await self.database.read(lambda connection: _live_payment(connection, checkout_id))
        return row.action_url if row is not None else None

    async def waiting(self, limit: int, after: Turn) -> tuple[list[tuple[str, str]], Turn]:
        """Checkouts that may be able to go on, as (brand, checkout); and where the next pass goes on.

        First those with a charge under way, then those that wait for a shopper, at most ``limit`` of each, in the order of
        their ids from ``after`` on: many that do not get on do not keep the others waiting.
        """
        columns = (checkout_table.c.brand, checkout_table.c.id)
        charging = (
            select(*columns)
            .where(checkout_table.c.state == CheckoutState.PROCESSING, checkout_table.c.id > after.charging)
            .order_by(checkout_table.c.id)
            .limit(limit)
        )
        with_shopper = (
            select(*columns)
            .where(
                (checkout_table.c.state == CheckoutState.AUTHENTICATION)
                | ((checkout_table.c.state == CheckoutState.ESCALATED) & checkout_table.c.capture_session.is_not(None)),
                checkout_table.c.id > after.with_shopper,
            )
            .order_by(checkout_table.c.id)
            .limit(limit)
        )

        def work(connection: Connection) -> tuple[list[tuple[str, str]], Turn]:
            found = [[(row.brand, row.id) for row in connection.execute(rows)] for rows in (charging, with_shopper)]
            return found[0] + found[1], Turn(*(one[-1][1] if len(one) >= limit else "" for one in found))

        return await self.database.read(work)

    async def _confirmed(self, brand_id: str, checkout_id: str) -> Checkout:
        """Prices the checkout once more before the card is asked for; a changed total goes back to the shopper first (4)."""

        def work(tx: Transaction) -> Checkout | None:
            current = self._load(tx.connection, brand_id, checkout_id, tx.now_ms)
            if current.state not in CHANGEABLE:
                raise CommerceRefusal(service.refusal_of(current.state))
            if current.expires_ms <= tx.now_ms:
                raise CommerceRefusal(CommerceError.CHECKOUT_FINISHED)
            fresh = price(tx.connection, current.brand, current.document, current.principal, self.offer_key, tx.now_ms)
            shown = Priced.restored(current.document["priced"])
            if fresh.totals != shown.totals or not fresh.is_ready:
                to_agent_again(tx, current, fresh, SERVICE)
                return None
            caller = service.Caller(SHOPPER, "page")
            service.hand_off(tx, current, caller)
            stock.pin(tx, brand=brand_id, checkout=checkout_id, quantities=current.quantities)
            self._until(tx, current)
            return self._load(tx.connection, brand_id, checkout_id, tx.now_ms)

        current = await self.database.change(work)
        if current is None:
            raise CommerceRefusal(CommerceError.CHECKOUT_NOT_READY)
        return current

    @staticmethod
    def _until(tx: Transaction, current: Checkout) -> None:
        """The stock is held while the card is typed in, no longer."""
        seconds = current.brand.policy.reservation_seconds
        stock.hold_until(tx, checkout=current.id, expires_ms=tx.now_ms + seconds * 1000)

    async def _start(self, current: Checkout) -> Checkout:
        """Begins the payment if the card was captured (1) (5); otherwise changes nothing."""
        try:
            session = await self.vault.read_capture(current.brand.id, current.capture_session or "")
        except VaultRefused:
            return await self._without_session(current)  # the zone does not know it (any more): no card comes of it
        if session.state is not CaptureState.CAPTURED or session.grant is None or session.card is None:
            return current
        grant, card = session.grant, session.card

        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            if fresh.state is not CheckoutState.ESCALATED or fresh.capture_session != session.session:
                return
            stock.pin(tx, brand=fresh.brand.id, checkout=fresh.id, quantities=fresh.quantities)  # (5)
            begin_payment(tx, fresh, grant, card=card)

        try:
            await self.database.change(work)
        except IntegrityError:
            log.info("payment_started_elsewhere")  # (3) another caller was first; its payment is the one to follow
        except CommerceRefusal as refusal:
            if refusal.kind is not CommerceError.OUT_OF_STOCK:
                raise
            await self._out_of_stock(current)
        return await self._read(current.brand.id, current.id)

    async def _without_session(self, current: Checkout) -> Checkout:
        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            if fresh.state is CheckoutState.ESCALATED and fresh.capture_session == current.capture_session:
                service.write(tx, fresh, state=CheckoutState.ESCALATED)
                service.record(
                    tx,
                    EventType.CHECKOUT_UPDATED,
                    fresh.brand.id,
                    fresh.id,
                    SERVICE,
                    {"reason": "capture_session_gone"},
                )

        await self.database.change(work)
        return await self._read(current.brand.id, current.id)

    async def _ask_zone(self, current: Checkout, query: str) -> None:
        row = await self.database.read(lambda connection: _live_payment(connection, current.id))
        if row is None:
            return
        if row.state == "action_required":
            await self._ask_of_authentication(current, row.id, query)
            return
        asked = ChargeRequest(
            payment=row.id,
            merchant=current.brand.id,
            checkout=current.id,
            grant=row.grant_id,
            amount_minor=row.amount_minor,
            currency=row.currency,
            return_url=self.links.checkout_return(current.brand.id, current.id),
        )
        try:
            await self._apply(current, await self.vault.charge(asked))
        except VaultRefused as refused:
            if refused.code == ALREADY_CHARGED:  # (8)
                if not await self.late.take_up_of(current.brand.id, current.id):
                    await self._change_payment(current, row.id, "failed", refused.code)
                return
            if refused.code not in _CARD_AGAIN:
                raise VaultUnavailable from None
            await self._change_payment(current, row.id, "failed", refused.code)

    async def _ask_of_authentication(self, current: Checkout, payment_id: str, query: str) -> None:
        charge: Charge | None
        if query:
            asked = ReturnRequest(merchant=current.brand.id, payment=payment_id, query=query)
            charge = await self.vault.returned(asked)
        else:
            charge = await self.vault.find_charge(current.brand.id, payment_id)
        if charge is not None:
            await self._apply(current, charge)

    async def _apply(self, current: Checkout, charge: Charge) -> None:
        if charge.state in _SETTLED and charge.state is not ChargeState.SUCCEEDED:
            reason = charge.decline_code or _LET_GO.get(charge.state)
            await self._change_payment(current, charge.payment, _SETTLED[charge.state], reason)
        elif charge.state is ChargeState.SUCCEEDED:
            await self._complete(current, charge)
        elif charge.state is ChargeState.ACTION_REQUIRED:
            await self._require_action(current, charge)

    async def _complete(self, current: Checkout, charge: Charge) -> None:
        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            if fresh.state not in IN_PAYMENT:
                return  # somebody else completed it
            settled = tx.execute(
                update(payment)
                .where(payment.c.id == charge.payment, payment.c.state.in_(("pending", "action_required")))
                .values(state="succeeded", charge=charge.charge, action_url=None, changed_ms=tx.now_ms)
            )
            if settled.rowcount != 1:
                return
            order_id = place_order(tx, fresh, charge, self.offer_key)  # (6)
            stock.sell(tx, fresh.id)
            service.write(tx, fresh, state=CheckoutState.COMPLETED, order_id=order_id)
            settled_data: _Data = {
                "charge": charge.charge,
                "amount_minor": charge.amount_minor,
                "currency": charge.currency,
            }
            _record(tx, EventType.PAYMENT_SETTLED, charge.payment, fresh.brand.id, settled_data)
            service.record(tx, EventType.CHECKOUT_COMPLETED, fresh.brand.id, fresh.id, SERVICE, {"order": order_id})

        await self.database.change(work)

    async def _require_action(self, current: Checkout, charge: Charge) -> None:
        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            if fresh.state is not CheckoutState.PROCESSING:
                return
            tx.execute(
                update(payment)
                .where(payment.c.id == charge.payment, payment.c.state == "pending")
                .values(
                    state="action_required", charge=charge.charge, action_url=charge.action_url, changed_ms=tx.now_ms
                )
            )
            service.write(tx, fresh, state=CheckoutState.AUTHENTICATION, capture_session=fresh.capture_session)
            _record(
                tx, EventType.PAYMENT_UNKNOWN, charge.payment, fresh.brand.id, {"reason": "authentication_required"}
            )

        await self.database.change(work)

    async def _change_payment(self, current: Checkout, payment_id: str, state: str, reason: str | None) -> None:
        """The charge did not come about: the checkout goes back to the shopper (7)."""

        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            ended = tx.execute(
                update(payment)
                .where(payment.c.id == payment_id, payment.c.state.in_(("pending", "action_required")))
                .values(state=state, decline_code=reason, action_url=None, changed_ms=tx.now_ms)
            )
            if ended.rowcount != 1 or fresh.state not in IN_PAYMENT:
                return
            self._until(tx, fresh)
            service.write(tx, fresh, state=CheckoutState.ESCALATED)
            _record(
                tx,
                EventType.PAYMENT_SETTLED,
                payment_id,
                fresh.brand.id,
                {"reason": reason or state},
                outcome="failure",
            )

        await self.database.change(work)

    async def _out_of_stock(self, current: Checkout) -> None:
        def work(tx: Transaction) -> None:
            fresh = self._load(tx.connection, current.brand.id, current.id, tx.now_ms)
            if fresh.state is CheckoutState.ESCALATED:
                service.write(tx, fresh, state=CheckoutState.DRAFT)
                service.record(tx, EventType.CHECKOUT_UPDATED, fresh.brand.id, fresh.id, SERVICE, {"state": "draft"})

        await self.database.change(work)

    async def _read(self, brand_id: str, checkout_id: str) -> Checkout:
        now_ms = self.clock()
        return await self.database.read(lambda connection: self._load(connection, brand_id, checkout_id, now_ms))

    def _load(self, connection: Connection, brand_id: str, checkout_id: str, now_ms: int) -> Checkout:
        brand: Brand = find_brand(connection, brand_id)
        return service.load(connection, brand, checkout_id, None, self.offer_key, now_ms)


def begin_payment(
    tx: Transaction, current: Checkout, grant: str, *, card: CardSummary | None, oauth_grant: str | None = None
) -> None:
    """Writes a payment down, and that its checkout is being paid (1). The stock is pinned by who calls (5).

    ``grant`` is what the zone is to charge, ``oauth_grant`` what an assistant pays under (assistant_payments.py).
    """
    service.write(tx, current, state=CheckoutState.PROCESSING, capture_session=current.capture_session)
    identifier = new_id("pay")
    tx.execute(
        insert(payment).values(
            id=identifier,
            checkout=current.id,
            brand=current.brand.id,
            grant_id=grant,
            amount_minor=current.priced.totals.total_minor,
            currency=current.brand.currency,
            state="pending",
            card_brand=card.brand if card else None,
            card_last4=card.last4 if card else None,
            created_ms=tx.now_ms,
            changed_ms=tx.now_ms,
            oauth_grant=oauth_grant,
        )
    )
    started: _Data = {
        "checkout": current.id,
        "amount_minor": current.priced.totals.total_minor,
        "currency": current.brand.currency,
    }
    _record(tx, EventType.PAYMENT_STARTED, identifier, current.brand.id, started)


def to_agent_again(tx: Transaction, current: Checkout, fresh: Priced, actor: str) -> None:
    """Takes a checkout back from the shopper, with the price that it has now (4)."""
    stock.release(tx, brand=current.brand.id, checkout=current.id)
    target = CheckoutState.READY if fresh.is_ready else CheckoutState.DRAFT
    service.write(tx, current, state=target, document={**current.document, "priced": fresh.stored()})
    service.record(tx, EventType.CHECKOUT_UPDATED, current.brand.id, current.id, actor, {"state": target.value})


def _summary(current: Checkout) -> tuple[str, ...]:
    """What the card page says is bought. Titles whose digits read like a card together are left out, or nobody could pay."""
    lines = tuple(f"{line.quantity} × {line.title}"[:200] for line in current.priced.lines[:20])
    return (f"{len(current.priced.lines)} products",) if contains_card_in_json(list(lines)) else lines


def may_advance(current: Checkout) -> bool:
    """Whether the zone may know more of a checkout than commerce does: a card may have been captured, or charged."""
    return current.state in IN_PAYMENT or (
        current.state is CheckoutState.ESCALATED and current.capture_session is not None
    )


def last_payment(connection: Connection, checkout_id: str) -> "Row[Any] | None":
    """The newest payment of a checkout, or None."""
    return connection.execute(
        select(payment).where(payment.c.checkout == checkout_id).order_by(payment.c.created_ms.desc()).limit(1)
    ).first()


def _live_payment(connection: Connection, checkout_id: str) -> "Row[Any] | None":
    return connection.execute(
        select(payment).where(payment.c.checkout == checkout_id, payment.c.state.in_(("pending", "action_required")))
    ).first()


def _record(
    tx: Transaction,
    kind: EventType,
    payment_id: str,
    brand: str,
    data: dict[str, str | int | bool],
    outcome: str = "success",
) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="failure" if outcome == "failure" else "success",
            actor=SERVICE,
            origin=ORIGIN,
            resource=payment_id,
            merchant=brand,
            data=data,
        )
    )
