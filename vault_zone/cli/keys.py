"""``vault-zone keys``: what keys a merchant has, a new epoch, the end of one, and every card under the newest."""

import argparse
import sys
import time
from typing import Any

from tokenization.clock import as_datetime
from vault_zone.cli import zone_client
from vault_zone.key_rows import Purpose

POLL_SECONDS = 0.5
BAR_CHARACTERS = 30
_COLUMNS = "{:38} {:12} {:>5} {:10} {:>11} {:>9}  {}\n"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    keys = commands.add_parser("keys", help="list, rotate, retire and destroy keys; re-key stored cards")
    verbs = keys.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add(verbs, "list", "the merchant's data keys and what is under them", _list)
    rotate = _add(verbs, "rotate", "begin a new key; the one before opens what it sealed and seals no more", _rotate)
    rotate.add_argument(
        "--purpose",
        default=Purpose.SEALING.value,
        choices=[*(purpose.value for purpose in Purpose), "wrapping"],
        help="which key (default: sealing); wrapping is the merchant's key in the provider",
    )
    _add(verbs, "retire", "end a key's sealing at once", _retire).add_argument("key", help="the key's id")
    destroy = _add(verbs, "destroy", "destroy a retired key that nothing is under", _destroy)
    destroy.add_argument("key", help="the key's id")
    _add(verbs, "rekey", "seal the merchant's cards anew under its active key, and show how far it is", _rekey)


def _add(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, run: Any
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=what)
    parser.add_argument("--merchant", required=True)
    zone_client.add_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        rows = zone.call("GET", f"/v1/merchants/{arguments.merchant}/keys")["keys"]
    if not rows:
        sys.stdout.write(f"{arguments.merchant} has no keys yet: the first card makes them\n")
        return 0
    sys.stdout.write(_COLUMNS.format("key", "purpose", "epoch", "state", "uses", "records", "seals until"))
    for row in rows:
        until = f"{as_datetime(row['retire_by_ms']):%Y-%m-%d}" if row["state"] == "active" else "-"
        cells = (row[name] for name in ("key_id", "purpose", "epoch", "state", "uses", "records"))
        sys.stdout.write(_COLUMNS.format(*cells, until))
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        answer = zone.call(
            "POST",
            f"/v1/merchants/{arguments.merchant}/keys/rotate",
            {"purpose": arguments.purpose},
            timeout_seconds=60,
        )
    if arguments.purpose == "wrapping":
        sys.stdout.write(f"a new wrapping key; {answer['rewrapped']} data keys are under it\n")
    else:
        sys.stdout.write(
            f"{answer['key_id']} seals from now on. Cards under older keys open as before;\n"
            f"to seal them anew: vault-zone keys rekey --merchant {arguments.merchant} …\n"
        )
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        changed = zone.call("POST", f"/v1/merchants/{arguments.merchant}/keys/{arguments.key}/retire")["changed"]
    sys.stdout.write("retired: it opens, and seals no more\n" if changed else "it was not active: nothing changed\n")
    return 0


def _destroy(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        zone.call("POST", f"/v1/merchants/{arguments.merchant}/keys/{arguments.key}/destroy")
    sys.stdout.write("destroyed: nothing was under it, and nothing opens with it any more\n")
    return 0


def _rekey(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        run = zone.call("POST", f"/v1/merchants/{arguments.merchant}/rekeyings")
        while run["state"] == "running":
            _show(run)
            time.sleep(POLL_SECONDS)
            run = zone.call("GET", f"/v1/merchants/{arguments.merchant}/rekeyings/{run['rekeying']}")
        _show(run)
    seconds = (run["changed_ms"] - run["started_ms"]) / 1000
    sys.stdout.write(f"\n{run['done']:,} cards are under the active key, in {seconds:,.1f} s\n")
    return 0


def _show(run: dict[str, Any]) -> None:
    share = 1.0 if run["state"] == "finished" or not run["total"] else min(1.0, run["done"] / run["total"])
    filled = round(share * BAR_CHARACTERS)
    bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
    ending = "\r" if sys.stdout.isatty() else "\n"
    sys.stdout.write(f"[{bar}] {share:4.0%}  {run['done']:,} of {run['total']:,}{ending}")
    sys.stdout.flush()
