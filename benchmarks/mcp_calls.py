"""What a tool call costs over HTTP, beside the same call to the bare SDK and a bare FastAPI handler.

    python -m benchmarks.mcp_calls [--clients 1 16 64] [--seconds 0.7] [--rounds 5] [--database sqlite] [--call get_product]
    python -m benchmarks.mcp_calls --long 30000     # memory over so many calls
    python -m benchmarks.mcp_calls --start          # how soon a worker answers

All servers are one process (benchmarks/mcp_servers.py), as ``cordon-mcp`` serves: uvicorn, httptools, the event loop of Python.
The load comes from this one. They take turns in short rounds, so what else the machine does meets all; ``cpu us`` is the
server's process by ``/proc`` (user and system, all threads; a PostgreSQL server's not among it), and ``ratio`` is what ours
takes of it for one that theirs takes: the median over the rounds.

    ours        everything in front of and around the tool: rate, card guard, door, closed errors, record
    sdk         a tool that answers a constant of the same kind
    sdk+query   a tool that makes the same queries over a connection of SQLAlchemy's
    sdk+tools   our own tools on the SDK alone, with our Database and desk: nothing checked, nothing recorded of the call
    fastapi     a POST handler with the same arguments and a constant of the same kind, typed both ways
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.databases import databases, fresh_database
from benchmarks.load import Load, load, request
from benchmarks.machine import commit_latency, percentile, say
from benchmarks.mcp_servers import FOUND, PRODUCT, QUERY
from tokenization.ids import new_id

MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1.0.0"},
}
HEADERS = {
    "host": "127.0.0.1:8705",
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "gzip, deflate",
    "user-agent": "benchmark/1.0.0",
}
LINES = [{"variant_id": "hp-kettle-oat", "quantity": 1}]
BUYER = {"email": "robin@example.com", "name": "Robin Field"}
ADDRESS = {
    "name": "Robin Field",
    "line1": "12 Mill Lane",
    "city": "Leeds",
    "postal_code": "LS1 4AP",
    "country": "GB",
}
DIFFERENT, FIRST_ID = 1_000, 10_000
CHECKOUTS = 64  # that are looked at and changed, one after the other
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STEPS = 6
LONG_CLIENTS = 16
START_SECONDS = 60.0
STARTS = 5


class Turn(NamedTuple):
    """A round of one server, and what a call of it cost the server's process."""

    load: Load
    cpu_us: float


@dataclass
class Servers:
    """The process that serves, and the checkouts that there are."""

    pid: int
    ports: dict[str, int]
    brand: str
    checkouts: list[str] = field(default_factory=list)

    def path(self, name: str) -> str:
        """Where a server has its endpoint."""
        return {"ours": f"/{self.brand}/mcp", "fastapi": "/search"}.get(name, "/mcp")

    def used_seconds(self) -> float:
        """Processor time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self) -> int:
        """Memory of the process that is its own or shared and present."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


Requests = Callable[[Servers, str], Callable[[], bytes]]


@dataclass(frozen=True)
class Call:
    """A row of the table: how its next request is made, and which servers are asked beside ours."""

    name: str
    requests: Requests
    beside: tuple[str, ...]


def rpc(servers: Servers, name: str, method: str, params: dict[str, Any], era: str, number: int = 1) -> bytes:
    """A request of the protocol as bytes. ``number`` is its id."""
    headers = {**HEADERS, "mcp-protocol-version": era}
    if era == MODERN:
        headers["mcp-method"] = method
        if "name" in params:
            headers["mcp-name"] = params["name"]
        params = {"_meta": META, **params}
    body = json.dumps(
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}, separators=(",", ":")
    ).encode()
    return request("POST", servers.path(name), headers, body)


def tool(called: str, arguments: Sequence[dict[str, Any]], era: str = MODERN) -> Requests:
    """These calls in turn, under ids that go on: no request is the same as one of the thousand before."""

    def make(servers: Servers, name: str) -> Callable[[], bytes]:
        made: list[bytes] = []
        for number, given in zip(range(DIFFERENT), itertools.cycle(arguments), strict=False):
            if name == "fastapi":
                made.append(request("POST", servers.path(name), HEADERS, json.dumps(given).encode()))
            else:
                params = {"name": called, "arguments": given}
                made.append(rpc(servers, name, "tools/call", params, era, FIRST_ID + number))
        return itertools.cycle(made).__next__

    return make


