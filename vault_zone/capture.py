"""Step 1, capture: a one-time link, one browser, one card, sealed and forgotten.

What holds for a capture session:
 1. The link's secret is 256 random bits; the database holds only its digest; the URL holds nothing else.
 2. Where the browser that began holds a secret (``opener_digest``), only who proves it claims the link (openers.py). Otherwise
    the first browser that opens it does. Any other is refused from then on.
 3. It takes one card. Token, grant, the session's new state and the events commit together.
 4. It ends after its time, after too many refused cards, or when a newer link for the same checkout is made. After each
    refused card but the first, the next is looked at only after a wait, which doubles.
 5. The grant is bound to the session's merchant, checkout, amount as ceiling, and currency.
 6. The card is saved only for the shopper that the session names, and only with a consent that commits with it.
 7. A link works in its own mode alone: a page of the zone, or fields in a frame of one of the merchant's origins.
 8. Who took a card with it and comes back is told so, and nothing is taken twice.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import digest, new_id, new_secret
from tokenization.money import Money
from tokenization.wire import CaptureSession, CaptureState, CardSummary, OpenCaptureSession
from vault_zone.card import Card
from vault_zone.device import Device, sealed_columns
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.fingerprint import Fingerprint
from vault_zone.grants import create_grant
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.models import capture_session, merchant
from vault_zone.saved_cards import record_saved
from vault_zone.vault import saved_until, store_card

MAXIMUM_TRIES = 10  # refused submissions on one link; more looks like card testing
LONGEST_DELAY_SECONDS = 60  # between two of them
GRANT_LIFETIME_SECONDS = 900  # the charge follows at once; the rest is for a shopper's slow way back
RECORD_LIFETIME_SECONDS = 86_400  # a card for one purchase is kept a day, for the processor's questions
SHOPPER = "shopper"
Mode = Literal["page", "fields"]
PAGE: Final[Mode] = "page"
FIELDS: Final[Mode] = "fields"


class LinkRefusal(Enum):
    """Why a capture link is not served; the page says what the shopper can do."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    USED = "used"
    ELSEWHERE = "opened_elsewhere"
    NOT_OPENER = "not_opener"  # only the browser that began may use it, and this one did not show that it is


class LinkRefused(Exception):
    """The link cannot be used by this browser now. Holds the way back to the merchant where there is one."""

    def __init__(self, refusal: LinkRefusal, cancel_url: str | None = None) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.cancel_url = cancel_url


@dataclass(frozen=True, slots=True)
class OpenLink:
    """What the card page needs to know of the session behind a link."""

    session: str
    merchant: str
    merchant_name: str
    checkout: str
    amount: Money
    summary: tuple[str, ...]
    return_url: str
    cancel_url: str
    expires_ms: int
    shopper: str | None = None  # who may save the card
    tries: int = 0  # refused so far
    next_try_ms: int = 0  # a submission before is not looked at


def is_return_address(url: str) -> bool:
    """Whether a page of ours may lead there: https, or http on this very machine for development."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.netloc != parts.netloc.lower():  # the page's policy names the origin as it stands
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"))


def open_session(tx: Transaction, asked: OpenCaptureSession, actor: str) -> tuple[CaptureSession, str]:
    """Makes a session and its link's secret, and closes earlier ones of the same checkout that took no card (4).

    Raises ZoneRefusal(FRAME_ORIGIN_UNKNOWN).
    """
    know_merchant(tx, asked.merchant, asked.merchant_name)
    if asked.frame_origin is not None and asked.frame_origin not in frame_origins(tx.connection, asked.merchant):  # (7)
        raise ZoneRefusal(ZoneError.FRAME_ORIGIN_UNKNOWN)
    tx.execute(
        update(capture_session)
        .where(
            capture_session.c.merchant == asked.merchant,
            capture_session.c.checkout == asked.checkout,
            capture_session.c.state.in_((CaptureState.OPEN, CaptureState.CLAIMED)),
        )
        .values(state=CaptureState.CLOSED)
    )
    session, secret = new_id("cap"), new_secret("lnk")
    expires_ms = tx.now_ms + asked.lifetime_seconds * 1000
    tx.execute(
        capture_session.insert().values(
            id=session,
            secret_digest=digest(secret),  # (1)
            merchant=asked.merchant,
            checkout=asked.checkout,
            amount_minor=asked.amount_minor,
            currency=asked.currency,
            summary=json.dumps(asked.summary),
            return_url=asked.return_url,
            cancel_url=asked.cancel_url,
            mode=asked.mode,
            frame_origin=asked.frame_origin,
            opener_digest=asked.opener_digest,
            shopper=asked.shopper,
            state=CaptureState.OPEN,
            tries=0,
            created_ms=tx.now_ms,
            expires_ms=expires_ms,
        )
    )
    record_session(tx, EventType.CAPTURE_SESSION_OPENED, session, asked.merchant, actor, {"checkout": asked.checkout})
    return CaptureSession(
        session=session, state=CaptureState.OPEN, checkout=asked.checkout, expires_ms=expires_ms
    ), secret


def claim_link(tx: Transaction, secret: str, claim: str | None) -> tuple[OpenLink, str]:
    """Opens the link for a browser: returns the session and the browser's claim, a new one on first opening (2).

    Raises LinkRefused.
    """
    row = usable_row(tx.connection, secret, claim, tx.now_ms, PAGE)
    if row.claim_digest is not None and claim is not None:
        return open_link(row), claim
    if row.opener_digest is not None:
        raise LinkRefused(LinkRefusal.NOT_OPENER, row.cancel_url)
    fresh = new_secret("clm")
    claimed = tx.execute(
        update(capture_session)
        .where(capture_session.c.id == row.id, capture_session.c.state == CaptureState.OPEN)
        .values(state=CaptureState.CLAIMED, claim_digest=digest(fresh))
    )
    if claimed.rowcount != 1:
        raise LinkRefused(LinkRefusal.ELSEWHERE, row.cancel_url)
    record_session(tx, EventType.CAPTURE_SESSION_CLAIMED, row.id, row.merchant, SHOPPER, {"checkout": row.checkout})
    return open_link(row), fresh


def claimed_link(connection: Connection, secret: str, claim: str | None, now_ms: int, mode: Mode = PAGE) -> OpenLink:
    """The session behind a link that this browser has claimed. Raises LinkRefused."""
    row = usable_row(connection, secret, claim, now_ms, mode)
    if row.claim_digest is None:
        raise LinkRefused(LinkRefusal.ELSEWHERE, row.cancel_url)
    return open_link(row)


def finished_link(connection: Connection, secret: str, claim: str | None, mode: Mode = PAGE) -> OpenLink | None:
    """The session in which this browser's card was already taken (8), or None."""
    row = find_row(connection, secret, mode)
    if row is None or row.state != CaptureState.CAPTURED or not _is_mine(row, claim):
        return None
    return open_link(row)


