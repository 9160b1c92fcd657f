"""What came of an offer: shown, refused, taken, paid, given back. Appended, never changed; learning reads it with the decision.

What holds:
 1. An outcome is of a decision of this brand's, and each is written once, by its key: whoever reports twice reports once.
 2. A decision that nobody was shown is told apart from one that was refused: until it is presented, it is neither.
 3. What an order does to an offer is written in the order's own transaction, from what was paid.
 4. An offer is used in one checkout: the first that is handed over to be paid with it has it, until that is canceled, its
    time is over, or it is handed over anew without it.
 5. A decision that nobody took is deleted DECISIONS_KEPT_SECONDS after it was made, what was signed SIGNED_KEPT_SECONDS after.
"""

from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision, offer_outcome, offer_reservation
from commerce_api.offering import budget
from tokenization.ids import is_id

Outcome = Literal[
    "shown",
    "dismissed",
    "declined",
    "accepted",
    "purchased",
    "purchased_without",
    "refunded",
    "refund_returned",
    "returned",
    "chargeback",
    "dispute_won",
]
Gone = Literal["refunded", "refund_returned", "chargeback", "dispute_won"]
# Built once each: every offer that is made or shown asks them. The record is long and not needed for any.
_FIND: Final[Select[Any]] = select(offer_decision.c.id, offer_decision.c.chosen).where(
    offer_decision.c.id == bindparam("identifier"), offer_decision.c.brand == bindparam("at")
)
_WRITTEN: Final = select(offer_outcome.c.key).where(
    offer_outcome.c.decision == bindparam("identifier"), offer_outcome.c.key == bindparam("named")
)
_APPEND: Final = insert(offer_outcome)
OFFER_LIFETIME_SECONDS: Final = 1800  # as long as a conversation that leads to a checkout
SIGNED_KEPT_SECONDS: Final = 7 * 86_400
DECISIONS_KEPT_SECONDS: Final = 400 * 86_400  # a year to learn from, and a month
PURCHASES: Final = ("purchased", "purchased_without")  # with what was offered, and without it
REFUSALS: Final = ("dismissed", "declined")


def present(tx: Transaction, brand: str, decision: str, channel: str, actor: str) -> None:
    """The shopper, or who speaks for them, was shown it (2). Raises CommerceRefusal(OFFER_UNKNOWN)."""
    _require(tx, brand, decision)
    shown = tx.execute(
        update(offer_decision)
        .where(offer_decision.c.id == decision, offer_decision.c.presented_ms.is_(None))
        .values(presented_ms=tx.now_ms, slot=channel)
    )
    if shown.rowcount == 1:
        note(tx, brand, decision, "shown", key="shown", actor=actor)


def shown_at_once(tx: Transaction, brand: str, decision: str, offer: str, actor: str) -> None:
    """As present(), for a decision that this transaction wrote as shown: nothing else can be known of it yet."""
    _append(tx, brand, decision, offer, "shown", key="shown", actor=actor)


def note(
    tx: Transaction,
    brand: str,
    decision: str,
    outcome: Outcome,
    *,
    key: str,
    actor: str = "service:commerce",
    value_minor: int = 0,
) -> bool:
    """Writes an outcome (1); False where it was written before. Raises CommerceRefusal(OFFER_UNKNOWN)."""
    row = _require(tx, brand, decision)
    if tx.execute(_WRITTEN, {"identifier": decision, "named": key}).first() is not None:
        return False
    _append(tx, brand, decision, row.chosen, outcome, key=key, actor=actor, value_minor=value_minor)
    if outcome == "accepted":
        untaken = (offer_decision.c.id == decision, offer_decision.c.taken_ms.is_(None))
        tx.execute(update(offer_decision).where(*untaken).values(taken_ms=tx.now_ms))
    return True


def _append(
    tx: Transaction,
    brand: str,
    decision: str,
    offer: str,
    outcome: Outcome,
    *,
    key: str,
    actor: str,
    value_minor: int = 0,
) -> None:
    tx.execute(
        _APPEND,
        {
            "decision": decision,
            "key": key,
            "brand": brand,
            "type": outcome,
            "value_minor": value_minor,
            "at_ms": tx.now_ms,
            "recorded_ms": tx.now_ms,
        },
    )
    tx.record(
        Event(
            type=EventType.OFFER_OUTCOME,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=decision,
            merchant=brand,
            data={"offer": offer, "kind": outcome, "amount_minor": value_minor},
        )
    )


