"""What the offer engine is told about who is asked and what is bought: from the records of this brand, by pseudonym.

No name, no address, no e-mail, no protected attribute: a decision cannot depend on what is not in here.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller, shopper_principal
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.consents import has_consent
from commerce_api.memory.using import facts_for_offers, features_of
from commerce_api.models import offer_decision, offer_outcome, order, variant
from commerce_api.offering.outcomes import OFFER_LIFETIME_SECONDS, REFUSALS
from commerce_api.offering.pseudonyms import nobody, pseudonym_of
from commerce_api.schemas import LineGiven
from offer_engine.offers import NO_OFFER, ContextLine, History, Known, Verification

_DAY_MS: Final = 86_400_000
_FEATURE_DAYS: Final = 30  # what rankers look back on, whatever the caps (offer_engine/features.py)
_FEATURE_TIMES: Final = 50  # of each offer; a cap that looks at more gets more
_ORDERS_MAXIMUM: Final = 50
_OFFERED: Final = (
    offer_decision.c.brand == bindparam("at"),
    offer_decision.c.subject == bindparam("who"),
    offer_decision.c.chosen != NO_OFFER,
)
_IS_OPEN: Final = offer_decision.c.presented_ms.is_(None) & (offer_decision.c.decided_ms > bindparam("open_since_ms"))
_AT: Final = func.coalesce(offer_decision.c.presented_ms, offer_decision.c.decided_ms)
# The newest of each offer by itself: decisions for others, or for none, take no place of theirs.
_NUMBERED: Final = (
    select(
        offer_decision.c.chosen,
        offer_decision.c.presented_ms,
        func.row_number().over(partition_by=offer_decision.c.chosen, order_by=_AT.desc()).label("place"),
    )
    .where(*_OFFERED, or_(offer_decision.c.presented_ms > bindparam("since_ms"), _IS_OPEN))
    .subquery()
)
_HISTORY: Final = (
    select(_NUMBERED.c.chosen, _NUMBERED.c.presented_ms)
    .where(_NUMBERED.c.place <= bindparam("times"))
    .order_by(_NUMBERED.c.chosen, _NUMBERED.c.place)
)
_REFUSED: Final = (
    select(offer_decision.c.chosen, func.max(offer_outcome.c.at_ms).label("refused_ms"))
    .join(offer_outcome, offer_outcome.c.decision == offer_decision.c.id)
    .where(*_OFFERED, offer_outcome.c.type.in_(REFUSALS), offer_outcome.c.at_ms > bindparam("since_ms"))
    .group_by(offer_decision.c.chosen)
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
        history=_history(connection, brand, subject, now_ms),
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


def _history(connection: Connection, brand: Brand, subject: str, now_ms: int) -> dict[str, History]:
    """As far back and as many of each offer as the policy's caps look at."""
    limits = [offer.limits for offer in brand.policy.offers]
    days = max((_FEATURE_DAYS, *(max(each.per_shopper_days, each.cooldown_days) for each in limits)))
    asked = {
        "at": brand.id,
        "who": subject,
        "since_ms": now_ms - days * _DAY_MS,
        "open_since_ms": now_ms - OFFER_LIFETIME_SECONDS * 1000,
        "times": max((_FEATURE_TIMES, *(each.per_shopper or 0 for each in limits))),
    }
    made: defaultdict[str, list[int | None]] = defaultdict(list)
    for offer, presented_ms in connection.execute(_HISTORY, asked):
        made[offer].append(presented_ms)
    refused = {row.chosen: row.refused_ms for row in connection.execute(_REFUSED, asked)}
    return {offer: _seen(made[offer], refused.get(offer)) for offer in sorted(made.keys() | refused.keys())}


def _seen(presented_ms: list[int | None], refused_ms: int | None) -> History:
    shown_ms = tuple(each for each in presented_ms if each is not None)
    return History(shown_ms, refused_ms, len(presented_ms) - len(shown_ms))
