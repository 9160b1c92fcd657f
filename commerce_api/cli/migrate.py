"""``cordon migrate``: brings commerce's tables up to date as their owner, and says which role serves them."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commerce_api.cli.paths import DEFAULT_DATA, database_url
from commerce_api.cli.refused import CommandRefused

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PASSWORD_FILE = "CORDON_SERVING_PASSWORD_FILE"  # nosec B105  # in the environment: a file's name
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
    parser.add_argument(
        "--serve-as",
        metavar="ROLE",
        help="a role that gets what serving needs and loses the rest; made if it is not there",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"holds that role's password, which is set anew (default: ${PASSWORD_FILE}, or it stays as it is)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrates."""
    from sqlalchemy.exc import SQLAlchemyError

    from audit.serving_role import RoleRefused
    from audit.transaction import DatabaseBusy
    from commerce_api.migrations import HEAD

    try:
        password = _password(arguments.password_file)
        asyncio.run(_migrated(database_url(arguments.database_url, arguments.data / "commerce"), arguments, password))
    except RoleRefused as refused:
        raise CommandRefused(str(refused)) from None
    except (DatabaseBusy, OSError, SQLAlchemyError, ValueError) as failure:
        raise CommandRefused(
            f"the database cannot be used ({type(failure).__name__}): check --data, --database-url and --password-file"
        ) from None
    served = f"; {arguments.serve_as} serves it" if arguments.serve_as else ""
    sys.stdout.write(f"commerce's database is at revision {HEAD}{served}\n")
    return 0


async def _migrated(url: str, arguments: argparse.Namespace, password: str | None) -> None:
    from audit.serving_role import serve_as
    from audit.transaction import Database
    from commerce_api.migrations import upgrade
    from commerce_api.serving_rights import RIGHTS
    from tokenization.clock import now_milliseconds

    def prepare(connection: "Connection") -> None:
        upgrade(connection)
        if arguments.serve_as:
            serve_as(connection, arguments.serve_as, RIGHTS, password=password)

    database = Database.open(url, now_milliseconds)
    try:
        await database.migrate(prepare)
    finally:
        await database.close()


def _password(named: Path | None) -> str | None:
    path = named or (Path(os.environ[PASSWORD_FILE]) if PASSWORD_FILE in os.environ else None)
    return path.read_text(encoding="ascii").strip() if path is not None else None
