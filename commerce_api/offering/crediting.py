"""Which decisions a purchase is credited to, so that "no offer" and an offer that nobody took are learnt from as well.

What holds:
 1. A purchase is credited to each decision that its shopper was shown within CREDITED_DAYS before it, whatever was decided, and
    whether or not an offer was applied. Whether a decision is credited depends on nothing that came of another one: crediting
    the newest alone would hold it against a decision that the shopper asked again after it.
 2. A decision is credited with one purchase, the first one after it.
 3. Of a shopper who did not say who they are only the decisions are known that the checkout names, and that were theirs.
 4. Nothing is paid for by it: the bill and the budgets go by the offer that was applied (outcomes.py, billing/outcomes.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.engine import Connection

from commerce_api.checkout.service import Caller
from commerce_api.models import offer_decision, offer_outcome
from commerce_api.offering.context import subject_of
from commerce_api.offering.outcomes import PURCHASES
from offer_engine.offers import Verification

CREDITED_DAYS: Final = 30
DECISIONS_MAXIMUM: Final = 50  # the newest: a purchase is written in one transaction with all of them


def credited_with(
    connection: Connection, brand: str, caller: Caller, document: Mapping[str, Any], offer_key: bytes, now_ms: int
) -> list[str]:
    """The ids of the decisions that an order is credited to, newest first. Caller and document are its checkout's."""
    subject, verification = subject_of(brand, caller, document.get("shopper"), offer_key)
    if verification is Verification.ANONYMOUS:
        named = [name for field in ("offer_id", "decision_id") if (name := document.get(field))]
        of: ColumnElement[bool] = offer_decision.c.id.in_(named) & (
            offer_decision.c.principal == caller.principal
        )  # (3)
    else:
        of = offer_decision.c.subject == subject
    bought = select(offer_outcome.c.decision).where(
        offer_outcome.c.decision == offer_decision.c.id, offer_outcome.c.type.in_(PURCHASES)
    )
    found = connection.execute(
        select(offer_decision.c.id)
        .where(
            offer_decision.c.brand == brand,
            of,
            offer_decision.c.decided_ms > now_ms - CREDITED_DAYS * 86_400_000,  # (1)
            offer_decision.c.presented_ms.is_not(None),
            ~bought.exists(),  # (2)
        )
        .order_by(offer_decision.c.decided_ms.desc())
        .limit(DECISIONS_MAXIMUM)
    )
    return list(found.scalars())
