"""``vault-zone migrate``: brings the zone's tables up to date as their owner, and says which role serves them."""

import argparse
import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError

from audit.serving_command import add_role_options, migrate, password_of
from audit.serving_role import RoleRefused
from audit.transaction import Database, DatabaseBusy
from tokenization.clock import now_milliseconds
from vault_zone.cli.refused import CommandRefused
from vault_zone.migrations import HEAD, upgrade
from vault_zone.serving_rights import RIGHTS

OWNER_FIRST = (
    "this role may not bring the zone's database up to date, or lacks a right in it: run "
    "`vault-zone migrate --database-url=postgresql://OWNER@… --serve-as=ROLE` as the owner of the tables, then this again"
)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = commands.add_parser("migrate", help="bring the zone's database up to date, and say which role serves it")
    parser.add_argument("--database-url", required=True, metavar="URL", help="as the owner of its tables")
    add_role_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        password = password_of(arguments.password_file)
        database = Database.open(arguments.database_url, now_milliseconds)
        asyncio.run(migrate(database, upgrade, arguments.serve_as, RIGHTS, password))
    except RoleRefused as refused:
        raise CommandRefused(str(refused)) from None
    except (DatabaseBusy, OSError, SQLAlchemyError, ValueError) as failure:
        raise CommandRefused(
            f"the database cannot be used ({type(failure).__name__}): check --database-url and --password-file"
        ) from None
    served = f"; {arguments.serve_as} serves it" if arguments.serve_as else ""
    sys.stdout.write(f"the zone's database is at revision {HEAD}{served}\n")
    return 0
