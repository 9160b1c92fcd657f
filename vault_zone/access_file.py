"""``access.json``: which identity has which role for which merchants, and every certificate issued (PCI DSS 4.2.1.1, 7.2.5).

Written by the command line in one step, mode 0600; read by the zone at start and whenever it changes. It lies beside the zone's
certificate, in the directory that a serving process cannot write to.
"""

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vault_zone.access import EVERY_MERCHANT, AccessPolicy, Permission
from vault_zone.hazmat.pki import Issued, write_whole
from vault_zone.identity import Identity
from vault_zone.roles import ROLES

NAME: Final = "access.json"
REVOCATIONS_NAME: Final = "ca.crl"
KEPT_MS: Final = (
    30 * 86_400_000
)  # how long a certificate that has ended stays in the inventory, for the zone to record it
_FILE_BYTES_MAXIMUM: Final = 4 * 1024 * 1024


class AccessFileRefused(ValueError):
    """The file does not say who may do what. Says what is wrong with it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Certificate(_Part):
    """A certificate that was issued. ``serial`` is upper-case hexadecimal; times are milliseconds since the Unix epoch."""

    serial: Annotated[str, Field(pattern=r"^[0-9A-F]{2,40}$")]
    issued_ms: int
    expires_ms: int
    hosts: tuple[str, ...] = ()
    revoked_ms: int | None = None


class Entry(_Part):
    """One identity: its role (none for one that only listens, or was revoked), merchants and certificates."""

    role: str | None = None
    merchants: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,63})$")], ...] = ()
    certificates: tuple[Certificate, ...] = ()


class AccessFile(_Part):
    """The whole file."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    identities: dict[str, Entry] = Field(default_factory=dict)

    def entry(self, identity: Identity) -> Entry:
        """The identity's entry; an empty one when there is none."""
        return self.identities.get(str(identity), Entry())

    def with_entry(self, identity: Identity, entry: Entry) -> "AccessFile":
        """The file with the identity's entry replaced."""
        return AccessFile(identities={**self.identities, str(identity): entry})

    def with_certificate(self, identity: Identity, issued: Issued, now_ms: int) -> "AccessFile":
        """The file with a certificate added to the identity's, and those left out that ended long ago."""
        entry = self.entry(identity)
        kept = [one for one in entry.certificates if one.expires_ms > now_ms - KEPT_MS]
        new = Certificate(
            serial=issued.serial, issued_ms=issued.issued_ms, expires_ms=issued.expires_ms, hosts=issued.hosts
        )
        return self.with_entry(identity, entry.model_copy(update={"certificates": (*kept, new)}))

    def policy(self) -> AccessPolicy:
        """The permissions."""
        return AccessPolicy(
            {
                Identity.parse(name): Permission(entry.role, frozenset(entry.merchants))
                for name, entry in self.identities.items()
                if entry.role is not None
            }
        )

    def revoked(self) -> dict[str, int]:
        """Serial → when it was revoked, in milliseconds, for certificates that have not been left out."""
        return {
            one.serial: one.revoked_ms
            for entry in self.identities.values()
            for one in entry.certificates
            if one.revoked_ms is not None
        }


def read_access(path: Path) -> AccessFile:
    """Reads and checks the file as a whole. Raises AccessFileRefused."""
    try:
        if path.stat().st_mode & 0o077:
            raise AccessFileRefused(f"{path} can be read or changed by others: chmod 600")
        content = path.read_bytes()
        if len(content) > _FILE_BYTES_MAXIMUM:
            raise AccessFileRefused(f"{path} is too long")
        read = AccessFile.model_validate_json(content)
    except OSError as failure:
        raise AccessFileRefused(f"{path} cannot be read: {type(failure).__name__}") from None
    except ValidationError as failure:
        broken = ", ".join(sorted({".".join(map(str, error["loc"][:2])) or "the whole" for error in failure.errors()}))
        raise AccessFileRefused(f"{path} does not have the required form at: {broken}") from None
    for name, entry in read.identities.items():
        check_entry(name, entry)
    return read


def check_entry(name: str, entry: Entry) -> Identity:
    """The identity, when its name is one and its role exists and is for its kind. Raises AccessFileRefused."""
    try:
        identity = Identity.parse(name)
    except ValueError as failure:
        raise AccessFileRefused(f"{name!r} is no identity: {failure}") from None
    if str(identity) != name:
        raise AccessFileRefused(f"{name!r} is to be written {identity}")
    if entry.role is not None and (entry.role not in ROLES or ROLES[entry.role].kind is not identity.kind):
        fitting = ", ".join(role for role, what in ROLES.items() if what.kind is identity.kind)
        raise AccessFileRefused(
            f"{identity} cannot have the role {entry.role!r}: for {identity.kind}s there are {fitting}"
        )
    if EVERY_MERCHANT in entry.merchants and len(entry.merchants) > 1:
        raise AccessFileRefused(f"{identity} has every merchant, so none can be listed beside")
    return identity


def write_access(path: Path, access: AccessFile) -> None:
    """Writes the file in one step, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, access.model_dump_json(indent=2).encode() + b"\n")
