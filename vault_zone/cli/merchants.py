"""``vault-zone merchants``: whose pages may frame a merchant's card fields."""

import argparse
import asyncio
import getpass
import os
import sys
from pathlib import Path

from audit.transaction import Database
from tokenization.clock import now_milliseconds
from vault_zone.cli.refused import CommandRefused
from vault_zone.merchants import MAXIMUM_ORIGINS, TooManyOrigins, change_frame_origins
from vault_zone.migrations import upgrade
from vault_zone.pages.render import UnsafeUrl


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("merchants", help="what the zone knows of merchants")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    origins = acts.add_parser("origins", help="show or change whose pages may frame a merchant's card fields")
    origins.add_argument("merchant", help="the merchant's id, as commerce names it")
    origins.add_argument("--add", action="append", default=[], metavar="ORIGIN", help="such as https://shop.example")
    origins.add_argument("--remove", action="append", default=[], metavar="ORIGIN")
    origins.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    origins.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    origins.set_defaults(run=_origins)


def _origins(arguments: argparse.Namespace) -> int:
    try:
        standing = asyncio.run(_changed(arguments))
    except UnsafeUrl:
        raise CommandRefused(
            "an origin is scheme, host and port as browsers write them: https://shop.example, in lower case, no path"
        ) from None
    except TooManyOrigins:
        raise CommandRefused(f"a merchant has at most {MAXIMUM_ORIGINS} origins: take one away first") from None
    sys.stdout.write("".join(f"{origin}\n" for origin in standing) or "no page may frame this merchant's card fields\n")
    return 0


async def _changed(arguments: argparse.Namespace) -> tuple[str, ...]:
    if not (arguments.data / "keys").is_dir():
        raise CommandRefused(f"run `vault-zone init --data {arguments.data}` first")
    url = arguments.database_url or os.environ.get("CORDON_DATABASE_URL")
    database = Database.open(url or f"sqlite:///{arguments.data / 'zone.sqlite3'}", now_milliseconds)
    try:
        await database.migrate(upgrade)
        return await database.change(
            lambda tx: change_frame_origins(
                tx,
                arguments.merchant,
                add=arguments.add,
                remove=arguments.remove,
                actor=f"operator:{getpass.getuser()}",
            )
        )
    finally:
        await database.close()
