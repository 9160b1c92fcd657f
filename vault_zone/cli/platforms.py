"""``vault-zone platforms``: which agent platforms may hand over cards."""

import argparse
import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from audit.transaction import Database, Transaction
from tokenization.clock import as_text, now_milliseconds
from tokenization.money import Money, MoneyInvalid
from vault_zone.cli.refused import CommandRefused
from vault_zone.delegation.ucp_handler import HandlerNameInvalid, handler_declaration
from vault_zone.hazmat.signature import SignatureKeyRefused, algorithm_of
from vault_zone.migrations import upgrade
from vault_zone.platforms import (
    Platform,
    PlatformInvalid,
    PlatformUnknown,
    Protocol,
    SignatureKey,
    add_platform,
    live_platforms,
    remove_platform,
)
from vault_zone.settings import DEVELOPMENT, PRODUCTION

T = TypeVar("T")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("platforms", help="which agent platforms may hand over cards")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    adding = acts.add_parser("add", help="let a platform hand over cards; prints its bearer key once")
    adding.add_argument("name", help="what people call it")
    adding.add_argument("--protocol", action="append", required=True, choices=[one.value for one in Protocol])
    adding.add_argument("--merchant", action="append", required=True, help="a merchant it may hand over cards for")
    adding.add_argument(
        "--signature-key", type=Path, metavar="PEM", help="its public key: Ed25519, or ECDSA over P-256"
    )
    adding.add_argument("--ceiling", metavar="AMOUNT", help="the most one UCP token may be charged, as in 'USD 500.00'")
    adding.set_defaults(run=_add)
    listing = acts.add_parser("list", help="the platforms that may")
    listing.set_defaults(run=_list)
    removing = acts.add_parser("remove", help="take the permission back, at once")
    removing.add_argument("platform", help="its id, as `list` shows it")
    removing.set_defaults(run=_remove)
    handler = acts.add_parser("handler", help="print what a business publishes in its UCP profile, as JSON")
    handler.add_argument("--name", required=True, help="the handler's name, as in com.example.cards")
    handler.add_argument("--merchant", required=True, help="whose profile it is for")
    handler.add_argument("--public-url", required=True, metavar="URL", help="where platforms reach the zone")
    handler.add_argument("--spec", metavar="URL", help="where the handler's specification is published")
    handler.add_argument("--schema", metavar="URL", help="where the JSON Schema of its configuration is published")
    handler.set_defaults(run=_handler)
    for one in (adding, listing, removing):
        one.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
        one.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")


def _add(arguments: argparse.Namespace) -> int:
    signature, ceiling = _signature_key(arguments.signature_key), _ceiling(arguments.ceiling)
    protocols = [Protocol(one) for one in arguments.protocol]

    def work(tx: Transaction) -> tuple[str, str]:
        return add_platform(
            tx,
            name=arguments.name,
            protocols=protocols,
            merchants=arguments.merchant,
            signature=signature,
            ceiling=ceiling,
            actor=_actor(),
        )

    try:
        platform, bearer = _change(arguments, work)
    except PlatformInvalid as invalid:
        raise CommandRefused(str(invalid)) from None
    sys.stdout.write(f"platform  {platform}\nbearer    {bearer}\nThe bearer key is shown this once.\n")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for one in _read(arguments):
        signed = f"signed with {one.signature.algorithm}" if one.signature else "not signed"
        ceiling = f", UCP tokens up to {one.ceiling.text()}" if one.ceiling else ""
        sys.stdout.write(
            f"{one.id}  {one.name}: {', '.join(sorted(one.protocols))} for {', '.join(sorted(one.merchants))}; "
            f"{signed}{ceiling}; since {as_text(one.created_ms)}\n"
        )
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    try:
        _change(arguments, lambda tx: remove_platform(tx, arguments.platform, _actor()))
    except PlatformUnknown:
        raise CommandRefused(
            "there is no such platform, or it was removed before: see `vault-zone platforms list`"
        ) from None
    sys.stdout.write(f"{arguments.platform} may hand over nothing more\n")
    return 0


def _handler(arguments: argparse.Namespace) -> int:
    urls = [arguments.public_url, *filter(None, (arguments.spec, arguments.schema))]
    is_production = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT) == PRODUCTION
    if any(not url.startswith("https://") for url in urls) and is_production:
        raise CommandRefused("in production every address in a profile starts with https://")
    try:
        declared = handler_declaration(
            arguments.name,
            arguments.merchant,
            public_url=arguments.public_url,
            is_production=is_production,
            spec_url=arguments.spec,
            schema_url=arguments.schema,
        )
    except HandlerNameInvalid:
        raise CommandRefused("--name is a domain of the business in reverse, as in com.example.cards") from None
    sys.stdout.write(json.dumps(declared, indent=2) + "\n")
    return 0


def _signature_key(path: Path | None) -> SignatureKey | None:
    if path is None:
        return None
    try:
        pem = path.read_text(encoding="ascii")
        return SignatureKey(algorithm_of(pem), pem)
    except (OSError, ValueError) as failure:
        form = "is not" if isinstance(failure, SignatureKeyRefused) else "cannot be read as"
        raise CommandRefused(f"{path} {form} a public key in PEM: Ed25519, or ECDSA over P-256") from None


def _ceiling(text: str | None) -> Money | None:
    try:
        return Money.parse(text) if text else None
    except MoneyInvalid as invalid:
        raise CommandRefused(f"--ceiling: {invalid.code}; write it as in 'USD 500.00'") from None


def _change(arguments: argparse.Namespace, work: Callable[[Transaction], T]) -> T:
    async def run() -> T:
        database = _database(arguments)
        try:
            await database.migrate(upgrade)
            return await database.change(work)
        finally:
            await database.close()

    return asyncio.run(run())


def _read(arguments: argparse.Namespace) -> list[Platform]:
    async def run() -> list[Platform]:
        database = _database(arguments)
        try:
            await database.migrate(upgrade)
            return await database.read(live_platforms)
        finally:
            await database.close()

    return asyncio.run(run())


def _database(arguments: argparse.Namespace) -> Database:
    if not (arguments.data / "keys").is_dir():
        raise CommandRefused(f"run `vault-zone init --data {arguments.data}` first")
    url = arguments.database_url or os.environ.get("CORDON_DATABASE_URL")
    return Database.open(url or f"sqlite:///{arguments.data / 'zone.sqlite3'}", now_milliseconds)


def _actor() -> str:
    return f"operator:{getpass.getuser()}"
