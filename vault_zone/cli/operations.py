"""``vault-zone operations``: dangerous acts that one operator asks for and another approves."""

import argparse
import sys
from typing import Any

from tokenization.clock import as_text
from vault_zone.cli import zone_client
from vault_zone.operations import Act


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    operations = commands.add_parser("operations", help="ask for, approve or refuse an act that needs two operators")
    acts = operations.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = acts.add_parser("list", help="the newest operations")
    listing.set_defaults(run=_list)
    request = acts.add_parser("request", help="ask for an act")
    request.add_argument("act", choices=list(Act), metavar="ACT", help=", ".join(Act))
    request.add_argument("--merchant", help="whom it concerns (default: every merchant)")
    request.add_argument("--subject", help="what it is done to, for example a key's id")
    request.set_defaults(run=_request)
    for word, meaning in (("approve", "approve what another operator asked for"), ("refuse", "refuse, or take back")):
        decide = acts.add_parser(word, help=meaning)
        decide.add_argument("operation", metavar="ID")
        decide.set_defaults(run=_decide)
    for one in acts.choices.values():
        zone_client.add_arguments(one)


def _list(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        for one in zone.call("GET", "/v1/operations")["operations"]:
            sys.stdout.write(_line(one))
    return 0


def _request(arguments: argparse.Namespace) -> int:
    body = {"act": arguments.act, "merchant": arguments.merchant, "subject": arguments.subject}
    with zone_client.open_client(arguments) as zone:
        sys.stdout.write(_line(zone.call("POST", "/v1/operations", body)))
    return 0


def _decide(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        one = zone.call("POST", f"/v1/operations/{arguments.operation}/{arguments.what}", timeout_seconds=60)
    sys.stdout.write(_line(one))
    return 1 if one["state"] == "failed" else 0


def _line(one: dict[str, Any]) -> str:
    subject = f" {one['subject']}" if one["subject"] else ""
    decided = f", decided by {one['decided_by']}" if one["decided_by"] else f", until {as_text(one['expires_ms'])}"
    reason = f" ({one['reason']})" if one["reason"] else ""
    return (
        f"{one['operation']} {one['state']}{reason}: {one['act']}{subject} of {one['merchant'] or 'every merchant'}, "
        f"asked by {one['requested_by']}{decided}\n"
    )
