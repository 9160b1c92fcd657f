"""``cordon-mcp``: runs the brands' MCP servers as a process of their own."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

import structlog

from commerce_api.runtime import open_commerce
from commerce_api.serve import server
from commerce_api.settings import CommerceSettings, SettingsRefused
from mcp_server.app import BrandEndpoints, mcp_app
from tokenization import logs


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
    arguments = parser.parse_args(argv)
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
    asyncio.run(serve(settings))
    return 0


async def serve(settings: CommerceSettings) -> None:
    """Runs the MCP server until SIGTERM or SIGINT."""
    state_keys = [settings.mcp_state_key_file.read_bytes().strip()]
    async with open_commerce(settings) as commerce:
        endpoints = BrandEndpoints(commerce, state_keys)
        try:
            await server(mcp_app(commerce, endpoints), settings.host, settings.port).serve()
        finally:
            await endpoints.close()


if __name__ == "__main__":
    sys.exit(main())
