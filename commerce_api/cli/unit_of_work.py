"""One unit of work over commerce's database, for commands: opened, brought up to date, closed; refusals in words.

What only reads is given no transaction that could write: on SQLite that one waits for the writer and keeps it, so a page that
takes a minute would keep shoppers from paying for as long.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from commerce_api.cli.paths import database_url
from commerce_api.cli.refused import CommandRefused

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from audit.transaction import Database, Transaction

_T = TypeVar("_T")


def done(arguments: argparse.Namespace, work: "Callable[[Transaction], _T]") -> "_T":
    """What the work gives, for a brand that is there: a change, with its event.

    Raises CommandRefused, and CommerceRefusal as the work does.
    """
    return _run(arguments, lambda database: database.change(work))


def seen(arguments: argparse.Namespace, work: "Callable[[Connection, int], _T]") -> "_T":
    """What the work finds in one snapshot, told its moment in milliseconds. It cannot write, and nobody waits for it.

    Raises as done() does.
    """
    from tokenization.clock import now_milliseconds

    return _run(arguments, lambda database: database.read(lambda connection: work(connection, now_milliseconds())))


def _run(arguments: argparse.Namespace, work: "Callable[[Database], Awaitable[_T]]") -> "_T":
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return asyncio.run(_over(arguments, work))
    except (OSError, SQLAlchemyError) as failure:
        raise CommandRefused(
            f"the database of {arguments.data / 'commerce'} cannot be used ({type(failure).__name__}): "
            "check --data and --database-url"
        ) from None


async def _over(arguments: argparse.Namespace, work: "Callable[[Database], Awaitable[_T]]") -> "_T":
    from audit.transaction import Database
    from commerce_api.brands import find_brand
    from commerce_api.migrations import upgrade
    from tokenization.clock import now_milliseconds

    url = database_url(arguments.database_url, arguments.data / "commerce")
    database = Database.open(url, now_milliseconds)
    try:
        await database.migrate(upgrade)
        await database.read(lambda connection: find_brand(connection, arguments.brand))
        return await work(database)
    finally:
        await database.close()
