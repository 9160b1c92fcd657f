"""The sandbox as an ASGI application: routes, the label on every answer, the one place where a refusal becomes HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vault_zone.processors.sandbox_server.books import Books
from vault_zone.processors.sandbox_server.charges import Charges
from vault_zone.processors.sandbox_server.connection import Holds, Waiter
from vault_zone.processors.sandbox_server.endpoints import Endpoints
from vault_zone.processors.sandbox_server.errors import RETRY_AFTER_SECONDS, ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.happenings import Happenings
from vault_zone.processors.sandbox_server.logs import Log
from vault_zone.processors.sandbox_server.modifications import Modifications
from vault_zone.processors.sandbox_server.money_endpoints import MoneyEndpoints
from vault_zone.processors.sandbox_server.once import Claims
from vault_zone.processors.sandbox_server.pages import Pages
from vault_zone.processors.sandbox_server.requests import json_response
from vault_zone.processors.sandbox_server.store import Store
from vault_zone.processors.sandbox_server.timing import Clock, IdMaker, Timing
from vault_zone.processors.sandbox_server.webhooks import Courier
from vault_zone.processors.sandbox_server.wire import refusal_object

_HEADERS: Final = {
    "X-Sandbox": "true",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the application is given. ``stopping`` is set by the server when it begins to stop."""

    store: Store
    api_key: bytes
    public_url: str
    webhook_url: str
    webhook_secret: bytes
    webhook_client: httpx.AsyncClient
    clock: Clock
    new_id: IdMaker
    waiter: Waiter
    log: Log
    timing: Timing = field(default_factory=Timing)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    claims: Claims = field(default_factory=Claims)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The application, and what its lifespan runs beside it: the courier, and what happens in time."""

    app: ASGIApp
    courier: Courier
    happenings: Happenings


def build(ports: Ports) -> Sandbox:
    """Wires the sandbox."""
    courier = _courier(ports)
    books = Books(clock=ports.clock, new_id=ports.new_id, public_url=ports.public_url, timing=ports.timing)
    happenings = Happenings(
        store=ports.store, books=books, clock=ports.clock, waiter=ports.waiter, on_event=courier.wake
    )

    def on_event() -> None:
        courier.wake()
        happenings.wake()

    app = Starlette(
        routes=_routes(ports, books, happenings, on_event),
        exception_handlers={Refusal: _refuse, HTTPException: _refuse_unrouted, Exception: _refuse_unexpected},
        lifespan=_lifespan(ports, courier, happenings),
    )
    app.router.redirect_slashes = False  # such a redirect would be built from the Host header
    return Sandbox(Labelled(app, ports.log), courier, happenings)


def _courier(ports: Ports) -> Courier:
    return Courier(
        store=ports.store,
        client=ports.webhook_client,
        url=ports.webhook_url,
        secret=ports.webhook_secret,
        clock=ports.clock,
        waiter=ports.waiter,
        log=ports.log,
    )


def _routes(ports: Ports, books: Books, happenings: Happenings, on_event: Callable[[], None]) -> list[Route]:
    holds = Holds(ports.waiter, ports.stopping, ports.log)
    faults = Faults(holds)
    charges = Charges(
        store=ports.store,
        books=books,
        faults=faults,
        holds=holds,
        timing=ports.timing,
        clock=ports.clock,
        new_id=ports.new_id,
        on_event=on_event,
        claims=ports.claims,
    )
    modifications = Modifications(store=ports.store, books=books, faults=faults, on_event=on_event, claims=ports.claims)
    spoken = Endpoints(
        store=ports.store,
        api_key=ports.api_key,
        public_url=ports.public_url,
        charges=charges,
        faults=faults,
        pages=Pages(ports.timing),
    )
    money = MoneyEndpoints(
        store=ports.store,
        api_key=ports.api_key,
        public_url=ports.public_url,
        modifications=modifications,
        happenings=happenings,
        faults=faults,
    )
    return [*spoken.routes(), *money.routes()]


def _lifespan(ports: Ports, courier: Courier, happenings: Happenings) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = [asyncio.create_task(courier.run()), asyncio.create_task(happenings.run())]
        for task, event in zip(running, ("webhooks_stopped", "happenings_stopped"), strict=True):
            task.add_done_callback(partial(_report_end, event, ports.log))
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await ports.webhook_client.aclose()

    return lifespan


def _report_end(event: str, log: Log, task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log(event, exception=type(error).__name__)


class Labelled:
    """Puts the sandbox's label on every response, logs one line a request, and lets no exception out."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, labelled)
        except Exception as error:  # noqa: BLE001  # the server would log its text, which may hold input
            self._log("failed", exception=type(error).__name__)
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        self._log("request", method=scope["method"], endpoint=endpoint, status=status)


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    response = json_response(refusal_object(error), error.status)
    if error.code in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.code])
    if error.code is ErrorCode.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _refuse_unrouted(request: Request, _: Exception) -> Response:
    return await _refuse(request, Refusal(ErrorCode.NOT_FOUND))


async def _refuse_unexpected(request: Request, _: Exception) -> Response:
    return await _refuse(request, Refusal(ErrorCode.INTERNAL_ERROR))
