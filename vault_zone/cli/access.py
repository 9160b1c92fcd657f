"""``vault-zone access``: who may do what, with which certificates until when; changes to it; and taking an identity back."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tokenization.clock import as_datetime, as_text, now_milliseconds
from vault_zone.access_file import AccessFile, Entry, check_entry
from vault_zone.cli.identity import access_files, known_access, parsed_identity, permission, write_all
from vault_zone.cli.refused import CommandRefused
from vault_zone.identity import serial_letters
from vault_zone.settings import DEVELOPMENT


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    access = commands.add_parser("access", help="list, change and take back who may call the zone")
    acts = access.add_subparsers(dest="act", required=True, metavar="ACT")
    listing = acts.add_parser("list", help="every identity with its role, merchants and certificates")
    listing.add_argument("--json", action="store_true", help="the inventory as JSON")
    listing.set_defaults(run=_list)
    allow = acts.add_parser("allow", help="set role and merchants of an identity")
    allow.add_argument("name", metavar="NAME")
    allow.add_argument("--role")
    allow.add_argument("--merchant", action="append", default=[])
    allow.set_defaults(run=_allow)
    revoke = acts.add_parser("revoke", help="take an identity back: its permission, and every certificate it has")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=_revoke)
    for one in (listing, allow, revoke):
        one.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    for one in (allow, revoke):
        one.add_argument(
            "--authority", type=Path, metavar="DIR", help="where ca.key lies (default: authority in --data)"
        )


def _list(arguments: argparse.Namespace) -> int:
    with access_files(arguments.data) as directory:
        access = known_access(directory)
    now_ms = now_milliseconds()
    rows = inventory(access, now_ms)
    if arguments.json:
        sys.stdout.write(json.dumps({"identities": rows}, indent=2) + "\n")
        return 0
    for row in rows:
        merchants = ",".join(row["merchants"]) or "-"
        sys.stdout.write(f"{row['identity']:28} {row['role'] or '-':15} {merchants:20} {_until(row, now_ms)}\n")
    return 0


def inventory(access: AccessFile, now_ms: int) -> list[dict[str, Any]]:
    """Every identity with what it may do and every certificate issued to it, also ended and revoked ones (4.2.1.1)."""
    return [
        {
            "identity": name,
            "role": entry.role,
            "merchants": list(entry.merchants),
            "certificates": [
                {
                    "serial": one.serial,
                    "serial_in_record": serial_letters(one.serial),
                    "use": "listens" if one.hosts else "calls",
                    "hosts": list(one.hosts),
                    "algorithm": "ECDSA P-256",
                    "issued_at": as_text(one.issued_ms),
                    "expires_at": as_text(one.expires_ms),
                    "seconds_left": max(0, (one.expires_ms - now_ms) // 1000),
                    "revoked_at": as_text(one.revoked_ms) if one.revoked_ms is not None else None,
                }
                for one in entry.certificates
            ],
        }
        for name, entry in sorted(access.identities.items())
    ]


def _until(row: dict[str, Any], now_ms: int) -> str:
    certificates = row["certificates"]
    live = [one for one in certificates if one["seconds_left"] and not one["revoked_at"]]
    if not live:
        return "no certificate that holds"
    newest = max(live, key=lambda one: one["seconds_left"])
    hours = newest["seconds_left"] / 3600
    return f"{len(live)} certificate{'s' if len(live) > 1 else ''}, until {newest['expires_at']} ({hours:.1f} h)"


def _allow(arguments: argparse.Namespace) -> int:
    identity = parsed_identity(arguments.name)
    with access_files(arguments.data) as directory:
        access = known_access(directory)
        entry = access.entry(identity)
        if not entry.certificates:
            raise CommandRefused(f"{identity} has no certificate: issue one with `vault-zone identity {identity}`")
        environment = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
        role, merchants = permission(identity, arguments.role or entry.role, arguments.merchant, environment)
        changed = entry.model_copy(update={"role": role, "merchants": tuple(sorted(set(merchants)))})
        changed = Entry.model_validate(changed.model_dump())
        check_entry(str(identity), changed)
        authority = arguments.authority or arguments.data / "authority"
        write_all(directory, authority, access.with_entry(identity, changed), as_datetime(now_milliseconds()))
    sys.stdout.write(f"{identity} is {role} for {', '.join(changed.merchants)}\n")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    identity = parsed_identity(arguments.name)
    now_ms = now_milliseconds()
    with access_files(arguments.data) as directory:
        access = known_access(directory)
        if str(identity) not in access.identities:
            raise CommandRefused(f"{identity} is not known here: see `vault-zone access list --data {arguments.data}`")
        entry = access.entry(identity)
        revoked = [
            one if one.revoked_ms is not None else one.model_copy(update={"revoked_ms": now_ms})
            for one in entry.certificates
        ]
        count = sum(one.expires_ms > now_ms for one in entry.certificates if one.revoked_ms is None)
        changed = Entry(role=None, merchants=(), certificates=tuple(revoked))
        authority = arguments.authority or arguments.data / "authority"
        write_all(directory, authority, access.with_entry(identity, changed), as_datetime(now_ms))
    sys.stdout.write(f"{identity} is revoked, with {count} certificate{'s' if count != 1 else ''} that held\n")
    return 0
