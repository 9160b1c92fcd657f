"""``cordon serve``: runs the commerce process by itself, as a deployment does. ``cordon up`` runs the whole stack."""

import argparse
import os
from pathlib import Path
from typing import Any

from commerce_api.cli.rate_options import add_rate_options, limits_of
from commerce_api.cli.refused import CommandRefused
from commerce_api.rates import AGENTS_PER_SECOND


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("serve", help="run the commerce process alone (a deployment's command)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8704)
    parser.add_argument("--public-url", help="the address under which shoppers reach the checkout pages")
    parser.add_argument("--mcp-url", help="the address of the MCP server")
    parser.add_argument("--zone-url", required=True, help="https:// address of the zone's internal API")
    parser.add_argument("--capture-url", required=True, help="the address of the zone's card page")
    add_rate_options(parser, keyed_per_second=AGENTS_PER_SECOND)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM."""
    import structlog

    from commerce_api.serve import run as serve_commerce
    from commerce_api.settings import CommerceSettings, SettingsRefused
    from tokenization import logs

    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install()
    try:
        settings = CommerceSettings.read(
            data=arguments.data,
            database_url=arguments.database_url or os.environ.get("CORDON_DATABASE_URL"),
            host=arguments.host,
            port=arguments.port,
            public_url=arguments.public_url,
            mcp_url=arguments.mcp_url,
            zone_url=arguments.zone_url,
            capture_url=arguments.capture_url,
            trusted_proxies=tuple(arguments.trusted_proxy),
        )
    except SettingsRefused as refused:
        raise CommandRefused(*refused.problems) from None
    serve_commerce(settings, limits_of(arguments))
    return 0
