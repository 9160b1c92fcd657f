"""What the offer engine is told about who is asked and what is bought: from the records of this brand, by pseudonym.

No name, no address, no e-mail, no protected attribute: a decision cannot depend on what is not in here.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Select, and_, bindparam, cast, func, null, or_, select, union_all
from sqlalchemy.engine import Connection, Row

from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller, shopper_principal
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.using import facts_for_offers, features_of
from commerce_api.models import offer_decision, offer_outcome, offer_policy, order, variant
from commerce_api.offering.outcomes import OFFER_LIFETIME_SECONDS, REFUSALS
from commerce_api.offering.pseudonyms import nobody, pseudonym_of
from commerce_api.offering.terms import Terms
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
_MADE: Final = select(
    _NUMBERED.c.chosen, _NUMBERED.c.place, _NUMBERED.c.presented_ms, cast(null(), BigInteger).label("refused_ms")
).where(_NUMBERED.c.place <= bindparam("times"))
_REFUSED: Final = (
    select(offer_decision.c.chosen, cast(null(), BigInteger), cast(null(), BigInteger), func.max(offer_outcome.c.at_ms))
    .join(offer_outcome, offer_outcome.c.decision == offer_decision.c.id)
    .where(*_OFFERED, offer_outcome.c.type.in_(REFUSALS), offer_outcome.c.at_ms > bindparam("since_ms"))
    .group_by(offer_decision.c.chosen)
)
_HISTORY: Final = union_all(_MADE, _REFUSED).order_by("chosen", "place")
_ON_RECORD: Final = select(
    select(offer_policy.c.hash)
    .where(offer_policy.c.hash == bindparam("hash"), offer_policy.c.brand == bindparam("at"))
    .exists()
    .label("is_kept")
).subquery()
_LINES: Final[Select[Any]] = select(  # a row at least, also where nothing is looked at
    _ON_RECORD.c.is_kept,
    variant.c.id,
    variant.c.product_id,
    variant.c.categories,
    variant.c.price_minor,
    variant.c.stock,
    variant.c.reserved,
    variant.c.available,
).select_from(
    _ON_RECORD.outerjoin(
        variant, and_(variant.c.brand == bindparam("at"), variant.c.id.in_(bindparam("wanted", expanding=True)))
    )
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
    connection: Connection,
    brand: Brand,
    subject: str,
    caller: Caller,
    verification: Verification,
    terms: Terms,
    now_ms: int,
) -> Known:
    """What the records say of a subject."""
    if verification is Verification.ANONYMOUS:
        return Known()
    facts = facts_for_offers(connection, brand, subject, verification, now_ms)
    return Known(
        verification=verification,
        consents=facts is not None,
        owned=_owned(connection, brand.id, caller),
        history=_history(connection, brand.id, subject, terms, now_ms),
        memory=features_of(facts or {}, brand.currency),
    )


class LookedAt(NamedTuple):
    """What is looked at, and whether the offers on the table are on record already: one question to the database for both."""

    lines: tuple[ContextLine, ...]
    is_kept: bool


def looked_at(connection: Connection, brand: str, lines: Sequence[LineGiven], offers_hash: str) -> LookedAt:
    """The lines as the catalogue has them. Raises CommerceRefusal(PRODUCT_UNKNOWN)."""
    wanted = {line.variant_id for line in lines}
    asked = {"at": brand, "wanted": sorted(wanted), "hash": offers_hash}
    found = connection.execute(_LINES, asked).all()
    rows = {row.id: row for row in found}
    if wanted - rows.keys():
        raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
    return LookedAt(tuple(_line(rows[line.variant_id], line) for line in lines), bool(found[0].is_kept))


def _line(row: "Row[Any]", given: LineGiven) -> ContextLine:
    return ContextLine(
        variant_id=row.id,
        product_id=row.product_id,
        categories=frozenset(json.loads(row.categories)),
        unit_price_minor=row.price_minor,
        quantity=given.quantity,
        in_stock=bool(row.available) and (row.stock is None or row.stock - row.reserved >= given.quantity),
    )


def _owned(connection: Connection, brand: str, caller: Caller) -> frozenset[str]:
    """What a shopper who signed in bought here. Whom an agent names may be anybody: nothing is told of what they own."""
    if caller.is_brand(brand):
        return frozenset()
    documents = connection.execute(_ORDERS, {"at": brand, "who": caller.principal}).scalars()
    return frozenset(line["product_id"] for text in documents for line in json.loads(text)["priced"]["lines"])


def _history(connection: Connection, brand: str, subject: str, terms: Terms, now_ms: int) -> dict[str, History]:
    """As far back and as many of each offer as the policy's caps look at, in the order of the offers' ids."""
    asked = {
        "at": brand,
        "who": subject,
        "since_ms": now_ms - max(_FEATURE_DAYS, terms.looks_back_days) * _DAY_MS,
        "open_since_ms": now_ms - OFFER_LIFETIME_SECONDS * 1000,
        "times": max(_FEATURE_TIMES, terms.looks_back_times),
    }
    made: defaultdict[str, list[int | None]] = defaultdict(list)
    refused: dict[str, int] = {}
    for offer, place, presented_ms, refused_ms in connection.execute(_HISTORY, asked):
        if place is None:
            refused[offer] = refused_ms
        else:
            made[offer].append(presented_ms)
    return {offer: _seen(made[offer], refused.get(offer)) for offer in sorted(made.keys() | refused.keys())}


def _seen(presented_ms: list[int | None], refused_ms: int | None) -> History:
    shown_ms = tuple(each for each in presented_ms if each is not None)
    return History(shown_ms, refused_ms, len(presented_ms) - len(shown_ms))
