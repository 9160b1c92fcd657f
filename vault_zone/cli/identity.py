"""``vault-zone identity``: issues and renews the certificates by which callers and listeners prove who they are.

What is issued stands in the zone's ``access.json``; the zone reads it while it runs, and records it.
"""

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from tokenization.clock import as_datetime, as_text, now_milliseconds
from vault_zone.access import EVERY_MERCHANT
from vault_zone.access_file import (
    NAME,
    REVOCATIONS_NAME,
    AccessFile,
    AccessFileRefused,
    Entry,
    check_entry,
    read_access,
    write_access,
)
from vault_zone.cli.refused import CommandRefused
from vault_zone.hazmat.pki import IDENTITY_HOURS, Issued, PkiRefused, issue_identity, read_certificate
from vault_zone.hazmat.revocation import write_revocations
from vault_zone.identity import URN, Identity
from vault_zone.roles import ROLES
from vault_zone.settings import DEVELOPMENT

RENEW: Final = "renew"
ZONE: Final = "zone"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    identity = commands.add_parser(
        "identity",
        help="issue a certificate (identity NAME), or renew those that end soon (identity renew NAME)",
    )
    identity.add_argument(
        "name",
        nargs="+",
        metavar="NAME",
        help="NAME of a service, operator:NAME or custodian:NAME; or `renew` and names",
    )
    identity.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    identity.add_argument("--out", type=Path, metavar="DIR", help="where key and certificate go (renew zone: DIR/tls)")
    identity.add_argument(
        "--authority", type=Path, metavar="DIR", help="where ca.key lies (default: authority in --data)"
    )
    identity.add_argument("--host", action="append", default=[], help="a name or address it listens on, if it does")
    identity.add_argument("--role", help=f"what it may ask: {', '.join(ROLES)} (default: the role of its name)")
    identity.add_argument(
        "--merchant", action="append", default=[], help="for which merchants; in development all of them by default"
    )
    identity.add_argument("--hours", type=int, help=f"how long the certificate lives (default: {IDENTITY_HOURS})")
    identity.add_argument("--within", type=int, metavar="HOURS", help="renew only what ends within so many hours")
    identity.set_defaults(run=_run)


@contextmanager
def access_files(data: Path) -> Iterator[Path]:
    """The zone's TLS directory, held against another command that changes it."""
    directory = data / "tls"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    except (AccessFileRefused, PkiRefused) as refused:
        raise CommandRefused(str(refused)) from None
    finally:
        os.close(descriptor)


def known_access(directory: Path) -> AccessFile:
    """The access file; an empty one where there is none yet. Raises AccessFileRefused."""
    path = directory / NAME
    return read_access(path) if path.exists() else AccessFile()


def write_all(directory: Path, authority: Path, access: AccessFile, now: datetime) -> None:
    """Writes the access file, then the revocation list anew: permissions bite even where the list could not be signed."""
    write_access(directory / NAME, access)
    revoked = {serial: as_datetime(since_ms) for serial, since_ms in access.revoked().items()}
    write_revocations(authority, directory / REVOCATIONS_NAME, revoked, now)


def parsed_identity(text: str) -> Identity:
    """The identity that a command names. Raises CommandRefused."""
    try:
        return Identity.parse(text)
    except ValueError as failure:
        raise CommandRefused(f"{text!r}: {failure}") from None


def issue(
    data: Path,
    out: Path,
    identity: Identity,
    *,
    authority: Path,
    hosts: tuple[str, ...] = (),
    role: str | None = None,
    merchants: tuple[str, ...] = (),
    hours: int = IDENTITY_HOURS,
) -> Issued:
    """Issues a certificate and enters it, with its permission, into the access file. Raises CommandRefused."""
    now_ms = now_milliseconds()
    now = as_datetime(now_ms)
    with access_files(data) as directory:
        access = known_access(directory)
        entry = Entry(
            role=role, merchants=tuple(sorted(set(merchants))), certificates=access.entry(identity).certificates
        )
        check_entry(str(identity), entry)
        _refuse_another(out, identity)
        issued = issue_identity(authority, out, identity.name, now, hosts, kind=identity.kind, hours=hours)
        access = access.with_entry(identity, entry).with_certificate(identity, issued, now_ms)
        write_all(directory, authority, access, now)
    return issued