def claim(tx: Transaction, brand: str, decision: str, checkout: str) -> None:
    """The offer is this checkout's (4), and what is set aside for it stays so. Raises CommerceRefusal(OFFER_INVALID)."""
    free = offer_decision.c.checkout.is_(None) | (offer_decision.c.checkout == checkout)
    claimed = tx.execute(
        update(offer_decision)
        .where(offer_decision.c.id == decision, offer_decision.c.brand == brand, free)
        .values(checkout=checkout)
    )
    if claimed.rowcount != 1 or not budget.hold(tx, brand, decision):
        raise CommerceRefusal(CommerceError.OFFER_INVALID)


def let_go(tx: Transaction, checkout: str, *, but: str | None = None) -> None:
    """What a checkout was ever handed over with may be used in another (4): it ended unpaid, or has the offer ``but`` now."""
    held = update(offer_decision).where(offer_decision.c.checkout == checkout, offer_decision.c.id != (but or ""))
    tx.execute(held.values(checkout=None))


def forget_old(tx: Transaction, limit: int) -> int:
    """Deletes what is past its time (5), at most ``limit`` of each kind; returns how many rows that were."""
    signed = _before(tx.now_ms - SIGNED_KEPT_SECONDS * 1000, offer_decision.c.snapshot.is_not(None), limit)
    emptied = list(tx.execute(signed).scalars())
    tx.execute(update(offer_decision).where(offer_decision.c.id.in_(emptied)).values(snapshot=None))
    untaken = _before(tx.now_ms - DECISIONS_KEPT_SECONDS * 1000, offer_decision.c.taken_ms.is_(None), limit)
    old = list(tx.execute(untaken).scalars())
    tx.execute(delete(offer_outcome).where(offer_outcome.c.decision.in_(old)))
    tx.execute(delete(offer_reservation).where(offer_reservation.c.decision.in_(old)))
    tx.execute(delete(offer_decision).where(offer_decision.c.id.in_(old)))
    return len(emptied) + len(old)


def _before(moment_ms: int, condition: ColumnElement[bool], limit: int) -> Select[tuple[str]]:
    """Decisions of before a moment, oldest first. Each condition is that of an index, which holds those alone."""
    of = (offer_decision.c.decided_ms < moment_ms, condition)
    return select(offer_decision.c.id).where(*of).order_by(offer_decision.c.decided_ms).limit(limit)


def ordered(tx: Transaction, brand: str, document: dict[str, Any], order: str, amount_minor: int) -> None:
    """An order was placed: the offer in it, if one was applied, is bought and its budget spent (3).

    The other decisions that it is credited to (crediting.py) were followed by a purchase without what they offered.
    """
    taken_minor = document["priced"]["totals"]["offer_taken_minor"]
    row = None if taken_minor is None else _find(tx.connection, brand, document["offer_id"])
    if row is not None:
        note(tx, brand, row.id, "purchased", key=order, value_minor=amount_minor)
        budget.spend(tx, brand, row.id, taken_minor)
    for decision in document.get("credited", ()):
        note(tx, brand, decision, "purchased_without", key=order, value_minor=amount_minor)


def given_back(
    tx: Transaction,
    brand: str,
    document: dict[str, Any],
    order: str,
    outcome: Gone,
    amount_minor: int,
    change: int,
) -> None:
    """Of an order's money so much in all is refunded, or disputed, by its ``change`` of this number (3).

    Less than before is what ``refund_returned`` and ``dispute_won`` say. Keys sort as the changes came, also within a moment.
    It is noted of the decisions that have the order as their purchase: an offer that did not hold in it is not spoilt.
    """
    bought = (
        offer_outcome.c.decision.in_({document.get("offer_id") or "", *document.get("credited", ())}),
        offer_outcome.c.key == order,
        offer_outcome.c.brand == brand,
        offer_outcome.c.type.in_(PURCHASES),
    )
    for decision in tx.execute(select(offer_outcome.c.decision).where(*bought)).scalars().all():
        note(tx, brand, decision, outcome, key=f"money:{order}:{change:06}:{outcome}", value_minor=amount_minor)


def _require(tx: Transaction, brand: str, decision: str) -> "Row[Any]":
    row = _find(tx.connection, brand, decision)
    if row is None:
        raise CommerceRefusal(CommerceError.OFFER_UNKNOWN)
    return row


def _find(connection: Connection, brand: str, decision: str) -> "Row[Any] | None":
    if not is_id(decision, "off"):
        return None
    return connection.execute(_FIND, {"identifier": decision, "at": brand}).first()
