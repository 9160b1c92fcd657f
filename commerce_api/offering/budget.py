"""How much of an offer is left: reserved when it is made, spent when it is paid, given back when neither happens.

What holds:
 1. An offer with a budget is made only with what it takes off set aside, in the transaction that decides it; what is set aside
    and what is spent never come to more than the budget.
 2. What was set aside ends once: with the order, which spends what was taken off then; with the offer's time, where no checkout
    was handed over with it; else RELEASE_SECONDS later. What a shopper pays on such a checkout after that is spent all the
    same: an offer that was taken holds.
 3. A use takes off at most what was set aside for it: the signed offer is cut to that.
 4. Of what is set aside, guests' part is never more than ``guest_percent`` of the budget, but for one of them: a small budget
    would else be for none.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Update, and_, bindparam, insert, or_, select, update
from sqlalchemy.engine import Connection, Row

from audit.transaction import Transaction
from commerce_api.models import offer_budget, offer_reservation
from commerce_api.policy import Policy
from commerce_api.policy_offers import OfferLimits
from offer_engine.offers import Left, Verification

RELEASE_SECONDS: Final = 2 * 3_600  # a payment may take its time, with a bank in between
_ALL_PERCENT: Final = 100
_GUEST: Final = Verification.ANONYMOUS.name.lower()
_ZERO: Final = {"reserved_minor": 0, "reserved_uses": 0, "spent_minor": 0, "spent_uses": 0}


def _count(name: str) -> "ColumnElement[int]":
    """A number that is given with each call; None is no bound."""
    return bindparam(name, type_=BigInteger)


def _is_within(taken: "ColumnElement[int]", bound: str) -> "ColumnElement[bool]":
    return or_(_count(bound).is_(None), taken <= _count(bound))


def _held_if(*fits: "ColumnElement[bool]") -> Update:
    """Sets aside one use of an offer, and guests' part of it, where that fits."""
    return (
        update(offer_budget)
        .where(*_ITS_BUDGET, *fits)
        .values(
            reserved_minor=_BUDGET.reserved_minor + _count("amount"),
            reserved_uses=_BUDGET.reserved_uses + 1,
            guest_minor=_BUDGET.guest_minor + _count("guest_amount"),
            guest_uses=_BUDGET.guest_uses + _count("guests"),
        )
    )


# Built once each: every offer that is made asks them.
_BUDGET: Final = offer_budget.c
_ITS_BUDGET: Final = (_BUDGET.brand == bindparam("at"), _BUDGET.offer == bindparam("named"))
_OF_BRAND: Final = select(offer_budget).where(_BUDGET.brand == bindparam("at"))
_WITHIN_BUDGET: Final = and_(
    _is_within(_BUDGET.reserved_minor + _BUDGET.spent_minor + _count("amount"), "bound_minor"),
    _is_within(_BUDGET.reserved_uses + _BUDGET.spent_uses + 1, "bound_uses"),
)
_WITHIN_SHARE: Final = or_(  # (4)
    _count("guests") == 0,
    _BUDGET.guest_uses == 0,
    and_(
        _is_within(_BUDGET.guest_minor + _count("amount"), "share_minor"),
        _is_within(_BUDGET.guest_uses + 1, "share_uses"),
    ),
)
_RESERVE: Final = _held_if(_WITHIN_BUDGET, _WITHIN_SHARE)
_IS_ENOUGH: Final = select(_BUDGET.offer).where(*_ITS_BUDGET, _WITHIN_BUDGET)
_RESERVED: Final = insert(offer_reservation)


def open_for(tx: Transaction, brand: str, policy: Policy) -> None:
    """Begins the count of each offer that has a budget and none yet."""
    limited = [offer.id for offer in policy.offers if is_limited(offer.limits)]
    known = set(tx.execute(select(offer_budget.c.offer).where(offer_budget.c.brand == brand)).scalars())
    for offer in limited:
        if offer not in known:
            tx.execute(insert(offer_budget).values(brand=brand, offer=offer, **_ZERO))


def left_of(connection: Connection, brand: str, limited: Mapping[str, OfferLimits]) -> Mapping[str, Left]:
    """What is left of the offers that have a budget, by id."""
    if not limited:
        return {}
    rows = connection.execute(_OF_BRAND, {"at": brand})
    return {row.offer: _left(limited[row.offer], row) for row in rows if row.offer in limited}


def is_limited(limits: OfferLimits) -> bool:
    """Whether there is only so much of an offer."""
    return limits.budget_minor is not None or limits.budget_uses is not None


