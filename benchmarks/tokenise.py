"""Tokenising over HTTP beside the barest handler that could keep a row.

``python -m benchmarks.tokenise [--clients 1 8 32 128] [--seconds 2] [--rounds 5] [--stored 10000 100000 1000000]``

The zone's side is ACP's delegate_payment as platforms call it: bearer key, idempotency key, the card taken out and sealed, and
record, grant, answer and event in one commit. The bare side is a FastAPI handler that puts the same body into one row and
commits it (asyncpg; sqlite3 with synchronous=FULL), on the same server and the same event loop. The two take turns in short
rounds, and the clients run in this process; read the ratios. The first line says what one commit costs here. Then where the
server's time goes while the zone tokenises, by what its stacks show.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.databases import databases, fresh_database
from benchmarks.load import Load, load, request
from benchmarks.machine import commit_latency, percentile, say
from benchmarks.stored_cards import store
from benchmarks.zone_server import MERCHANT
from tokenization.ids import new_id
from vault_zone.delegation.acp import PATH
from vault_zone.velocity import Kind
from vault_zone.velocity_policy import EVERY_MERCHANT, FILE_NAME

PROFILED_CLIENTS = 32
ALLOWANCE_SECONDS = 3_600
BEYOND_REACH = 10**9  # tries: one card and one platform do the work of a day in a second, and each is still counted


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenise")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument(
        "--stored", type=int, nargs="*", default=[], help="again with so many cards stored, such as 10000 1000000"
    )
    parser.add_argument(
        "--places", action="store_true", help="the commonest places too, for who looks for what to mend"
    )
    parser.add_argument(
        "--commit-ms", type=float, default=0.0, help="SQLite: as on a disk whose every commit takes so much longer"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="one of the two alone")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(directory)}\n\n")
        side = f"{'p50 ms':>8}{'p99':>8}{'cpu ms':>8}"
        say(f"{'clients':24}{'tokens/s':>10}{side}{'bare/s':>10}{side}{'ratio':>8}\n")
        with databases(directory) as both:
            for kind, url in both:
                if arguments.database in (None, kind):
                    bare = (
                        f"sqlite:///{directory / 'bare.sqlite3'}" if kind == "sqlite" else fresh_database(url, "bare")
                    )
                    with _server(directory / kind, url, bare, arguments) as described:
                        uvloop.run(_measure(kind, url, described, arguments))
    return 0


@contextmanager
def _server(data: Path, url: str, bare: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    subprocess.run(
        [sys.executable, "-m", "vault_zone", "init", "--data", str(data)], check=True, stdout=subprocess.DEVNULL
    )
    limits = {kind.value: {"window_seconds": 3_600, "maximum": BEYOND_REACH} for kind in Kind}
    limits[Kind.CARD.value]["maximum"] += 1  # above that of the numbers that look like it
    (data / FILE_NAME).write_text(json.dumps({EVERY_MERCHANT: limits}), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.zone_server", "--data", str(data), "--url", url, "--bare-url", bare]
    if url.startswith("sqlite"):
        command += ["--commit-ms", str(arguments.commit_ms)]
    process = subprocess.Popen(
        [*command, "--loop", arguments.loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield json.loads(line)
    finally:
        process.communicate("")


async def _measure(kind: str, url: str, described: dict[str, Any], arguments: argparse.Namespace) -> None:
    body = _body()
    zone = _delegations(described["bearer"], body)
    bare_request = request("POST", "/bare", {"content-type": "application/json"}, body)

    async def turn(port: int, next_request: Callable[[], bytes], clients: int) -> Turn:
        before = await _used(described["bare"])
        done = await load(port, next_request, clients=clients, seconds=arguments.seconds, expected=201)
        return Turn(done, (await _used(described["bare"]) - before) / len(done.milliseconds) * 1000)

    await turn(described["zone"], zone, 8)  # keys, statements and pools are warm from here on
    await turn(described["bare"], lambda: bare_request, 8)
    for clients in arguments.clients:
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(await turn(described["zone"], zone, clients))
            theirs.append(await turn(described["bare"], lambda: bare_request, clients))
        ratio = statistics.median(mine.load.rate / other.load.rate for mine, other in zip(ours, theirs, strict=True))
        say(f"  {kind:14}{clients:>8}{_columns(ours)}{_columns(theirs)}{ratio:>8.2f}\n")
    await _profile(kind, described, zone, arguments)
    for count in arguments.stored:
        await store(url, count)
        made = [await turn(described["zone"], zone, PROFILED_CLIENTS) for _ in range(arguments.rounds)]
        say(f"  {kind}, {count:,} cards stored{'':>2}{_columns(made)}\n")


class Turn(NamedTuple):
    """A round of one side, and what a request of it cost the server's process."""

    load: Load
    processor_ms: float


