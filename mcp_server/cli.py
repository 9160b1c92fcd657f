"""``cordon-mcp``: runs the brands' MCP servers as processes of their own."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from audit.serving_role import NotPermitted
from commerce_api.cli.migrate import OWNER_FIRST
from commerce_api.cli.rate_options import add_rate_options, limits_of
from commerce_api.rates import KEYED_PER_SECOND, Rates, shared_table
from commerce_api.runtime import open_commerce
from commerce_api.serve import keep_what_is_loaded, server
from commerce_api.settings import CommerceSettings, SettingsRefused
from mcp_server.app import BrandEndpoints, mcp_app
from mcp_server.bearer import presented
from mcp_server.workers import Workers, listen, until_alone
from tokenization import logs
from tokenization.clock import monotonic_seconds

WORKERS_MAXIMUM = 64


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM. Returns 0 when stopped, 1 when refused to start."""
    parser = argparse.ArgumentParser(prog="cordon-mcp", description="Each brand's agent as an MCP server.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the commerce data directory")
    parser.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8705)
    parser.add_argument("--mcp-url", help="the address under which assistants reach this server")
    parser.add_argument("--public-url", required=True, help="the address of the checkout pages")
    parser.add_argument("--zone-url", required=True)
    parser.add_argument("--capture-url", required=True)
    parser.add_argument("--workers", type=_count, default=1, help="processes behind the address (default: %(default)s)")
    add_rate_options(parser, keyed_per_second=KEYED_PER_SECOND)
    for shared in ("--listener", "--rates-table"):  # descriptors that a worker is started with; see workers.py
        parser.add_argument(shared, type=int, default=-1, help=argparse.SUPPRESS)
    given = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(given)
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install()
    logging.getLogger("mcp").setLevel(logging.WARNING)  # the SDK's INFO tells of every request
    try:
        settings = CommerceSettings.read(
            data=arguments.data,
            database_url=arguments.database_url or os.environ.get("CORDON_DATABASE_URL"),
            host=arguments.host,
            port=arguments.port,
            public_url=arguments.public_url,
            mcp_url=arguments.mcp_url or f"http://{arguments.host}:{arguments.port}",
            zone_url=arguments.zone_url,
            capture_url=arguments.capture_url,
        )
    except SettingsRefused as refused:
        for problem in refused.problems:
            sys.stderr.write(f"cordon-mcp: {problem}\n")
        return 1
    if arguments.workers > 1 and arguments.listener < 0:
        try:
            listener = listen(settings.host, settings.port)
        except OSError as failure:
            sys.stderr.write(f"cordon-mcp: cannot listen on {settings.host}:{settings.port}: {failure.strerror}\n")
            return 1
        return Workers(list(given), arguments.workers, listener, shared_table()).run()
    rates = Rates(monotonic_seconds, presented, limits_of(arguments), arguments.rates_table)
    try:
        asyncio.run(serve(settings, rates, arguments.listener))
    except NotPermitted:
        sys.stderr.write(f"cordon-mcp: {OWNER_FIRST}\n")
        return 1
    return 0


async def serve(settings: CommerceSettings, rates: Rates, listener: int = -1) -> None:
    """Runs the MCP server until SIGTERM or SIGINT, on a socket of its own or on one that workers share."""
    state_keys = [settings.mcp_state_key_file.read_bytes().strip()]
    sockets = None if listener < 0 else [socket.socket(fileno=listener)]
    async with open_commerce(settings) as commerce:
        endpoints = BrandEndpoints(commerce, state_keys, rates)
        program = server(mcp_app(commerce, endpoints), settings.host, settings.port)
        keep_what_is_loaded()
        watching = asyncio.create_task(_end_alone(program)) if sockets else None
        try:
            await program.serve(sockets)
        finally:
            if watching is not None:
                watching.cancel()
            await endpoints.close()


async def _end_alone(program: uvicorn.Server) -> None:
    """Ends a worker whose supervisor is gone; what is in hand is finished first."""
    await until_alone()
    program.should_exit = True


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= WORKERS_MAXIMUM:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
