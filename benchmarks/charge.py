"""Charges a second and what the zone itself takes for one, beside the barest thing that is as safe: two durable commits.

    python -m benchmarks.charge [--in-flight 1 8 64] [--rounds 2] [--scale 1.0] [--database sqlite] [--profile] [--long]

The engine runs as ``vault-zone serve`` builds it (grant, sealed card, code in memory, routing, audit events, the books), in
this process, with a processor that answers at once, and with one whose times are log-normal (p50 120 ms, p99 380 ms). ``own``
is a charge's time without the processor's. ``one``: all charges are one merchant's, whose accounts in the books they share,
which is the worst there is; ``own``: each caller charges for a merchant of its own.

The baselines write one row, call the same processor, and write another, with the same number in flight: through the same
Database class, and by the driver alone (sqlite3 with synchronous=FULL; asyncpg, 16 connections). The kinds take turns, so what
else the machine does meets all; read the ratios. ``cpu ms`` is this process's, a PostgreSQL server's not among it. The log's
sequencer and the housekeeping do not run meanwhile.

``--long``: what a charge and each pass of the housekeeping take over a growing number of stored charges.
"""

import argparse
import asyncio
import cProfile
import functools
import itertools
import math
import pstats
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Column, MetaData, String, Table, text
from sqlalchemy.engine import Connection

from audit.transaction import Database, DatabaseBusy, Transaction
from benchmarks.databases import databases, fresh_database
from benchmarks.machine import commit_latency, percentile, say
from tests.vault_zone.fake_processor import FakeProcessor
from tests.vault_zone.world import a_card
from tokenization.clock import monotonic_seconds, now_milliseconds
from tokenization.ids import new_id
from tokenization.token import new_grant
from tokenization.wire import ChargeRequest, ChargeState
from vault_zone.capture import know_merchant
from vault_zone.card import Cvc
from vault_zone.charge import ChargeEngine
from vault_zone.hazmat.local import LocalKeys
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.lapsing import Lapses
from vault_zone.ledger.chain import seal
from vault_zone.ledger.posting import post
from vault_zone.migrations import upgrade
from vault_zone.models import card_grant, card_record
from vault_zone.modifications import Modifications
from vault_zone.processors.port import Outcome, ProcessorAnswer, ProcessorCharge
from vault_zone.processors.registry import Processors
from vault_zone.security_codes import SecurityCodes
from vault_zone.sweeping import Sweeper
from vault_zone.vault import record_row

P50_SECONDS, P99_SECONDS = 0.120, 0.380
Z_OF_P99 = 2.3263  # of the standard normal distribution
POOL = 16  # connections of the bare loop, as many as the zone's own
HOUR_MS = 3_600_000
AMOUNT_MINOR = 10_905
CHARGES = {"at once": {1: 300, 8: 600, 64: 960}, "log-normal": {1: 24, 8: 160, 64: 960}}  # in one turn
SIZES = (10_000, 100_000, 1_000_000)
STORED_AT_ONCE = 50_000
T = TypeVar("T")
Wait = Callable[[], Awaitable[None]]

_extra = MetaData()
bare = Table("bench_bare", _extra, Column("id", String(40), primary_key=True))


async def at_once() -> None:
    """A processor that takes no time."""


def log_normal() -> Wait:
    """A processor's times, the same ones in each run of the benchmark."""
    drawn = random.Random(2026)  # repeatable, not secret
    sigma = math.log(P99_SECONDS / P50_SECONDS) / Z_OF_P99

    async def wait() -> None:
        await asyncio.sleep(drawn.lognormvariate(math.log(P50_SECONDS), sigma))

    return wait


@dataclass
class TimedProcessor(FakeProcessor):
    """Takes each charge after a wait, and knows how long the wait was."""

    name: str = "bench"
    wait: Wait = at_once
    seconds: dict[str, float] = field(default_factory=dict)

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """As Processor.charge."""
        started = time.perf_counter()
        await self.wait()
        self.seconds[request.reference] = time.perf_counter() - started
        return ProcessorAnswer(Outcome.SUCCEEDED, processor_charge=new_id("ch"))


class CountingDatabase(Database):
    """Counts the transactions that write."""

    changes = 0

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """As Database.change."""
        self.changes += 1
        return await super().change(work)


