"""``cordon order``: what became of an order's money, and money that an operator gives back."""

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from commerce_api.cli.paths import DEFAULT_DATA, database_url
from commerce_api.cli.refused import CommandRefused

if TYPE_CHECKING:
    from commerce_api.refunds import Refund, Refunds

_T = TypeVar("_T")
_REASON: Final = re.compile(r"[a-z][a-z_]{0,39}")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the commands."""
    parser = commands.add_parser("order", help="show an order's money, or give it back")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what an order brought in, and its refunds")
    refund = actions.add_parser(
        "refund",
        help="give back all that is left of an order's money, or a part",
        description="Asked again as it was, a refund that has not ended is asked about, never made twice.",
    )
    for action in (show, refund):
        action.add_argument("brand", metavar="BRAND")
        action.add_argument("order", metavar="ORDER")
        action.add_argument(
            "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
        )
        action.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
        action.add_argument(
            "--zone-url",
            default="https://127.0.0.1:8702",
            metavar="URL",
            help="the zone's internal API (default: %(default)s)",
        )
    refund.add_argument(
        "--amount", metavar="DECIMAL", help="such as 12.50, in the order's currency (default: all that is left)"
    )
    refund.add_argument(
        "--reason",
        default="asked_by_operator",
        metavar="WORD",
        help="small letters and underscores (default: %(default)s)",
    )
    show.set_defaults(run=_show)
    refund.set_defaults(run=_refund)


def _show(arguments: argparse.Namespace) -> int:
    _show_order(arguments)
    return 0


def _refund(arguments: argparse.Namespace) -> int:
    """Returns 1 where nothing was given back, and where that is not known yet."""
    if not _REASON.fullmatch(arguments.reason):
        raise CommandRefused("--reason is up to 40 small letters and underscores, such as damaged_on_the_way")
    made = _asked(arguments, lambda refunds: _begin(refunds, arguments))
    try:
        _show_order(arguments)
    except CommandRefused:  # what was asked for is done or not, whatever can be shown of it now
        sys.stdout.write(f"{made.id} {made.state}; the order's amounts cannot be had now: `cordon order show` later\n")
    if made.state == "asked":
        sys.stdout.write("how it ended is not known yet: give the same command again, it never refunds twice\n")
    return 0 if made.state in ("succeeded", "accepted") else 1


async def _begin(refunds: "Refunds", arguments: argparse.Namespace) -> "Refund":
    from commerce_api.brands import find_brand
    from commerce_api.refunds import AnotherRefund
    from tokenization.money import Money, MoneyInvalid

    brand = await refunds.database.read(lambda connection: find_brand(connection, arguments.brand))
    try:
        amount = None if arguments.amount is None else Money.from_major(arguments.amount, brand.currency).amount_minor
    except MoneyInvalid:
        amount = 0
    if amount == 0:
        raise CommandRefused(f"--amount is an amount of {brand.currency}, such as 12.50")
    try:
        return await refunds.refund(arguments.brand, arguments.order, amount, arguments.reason)
    except AnotherRefund as other:
        its = "" if other.amount_minor is None else f" --amount {_decimal(other.amount_minor, brand.currency)}"
        raise CommandRefused(
            f"another refund of this order has not ended: give that command again first, with{its} --reason {other.reason}"
        ) from None


def _show_order(arguments: argparse.Namespace) -> None:
    shown = _asked(arguments, lambda known: known.shown(arguments.brand, arguments.order))
    amounts = ", ".join(
        f"{name.removesuffix('_minor')} {_decimal(amount, shown.currency)}"
        for name, amount in shown.money._asdict().items()
    )
    sys.stdout.write(f"{shown.id} {shown.currency}: {amounts}{' (sandbox)' if shown.is_sandbox else ''}\n")
    for refund in shown.refunds:
        amount = "all that was left" if refund.amount_minor is None else _decimal(refund.amount_minor, shown.currency)
        why = f" ({refund.code})" if refund.code else ""
        sys.stdout.write(f"  refund {refund.id} of {amount}, {refund.reason}: {refund.state}{why}\n")


def _decimal(amount_minor: int, currency: str) -> str:
    from tokenization.money import exponent

    digits = exponent(currency)
    text = f"{amount_minor:0{digits + 1}d}"
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _asked(arguments: argparse.Namespace, ask: "Callable[[Refunds], Awaitable[_T]]") -> _T:
    """What is answered over commerce's database and its way to the zone."""
    from sqlalchemy.exc import SQLAlchemyError

    from commerce_api.errors import CommerceRefusal

    try:
        return asyncio.run(_over(arguments, ask))
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    except (OSError, SQLAlchemyError) as failure:
        raise CommandRefused(
            f"the database or the certificates of {arguments.data / 'commerce'} cannot be used ({type(failure).__name__}): "
            "check --data and --database-url"
        ) from None


async def _over(arguments: argparse.Namespace, ask: "Callable[[Refunds], Awaitable[_T]]") -> _T:
    from audit.transaction import Database
    from commerce_api.migrations import upgrade
    from commerce_api.refunds import Refunds
    from commerce_api.vault_client import VaultClient
    from tokenization.clock import now_milliseconds

    commerce = arguments.data / "commerce"
    vault = VaultClient(arguments.zone_url, commerce / "tls")
    try:
        database = Database.open(database_url(arguments.database_url, commerce), now_milliseconds)
        try:
            await database.migrate(upgrade)
            return await ask(Refunds(database, vault))
        finally:
            await database.close()
    finally:
        await vault.close()
