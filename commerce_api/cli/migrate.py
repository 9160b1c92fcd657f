"""``cordon migrate``: brings commerce's tables up to date as their owner, and says which role serves them."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from audit.serving_command import add_role_options, migrate, password_of
from commerce_api.cli.paths import DEFAULT_DATA, database_url
from commerce_api.cli.refused import CommandRefused

OWNER_FIRST = (
    "this role may not bring commerce's database up to date, or lacks a right in it: run "
    "`cordon migrate --database-url=postgresql://OWNER@… --serve-as=ROLE` as the owner of the tables, then this again"
)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("migrate", help="bring the commerce database up to date, and say which role serves it")
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
    )
    parser.add_argument("--database-url", help="as the owner of its tables (default: SQLite in the data directory)")
    add_role_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrates."""
    from sqlalchemy.exc import SQLAlchemyError

    from audit.serving_role import RoleRefused
    from audit.transaction import Database, DatabaseBusy
    from commerce_api.migrations import HEAD, upgrade
    from commerce_api.serving_rights import RIGHTS
    from tokenization.clock import now_milliseconds

    try:
        password = password_of(arguments.password_file)
        database = Database.open(database_url(arguments.database_url, arguments.data / "commerce"), now_milliseconds)
        asyncio.run(migrate(database, upgrade, arguments.serve_as, RIGHTS, password))
    except RoleRefused as refused:
        raise CommandRefused(str(refused)) from None
    except (DatabaseBusy, OSError, SQLAlchemyError, ValueError) as failure:
        raise CommandRefused(
            f"the database cannot be used ({type(failure).__name__}): check --data, --database-url and --password-file"
        ) from None
    served = f"; {arguments.serve_as} serves it" if arguments.serve_as else ""
    sys.stdout.write(f"commerce's database is at revision {HEAD}{served}\n")
    return 0
