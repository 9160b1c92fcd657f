"""``vault-zone ledger`` and ``vault-zone reconcile`` against a running zone's API: what they say, and what they end with."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from sqlalchemy import insert

from commerce_api.settings import sqlite_url
from tests.vault_zone.callers import ask, policy_of, zone_of
from tests.vault_zone.reconciliation.test_reconciling import HEADING, ROW, charged, written
from tests.vault_zone.world import MERCHANT, START_MS, zone_world
from vault_zone.cli import zone_client
from vault_zone.cli.main import main
from vault_zone.ledger.chain import seal
from vault_zone.models import merchant
from vault_zone.runtime import Zone

T = TypeVar("T")
WHO = ["--zone", "https://zone", "--as", "x/y"]


class Loop:
    """An event loop of its own thread, so that a command, which waits, can be answered."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Client(zone_client.ZoneClient):
    """Calls the app without the network, as one identity."""

    def __init__(self, loop: Loop, zone: Zone, who: str) -> None:
        self.loop, self.zone, self.who = loop, zone, who

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Nothing to close."""

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str | int | None] | None = None,
        timeout_seconds: float = 10.0,
    ) -> Any:
        """As ZoneClient.call."""
        asked = "&".join(f"{name}={value}" for name, value in (query or {}).items() if value is not None)
        answer = self.loop.do(ask(self.zone, self.who, method, f"{path}?{asked}" if asked else path, body))
        if not answer.is_success:
            raise zone_client.ZoneRefused(answer.json()["error"]["code"], "no", answer.status_code)
        return answer.json()


@pytest.fixture
def bookkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A zone with a charge in its books, and who looks after them."""
    loop, stack = Loop(), AsyncExitStack()
    world = loop.do(stack.enter_async_context(zone_world(sqlite_url(tmp_path / "zone"))))

    async def made() -> None:
        named = insert(merchant).values(id=MERCHANT, name="Harbour & Pine", created_ms=START_MS)
        await world.database.maintain(lambda tx: tx.execute(named))
        await world.database.maintain(lambda tx: charged(tx, "chg_a"))
        await seal(world.database)

    loop.do(made())
    zone = zone_of(world, policy=policy_of(bea="bookkeeper:*", bo="bookkeeper:*"))
    client = Client(loop, zone, "operator:bea")
    monkeypatch.setattr(zone_client, "open_client", lambda _: client)
    yield client
    loop.do(stack.aclose())
    loop.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """What a command ends with, and what it says."""
    ended = main([*arguments, *WHO])
    shown = capsys.readouterr()
    return ended, shown.out + shown.err


def test_balances_entries_and_verification_are_told_in_words(
    bookkeeper: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, text = said(capsys, "ledger", "balances", MERCHANT)
    assert (ended, text.splitlines()[0]) == (0, "sandbox, USD")
    assert "receivable" in text
    assert "$10.00" in text
    assert text.splitlines()[-1].split() == ["sum", "$0.00"]
    ended, text = said(capsys, "ledger", "entries", MERCHANT, "--charge", "chg_a")
    assert ended == 0
    assert "captured $10.00 of chg_a (place 0)" in text
    assert said(capsys, "ledger", "entries", MERCHANT, "--charge", "chg_b") == (0, "no entry\n")
    ended, text = said(capsys, "ledger", "verify")
    assert (ended, text.splitlines()[-1]) == (0, "the books hold together")


def test_verification_that_finds_something_ends_with_one(
    bookkeeper: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = "UPDATE ledger_account SET balance_minor = balance_minor + 1, postings = postings + 1"
    database = bookkeeper.zone.database
    bookkeeper.loop.do(database.maintain(lambda tx: tx.connection.exec_driver_sql(changed)))
    ended, text = said(capsys, "ledger", "verify")
    assert ended == 1
    assert "balance_differs: harbour-pine/sandbox/USD/receivable" in text
    assert text.splitlines()[-1] == "the books do NOT hold together"


def test_an_entry_is_undone_when_another_operator_approves(
    bookkeeper: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = said(capsys, "ledger", "entries", MERCHANT)
    entry = text.split()[1]
    ended, text = said(capsys, "ledger", "reverse", entry, "--merchant", MERCHANT)
    assert ended == 0
    operation = text.split()[3].rstrip(":")
    bookkeeper.who = "operator:bo"
    ended, text = said(capsys, "operations", "approve", operation)
    assert (ended, "executed" in text) == (0, True)
    _, text = said(capsys, "ledger", "entries", MERCHANT)
    assert f"undoes {entry}" in text


def test_a_report_is_tried_taken_in_known_again_and_its_breaks_are_resolved(
    bookkeeper: Client, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stranger = ROW.replace("bt_a", "bt_b").replace("chg_a", "chg_x").replace("sb_a", "sb_x")
    file = str(written(tmp_path, ROW.replace("sb_a", "sb_chg_a"), stranger))
    of = ("--merchant", MERCHANT)
    ended, text = said(capsys, "reconcile", file, *of, "--dry-run")
    assert (ended, text) == (1, "would be: 2 new lines of sandbox, 1 matched, 1 breaks\n  missing_here: 1\n")
    ended, text = said(capsys, "reconcile", file, *of)
    assert ended == 1
    assert "2 new lines of sandbox, 1 matched, 1 breaks; 0 charges" in text
    ended, text = said(capsys, "reconcile", file, *of)
    assert (ended, text.endswith("nothing was done\n")) == (0, True)
    ended, text = said(capsys, "reconcile", "breaks", *of)
    assert "0 d  missing_here: sandbox bt_b: reported $10.00, in the books nothing, in suspense by len_" in text
    broken = text.split()[0]
    ended, text = said(capsys, "reconcile", "resolve", broken, *of, "--reason", "sold by telephone")
    assert (ended, "resolved by operator:bea: sold by telephone" in text) == (0, True)
    assert said(capsys, "reconcile", "breaks", *of) == (0, "report and books agree\n")
    _, text = said(capsys, "reconcile", "breaks", "--resolved", *of)
    assert "resolved by operator:bea: sold by telephone" in text


def test_a_wrong_file_is_refused_before_anything_of_it_is_taken_in(
    bookkeeper: Client, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(written(tmp_path, ROW, "bt_b,charge", heading=HEADING))
    ended, text = said(capsys, "reconcile", file, "--merchant", MERCHANT)
    assert ended == 1
    assert "line 3: columns_differ_from_heading: nothing of the file was taken in" in text
    ended, text = said(capsys, "reconcile", "breaks", "--merchant", MERCHANT)
    assert text == "report and books agree\n"
    assert said(capsys, "reconcile", "resolve", "--merchant", MERCHANT)[0] == 1