@dataclass
class Bench:
    """An engine over one database, and what its charges need."""

    database: CountingDatabase
    processor: TimedProcessor
    keys: KeyRing
    codes: SecurityCodes
    engine: ChargeEngine

    async def ready(self, count: int, merchants: Sequence[str]) -> list[ChargeRequest]:
        """So many charges that may be made: cards, grants and codes are there, the merchants take turns."""
        for merchant in merchants:
            await self.database.maintain(functools.partial(know_merchant, merchant_id=merchant))
        sealing = {merchant: await self.keys.ready(merchant, Purpose.SEALING) for merchant in merchants}
        until_ms, card, asked = now_milliseconds() + HOUR_MS, a_card(), []
        records, grants = [], []
        for _, merchant in zip(range(count), itertools.cycle(merchants), strict=False):
            record = record_row(
                sealing[merchant],
                merchant=merchant,
                card=card,
                created_ms=now_milliseconds(),
                expires_ms=until_ms,
                source="page",
            )
            grant, checkout = new_grant(), new_id("chk")
            records.append(record)
            grants.append(_grant_row(grant, record["token"], merchant, checkout, until_ms))
            self.codes.hold(grant, Cvc.parse("737", None))
            asked.append(_request(grant, merchant, checkout))

        def write(tx: Transaction) -> None:
            tx.execute(card_record.insert(), records)
            tx.execute(card_grant.insert(), grants)

        await self.database.maintain(write)
        return asked


def _grant_row(grant: str, token: str, merchant: str, checkout: str, until_ms: int) -> dict[str, Any]:
    return {
        "id": grant,
        "token": token,
        "merchant": merchant,
        "checkout": checkout,
        "ceiling_minor": AMOUNT_MINOR,
        "currency": "USD",
        "expires_ms": until_ms,
        "created_ms": now_milliseconds(),
        "uses_left": 1,
    }


def _request(grant: str, merchant: str, checkout: str) -> ChargeRequest:
    return ChargeRequest(
        payment=new_id("pay"),
        merchant=merchant,
        checkout=checkout,
        grant=grant,
        amount_minor=AMOUNT_MINOR,
        currency="USD",
        return_url="http://127.0.0.1:8704/return",
    )


