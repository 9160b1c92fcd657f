"""``cordon statement``: a brand's bill for a month, from its lines."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import seen

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("statement", help="what outcomes cost a brand in a month")
    parser.add_argument("brand", metavar="BRAND")
    parser.add_argument("--month", required=True, metavar="YYYY-MM", help="a month in UTC")
    parser.add_argument("--json", action="store_true", help="with every field of every line")
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
    )
    parser.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from commerce_api.billing.statement import statement
    from commerce_api.brands import find_brand
    from commerce_api.errors import CommerceRefusal

    def work(connection: "Connection", _: int) -> dict[str, Any]:
        return statement(connection, find_brand(connection, arguments.brand), arguments.month)

    try:
        told = seen(arguments, work)
    except ValueError:
        raise CommandRefused("write the month as YYYY-MM, such as 2026-11") from None
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if arguments.json else _text(told))
    return 0


def _text(told: dict[str, Any]) -> str:
    from tokenization.money import Money

    def amount(amount_minor: int) -> str:
        return Money(amount_minor, told["currency"]).text()

    rows = [f"{told['brand']}, {told['month']}"]
    for line in told["lines"]:
        named = " ".join(f"{name}={value}" for name, value in line["evidence"].items())
        why = f" ({line['reason']})" if line["reason"] else ""
        rows.append(
            f"  {line['happened_at'][:10]}  {line['type']:<8}{line['kind'] + why:<28}{amount(line['amount_minor']):>14}"
            f"  v{line['contract_version']}  {named}"
        )
    for kind, sums in (*told["totals"].items(), ("total", told["total"])):
        charged, reversed_, net = (amount(sums[name]) for name in ("charged_minor", "reversed_minor", "net_minor"))
        rows.append(f"  {kind:<8}{sums['outcomes']:>6} outcomes  {charged} charged, {reversed_} reversed: {net}")
    return "\n".join((*rows, f"  {told['rounding']}")) + "\n"
