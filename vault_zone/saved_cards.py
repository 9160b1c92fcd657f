"""Saved cards: a shopper's card for later purchases, kept by consent and gone with it.

What holds:
 1. A card is saved only for the shopper that the capture session names, and its consent commits with it.
 2. Consent, card and shopper belong together: a card is listed, granted and deleted for its own merchant and shopper alone,
    and whatever else is asked for gets the answer of a card that does not exist.
 3. A consent that is withdrawn takes the card with it: record, fingerprint and grants go in one transaction.
 4. That consent was given, and when it ended, stays on record after the card (retention.py says how long).
 5. A charge that was begun keeps what it needs: it holds the card in memory, and its row outlives card and grant.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import create_grant
from vault_zone.key_rows import ORIGIN
from vault_zone.models import card_grant, card_record, consent

PURPOSE = "later_purchases"
SHOPPER = "shopper"
LIST_LIMIT = 100  # cards of one shopper in one answer
_STANDING_CONSENT = (  # read for each charge without the shopper, so made once
    select(consent.c.id)
    .join(card_record, card_record.c.token == consent.c.token)
    .where(
        consent.c.token == bindparam("of_token"), consent.c.withdrawn_ms.is_(None), card_record.c.shopper.is_not(None)
    )
    .limit(1)
)


class SavedCard(NamedTuple):
    """A saved card as commerce may see it: never more than this (PCI DSS 3.4.1). Times in milliseconds since 1970."""

    token: str
    brand: str
    last4: str
    saved_ms: int


class Deleted(NamedTuple):
    """``changed`` is false when the card was gone already; ``grants`` went with it, and their security codes are to go too."""

    changed: bool
    grants: tuple[str, ...]


def record_saved(tx: Transaction, *, merchant: str, shopper: str, token: str, wording: str) -> str:
    """Records the consent to a card that this transaction stores for the shopper (1); returns the consent's id."""
    row = tx.execute(select(card_record.c.brand, card_record.c.last4).where(card_record.c.token == token)).one()
    consent_id = new_id("cns")
    tx.execute(
        consent.insert().values(
            id=consent_id,
            merchant=merchant,
            shopper=shopper,
            token=token,
            wording=wording,
            purpose=PURPOSE,
            given_ms=tx.now_ms,
            withdrawn_ms=None,
        )
    )
    given = {"token": token, "shopper": shopper, "wording": wording, "purpose": PURPOSE}
    _record(tx, EventType.CONSENT_GIVEN, consent_id, merchant, SHOPPER, given)
    saved = {"consent": consent_id, "shopper": shopper, "brand": row.brand, "last4": row.last4}
    _record(tx, EventType.CARD_SAVED, token, merchant, SHOPPER, saved)
    return consent_id


def list_cards(connection: Connection, merchant: str, shopper: str, now_ms: int) -> Sequence[SavedCard]:
    """The shopper's saved cards whose time is not over, newest first; at most LIST_LIMIT."""
    rows = connection.execute(
        select(card_record.c.token, card_record.c.brand, card_record.c.last4, card_record.c.created_ms)
        .join(consent, consent.c.token == card_record.c.token)
        .where(*_live(merchant, shopper), card_record.c.expires_ms > now_ms)
        .order_by(card_record.c.created_ms.desc(), card_record.c.token)
        .limit(LIST_LIMIT)
    )
    return [SavedCard._make(row) for row in rows]


def grant_saved(
    tx: Transaction,
    *,
    token: str,
    merchant: str,
    shopper: str,
    checkout: str,
    ceiling: Money,
    lifetime_seconds: int,
    actor: str,
    uses: int = 1,
    processor: str | None = None,
) -> str:
    """A grant on a saved card for one checkout, without a security code: none is kept. Raises ZoneRefusal(NOT_FOUND) (2).

    It ends with the card's own time at the latest.
    """
    ends_ms = tx.execute(
        select(card_record.c.expires_ms)
        .join(consent, consent.c.token == card_record.c.token)
        .where(*_live(merchant, shopper), card_record.c.token == token, card_record.c.expires_ms > tx.now_ms)
    ).scalar_one_or_none()
    if ends_ms is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return create_grant(
        tx,
        token=token,
        merchant=merchant,
        checkout=checkout,
        ceiling=ceiling,
        expires_ms=min(tx.now_ms + lifetime_seconds * 1000, ends_ms),
        actor=actor,
        uses=uses,
        processor=processor,
        needs_code=False,
    )


def has_consent(connection: Connection, token: str) -> bool:
    """Whether the card is a saved one whose shopper's consent stands."""
    return connection.execute(_STANDING_CONSENT, {"of_token": token}).first() is not None


def delete_card(tx: Transaction, *, merchant: str, shopper: str, token: str, actor: str, reason: str) -> Deleted:
    """Withdraws the consent and deletes the card with all that hangs on it (3). Repeating it changes nothing.

    ``reason``: asked (the card is to go) or consent_withdrawn. Raises ZoneRefusal(NOT_FOUND) for a card that this shopper
    never saved with this merchant (2).
    """
    given = tx.execute(
        select(consent.c.id, consent.c.wording, consent.c.withdrawn_ms).where(
            consent.c.merchant == merchant, consent.c.shopper == shopper, consent.c.token == token
        )
    ).first()
    if given is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    if given.withdrawn_ms is not None:
        return Deleted(False, ())
    tx.execute(update(consent).where(consent.c.id == given.id).values(withdrawn_ms=tx.now_ms))
    withdrawn = {"token": token, "shopper": shopper, "wording": given.wording, "purpose": PURPOSE}
    _record(tx, EventType.CONSENT_WITHDRAWN, given.id, merchant, actor, withdrawn)
    return Deleted(True, erase_card(tx, token=token, merchant=merchant, shopper=shopper, actor=actor, reason=reason))


def erase_card(
    tx: Transaction, *, token: str, merchant: str, shopper: str | None, actor: str, reason: str
) -> tuple[str, ...]:
    """Deletes a record with its fingerprint and grants, and says so; returns the grants. Ends the consent, if there is one."""
    grants = tuple(tx.execute(select(card_grant.c.id).where(card_grant.c.token == token)).scalars())
    tx.execute(delete(card_grant).where(card_grant.c.token == token))
    tx.execute(delete(card_record).where(card_record.c.token == token))
    if shopper is None:
        _record(tx, EventType.TOKEN_ERASED, token, merchant, actor, {"reason": reason})
        return grants
    tx.execute(
        update(consent).where(consent.c.token == token, consent.c.withdrawn_ms.is_(None)).values(withdrawn_ms=tx.now_ms)
    )
    data: dict[str, str | int | bool] = {"shopper": shopper, "grants": len(grants), "reason": reason}
    _record(tx, EventType.CARD_DELETED, token, merchant, actor, data)
    return grants


def _live(merchant: str, shopper: str):  # type: ignore[no-untyped-def]  # conditions of a query
    """(2) What makes a card this shopper's own: both rows say so, and the consent stands."""
    return (
        card_record.c.merchant == merchant,
        card_record.c.shopper == shopper,
        consent.c.merchant == merchant,
        consent.c.shopper == shopper,
        consent.c.withdrawn_ms.is_(None),
    )


def _record(
    tx: Transaction, kind: EventType, resource: str, merchant: str, actor: str, data: Mapping[str, str | int | bool]
) -> None:
    tx.record(
        Event(type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=resource, merchant=merchant, data=data)
    )
