"""``vault-zone init``: what a new zone needs before it can be served."""

import argparse
import os
import secrets
import sys
from pathlib import Path

from audit.note import Signer
from tokenization.clock import as_datetime, now_milliseconds
from tokenization.ids import new_id, new_secret
from vault_zone.cli.identity import ZONE, issue
from vault_zone.cli.refused import CommandRefused
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.pki import create_authority
from vault_zone.identity import Identity
from vault_zone.roles import Kind
from vault_zone.settings import DEVELOPMENT


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    init = commands.add_parser("init", help="make keys, certificates and the log for a new zone")
    init.add_argument("--data", type=Path, required=True, metavar="DIR")
    init.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    data: Path = arguments.data
    environment = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
    keys, now = data / "keys", as_datetime(now_milliseconds())
    if (keys / "log.key").exists() or (data / "authority").exists():
        raise CommandRefused(f"{data} holds a zone already; nothing was changed")
    if environment == DEVELOPMENT:
        LocalKeys.for_development(keys, environment, new_id("root")).close()
        _write_secret(keys / "processor-api.key", new_secret("sbk"))
        _write_secret(keys / "processor-webhook.key", secrets.token_hex(32))
    Signer.create(keys / "log.key", f"cordon/vault_zone/{new_id('log')}", data / "log")
    create_authority(data / "authority", now)
    hosts = ("127.0.0.1", "::1", "localhost")
    issue(data, data / "tls", Identity(Kind.SERVICE, ZONE), authority=data / "authority", hosts=hosts)
    sys.stdout.write(f"zone made in {data} for {environment}: keys, log, certificate authority\n")
    if environment != DEVELOPMENT:
        sys.stdout.write(
            f"no root key was made: hold the key ceremony next, `vault-zone ceremony --data {data}`, or name a key service or "
            f"hardware module in {keys / 'provider.json'} (docs/keys.md)\n"
            f"no processor is set up: name those the zone charges through in {data / 'processors.json'} (docs/connectors.md)\n"
        )
    return 0


def _write_secret(path: Path, secret: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
