"""``cordon models``: what calls of language models came to, from their record."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import seen

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from commerce_api.offering.call_report import Report

_LONGEST_DAYS = 400  # as long as the record is kept


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("models", help="what calls of language models came to")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    calls = actions.add_parser(
        "calls", help="costs, times and verdicts by day; ends with 1 where a call lacks its end or its verdict"
    )
    calls.add_argument("brand", metavar="BRAND")
    calls.add_argument(
        "--days", type=int, default=7, metavar="N", help="so many, today with them (default: %(default)s)"
    )
    calls.add_argument("--json", action="store_true", help="for machines")
    calls.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
    )
    calls.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    calls.set_defaults(run=_calls)


def _calls(arguments: argparse.Namespace) -> int:
    from commerce_api.errors import CommerceRefusal
    from commerce_api.offering.call_report import DAY_MS, report_of, told

    if not 1 <= arguments.days <= _LONGEST_DAYS:
        raise CommandRefused(f"--days is a number from 1 to {_LONGEST_DAYS}")

    def work(connection: "Connection", now_ms: int) -> "Report":
        since_ms = (now_ms // DAY_MS - arguments.days + 1) * DAY_MS
        return report_of(connection, arguments.brand, since_ms, now_ms)

    try:
        report = seen(arguments, work)
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    lines = [json.dumps(asdict(report), indent=2)] if arguments.json else told(arguments.brand, report)
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.problems else 0
