"""One idempotency engine: the record of a key and the change it stands for commit together.

What holds:
 1. The same key with the same request gives the first answer again, and changes nothing.
 2. The same key with another request is refused.
 3. A refused or failed request leaves no record: it may be sent again under its key.
 4. Keys belong to who asks and what is asked for; another caller's key of the same text is another key.
 5. What is stored of a key is a digest: a UUID is taken unread (tokenization/opaque_keys.py).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import delete, select

from audit.transaction import Transaction
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import idempotency
from tokenization.ids import digest

KEEP_SECONDS = 48 * 3600  # UCP recommends 48 h, ACP asks for at least 24 h
MAXIMUM_KEY_LENGTH = 255


def once(
    tx: Transaction,
    *,
    scope: str,
    key: str | None,
    request: Mapping[str, Any],
    work: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The answer of ``work`` in this transaction, or the answer that this key already got (1). Without a key, just works.

    Raises CommerceRefusal: IDEMPOTENCY_CONFLICT (2), INVALID_REQUEST for a key that is empty or too long.
    """
    if key is None:
        return work()
    if not 1 <= len(key) <= MAXIMUM_KEY_LENGTH:
        raise CommerceRefusal(CommerceError.INVALID_REQUEST)
    fingerprint = fingerprint_of(request)
    stored = digest(f"{scope}\n{key}")  # (5)
    known = tx.execute(
        select(idempotency.c.fingerprint, idempotency.c.answer).where(
            idempotency.c.scope == scope,
            idempotency.c.key == stored,  # (4)
        )
    ).first()
    if known is not None:
        if known.fingerprint != fingerprint:
            raise CommerceRefusal(CommerceError.IDEMPOTENCY_CONFLICT)
        answer: dict[str, Any] = json.loads(known.answer)
        return answer
    fresh = work()  # (3) a refusal undoes the transaction, and with it this record
    tx.execute(
        idempotency.insert().values(
            scope=scope, key=stored, fingerprint=fingerprint, answer=json.dumps(fresh), created_ms=tx.now_ms
        )
    )
    return fresh


def fingerprint_of(request: Mapping[str, Any]) -> str:
    """SHA-256 of the request's meaning: JSON with sorted keys, so that the order of keys makes no difference."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def forget_old(tx: Transaction) -> None:
    """Deletes records past KEEP_SECONDS."""
    tx.execute(delete(idempotency).where(idempotency.c.created_ms < tx.now_ms - KEEP_SECONDS * 1000))
