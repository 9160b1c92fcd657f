"""Grants: what a token may be used for. Worth nothing outside their binding (I4).

A grant is usable when all of these hold, checked and counted by the one statement that uses it:
 1. It is for this merchant.
 2. It is for this checkout.
 3. It is in this currency, and the amount is at most what its ceiling leaves after earlier uses.
 4. Its time is not over, and it was not revoked.
 5. It has a use left; use and amount are counted in the same transaction as the charge's intent.
 6. Where it names a processor, it goes to that one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, or_, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql.dml import ReturningUpdate

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.money import Money
from tokenization.token import new_grant
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import ORIGIN
from vault_zone.models import card_grant, card_record

LIST_LIMIT = 200  # grants in one answer


def create_grant(
    tx: Transaction,
    *,
    token: str,
    merchant: str,
    checkout: str,
    ceiling: Money,
    expires_ms: int,
    actor: str,
    uses: int = 1,
    processor: str | None = None,
    needs_code: bool = True,
    grant_id: str | None = None,
) -> str:
    """Makes a grant for one checkout and returns its id.

    ``needs_code``: a charge must carry the security code that came with the card. ``grant_id``: an id in another's form, such
    as a vault token of the Agentic Commerce Protocol; as random as ours.
    """
    grant = grant_id or new_grant()
    tx.execute(
        card_grant.insert().values(
            id=grant,
            token=token,
            merchant=merchant,
            checkout=checkout,
            ceiling_minor=ceiling.amount_minor,
            currency=ceiling.currency,
            expires_ms=expires_ms,
            created_ms=tx.now_ms,
            uses_left=uses,
            processor=processor,
            needs_code=needs_code,
            revoked_ms=None,
        )
    )
    data: Mapping[str, str | int | bool] = {
        "token": token,
        "checkout": checkout,
        "amount_minor": ceiling.amount_minor,
        "currency": ceiling.currency,
        "uses": uses,
    }
    _record(tx, EventType.GRANT_CREATED, grant, merchant, actor, data)
    return grant


class GrantInfo(NamedTuple):
    """A grant as its merchant may see it: what it is for and what is left of it. Times in milliseconds since 1970."""

    grant: str
    token: str
    checkout: str
    ceiling_minor: int
    used_minor: int
    currency: str
    uses_left: int
    processor: str | None
    created_ms: int
    expires_ms: int
    revoked_ms: int | None
    brand: str
    last4: str


class Asked(NamedTuple):
    """A use of a grant that is asked for. The statement is built once, with a parameter in the place of each."""

    grant: Any
    merchant: Any
    checkout: Any
    amount_minor: Any
    currency: Any
    processors: Any  # it may go to one of these


def binding(asked: Asked, now_ms: Any) -> dict[str, ColumnElement[bool]]:
    """The conditions under which a grant is usable, by the field that each guards. All of them, or it is not."""
    return {
        "grant": card_grant.c.id == asked.grant,
        "merchant": card_grant.c.merchant == asked.merchant,  # (1)
        "checkout": card_grant.c.checkout == asked.checkout,  # (2)
        "currency": card_grant.c.currency == asked.currency,  # (3)
        "ceiling": card_grant.c.used_minor <= card_grant.c.ceiling_minor - asked.amount_minor,  # (3)
        "expiry": card_grant.c.expires_ms > now_ms,  # (4)
        "revoked": card_grant.c.revoked_ms.is_(None),  # (4)
        "uses": card_grant.c.uses_left > 0,  # (5)
        "processor": or_(card_grant.c.processor.is_(None), card_grant.c.processor.in_(asked.processors)),  # (6)
    }


def consume_grant(
    tx: Transaction, *, grant: str, merchant: str, checkout: str, amount: Money, actor: str, processors: Collection[str]
) -> "Row[Any]":
    """Uses the grant once in this transaction; returns its row (``token``, ``needs_code``, ``processor``).

    Raises ZoneRefusal(GRANT_NOT_USABLE) for every broken binding alike, so that a refusal teaches nothing about the grant.
    """
    asked = Asked(grant, merchant, checkout, amount.amount_minor, amount.currency, list(processors))
    values = {f"asked_{name}": value for name, value in asked._asdict().items()}
    row = tx.execute(_use(binding), {**values, "now_ms": tx.now_ms}).first()
    if row is None:
        raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE)
    data: Mapping[str, str | int | bool] = {
        "checkout": checkout,
        "amount_minor": amount.amount_minor,
        "currency": amount.currency,
    }
    _record(tx, EventType.GRANT_CONSUMED, grant, merchant, actor, data)
    return row


@cache
def _use(conditions: Callable[[Asked, Any], dict[str, ColumnElement[bool]]]) -> ReturningUpdate[Any]:
    """The one statement that uses a grant, made once: to build it takes longer than to run it."""
    places: list[Any] = [bindparam(f"asked_{name}", expanding=name == "processors") for name in Asked._fields]
    asked = Asked(*places)
    return (
        update(card_grant)
        .where(*conditions(asked, bindparam("now_ms")).values())
        .values(uses_left=card_grant.c.uses_left - 1, used_minor=card_grant.c.used_minor + asked.amount_minor)  # (5)
        .returning(card_grant.c.token, card_grant.c.needs_code, card_grant.c.processor)
    )


def list_grants(
    connection: Connection, merchant: str, *, checkout: str | None = None, token: str | None = None
) -> Sequence[GrantInfo]:
    """The merchant's grants for a checkout or on a token, newest first; at most LIST_LIMIT."""
    found = select(
        card_grant.c.id,
        card_grant.c.token,
        card_grant.c.checkout,
        card_grant.c.ceiling_minor,
        card_grant.c.used_minor,
        card_grant.c.currency,
        card_grant.c.uses_left,
        card_grant.c.processor,
        card_grant.c.created_ms,
        card_grant.c.expires_ms,
        card_grant.c.revoked_ms,
        card_record.c.brand,
        card_record.c.last4,
    ).join(card_record, card_record.c.token == card_grant.c.token)
    found = found.where(card_grant.c.merchant == merchant)
    if checkout is not None:
        found = found.where(card_grant.c.checkout == checkout)
    if token is not None:
        found = found.where(card_grant.c.token == token)
    ordered = found.order_by(card_grant.c.created_ms.desc(), card_grant.c.id).limit(LIST_LIMIT)
    return [GrantInfo._make(row) for row in connection.execute(ordered)]


def revoke_grant(tx: Transaction, *, grant: str, merchant: str, actor: str) -> bool:
    """Takes a grant back; False when it was before. Its security code is to be forgotten after the commit.

    Raises ZoneRefusal(NOT_FOUND) when the merchant has none of that id.
    """
    revoked = tx.execute(
        update(card_grant)
        .where(card_grant.c.id == grant, card_grant.c.merchant == merchant, card_grant.c.revoked_ms.is_(None))
        .values(revoked_ms=tx.now_ms)
        .returning(card_grant.c.token, card_grant.c.checkout, card_grant.c.uses_left)
    ).first()
    if revoked is not None:
        data = {
            "token": revoked.token,
            "checkout": revoked.checkout,
            "uses_left": revoked.uses_left,
        }
        _record(tx, EventType.GRANT_REVOKED, grant, merchant, actor, data)
        return True
    known = tx.execute(select(card_grant.c.id).where(card_grant.c.id == grant, card_grant.c.merchant == merchant))
    if known.first() is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return False


def _record(
    tx: Transaction, kind: EventType, grant: str, merchant: str, actor: str, data: Mapping[str, str | int | bool]
) -> None:
    tx.record(
        Event(type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=grant, merchant=merchant, data=data)
    )
