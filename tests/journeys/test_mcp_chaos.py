"""Workers are killed before, in and after calls, replies are lost, cut off and given twice, and every call is made again.

What holds at the end: one checkout, one order and one charge for each purchase, stock sold once, and a log that verifies.
"""

import asyncio
import contextlib
import os
import random
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.commerce_api.purchases import KETTLE, lines, ready
from tests.journeys.mcp_workers import Served, served
from tests.journeys.running import BRAND, Running, add_store, running_stack, wait_for

SEED = 20261127
WORKERS = 3
ERAS = ["2026-07-28", "legacy"]
ATTEMPTS = 40
CALL_SECONDS = 30  # all workers may be starting at once
# What becomes of a tool call. The first six are answered; of the others the client does not know what came of them.
FATES = (
    ["passed"] * 4
    + ["asked_twice"] * 2
    + ["lost"] * 3
    + ["cut_off", "killed_taken", "killed_written", "killed_answered"]
)
KILLS = 6  # in all: a worker takes a moment to start


@dataclass
class Wire:
    """A proxy between client and workers. What becomes of a call is drawn with a seed, in the order of the calls."""

    workers: Served
    written: Path  # the database's write-ahead log
    chance: random.Random
    port: int = 0
    fates: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        """The brand's endpoint, by way of this."""
        return f"http://127.0.0.1:{self.port}/{BRAND}/mcp"

    def serve(self, listener: socket.socket) -> None:
        """Takes one request after another until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                if request := read_request(client):
                    self._answer(client, request)

    def _answer(self, client: socket.socket, request: bytes) -> None:
        fate = self.chance.choice(FATES) if b'"tools/call"' in request else "passed"
        if fate.startswith("killed") and sum(self.fates[each] for each in FATES if each.startswith("killed")) >= KILLS:
            fate = "lost"
        self.fates[fate] += 1
        before = stamp(self.written)
        with self._sent(request) as server:
            if fate == "asked_twice":
                with self._sent(request) as other:
                    client.sendall(read_all(server))
                    read_all(other)
                return
            if fate.startswith("killed"):
                worker = self._worker_of(server)
                if fate == "killed_written":
                    until(lambda: stamp(self.written) != before or readable(server))
                if fate == "killed_answered":
                    until(lambda: readable(server))
                os.kill(worker, signal.SIGKILL)
                return
            reply = read_all(server)
            if fate == "passed":
                client.sendall(reply)
            if fate == "cut_off":
                client.sendall(reply[: len(reply) // 2])

    @contextmanager
    def _sent(self, request: bytes) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.workers.port), CALL_SECONDS) as server:
            server.sendall(request)
            yield server

    def _worker_of(self, server: socket.socket) -> int:
        """The worker that took a connection, as the kernel says; the oldest one where it has answered already."""
        found: list[int] = []

        def is_taken() -> bool:
            inode = inode_of(local_port=self.workers.port, peer_port=server.getsockname()[1])
            found[:] = [pid for pid in self.workers.workers() if inode and holds(pid, inode)]
            return bool(found) or readable(server)

        until(is_taken)
        return [*found, *self.workers.workers()][0]


def read_request(client: socket.socket) -> bytes:
    """A whole request; empty where the client went away."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(65_536)
        if not part:
            return b""
        head += part
    name = b"content-length:"
    length = [int(line[len(name) :]) for line in head.lower().split(b"\r\n") if line.startswith(name)]
    missing = head.index(b"\r\n\r\n") + 4 + sum(length) - len(head)
    while missing > 0:
        part = client.recv(missing)
        head, missing = head + part, missing - len(part)
    return head


