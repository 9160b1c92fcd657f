"""``vault-zone notices``: what commerce was told by itself, and having it told again."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from tokenization.clock import as_text, now_milliseconds
from vault_zone.cli import zone_client
from vault_zone.cli.refused import CommandRefused
from vault_zone.outbox import NoticeState


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("notices", help="what commerce is told by itself")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    listing = acts.add_parser("list", help="the newest notices")
    listing.add_argument("--state", choices=list(NoticeState), metavar="STATE", help=", ".join(NoticeState))
    listing.add_argument("--json", action="store_true", help="for machines")
    listing.set_defaults(run=_list)
    again = acts.add_parser("replay", help="have told again what happened in a time; commerce knows repeated ones")
    again.add_argument("--since", required=True, metavar="TIME", help="RFC 3339, such as 2026-11-27T09:00:00Z")
    again.add_argument("--until", metavar="TIME", help="RFC 3339 (default: now)")
    again.add_argument("--merchant", help="whose (default: every merchant's)")
    again.add_argument("--only-abandoned", action="store_true", help="leave out what commerce has taken")
    again.set_defaults(run=_replay)
    for one in acts.choices.values():
        zone_client.add_arguments(one)


def _list(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        found = zone.call("GET", "/v1/notices", query={"state": arguments.state})
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write("".join(map(_line, found["notices"])) or "no notices\n")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "since_ms": _moment("--since", arguments.since),
        "until_ms": _moment("--until", arguments.until) if arguments.until else now_milliseconds(),
        "merchant": arguments.merchant,
        "only_abandoned": arguments.only_abandoned,
    }
    total = 0
    with zone_client.open_client(arguments) as zone:
        while True:
            done = zone.call("POST", "/v1/notices/replay", body)
            total += done["notices"]
            if done["after"] is None:
                break
            body["after"] = done["after"]
    sys.stdout.write(f"{total} notices will be told again\n")
    return 0


def _moment(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandRefused(f"{option} takes a moment as RFC 3339 writes it: 2026-11-27T09:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _line(one: dict[str, Any]) -> str:
    answer = f", last answer {one['last_status']}" if one["last_status"] else ""
    tries = f", {one['attempts']} tries{answer}" if one["state"] != NoticeState.DELIVERED else ""
    return f"{one['notice']} {as_text(one['happened_ms'])} {one['state']}: {one['kind']} of {one['charge']}{tries}\n"
