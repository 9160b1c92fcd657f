"""How much of an offer is left: reserved when it is made, spent when it is paid, given back when neither happens.

What holds:
 1. An offer with a budget is made only with what it takes off set aside, in the transaction that decides it; what is set aside
    and what is spent never come to more than the budget.
 2. What was set aside ends once: with the order, which spends what was taken off then; with the offer's time, where no checkout
    was handed over with it; else RELEASE_SECONDS later. What a shopper pays on such a checkout after that is spent all the
    same: an offer that was taken holds.
 3. A use takes off at most what was set aside for it: the signed offer is cut to that.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from audit.transaction import Transaction
from commerce_api.models import offer_budget, offer_reservation
from commerce_api.policy import Policy
from offer_engine.offers import Left, Offer

RELEASE_SECONDS: Final = 2 * 3_600  # a payment may take its time, with a bank in between
_ZERO: Final = {"reserved_minor": 0, "reserved_uses": 0, "spent_minor": 0, "spent_uses": 0}


def open_for(tx: Transaction, brand: str, policy: Policy) -> None:
    """Begins the count of each offer that has a budget and none yet."""
    limited = [offer.id for offer in policy.offers if offer.limits.budget_minor or offer.limits.budget_uses]
    known = set(tx.execute(select(offer_budget.c.offer).where(offer_budget.c.brand == brand)).scalars())
    for offer in limited:
        if offer not in known:
            tx.execute(insert(offer_budget).values(brand=brand, offer=offer, **_ZERO))


def left_of(connection: Connection, brand: str, offers: Iterable[Offer]) -> Mapping[str, Left]:
    """What is left of the offers that have a budget."""
    limited = {offer.id: offer.limits for offer in offers if is_limited(offer)}
    if not limited:
        return {}
    found = {}
    for row in connection.execute(select(offer_budget).where(offer_budget.c.brand == brand)):
        limits = limited.get(row.offer)
        if limits is not None:
            minor, uses = row.reserved_minor + row.spent_minor, row.reserved_uses + row.spent_uses
            found[row.offer] = Left(
                None if limits.budget_minor is None else max(0, limits.budget_minor - minor),
                None if limits.budget_uses is None else max(0, limits.budget_uses - uses),
            )
    return found


def is_limited(offer: Offer) -> bool:
    """Whether there is only so much of it."""
    return offer.limits.budget_minor is not None or offer.limits.budget_uses is not None


def reserve(tx: Transaction, brand: str, offer: Offer, decision: str, amount_minor: int, expires_ms: int) -> bool:
    """Sets aside what a use takes off (1). False where there is not enough left by now."""
    of = (offer_budget.c.brand == brand, offer_budget.c.offer == offer.id)
    fits = list(of)
    if offer.limits.budget_minor is not None:
        taken_minor = offer_budget.c.reserved_minor + offer_budget.c.spent_minor
        fits.append(taken_minor + amount_minor <= offer.limits.budget_minor)
    if offer.limits.budget_uses is not None:
        fits.append(offer_budget.c.reserved_uses + offer_budget.c.spent_uses + 1 <= offer.limits.budget_uses)
    held = tx.execute(
        update(offer_budget)
        .where(*fits)
        .values(
            reserved_minor=offer_budget.c.reserved_minor + amount_minor,
            reserved_uses=offer_budget.c.reserved_uses + 1,
        )
    )
    if held.rowcount != 1:
        return False
    tx.execute(
        insert(offer_reservation).values(
            decision=decision,
            brand=brand,
            offer=offer.id,
            amount_minor=amount_minor,
            state="reserved",
            expires_ms=expires_ms,
        )
    )
    return True


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
    tx.execute(
        update(offer_budget)
        .where(offer_budget.c.brand == brand, offer_budget.c.offer == row.offer)
        .values(
            reserved_minor=offer_budget.c.reserved_minor - row.amount_minor * held,
            reserved_uses=offer_budget.c.reserved_uses - held,
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
            tx.execute(
                update(offer_budget)
                .where(offer_budget.c.brand == row.brand, offer_budget.c.offer == row.offer)
                .values(
                    reserved_minor=offer_budget.c.reserved_minor - row.amount_minor,
                    reserved_uses=offer_budget.c.reserved_uses - 1,
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
