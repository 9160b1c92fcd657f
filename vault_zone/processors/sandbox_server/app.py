"""The sandbox as an ASGI application: routes, the label on every answer, the one place where a refusal becomes HTTP."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import httpx
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vault_zone.processors.sandbox_server.cards import holds_card_number
from vault_zone.processors.sandbox_server.charges import Charges, Claims, Clock, IdMaker, Timing
from vault_zone.processors.sandbox_server.connection import Holds, NoReply, Waiter
from vault_zone.processors.sandbox_server.errors import RETRY_AFTER_SECONDS, ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.logs import Log
from vault_zone.processors.sandbox_server.pages import TEMPLATES, Pages, page_policy, return_address
from vault_zone.processors.sandbox_server.store import Store
from vault_zone.processors.sandbox_server.webhooks import Courier
from vault_zone.processors.sandbox_server.wire import (
    Charge,
    Operation,
    charge_object,
    read_charge,
    read_fault,
    refusal_object,
)

MAX_BODY_BYTES: Final = 32 * 1024  # ten times the longest body the fields allow
MAX_KEY_LENGTH: Final = 255  # as Stripe's API documents for Idempotency-Key

_STATIC_FILES: Final = {"sandbox.css": "text/css", "icon.svg": "image/svg+xml"}
_HEADERS: Final = {
    "X-Sandbox": "true",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_OUTCOMES: Final = {"approve": True, "fail": False}


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
    """The application and its courier, which the application's lifespan runs."""

    app: ASGIApp
    courier: Courier


def build(ports: Ports) -> Sandbox:
    """Wires the sandbox."""
    courier = Courier(
        store=ports.store,
        client=ports.webhook_client,
        url=ports.webhook_url,
        secret=ports.webhook_secret,
        clock=ports.clock,
        waiter=ports.waiter,
        log=ports.log,
    )
    holds = Holds(ports.waiter, ports.stopping, ports.log)
    faults = Faults(holds)
    charges = Charges(
        store=ports.store,
        faults=faults,
        holds=holds,
        timing=ports.timing,
        clock=ports.clock,
        new_id=ports.new_id,
        public_url=ports.public_url,
        on_event=courier.wake,
        claims=ports.claims,
    )
    endpoints = _Endpoints(ports, charges, faults, Pages(ports.timing))
    app = Starlette(
        routes=endpoints.routes(),
        exception_handlers={Refusal: _refuse, HTTPException: _refuse_unrouted, Exception: _refuse_unexpected},
        lifespan=_lifespan(ports, courier),
    )
    app.router.redirect_slashes = False  # such a redirect would be built from the Host header
    return Sandbox(Labelled(app, ports.log), courier)


def _lifespan(ports: Ports, courier: Courier) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.create_task(courier.run())
        delivering.add_done_callback(lambda task: _report_end(task, ports.log))
        try:
            yield
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            await ports.webhook_client.aclose()

    return lifespan


def _report_end(task: "asyncio.Task[None]", log: Log) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log("webhooks_stopped", exception=type(error).__name__)


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


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    response = _json(refusal_object(error), error.status)
    if error.code in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.code])
    if error.code is ErrorCode.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _refuse_unrouted(request: Request, _: Exception) -> Response:
    return await _refuse(request, Refusal(ErrorCode.NOT_FOUND))


async def _refuse_unexpected(request: Request, _: Exception) -> Response:
    return await _refuse(request, Refusal(ErrorCode.INTERNAL_ERROR))


