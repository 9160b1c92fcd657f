"""``vault-zone unseal`` and ``seal``: one custodian's share to a running zone, and the way to close it at once."""

import argparse
import getpass
import sys

from vault_zone.cli import zone_client


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    unseal = commands.add_parser("unseal", help="give a running zone your share, as a custodian")
    zone_client.add_arguments(unseal)
    unseal.set_defaults(run=_unseal)
    seal = commands.add_parser("seal", help="seal a running zone at once, as a custodian")
    zone_client.add_arguments(seal)
    seal.set_defaults(run=_seal)


def _unseal(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        health = zone.call("GET", "/v1/health")
        if not health["sealed"]:
            sys.stdout.write("the zone is open; no share is needed\n")
            return 0
        prompt = f"Your share, {health['shares_given'] + 1} of {health['shares_needed']} (33 words, not shown): "
        share = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
        state = zone.call("POST", "/v1/unseal", {"share": share.strip()})
    if state["sealed"]:
        sys.stdout.write(f"taken: {state['given']} of {state['needed']}. The next custodian has to give theirs.\n")
    else:
        sys.stdout.write("taken: the zone is open\n")
    return 0


def _seal(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        zone.call("POST", "/v1/seal")
    sys.stdout.write("sealed: nothing is taken or charged until custodians open it\n")
    return 0
