"""Serves the commerce process."""

import asyncio

import uvicorn

from commerce_api.app import commerce_app
from commerce_api.runtime import running_commerce
from commerce_api.settings import CommerceSettings

SHUTDOWN_SECONDS = 30  # longer than the zone may take over a charge
KEEP_ALIVE_SECONDS = 30


async def serve(settings: CommerceSettings) -> None:
    """Runs commerce until SIGTERM or SIGINT, then lets requests in hand finish."""
    async with running_commerce(settings) as commerce:
        await server(commerce_app(commerce), settings.host, settings.port).serve()


def server(app: object, host: str, port: int) -> uvicorn.Server:
    """A server of ours: no access log (addresses hold checkouts), no banner, bounded keep-alive."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI app by our own types
        host=host,
        port=port,
        http="httptools",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is trusted is the settings' to say (tokenization/addresses.py)
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)


def run(settings: CommerceSettings) -> None:
    """As serve(), with an event loop."""
    asyncio.run(serve(settings))
