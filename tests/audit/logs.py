"""Logs for the tests: made quickly, because a simulated disk needs no real fsync."""

from collections.abc import Sequence
from pathlib import Path

from audit.event import Event, EventType, encode
from audit.files import DiskFiles
from audit.note import Signer
from audit.tiles import TileLog

ORIGIN = "cordon.example/log"
AT_MILLISECONDS = 1_763_800_000_000


class QuickFiles(DiskFiles):
    """The real file system without waiting for the platter."""

    def write_synced(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync_directory(self, path: Path) -> None:
        if not path.is_dir():
            raise FileNotFoundError(path)


def short_entries(count: int, start: int = 0) -> list[bytes]:
    return [f"entry {number} {'.' * (number % 7)}".encode() for number in range(start, start + count)]


def event_entries(count: int) -> list[bytes]:
    event = Event(
        EventType.CHARGE_SUCCEEDED,
        "success",
        "service:vault_zone",
        "vault_zone",
        "chg_bcdfghjk",
        merchant="br_bcdfghjk",
        data={"amount_minor": 1234, "currency": "EUR", "brand": "visa", "last4": "4242"},
    )
    return [encode(event, event_id="evt_bcdfghjk", at_milliseconds=AT_MILLISECONDS + n) for n in range(count)]


def new_signer(directory: Path, origin: str = ORIGIN) -> Signer:
    return Signer.create(directory / "log.key", origin)


def write_log(directory: Path, signer: Signer, entries: Sequence[bytes], group: int) -> TileLog:
    log = TileLog(directory, signer, QuickFiles())
    for start in range(0, len(entries), group):
        log.append(entries[start : start + group])
    return log
