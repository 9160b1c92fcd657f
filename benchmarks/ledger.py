"""Entries a second in the books, beside the barest thing that could stand for one: two rows inserted.

    python -m benchmarks.ledger [--seconds S]

On SQLite and PostgreSQL, with 1 and 8 writers, each entry in a transaction of its own. ``one account``: all writers post to the
same merchant's accounts, which is the worst there is; ``own accounts``: each to those of a merchant of its own. ``chained``:
what the entry would cost with its digest made in its own transaction, behind a row that all writers of a merchant must take,
instead of by the sealing pass. Each kind takes turns in short rounds, so what else the machine does meets all; read the ratios.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table, select, update

from audit.transaction import Database, DatabaseBusy, Transaction
from benchmarks.machine import commit_latency, say
from commerce_api.settings import sqlite_url
from tests.postgres import postgres_server
from tokenization.clock import now_milliseconds
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.ledger.chain import GENESIS, digest_of, postings_of, seal
from vault_zone.ledger.events import Captured
from vault_zone.ledger.posting import record
from vault_zone.ledger.verifying import verify
from vault_zone.migrations import upgrade
from vault_zone.models import ledger_entry

ROUNDS = 3
WRITERS = (1, 8)
Work = Callable[[Transaction], Any]

_extra = MetaData()
bare = Table(
    "bench_bare", _extra, Column("id", String(40), primary_key=True), Column("amount_minor", BigInteger, nullable=False)
)
head = Table("bench_head", _extra, Column("merchant", String(64), primary_key=True), Column("digest", String(64)))


def two_rows(_: int) -> Work:
    """The baseline: two rows with a primary key."""
    rows = [{"id": new_id("row"), "amount_minor": 1}, {"id": new_id("row"), "amount_minor": -1}]
    return lambda tx: tx.execute(bare.insert(), rows)


def one_account(_: int) -> Work:
    """A capture of the one merchant."""
    event = Captured("m", new_id("chg"), new_id("mod"), Money(100, "USD"), "bench")
    return lambda tx: record(tx, event)


def own_accounts(writer: int) -> Work:
    """A capture of the writer's own merchant."""
    event = Captured(f"m{writer}", new_id("chg"), new_id("mod"), Money(100, "USD"), "bench")
    return lambda tx: record(tx, event)


def chained(writer: int) -> Work:
    """A capture of the writer's own merchant, chained to the merchant's last one in the same transaction."""
    event = Captured(f"m{writer}", new_id("chg"), new_id("mod"), Money(100, "USD"), "bench")

    def work(tx: Transaction) -> None:
        entry = record(tx, event).entry or ""
        row = tx.execute(select(ledger_entry).where(ledger_entry.c.id == entry)).one()
        before = tx.execute(select(head.c.digest).where(head.c.merchant == event.merchant)).scalar_one()
        digest = digest_of(before, row._asdict(), postings_of(tx.connection, [entry])[entry])
        tx.execute(update(head).where(head.c.merchant == event.merchant).values(digest=digest))

    return work


KINDS: dict[str, Callable[[int], Work]] = {
    "two bare rows": two_rows,
    "one account": one_account,
    "own accounts": own_accounts,
    "chained": chained,
}


async def rate(database: Database, make: Callable[[int], Work], writers: int, seconds: float) -> tuple[int, int, float]:
    """How many transactions were committed and how many gave up, in how many seconds."""
    done, busy = itertools.count(), itertools.count()
    started = time.perf_counter()

    async def write(writer: int) -> None:
        while time.perf_counter() < started + seconds:
            try:
                await database.maintain(make(writer))
                next(done)
            except DatabaseBusy:
                next(busy)

    await asyncio.gather(*(write(writer) for writer in range(writers)))
    return next(done), next(busy), time.perf_counter() - started


async def measure(name: str, url: str, seconds: float) -> None:
    """The rows of one database."""
    database = Database.open(url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        await database.migrate(_extra.create_all)
        heads = [{"merchant": f"m{writer}", "digest": GENESIS} for writer in range(max(WRITERS))]
        await database.maintain(lambda tx: tx.execute(head.insert(), heads))
        for writers in WRITERS:
            totals = {kind: [0, 0, 0.0] for kind in KINDS}
            for _ in range(ROUNDS):
                for kind, make in KINDS.items():
                    for place, value in enumerate(await rate(database, make, writers, seconds)):
                        totals[kind][place] += value
            base = totals["two bare rows"][0] / totals["two bare rows"][2]
            for kind, (done, busy, took) in totals.items():
                gave_up = f"   {busy:.0f} gave up" if busy else ""
                say(f"{name:12}{writers:>8}  {kind:16}{done / took:>12,.0f}{done / took / base:>9.2f}{gave_up}\n")
        started = time.perf_counter()
        sealed = await seal(database)
        say(f"{name:12} sealing pass {sealed / (time.perf_counter() - started):,.0f} entries/s, ")
        started = time.perf_counter()
        verified = await verify(database)
        say(f"verification {verified.entries / (time.perf_counter() - started):,.0f} entries/s\n")
        if verified.findings or verified.sealed != verified.entries:
            raise SystemExit("the books that were just written do not hold together")
    finally:
        await database.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table. Takes about a minute with the defaults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    seconds = parser.parse_args(argv).seconds
    with tempfile.TemporaryDirectory() as name:
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(Path(name))}\n")
        say(f"{'database':12}{'writers':>8}  {'each':16}{'entries/s':>12}{'ratio':>9}\n")
        asyncio.run(measure("SQLite", sqlite_url(Path(name)), seconds))
        with postgres_server() as server:
            asyncio.run(measure("PostgreSQL", server.fresh_database(), seconds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
