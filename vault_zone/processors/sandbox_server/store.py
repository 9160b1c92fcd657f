"""What the sandbox keeps: its records, the answer given to each idempotency key, and the events still to be delivered.

SQLite, WAL, synchronous=FULL: what a request changes, its answer and its events are on disk when the method that keeps them
returns. Nothing that is kept holds a card number or an idempotency key.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_zone.processors.sandbox_server.objects import (
    Charge,
    Dispute,
    DisputeStatus,
    Entry,
    Kind,
    Modification,
    ModificationStatus,
    Status,
    Transaction,
)
from vault_zone.processors.sandbox_server.schema import prepare
from vault_zone.processors.sandbox_server.tables import Table
from vault_zone.processors.sandbox_server.wire import FINGERPRINT_KEY_BYTES

BUSY_TIMEOUT_MILLISECONDS: Final = 5_000
_TABLES: Final = ("charges", "answers", "events", "modifications", "disputes", "transactions")

_CHARGES: Final = Table("charges", Charge, {"status": Status, "capture": bool})
_MODIFICATIONS: Final = Table(
    "modifications", Modification, {"kind": Kind, "status": ModificationStatus, "is_final": bool}
)
_DISPUTES: Final = Table("disputes", Dispute, {"status": DisputeStatus})
_TRANSACTIONS: Final = Table("transactions", Transaction, {"type": Entry})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a key was answered. ``fingerprint`` is of the body it came with; ``text`` is the JSON that was sent."""

    fingerprint: bytes
    object_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event to deliver. ``body`` is the exact JSON; ``due_at`` is milliseconds since the epoch."""

    id: str
    body: str
    due_at: int
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Effects:
    """What is written together: each record as it now is. A payout takes with it all of its currency that was not paid out."""

    charge: Charge | None = None
    modification: Modification | None = None
    dispute: Dispute | None = None
    transactions: tuple[Transaction, ...] = ()
    payouts: tuple[Transaction, ...] = ()
    events: tuple[Event, ...] = ()


class Store:
    """The sandbox's database. Used by one thread at a time: the event loop's."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates the store. Raises StoreUnusable, OSError or sqlite3.Error."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hash_key = _load_or_make_key(directory / "fingerprint.key")
        self._path = directory / "sandbox.sqlite3"
        self._database = _connect(self._path, "FULL")
        # For marks on events only. One that a power failure takes back means one delivery more, which at-least-once
        # allows: so they do not wait for the disk.
        self._marks = _connect(self._path, "NORMAL")
        try:
            with self._transaction():
                prepare(self._database)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Takes the write lock at once, so that what is read inside cannot change before the commit."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @property
    def fingerprint_key(self) -> bytes:
        """The key of the fingerprints: made once per data directory, so that they still compare after a restart."""
        return self._hash_key

    def answer_to(self, key: str) -> Answer | None:
        """What this idempotency key was answered, or None when it has had no effect."""
        row = self._database.execute(
            "SELECT fingerprint, object_id, answer FROM answers WHERE key_hash = ?", (self._key_hash(key),)
        ).fetchone()
        return None if row is None else Answer(*row)

    def record(self, key: str, effect: Callable[[], tuple[Answer, Effects]]) -> tuple[Answer, bool]:
        """The key's answer, and whether it is new: then ``effect`` was called and what it made is kept with the answer.

        ``effect`` may read the store: nothing that it reads changes before its effects are on disk.
        """
        with self._transaction():
            earlier = self.answer_to(key)
            if earlier is not None:
                return earlier, False
            answer, effects = effect()
            self._database.execute(
                "INSERT INTO answers (key_hash, fingerprint, object_id, answer) VALUES (?, ?, ?, ?)",
                (self._key_hash(key), answer.fingerprint, answer.object_id, answer.text),
            )
            self._write(effects)
        return answer, True

    def change(self, effect: Callable[[], Effects | None]) -> Effects | None:
        """As record(), for what no key stands for. None, and nothing written, when ``effect`` says so."""
        with self._transaction():
            effects = effect()
            if effects is not None:
                self._write(effects)
        return effects

    def _write(self, effects: Effects) -> None:
        if effects.charge is not None:
            _CHARGES.write(self._database, effects.charge)
        if effects.modification is not None:
            _MODIFICATIONS.write(self._database, effects.modification)
        if effects.dispute is not None:
            _DISPUTES.write(self._database, effects.dispute)
        for transaction in effects.transactions:
            _TRANSACTIONS.write(self._database, transaction)
        for payout in effects.payouts:
            _TRANSACTIONS.write(self._database, payout)
            self._database.execute(
                "UPDATE transactions SET payout_id = ? WHERE payout_id IS NULL AND currency = ?",
                (payout.payout_id, payout.currency),
            )
        for event in effects.events:
            self._insert_event(event)

    def charge(self, charge_id: str) -> Charge | None:
        """The charge with this id."""
        return next(_CHARGES.read(self._database, "WHERE id = ?", charge_id), None)

    def charge_of_challenge(self, challenge_id: str) -> Charge | None:
        """The charge this challenge is about."""
        return next(_CHARGES.read(self._database, "WHERE challenge_id = ?", challenge_id), None)

    def charges_of(self, reference: str) -> list[Charge]:
        """Every charge with this reference, oldest first."""
        return list(_CHARGES.read(self._database, "WHERE reference = ?", reference))

    def all_charges(self) -> list[Charge]:
        """Every charge, oldest first."""
        return list(_CHARGES.read(self._database))

    def expired_charges(self, now: int) -> list[Charge]:
        """Charges whose authorization has run out with money still held."""
        return list(_CHARGES.read(self._database, "WHERE capturable_minor > 0 AND expires_at <= ?", now))

    def modification(self, modification_id: str) -> Modification | None:
        """The capture, void or refund with this id."""
        return next(_MODIFICATIONS.read(self._database, "WHERE id = ?", modification_id), None)

    def modifications_of(self, reference: str) -> list[Modification]:
        """Every capture, void or refund with this reference, oldest first."""
        return list(_MODIFICATIONS.read(self._database, "WHERE reference = ?", reference))

    def all_modifications(self) -> list[Modification]:
        """Every capture, void and refund, oldest first."""
        return list(_MODIFICATIONS.read(self._database))

    def due_modifications(self, now: int) -> list[Modification]:
        """Pending ones whose time has come."""
        return list(_MODIFICATIONS.read(self._database, "WHERE status = 'pending' AND due_at <= ?", now))

    def dispute(self, dispute_id: str) -> Dispute | None:
        """The dispute with this id."""
        return next(_DISPUTES.read(self._database, "WHERE id = ?", dispute_id), None)

    def disputes_of(self, charge_reference: str) -> list[Dispute]:
        """Every dispute of the charges with this reference, oldest first."""
        return list(_DISPUTES.read(self._database, "WHERE charge_reference = ?", charge_reference))

    def unanswered_disputes(self, now: int) -> list[Dispute]:
        """Disputes whose day has passed without evidence."""
        return list(_DISPUTES.read(self._database, "WHERE status = 'needs_response' AND evidence_due_at <= ?", now))

    def next_happening_at(self) -> int | None:
        """When a refund, an authorization or a dispute next ends by itself, in milliseconds since the epoch."""
        (at,) = self._database.execute(
            "SELECT min(at) FROM (SELECT min(due_at) AS at FROM modifications WHERE status = 'pending'"
            " UNION ALL SELECT min(expires_at) FROM charges WHERE capturable_minor > 0"
            " UNION ALL SELECT min(evidence_due_at) FROM disputes WHERE status = 'needs_response')"
        ).fetchone()
        return None if at is None else int(at)

    def unpaid(self) -> dict[str, int]:
        """What of each currency was not paid out, net of fees."""
        rows = self._database.execute(
            "SELECT currency, sum(net_minor) FROM transactions WHERE payout_id IS NULL GROUP BY currency ORDER BY currency"
        )
        return dict(rows.fetchall())

    def transactions_between(self, start: int, end: int) -> Iterator[Transaction]:
        """The lines of balance from ``start`` to before ``end``, in the order in which they were written.

        Read as they are asked for, all from one state of the store, whatever is written meanwhile.
        """
        with closing(_connect(self._path, "NORMAL")) as reading:
            reading.execute("BEGIN")
            yield from _TRANSACTIONS.read(reading, "WHERE created_at >= ? AND created_at < ?", start, end)

    def due_events(self, now: int, limit: int) -> list[Event]:
        """Undelivered events whose time has come, oldest first."""
        rows = self._database.execute(
            "SELECT id, body, due_at, attempts FROM events WHERE state = 'pending' AND due_at <= ? "
            "ORDER BY sequence LIMIT ?",
            (now, limit),
        )
        return [Event(*row) for row in rows]

    def next_due_at(self) -> int | None:
        """When the next undelivered event is due, in milliseconds since the epoch."""
        (due_at,) = self._database.execute("SELECT min(due_at) FROM events WHERE state = 'pending'").fetchone()
        return None if due_at is None else int(due_at)

    def mark_delivered(self, event: Event) -> None:
        """The receiver has the event."""
        self._mark(event, "delivered", event.due_at)

    def mark_abandoned(self, event: Event) -> None:
        """The event was tried as often as it is worth."""
        self._mark(event, "abandoned", event.due_at)

    def postpone(self, event: Event, due_at: int) -> None:
        """The event is tried again at ``due_at``."""
        self._mark(event, "pending", due_at)

    def event_states(self) -> dict[str, str]:
        """The state of every event by id."""
        return dict(self._database.execute("SELECT id, state FROM events").fetchall())

    def reset(self) -> None:
        """Forgets everything but the fingerprint key."""
        with self._transaction():
            for table in _TABLES:
                self._database.execute(" ".join(["DELETE FROM", table]))

    def close(self) -> None:
        """Closes the database; the store is of no further use."""
        self._marks.close()
        self._database.close()

    def _key_hash(self, key: str) -> bytes:
        # Keys are chosen by the caller and may hold anything, so the key itself is not kept.
        return hmac.digest(self._hash_key, b"key\0" + key.encode(), hashlib.sha256)

    def _insert_event(self, event: Event) -> None:
        self._database.execute(
            "INSERT INTO events (id, body, due_at) VALUES (?, ?, ?)", (event.id, event.body, event.due_at)
        )

    def _mark(self, event: Event, state: str, due_at: int) -> None:
        self._marks.execute(
            "UPDATE events SET state = ?, due_at = ?, attempts = attempts + 1 WHERE id = ?", (state, due_at, event.id)
        )


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection that commits each statement unless told otherwise."""
    # The loop may run in another thread than the one that opens the store; it is still one at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


def _load_or_make_key(path: Path) -> bytes:
    """The key in the file, or a new one. Created whole or not at all, readable by its owner only."""
    if not path.exists():
        draft = path.with_suffix(f".{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(FINGERPRINT_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path.read_bytes()
