"""The server under load in ``benchmarks.tokenise``: the zone as ``vault-zone serve`` builds it, and beside it, on the same loop
and the same server, a bare FastAPI handler that does one durable INSERT. Prints its ports as JSON; ends with its input.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import structlog
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, event

from benchmarks.profiling import Profile
from tokenization import logs
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.app import public_app
from vault_zone.listeners import Listener
from vault_zone.platforms import Protocol, add_platform
from vault_zone.runtime import Zone, running_zone
from vault_zone.serve import public_config
from vault_zone.settings import ZoneSettings

MERCHANT = "benchmark"
POOL = 16  # connections of the bare handler, as many as the zone's own
Insert = Callable[[str, str], Awaitable[None]]


def main() -> int:
    """Serves until its input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--bare-url", required=True)
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--commit-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install(level="ERROR")
    if arguments.commit_ms:
        event.listen(Engine, "commit", lambda _: time.sleep(arguments.commit_ms / 1000))
    if arguments.loop == "uvloop":
        import uvloop

        uvloop.run(_serve(arguments))
    else:
        asyncio.run(_serve(arguments))
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    settings = ZoneSettings.read(
        data=arguments.data,
        database_url=arguments.url,
        capture_host="127.0.0.1",
        capture_port=0,
        capture_url=None,
        internal_host="127.0.0.1",
        internal_port=0,
        processor_url="http://127.0.0.1:9",
        charge_timeout_seconds=10,
        trusted_proxies=(
            "127.0.0.1",
        ),  # the load comes through the operator's proxy, whose connections are not limited
    )
    async with running_zone(settings) as zone:
        bearer = await _platform(zone)
        insert = await (_sqlite_insert if arguments.bare_url.startswith("sqlite") else _postgres_insert)(
            arguments.bare_url, arguments.commit_ms
        )
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
        bare = uvicorn.Config(bare_app(insert, zone), host="127.0.0.1", port=0, http="httptools", **quiet)
        servers = [
            Listener(public_config(public_app(zone), settings)),
            Listener(bare),
        ]
        serving = [asyncio.create_task(server.serve()) for server in servers]
        while not all(getattr(server, "servers", None) for server in servers):  # noqa: ASYNC110  # nothing else says so
            await asyncio.sleep(0.05)
        ports = [server.servers[0].sockets[0].getsockname()[1] for server in servers]
        sys.stdout.write(json.dumps({"zone": ports[0], "bare": ports[1], "bearer": bearer}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


async def _platform(zone: Zone) -> str:
    _, bearer = await zone.database.change(
        lambda tx: add_platform(
            tx,
            name="Benchmark",
            protocols=(Protocol.ACP,),
            merchants=(MERCHANT,),
            ceiling=Money(50_000, "USD"),
            actor="operator:benchmark",
        )
    )
    return bearer


def bare_app(insert: Insert, zone: Zone) -> FastAPI:
    """One handler, one row, one commit; and the switch of the profiler, which is no part of what is measured."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    profile = Profile(zone.database)

    @app.post("/bare", status_code=201)
    async def bare(content: dict[str, Any]) -> dict[str, str]:
        made = new_id("row")
        await insert(made, json.dumps(content))
        return {"id": made}

    @app.post("/profile")
    async def begin() -> dict[str, Any]:
        await profile.start()
        return {}

    @app.get("/profile")
    async def end() -> dict[str, Any]:
        return await profile.stop()

    @app.get("/used")
    async def used() -> dict[str, float]:
        return {"processor_seconds": time.process_time()}

    return app


async def _postgres_insert(url: str, _: float) -> Insert:
    pool = await asyncpg.create_pool(url, min_size=POOL, max_size=POOL)
    await pool.execute("CREATE TABLE IF NOT EXISTS bare (id text PRIMARY KEY, body text NOT NULL)")

    async def insert(made: str, body: str) -> None:
        await pool.execute("INSERT INTO bare VALUES ($1, $2)", made, body)

    return insert


async def _sqlite_insert(url: str, commit_ms: float) -> Insert:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), check_same_thread=False, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE IF NOT EXISTS bare (id text PRIMARY KEY, body text NOT NULL)")
    writer = ThreadPoolExecutor(1)

    def write(made: str, body: str) -> None:
        connection.execute("INSERT INTO bare VALUES (?, ?)", (made, body))
        if commit_ms:
            time.sleep(commit_ms / 1000)

    async def insert(made: str, body: str) -> None:
        await asyncio.get_running_loop().run_in_executor(writer, write, made, body)

    return insert


if __name__ == "__main__":
    raise SystemExit(main())
