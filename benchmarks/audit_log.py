"""Durable appends to the audit log, and its full verification, beside the barest thing that could do either.

``python -m benchmarks.audit_log [--seconds S] [--entries N]``

Beside appending: the same bytes written to one file with an fsync for each group. Beside verifying: SHA-256 over the same
entries in memory, nothing else. Each pair takes turns in short rounds, so what else the machine does meets both; read the
ratios. The first line says what one commit costs here: 4 KiB written in place and synced.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from audit.event import Event, EventType, encode
from audit.note import Signer
from audit.tiles import TileLog
from audit.verify import verify_log
from benchmarks.machine import commit_latency, percentile, say

GROUPS = (1, 10, 50, 200, 1_000)
ROUNDS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables. Takes about a minute with the defaults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_log")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of an appending round")
    parser.add_argument("--entries", type=int, default=200_000, help="size of the log that is verified")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        signer = Signer.create(directory / "log.key", "cordon.example/benchmark")
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(directory)}\n")
        say(
            f"{'appending, events/s':24}{'log':>12}{'file + fsync':>14}{'ratio':>8}{'ms per group, p50':>20}{'p99':>8}\n"
        )
        for group in GROUPS:
            say(_append_row(directory / f"{group}", signer, group, arguments.seconds))
        say(f"\n{'verifying, entries/s':24}{'all re-hashed':>14}{'bare SHA-256':>14}{'ratio':>8}\n")
        say(_verify_row(directory / "verified", signer, arguments.entries))
    return 0


def _entries(count: int) -> list[bytes]:
    event = Event(
        EventType.CHARGE_SUCCEEDED,
        "success",
        "processor:sandbox",
        "vault_zone",
        "chg_bcdfghjkmnpqrstvbcdfghjkmnpqrstv",
        merchant="br_bcdfghjkmnpqrstvbcdfghjkmnpqrstv",
        data={
            "payment": "pay_bcdfghjkmnpqrstvbcdfghjkmnpqrstv",
            "from": "sent",
            "amount_minor": 4200,
            "currency": "EUR",
        },
    )
    return [encode(event, event_id="evt_bcdfghjkmnpqrstvbcdfghjkmnpqrstv", at_milliseconds=n) for n in range(count)]


def _append_row(directory: Path, signer: Signer, group: int, seconds: float) -> str:
    entries = _entries(group)
    log = TileLog(directory / "log", signer)
    handle = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append_bare() -> None:
        os.write(handle, b"\n".join(entries))
        os.fsync(handle)

    ours, bare = [], []
    for _ in range(ROUNDS):
        ours += _timed(lambda: log.append(entries), seconds)
        bare += _timed(append_bare, seconds / 2)
    os.close(handle)
    rate, bare_rate = (group * len(took) / sum(took) for took in (ours, bare))
    milliseconds = [took * 1000 for took in ours]
    p50, p99 = statistics.median(milliseconds), percentile(milliseconds, 99)
    return (
        f"  in groups of {group:<9,}{rate:>12,.0f}{bare_rate:>14,.0f}{rate / bare_rate:>8.2f}{p50:>20.2f}{p99:>8.1f}\n"
    )


def _timed(act: Callable[[], object], seconds: float) -> list[float]:
    took = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        act()
        took.append(time.perf_counter() - started)
    return took


def _verify_row(directory: Path, signer: Signer, count: int) -> str:
    entries = _entries(count)
    log = TileLog(directory, signer)
    for start in range(0, count, 10_000):
        log.append(entries[start : start + 10_000])
    ours, bare = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        report = verify_log(directory, at="benchmark")
        ours.append(count / (time.perf_counter() - started))
        if not report.ok or report.entries != count:
            raise SystemExit("the log that was just written does not verify")
        started = time.perf_counter()
        for entry in entries:
            sha256(entry).digest()
        bare.append(count / (time.perf_counter() - started))
    rate, bare_rate = statistics.median(ours), statistics.median(bare)
    return f"  {count:<22,}{rate:>14,.0f}{bare_rate:>14,.0f}{rate / bare_rate:>8.2f}\n"


if __name__ == "__main__":
    raise SystemExit(main())
