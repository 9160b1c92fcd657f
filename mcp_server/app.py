"""The MCP process as an ASGI program: ``/{brand}/mcp``, one SDK server for each brand and profile, behind our own door.

What holds for a request that reaches the SDK:
 1. It is a POST with a bounded body; the open-ended GET stream of old sessions is not served.
 2. It holds no card-like text, alone or with what the same client sent just before (I2).
 3. Its host and origin are ours; what it presents is right and enough for the tool that it calls (bearer.py).
 4. Header values carry no surrounding blanks, which some HTTP parsers leave there (RFC 9110, 5.5).
 5. What a client of the handshake era declared comes back with it, whichever process it reaches (sessions.py).
 6. Its client has not called too often, nor with too much (commerce_api/rate_limit.py); this is looked at first, so that
    refusals have their limit too.
And for what the SDK answers: its errors are a closed set (closed_errors.py).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import structlog
from mcp.server.transport_security import TransportSecuritySettings
from sqlalchemy.exc import SQLAlchemyError

from audit.transaction import DatabaseBusy
from commerce_api.app import conversation_of, refusal_recorder
from commerce_api.brands import Brand, all_brands
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.rate_limit import HEALTH, FromClient, RateLimited
from commerce_api.rates import Rates, client_of
from commerce_api.runtime import Commerce
from mcp_server import a2a, sessions
from mcp_server.bearer import STATE, Door, Refused, presented
from mcp_server.brand_server import make_brand_server
from mcp_server.call_record import CallRecorder
from mcp_server.closed_errors import ClosedErrors
from mcp_server.front import Front, send_answer
from mcp_server.handoff import MODERN
from mcp_server.metadata import metadata, resource_named
from mcp_server.profiles import AGENT_ENDPOINT, Profile, door_of
from mcp_server.results import refusal_as_json, told_id
from tokenization.clock import monotonic_seconds
from tokenization.edge import (
    CARD_TEXT_CODE,
    CARD_TEXT_MESSAGE,
    Answer,
    App,
    BodyRefused,
    CardGuard,
    Contained,
    Message,
    Receive,
    Scope,
    Send,
    error_body,
    header,
    read_body,
    replay,
    send_json,
)
from tokenization.logs import cause_of

BODY_BYTES = 64 * 1024
BRAND_SECONDS = 1.0
INVALID_PARAMS = -32602  # JSON-RPC 2.0
TOO_MANY = -32000  # -32000 to -32019 are left to implementations
log = structlog.get_logger("mcp_server")


@dataclass(slots=True)
class _Running:
    """A brand's SDK application, what stands before it, and the task that keeps its session manager open."""

    app: App
    front: Front
    stop: asyncio.Event
    task: "asyncio.Task[None]"


