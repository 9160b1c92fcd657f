"""``vault-zone migrate``: brings the zone's tables up to date as their owner, and says which role serves them."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.serving_role import RoleRefused, serve_as
from audit.transaction import Database, DatabaseBusy
from tokenization.clock import now_milliseconds
from vault_zone.cli.refused import CommandRefused
from vault_zone.migrations import HEAD, upgrade
from vault_zone.serving_rights import RIGHTS

PASSWORD_FILE = "CORDON_SERVING_PASSWORD_FILE"  # nosec B105  # in the environment: a file's name
OWNER_FIRST = (
    "this role may not bring the zone's database up to date, or lacks a right in it: run "
    "`vault-zone migrate --database-url=postgresql://OWNER@… --serve-as=ROLE` as the owner of the tables, then this again"
)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = commands.add_parser("migrate", help="bring the zone's database up to date, and say which role serves it")
    parser.add_argument("--database-url", required=True, metavar="URL", help="as the owner of its tables")
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
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        asyncio.run(_migrated(arguments.database_url, arguments.serve_as, _password(arguments.password_file)))
    except RoleRefused as refused:
        raise CommandRefused(str(refused)) from None
    except (DatabaseBusy, OSError, SQLAlchemyError, ValueError) as failure:
        raise CommandRefused(
            f"the database cannot be used ({type(failure).__name__}): check --database-url and --password-file"
        ) from None
    served = f"; {arguments.serve_as} serves it" if arguments.serve_as else ""
    sys.stdout.write(f"the zone's database is at revision {HEAD}{served}\n")
    return 0


async def _migrated(url: str, role: str | None, password: str | None) -> None:
    def prepare(connection: Connection) -> None:
        upgrade(connection)
        if role:
            serve_as(connection, role, RIGHTS, password=password)

    database = Database.open(url, now_milliseconds)
    try:
        await database.migrate(prepare)
    finally:
        await database.close()


def _password(named: Path | None) -> str | None:
    path = named or (Path(os.environ[PASSWORD_FILE]) if PASSWORD_FILE in os.environ else None)
    return path.read_text(encoding="ascii").strip() if path is not None else None
