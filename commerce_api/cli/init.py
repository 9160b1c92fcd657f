"""``cordon init``: makes the commerce side's keys and log. ``cordon up`` does it where it is missing."""

import argparse
import os
import secrets
from pathlib import Path
from typing import Any

from commerce_api.cli.paths import DEFAULT_DATA
from commerce_api.cli.refused import CommandRefused
from tokenization.ids import new_id


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("init", help="make the commerce side's keys and log (up does it by itself)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA / "commerce", metavar="DIR")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Makes the keys. Raises CommandRefused where there are some already."""
    if (arguments.data / "keys").exists():
        raise CommandRefused(f"{arguments.data} has keys already; nothing was changed")
    make_commerce_keys(arguments.data)
    return 0


def make_commerce_keys(data: Path) -> None:
    """Writes the commerce side's own keys, each 0600, and starts its log."""
    from audit.note import Signer  # loads the cryptographic library, which most commands do without
    from commerce_api.authorization.keys import rotate

    keys = data / "keys"
    keys.mkdir(parents=True, mode=0o700)
    for name in ("offer.key", "agent.key", "mcp-state.key"):
        with os.fdopen(os.open(keys / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    rotate(keys / "oauth")
    Signer.create(keys / "log.key", f"cordon/commerce/{new_id('log')}", data / "log")