def listing(era: str) -> Requests:
    """``tools/list``."""

    def make(servers: Servers, name: str) -> Callable[[], bytes]:
        made = rpc(servers, name, "tools/list", {}, era)
        return lambda: made

    return make


def creating(servers: Servers, name: str) -> Callable[[], bytes]:
    """A checkout of its own each time."""

    def make() -> bytes:
        arguments = {"lines": LINES, "buyer": BUYER, "shipping_address": ADDRESS, "idempotency_key": new_id("key")}
        return rpc(servers, name, "tools/call", {"name": "create_checkout", "arguments": arguments}, MODERN)

    return make


def about_checkouts(called: str, arguments: dict[str, Any]) -> Requests:
    """The checkouts in turn."""

    def make(servers: Servers, name: str) -> Callable[[], bytes]:
        made = itertools.cycle(
            rpc(servers, name, "tools/call", {"name": called, "arguments": {"checkout_id": each, **arguments}}, MODERN)
            for each in servers.checkouts
        )
        return made.__next__

    return make


SEARCHES = [
    {"query": word, "limit": FOUND} for word in (QUERY, "mug", "lamp", "pan steel", "board", "throw", "casserole")
]
PRODUCTS = [{"product_id": product} for product in (PRODUCT, "hp-mug", "hp-lamp", "hp-pan", "hp-board", "hp-throw")]
CALLS = (
    Call("search_catalog", tool("search_catalog", SEARCHES), ("sdk+query", "sdk+tools", "sdk", "fastapi")),
    Call("get_product", tool("get_product", PRODUCTS), ("sdk+query", "sdk+tools", "sdk")),
    Call("get_checkout", about_checkouts("get_checkout", {}), ("sdk+tools",)),
    Call("create_checkout", creating, ("sdk+tools",)),
    Call("update_checkout", about_checkouts("update_checkout", {"lines": LINES}), ("sdk+tools",)),
    Call("tools/list", listing(MODERN), ("sdk+tools",)),
    Call("search_catalog, 2025", tool("search_catalog", SEARCHES, LEGACY), ("sdk+query", "sdk+tools", "sdk")),
    Call("tools/list, 2025", listing(LEGACY), ("sdk+tools",)),
)


async def measure(kind: str, servers: Servers, arguments: argparse.Namespace) -> None:
    """The lines of one database."""
    await make_checkouts(servers)
    for call in CALLS:
        if arguments.call not in (None, call.name):
            continue
        names = ("ours", *call.beside)
        made = {name: call.requests(servers, name) for name in names}
        lengths = {name: await ask(servers, name, made[name]()) for name in names}
        for name in names:
            await turn(servers, name, made[name], 8, arguments.seconds / 2)
        for clients in arguments.clients:
            turns: dict[str, list[Turn]] = {name: [] for name in names}
            for _ in range(arguments.rounds):
                for name in names:
                    turns[name].append(await turn(servers, name, made[name], clients, arguments.seconds))
            for name in names:
                shown = f"{kind:11}{call.name:21}{clients:>4}  " if name == "ours" else " " * 38
                say(f"{shown}{name:10}{lengths[name]:>7}{columns(turns[name], turns['ours'])}\n")


async def turn(servers: Servers, name: str, made: Callable[[], bytes], clients: int, seconds: float) -> Turn:
    """One server for so long."""
    before = servers.used_seconds()
    done = await load(servers.ports[name], made, clients=clients, seconds=seconds, expected=200)
    return Turn(done, (servers.used_seconds() - before) / len(done.milliseconds) * 1e6)


def columns(theirs: list[Turn], ours: list[Turn]) -> str:
    """Rate, p50, p99 and processor time; and what ours takes of the last for one of theirs."""
    milliseconds = [one for each in theirs for one in each.load.milliseconds]
    rate = statistics.median(each.load.rate for each in theirs)
    cost = statistics.median(each.cpu_us for each in theirs)
    ratio = statistics.median(mine.cpu_us / other.cpu_us for mine, other in zip(ours, theirs, strict=True))
    p50, p99 = statistics.median(milliseconds), percentile(milliseconds, 99)
    return f"{rate:>9,.0f}{p50:>9.2f}{p99:>9.2f}{cost:>9,.0f}" + ("" if theirs is ours else f"{ratio:>8.2f}")


