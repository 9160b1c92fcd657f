"""``cordon contract``: what outcomes cost a brand. A version that is in force is never changed."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import done

if TYPE_CHECKING:
    from audit.transaction import Transaction


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("contract", help="agree what outcomes cost a brand")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    put = actions.add_parser("set", help="put a version of the contract in force")
    put.add_argument("brand", metavar="BRAND")
    put.add_argument("file", type=Path, metavar="FILE", help="the contract as JSON (see docs/outcome-pricing.md)")
    put.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
    )
    put.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    put.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from commerce_api.billing.contract import ContractInvalid, load_contract, set_contract
    from commerce_api.brands import find_brand
    from commerce_api.errors import CommerceRefusal

    def work(tx: "Transaction") -> bool:
        return set_contract(tx, find_brand(tx.connection, arguments.brand), contract)

    try:
        contract = load_contract(arguments.file)
        is_new = done(arguments, work)
    except ContractInvalid as invalid:
        raise CommandRefused(str(invalid)) from None
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    sys.stdout.write(
        f"{arguments.brand}: version {contract.version} {'is in force' if is_new else 'is there already, as it is'}"
        f"{f' from {contract.valid_from.isoformat()}' if is_new and contract.valid_from else ''}\n"
    )
    return 0