def read_all(server: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := server.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def readable(server: socket.socket) -> bool:
    """Whether an answer is coming."""
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        return bool(selector.select(0))


def stamp(path: Path) -> int:
    """When a file was written last; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def inode_of(*, local_port: int, peer_port: int) -> str | None:
    """The inode of a connection's near end; None while nobody accepted it."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        ends = [int(columns[place].partition(":")[2], 16) for place in (1, 2)]
        if ends == [local_port, peer_port] and columns[9] != "0":
            return columns[9]
    return None


def holds(pid: int, inode: str) -> bool:
    """Whether a process has this socket."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == f"socket:[{inode}]":
                    return True
    return False


def until(condition: Callable[[], bool]) -> None:
    """As wait_for(), at a pace at which a call can be caught halfway."""
    deadline = time.monotonic() + CALL_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "a call was not taken"
        time.sleep(0.0005)


@contextmanager
def wired(stack: Running, workers: Served) -> Iterator[Wire]:
    """The proxy, until the block ends."""
    wire = Wire(workers, stack.data / "commerce" / "commerce.sqlite3-wal", random.Random(SEED))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire.port = listener.getsockname()[1]
        thread = threading.Thread(target=wire.serve, args=(listener,))
        thread.start()
        try:
            yield wire
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def call(wire: Wire, era: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """A call that is made until its answer came through."""
    headers = {"connection": "close", "authorization": f"Bearer {wire.workers.key}"}

    async def once() -> dict[str, Any]:
        async with (
            asyncio.timeout(CALL_SECONDS),
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=CALL_SECONDS) as http,
            Client(streamable_http_client(wire.url, http_client=http), mode=era, cache=None) as client,
        ):
            content: dict[str, Any] = (await client.call_tool(tool, arguments)).structured_content or {}
            return content

    for _ in range(ATTEMPTS):
        with contextlib.suppress(MCPError, httpx2.HTTPError, ExceptionGroup, TimeoutError):
            return asyncio.run(once())
    raise AssertionError(f"{tool} got no answer")


def buy(stack: Running, wire: Wire, era: str, *, with_keys: bool = True) -> dict[str, Any]:
    """A purchase in which every call is made again after it was answered, and gives the same. The order."""
    chance = random.Random(wire.chance.random())

    def keyed() -> dict[str, str]:
        return {"idempotency_key": str(uuid.UUID(int=chance.getrandbits(128)))} if with_keys else {}

    def again(tool: str, **arguments: Any) -> dict[str, Any]:
        first = call(wire, era, tool, **arguments)
        second = call(wire, era, tool, **arguments)
        if with_keys:
            assert second["checkout_id"] == first["checkout_id"]
        return second

    made = again("create_checkout", lines=lines(KETTLE, 2), **keyed())
    own = {"checkout_id": made["checkout_id"]}
    delivery = {name: value for name, value in ready().items() if name != "lines"}
    again("update_checkout", **own, lines=lines(KETTLE, 1), **delivery, **keyed())
    handed = again("complete_checkout", **own)
    assert stack.pay(handed)
    wait_for(lambda: bool(stack.look(own["checkout_id"])["status"] == "completed"), "the order never came")
    paid = again("complete_checkout", **own)
    again("get_checkout", **own)
    return call(wire, era, "get_order", order_id=paid["order_id"])


def counted(stack: Running) -> dict[str, int]:
    """What the books say."""
    with contextlib.closing(sqlite3.connect(stack.data / "commerce" / "commerce.sqlite3")) as database:
        one = {
            "checkouts": "SELECT count(*) FROM checkout",
            "orders": "SELECT count(*) FROM customer_order",
            "stock": f"SELECT stock FROM variant WHERE id = '{KETTLE}'",
            "reserved": f"SELECT reserved FROM variant WHERE id = '{KETTLE}'",
        }
        found = {name: database.execute(query).fetchone()[0] for name, query in one.items()}
    charged = [charge["status"] for charge in stack.charges()]
    return {**found, "charges": len(charged), "succeeded": charged.count("succeeded")}


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What became of each figure."""
    return {name: after[name] - before[name] for name in after}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("stack")
    add_store(data)
    with running_stack(data) as running:
        yield running


@pytest.fixture(scope="module")
def workers(stack: Running) -> Iterator[Served]:
    with served(stack, workers=WORKERS, without_end=True) as running:
        yield running


@pytest.mark.timeout(400)
def test_whatever_is_killed_lost_or_repeated_each_purchase_is_one(stack: Running, workers: Served) -> None:
    before = counted(stack)
    with wired(stack, workers) as wire:
        orders = [buy(stack, wire, era)["order_id"] for era in ERAS]
    assert set(FATES) == wire.fates.keys(), "the run did not meet everything: choose another seed"
    bought = len(ERAS)
    assert len(set(orders)) == bought
    assert difference(counted(stack), before) == {
        "checkouts": bought,
        "orders": bought,
        "charges": bought,
        "succeeded": bought,
        "stock": -bought,
        "reserved": 0,
    }
    command = [sys.executable, "-m", "audit.cli", "verify", str(stack.data)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_planted_fault_without_idempotency_keys_the_run_notices(stack: Running, workers: Served) -> None:
    before = counted(stack)
    with wired(stack, workers) as wire:
        buy(stack, wire, ERAS[0], with_keys=False)
    found = difference(counted(stack), before)
    assert found["checkouts"] > 1
    assert found["orders"] == found["charges"] == 1  # a draft more; what guards money does not hang on a client's key
