"""Offers that were made, opened again to be said: what may be said of them, and about whom and what they were decided.

What holds for what opened() gives:
 1. It was signed for this brand and this principal, and its time is not over. Anybody else's is as if there were none.
 2. Its figures are those that were signed. In another language they are worked out anew from the decision's record, and only
    where that record gives, in the language of the signature, just what was signed.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import offer_decision
from offer_engine.offers import Context, Offer, Verification
from offer_engine.presenting.locales import locale_for
from offer_engine.presenting.sayables import sayable
from offer_engine.replay import context_of
from offer_engine.snapshot import Sayable, Snapshot, SnapshotInvalid, open_snapshot
from tokenization.ids import is_id


@dataclass(frozen=True, slots=True)
class Signed:
    """An offer as it was signed. ``subject`` is the shopper's pseudonym, None where nobody is known."""

    decision: str
    offer: Offer
    said: Sayable
    subject: str | None
    variants: tuple[str, ...]


def opened(
    connection: Connection,
    brand: Brand,
    caller: Caller,
    decision: str,
    *,
    key: bytes,
    now_ms: int,
    locale: str | None = None,
) -> Signed:
    """The offer of a decision. ``locale`` is a language tag; None is the language that it was signed in.

    Raises CommerceRefusal: OFFER_UNKNOWN, and OFFER_INVALID for one whose time is over.
    """
    row = _row(connection, brand.id, caller.principal, decision)
    record = json.loads(row.record)
    try:
        snapshot = open_snapshot(row.snapshot or "", key, brand=brand.id, subject=caller.principal, now_ms=now_ms)
    except SnapshotInvalid:
        raise CommerceRefusal(CommerceError.OFFER_INVALID) from None
    said = snapshot.sayable
    if snapshot.decision != decision or said is None:
        raise CommerceRefusal(CommerceError.OFFER_INVALID)
    if locale is not None and locale_for(locale) != said.locale:
        said = _in_another_language(context_of(record), snapshot, said, locale_for(locale))
    is_known = record["verification"] != Verification.ANONYMOUS.name.lower() and not record.get("erased")
    variants = tuple(line[0] for line in record["context"]["lines"])
    return Signed(decision, snapshot.offer, said, row.subject if is_known else None, variants)


def _row(connection: Connection, brand: str, principal: str, decision: str) -> "Row[Any]":
    """(1)"""
    of = (
        offer_decision.c.id == decision,
        offer_decision.c.brand == brand,
        offer_decision.c.principal == principal,
    )
    row = connection.execute(select(offer_decision).where(*of)).first() if is_id(decision, "off") else None
    if row is None:
        raise CommerceRefusal(CommerceError.OFFER_UNKNOWN)
    return row


def _in_another_language(context: Context, snapshot: Snapshot, signed: Sayable, locale: str) -> Sayable:
    """(2)"""
    expires_ms = None if signed.value("expires") is None else snapshot.expires_ms

    def in_(language: str) -> Sayable:
        return sayable(
            snapshot.offer,
            context,
            locale=language,
            brand=signed.brand,
            expires_ms=expires_ms,
            licences=signed.licences,
            disclosures=signed.disclosures,
        )

    if in_(signed.locale) != signed:
        raise CommerceRefusal(CommerceError.OFFER_INVALID)
    return in_(locale)
