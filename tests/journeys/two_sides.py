"""Both sides in this process, each on a port of loopback, for a real browser: the zone's pages and commerce's, on two sites.

Between them the wall is a direct call of the zone's own functions; journeys over mutual TLS are in running.py.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import uvicorn

from commerce_api.agent_desk import AgentDesk
from commerce_api.app import commerce_app
from commerce_api.checkout.service import Caller
from commerce_api.links import Links
from commerce_api.payment import Payments
from commerce_api.schemas import CheckoutGiven
from commerce_api.vault_client import VaultClient
from offer_engine.serving import Rankers
from tests.commerce_api.purchases import ready
from tests.commerce_api.world import BRAND, OFFER_KEY, commerce_world
from tests.vault_zone.callers import zone_of
from tests.vault_zone.world import ACTOR, zone_world
from tests.vault_zone.world import World as ZoneWorld
from tokenization.clock import monotonic_seconds
from tokenization.wire import CaptureSession, Charge, ChargeRequest, OpenCaptureSession, ReturnRequest
from vault_zone.app import public_app
from vault_zone.capture import open_session, read_session

AGENT = Caller(f"agent:{BRAND}", "agents_api")


@dataclass
class DirectVault:
    """Commerce's way to the zone, without the network between. ``links`` are the addresses that were given out."""

    zone: ZoneWorld
    capture_url: str
    links: list[str] = field(default_factory=list)

    async def open_capture(self, asked: OpenCaptureSession) -> CaptureSession:
        """As VaultClient.open_capture."""
        session, secret = await self.zone.database.change(lambda tx: open_session(tx, asked, ACTOR))
        self.links.append(f"{self.capture_url}/capture/{secret}")
        return session.model_copy(update={"url": self.links[-1]})

    async def read_capture(self, merchant: str, session: str) -> CaptureSession:
        """As VaultClient.read_capture."""
        now_ms = self.zone.clock()
        found = await self.zone.database.read(lambda connection: read_session(connection, session, merchant, now_ms))
        assert found is not None
        return found

    async def charge(self, asked: ChargeRequest) -> Charge:
        """As VaultClient.charge."""
        return await self.zone.engine.charge(asked, ACTOR)

    async def returned(self, asked: ReturnRequest) -> Charge:
        """As VaultClient.returned."""
        return await self.zone.engine.returned(asked)

    async def find_charge(self, merchant: str, payment: str) -> Charge | None:
        """As VaultClient.find_charge."""
        return await self.zone.engine.find(merchant, payment)


@dataclass
class TwoSides:
    """Where both are, and what a test asks of them."""

    zone: ZoneWorld
    desk: AgentDesk
    vault: DirectVault
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    def run(self, work: Any) -> Any:
        """Runs a coroutine in the loop of both."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def checkout(self, **more: object) -> str:
        """The address that a conversation gives to the shopper, of a checkout that is ready to be paid."""
        given = CheckoutGiven.model_validate(ready(**more))
        made = self.run(self.desk.create_checkout(BRAND, AGENT, given, None))
        handed = self.run(self.desk.complete_checkout(BRAND, AGENT, made.checkout_id))
        address: str = handed.continue_url
        return address


def _listen() -> tuple[socket.socket, int]:
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, listening.getsockname()[1]


def _server(app: Any) -> uvicorn.Server:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    return server


async def _serve(folder: Path, tell: Any) -> None:
    async with AsyncExitStack() as stack:
        zone_side = await stack.enter_async_context(zone_world(f"sqlite:///{folder / 'zone.sqlite3'}"))
        commerce_side = await stack.enter_async_context(commerce_world(folder))
        zone_side.clock.now_ms = commerce_side.clock.now_ms
        (zone_socket, zone_port), (shop_socket, shop_port) = _listen(), _listen()
        zone_url, shop_url = f"http://127.0.0.1:{zone_port}", f"http://localhost:{shop_port}"  # two sites to a browser
        vault, links = DirectVault(zone_side, zone_url), Links(shop_url)
        commerce = commerce_side.commerce
        payments = Payments(commerce.database, cast(VaultClient, vault), links, OFFER_KEY, commerce.clock)
        desk = AgentDesk(
            commerce.database, payments, links, Rankers(None, monotonic_seconds), OFFER_KEY, commerce.clock
        )
        settings = replace(commerce.settings, public_url=shop_url, capture_url=zone_url)
        commerce = replace(commerce, settings=settings, desk=desk, payments=payments, links=links)
        zone = zone_of(zone_side)
        zone = replace(zone, settings=replace(zone.settings, capture_port=zone_port, capture_url=zone_url))
        servers = [_server(public_app(zone)), _server(commerce_app(commerce))]
        tasks = [
            asyncio.create_task(server.serve(sockets=[listening]))
            for server, listening in zip(servers, (zone_socket, shop_socket), strict=True)
        ]
        sides = TwoSides(zone_side, desk, vault, asyncio.get_running_loop(), asyncio.Event())
        tell(sides)
        await sides.stop.wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


@contextmanager
def two_sides(folder: Path) -> Iterator[TwoSides]:
    """Both, running until the end."""
    told: list[TwoSides] = []
    ready_or_dead = threading.Event()

    def tell(sides: TwoSides) -> None:
        told.append(sides)
        ready_or_dead.set()

    def run() -> None:
        try:
            asyncio.run(_serve(folder, tell))
        finally:
            ready_or_dead.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready_or_dead.wait(60)
    assert told, "the two sides did not start"
    try:
        yield told[0]
    finally:
        told[0].loop.call_soon_threadsafe(told[0].stop.set)
        thread.join()
