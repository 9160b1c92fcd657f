"""The example shop and a real zone on two ports of loopback, for a real browser."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn

from examples.card_fields.shop import Shop
from tests.vault_zone.callers import zone_of
from tests.vault_zone.world import ACTOR, MERCHANT, World, capture_request, zone_world
from vault_zone.app import public_app
from vault_zone.capture import open_session
from vault_zone.merchants import change_frame_origins
from vault_zone.pages.fields import fields_manifest


@dataclass
class FieldsSite:
    """Where shop and zone are, and what the zone holds. ``lose_replies`` answers so many sent cards with nothing."""

    world: World
    loop: asyncio.AbstractEventLoop
    zone_url: str = ""
    shop_url: str = ""
    lose_replies: int = 0
    asked: list[str] = field(default_factory=list)

    def run(self, work: Any) -> Any:
        """Runs a coroutine in the zone's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def fields(self, digest: str) -> str:
        """Fresh card fields for this opener, as commerce would ask for them."""
        asked = capture_request(mode="fields", frame_origin=self.shop_url, opener_digest=digest)
        _, secret = self.run(self.world.database.change(lambda tx: open_session(tx, asked, ACTOR)))
        return f"{self.zone_url}/fields/{secret}"


@contextmanager
def fields_site(folder: Path) -> Iterator[FieldsSite]:
    """Both programs, running until the end."""
    started: list[FieldsSite] = []
    ready, failed = threading.Event(), []

    async def serve() -> None:
        async with zone_world(f"sqlite:///{folder / 'zone.sqlite3'}") as world:
            site = FieldsSite(world, asyncio.get_running_loop())
            stop = asyncio.Event()
            site.stop = lambda: site.loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
            app: Any = None

            async def losing(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "http" and scope["path"].endswith("/card"):
                    site.asked.append(scope["path"])
                    if site.lose_replies > 0:
                        site.lose_replies -= 1

                        async def swallow(_: Any) -> None:
                            return None

                        await app(scope, receive, swallow)
                        raise ConnectionResetError
                await app(scope, receive, send)

            listening = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(losing, log_config=None, lifespan="off", ws="none")
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            port = listening.getsockname()[1]
            site.zone_url = f"http://127.0.0.1:{port}"
            zone = zone_of(world)
            app = public_app(
                replace(zone, settings=replace(zone.settings, capture_port=port, capture_url=site.zone_url))
            )
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            started.append(site)
            ready.set()
            await stop.wait()
            server.should_exit = True
            await serving

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as failure:  # noqa: BLE001 - the test's thread is told
            failed.append(failure)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(30)
    if failed:
        raise failed[0]
    site = started[0]
    handler = type("Handler", (Shop,), {"manifest": fields_manifest(site.zone_url), "ask": site.fields, "known": {}})
    shop = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    shop.daemon_threads = True
    site.shop_url = f"http://localhost:{shop.server_port}"  # another site than 127.0.0.1, as a browser sees it
    site.run(
        site.world.database.change(
            lambda tx: change_frame_origins(tx, MERCHANT, add=[site.shop_url], actor="operator:ada")
        )
    )
    serving = threading.Thread(target=shop.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield site
    finally:
        shop.shutdown()
        serving.join()
        shop.server_close()
        site.stop()  # type: ignore[attr-defined]
        thread.join()