def reserve(
    tx: Transaction,
    brand: str,
    offer: str,
    limits: OfferLimits,
    decision: str,
    amount_minor: int,
    expires_ms: int,
    verification: Verification,
) -> Left | None:
    """Sets aside what a use takes off (1) (4). Where by now there is not enough for that: what is left, which is none of it."""
    guests = int(verification is Verification.ANONYMOUS)
    asked = {
        "at": brand,
        "named": offer,
        "amount": amount_minor,
        "guests": guests,
        "guest_amount": amount_minor * guests,
        "bound_minor": limits.budget_minor,
        "bound_uses": limits.budget_uses,
        "share_minor": _share(limits.budget_minor, limits),
        "share_uses": _share(limits.budget_uses, limits),
    }
    if tx.execute(_RESERVE, asked).rowcount != 1:
        if guests and tx.execute(_IS_ENOUGH, asked).first() is not None:
            return Left(limits.budget_minor, limits.budget_uses, 0, 0)
        return Left(0, 0)
    tx.execute(
        _RESERVED,
        {
            "decision": decision,
            "brand": brand,
            "offer": offer,
            "amount_minor": amount_minor,
            "state": "reserved",
            "expires_ms": expires_ms,
            "verification": verification.name.lower(),
        },
    )
    return None


def _left(limits: OfferLimits, row: "Row[Any]") -> Left:
    minor, uses = row.reserved_minor + row.spent_minor, row.reserved_uses + row.spent_uses
    is_shared = limits.guest_percent < _ALL_PERCENT and row.guest_uses > 0
    return Left(
        _rest(limits.budget_minor, minor),
        _rest(limits.budget_uses, uses),
        _rest(_share(limits.budget_minor, limits), row.guest_minor) if is_shared else None,
        _rest(_share(limits.budget_uses, limits), row.guest_uses) if is_shared else None,
    )


def _rest(whole: int | None, taken: int) -> int | None:
    return None if whole is None else max(0, whole - taken)


def _share(whole: int | None, limits: OfferLimits) -> int | None:
    """What guests may hold of a budget (4), rounded down."""
    return None if whole is None else whole * limits.guest_percent // _ALL_PERCENT


def hold(tx: Transaction, brand: str, decision: str) -> bool:
    """A checkout is handed over with the offer: what is set aside stays while it is paid (2). False where it was given back."""
    row = tx.execute(
        select(offer_reservation).where(offer_reservation.c.decision == decision, offer_reservation.c.brand == brand)
    ).first()
    if row is None:
        return True  # there is as much of it as anybody wants
    if row.state == "released":
        return False
    until_ms = max(row.expires_ms, tx.now_ms + RELEASE_SECONDS * 1000)
    of = (offer_reservation.c.decision == decision, offer_reservation.c.state == "reserved")
    tx.execute(update(offer_reservation).where(*of).values(expires_ms=until_ms))
    return True


def spend(tx: Transaction, brand: str, decision: str, amount_minor: int) -> None:
    """The offer was paid for: what it took off is spent (2). Nothing where it has no budget, or was spent before."""
    row = tx.execute(
        select(offer_reservation).where(offer_reservation.c.decision == decision, offer_reservation.c.brand == brand)
    ).first()
    if row is None or not _end(tx, decision, row.state, "spent"):
        return
    held = 1 if row.state == "reserved" else 0  # else its time was over, and it had been given back
    guests = held if row.verification == _GUEST else 0
    tx.execute(
        update(offer_budget)
        .where(offer_budget.c.brand == brand, offer_budget.c.offer == row.offer)
        .values(
            reserved_minor=offer_budget.c.reserved_minor - row.amount_minor * held,
            reserved_uses=offer_budget.c.reserved_uses - held,
            guest_minor=offer_budget.c.guest_minor - row.amount_minor * guests,
            guest_uses=offer_budget.c.guest_uses - guests,
            spent_minor=offer_budget.c.spent_minor + amount_minor,
            spent_uses=offer_budget.c.spent_uses + 1,
        )
    )


def release_lapsed(tx: Transaction, limit: int) -> int:
    """Gives back what was set aside for offers whose time is over (2); returns how many."""
    lapsed = (
        select(offer_reservation)
        .where(offer_reservation.c.state == "reserved", offer_reservation.c.expires_ms <= tx.now_ms)
        .order_by(offer_reservation.c.expires_ms)
        .limit(limit)
    )
    rows = tx.execute(lapsed).all()
    for row in rows:
        if _end(tx, row.decision, "reserved", "released"):
            guests = 1 if row.verification == _GUEST else 0
            tx.execute(
                update(offer_budget)
                .where(offer_budget.c.brand == row.brand, offer_budget.c.offer == row.offer)
                .values(
                    reserved_minor=offer_budget.c.reserved_minor - row.amount_minor,
                    reserved_uses=offer_budget.c.reserved_uses - 1,
                    guest_minor=offer_budget.c.guest_minor - row.amount_minor * guests,
                    guest_uses=offer_budget.c.guest_uses - guests,
                )
            )
    return len(rows)


def _end(tx: Transaction, decision: str, state: str, new_state: str) -> bool:
    if state == new_state:
        return False
    ended = tx.execute(
        update(offer_reservation)
        .where(offer_reservation.c.decision == decision, offer_reservation.c.state == state)
        .values(state=new_state)
    )
    return ended.rowcount == 1
