"""Who comes in now: the listener's certificate, the authorities, what was revoked and who may do what, read anew while it runs.

What holds:
 1. Files are taken as a whole or not at all: a new state is built and checked completely before it replaces the old. Files that
    do not serve leave the old state in place, and are logged and recorded, once for each change of theirs.
 2. New handshakes meet the new state; connections that are open keep working, and each of their requests is judged by the new
    permissions and revocations (access.py, 1).
 3. No session is resumed: every connection shows its certificate, and it is checked against the authorities and the list.
 4. What the files tell of identities issued, changed and revoked is recorded once, with the row that remembers it (10.2.1.5).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from audit.threads import in_thread
from audit.transaction import Database
from tokenization.clock import Clock, as_datetime
from tokenization.logs import cause_of
from vault_zone.access import AccessPolicy, Caller, Reason
from vault_zone.access_file import NAME, REVOCATIONS_NAME, AccessFile, AccessFileRefused, read_access
from vault_zone.hazmat.pki import Issued, PkiRefused, read_certificate
from vault_zone.hazmat.revocation import read_revocations
from vault_zone.identity import URN, Peer
from vault_zone.inventory import record_inventory, record_reload

POLL_SECONDS: Final = 2.0
ENDS_SOON_MS: Final = 4 * 3_600_000  # a sixth of a certificate's day
_FAR_MS: Final = 10**13
log = structlog.get_logger("vault_zone")


@dataclass(frozen=True, slots=True)
class Admitted:
    """One complete, checked state of the files."""

    policy: AccessPolicy = field(default_factory=AccessPolicy)
    revoked: frozenset[str] = frozenset()
    own: Issued | None = None
    revocations_end_ms: int = _FAR_MS
    file: AccessFile = field(default_factory=AccessFile)
    context: ssl.SSLContext | None = None


class AdmissionRefused(Exception):
    """The files do not serve. Says which and how to mend it, and holds nothing secret."""


class ReloadingContext(ssl.SSLContext):
    """What the listener holds for as long as it runs: each handshake is made with the context of that moment (2)."""

    current: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """As SSLContext.wrap_bio, with the context of now. Event loops make every handshake through this call."""
        return self.current().wrap_bio(*arguments, **options)


class Admission:
    """The state that listener and routes ask, and the watch that keeps it current."""

    def __init__(
        self, state: Admitted | None = None, directory: Path | None = None, seen: tuple[object, ...] = ()
    ) -> None:
        """Without a state nobody may do anything."""
        self.state = state or Admitted()
        self._directory = directory
        self._seen = seen
        self._wake = asyncio.Event()

    @classmethod
    def open(cls, directory: Path, now_ms: int) -> "Admission":
        """Reads the zone's TLS directory. Raises AdmissionRefused."""
        seen = _signature(directory)  # first: what changes while it is read is looked at again
        return cls(read_admitted(directory, now_ms), directory, seen)

    def caller(self, peer: Peer | None, now_ms: int) -> Caller:
        """What the peer of a connection may do at this moment."""
        if peer is None:
            return Caller()
        if peer.serial in self.state.revoked:
            return Caller(peer.identity, None, Reason.CERTIFICATE_REVOKED)
        if peer.expires_ms <= now_ms:
            return Caller(peer.identity, None, Reason.CERTIFICATE_ENDED)
        return self.state.policy.caller(peer.identity)

    def server_context(self) -> ssl.SSLContext:
        """The context for the listener. Raises AdmissionRefused without certificates."""
        context = ReloadingContext(ssl.PROTOCOL_TLS_SERVER)
        context.current = self._context
        self._context()
        return context

    def _context(self) -> ssl.SSLContext:
        if self.state.context is None:
            raise AdmissionRefused("the internal listener must not start without certificates")
        return self.state.context

    def certificate_seconds(self, now_ms: int) -> int | None:
        """How long new connections will still be taken: to the end of the zone's certificate or of the revocation list."""
        if self.state.own is None:
            return None
        return (min(self.state.own.expires_ms, self.state.revocations_end_ms) - now_ms) // 1000

    def wake(self) -> None:
        """Has the files looked at now (SIGHUP), also when they seem not to have changed."""
        self._seen = ()
        self._wake.set()

    async def watch(self, database: Database, clock: Clock) -> None:
        """Looks at the files every few seconds, for as long as it runs."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            self._wake.clear()
            try:
                await self.look(database, clock)
            except Exception as failure:  # noqa: BLE001  # the database may be away; what could not be recorded is tried again
                log.error("access_not_recorded", cause=cause_of(failure))
                self._seen = ()

    async def look(self, database: Database, clock: Clock) -> bool:
        """Takes the files if they have changed and serve. Returns whether a new state was taken. Raises DatabaseBusy."""
        now_ms = clock()
        self._warn(now_ms)
        seen = _signature(self._directory)
        if self._directory is None or seen == self._seen:
            return False
        try:
            state = await in_thread(read_admitted, self._directory, now_ms)
        except AdmissionRefused as refused:  # (1)
            log.error("access_not_reloaded", reason=str(refused))
            await database.change(lambda tx: record_reload(tx, None, "files_refused"))
            self._seen = seen
            return False
        self.state = state  # (2) before it is recorded: a revocation does not wait for the database
        await self.record(database)
        await database.change(lambda tx: record_reload(tx, state.own, "changed"))
        self._seen = seen
        return True

    async def record(self, database: Database) -> None:
        """Records what the files tell that is not on record yet (4)."""
        file = self.state.file
        await database.change(lambda tx: record_inventory(tx, file))

    def _warn(self, now_ms: int) -> None:
        left = self.certificate_seconds(now_ms)
        if left is not None and left * 1000 < ENDS_SOON_MS:
            log.warning("certificate_ends_soon", seconds=left)


def read_admitted(directory: Path, now_ms: int) -> Admitted:
    """Reads and checks all files of the zone's TLS directory. Raises AdmissionRefused (1)."""
    try:
        file = read_access(directory / NAME)
        own = read_certificate(directory / "zone.crt")
        revocations = read_revocations(directory / REVOCATIONS_NAME, directory / "ca.crt", as_datetime(now_ms))
    except (AccessFileRefused, PkiRefused) as refused:
        raise AdmissionRefused(str(refused)) from None
    if own.urns != (f"{URN}service:zone",) or not own.hosts:
        raise AdmissionRefused(f"{directory / 'zone.crt'} is not the identity of a zone that listens")
    if own.expires_ms <= now_ms:
        raise AdmissionRefused(f"{directory / 'zone.crt'} has ended: run `vault-zone identity renew zone`")
    return Admitted(file.policy(), revocations.serials, own, revocations.expires_ms, file, _server_context(directory))


def _server_context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # (3)
    try:
        context.load_cert_chain(directory / "zone.crt", directory / "zone.key")
        context.load_verify_locations(cafile=str(directory / "ca.crt"))
        context.load_verify_locations(cafile=str(directory / REVOCATIONS_NAME))
    except (ssl.SSLError, OSError) as failure:
        raise AdmissionRefused(
            f"zone.crt, zone.key, ca.crt and ca.crl in {directory} do not serve together: {type(failure).__name__}"
        ) from None
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _signature(directory: Path | None) -> tuple[object, ...]:
    """What changes when one of the files does."""
    if directory is None:
        return ()
    signature: list[object] = []
    for name in (NAME, REVOCATIONS_NAME, "ca.crt", "zone.crt", "zone.key"):
        try:
            found = (directory / name).stat()
        except OSError:
            signature.append((name, None))
        else:
            signature.append((name, found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode))
    return tuple(signature)
