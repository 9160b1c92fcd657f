"""Requests that are sent twice: the second is answered like the first, and nothing happens a second time.

A request that holds a card must not be kept, and a plain hash of it would be a hash of the card (PCI DSS 3.5.1.1). Nothing made
from a security code or a cryptogram may outlive the request (3.3.1), so the fingerprint is of the request without them.

What holds:
 1. A key belongs to one caller and one endpoint. The database holds its digest.
 2. The row commits in the transaction that does what was asked: both are there, or neither.
 3. The fingerprint is HMAC-SHA-256 under a key of the merchant for this purpose alone, whose id is in the row.
 4. The answer that is kept holds ids and times, never a field of the request.
 5. Only an answer that something was done is kept: a refusal or a failure leaves the key free.
 6. While the first request is under way in this process, a second is told so; in another process the database's primary key
    lets one of them through.
 7. A row is kept for KEEP_SECONDS at least, then deleted.
"""

import hmac
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from audit.transaction import Transaction
from tokenization.ids import digest, letters_of
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.models import idempotency

KEEP_SECONDS = 48 * 3600  # ACP asks for 24 hours at least, UCP advises 48
KEY_MAXIMUM = 255
# Read for each request, so made once: to build a statement takes longer than to run it.
_OF_KEY = select(idempotency).where(
    idempotency.c.caller == bindparam("of_caller"), idempotency.c.key_digest == bindparam("of_digest")
)
_AMONG = select(idempotency).where(
    idempotency.c.caller.in_(bindparam("callers", expanding=True)),
    idempotency.c.key_digest.in_(bindparam("digests", expanding=True)),
)


class InFlight(Exception):
    """The first request under this key is not answered yet. The same call may be made again in a moment."""


class KeyConflict(Exception):
    """The key was used for a different request."""


class Key(NamedTuple):
    """An idempotency key as it is stored (1)."""

    caller: str
    digest: str


class Mark(NamedTuple):
    """A request's fingerprint and the key it was made with (3)."""

    key_id: str
    fingerprint: str


class Kept(NamedTuple):
    """What is known of a request that was answered."""

    mark: Mark
    answer: str


def key_of(caller: str, endpoint: str, key: str) -> Key:
    """The stored form of the key that a caller sent to an endpoint (1)."""
    return Key(caller, digest(f"{endpoint}\n{key}"))


async def mark_of(keys: KeyRing, merchant: str, request: bytes) -> Mark:
    """The request's fingerprint under the merchant's active key. Raises KeyUnavailable, KeyDestroyed."""
    key_id, key = await keys.ready(merchant, Purpose.IDEMPOTENCY)
    return Mark(key_id, _fingerprint(key, request))


async def is_same(keys: KeyRing, kept: Kept, mark: Mark, merchant: str, request: bytes) -> bool:
    """Whether the request is the one that was answered. Raises KeyUnavailable."""
    if kept.mark.key_id == mark.key_id:
        return hmac.compare_digest(kept.mark.fingerprint, mark.fingerprint)
    try:
        key = await keys.read(
            lambda connection: keys.opening_key(connection, kept.mark.key_id, merchant, Purpose.IDEMPOTENCY)
        )
    except KeyUnavailable:
        return False  # another merchant's key, or a destroyed one: not the same request, or never to be known again
    return hmac.compare_digest(kept.mark.fingerprint, _fingerprint(key, request))


def kept_among(tx: Transaction, wanted: Iterable[Key]) -> dict[Key, Kept]:
    """Which of the keys have an answer. One past its time counts as gone, and its row makes room."""
    asked = set(wanted)
    if not asked:
        return {}
    found: dict[Key, Kept] = {}
    parts = {"callers": {key.caller for key in asked}, "digests": {key.digest for key in asked}}
    for row in tx.execute(_AMONG, parts).all():
        key = Key(row.caller, row.key_digest)
        if key not in asked:  # another caller's, under the same words
            continue
        if row.expires_ms > tx.now_ms:
            found[key] = Kept(Mark(row.key_id or "", row.fingerprint), row.answer or "")
        else:
            _delete(tx, key)
    return found


def find_kept(connection: Connection, key: Key, now_ms: int) -> Kept | None:
    """The answer under a key, or None."""
    row = connection.execute(_OF_KEY, {"of_caller": key.caller, "of_digest": key.digest}).first()
    return (
        None
        if row is None or row.expires_ms <= now_ms
        else Kept(Mark(row.key_id or "", row.fingerprint), row.answer or "")
    )


def row_of(key: Key, mark: Mark, status: int, answer: str, now_ms: int) -> dict[str, Any]:
    """The row to insert with what was done (2)."""
    return {
        "caller": key.caller,
        "key_digest": key.digest,
        "fingerprint": mark.fingerprint,
        "key_id": mark.key_id,
        "status": status,
        "answer": answer,
        "created_ms": now_ms,
        "expires_ms": now_ms + KEEP_SECONDS * 1000,
    }


class UnderWay:
    """The keys whose first request this process is answering (6)."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()

    @contextmanager
    def alone(self, key: Key | None) -> Iterator[None]:
        """Holds the key for one request. Raises InFlight."""
        if key is None:
            yield
            return
        if key in self._keys:
            raise InFlight
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


def _fingerprint(key: bytes, request: bytes) -> str:
    return letters_of(hmac.digest(key, request, "sha256"))


def _delete(tx: Transaction, key: Key) -> None:
    tx.execute(delete(idempotency).where(idempotency.c.caller == key.caller, idempotency.c.key_digest == key.digest))