def capture_card(
    tx: Transaction,
    keys: KeyRing,
    *,
    secret: str,
    claim: str | None,
    card: Card,
    fingerprint: Fingerprint | None = None,
    wording: str | None = None,
    mode: Mode = PAGE,
    device: Device | None = None,
) -> tuple[OpenLink, str]:
    """Takes the card: seals it, makes token and grant, ends the session (3). Returns the session and the grant.

    ``wording`` is what the shopper agreed to when they ticked that the card be saved (6). ``device`` is kept for the charge.
    Raises LinkRefused, KeyMissing, KeyDestroyed: run by KeyRing.change().
    """
    link = claimed_link(tx.connection, secret, claim, tx.now_ms, mode)
    saver = link.shopper if wording else None  # (6)
    token = store_card(
        tx,
        keys,
        merchant=link.merchant,
        card=card,
        expires_ms=saved_until(card, tx.now_ms) if saver else tx.now_ms + RECORD_LIFETIME_SECONDS * 1000,
        actor=SHOPPER,
        shopper=saver,
        source=mode,
        fingerprint=fingerprint,
    )
    if saver and wording:
        record_saved(tx, merchant=link.merchant, shopper=saver, token=token, wording=wording)  # (6)
    grant = create_grant(  # (5)
        tx,
        token=token,
        merchant=link.merchant,
        checkout=link.checkout,
        ceiling=link.amount,
        expires_ms=tx.now_ms + GRANT_LIFETIME_SECONDS * 1000,
        actor=SHOPPER,
    )
    taken = tx.execute(
        update(capture_session)
        .where(capture_session.c.id == link.session, capture_session.c.state == CaptureState.CLAIMED)
        .values(
            state=CaptureState.CAPTURED,
            token=token,
            grant_id=grant,
            brand=card.pan.brand,
            last4=card.pan.last4,
            **(sealed_columns(tx, keys, link.session, link.merchant, device) if device else {}),
        )
    )
    if taken.rowcount != 1:
        raise LinkRefused(LinkRefusal.USED, link.cancel_url)
    record_session(
        tx,
        EventType.CARD_CAPTURED,
        link.session,
        link.merchant,
        SHOPPER,
        {"checkout": link.checkout, "token": token, "grant": grant, "brand": card.pan.brand, "last4": card.pan.last4},
    )
    return link, grant


def delay_seconds(tries: int) -> int:
    """How long after so many refused submissions the next is looked at: 0, 1, 2, 4, 8 … LONGEST_DELAY_SECONDS (4)."""
    return min(2 ** (tries - 2), LONGEST_DELAY_SECONDS) if tries > 1 else 0