class BrandEndpoints:
    """Serves every brand's endpoint; a brand added while it runs is served from its first request on."""

    def __init__(self, commerce: Commerce, state_keys: list[bytes], rates: Rates | None = None) -> None:
        """``rates`` is what the processes of a machine share; without it this one counts by itself."""
        self._commerce = commerce
        self._state_keys = state_keys
        self.rates = rates if rates is not None else Rates(monotonic_seconds, presented)
        self._recorder = CallRecorder(commerce.database)
        self.door = Door(commerce)
        self._agent = a2a.Agent(commerce, self._recorder, _transport_security(commerce.settings.mcp_url))
        self._running: dict[tuple[str, str, bool], _Running] = {}
        self._brands: dict[str, tuple[Brand, float]] = {}  # there are only so many: one that is not there is not kept
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            return None
        parts = scope["path"].strip("/").split("/")
        if scope["path"] == HEALTH:
            return await send_json(send, (200, {"status": "ok"}))
        if ".well-known" in parts[:2]:
            of_agent = parts[1:] == a2a.CARD and scope["method"] in ("GET", "HEAD")
            return await (self._send_card(parts[0], send) if of_agent else self._send_metadata(scope, parts, send))
        is_a2a = parts[1:] == [AGENT_ENDPOINT]
        named = door_of(scope["path"])
        if named is None:
            return await send_json(send, (404, error_body("not_found", "An endpoint is /BRAND/mcp.")))
        if scope["method"] != "POST":  # (1)
            refused = error_body("method_not_allowed", "This endpoint is stateless: it takes POST only.")
            return await send_json(send, (405, refused), ((b"allow", b"POST"),))
        try:
            brand = await self._brand(named[0])
        except CommerceRefusal as refusal:
            return await send_json(send, (404, error_body(refusal.kind.code, refusal.kind.message)))
        except (DatabaseBusy, SQLAlchemyError, OSError) as failure:  # OSError: PostgreSQL is not there
            return await _send_busy(send, failure)
        try:
            body = await read_body(receive, BODY_BYTES)
            access = await self.door.admit(scope, brand, body, named[1])  # (3)
            self.rates.found(scope, right=True)
        except BodyRefused as refused:
            return await send_json(send, refused.answer)
        except Refused as refused:
            self.rates.found(scope, right=refused.is_known)
            return await send_json(send, refused.answer, refused.headers)
        except (DatabaseBusy, SQLAlchemyError, OSError) as failure:  # OSError: PostgreSQL is not there
            return await _send_busy(send, failure)
        if is_a2a:
            sent = a2a.Sent(scope, brand, access, client_of(scope, self.rates.limits.trusted), body)
            return await send_json(send, await self._agent.answer(sent))
        running = await self._server_of(brand, named[1])
        entered = {**_as_sdk_expects(scope), STATE: access}
        answer = await running.front.answer(entered, access, body)
        if answer is not None:
            return await send_answer(send, answer)
        return await _with_session(running.app, entered, replay(body, receive), send)

    async def close(self) -> None:
        """Ends every brand's session manager."""
        for running in self._running.values():
            running.stop.set()
        await asyncio.gather(*(running.task for running in self._running.values()), return_exceptions=True)
        await self._recorder.close()
        await self.door.close()
        self.rates.close()

    async def _send_metadata(self, scope: Scope, parts: list[str], send: Send) -> None:
        """RFC 9728, for a brand's endpoint or for a host with one brand."""
        try:
            brands = await self._commerce.database.read(all_brands)
        except (DatabaseBusy, SQLAlchemyError, OSError) as failure:  # OSError: PostgreSQL is not there
            return await _send_busy(send, failure)
        known = {brand.id: brand for brand in brands}
        named = resource_named(parts, list(known))
        if named is None or scope["method"] not in ("GET", "HEAD"):
            return await send_json(send, (404, error_body("not_found", "An endpoint is /BRAND/mcp.")))
        brand, profile = named
        found = metadata(known[brand], self._commerce.links, self.door.issuer(brand), profile)
        return await send_json(send, (200, found))

    async def _send_card(self, identifier: str, send: Send) -> None:
        """Who a brand's agent is, to other agents (a2a.py)."""
        try:
            brand = await self._brand(identifier)
        except CommerceRefusal as refusal:
            return await send_json(send, (404, error_body(refusal.kind.code, refusal.kind.message)))
        except (DatabaseBusy, SQLAlchemyError, OSError) as failure:  # OSError: PostgreSQL is not there
            return await _send_busy(send, failure)
        return await send_json(send, (200, a2a.agent_card(brand, self._commerce.links)))

    async def _brand(self, identifier: str) -> Brand:
        """The brand, as it was at most BRAND_SECONDS ago: a key that was taken back opens nothing for longer."""
        now_seconds = monotonic_seconds()
        known = self._brands.get(identifier)
        if known is None or known[1] <= now_seconds:
            known = (await self._commerce.desk.brand(identifier), now_seconds + BRAND_SECONDS)
            self._brands[identifier] = known
        return known[0]

    async def _server_of(self, brand: Brand, profile: Profile) -> _Running:
        has_sheet = profile.has_sheet and has_chatgpt_sheet(brand)
        key = (brand.id, profile.name, has_sheet)
        async with self._starting:
            if key not in self._running:
                self._running[key] = await self._start(brand, replace(profile, has_sheet=has_sheet))
            return self._running[key]

    async def _start(self, brand: Brand, profile: Profile) -> _Running:
        server = make_brand_server(self._commerce, brand, profile, self._state_keys, self._recorder, self.rates.limits)
        server.guest_checkout = self.door.authorization.of(brand.id).guest_checkout
        security = _transport_security(self._commerce.settings.mcp_url)
        app = server.streamable_http_app(
            streamable_http_path="/mcp",
            stateless_http=True,
            max_request_body_size=BODY_BYTES,
            transport_security=security,
        )
        ready, stop = asyncio.Event(), asyncio.Event()

        async def keep_open() -> None:
            async with server.session_manager.run():
                ready.set()
                await stop.wait()

        task = asyncio.create_task(keep_open())
        task.add_done_callback(lambda _: ready.set())  # one that fails to start must not be waited for
        await ready.wait()
        if task.done():
            await task
        closed = ClosedErrors(app)
        return _Running(closed, Front(closed, server, security), stop, task)


