"""A store of the version before opens with everything that was in it; one of another version is refused with the fix."""

import hmac
import json
import sqlite3
from pathlib import Path

import pytest

from tests.vault_zone.processors.sandbox_server.world import (
    START,
    VISA,
    World,
    charge,
    charge_body,
    modify,
)
from vault_zone.processors.sandbox_server.objects import Status
from vault_zone.processors.sandbox_server.schema import StoreUnusable
from vault_zone.processors.sandbox_server.store import Store

pytestmark = pytest.mark.anyio

# The tables of version 1, as it made them.
VERSION_1 = """
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
PRAGMA user_version = 1;
"""
_CHARGE = "INSERT INTO charges (id, reference, status, amount_minor, currency, decline_code, brand, last4, merchant,"
_REST = (
    " return_url, challenge_id, network_reference, created_at) VALUES (?, ?, ?, 500, 'EUR', ?, 'visa', '4242', 'Shop',"
)
_END = " 'https://shop.example/', ?, 'sbx_net_a', ?)"


def a_store_of_version_1(directory: Path) -> None:
    directory.mkdir(parents=True)
    database = sqlite3.connect(directory / "sandbox.sqlite3")
    database.executescript(VERSION_1)
    for values in (
        ("sbx_ch_a", "chg_a", "succeeded", None, None, START),
        ("sbx_ch_b", "chg_b", "declined", "card_declined", None, START),
        ("sbx_ch_c", "chg_c", "requires_action", None, "sbx_acs_c", START),
    ):
        database.execute(_CHARGE + _REST + _END, values)
    database.execute("INSERT INTO events (id, body, due_at) VALUES ('sbx_evt_a', '{}', 5)")
    database.commit()
    database.close()


async def test_a_store_of_version_1_opens_with_its_charges_which_live_on(tmp_path: Path) -> None:
    a_store_of_version_1(tmp_path / "data")
    world = World(tmp_path / "data")
    before = world.store.all_charges()
    async with world.client() as client:
        refund = (await modify(client, "sbx_ch_a", "refund", "ref_a", amount_minor=100)).json()
        await client.post("/acs/sbx_acs_c", data={"outcome": "approve"})
        assert (await charge(client, reference="chg_new")).json()["status"] == "succeeded"
    assert [(each.id, each.status, each.captured_minor) for each in before] == [
        ("sbx_ch_a", Status.SUCCEEDED, 500),
        ("sbx_ch_b", Status.DECLINED, 0),
        ("sbx_ch_c", Status.REQUIRES_ACTION, 0),
    ]
    assert refund["status"] == "succeeded"
    assert [each.captured_minor for each in world.store.all_charges()] == [500, 0, 500, 12_350]
    assert world.store.event_states()["sbx_evt_a"] == "pending"
    world.restart()
    assert world.count() == 4
    world.store.close()


async def test_a_key_that_version_1_answered_is_replayed_and_not_charged_again(tmp_path: Path) -> None:
    a_store_of_version_1(tmp_path / "data")
    secret = bytes(range(32))
    (tmp_path / "data" / "fingerprint.key").write_bytes(secret)
    card = {"exp_month": 12, "exp_year": 2030, "eci": None, "name": None, "postal_code": None}
    content = {**charge_body(), "card": card, "description": None}  # what version 1 knew of a body
    canonical = json.dumps([VISA, content], sort_keys=True, separators=(",", ":")).encode()
    database = sqlite3.connect(tmp_path / "data" / "sandbox.sqlite3")
    key_hash = hmac.digest(secret, b"key\0key-1", "sha256")
    fingerprint = hmac.digest(secret, b"body\0" + canonical, "sha256")
    database.execute("INSERT INTO answers VALUES (?, ?, 'sbx_ch_a', '{}')", (key_hash, fingerprint))
    database.commit()
    database.close()
    world = World(tmp_path / "data")
    async with world.client() as client:
        replayed = await charge(client)
        later = await charge(client, capture=False)
        merchants = await charge(client, initiator="merchant_recurring", network_reference="sbx_net_a")
    assert (replayed.text, replayed.headers["Idempotent-Replayed"]) == ("{}", "true")
    assert later.json()["error"]["code"] == merchants.json()["error"]["code"] == "idempotency_conflict"
    assert world.count() == 3
    world.store.close()


def test_a_failure_on_the_way_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    a_store_of_version_1(tmp_path / "data")
    database = sqlite3.connect(tmp_path / "data" / "sandbox.sqlite3")
    database.execute("CREATE TABLE disputes (id)")  # in the way of the new table, late in the script
    database.commit()
    with pytest.raises(sqlite3.Error):
        Store(tmp_path / "data")
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert database.execute("SELECT count(*) FROM charges").fetchone() == (3,)
    assert "capture" not in {row[1] for row in database.execute("PRAGMA table_info(charges)")}
    database.close()


def test_a_store_of_a_later_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path / "data").close()
    database = sqlite3.connect(tmp_path / "data" / "sandbox.sqlite3")
    database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(StoreUnusable, match="give --data an empty one"):
        Store(tmp_path / "data")
