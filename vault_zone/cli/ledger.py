"""``vault-zone ledger``: what the books say, whether they hold together, and undoing an entry with a second person."""

import argparse
import sys
from typing import Any

from tokenization.clock import as_text
from tokenization.money import Money
from vault_zone.cli import zone_client
from vault_zone.operations import Act

VERIFY_TIMEOUT_SECONDS = 600.0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    acts = commands.add_parser("ledger", help="the books: double entry, append-only").add_subparsers(
        dest="what", required=True, metavar="WHAT"
    )
    shown = acts.add_parser("balances", help="what a merchant's accounts hold")
    shown.add_argument("merchant")
    shown.set_defaults(run=_balances)
    entries = acts.add_parser("entries", help="a merchant's journal, newest first")
    entries.add_argument("merchant")
    entries.add_argument("--charge", metavar="ID", help="of one charge")
    entries.add_argument("--before", metavar="ENTRY", help="the page behind this entry")
    entries.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20, at most 200)")
    entries.set_defaults(run=_entries)
    verify = acts.add_parser("verify", help="whether the books hold together; ends with 1 when they do not")
    verify.set_defaults(run=_verify)
    reverse = acts.add_parser("reverse", help="ask that an entry be undone by its opposite; another operator approves")
    reverse.add_argument("entry", metavar="ENTRY")
    reverse.add_argument("--merchant", required=True, help="whose entry it is")
    reverse.set_defaults(run=_reverse)
    for one in acts.choices.values():
        zone_client.add_arguments(one)


def _balances(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        found = zone.call("GET", f"/v1/merchants/{arguments.merchant}/ledger/balances")["balances"]
    sys.stdout.write(balances_text(found))
    return 0


def balances_text(found: list[dict[str, Any]]) -> str:
    """The accounts in columns, under a line for each processor and currency; their sum is shown to be zero."""
    if not found:
        return "nothing is in the books of this merchant\n"
    lines = []
    for place in sorted({(one["processor"], one["currency"]) for one in found}):
        mine = [one for one in found if (one["processor"], one["currency"]) == place]
        lines.append(f"{place[0]}, {place[1]}")
        lines += [
            f"  {one['account']:14}{Money(one['balance_minor'], place[1]).text():>20}{one['postings']:>10} postings"
            for one in mine
        ]
        lines.append(f"  {'sum':14}{Money(sum(one['balance_minor'] for one in mine), place[1]).text():>20}")
    return "\n".join(lines) + "\n"


def _entries(arguments: argparse.Namespace) -> int:
    query = {"charge": arguments.charge, "before": arguments.before, "limit": arguments.limit}
    with zone_client.open_client(arguments) as zone:
        found = zone.call("GET", f"/v1/merchants/{arguments.merchant}/ledger/entries", query=query)["entries"]
    sys.stdout.write("".join(map(entry_text, found)) or "no entry\n")
    return 0


def entry_text(one: dict[str, Any]) -> str:
    """An entry in one line, and each of its postings in one."""
    about = f" of {one['charge']}" if one["charge"] else ""
    undoes = f", undoes {one['reverses']}" if one["reverses"] else ""
    place = "not chained yet" if one["place"] is None else f"place {one['place']}"
    money = Money(one["amount_minor"], one["currency"]).text()
    lines = [f"{as_text(one['recorded_ms'])}  {one['entry']}  {one['kind']} {money}{about}{undoes} ({place})"]
    for posting in one["postings"]:
        side = "debit" if posting["amount_minor"] > 0 else "credit"
        amount = Money(abs(posting["amount_minor"]), one["currency"]).text()
        behind = Money(posting["balance_minor"], one["currency"]).text()
        lines.append(f"    {side:7}{posting['account']:14}{amount:>16}   then {behind}")
    return "\n".join(lines) + "\n"


def _verify(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        done = zone.call("GET", "/v1/ledger/verification", timeout_seconds=VERIFY_TIMEOUT_SECONDS)
    for one in done["findings"]:
        sys.stdout.write(f"{one['finding']}: {one['where']}\n")
    waiting = done["entries"] - done["sealed"]
    chained = f"{done['sealed']} chained up to {done['head']}" + (
        f", {waiting} wait for the next pass" if waiting else ""
    )
    sys.stdout.write(f"{done['entries']} entries in {done['accounts']} accounts, {chained}\n")
    sys.stdout.write("the books do NOT hold together\n" if done["findings"] else "the books hold together\n")
    return 1 if done["findings"] else 0


def _reverse(arguments: argparse.Namespace) -> int:
    body = {"act": Act.REVERSE_ENTRY, "merchant": arguments.merchant, "subject": arguments.entry}
    with zone_client.open_client(arguments) as zone:
        asked = zone.call("POST", "/v1/operations", body)
    sys.stdout.write(
        f"asked for as {asked['operation']}: another operator has until {as_text(asked['expires_ms'])} for\n"
        f"  vault-zone operations approve {asked['operation']}\n"
    )
    return 0