def permission(
    identity: Identity, role: str | None, merchants: list[str], environment: str
) -> tuple[str, tuple[str, ...]]:
    """Role and merchants as the command line and the environment give them. Raises CommandRefused."""
    chosen = role or (identity.name if identity.name in ROLES else None)
    if chosen is None:
        fitting = [name for name, what in ROLES.items() if what.kind is identity.kind]
        raise CommandRefused(f"say with --role what {identity} may ask: {', '.join(fitting)}")
    if merchants:
        return chosen, tuple(merchants)
    if environment == DEVELOPMENT:
        return chosen, (EVERY_MERCHANT,)
    raise CommandRefused(f"say with --merchant which merchants {identity} is for, once for each ('*' for all)")


def _run(arguments: argparse.Namespace) -> int:
    authority = arguments.authority or arguments.data / "authority"
    names: list[str] = arguments.name
    if names[0] == RENEW:
        return _renew(arguments, authority, names[1:])
    if len(names) != 1:
        raise CommandRefused("`identity` issues to one NAME at a time; `identity renew` takes several")
    identity = parsed_identity(names[0])
    if arguments.out is None:
        raise CommandRefused("say with --out where the key and the certificate go")
    role, merchants = None, tuple(arguments.merchant)
    if not arguments.host:
        environment = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
        role, merchants = permission(identity, arguments.role, arguments.merchant, environment)
    issued = issue(
        arguments.data,
        arguments.out,
        identity,
        authority=authority,
        hosts=tuple(arguments.host),
        role=role,
        merchants=merchants,
        hours=arguments.hours or IDENTITY_HOURS,
    )
    sys.stdout.write(f"identity of {names[0]} issued to {arguments.out}, until {as_text(issued.expires_ms)}\n")
    return 0


def _renew(arguments: argparse.Namespace, authority: Path, names: list[str]) -> int:
    if not names:
        raise CommandRefused("say whose certificates are to be renewed: identity renew NAME…")
    for name in names:
        identity = parsed_identity(name)
        out = arguments.out or (arguments.data / "tls" if identity.name == ZONE else None)
        if out is None:
            raise CommandRefused(f"say with --out where the key and the certificate of {identity} lie")
        sys.stdout.write(_renew_one(arguments, authority, identity, out))
    return 0


def _renew_one(arguments: argparse.Namespace, authority: Path, identity: Identity, out: Path) -> str:
    try:
        old = read_certificate(out / f"{identity.name}.crt")
    except PkiRefused as refused:
        raise CommandRefused(f"{refused}: issue it first, with `vault-zone identity {identity}`") from None
    now_ms = now_milliseconds()
    if arguments.within is not None and old.expires_ms - now_ms > arguments.within * 3_600_000:
        return f"identity of {identity} holds until {as_text(old.expires_ms)}: not renewed\n"
    with access_files(arguments.data) as directory:
        entry = known_access(directory).entry(identity)
    if entry.role is None and not old.hosts:
        raise CommandRefused(f"{identity} has no role: it was revoked, or never issued by this zone; issue it anew")
    lived_hours = max(1, round((old.expires_ms - old.issued_ms) / 3_600_000))
    issued = issue(
        arguments.data,
        out,
        identity,
        authority=authority,
        hosts=old.hosts,
        role=entry.role,
        merchants=entry.merchants,
        hours=arguments.hours or lived_hours,
    )
    return f"identity of {identity} renewed in {out}, until {as_text(issued.expires_ms)}\n"


def _refuse_another(out: Path, identity: Identity) -> None:
    """An operator and a service of one name have the same file names, and one must not replace the other."""
    path = out / f"{identity.name}.crt"
    if path.exists() and read_certificate(path).urns != (f"{URN}{identity}",):
        raise CommandRefused(f"{path} belongs to another identity: choose another --out")