async def _body(request: Request) -> bytes:
    """The whole body, bounded. Raises Refusal."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refusal(ErrorCode.INVALID_REQUEST, ("the body's length",))
    except ClientDisconnect:
        pass
    else:
        return bytes(body)
    raise Refusal(ErrorCode.INVALID_REQUEST, ("the body's length",))


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise Refusal(ErrorCode.IDEMPOTENCY_KEY_REQUIRED)
    return key


def _outcome(form: bytes) -> bool | None:
    """Whether the shopper approved, or None for anything but one known outcome."""
    try:
        outcomes = parse_qs(form.decode("ascii"), max_num_fields=8).get("outcome", [])
    except ValueError:
        return None
    return _OUTCOMES.get(outcomes[0]) if len(outcomes) == 1 else None


class _Endpoints:
    """One method for each route."""

    def __init__(self, ports: Ports, charges: Charges, faults: Faults, pages: Pages) -> None:
        self._ports = ports
        self._store = ports.store
        self._charges = charges
        self._faults = faults
        self._pages = pages

    def routes(self) -> list[Route]:
        """The API behind the key, then the pages, which a shopper's browser opens without one."""
        keyed = self._keyed
        return [
            Route("/v1/charges", keyed(self.create_charge), methods=["POST"]),
            Route("/v1/charges", keyed(self.list_charges), methods=["GET"]),
            Route("/v1/charges/{charge_id}", keyed(self.read_charge), methods=["GET"]),
            Route("/sandbox/charges", keyed(self.count_charges), methods=["GET"]),
            Route("/sandbox/faults", keyed(self.add_fault), methods=["POST"]),
            Route("/sandbox/faults", keyed(self.clear_faults), methods=["DELETE"]),
            Route("/sandbox/reset", keyed(self.reset), methods=["POST"]),
            Route("/health", self.health),
            Route("/", self.index),
            Route("/acs/{challenge_id}", self.show_challenge, methods=["GET"]),
            Route("/acs/{challenge_id}", self.end_challenge, methods=["POST"]),
            Route("/static/{name}", self.static_file),
        ]

    def _keyed(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint, for callers with the API key only. Raises Refusal before anything of the request is read."""

        async def guarded(request: Request) -> Response:
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            known = hmac.compare_digest(key.strip().encode(), self._ports.api_key)
            if scheme.lower() != "bearer" or not known:
                raise Refusal(ErrorCode.UNAUTHENTICATED)
            return await endpoint(request)

        guarded.__name__ = endpoint.__name__
        return guarded

    async def create_charge(self, request: Request) -> Response:
        """``POST /v1/charges``."""
        key = _idempotency_key(request)
        order = read_charge(await _body(request), self._store.fingerprint_key)
        fault = self._faults.take(Operation.CREATE)
        reply = await self._charges.create(key, order, fault, request.receive)
        if reply is None:
            return NoReply()
        response = Response(reply.text, media_type="application/json")
        if reply.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    async def read_charge(self, request: Request) -> Response:
        """``GET /v1/charges/{id}``."""

        def read() -> dict[str, Any]:
            charge = self._store.charge(request.path_params["charge_id"])
            if charge is None:
                raise Refusal(ErrorCode.NOT_FOUND)
            return self._shown(charge)

        return await self._answer_query(read)

    async def list_charges(self, request: Request) -> Response:
        """``GET /v1/charges?reference=…``: an empty list says that no charge with this reference was made."""
        reference = request.query_params.get("reference", "")
        if not reference or holds_card_number(reference):
            raise Refusal(ErrorCode.INVALID_REQUEST, ("reference",))

        def read() -> dict[str, Any]:
            found = [self._shown(charge) for charge in self._store.charges_of(reference)]
            return {"object": "list", "charges": found, "sandbox": True}

        return await self._answer_query(read)

    async def _answer_query(self, read: Callable[[], dict[str, Any]]) -> Response:
        fault = self._faults.take(Operation.QUERY)
        if not await self._faults.before(fault):
            return NoReply()
        content = read()
        return _json(content) if await self._faults.after(fault) else NoReply()

    def _shown(self, charge: Charge) -> dict[str, Any]:
        return charge_object(charge, self._ports.public_url)

    async def count_charges(self, _: Request) -> Response:
        """``GET /sandbox/charges``: every charge there is, for tests that count effects."""
        shown = ("id", "reference", "status", "amount_minor", "currency")
        charges = [
            {**{name: getattr(charge, name) for name in shown}, "last4": charge.last4}
            for charge in self._store.all_charges()
        ]
        return _json({"object": "list", "count": len(charges), "charges": charges, "sandbox": True})

    async def add_fault(self, request: Request) -> Response:
        """``POST /sandbox/faults``."""
        self._faults.add(read_fault(await _body(request)))
        return self._fault_count()

    async def clear_faults(self, _: Request) -> Response:
        """``DELETE /sandbox/faults``."""
        self._faults.clear()
        return self._fault_count()

    def _fault_count(self) -> Response:
        return _json({"object": "faults", "pending": self._faults.pending(), "sandbox": True})

    async def reset(self, _: Request) -> Response:
        """``POST /sandbox/reset``: no charges, no answers, no events, no faults."""
        self._store.reset()
        self._faults.clear()
        return _json({"object": "reset", "sandbox": True})

    async def health(self, _: Request) -> Response:
        """``GET /health``."""
        return _json({"status": "ok", "sandbox": True})

    async def index(self, _: Request) -> Response:
        """``GET /``: the list of test cards."""
        return _page(self._pages.index())

    async def show_challenge(self, request: Request) -> Response:
        """``GET /acs/{challenge_id}``: whoever has the address is taken for the shopper."""
        charge = self._store.charge_of_challenge(request.path_params["challenge_id"])
        if charge is None:
            return self._no_challenge()
        return _page(self._pages.challenge(charge), form_target=charge.return_url)

    async def end_challenge(self, request: Request) -> Response:
        """``POST /acs/{challenge_id}`` with ``outcome=approve|fail``; sent twice, the first outcome stands."""
        charge = self._store.charge_of_challenge(request.path_params["challenge_id"])
        if charge is None:
            return self._no_challenge()
        approved = _outcome(await _body(request))
        if approved is None:
            text = self._pages.problem("That was not an answer", "Go back and choose one of the two buttons.")
            return _page(text, 422)
        ended = self._charges.end_challenge(charge, approved=approved)
        return RedirectResponse(return_address(ended), 303)

    def _no_challenge(self) -> Response:
        advice = "The link may be incomplete, or the sandbox was reset. Go back to the shop and pay again."
        return _page(self._pages.problem("No such authentication", advice), 404)

    async def static_file(self, request: Request) -> Response:
        """``GET /static/{name}``: the style sheet and the icon."""
        name = request.path_params["name"]
        if name not in _STATIC_FILES:
            raise Refusal(ErrorCode.NOT_FOUND)
        return FileResponse(TEMPLATES / name, media_type=_STATIC_FILES[name])


def _page(text: str, status: int = 200, form_target: str = "") -> Response:
    return HTMLResponse(text, status, {"Content-Security-Policy": page_policy(form_target)})
