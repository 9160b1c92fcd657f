"""What the offer engine is told about who is asked and what is bought: from the records of this brand, by pseudonym.

No name, no address, no e-mail, no protected attribute: a decision cannot depend on what is not in here.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller, shopper_principal
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.consents import has_consent
from commerce_api.memory.using import facts_for_offers, features_of
from commerce_api.models import offer_decision, offer_outcome, order, variant
from commerce_api.offering.outcomes import REFUSALS
from commerce_api.offering.pseudonyms import nobody, pseudonym_of
from commerce_api.schemas import LineGiven
from offer_engine.offers import ContextLine, History, Known, Verification

_LOOKED_BACK_MS: Final = 365 * 86_400_000
_DECISIONS_MAXIMUM: Final = 500
_ORDERS_MAXIMUM: Final = 50
_HISTORY = (
    select(offer_decision.c.id, offer_decision.c.chosen, offer_decision.c.presented_ms)
    .where(
        offer_decision.c.brand == bindparam("at"),
        offer_decision.c.subject == bindparam("who"),
        offer_decision.c.decided_ms > bindparam("since_ms"),
        offer_decision.c.presented_ms.is_not(None),
    )
    .order_by(offer_decision.c.decided_ms.desc())
    .limit(_DECISIONS_MAXIMUM)
)
_ORDERS = (
    select(order.c.document)
    .where(order.c.brand == bindparam("at"), order.c.principal == bindparam("who"))
    .order_by(order.c.created_ms.desc())
    .limit(_ORDERS_MAXIMUM)
)


def subject_of(brand: str, caller: Caller, shopper: str | None, key: bytes) -> tuple[str, Verification]:
    """Who is asked, as a pseudonym that is the same each time, and how well that is known.

    A shopper who signed in is verified; one whom the brand's own agent names is claimed. Others are new each time: nobody is
    followed who did not say who they are.
    """
    signed_in = caller.principal.removeprefix(shopper_principal(""))
    if caller.principal == shopper_principal(signed_in):
        return pseudonym_of(brand, signed_in, key), Verification.VERIFIED
    if shopper and caller.is_brand(brand):
        return pseudonym_of(brand, shopper, key), Verification.CLAIMED
    return nobody(), Verification.ANONYMOUS


def known_of(
    connection: Connection, brand: Brand, subject: str, caller: Caller, verification: Verification, now_ms: int
) -> Known:
    """What the records say of a subject."""
    if verification is Verification.ANONYMOUS:
        return Known()
    return Known(
        verification=verification,
        consents=has_consent(connection, brand.id, subject, "personal_offers"),
        owned=_owned(connection, brand.id, caller),
        history=_history(connection, brand.id, subject, now_ms),
        memory=features_of(facts_for_offers(connection, brand, subject, verification, now_ms), brand.currency),
    )


def lines_of(connection: Connection, brand: Brand, lines: Sequence[LineGiven]) -> tuple[ContextLine, ...]:
    """What is looked at, as the catalogue has it. Raises CommerceRefusal(PRODUCT_UNKNOWN)."""
    wanted = {line.variant_id for line in lines}
    rows = {
        row.id: row
        for row in connection.execute(select(variant).where(variant.c.brand == brand.id, variant.c.id.in_(wanted)))
    }
    if wanted - rows.keys():
        raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
    return tuple(
        ContextLine(
            variant_id=line.variant_id,
            product_id=rows[line.variant_id].product_id,
            categories=frozenset(json.loads(rows[line.variant_id].categories)),
            unit_price_minor=rows[line.variant_id].price_minor,
            quantity=line.quantity,
            in_stock=_is_in_stock(rows[line.variant_id], line.quantity),
        )
        for line in lines
    )


def _is_in_stock(row: object, quantity: int) -> bool:
    stock, reserved, available = (getattr(row, name) for name in ("stock", "reserved", "available"))
    return bool(available) and (stock is None or stock - reserved >= quantity)


def _owned(connection: Connection, brand: str, caller: Caller) -> frozenset[str]:
    """What a shopper who signed in bought here. Whom an agent names may be anybody: nothing is told of what they own."""
    if caller.is_brand(brand):
        return frozenset()
    documents = connection.execute(_ORDERS, {"at": brand, "who": caller.principal}).scalars()
    return frozenset(line["product_id"] for text in documents for line in json.loads(text)["priced"]["lines"])


def _history(connection: Connection, brand: str, subject: str, now_ms: int) -> Mapping[str, History]:
    found = connection.execute(_HISTORY, {"at": brand, "who": subject, "since_ms": now_ms - _LOOKED_BACK_MS}).all()
    if not found:
        return {}
    refused = {
        row.decision: row.at_ms
        for row in connection.execute(
            select(offer_outcome.c.decision, offer_outcome.c.at_ms).where(
                offer_outcome.c.decision.in_([row.id for row in found]), offer_outcome.c.type.in_(REFUSALS)
            )
        )
    }
    shown: defaultdict[str, list[int]] = defaultdict(list)
    last: dict[str, int] = {}
    for row in found:
        shown[row.chosen].append(row.presented_ms)
        if row.id in refused:
            last[row.chosen] = max(refused[row.id], last.get(row.chosen, 0))
    return {offer: History(tuple(times), last.get(offer)) for offer, times in shown.items()}
