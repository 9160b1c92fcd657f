"""The sandbox's connector under the contract suite. What it does not declare as a feature, the suite sees it refuse."""

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.vault_zone.processors.connector_suite import ConnectorSuite, Counterpart, Meant, Notice
from tests.vault_zone.processors.fault_proxy import Fault, FaultProxy
from tests.vault_zone.processors.sandbox_server.world import API_KEY, PUBLIC_URL, WEBHOOK_SECRET, World, served
from tests.vault_zone.processors.test_sandbox import signed
from vault_zone.processors.sandbox import SandboxProcessor


class SandboxCounterpart(Counterpart):
    """The connector in front of a sandbox in this process."""

    cards: ClassVar[dict[Meant, str]] = {
        Meant.SUCCEED: "4242424242424242",
        Meant.DECLINE: "4000000000009995",
        Meant.DECLINE_ELSEWHERE: "4000000000000119",
        Meant.CHALLENGE: "4000002760003184",
    }

    def __init__(self, world: World, proxy: FaultProxy, url: str) -> None:
        self.world, self.proxy, self.now_ms = world, proxy, world.now
        self.processor = self.at(url)

    def fault(self, fault: Fault) -> None:
        self.proxy.faults.append(fault)

    def at(self, url: str) -> SandboxProcessor:
        return SandboxProcessor(url, API_KEY, WEBHOOK_SECRET, timeout_seconds=5.0)

    async def charges(self, reference: str) -> int:
        return sum(charge["status"] in ("authorized", "succeeded") for charge in await self.under(reference))

    async def moved(self, reference: str) -> tuple[int, int]:
        charges = await self.under(reference)
        return sum(one["captured_minor"] for one in charges), sum(one["refunded_minor"] for one in charges)

    async def notices(self, at_ms: int | None = None) -> Sequence[Notice]:
        for _ in itertools.takewhile(lambda _: self.world.store.event_states(), range(3)):
            await self.world.courier.deliver_due()
        bodies = {request.content: None for request in self.world.receiver.requests}
        return [(signed(body, (at_ms or self.now_ms) // 1000, WEBHOOK_SECRET), body) for body in bodies]

    async def authenticate(self, reference: str, *, success: bool) -> None:
        [charge] = await self.under(reference)
        async with self.world.client(None) as shopper:
            await shopper.post(charge["action"]["url"], data={"outcome": "approve" if success else "fail"})

    async def under(self, reference: str) -> list[dict[str, Any]]:
        """The sandbox's charges under our reference."""
        async with self.world.client() as client:
            listed = await client.get("/v1/charges", params={"reference": reference})
        charges: list[dict[str, Any]] = listed.json()["charges"]
        return charges


@pytest.fixture
async def counterpart(tmp_path: Path) -> AsyncIterator[SandboxCounterpart]:
    world = World(tmp_path / "data")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=PUBLIC_URL) as upstream:
        proxy = FaultProxy(upstream, lambda request: request.method == "POST")
        async with served(proxy) as url:
            made = SandboxCounterpart(world, proxy, url)
            yield made
            await made.processor.close()
    world.store.close()


class TestSandbox(ConnectorSuite):
    """The contract suite."""
