"""Step 3, checkout: one canonical checkout that every protocol reads and changes through these functions.

Each function is one unit of work over an open transaction. What holds for every change:
 1. The checkout belongs to the brand, and to who asks.
 2. The state moves only as states.MOVES allows, and the row is written only from the version that was read.
 3. Lines, discounts and the offer are priced from the catalogue, the policy and the signed snapshot; never from what was sent.
 4. While money may be moving nothing changes but by the payment itself.
 5. Who the shopper is, is said by the brand's own agent, or by the shopper who signed in: a card may be saved for them.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType, looks_like_card
from audit.transaction import Transaction
from commerce_api import stock
from commerce_api.brands import ORIGIN, Brand
from commerce_api.checkout.pricing import OFFER_PATH, Priced, price
from commerce_api.checkout.states import CHANGEABLE, FINISHED, IN_PAYMENT, CheckoutState, may_move
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import checkout as checkout_table
from commerce_api.offering import outcomes
from commerce_api.schemas import CheckoutGiven
from tokenization.ids import is_id, new_id

ANONYMOUS = "anonymous"


def shopper_principal(shopper: str) -> str:
    """A signed-in shopper as a principal."""
    return f"shopper:{shopper}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: ``agent:BRAND`` by its key, ``shopper:ID`` who signed in, or ``anonymous``; and the tongue that carried it.

    ``grant``: what the shopper allowed the program that asks for them, where they signed in at this site.
    """

    principal: str
    channel: str
    grant: str | None = None

    def is_brand(self, brand: str) -> bool:
        """Whether it is the brand's own agent."""
        return self.principal == f"agent:{brand}"

    def may_see(self, brand: str, owner: str) -> bool:
        """The brand's own agent sees the brand's checkouts; a shopper their own; anybody those that nobody signed for."""
        return self.is_brand(brand) or owner in (self.principal, ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout as read in a transaction, with its prices."""

    id: str
    brand: Brand
    principal: str
    channel: str
    state: CheckoutState
    version: int
    document: dict[str, Any]
    priced: Priced
    capture_session: str | None
    order_id: str | None
    created_ms: int
    expires_ms: int

    @property
    def quantities(self) -> dict[str, int]:
        """How many of each variant."""
        return {line["variant_id"]: line["quantity"] for line in self.document["lines"]}


def create(tx: Transaction, brand: Brand, caller: Caller, given: CheckoutGiven, offer_key: bytes) -> Checkout:
    """Makes a checkout. Raises CommerceRefusal for what cannot be in one."""
    _check_currency(brand, given)
    _check_shopper(brand, caller, given)
    document = _merged({"lines": [], "discount_codes": []}, given)
    priced = price(tx.connection, brand, document, caller.principal, offer_key, tx.now_ms, strict=True)
    identifier = new_id("chk")
    expires_ms = tx.now_ms + brand.policy.checkout_lifetime_seconds * 1000
    state = CheckoutState.READY if priced.is_ready else CheckoutState.DRAFT
    tx.execute(
        checkout_table.insert().values(
            id=identifier,
            brand=brand.id,
            principal=caller.principal,
            channel=caller.channel,
            state=state,
            version=1,
            document=json.dumps({**document, "priced": priced.stored()}),
            created_ms=tx.now_ms,
            updated_ms=tx.now_ms,
            expires_ms=expires_ms,
        )
    )
    record(tx, EventType.CHECKOUT_CREATED, brand.id, identifier, caller.principal, {"channel": caller.channel})
    _note_taken(tx, brand, document, priced, identifier, caller)
    return load(tx.connection, brand, identifier, caller, offer_key, tx.now_ms)


def change(
    tx: Transaction, brand: Brand, caller: Caller, identifier: str, given: CheckoutGiven, offer_key: bytes
) -> Checkout:
    """Changes a checkout's content. One that was handed to the shopper comes back: its link must be asked for again."""
    current = load(tx.connection, brand, identifier, caller, offer_key, tx.now_ms)
    require_changeable(current, tx.now_ms)
    _check_currency(brand, given)
    _check_shopper(brand, caller, given)
    document = _merged(current.document, given)
    priced = price(tx.connection, brand, document, current.principal, offer_key, tx.now_ms, strict=True)
    target = CheckoutState.READY if priced.is_ready else CheckoutState.DRAFT
    if current.state is CheckoutState.ESCALATED:
        stock.release(tx, brand=brand.id, checkout=identifier)
    write(tx, current, state=target, document={**document, "priced": priced.stored()}, capture_session=None)
    record(tx, EventType.CHECKOUT_UPDATED, brand.id, identifier, caller.principal, {"state": target.value})
    _note_taken(tx, brand, document, priced, identifier, caller)
    return load(tx.connection, brand, identifier, caller, offer_key, tx.now_ms)


def hand_off(tx: Transaction, current: Checkout, caller: Caller, *, confirmed: bool = False) -> Checkout:
    """Reserves the stock and hands the checkout to the shopper to pay. Raises CHECKOUT_NOT_READY, OUT_OF_STOCK.

    A total that is not what was last told stays with the agent first: the new one is written, and nothing is handed over.
    Unless it is ``confirmed``: who asks said that this is the checkout that they saw.
    """
    if current.state is CheckoutState.ESCALATED:
        return current
    require_changeable(current, tx.now_ms)
    told = Priced.restored(current.document["priced"]).totals
    if current.priced.is_ready and current.priced.totals != told and not confirmed:
        record(tx, EventType.CHECKOUT_UPDATED, current.brand.id, current.id, caller.principal, {"state": "ready"})
        return write(tx, current, state=CheckoutState.READY, document=_with_prices(current))
    if not current.priced.is_ready:
        raise CommerceRefusal(CommerceError.CHECKOUT_NOT_READY)
    offer = current.document["offer_id"] if has_offer(current.document, current.priced) else None
    outcomes.let_go(tx, current.id, but=offer)
    if offer is not None:
        outcomes.claim(tx, current.brand.id, offer, current.id)
    stock.reserve(
        tx,
        brand=current.brand.id,
        checkout=current.id,
        quantities=current.quantities,
        expires_ms=tx.now_ms + current.brand.policy.reservation_seconds * 1000,
    )
    record(
        tx,
        EventType.CHECKOUT_HANDED_OFF,
        current.brand.id,
        current.id,
        caller.principal,
        {"amount_minor": current.priced.totals.total_minor, "currency": current.brand.currency},
    )
    return write(tx, current, state=CheckoutState.ESCALATED, document=_with_prices(current))


def cancel(tx: Transaction, current: Checkout, caller: Caller) -> None:
    """Ends a checkout that is not being paid. Canceling a canceled one changes nothing."""
    if current.state is CheckoutState.CANCELED:
        return
    require_changeable(current, tx.now_ms)
    stock.release(tx, brand=current.brand.id, checkout=current.id)
    outcomes.let_go(tx, current.id)
    write(tx, current, state=CheckoutState.CANCELED)
    record(tx, EventType.CHECKOUT_CANCELED, current.brand.id, current.id, caller.principal, {})


def expire(tx: Transaction, current: Checkout) -> None:
    """Ends a checkout whose time is over, if it is not being paid."""
    if current.state not in CHANGEABLE or current.expires_ms > tx.now_ms:
        return
    stock.release(tx, brand=current.brand.id, checkout=current.id)
    outcomes.let_go(tx, current.id)
    write(tx, current, state=CheckoutState.EXPIRED)
    record(tx, EventType.CHECKOUT_EXPIRED, current.brand.id, current.id, "service:commerce", {})


def load(
    connection: Connection,
    brand: Brand,
    identifier: str,
    caller: Caller | None,
    offer_key: bytes,
    now_ms: int,
    *,
    as_stored: bool = False,
) -> Checkout:
    """The checkout, for who may see it (1); priced afresh while it can change, as it was priced since then.

    ``as_stored`` leaves the prices alone, for what only ends the checkout. ``caller`` is None for the shopper, who holds the
    link. Raises CommerceRefusal(CHECKOUT_UNKNOWN), the same for one that is not there and one that is somebody else's.
    """
    row = None
    if is_id(identifier, "chk"):
        row = connection.execute(
            select(checkout_table).where(checkout_table.c.id == identifier, checkout_table.c.brand == brand.id)
        ).first()
    if row is None or (caller is not None and not caller.may_see(brand.id, row.principal)):
        raise CommerceRefusal(CommerceError.CHECKOUT_UNKNOWN)
    return _loaded(connection, row, brand, offer_key, now_ms, as_stored=as_stored)


def write(
    tx: Transaction,
    current: Checkout,
    *,
    state: CheckoutState,
    document: dict[str, Any] | None = None,
    capture_session: str | None = None,
    order_id: str | None = None,
) -> Checkout:
    """Writes a checkout's new state from the version that was read (2). Raises CommerceRefusal(BUSY) if it changed since.

    Returns it as it stands then.
    """
    if state is not current.state and not may_move(current.state, state):
        raise CommerceRefusal(refusal_of(current.state))
    fresh = replace(
        current,
        state=state,
        version=current.version + 1,
        document=document if document is not None else current.document,
        capture_session=capture_session,
        order_id=order_id,
    )
    written = tx.execute(
        update(checkout_table)
        .where(
            checkout_table.c.id == current.id,
            checkout_table.c.version == current.version,
            checkout_table.c.state == current.state,
        )
        .values(
            state=state,
            version=current.version + 1,
            document=json.dumps(fresh.document),
            capture_session=capture_session,
            order_id=order_id,
            updated_ms=tx.now_ms,
        )
    )
    if written.rowcount != 1:
        raise CommerceRefusal(CommerceError.BUSY)
    return fresh


def refusal_of(state: CheckoutState) -> CommerceError:
    """Why a checkout in this state cannot be changed."""
    if state in IN_PAYMENT:
        return CommerceError.CHECKOUT_IN_PAYMENT
    return CommerceError.CHECKOUT_FINISHED if state in FINISHED else CommerceError.CHECKOUT_NOT_READY


def record(
    tx: Transaction, kind: EventType, brand: str, identifier: str, actor: str, data: dict[str, str | int | bool]
) -> None:
    """Records what happened to a checkout."""
    tx.record(
        Event(type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=identifier, merchant=brand, data=data)
    )


def require_changeable(current: Checkout, now_ms: int) -> None:
    """Raises CommerceRefusal: CHECKOUT_IN_PAYMENT, CHECKOUT_FINISHED."""
    if current.state not in CHANGEABLE:  # (4)
        raise CommerceRefusal(refusal_of(current.state))
    if current.expires_ms <= now_ms:
        raise CommerceRefusal(CommerceError.CHECKOUT_FINISHED)


def has_offer(document: dict[str, Any], priced: Priced) -> bool:
    """Whether there is an offer in it that holds."""
    return document.get("offer_id") is not None and not any(problem.path == OFFER_PATH for problem in priced.problems)


def _note_taken(
    tx: Transaction, brand: Brand, document: dict[str, Any], priced: Priced, identifier: str, caller: Caller
) -> None:
    """An offer that is in the checkout and holds there was taken, and so it was shown."""
    if not has_offer(document, priced):
        return
    decision = document["offer_id"]
    outcomes.present(tx, brand.id, decision, caller.channel, caller.principal)
    outcomes.note(tx, brand.id, decision, "accepted", key=identifier, actor=caller.principal)


def _check_currency(brand: Brand, given: CheckoutGiven) -> None:
    if given.currency is not None and given.currency != brand.currency:
        raise CommerceRefusal(CommerceError.CURRENCY_MISMATCH)


def _check_shopper(brand: Brand, caller: Caller, given: CheckoutGiven) -> None:
    if given.shopper is None:
        return
    if caller.principal not in (f"agent:{brand.id}", shopper_principal(given.shopper)):  # (5)
        raise CommerceRefusal(CommerceError.UNAUTHENTICATED)
    if looks_like_card(given.shopper):  # thirteen digits: the zone would refuse it at the last step, when somebody pays
        raise CommerceRefusal(CommerceError.INVALID_REQUEST)


def _merged(document: dict[str, Any], given: CheckoutGiven) -> dict[str, Any]:
    fresh = given.model_dump(include=given.model_fields_set - {"currency"}, mode="json")
    if (lines := fresh.get("lines")) is not None:
        summed: dict[str, int] = {}
        for line in lines:
            summed[line["variant_id"]] = summed.get(line["variant_id"], 0) + line["quantity"]
        if any(quantity > 999 for quantity in summed.values()):
            raise CommerceRefusal(CommerceError.QUANTITY_INVALID)
        fresh["lines"] = [{"variant_id": variant, "quantity": quantity} for variant, quantity in summed.items()]
    return {**document, **{key: value for key, value in fresh.items() if value is not None or key != "lines"}}


def _with_prices(current: Checkout) -> dict[str, Any]:
    return {**current.document, "priced": current.priced.stored()}


def _loaded(
    connection: Connection, row: "Row[Any]", brand: Brand, offer_key: bytes, now_ms: int, *, as_stored: bool
) -> Checkout:
    document = json.loads(row.document)
    state = CheckoutState(row.state)
    if state in (CheckoutState.DRAFT, CheckoutState.READY) and not as_stored:
        priced = price(connection, brand, document, row.principal, offer_key, now_ms)
    else:
        priced = Priced.restored(document["priced"])
    return Checkout(
        id=row.id,
        brand=brand,
        principal=row.principal,
        channel=row.channel,
        state=state,
        version=row.version,
        document=document,
        priced=priced,
        capture_session=row.capture_session,
        order_id=row.order_id,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
    )
