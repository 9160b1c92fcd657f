"""``cordon offers``: the switch that stops a brand's offers, a page of them, and its decisions for the engine to learn from."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.unit_of_work import done, seen

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from offer_engine.serving import Rankers

_T = TypeVar("_T")
_PAGE = 1_000


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the commands."""
    parser = commands.add_parser("offers", help="stop a brand's offers, or let the engine learn from them")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pause = actions.add_parser("pause", help="make no offers from now on; those that were made hold")
    resume = actions.add_parser("resume", help="make offers again")
    export = actions.add_parser("export", help="decisions with what came of them, one JSON object a line")
    page = actions.add_parser("page", help="campaigns, budgets, what came of them and the newest decisions, as a page")
    models = actions.add_parser("models", help="the model that ranks: its stage, its guards, its next step")
    again = actions.add_parser("replay", help="a decision played again: why it came out so")
    for action in (pause, resume, export, page, models, again):
        action.add_argument("brand", metavar="BRAND")
        action.add_argument(
            "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="holds commerce/ (default: %(default)s)"
        )
        action.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    export.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    page.add_argument("--output", type=Path, default=Path("offers.html"), metavar="FILE", help="(default: %(default)s)")
    again.add_argument("offer", metavar="OFFER_ID")
    page.set_defaults(run=_page_of)
    models.set_defaults(run=_models)
    again.set_defaults(run=_again)
    pause.set_defaults(run=_switch)
    resume.set_defaults(run=_switch)
    export.set_defaults(run=_export)


def _switch(arguments: argparse.Namespace) -> int:
    from commerce_api.brands import pause_offers

    paused = arguments.action == "pause"
    _told(done, arguments, lambda tx: pause_offers(tx, arguments.brand, paused=paused))
    sys.stdout.write(f"{arguments.brand} makes {'no offers now' if paused else 'offers'}\n")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    stream = arguments.output.open("w", encoding="utf-8") if arguments.output else sys.stdout
    after, count = "", 0
    try:
        while True:
            page = _told(seen, arguments, partial(_page, brand=arguments.brand, after=after))
            for record in page:
                stream.write(json.dumps(record, separators=(",", ":")) + "\n")
            count += len(page)
            if len(page) < _PAGE:
                break
            after = page[-1]["decision_id"]
            sys.stderr.write(f"\r{count} decisions")
    finally:
        if arguments.output:
            stream.close()
    sys.stderr.write(f"\r{count} decisions\n")
    return 0


def _page_of(arguments: argparse.Namespace) -> int:
    from commerce_api.brands import find_brand
    from commerce_api.offering.page import render_page

    def work(connection: "Connection", now_ms: int) -> str:
        return render_page(connection, find_brand(connection, arguments.brand), _rankers(arguments), now_ms)

    arguments.output.write_text(_told(seen, arguments, work), encoding="utf-8")
    sys.stdout.write(f"{arguments.output}\n")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from commerce_api.brands import find_brand
    from commerce_api.offering.standing import standing_of, told

    def work(connection: "Connection", now_ms: int) -> list[str]:
        brand = find_brand(connection, arguments.brand)
        return told(brand, standing_of(connection, brand, _rankers(arguments).registry(brand.id), now_ms))

    sys.stdout.write("\n".join(_told(seen, arguments, work)) + "\n")
    return 0


def _again(arguments: argparse.Namespace) -> int:
    from commerce_api.offering.page import told
    from commerce_api.offering.replayed import replay_one

    played = _told(
        seen,
        arguments,
        lambda connection, _: replay_one(connection, arguments.brand, arguments.offer, _rankers(arguments)),
    )
    sys.stdout.write("\n".join(told(played)) + "\n")
    return 0 if played.is_same else 1


def _rankers(arguments: argparse.Namespace) -> "Rankers":
    from commerce_api.runtime import OFFER_MODELS
    from offer_engine.serving import Rankers
    from tokenization.clock import monotonic_seconds

    return Rankers(arguments.data / "commerce" / OFFER_MODELS, monotonic_seconds)


def _page(connection: "Connection", now_ms: int, *, brand: str, after: str) -> list[dict[str, Any]]:
    from commerce_api.offering.export import decisions_of

    return [{**record, "exported_ms": now_ms} for record in decisions_of(connection, brand, after, _PAGE)]


def _told(
    way: "Callable[[argparse.Namespace, Callable[..., _T]], _T]",
    arguments: argparse.Namespace,
    work: "Callable[..., _T]",
) -> "_T":
    """What the work gives, ``done`` or ``seen``. Raises CommandRefused, in words that say what to do."""
    from commerce_api.errors import CommerceRefusal
    from offer_engine.learning.linear import ModelInvalid

    try:
        return way(arguments, work)
    except CommerceRefusal as refusal:
        raise CommandRefused(refusal.kind.message) from None
    except ModelInvalid as damaged:
        raise CommandRefused(f"the registry of {arguments.brand}'s models cannot be read: {damaged}") from None
