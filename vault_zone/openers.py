"""Who opens a link is who began: a secret that only the beginning browser holds, shown in a body, never in an address.

What holds:
 1. The zone holds the secret's digest alone, and compares in constant time.
 2. Opening, fetching ahead or forwarding the link claims nothing: a claim is made by the proof alone.
 3. Each proof makes a new claim, and the one before it is worth nothing from then on: a copied cookie dies when the browser
    that began shows itself again.
 4. A proof for a session that took its card says so, and takes nothing.
"""

import hmac
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.engine import Row

from audit.event import EventType
from audit.transaction import Transaction
from tokenization.ids import digest, is_secret, new_secret
from tokenization.wire import OPENER_PREFIX, CaptureState
from vault_zone.capture import (
    SHOPPER,
    LinkRefusal,
    LinkRefused,
    Mode,
    OpenLink,
    find_row,
    open_link,
    record_session,
)
from vault_zone.models import capture_session


@dataclass(frozen=True, slots=True)
class Claimed:
    """A browser that has shown that it began. ``claim`` is its to keep; ``captured`` says that its card was taken."""

    link: OpenLink
    claim: str
    captured: bool


def claim_by_opener(tx: Transaction, secret: str, opener: str, mode: Mode) -> Claimed:
    """Claims the link for the browser that began (3). Raises LinkRefused.

    A session without an opener is not claimed here: its first browser claims it by opening the page.
    """
    row = find_row(tx.connection, secret, mode)
    if row is None:
        raise LinkRefused(LinkRefusal.UNKNOWN)
    if not _began(row, opener):
        raise LinkRefused(LinkRefusal.NOT_OPENER, row.cancel_url)
    captured = row.state == CaptureState.CAPTURED
    if not captured and (row.state == CaptureState.CLOSED or row.expires_ms <= tx.now_ms):
        raise LinkRefused(LinkRefusal.EXPIRED, row.cancel_url)
    fresh = new_secret("clm")
    tx.execute(
        update(capture_session)
        .where(capture_session.c.id == row.id)
        .values(
            claim_digest=digest(fresh),  # (3)
            state=CaptureState.CAPTURED if captured else CaptureState.CLAIMED,  # (4)
        )
    )
    data: dict[str, str | int | bool] = {"checkout": row.checkout, "from": row.state}
    record_session(tx, EventType.CAPTURE_SESSION_CLAIMED, row.id, row.merchant, SHOPPER, data)
    return Claimed(open_link(row), fresh, captured)


def _began(row: "Row[Any]", opener: str) -> bool:
    if row.opener_digest is None or not is_secret(opener, OPENER_PREFIX):
        return False
    return hmac.compare_digest(digest(opener), row.opener_digest)  # (1)
