"""``cordon oauth``: the embedded authorization server's keys, and what shoppers allowed."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commerce_api.cli.paths import DEFAULT_DATA, database_url
from commerce_api.cli.refused import CommandRefused

if TYPE_CHECKING:
    from audit.transaction import Transaction


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the commands."""
    parser = commands.add_parser(
        "oauth", help="keys of the sign-in for shoppers' assistants, and end what one was allowed"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    rotate = actions.add_parser("rotate-keys", help="sign access tokens with a new key from now on")
    rotate.add_argument(
        "--drop-previous", action="store_true", help="end every access token there is (for a key that leaked)"
    )
    revoke = actions.add_parser("revoke", help="end what a shopper allowed an assistant, by its id in the record")
    revoke.add_argument("brand", metavar="BRAND")
    revoke.add_argument("grant", metavar="GRANT")
    revoke.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    for action in (rotate, revoke):
        action.add_argument(
            "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
        )
    rotate.set_defaults(run=_rotate)
    revoke.set_defaults(run=_revoke)


def _rotate(arguments: argparse.Namespace) -> int:
    from commerce_api.authorization.keys import rotate

    keys = arguments.data / "commerce" / "keys"
    if not keys.is_dir():
        raise CommandRefused(f"there is no {keys}: run `cordon up`, or `cordon init`")
    sys.stdout.write(f"{rotate(keys / 'oauth', drop_previous=arguments.drop_previous)} signs from now on\n")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from audit.transaction import Database
    from commerce_api.authorization import grants
    from tokenization.clock import now_milliseconds

    def work(tx: "Transaction") -> bool:
        row = grants.find_grant(tx, arguments.brand, arguments.grant)
        if row is not None:
            grants.revoke(tx, row, "operator")
        return row is not None

    async def carried_out() -> bool:
        database = Database.open(database_url(arguments.database_url, arguments.data / "commerce"), now_milliseconds)
        try:
            return await database.change(work)
        finally:
            await database.close()

    if not asyncio.run(carried_out()):
        raise CommandRefused("there is no such grant of this brand's")
    sys.stdout.write(f"{arguments.grant} has ended, with every token under it\n")
    return 0
