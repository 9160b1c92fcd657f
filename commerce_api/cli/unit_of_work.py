"""One unit of work over commerce's database, for commands: opened, brought up to date, closed; refusals in words."""

import argparse
import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from commerce_api.cli.paths import database_url
from commerce_api.cli.refused import CommandRefused

if TYPE_CHECKING:
    from audit.transaction import Transaction

_T = TypeVar("_T")


def done(arguments: argparse.Namespace, work: "Callable[[Transaction], _T]", *, recorded: bool = True) -> "_T":
    """What the work gives, for a brand that is there. ``recorded`` is False for work that changes nothing an auditor reads.

    Raises CommandRefused, and CommerceRefusal as the work does.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return asyncio.run(_over(arguments, work, recorded=recorded))
    except (OSError, SQLAlchemyError) as failure:
        raise CommandRefused(
            f"the database of {arguments.data / 'commerce'} cannot be used ({type(failure).__name__}): "
            "check --data and --database-url"
        ) from None


async def _over(arguments: argparse.Namespace, work: "Callable[[Transaction], _T]", *, recorded: bool) -> "_T":
    from audit.transaction import Database
    from commerce_api.brands import find_brand
    from commerce_api.migrations import upgrade
    from tokenization.clock import now_milliseconds

    url = database_url(arguments.database_url, arguments.data / "commerce")
    database = Database.open(url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        await database.read(lambda connection: find_brand(connection, arguments.brand))
        return await (database.change if recorded else database.maintain)(work)
    finally:
        await database.close()
