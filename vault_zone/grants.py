"""Grants: what a token may be used for. Worth nothing outside their binding (I4).

A grant is usable when all of these hold, checked in the transaction that uses it:
 1. It is for this merchant.
 2. It is for this checkout.
 3. It is in this currency, and the amount is at most what its ceiling leaves after earlier uses.
 4. Its time is not over, and it was not revoked.
 5. It has a use left; use and amount are counted in the same transaction as the charge's intent.
 6. Where it names a processor, it goes to that one.
"""

from sqlalchemy import or_, select, update
from sqlalchemy.engine import Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.money import Money
from tokenization.token import new_grant
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import ORIGIN
from vault_zone.models import card_grant


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
    tx.record(
        Event(
            type=EventType.GRANT_CREATED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=grant,
            merchant=merchant,
            data={
                "token": token,
                "checkout": checkout,
                "amount_minor": ceiling.amount_minor,
                "currency": ceiling.currency,
                "uses": uses,
            },
        )
    )
    return grant


def consume_grant(
    tx: Transaction, *, grant: str, merchant: str, checkout: str, amount: Money, actor: str, processor: str
) -> "Row[tuple[str, bool]]":
    """Uses the grant once in this transaction; returns its row (``token``, ``needs_code``).

    Raises ZoneRefusal: GRANT_NOT_USABLE for every broken binding alike, so that a refusal teaches nothing about the grant;
    AMOUNT_OVER_CEILING only to who holds the rest of the binding.
    """
    row = tx.execute(
        select(
            card_grant.c.token,
            card_grant.c.needs_code,
            (card_grant.c.ceiling_minor - card_grant.c.used_minor).label("left_minor"),
        ).where(
            card_grant.c.id == grant,
            card_grant.c.merchant == merchant,  # (1)
            card_grant.c.checkout == checkout,  # (2)
            card_grant.c.currency == amount.currency,  # (3)
            card_grant.c.expires_ms > tx.now_ms,  # (4)
            card_grant.c.revoked_ms.is_(None),  # (4)
            card_grant.c.uses_left > 0,  # (5)
            or_(card_grant.c.processor.is_(None), card_grant.c.processor == processor),  # (6)
        )
    ).first()
    if row is None:
        raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE)
    if amount.amount_minor > row.left_minor:  # (3)
        raise ZoneRefusal(ZoneError.AMOUNT_OVER_CEILING)
    used = tx.execute(
        update(card_grant)
        .where(
            card_grant.c.id == grant,
            card_grant.c.uses_left > 0,
            card_grant.c.used_minor <= card_grant.c.ceiling_minor - amount.amount_minor,
        )
        .values(uses_left=card_grant.c.uses_left - 1, used_minor=card_grant.c.used_minor + amount.amount_minor)  # (5)
    )
    if used.rowcount != 1:
        raise ZoneRefusal(ZoneError.GRANT_NOT_USABLE)
    tx.record(
        Event(
            type=EventType.GRANT_CONSUMED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=grant,
            merchant=merchant,
            data={"checkout": checkout, "amount_minor": amount.amount_minor, "currency": amount.currency},
        )
    )
    return row