async def _send_busy(send: Send, failure: BaseException) -> None:
    log.error("database_failed", cause=cause_of(failure))
    return await send_json(send, (503, error_body(CommerceError.BUSY.code, CommerceError.BUSY.message)))


def mcp_app(commerce: Commerce, endpoints: BrandEndpoints) -> App:
    """The endpoints behind the rate limit (6) and the card guard (2)."""
    guarded = CardGuard(
        endpoints,
        maximum_bytes=BODY_BYTES,
        monotonic_seconds=monotonic_seconds,
        refuse=refuse_as_json_rpc,
        conversation=conversation_of,
        on_refusal=_recorder(commerce),
    )
    limited = RateLimited(guarded, endpoints.rates, maximum_bytes=lambda _: BODY_BYTES, refuse=refuse_for_rate)
    return Contained(FromClient(limited, endpoints.rates.limits.trusted))


def refuse_as_json_rpc(scope: Scope, body: bytes) -> Answer:
    """The refusal of card-like text as the protocol has it."""
    return _refuse(body, (422, 200), INVALID_PARAMS, CARD_TEXT_CODE, CARD_TEXT_MESSAGE)


def refuse_for_rate(body: bytes, wait_seconds: int) -> Answer:
    """The refusal of a call too many, with when to come back."""
    kind = CommerceError.RATE_LIMITED
    statuses = (kind.status, kind.status)
    return _refuse(body, statuses, TOO_MANY, kind.code, kind.message, retry_after_seconds=wait_seconds)


def _refuse(body: bytes, statuses: tuple[int, int], number: int, code: str, message: str, **extra: object) -> Answer:
    """For a tool call a result that the model reads, else an error of the protocol, else of HTTP.

    ``statuses`` are the HTTP statuses of the last two, ``number`` is JSON-RPC's code.
    """
    plain, framed = statuses
    try:
        request = json.loads(body)
        _, method = request["id"], request["method"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return plain, {**error_body(code, message), **extra}
    request_id = told_id(body)
    if method == "tools/call":
        result = {**refusal_as_json(code, message, **extra), "resultType": "complete"}
        return 200, {"jsonrpc": "2.0", "id": request_id, "result": result}
    failure = {"code": number, "message": message}
    return framed, {"jsonrpc": "2.0", "id": request_id, "error": failure}


def _recorder(commerce: Commerce) -> Callable[[Scope], Awaitable[None]]:
    recorder: Callable[[Scope], Awaitable[None]] = refusal_recorder(commerce, "mcp")
    return recorder


def _as_sdk_expects(scope: Scope) -> Scope:
    """The path without the brand, and header values without blanks around them (4)."""
    headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
    return {**scope, "path": "/mcp", "raw_path": b"/mcp", "headers": headers}


async def _with_session(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Gives a session id to a client of the handshake era that introduces itself (5); passes everything else on."""
    version = header(scope, b"mcp-protocol-version")
    if (version is not None and version >= MODERN) or header(scope, sessions.HEADER.encode()) is not None:
        return await app(scope, receive, send)
    try:
        body = await read_body(receive, BODY_BYTES)
    except BodyRefused as refused:
        return await send_json(send, refused.answer)
    session = sessions.session_for(body)

    async def named(message: Message) -> None:
        if session is not None and message["type"] == "http.response.start":
            added = (sessions.HEADER.encode(), session.encode())
            message = {**message, "headers": [*message.get("headers", ()), added]}
        await send(message)

    return await app(scope, replay(body, receive), named)


def has_chatgpt_sheet(brand: Brand) -> bool:
    """Whether the brand's policy takes part in the payment sheet."""
    payments = brand.policy.assistant_payments
    return payments is not None and payments.chatgpt_sheet is not None


def _transport_security(mcp_url: str | None) -> TransportSecuritySettings:
    """Only our own host may be named, against DNS rebinding; on loopback under any of its names."""
    parts = urlsplit(mcp_url or "http://127.0.0.1")
    hosts = [parts.netloc]
    if parts.hostname in ("127.0.0.1", "localhost"):
        hosts += ["127.0.0.1:*", "localhost:*", "[::1]:*"]
    origins = [f"{parts.scheme}://{host}" for host in hosts]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)