def count_refused_card(tx: Transaction, link: OpenLink, broken: tuple[str, ...], *, not_before_ms: int = 0) -> int:
    """Counts a submission that did not validate; at MAXIMUM_TRIES the link ends (4). Returns the tries. Raises LinkRefused.

    The next is looked at after its delay, and not before ``not_before_ms``.
    """
    tries: int = (
        tx.execute(select(capture_session.c.tries).where(capture_session.c.id == link.session)).scalar_one() + 1
    )
    state = CaptureState.CLOSED if tries >= MAXIMUM_TRIES else CaptureState.CLAIMED
    counted = tx.execute(
        update(capture_session)
        .where(capture_session.c.id == link.session, capture_session.c.state == CaptureState.CLAIMED)
        .values(tries=tries, state=state, next_try_ms=max(tx.now_ms + delay_seconds(tries) * 1000, not_before_ms))
    )
    if counted.rowcount != 1:  # it took a card, or ended, since the form was read
        raise LinkRefused(LinkRefusal.USED, link.return_url)
    record_session(
        tx,
        EventType.CARD_CAPTURE_FAILED,
        link.session,
        link.merchant,
        SHOPPER,
        {"checkout": link.checkout, "reason": ",".join(sorted(broken)), "tries": tries},
        outcome="failure",
    )
    return tries


def read_session(connection: Connection, session: str, merchant_id: str, now_ms: int) -> CaptureSession | None:
    """The session as commerce may see it, or None when this merchant has none of that id."""
    row = connection.execute(
        select(capture_session).where(capture_session.c.id == session, capture_session.c.merchant == merchant_id)
    ).first()
    if row is None:
        return None
    state = CaptureState(row.state)
    if state in (CaptureState.OPEN, CaptureState.CLAIMED) and row.expires_ms <= now_ms:
        state = CaptureState.CLOSED
    return CaptureSession(
        session=row.id,
        state=state,
        checkout=row.checkout,
        expires_ms=row.expires_ms,
        token=row.token,
        grant=row.grant_id,
        card=CardSummary(brand=row.brand, last4=row.last4) if row.brand else None,
    )


def find_row(connection: Connection, secret: str, mode: Mode) -> "Row[Any] | None":
    """The session's row behind a link of this mode (7), whoever asks."""
    return connection.execute(
        select(capture_session, merchant.c.name.label("merchant_name"))
        .join(merchant, merchant.c.id == capture_session.c.merchant)
        .where(capture_session.c.secret_digest == digest(secret), capture_session.c.mode == mode)
    ).first()


def usable_row(connection: Connection, secret: str, claim: str | None, now_ms: int, mode: Mode) -> "Row[Any]":
    """The row of a session that takes a card now, from this browser if one has claimed it. Raises LinkRefused."""
    row = find_row(connection, secret, mode)
    if row is None:
        raise LinkRefused(LinkRefusal.UNKNOWN)
    if row.claim_digest is not None and not _is_mine(row, claim):
        refusal = LinkRefusal.ELSEWHERE if row.opener_digest is None else LinkRefusal.NOT_OPENER
        raise LinkRefused(refusal, row.cancel_url)
    if row.state == CaptureState.CAPTURED:
        raise LinkRefused(LinkRefusal.USED, row.return_url)
    if row.state == CaptureState.CLOSED or row.expires_ms <= now_ms:
        raise LinkRefused(LinkRefusal.EXPIRED, row.cancel_url)
    return row


def _is_mine(row: "Row[Any]", claim: str | None) -> bool:
    return claim is not None and row.claim_digest is not None and hmac.compare_digest(digest(claim), row.claim_digest)


def open_link(row: "Row[Any]") -> OpenLink:
    """What a page needs of a session's row."""
    return OpenLink(
        session=row.id,
        merchant=row.merchant,
        merchant_name=row.merchant_name,
        checkout=row.checkout,
        amount=Money(row.amount_minor, row.currency),
        summary=tuple(json.loads(row.summary)),
        return_url=row.return_url,
        cancel_url=row.cancel_url,
        expires_ms=row.expires_ms,
        shopper=row.shopper,
        tries=row.tries,
        next_try_ms=row.next_try_ms,
    )


def frame_origins(connection: Connection, merchant_id: str) -> tuple[str, ...]:
    """The origins whose pages may frame the merchant's card fields; none for a merchant that the zone does not know."""
    held = connection.execute(select(merchant.c.frame_origins).where(merchant.c.id == merchant_id)).scalar_one_or_none()
    return tuple(json.loads(held)) if held else ()


def know_merchant(tx: Transaction, merchant_id: str, name: str | None = None) -> None:
    """Makes the merchant known, under its name of now; without one it keeps the name it has, or goes by its id."""
    known = tx.execute(select(merchant.c.name).where(merchant.c.id == merchant_id)).scalar_one_or_none()
    if known is None:
        tx.execute(merchant.insert().values(id=merchant_id, name=name or merchant_id, created_ms=tx.now_ms))
    elif name is not None and known != name:
        tx.execute(update(merchant).where(merchant.c.id == merchant_id).values(name=name))


def record_session(
    tx: Transaction,
    kind: EventType,
    session: str,
    merchant_id: str,
    actor: str,
    data: Mapping[str, str | int | bool],
    outcome: str = "success",
) -> None:
    """An event about a session."""
    tx.record(
        Event(
            type=kind,
            outcome="failure" if outcome == "failure" else "success",
            actor=actor,
            origin=ORIGIN,
            resource=session,
            merchant=merchant_id,
            data=data,
        )
    )
