"""Everything the sandbox is given, in the hands of a test."""

import asyncio
import io
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from vault_zone.processors.sandbox_server.app import Ports, build
from vault_zone.processors.sandbox_server.connection import ClosingProtocol
from vault_zone.processors.sandbox_server.logs import Log
from vault_zone.processors.sandbox_server.once import Claims
from vault_zone.processors.sandbox_server.store import Store
from vault_zone.processors.sandbox_server.webhooks import webhook_client

API_KEY = "sbx-test-key-for-tests-only"
WEBHOOK_SECRET = b"sbx-webhook-secret-for-tests-only"
WEBHOOK_URL = "http://127.0.0.1:9/webhooks/sandbox"
PUBLIC_URL = "http://127.0.0.1:8765"
START = 1_795_000_000_000  # 2026-11-18, in milliseconds
VISA = "4242424242424242"
CHALLENGE = "4000002760003184"
TIMEOUT_BEFORE = "4012000077777777"
TIMEOUT_AFTER = "4009348888881881"
SLOW = "4012888888881881"
LATE_REFUND = "4000000000007726"
FAILING_REFUND = "4000000000005126"
DISPUTED = "4000000000000259"


def charge_body(number: str = VISA, **changes: Any) -> dict[str, Any]:
    """A charge that is in order, with changes; ``card`` changes fields of the card."""
    card = {"number": number, "exp_month": 12, "exp_year": 2030, "cvc": "737", **changes.pop("card", {})}
    return {
        "reference": "chg_one",
        "amount_minor": 12_350,
        "currency": "EUR",
        "capture": True,
        "card": card,
        "merchant": "Nordlicht Outdoor",
        "return_url": "https://shop.example/return?cart=7",
        **changes,
    }


class Gate:
    """A wait that lasts until the test opens it."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._open = asyncio.Event()
        self._arrived = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._arrived.set()
        await self._open.wait()

    async def arrival(self) -> None:
        """Returns once somebody waits."""
        await self._arrived.wait()
        self._arrived.clear()

    def open(self) -> None:
        """Lets everybody through, now and later."""
        self._open.set()


class Receiver:
    """The merchant's side of the webhooks: answers what the test says and remembers what came."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[int | Exception | None] = []  # None never answers
        self.arrivals: asyncio.Queue[httpx.Request] = asyncio.Queue()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.arrivals.put_nowait(request)
        answer = self.answers.pop(0) if self.answers else 200
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer or 0)

    def events(self) -> list[dict[str, Any]]:
        """The bodies that came, in order."""
        return [json.loads(request.content) for request in self.requests]


class World:
    """One sandbox. ``build_again`` is a restart on the same data directory."""

    def __init__(self, data: Path, claims: Claims | None = None) -> None:
        self.data = data
        self.now = START
        self.gate = Gate()
        self.receiver = Receiver()
        self.log = io.StringIO()
        self.stopping = asyncio.Event()
        self._ids = itertools.count(1)
        self._build(claims or Claims())

    def _build(self, claims: Claims) -> None:
        self.store = Store(self.data)
        self.client_of_webhooks = webhook_client(True, httpx.MockTransport(self.receiver))
        sandbox = build(
            Ports(
                store=self.store,
                api_key=API_KEY.encode(),
                public_url=PUBLIC_URL,
                webhook_url=WEBHOOK_URL,
                webhook_secret=WEBHOOK_SECRET,
                webhook_client=self.client_of_webhooks,
                clock=lambda: self.now,
                new_id=lambda: f"id{next(self._ids)}",
                waiter=self.gate,
                log=Log(self.log, lambda: self.now),
                stopping=self.stopping,
                claims=claims,
            )
        )
        self.app, self.courier, self.happenings = sandbox.app, sandbox.courier, sandbox.happenings

    def restart(self) -> None:
        """A new process on the same directory: nothing in memory survives."""
        self.store.close()
        self._build(Claims())

    @asynccontextmanager
    async def client(self, key: str | None = API_KEY) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the application itself, with no server in between."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, headers=headers) as client:
            yield client

    @asynccontextmanager
    async def served(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the application behind a real server on loopback."""
        async with served(self.app) as base_url:
            headers = {"Authorization": f"Bearer {API_KEY}"}
            async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False, timeout=30) as client:
                yield client

    def count(self) -> int:
        """How many charges there are."""
        return len(self.store.all_charges())


async def charge(client: httpx.AsyncClient, key: str = "key-1", **body: Any) -> httpx.Response:
    """Asks for a charge."""
    return await client.post("/v1/charges", json=charge_body(**body), headers={"Idempotency-Key": key})


async def modify(
    client: httpx.AsyncClient, charge_id: str, kind: str, key: str = "key-m", **body: Any
) -> httpx.Response:
    """Asks for a capture, void or refund; the reference is the key unless another is given."""
    paths = {"capture": "captures", "void": "void", "refund": "refunds"}
    content = {"reference": key, **body}
    return await client.post(f"/v1/charges/{charge_id}/{paths[kind]}", json=content, headers={"Idempotency-Key": key})


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The base URL of the application on a free loopback port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=ClosingProtocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
