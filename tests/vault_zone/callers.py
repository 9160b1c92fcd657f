"""Callers in a test: identities with permissions, and the app as a connection with their certificate sees it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx

from tests.vault_zone.world import START_MS, World
from tokenization.edge import App, Receive, Scope, Send
from tokenization.tally import Tally
from vault_zone.access import EVERY_MERCHANT, AccessPolicy, Permission
from vault_zone.admission import Admission, Admitted
from vault_zone.app import internal_app
from vault_zone.callers import PEER
from vault_zone.executors import EXECUTORS
from vault_zone.forward.allowlist import SignedList
from vault_zone.forward.engine import ForwardEngine
from vault_zone.forward.sending import Sender
from vault_zone.identity import Identity, Peer
from vault_zone.operations import Act, Executor
from vault_zone.roles import ROLES
from vault_zone.runtime import Zone
from vault_zone.settings import ZoneSettings
from vault_zone.sweeping import Sweeper

FAR_MS = START_MS + 10**12
KEPT = 4  # zones of which the app is kept
_BUILT: list[tuple[Zone, App]] = []


def everybody() -> AccessPolicy:
    """One identity for each role, named as the role, for every merchant."""
    return AccessPolicy(
        {
            Identity(what.kind, name.replace("_", "-")): Permission(name, frozenset({EVERY_MERCHANT}))
            for name, what in ROLES.items()
        }
    )


def policy_of(**roles: str) -> AccessPolicy:
    """Identities by name, each with ``role:merchant,merchant``."""
    permissions = {}
    for name, given in roles.items():
        role, _, merchants = given.partition(":")
        listed = frozenset(filter(None, merchants.split(",")))
        permissions[Identity(ROLES[role].kind, name)] = Permission(role, listed)
    return AccessPolicy(permissions)


def peer(text: str, *, serial: str = "0A", expires_ms: int = FAR_MS) -> Peer:
    """What a certificate of this identity says; a name alone is a service's."""
    return Peer(Identity.parse(text), serial, expires_ms)


def forward_engine(world: World, directory: Path = Path("nowhere")) -> ForwardEngine:
    """Forwards through the list in a directory; where there is none, nowhere."""
    return ForwardEngine(
        world.database,
        world.keys,
        world.codes,
        SignedList(directory),
        Sender(directory, only_public=False),
        clock=world.clock,
        log_is_writable=lambda: world.log_writable[0],
    )


class FakeSequencer:
    """A log that can be written."""

    def is_writable(self) -> bool:
        return True


def zone_of(
    world: World,
    settings: ZoneSettings | None = None,
    *,
    policy: AccessPolicy | None = None,
    executors: Mapping[Act, Executor] | None = None,
    access: Admission | None = None,
    data: Path = Path(),
    forwards: ForwardEngine | None = None,
) -> Zone:
    """The running zone that the endpoints see."""
    settings = settings or ZoneSettings(
        data=data,
        environment="development",
        database_url=world.database.url,
        capture_host="127.0.0.1",
        capture_port=8701,
        capture_url="http://127.0.0.1:8701",
        internal_host="127.0.0.1",
        internal_port=8702,
        processor_url="http://127.0.0.1:8703",
        charge_timeout_seconds=10,
    )
    return Zone(
        settings,
        world.clock,
        world.database,
        world.keys,
        world.codes,
        world.processors,
        cast(Any, FakeSequencer()),
        world.engine,
        world.modifications,
        forwards or forward_engine(world),
        Tally(world.clock),
        Sweeper(world.database, world.codes, world.clock),
        access=access or Admission(Admitted(policy or everybody())),
        executors=executors or EXECUTORS,
    )


def as_peer(app: App, caller: str | Peer | None) -> App:
    """The app as it is called on a connection that presented a certificate of this identity, or none that names one."""
    shown = peer(caller) if isinstance(caller, str) else caller

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {PEER: shown}}, receive, send)

    return called


def app_of(zone: Zone) -> App:
    """The zone's internal API, built once for as long as tests ask the same zone: to build it takes longer than to ask it."""
    for known, app in _BUILT:
        if known is zone:
            return app
    _BUILT[:] = [(zone, internal_app(zone)), *_BUILT[: KEPT - 1]]
    return _BUILT[0][1]


async def ask(
    zone: Zone,
    caller: str | Peer | None,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """One request by a caller."""
    transport = httpx.ASGITransport(app=cast(Any, as_peer(app_of(zone), caller)))
    async with httpx.AsyncClient(transport=transport, base_url="https://zone") as client:
        return await client.request(method, path, json=body, headers=dict(headers or {}))
