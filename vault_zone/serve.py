"""Serves the zone's two listeners from one process: mutual TLS for commerce, plain or TLS-terminated HTTP for shoppers."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import uvicorn

from vault_zone.admission import Admission
from vault_zone.app import internal_app, public_app
from vault_zone.callers import PEER
from vault_zone.connections import Limits
from vault_zone.identity import peer_of
from vault_zone.last_words import quieten_loop
from vault_zone.listeners import BoundedProtocol, Listener, bounded
from vault_zone.runtime import running_zone
from vault_zone.settings import ZoneSettings

SHUTDOWN_SECONDS = 20  # longer than a charge may take, so that one in flight is settled and not left unknown
PUBLIC_LIMITS = Limits()
INTERNAL_LIMITS = Limits(connections=256, connections_of_one_address=256)  # commerce's processes, and theirs alone


class PeerNamingProtocol(BoundedProtocol):
    """Puts what the client's verified certificate says into the request's scope: whose it is, which, and until when."""

    def on_message_begin(self) -> None:
        """Called by the parser when a request starts; the handshake is long over."""
        super().on_message_begin()
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert() if connection else None
        self.scope["extensions"] = {PEER: peer_of(certificate)}  # type: ignore[dict-item]  # our own extension


class _Server(Listener):
    """A server that leaves signals to serve(), which runs two of them."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # uvicorn's own signature
        """Does nothing: one handler serves both listeners."""
        yield


def internal_config(app: Any, settings: ZoneSettings, access: Admission) -> uvicorn.Config:
    """Mutual TLS 1.3: who has no certificate of the zone's authority, or a revoked one, gets no further than the handshake."""
    return uvicorn.Config(
        app,
        host=settings.internal_host,
        port=settings.internal_port,
        http=cast(Any, bounded(PeerNamingProtocol, INTERNAL_LIMITS)),
        ssl_context_factory=lambda _, __: access.server_context(),
        **_common(INTERNAL_LIMITS),
    )


def public_config(app: Any, settings: ZoneSettings) -> uvicorn.Config:
    """Behind the operator's TLS in production; plain on loopback in development."""
    protocol = bounded(BoundedProtocol, PUBLIC_LIMITS, settings.trusted_proxies)
    return uvicorn.Config(
        app, host=settings.capture_host, port=settings.capture_port, http=cast(Any, protocol), **_common(PUBLIC_LIMITS)
    )


def _common(limits: Limits) -> dict[str, Any]:
    return {
        "ws": "none",  # nothing here speaks it
        "log_config": None,
        "access_log": False,  # a capture link is a secret and must not reach a log
        "server_header": False,
        "date_header": False,
        "lifespan": "off",
        "proxy_headers": False,  # believed from loopback by default, whoever is there; vault_zone/addresses.py asks first
        "timeout_keep_alive": limits.idle_seconds,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "limit_concurrency": None,  # counts idle connections against those that work; the gate does not
    }


async def serve(settings: ZoneSettings) -> None:
    """Runs the zone until SIGTERM or SIGINT, then lets requests in hand finish. SIGHUP: reads access anew."""
    quieten_loop(asyncio.get_running_loop())
    async with running_zone(settings) as zone:
        servers = [
            _Server(internal_config(internal_app(zone), settings, zone.access)),
            _Server(public_config(public_app(zone), settings)),
        ]
        async with _signals(servers, zone.access):
            await asyncio.gather(*(server.serve() for server in servers))


@contextlib.asynccontextmanager
async def _signals(servers: list[_Server], access: Admission) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    loop.add_signal_handler(signal.SIGHUP, access.wake)
    yield
