"""``vault-zone disputes list``: charges that cardholders dispute, those with the nearest day for evidence first."""

import argparse
import json
import sys
from typing import Any

from tokenization.clock import as_datetime
from tokenization.money import Money
from vault_zone.cli import zone_client


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("disputes", help="charges that their cardholders dispute")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    listing = acts.add_parser("list", help="a merchant's disputes")
    listing.add_argument("merchant", help="the merchant's id, as commerce names it")
    listing.add_argument("--open", action="store_true", dest="only_open", help="only those that are not decided")
    listing.add_argument("--json", action="store_true", help="for machines")
    zone_client.add_arguments(listing)
    listing.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        found = zone.call(
            "GET",
            f"/v1/merchants/{arguments.merchant}/disputes",
            query={"only_open": "true" if arguments.only_open else None},
        )
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write("".join(map(_line, found["disputes"])) or "no disputes\n")
    return 0


def _line(one: dict[str, Any]) -> str:
    amount = Money(one["amount_minor"], one["currency"])
    due = one["evidence_due_ms"]
    until = (
        f", evidence until {as_datetime(due):%Y-%m-%d %H:%M} UTC" if due and one["state"] == "needs_response" else ""
    )
    kind = " (inquiry)" if one["is_inquiry"] else ""
    return f"{one['dispute']} {one['state']}{kind}: {amount} of payment {one['payment']}, {one['reason']}{until}\n"
