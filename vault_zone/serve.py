"""Serves the zone's two listeners from one process: mutual TLS for commerce, plain or TLS-terminated HTTP for shoppers."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vault_zone.admission import Admission
from vault_zone.app import internal_app, public_app
from vault_zone.callers import PEER
from vault_zone.identity import peer_of
from vault_zone.runtime import running_zone
from vault_zone.settings import ZoneSettings

SHUTDOWN_SECONDS = 20  # longer than a charge may take, so that one in flight is settled and not left unknown
KEEP_ALIVE_SECONDS = 30
MAXIMUM_CONCURRENT = 512


class PeerNamingProtocol(HttpToolsProtocol):
    """Puts what the client's verified certificate says into the request's scope: whose it is, which, and until when."""

    def on_message_begin(self) -> None:
        """Called by the parser when a request starts; the handshake is long over."""
        super().on_message_begin()
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert() if connection else None
        self.scope["extensions"] = {PEER: peer_of(certificate)}  # type: ignore[dict-item]  # our own extension


class _Server(uvicorn.Server):
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
        http=PeerNamingProtocol,
        ssl_context_factory=lambda _, __: access.server_context(),
        proxy_headers=False,  # nobody stands between a caller and this listener
        **_common(),
    )


def public_config(app: Any, settings: ZoneSettings) -> uvicorn.Config:
    """Behind the operator's TLS in production; plain on loopback in development."""
    return uvicorn.Config(app, host=settings.capture_host, port=settings.capture_port, http="httptools", **_common())


def _common() -> dict[str, Any]:
    return {
        "log_config": None,
        "access_log": False,  # a capture link is a secret and must not reach a log
        "server_header": False,
        "date_header": False,
        "lifespan": "off",
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "limit_concurrency": MAXIMUM_CONCURRENT,
        "h11_max_incomplete_event_size": 16 * 1024,
    }


async def serve(settings: ZoneSettings) -> None:
    """Runs the zone until SIGTERM or SIGINT, then lets requests in hand finish. SIGHUP: reads access anew."""
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
