"""Step 2, token: a card goes in sealed and a random token stands for it. Only the charge engine opens one, in memory.

What holds for a record:
 1. The row holds no card data in clear but brand and last four.
 2. The sealed bytes open only for this token, merchant and key id (associated data), in the format that they name.
 3. The key id is in the row; a key that is retired still opens, and never seals.
 4. Past ``expires_ms`` the record is not opened.
"""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.token import new_token
from vault_zone.card import Card, CardholderName, Expiry, Exposure, Pan, PostalCode
from vault_zone.fingerprint import Fingerprint
from vault_zone.hazmat.seal import PADDED, seal, unseal
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.models import card_record

CARD = "card"
SAVED_LIFETIME_SECONDS = 395 * 86_400  # thirteen months from the last charge: a yearly purchase finds its card again
NETWORK_TOKEN = "network_token"  # nosec B105  # a kind of card number, not a secret
# Run for each charge, so made once: to build a statement takes longer than to run it.
_LIVE_CARD = select(card_record).where(
    card_record.c.token == bindparam("of_token"),
    card_record.c.merchant == bindparam("of_merchant"),
    card_record.c.expires_ms > bindparam("now_ms"),
)
_KEEP_SAVED = (
    update(card_record)
    .where(card_record.c.token == bindparam("of_token"), card_record.c.shopper.is_not(None))
    .values(expires_ms=bindparam("until_ms"))
)


class CardGone(Exception):
    """No card is held under this token for this merchant, or its time is over."""


def store_card(
    tx: Transaction,
    keys: KeyRing,
    *,
    merchant: str,
    card: Card,
    expires_ms: int,
    actor: str,
    source: str = "page",
    kind: str = CARD,
    shopper: str | None = None,
    fingerprint: Fingerprint | None = None,
) -> str:
    """Seals the card in this transaction and returns its token. Raises KeyMissing, KeyDestroyed: run by KeyRing.change().

    ``source``: page, fields, wallet, acp or ucp. ``kind``: card or network_token. ``fingerprint`` is had before, from
    KeyRing.fingerprint(). ``shopper`` is given for a card that its holder agreed to have saved.
    """
    row = record_row(
        keys.sealing_key(tx, merchant),
        merchant=merchant,
        card=card,
        created_ms=tx.now_ms,
        expires_ms=expires_ms,
        source=source,
        kind=kind,
    )
    token: str = row["token"]
    row["shopper"] = shopper
    row["fingerprint"] = fingerprint.digest if fingerprint else None
    row["fingerprint_key_id"] = fingerprint.key_id if fingerprint else None
    tx.execute(card_record.insert().values(row))
    tx.record(
        Event(
            type=EventType.TOKEN_CREATED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource=token,
            merchant=merchant,
            data={"brand": card.pan.brand, "last4": card.pan.last4},
        )
    )
    return token


def record_row(
    sealing_key: tuple[str, bytes],
    *,
    merchant: str,
    card: Card,
    created_ms: int,
    expires_ms: int,
    source: str,
    kind: str = CARD,
) -> dict[str, Any]:
    """A card's row under a fresh token. ``sealing_key`` is from KeyRing.sealing_key() in the transaction that inserts it."""
    token = new_token()
    key_id, key = sealing_key
    return {
        "token": token,
        "merchant": merchant,
        "key_id": key_id,  # (3)
        "format": PADDED,
        "sealed": seal(key, _plaintext(card), bound_to(token, merchant, key_id, PADDED), PADDED),  # (1) (2)
        "kind": kind,
        "source": source,
        "brand": card.pan.brand,
        "last4": card.pan.last4,
        "created_ms": created_ms,
        "expires_ms": expires_ms,
    }


def open_card(connection: Connection, keys: KeyRing, *, token: str, merchant: str, now_ms: int) -> Card:
    """The card, in memory, for the processor. Raises CardGone, KeyMissing, KeyDestroyed, SealBroken (an altered row)."""
    row = connection.execute(_LIVE_CARD, {"of_token": token, "of_merchant": merchant, "now_ms": now_ms}).first()  # (4)
    if row is None:
        raise CardGone
    key = keys.opening_key(connection, row.key_id, merchant)
    content = json.loads(unsealed(key, row))
    return Card(
        pan=Pan.parse(content["number"]),
        expiry=Expiry(content["month"], content["year"]),
        name=CardholderName(content["name"]) if content["name"] else None,
        postal_code=PostalCode(content["postal_code"]) if content["postal_code"] else None,
    )


def unsealed(key: bytes, row: "Row[Any]") -> bytes:
    """What a record's sealed bytes hold, for this module and for re-keying. Raises SealBroken."""
    return unseal(key, bytes(row.sealed), bound_to(row.token, row.merchant, row.key_id, row.format))


def pan_of(content: bytes) -> Pan:
    """The number in a record's content."""
    return Pan.parse(json.loads(content)["number"])


def saved_until(card: Card, now_ms: int) -> int:
    """Until when a saved card is kept, in milliseconds: SAVED_LIFETIME_SECONDS from now, and not past its own last month."""
    month, year = card.expiry.expose(Exposure.SEAL)
    after = datetime(year + month // 12, month % 12 + 1, 1, 12, tzinfo=UTC)  # the month is over everywhere on Earth
    return min(now_ms + SAVED_LIFETIME_SECONDS * 1000, int(after.timestamp()) * 1000)


def keep_saved(tx: Transaction, token: str, card: Card) -> None:
    """Moves the end of a saved card's time, in the transaction that charges it. A card of one purchase keeps its own."""
    tx.execute(_KEEP_SAVED, {"of_token": token, "until_ms": saved_until(card, tx.now_ms)})


def _plaintext(card: Card) -> bytes:
    month, year = card.expiry.expose(Exposure.SEAL)
    return json.dumps(
        {
            "number": card.pan.expose(Exposure.SEAL),
            "month": month,
            "year": year,
            "name": card.name.expose(Exposure.SEAL) if card.name else None,
            "postal_code": card.postal_code.expose(Exposure.SEAL) if card.postal_code else None,
        }
    ).encode()


def bound_to(token: str, merchant: str, key_id: str, form: int) -> tuple[str, ...]:
    """The fields that a record's sealed bytes belong to (2)."""
    return ("card", str(form), token, merchant, key_id)
