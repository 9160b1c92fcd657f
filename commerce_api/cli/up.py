"""``cordon up``: the whole of Cordon on this machine, until SIGTERM."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.ports import choose_ports
from commerce_api.cli.stack import Stack, stop_signals, write_run_file


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("up", help="run zone, sandbox processor, commerce and MCP server on this machine")
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where everything is kept (.cordon)"
    )
    parser.add_argument(
        "--database-url",
        action="extend",
        nargs="+",
        default=[],
        metavar="URL",
        help="a PostgreSQL server, or zone=URL commerce=URL (default: SQLite, nothing to install)",
    )
    parser.add_argument("--port-base", type=int, metavar="N", help="five ports from N on; 0 takes any free ones")
    parser.add_argument(
        "--localhost",
        action="store_true",
        help="name commerce's pages http://localhost, so that shoppers can use passkeys",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object once everything is healthy")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Starts the stack, describes it, and keeps it running. Returns 0 after a clean stop. Raises CommandRefused."""
    from commerce_api.cli.databases import database_urls

    ports, lines = choose_ports(arguments.port_base)
    for line in lines:
        sys.stderr.write(f"cordon: {line}\n")
    given = arguments.database_url or [url for url in [os.environ.get("CORDON_DATABASE_URL")] if url]
    databases = database_urls(given, arguments.data)
    stack = Stack(arguments.data, ports, databases)
    if arguments.localhost:
        stack.commerce_host = "localhost"
    with stop_signals() as should_stop:
        try:
            stack.set_up()
            stack.start(lambda name: _say(arguments, f"{name} is up"))
            description = describe(stack, databases["commerce"])
            write_run_file(stack.data, description)
            _print(description, as_json=arguments.json)
            stack.keep_running(should_stop, lambda name: _restarted(stack, databases["commerce"], name))
        finally:
            _say(arguments, "stopping")
            stack.stop()
    return 0


def describe(stack: Stack, database_url: str | None) -> dict[str, object]:
    """What runs where: the object that ``--json`` prints. Null stands for what does not exist yet."""
    from commerce_api.brands import agent_key
    from commerce_api.links import Links
    from commerce_api.settings import sqlite_url

    commerce = stack.data / "commerce"
    secret = (commerce / "keys" / "agent.key").read_bytes().strip()
    links = Links(stack.url("commerce"), stack.url("mcp"))
    brands = asyncio.run(_brands(database_url or sqlite_url(commerce)))
    return {
        "data_dir": str(stack.data),
        "pids": stack.pids(),
        "capture_url": stack.url("capture"),
        "zone_internal_url": stack.url("internal"),
        "commerce_url": stack.url("commerce"),
        "console_url": None,
        "processor_url": stack.url("processor"),
        "brands": {
            brand.id: {
                "mcp_url": links.mcp(brand.id),
                "acp_base_url": None,
                "ucp_profile_url": None,
                "checkout_page_url": links.checkout_root(brand.id),
                "agent_api_key": agent_key(brand, secret),
            }
            for brand in brands
        },
    }


async def _brands(database_url: str) -> "list[Any]":
    from audit.transaction import Database
    from commerce_api.brands import all_brands
    from tokenization.clock import now_milliseconds

    database = Database.open(database_url, now_milliseconds)
    try:
        return await database.read(all_brands)
    finally:
        await database.close()


def _restarted(stack: Stack, database_url: str | None, name: str) -> None:
    sys.stderr.write(f"cordon: {name} had ended and was started again\n")
    write_run_file(stack.data, describe(stack, database_url))


def _say(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.json:
        sys.stderr.write(f"cordon: {line}\n")


def _print(description: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(description) + "\n")
        sys.stdout.flush()
        return
    write = sys.stdout.write
    write("\nCordon is up. Sandbox: no money moves.\n")
    for label, key in (("card page", "capture_url"), ("commerce", "commerce_url"), ("processor", "processor_url")):
        write(f"  {label:<12}{description[key]}\n")
    for name, brand in description["brands"].items():
        write(f"\n  {name}\n    {'MCP':<12}{brand['mcp_url']}\n    {'agent key':<12}{brand['agent_api_key']}\n")
    if not description["brands"]:
        write("\n  No brand yet: cordon brand add NAME --feed FILE\n")
    write(f"\n  data in {description['data_dir']}; stop with Ctrl-C\n")
    sys.stdout.flush()
