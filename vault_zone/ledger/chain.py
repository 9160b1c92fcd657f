"""The journal as one chain: each entry's digest holds the one before it, and the record holds the newest.

What holds:
 1. Every committed entry gets the next place, once, shortly after its commit: the chain costs the transaction of a charge
    nothing, and writers never wait for each other at its end.
 2. A digest is over the entry, its postings and the digest before it. Whoever changes, drops, adds or moves an entry behind the
    database's back changes every digest after it.
 3. Each pass records the newest digest and how many entries it stands for in the signed log, so that the end of the chain
    cannot be cut off or written anew either.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from audit.event import Event, EventType
from audit.transaction import Database, Transaction
from tokenization.ids import letters_of
from vault_zone.key_rows import ORIGIN
from vault_zone.models import ledger_entry, ledger_posting

GENESIS: Final = letters_of(bytes(32))  # what stands before the first entry
PASS_LIMIT: Final = 500  # entries in one transaction
RESOURCE: Final = "ledger:journal"
_FIELDS: Final = (
    *("id", "merchant", "kind", "source", "charge_id", "processor", "currency"),
    *("amount_minor", "reverses", "recorded_ms"),
)
_POSTING_FIELDS: Final = ("kind", "merchant", "processor", "currency", "amount_minor", "place", "balance_minor")


async def seal(database: Database) -> int:
    """Gives every committed entry its place; returns how many (1). Another process that seals meanwhile wins."""
    sealed = 0
    while await database.read(_has_unsealed):
        try:
            done = await database.change(seal_some)
        except IntegrityError:
            return sealed
        sealed += done
        if done < PASS_LIMIT:
            break
    return sealed


def seal_some(tx: Transaction) -> int:
    """Seals at most PASS_LIMIT entries, oldest first, and records the newest digest (3)."""
    entry = ledger_entry.c
    waiting = tx.execute(
        select(ledger_entry).where(entry.place.is_(None)).order_by(entry.recorded_ms, entry.id).limit(PASS_LIMIT)
    ).all()
    if not waiting:
        return 0
    places, digest = _head(tx.connection)
    postings = postings_of(tx.connection, [row.id for row in waiting])
    sealed = []
    for row in waiting:
        digest = digest_of(digest, row._asdict(), postings.get(row.id, ()))
        sealed.append({"of": row.id, "at": places, "is": digest})
        places += 1
    tx.execute(
        update(ledger_entry)
        .where(entry.id == bindparam("of"))
        .values(place=bindparam("at"), chain_digest=bindparam("is")),
        sealed,
    )
    tx.record(
        Event(
            type=EventType.LEDGER_SEALED,
            outcome="success",
            actor="service:vault_zone",
            origin=ORIGIN,
            resource=RESOURCE,
            data={"count": len(sealed), "total": places, "head": digest},
        )
    )
    return len(sealed)


def digest_of(before: str, entry: Mapping[str, Any], postings: Sequence[Mapping[str, Any]]) -> str:
    """(2) SHA-256, in letters, of the digest before, the entry and its postings as canonical JSON (RFC 8785)."""
    content = [
        before,
        {name: entry[name] for name in _FIELDS},
        [{name: posting[name] for name in _POSTING_FIELDS} for posting in postings],
    ]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return letters_of(hashlib.sha256(text.encode()).digest())


def postings_of(connection: Connection, entries: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """The postings of entries, each entry's in the order of its accounts."""
    posting = ledger_posting.c
    found: dict[str, list[Mapping[str, Any]]] = {}
    rows = connection.execute(
        select(ledger_posting).where(posting.entry.in_(entries)).order_by(posting.entry, posting.kind)
    )
    for row in rows:
        found.setdefault(row.entry, []).append(row._asdict())
    return found


def _head(connection: Connection) -> tuple[int, str]:
    """How many entries are sealed, and the newest digest."""
    entry = ledger_entry.c
    last = connection.execute(
        select(entry.place, entry.chain_digest).where(entry.place.is_not(None)).order_by(entry.place.desc()).limit(1)
    ).first()
    return (last.place + 1, last.chain_digest) if last else (0, GENESIS)


def _has_unsealed(connection: Connection) -> bool:
    waiting = select(func.count()).select_from(
        select(ledger_entry.c.id).where(ledger_entry.c.place.is_(None)).limit(1).subquery()
    )
    return bool(connection.execute(waiting).scalar_one())
