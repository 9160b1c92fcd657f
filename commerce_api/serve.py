"""Serves the commerce process."""

import asyncio
import gc
import socket

import uvicorn

from commerce_api.app import commerce_app
from commerce_api.listeners import BoundedHeads
from commerce_api.rates import Limits
from commerce_api.runtime import running_commerce
from commerce_api.settings import CommerceSettings
from tokenization import listening

SHUTDOWN_SECONDS = 30  # longer than the zone may take over a charge
KEEP_ALIVE_SECONDS = 30


class _Server(uvicorn.Server):
    """uvicorn, which tells the program that started it whether the address could be had."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens. Raises SystemExit where the address cannot be had, as uvicorn does."""
        try:
            await super().startup(sockets)
        except SystemExit:
            listening.tell(listening.REFUSED, self.config.port)
            raise
        if not sockets:  # those that workers share are told of by nobody: their supervisor listens
            listening.tell(listening.LISTENING, self.config.port)


async def serve(settings: CommerceSettings, limits: Limits) -> None:
    """Runs commerce until SIGTERM or SIGINT, then lets requests in hand finish."""
    async with running_commerce(settings) as commerce:
        program = server(commerce_app(commerce, limits), settings.host, settings.port)
        keep_what_is_loaded()
        await program.serve()


def keep_what_is_loaded() -> None:
    """Takes what is there by now, which lives as long as the process, out of what collections look through.

    A full one would stop a decision of many offers for a tenth of a second; it takes about a third of that without.
    """
    gc.collect()
    gc.freeze()


def server(app: object, host: str, port: int) -> uvicorn.Server:
    """A server of ours: no access log (addresses hold checkouts), no banner, bounded heads and keep-alive."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI app by our own types
        host=host,
        port=port,
        http=BoundedHeads,
        ws="none",  # nothing here speaks it
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is trusted is the settings' to say (tokenization/addresses.py)
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return _Server(config)


def run(settings: CommerceSettings, limits: Limits) -> None:
    """As serve(), with an event loop."""
    asyncio.run(serve(settings, limits))