@asynccontextmanager
async def a_bench(url: str) -> AsyncIterator[Bench]:
    """An engine as running_zone() builds it, over an empty database, with nothing else running."""
    database = CountingDatabase.open(url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        await database.migrate(_extra.create_all)
        processor = TimedProcessor()
        keys, codes = KeyRing(LocalKeys.in_memory(), database, now_milliseconds), SecurityCodes(monotonic_seconds)
        engine = ChargeEngine(
            database,
            keys,
            codes,
            Processors(processor),
            clock=now_milliseconds,
            log_is_writable=lambda: True,
            books=post,
        )
        yield Bench(database, processor, keys, codes, engine)
    finally:
        await database.close()


@dataclass
class Turn:
    """What so many acts took. ``own_ms`` is each one's time without the processor's."""

    seconds: float
    own_ms: list[float]
    cpu_ms: float
    commits: float = 0
    gave_up: int = 0

    @property
    def rate(self) -> float:
        """A second."""
        return len(self.own_ms) / self.seconds


async def in_turn(acts: Sequence[Callable[[], Awaitable[float]]], in_flight: int) -> Turn:
    """Runs every act, so many at a time; an act returns how many of its seconds were the processor's."""
    waiting, own_ms, gave_up = iter(acts), [], 0

    async def caller() -> None:
        nonlocal gave_up
        for act in waiting:
            started = time.perf_counter()
            try:
                others = await act()
            except DatabaseBusy:
                gave_up += 1
            else:
                own_ms.append((time.perf_counter() - started - others) * 1000)

    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    used = time.process_time() - used
    return Turn(time.perf_counter() - started, own_ms, used / len(acts) * 1000, gave_up=gave_up)


async def charges(bench: Bench, asked: Sequence[ChargeRequest], in_flight: int) -> Turn:
    """Makes the charges. Raises SystemExit for one that did not succeed: what follows would measure something else."""

    async def charge(one: ChargeRequest) -> float:
        made = await bench.engine.charge(one, "service:commerce")
        if made.state is not ChargeState.SUCCEEDED:
            raise SystemExit(f"a charge is {made.state}")
        return bench.processor.seconds.pop(made.charge)

    before = bench.database.changes
    turn = await in_turn([functools.partial(charge, one) for one in asked], in_flight)
    turn.commits = (bench.database.changes - before) / len(asked)
    return turn


async def two_commits(insert: Callable[[str], Awaitable[Any]], wait: Wait, count: int, in_flight: int) -> Turn:
    """The baseline: a row, the processor, a row."""

    async def act() -> float:
        await insert(new_id("row"))
        started = time.perf_counter()
        await wait()
        others = time.perf_counter() - started
        await insert(new_id("row"))
        return others

    return await in_turn([act] * count, in_flight)


@asynccontextmanager
async def driver_alone(url: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """One durable INSERT by the database's driver."""
    if url.startswith("sqlite"):
        with ThreadPoolExecutor(1) as writer:
            connection = sqlite3.connect(
                url.removeprefix("sqlite:///"), check_same_thread=False, isolation_level=None, timeout=30
            )
            connection.execute("PRAGMA synchronous=FULL")
            loop = asyncio.get_running_loop()
            yield lambda made: loop.run_in_executor(
                writer, connection.execute, "INSERT INTO bench_bare VALUES (?)", (made,)
            )
            connection.close()
        return
    pool = await asyncpg.create_pool(url, min_size=POOL, max_size=POOL)
    try:
        yield functools.partial(pool.execute, "INSERT INTO bench_bare VALUES ($1)")
    finally:
        await pool.close()


async def measure(kind: str, url: str, arguments: argparse.Namespace) -> None:
    """The lines of one database."""
    async with a_bench(url) as bench, driver_alone(url) as driver:

        async def through_class(made: str) -> None:
            await bench.database.maintain(lambda tx: tx.execute(bare.insert().values(id=made)))

        await charges(bench, await bench.ready(40, ["warm"]), 8)  # keys, statements and pools
        for processor, waits in (("at once", lambda: at_once), ("log-normal", log_normal)):
            for in_flight, sharing in itertools.product(arguments.in_flight, ("one", "own")):
                if in_flight == 1 and sharing == "own":
                    continue
                count = max(int(CHARGES[processor].get(in_flight, 300) * arguments.scale), in_flight)
                merchants = [new_id("mer") for _ in range(1 if sharing == "one" else in_flight)]
                ours, same, raw = [], [], []
                for _ in range(arguments.rounds):
                    bench.processor.wait = waits()
                    ours.append(await charges(bench, await bench.ready(count, merchants), in_flight))
                    same.append(await two_commits(through_class, waits(), count, in_flight))
                    raw.append(await two_commits(driver, waits(), count, in_flight))
                _line(f"{kind:11} {processor:11}{in_flight:>9}  {sharing:9}", ours, same, raw)
        if arguments.profile:
            await _profile(bench)


def _line(what: str, ours: list[Turn], same: list[Turn], raw: list[Turn]) -> None:
    def rate(turns: list[Turn]) -> float:
        return statistics.median(turn.rate for turn in turns)

    def p50(turns: list[Turn]) -> float:
        return statistics.median(one for turn in turns for one in turn.own_ms)

    own = [one for turn in ours for one in turn.own_ms]
    cpu, commits = (statistics.median(getattr(turn, name) for turn in ours) for name in ("cpu_ms", "commits"))
    say(f"{what}{rate(ours):>10,.0f}{p50(ours):>9.1f}{percentile(own, 99):>9.1f}{cpu:>8.2f}{commits:>9.2f}")
    for base in (same, raw):
        say(f"{rate(base):>11,.0f}{p50(base):>8.1f}{rate(ours) / rate(base):>7.2f}")
    gave_up = sum(turn.gave_up for turn in ours)
    say(f"   {gave_up} gave up\n" if gave_up else "\n")


async def _profile(bench: Bench) -> None:
    """Where the time of this process goes: the loop's thread, and the one that writes to SQLite."""
    bench.processor.wait = at_once
    asked = await bench.ready(300, ["profiled"])
    here, writing = cProfile.Profile(time.thread_time), cProfile.Profile(time.thread_time)
    if bench.database.is_sqlite:
        await bench.database.maintain(lambda _: writing.enable())
    here.enable()
    await charges(bench, asked, 1)
    here.disable()
    profiles = [here]
    if bench.database.is_sqlite:
        await bench.database.maintain(lambda _: writing.disable())
        profiles.append(writing)
    for profile in profiles:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


async def measure_long(kind: str, url: str, sizes: Sequence[int]) -> None:
    """The lines of one database, over ever more stored charges."""
    async with a_bench(url) as bench:
        await charges(bench, await bench.ready(40, ["warm"]), 8)
        await bench.database.maintain(functools.partial(know_merchant, merchant_id="stored"))
        stored = 0
        for size in sizes:
            while stored < size:  # in parts that a statement's time limit leaves room for
                part = min(size - stored, STORED_AT_ONCE)
                await bench.database.migrate(functools.partial(_store, count=part))
                stored += part
            one = await charges(bench, await bench.ready(100, ["stored"]), 1)
            many = await charges(bench, await bench.ready(400, ["stored"]), 8)
            own_ms, many_p50 = statistics.median(one.own_ms), statistics.median(many.own_ms)
            say(f"{kind:11}{size:>10,}{own_ms:>9.1f}{one.cpu_ms:>8.2f}{many.rate:>10,.0f}{many_p50:>9.1f}  ")
            say(", ".join([f"{name} {took:.1f}" for name, took in await _housekeeping(bench)]) + "\n")


async def _housekeeping(bench: Bench) -> list[tuple[str, float]]:
    """Milliseconds of each pass that runs every second, with nothing to do; the second of two."""
    modifications = Modifications(
        bench.database, Processors(bench.processor), clock=now_milliseconds, log_is_writable=lambda: True, books=post
    )
    lapses = Lapses(bench.database, Processors(bench.processor), bench.engine, modifications, clock=now_milliseconds)
    sweeper = Sweeper(bench.database, bench.codes, now_milliseconds)
    passes: dict[str, Callable[[], Awaitable[Any]]] = {
        "recover": functools.partial(bench.engine.recover, idle_seconds=60),
        "unknown": bench.engine.resolve_unknown,
        "modifications": functools.partial(modifications.recover, idle_seconds=60),
        "accepted": modifications.resolve_unknown,
        "abandoned": lapses.end_abandoned,
        "expired": lapses.end_expired,
        "no end": lapses.tell_of_what_has_no_end,
        "sweep": sweeper.sweep_all,
        "seal": functools.partial(seal, bench.database),
    }
    took = []
    for name, run in passes.items():
        await run()
        started = time.perf_counter()
        await run()
        took.append((name, (time.perf_counter() - started) * 1000))
    return took


def _store(connection: Connection, count: int) -> None:
    """So many charges that came to their end, and of each hundred one that is authorized; by one statement of the database."""
    if connection.dialect.name == "sqlite":
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
        source, some = "n", "lower(hex(randomblob(16)))"
    else:
        numbers, source, some = "", "generate_series(1, :count) AS n(i)", "md5(random()::text || i::text)"
    is_open = "i % 100 = 0"
    columns = {
        "id": f"'chg_' || {some}",
        "payment": f"'pay_' || {some}",
        "merchant": "'stored'",
        "checkout": f"'chk_' || {some}",
        "grant_id": f"'grt_' || {some}",
        "token": f"'tok_' || {some}",
        "amount_minor": str(AMOUNT_MINOR),
        "currency": "'USD'",
        "brand": "'visa'",
        "last4": "'4242'",
        "processor": "'bench'",
        "processor_charge": f"'ch_' || {some}",
        "state": f"CASE WHEN {is_open} THEN 'authorized' WHEN i % 10 = 0 THEN 'declined' ELSE 'succeeded' END",
        "return_url": "'http://127.0.0.1:8704/return'",
        "network_reference": f"'nrf_' || {some}",
        "authorized_minor": f"CASE WHEN i % 10 = 0 AND NOT {is_open} THEN 0 ELSE {AMOUNT_MINOR} END",
        "captured_minor": f"CASE WHEN i % 10 = 0 THEN 0 ELSE {AMOUNT_MINOR} END",
        "authorized_until_ms": f"CASE WHEN {is_open} THEN {now_milliseconds() + 7 * 24 * HOUR_MS} END",
        "is_closed": f"NOT ({is_open})",
        "intended_ms": f"{now_milliseconds()} - i",
        "changed_ms": f"{now_milliseconds()} - i",
    }
    statement = f"{numbers}INSERT INTO charge ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}"
    connection.execute(text(statement), {"count": count})
    if connection.dialect.name != "sqlite":
        connection.execute(text("ANALYZE charge"))  # as autovacuum does within a minute


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.charge")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the charges in a round")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="one of the two alone")
    parser.add_argument("--profile", action="store_true", help="where the time goes, for who looks for what to mend")
    parser.add_argument("--long", action="store_true", help="over ever more stored charges, instead")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="of --long")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(Path(name))}\n\n")
        if arguments.long:
            say(f"{'':11}{'stored':>10}{'p50 ms':>9}{'cpu ms':>8}{'8: chg/s':>10}{'p50 ms':>9}  each pass, ms\n")
        else:
            base = f"{'p50 ms':>8}{'ratio':>7}"
            own = f"{'charges/s':>10}{'own p50':>9}{'p99 ms':>9}{'cpu ms':>8}{'commits':>9}"
            say(
                f"{'':11} {'processor':11}{'in flight':>9}  {'merchants':9}{own}"
                f"{'Database/s':>11}{base}{'driver/s':>11}{base}\n"
            )
        with databases(Path(name)) as both:
            for kind, url in both:
                if arguments.database not in (None, kind):
                    continue
                own_url = url if kind == "sqlite" else fresh_database(url, "charges")
                if arguments.long:
                    asyncio.run(measure_long(kind, own_url, arguments.sizes))
                else:
                    asyncio.run(measure(kind, own_url, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
