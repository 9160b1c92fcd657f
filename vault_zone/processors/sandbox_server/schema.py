"""The tables of the sandbox's store, and the way to them from the version before."""

import sqlite3
from typing import Final

SCHEMA_VERSION: Final = 2

_CHARGES: Final = """
CREATE TABLE charges (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('succeeded', 'authorized', 'declined', 'requires_action', 'voided', 'expired')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    capture INTEGER NOT NULL,
    initiator TEXT NOT NULL,
    capturable_minor INTEGER NOT NULL CHECK (capturable_minor >= 0),
    captured_minor INTEGER NOT NULL CHECK (captured_minor >= 0),
    refunding_minor INTEGER NOT NULL CHECK (refunding_minor >= 0),
    refunded_minor INTEGER NOT NULL CHECK (refunded_minor >= 0),
    disputed_minor INTEGER NOT NULL CHECK (disputed_minor >= 0),
    decline_code TEXT,
    brand TEXT NOT NULL,
    last4 TEXT NOT NULL CHECK (length(last4) = 4),
    behaviour TEXT NOT NULL,
    merchant TEXT NOT NULL,
    return_url TEXT NOT NULL,
    challenge_id TEXT UNIQUE,
    decline_code_after_challenge TEXT,
    network_reference TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    CHECK (captured_minor + capturable_minor <= amount_minor),
    CHECK (refunding_minor + refunded_minor + disputed_minor <= captured_minor)
) STRICT;
CREATE INDEX charges_by_reference ON charges (reference);
CREATE INDEX charges_by_expiry ON charges (expires_at) WHERE capturable_minor > 0;
"""
_ANSWERS: Final = """
CREATE TABLE answers (
    key_hash BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    object_id TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
_EVENTS: Final = """
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
_AFTER_THE_CHARGE: Final = """
CREATE TABLE modifications (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    reference TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('capture', 'void', 'refund')),
    charge_id TEXT NOT NULL,
    charge_reference TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('succeeded', 'pending', 'declined')),
    amount_minor INTEGER,
    currency TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    decline_code TEXT,
    due_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX modifications_by_reference ON modifications (reference);
CREATE INDEX modifications_due ON modifications (due_at) WHERE status = 'pending';
CREATE TABLE disputes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL,
    charge_reference TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('needs_response', 'under_review', 'won', 'lost')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    fee_minor INTEGER NOT NULL,
    evidence_due_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX disputes_by_charge ON disputes (charge_reference);
CREATE INDEX disputes_due ON disputes (evidence_due_at) WHERE status = 'needs_response';
CREATE TABLE transactions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL CHECK (type IN ('charge', 'refund', 'dispute', 'dispute_reversal', 'fee', 'payout')),
    reference TEXT,
    processor_id TEXT NOT NULL,
    charge_reference TEXT,
    gross_minor INTEGER NOT NULL,
    fee_minor INTEGER NOT NULL,
    net_minor INTEGER NOT NULL CHECK (net_minor = gross_minor - fee_minor),
    currency TEXT NOT NULL,
    payout_id TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX transactions_by_time ON transactions (created_at, sequence);
CREATE INDEX transactions_unpaid ON transactions (currency) WHERE payout_id IS NULL;
"""
# Version 1 knew charges that were captured at once or not at all, without fees; they have no line of balance.
_OUT_OF_THE_WAY: Final = """
DROP INDEX charges_by_reference;
ALTER TABLE charges RENAME TO charges_before;
"""
_CARRIED_OVER: Final = """
INSERT INTO charges SELECT sequence, id, reference, status, amount_minor, currency, 1, 'shopper', 0,
    CASE status WHEN 'succeeded' THEN amount_minor ELSE 0 END, 0, 0, 0, decline_code, brand, last4, 'succeed', merchant,
    return_url, challenge_id, decline_code_after_challenge, network_reference, NULL, created_at
    FROM charges_before ORDER BY sequence;
DROP TABLE charges_before;
ALTER TABLE answers RENAME COLUMN charge_id TO object_id;
"""
_SCRIPTS: Final = {
    0: _CHARGES + _ANSWERS + _EVENTS + _AFTER_THE_CHARGE,
    1: _OUT_OF_THE_WAY + _CHARGES + _CARRIED_OVER + _AFTER_THE_CHARGE,
}


class StoreUnusable(Exception):
    """The data directory holds a store that this version cannot read. Give the sandbox an empty directory."""


def prepare(database: sqlite3.Connection) -> None:
    """Brings the store to SCHEMA_VERSION, inside the caller's transaction. Raises StoreUnusable for one it does not know."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version not in _SCRIPTS:
        raise StoreUnusable("the data directory holds another version of the sandbox's store: give --data an empty one")
    for statement in _SCRIPTS[version].split(";\n"):
        if statement.strip():
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
