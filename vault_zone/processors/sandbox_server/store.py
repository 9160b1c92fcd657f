"""What the sandbox keeps: charges, the answer given to each idempotency key, and the events still to be delivered.

SQLite, WAL, synchronous=FULL: a charge, its answer and its event are on disk when the method that keeps them returns.
Nothing that is kept holds a card number or an idempotency key.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from vault_zone.processors.sandbox_server.wire import FINGERPRINT_KEY_BYTES, Charge, Status

SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_MILLISECONDS: Final = 5_000

_SCHEMA: Final = """
CREATE TABLE charges (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('succeeded', 'declined', 'requires_action')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    decline_code TEXT,
    brand TEXT NOT NULL,
    last4 TEXT NOT NULL CHECK (length(last4) = 4),
    merchant TEXT NOT NULL,
    return_url TEXT NOT NULL,
    challenge_id TEXT UNIQUE,
    decline_code_after_challenge TEXT,
    network_reference TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX charges_by_reference ON charges (reference);
CREATE TABLE answers (
    key_hash BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    charge_id TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'abandoned'))
) STRICT;
CREATE INDEX events_due ON events (due_at, sequence) WHERE state = 'pending';
"""

_CHARGE_COLUMNS: Final = tuple(field.name for field in fields(Charge))
# The column names are Charge's fields, in its order.
_SELECT_CHARGE: Final = " ".join(["SELECT", ", ".join(_CHARGE_COLUMNS), "FROM charges"])
_INSERT_CHARGE: Final = " ".join(
    ["INSERT INTO charges (", ", ".join(_CHARGE_COLUMNS), ") VALUES (", ", ".join("?" * len(_CHARGE_COLUMNS)), ")"]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a key was answered. ``fingerprint`` is of the body it came with; ``text`` is the JSON that was sent."""

    fingerprint: bytes
    charge_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event to deliver. ``body`` is the exact JSON; ``due_at`` is milliseconds since the epoch."""

    id: str
    body: str
    due_at: int
    attempts: int = 0


class StoreUnusable(Exception):
    """The data directory holds another version of the store. Give the sandbox an empty directory."""


class Store:
    """The sandbox's database. Used by one thread at a time: the event loop's."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates the store. Raises StoreUnusable, OSError or sqlite3.Error."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hash_key = _load_or_make_key(directory / "fingerprint.key")
        self._database = _connect(directory / "sandbox.sqlite3", "FULL")
        # For marks on events only. One that a power failure takes back means one delivery more, which at-least-once
        # allows: so they do not wait for the disk.
        self._marks = _connect(directory / "sandbox.sqlite3", "NORMAL")
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._transaction():
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise StoreUnusable("the data directory holds another version of the sandbox's store")

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
            "SELECT fingerprint, charge_id, answer FROM answers WHERE key_hash = ?", (self._key_hash(key),)
        ).fetchone()
        return None if row is None else Answer(*row)

    def record(self, key: str, charge: Charge, answer: Answer, event: Event) -> Answer | None:
        """Keeps charge, answer and event together, unless the key already has an answer: then returns that one."""
        with self._transaction():
            earlier = self.answer_to(key)
            if earlier is not None:
                return earlier
            self._database.execute(
                "INSERT INTO answers (key_hash, fingerprint, charge_id, answer) VALUES (?, ?, ?, ?)",
                (self._key_hash(key), answer.fingerprint, answer.charge_id, answer.text),
            )
            self._database.execute(_INSERT_CHARGE, astuple(charge))
            self._insert_event(event)
        return None

    def settle(self, charge: Charge, event: Event) -> bool:
        """Ends a challenge: keeps the new status and the event together. False when it had already ended."""
        with self._transaction():
            settled = self._database.execute(
                "UPDATE charges SET status = ?, decline_code = ? WHERE id = ? AND status = 'requires_action'",
                (charge.status, charge.decline_code, charge.id),
            )
            if settled.rowcount != 1:
                return False
            self._insert_event(event)
        return True

    def charge(self, charge_id: str) -> Charge | None:
        """The charge with this id."""
        return self._one(f"{_SELECT_CHARGE} WHERE id = ?", charge_id)

    def charge_of_challenge(self, challenge_id: str) -> Charge | None:
        """The charge this challenge is about."""
        return self._one(f"{_SELECT_CHARGE} WHERE challenge_id = ?", challenge_id)

    def charges_of(self, reference: str) -> list[Charge]:
        """Every charge with this reference, oldest first."""
        rows = self._database.execute(f"{_SELECT_CHARGE} WHERE reference = ? ORDER BY sequence", (reference,))
        return [_charge(row) for row in rows]

    def all_charges(self) -> list[Charge]:
        """Every charge, oldest first."""
        return [_charge(row) for row in self._database.execute(f"{_SELECT_CHARGE} ORDER BY sequence")]

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
            self._database.execute("DELETE FROM charges")
            self._database.execute("DELETE FROM answers")
            self._database.execute("DELETE FROM events")

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

    def _one(self, query: str, value: str) -> Charge | None:
        row = self._database.execute(query, (value,)).fetchone()
        return None if row is None else _charge(row)


def _charge(row: tuple[object, ...]) -> Charge:
    values = dict(zip(_CHARGE_COLUMNS, row, strict=True))
    return Charge(**{**values, "status": Status(values["status"])})  # type: ignore[arg-type]  # STRICT columns


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
