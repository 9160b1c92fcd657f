"""Two workers behind one address over a running stack, and an official client of each protocol era that buys.

Any worker answers, one is killed between calls, every call is repeated, connections close after each: one order.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.commerce_api.purchases import ready
from tests.journeys.mcp_workers import WORKERS, Served, served
from tests.journeys.running import ROOT, Running, add_store, running_stack, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("stack")
    add_store(data)
    with running_stack(data) as running:
        yield running


def call(workers: Served, mode: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """A call on a connection of its own, from a client of its own; asked again where the worker died under it."""

    headers = {"connection": "close", "authorization": f"Bearer {workers.key}"}

    async def once() -> dict[str, Any]:
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
            Client(streamable_http_client(workers.url, http_client=http), mode=mode, cache=None) as client,
        ):
            content: dict[str, Any] = (await client.call_tool(tool, arguments)).structured_content or {}
            return content

    for _ in range(5):
        try:
            return asyncio.run(once())
        except (MCPError, httpx2.HTTPError, ExceptionGroup):  # a reply that was lost: the same call again
            wait_for(workers.answers, "the workers do not answer any more")
    raise AssertionError(f"{tool} got no answer")


def twice(workers: Served, mode: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """The same call two times over, with a worker killed between: the same checkout."""
    first = call(workers, mode, tool, **arguments)
    killed, *_ = workers.workers()
    os.kill(killed, signal.SIGKILL)
    again = call(workers, mode, tool, **arguments)
    wait_for(lambda: len(workers.workers()) == WORKERS and killed not in workers.workers(), "no worker took its place")
    assert again["checkout_id"] == first["checkout_id"]
    return again


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_workers_die_and_every_call_is_repeated_and_there_is_one_order(stack: Running, mode: str) -> None:
    before = len(stack.charges())
    # Each killed worker counts towards giving up, so both eras have a supervisor of their own.
    with served(stack) as workers:
        made = twice(workers, mode, "create_checkout", **ready(idempotency_key=f"journey-{mode}"))
        own = {"checkout_id": made["checkout_id"]}
        handed = twice(workers, mode, "complete_checkout", **own)
        assert stack.pay(handed)
        paid = twice(workers, mode, "get_checkout", **own, wait_seconds=20)
        assert paid["status"] == "completed"
        order = call(workers, mode, "get_order", order_id=paid["order_id"])
    assert order["paid_with"]["last4"] == "4242"
    assert len(stack.charges()) == before + 1


def test_the_limit_of_a_client_holds_over_all_workers(stack: Running) -> None:
    with served(stack, "--anonymous-calls-per-second", "1") as workers, httpx.Client(trust_env=False) as http:
        statuses = [
            http.post(workers.url, content=b"{}", headers={"connection": "close"}).status_code for _ in range(30)
        ]
    # Ten at once and one a second; the calls themselves take a moment.
    assert 30 - statuses.count(429) < 2 * 10
    assert statuses.count(429) >= 10


def test_an_address_that_is_taken_is_said_and_nothing_is_started(stack: Running) -> None:
    with served(stack) as workers:
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "mcp_server",
                    "--data",
                    str(stack.data / "commerce"),
                    "--port",
                    str(workers.port),
                ),
                *("--public-url", stack.described["commerce_url"], "--zone-url", stack.described["zone_internal_url"]),
                *("--capture-url", stack.described["capture_url"], "--workers", "2"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cordon-mcp: cannot listen on 127.0.0.1:{workers.port}: ")


def test_workers_do_not_outlive_a_supervisor_that_is_killed(stack: Running) -> None:
    with served(stack, ends_with=-signal.SIGKILL) as workers:
        left = workers.workers()
        os.kill(workers.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(_lives(pid) for pid in left), "workers go on without their supervisor")
        assert not workers.answers()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
