"""``vault-zone serve``: runs the zone."""

import argparse
import asyncio
import os
from pathlib import Path

import structlog

from vault_zone.cli.harden import harden
from vault_zone.settings import ZoneSettings

log = structlog.get_logger("vault_zone")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    serve = commands.add_parser("serve", help="run the zone")
    serve.add_argument("--data", type=Path, required=True, metavar="DIR")
    serve.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    serve.add_argument("--capture-host", default="127.0.0.1")
    serve.add_argument("--capture-port", type=int, default=8701)
    serve.add_argument("--capture-url", help="the address under which shoppers reach the card page")
    serve.add_argument("--internal-host", default="127.0.0.1")
    serve.add_argument("--internal-port", type=int, default=8702)
    serve.add_argument(
        "--processor-url", metavar="URL", help="the sandbox's address, in development (default: processors.json alone)"
    )
    serve.add_argument(
        "--notices-url", metavar="URL", help="where commerce is told of what moved: its address and /zone/notices"
    )
    serve.add_argument("--charge-timeout-seconds", type=float, default=10.0)
    serve.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an address or network (CIDR) whose X-Forwarded-For is believed; may be given again",
    )
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    settings = ZoneSettings.read(
        data=arguments.data,
        database_url=arguments.database_url or os.environ.get("CORDON_DATABASE_URL"),
        capture_host=arguments.capture_host,
        capture_port=arguments.capture_port,
        capture_url=arguments.capture_url,
        internal_host=arguments.internal_host,
        internal_port=arguments.internal_port,
        processor_url=arguments.processor_url,
        charge_timeout_seconds=arguments.charge_timeout_seconds,
        notices_url=arguments.notices_url,
        trusted_proxies=arguments.trusted_proxy,
    )
    measures, _ = harden(settings.environment)
    for measure in measures:
        log.info("hardened", measure=measure.name, outcome=measure.outcome.value)
    from vault_zone.serve import serve

    asyncio.run(serve(settings))
    return 0
