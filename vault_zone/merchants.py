"""Which pages may frame a merchant's card fields: an operator's word, not commerce's.

Whoever frames the fields can lead a shopper to type a card there. What holds:
 1. The origins are set by an operator on the zone's own machine; nothing that commerce can call changes them.
 2. An origin is an exact one: https, or http on this machine for development; no wildcard, no path.
 3. An origin that is taken away frames nothing from then on, also for sessions that were opened before.
"""

import json
from collections.abc import Iterable

from sqlalchemy import update

from audit.event import Event, EventType
from audit.transaction import Transaction
from vault_zone.capture import frame_origins, know_merchant
from vault_zone.key_rows import ORIGIN
from vault_zone.models import merchant
from vault_zone.pages.render import require_origin

MAXIMUM_ORIGINS = 20


class TooManyOrigins(Exception):
    """A merchant has at most MAXIMUM_ORIGINS. Take one away first."""


def change_frame_origins(
    tx: Transaction, merchant_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), actor: str
) -> tuple[str, ...]:
    """Adds and takes away origins; returns those that stand now. Raises UnsafeUrl (2), TooManyOrigins.

    A merchant that the zone does not know yet becomes known under its id, until commerce gives its name.
    """
    added, removed = tuple(add), set(remove)
    for origin in added:
        require_origin(origin)
    before = frame_origins(tx.connection, merchant_id)
    now = tuple(sorted({*before, *added} - removed))
    if len(now) > MAXIMUM_ORIGINS:
        raise TooManyOrigins
    if now == before:
        return now
    know_merchant(tx, merchant_id)
    tx.execute(update(merchant).where(merchant.c.id == merchant_id).values(frame_origins=json.dumps(now)))
    tx.record(
        Event(
            type=EventType.FRAME_ORIGINS_CHANGED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=merchant_id,
            merchant=merchant_id,
            data={"added": len(set(now) - set(before)), "removed": len(set(before) - set(now)), "count": len(now)},
        )
    )
    return now