async def ask(servers: Servers, name: str, made: bytes) -> int:
    """Sends one request by itself; returns the length of its answer. Raises ValueError where it is a refusal."""
    return len(await answer_to(servers, name, made))


async def answer_to(servers: Servers, name: str, made: bytes) -> bytes:
    """As ask(), with the answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.ports[name])
    writer.write(made.replace(b"\r\nhost:", b"\r\nconnection: close\r\nhost:", 1))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head[:16] or b'"isError":true' in body or b'"error"' in body[:200]:
        raise ValueError(f"{name}: {head[:16]!r} {body[:300]!r}")
    return body


async def make_checkouts(servers: Servers) -> None:
    """The checkouts that are looked at and changed: complete, and with nobody who pays."""
    create = creating(servers, "ours")
    for _ in range(CHECKOUTS):
        body = await answer_to(servers, "ours", create())
        servers.checkouts.append(json.loads(body)["result"]["structuredContent"]["checkout_id"])


async def measure_long(kind: str, servers: Servers, calls: int, only: str | None) -> None:
    """Memory of the process as calls of every kind, or of one, go on."""
    await make_checkouts(servers)
    turns = itertools.cycle([call.requests(servers, "ours") for call in CALLS if only in (None, call.name)])
    done = 0

    def made() -> bytes:
        return next(turns)()

    say(f"{kind:11}{done:>8,} calls {servers.resident_bytes() / 2**20:>7.1f} MiB\n")
    for step in range(1, STEPS + 1):
        while done < calls * step // STEPS:
            part = await load(servers.ports["ours"], made, clients=LONG_CLIENTS, seconds=1.0, expected=200)
            done += len(part.milliseconds)
        say(f"{kind:11}{done:>8,} calls {servers.resident_bytes() / 2**20:>7.1f} MiB\n")


@contextmanager
def served(data: Path, url: str) -> Iterator[Servers]:
    """The process with all servers."""
    data.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mcp_servers", "--data", str(data), "--url", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = json.loads(process.stdout.readline() if process.stdout else "")
        yield Servers(process.pid, told["ports"], told["brand"])
    finally:
        process.communicate("")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mcp_calls")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="one of the two alone")
    parser.add_argument("--call", choices=[call.name for call in CALLS], help="one of them alone")
    parser.add_argument("--long", type=int, metavar="CALLS", help="memory over so many calls, instead")
    parser.add_argument("--start", action="store_true", help="how soon a worker answers, instead")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if arguments.start:
            say(starts(directory))
            return 0
        say(f"one commit (4 KiB pwrite + fdatasync): {commit_latency(directory)}\n\n")
        if not arguments.long:
            say(f"{'':11}{'call':21}{'clients':7}{'':9}{'bytes':>7}")
            say(f"{'calls/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us':>9}{'ratio':>8}\n")
        with databases(directory) as both:
            for kind, url in both:
                if arguments.database not in (None, kind):
                    continue
                own = url if kind == "sqlite" else fresh_database(url, "calls")
                with served(directory / kind, own) as servers:
                    if arguments.long:
                        uvloop.run(measure_long(kind, servers, arguments.long, arguments.call))
                    else:
                        uvloop.run(measure(kind, servers, arguments))
    return 0


def starts(directory: Path) -> str:
    """Seconds from a worker's start to its first answer, with a database that is there; the first start makes it."""
    zone, data = directory / "zone", directory / "commerce"
    for command in (
        ("vault_zone", "init", "--data", str(zone)),
        ("commerce_api", "init", "--data", str(data)),
        ("vault_zone", "identity", "commerce", "--data", str(zone), "--out", str(data / "tls")),
    ):
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    took = [_start(data, 18_705) for _ in range(STARTS + 1)]
    return f"a worker answers after {statistics.median(took[1:]):.2f} s (first of all {took[0]:.2f} s)\n"


def _start(data: Path, port: int) -> float:
    started = time.perf_counter()
    command = ["--data", str(data), "--port", str(port), "--public-url", "http://127.0.0.1:1"]
    command += ["--zone-url", "https://127.0.0.1:2", "--capture-url", "http://127.0.0.1:3"]
    process = subprocess.Popen([sys.executable, "-m", "mcp_server", *command], stdin=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < START_SECONDS and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
            else:
                return time.perf_counter() - started
        raise TimeoutError
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
