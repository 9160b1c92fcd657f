"""Commands that only look: while one of them looks, and however long, everybody else goes on writing."""

import argparse
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from audit.transaction import Database
from commerce_api.cli import main
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import done, seen
from commerce_api.runtime import OFFER_MODELS
from tests.commerce_api.world import BRAND, STORE

LOOKS = {
    "export": ["offers", "export", BRAND],
    "page": ["offers", "page", BRAND],
    "models": ["offers", "models", BRAND],
    "replay": ["offers", "replay", BRAND, "off_none"],
    "calls": ["models", "calls", BRAND],
    "statement": ["statement", BRAND, "--month", "2026-11"],
}


@pytest.fixture
def arguments(tmp_path: Path, database_url: str) -> argparse.Namespace:
    """Of a command over a store that is there."""
    feed = ["--feed", str(STORE / "products.csv"), "--policy", str(STORE / "policy.json")]
    where = ["--data", str(tmp_path), "--database-url", database_url]
    assert main(["brand", "add", "Harbour & Pine", *feed, *where]) == 0
    return argparse.Namespace(data=tmp_path, database_url=database_url, brand=BRAND)


def others_may_write(connection: Connection, _: int) -> bool:
    """Whether somebody else could write while this looks."""
    url = make_url(str(connection.engine.url.render_as_string(hide_password=False)))
    if url.get_backend_name() == "postgresql":
        return bool(connection.execute(text("SHOW transaction_read_only")).scalar() == "on")
    with sqlite3.connect(str(url.database), timeout=0) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        other.rollback()
    return True


def test_others_write_while_a_command_looks(arguments: argparse.Namespace) -> None:
    assert seen(arguments, others_may_write)


def test_planted_fault_a_look_in_a_transaction_that_could_write_keeps_the_others_waiting(
    arguments: argparse.Namespace,
) -> None:
    assert not done(arguments, lambda tx: others_may_write(tx.connection, 0))


def test_what_only_looks_cannot_write(arguments: argparse.Namespace) -> None:
    with pytest.raises((CommandRefused, DBAPIError)):
        seen(arguments, lambda connection, _: connection.execute(text("DELETE FROM offer_budget")))


@pytest.mark.parametrize("command", LOOKS)
def test_each_command_that_looks_takes_no_transaction_that_could_write(
    arguments: argparse.Namespace, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_writes(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Database, "change", nobody_writes)
    monkeypatch.setattr(Database, "maintain", nobody_writes)
    monkeypatch.chdir(arguments.data)
    where = ["--data", str(arguments.data), "--database-url", arguments.database_url]
    assert main([*LOOKS[command], *where]) == (1 if command == "replay" else 0)


def test_a_history_that_is_damaged_is_told_with_its_line_and_without_it(
    arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = arguments.data / "commerce" / OFFER_MODELS / BRAND
    registry.mkdir(parents=True)
    (registry / "history.jsonl").write_text('{"secret": "kettle"}\n', encoding="utf-8")
    where = ["--data", str(arguments.data), "--database-url", arguments.database_url]
    assert main(["offers", "models", BRAND, *where]) == 1
    told = capsys.readouterr().err
    assert "line 1 of the history is no change" in told
    assert "kettle" not in told
