"""An authority in a test, and the identities it issues, as the command line makes them; certificates hold by the real clock."""

import datetime
from pathlib import Path

from tests.vault_zone.callers import zone_of
from tests.vault_zone.world import World
from tokenization.clock import now_milliseconds
from vault_zone.admission import Admission
from vault_zone.cli.identity import issue
from vault_zone.hazmat.pki import Issued, create_authority
from vault_zone.identity import Identity
from vault_zone.roles import ROLES
from vault_zone.runtime import Zone


def now() -> datetime.datetime:
    """The real time: a run of every test is longer than some certificates hold."""
    return datetime.datetime.now(datetime.UTC)


def make_zone_files(data: Path, hours: int = 24) -> Path:
    """An authority and a zone's TLS directory, which is returned."""
    create_authority(data / "authority", now())
    issue(
        data,
        data / "tls",
        Identity.parse("zone"),
        authority=data / "authority",
        hosts=("127.0.0.1", "localhost"),
        hours=hours,
    )
    return data / "tls"


def issue_to(data: Path, text: str, *, role: str | None = None, merchants: tuple[str, ...] = ("*",)) -> Issued:
    """Issues an identity to ``data/NAME``; its role is the one of its name unless told otherwise."""
    identity = Identity.parse(text)
    chosen = role or identity.name.replace("-", "_")
    if ROLES[chosen].kind is not identity.kind:
        raise ValueError(f"{identity} cannot be {chosen}")
    return issue(
        data,
        data / identity.name,
        identity,
        authority=data / "authority",
        role=chosen,
        merchants=merchants,
    )


def zone_over(world: World, data: Path) -> Zone:
    """The world's zone with the access that its files give, and the real time, by which certificates end."""
    world.clock.now_ms = now_milliseconds()
    return zone_of(world, data=data, access=Admission.open(data / "tls", world.clock()))
