"""Committed events reach the signed log, in an order that a crash cannot change; and it is known when they do not."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert

from audit.note import Signer
from audit.sequencer import GROUP_LIMIT, MAXIMUM_LAG_MILLISECONDS, LogAhead, Sequencer, SequencerRunning
from audit.store import audit_event
from audit.tiles import TileLog
from audit.transaction import Database
from audit.verify import verify_log
from tests.audit.test_transaction import EVENT, opened

pytestmark = pytest.mark.anyio


class DiskFull(OSError):
    """No space left."""


class Clock:
    now_ms = 1_795_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def started(database: Database, directory: Path, clock: Clock) -> tuple[Sequencer, TileLog]:
    key = directory / "log.key"
    if not key.exists():
        Signer.create(key, "cordon/test/log_a", directory / "log")
    log = TileLog(directory / "log", Signer.open(key))
    return Sequencer(database, log, directory / "log", clock), log


async def record(database: Database, count: int) -> None:
    for _ in range(count):
        await database.change(lambda tx: tx.record(EVENT))


async def test_what_is_committed_is_signed_and_verifies(tmp_path: Path, database_url: str) -> None:
    database = await opened(database_url)
    sequencer, log = started(database, tmp_path, Clock())
    await record(database, 5)
    assert await sequencer.sequence() == 5
    assert await sequencer.sequence() == 0
    assert log.size == 5
    await sequencer.close()
    assert verify_log(tmp_path / "log", at="2026-11-22T00:00:00Z").ok
    await database.close()


async def test_a_crash_between_placing_and_signing_is_mended_by_doing_it_again(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await opened(database_url)
    sequencer, log = started(database, tmp_path, Clock())
    await record(database, 3)

    def full_disk(*_: object) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", full_disk)
        with pytest.raises(DiskFull):
            await sequencer.sequence()
    await record(database, 2)
    assert await sequencer.sequence() == 5
    assert log.size == 5
    await sequencer.close()
    await database.close()


async def test_a_log_that_falls_behind_says_so_and_recovers(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, clock = await opened(database_url), Clock()
    sequencer, log = started(database, tmp_path, clock)
    assert sequencer.is_writable()

    def full_disk(*_: object) -> None:
        raise DiskFull

    await record(database, 1)
    clock.now_ms += MAXIMUM_LAG_MILLISECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(log, "append", full_disk)
        with pytest.raises(DiskFull):
            await sequencer.sequence()
        assert not sequencer.is_writable()
    await sequencer.sequence()
    assert sequencer.is_writable()
    await sequencer.close()
    await database.close()


async def test_two_sequencers_cannot_share_a_directory(tmp_path: Path) -> None:
    database = await opened(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    sequencer, _ = started(database, tmp_path, Clock())
    with pytest.raises(SequencerRunning):
        started(database, tmp_path, Clock())
    await sequencer.close()
    again, _ = started(database, tmp_path, Clock())
    await again.close()
    await database.close()


async def test_a_database_older_than_its_log_is_refused_and_the_log_is_not_forked(
    tmp_path: Path, database_url: str
) -> None:
    database = await opened(database_url)
    sequencer, log = started(database, tmp_path, Clock())
    await record(database, 4)
    await sequencer.sequence()
    root = log.root
    await database.maintain(lambda tx: tx.execute(delete(audit_event).where(audit_event.c.leaf_index >= 2)))
    await record(database, 1)
    with pytest.raises(LogAhead):
        await sequencer.sequence()
    assert log.root == root
    await sequencer.close()
    await database.close()


async def test_more_than_a_group_is_taken_group_by_group_in_order(tmp_path: Path) -> None:
    database = await opened(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    sequencer, log = started(database, tmp_path, Clock())
    count = GROUP_LIMIT + 7
    rows = [
        {
            "event_id": f"evt_{n:032d}".translate(LETTERS),
            "type": "log.started",
            "at_ms": 0,
            "resource": "r",
            "entry": b"%d" % n,
        }
        for n in range(count)
    ]
    await database.maintain(lambda tx: tx.execute(insert(audit_event), rows))
    assert [await sequencer.sequence() for _ in range(3)] == [GROUP_LIMIT, 7, 0]
    assert [log.entry(0), log.entry(count - 1)] == [b"0", b"%d" % (count - 1)]
    await sequencer.close()
    await database.close()


LETTERS = str.maketrans("0123456789", "bcdfghjkmn")
