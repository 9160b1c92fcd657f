"""``cordon request``: what shoppers ask for about their orders, and the merchant's answers."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import done

if TYPE_CHECKING:
    from audit.transaction import Transaction

_T = TypeVar("_T")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the commands."""
    parser = commands.add_parser("request", help="see what shoppers ask for about their orders, and answer it")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    waiting = actions.add_parser("list", help="requests that wait for an answer, oldest first")
    answer = actions.add_parser(
        "answer",
        help="accept or decline a request",
        description="An answer moves no money: after accepting, give it back with `cordon order refund`.",
    )
    for action in (waiting, answer):
        action.add_argument("brand", metavar="BRAND")
        action.add_argument(
            "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
        )
        action.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    answer.add_argument("request", metavar="REQUEST")
    answer.add_argument("answer", choices=("accepted", "declined"))
    waiting.set_defaults(run=_list)
    answer.set_defaults(run=_answer)


def _list(arguments: argparse.Namespace) -> int:
    from commerce_api.order_requests import open_requests
    from tokenization.clock import as_text

    for row in _changed(arguments, lambda tx: open_requests(tx.connection, arguments.brand)):
        sys.stdout.write(f"{row.id} {as_text(row.created_ms)} {row.kind} {row.order_id} {row.reason}\n")
    return 0


def _answer(arguments: argparse.Namespace) -> int:
    from commerce_api.order_requests import answer

    row = _changed(arguments, lambda tx: answer(tx, arguments.brand, arguments.request, arguments.answer))
    sys.stdout.write(f"{row.id} {row.state}\n")
    if row.state == "accepted":
        sys.stdout.write(f"no money has moved: `cordon order refund {row.brand} {row.order_id}` gives it back\n")
    return 0


def _changed(arguments: argparse.Namespace, work: "Callable[[Transaction], _T]") -> "_T":
    """What a unit of work over commerce's database gives."""
    from commerce_api.errors import CommerceError, CommerceRefusal

    try:
        return done(arguments, work)
    except CommerceRefusal as refusal:
        if refusal.kind is CommerceError.ORDER_UNKNOWN:
            raise CommandRefused(
                "there is no such open request of this brand; `cordon request list` has them"
            ) from None
        raise CommandRefused(refusal.kind.message) from None