def _columns(rounds: list[Turn]) -> str:
    milliseconds = [one for each in rounds for one in each.load.milliseconds]
    rate = statistics.median(each.load.rate for each in rounds)
    cost = statistics.median(each.processor_ms for each in rounds)
    return f"{rate:>10,.0f}{statistics.median(milliseconds):>8.1f}{percentile(milliseconds, 99):>8.1f}{cost:>8.2f}"


async def _used(port: int) -> float:
    seconds: float = (await _control(port, "GET", "/used"))["processor_seconds"]
    return seconds


async def _profile(
    kind: str, described: dict[str, Any], zone: Callable[[], bytes], arguments: argparse.Namespace
) -> None:
    bare = described["bare"]

    async def tokens() -> int:
        done = await load(
            described["zone"], zone, clients=PROFILED_CLIENTS, seconds=arguments.seconds * 2, expected=201
        )
        return len(done.milliseconds)

    await _control(bare, "POST", "/profile")
    made = await tokens()
    found = await _control(bare, "GET", "/profile")
    total = sum(found["groups"].values())
    parts = ", ".join(
        f"{group} {took / total:.1%}" for group, took in sorted(found["groups"].items(), key=lambda pair: -pair[1])
    )
    say(f"  {kind}: the server's time while it tokenises: {parts}\n")
    if arguments.places:
        for place, took in found["places"].items():
            say(f"    {took / total:>6.1%} {took / made * 1e6:>6.0f} us {place}\n")


async def _control(port: int, method: str, path: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(method, path, {"connection": "close"}))
    answer = await reader.read()
    writer.close()
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def _delegations(bearer: str, body: bytes) -> Callable[[], bytes]:
    """The next request: each under a key of its own, for else it would be answered with the first one's token."""
    head, content = request(
        "POST",
        PATH,
        {
            "authorization": f"Bearer {bearer}",
            "api-version": "2026-04-17",
            "content-type": "application/json",
            "idempotency-key": "KEY",
        },
        body,
    ).split(b"KEY", 1)
    return lambda: head + new_id("idem").encode() + content


def _body() -> bytes:
    until = datetime.fromtimestamp(time.time() + ALLOWANCE_SECONDS, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {
            "payment_method": {
                "type": "card",
                "card_number_type": "fpan",
                "number": "4242424242424242",
                "exp_month": "12",
                "exp_year": "2034",
                "name": "Robin Field",
                "cvc": "737",
                "display_card_funding_type": "credit",
                "display_brand": "visa",
                "display_last4": "4242",
                "metadata": {},
            },
            "allowance": {
                "reason": "one_time",
                "max_amount": 10_905,
                "currency": "usd",
                "checkout_session_id": "chk_a",
                "merchant_id": MERCHANT,
                "expires_at": until,
            },
            "risk_signals": [{"type": "card_testing", "score": 10, "action": "manual_review"}],
            "metadata": {},
        }
    ).encode()


if __name__ == "__main__":
    raise SystemExit(main())
