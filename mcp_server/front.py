"""Calls of the catalogue's tools and the list of tools, answered without the SDK's stream, tasks and contexts: most requests.

What holds for a request that is answered here:
 1. The SDK's own functions take its headers: host, origin, content type, accepted types. Each stands there once.
 2. It is one ``tools/call`` or ``tools/list`` of 2026-07-28 with nothing in it but id, name, plain arguments, and in ``_meta``
    what the client is and can do, which the SDK's own models take. The headers that name method and tool say the same.
 3. A tool that is called only reads, and asks nothing of the protocol: progress, an address to open, an argument in a header.
 4. The tool is called as the SDK calls it (brand_server.py): same scopes, checks, refusals, record.
 5. The answer is what the SDK makes of the same result. A list is the SDK's own answer to who can and may do the same.
Everything else is the SDK's to answer, and to refuse. Where traces are taken everything is: its spans are the only ones.
"""

import asyncio
import json
from typing import Any, Final, NamedTuple, TypeVar, cast

from mcp.server.connection import Connection
from mcp.server.mcpserver.tools import Tool
from mcp.server.runner import ServerRunner
from mcp.server.streamable_http import check_accept_headers
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp_types import CallToolRequestParams, JSONRPCRequest, PaginatedRequestParams
from mcp_types.methods import validate_client_request
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from pydantic import ValidationError
from starlette.requests import Request

from commerce_api.rates import client_of
from mcp_server.bearer import Access
from mcp_server.brand_server import Asking, BrandServer
from mcp_server.handoff import MODERN
from tokenization.edge import App, Message, Scope, Send, replay

CALL: Final = "tools/call"
LIST: Final = "tools/list"
_CHECKED: Final = frozenset({b"host", b"origin", b"content-type", b"accept"})  # (1)
_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})  # (2)
_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS: Final = {CALL: frozenset({"name", "arguments", "_meta"}), LIST: frozenset({"_meta"})}
_META_PREFIX: Final = "io.modelcontextprotocol/"
_META: Final = frozenset(_META_PREFIX + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))
_PARAM_HEADER: Final = b"mcp-param-"
_LARGEST_ID: Final = 2**53
_REMEMBERED: Final = 256  # sets of headers, and clients, that the SDK took
_LONGEST: Final = 2_000  # characters of one
_LISTS_REMEMBERED: Final = 16  # some 80 KB each
_Headers = dict[bytes, bytes]
_Kind = tuple[str, frozenset[str] | None]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Call(NamedTuple):
    """A request of the known form. ``meta`` is the text of what the client says of itself."""

    id: int | str
    method: str
    params: dict[str, Any]
    meta: str

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The routing headers that say the same."""
        named = {b"mcp-name": self.params["name"].encode("utf-8", "replace")} if self.method == CALL else {}
        return {b"mcp-protocol-version": MODERN.encode(), b"mcp-method": self.method.encode(), **named}


class Front:
    """Stands before one brand's SDK application."""

    def __init__(self, app: App, server: BrandServer, security: TransportSecuritySettings) -> None:
        self._app = app
        self._server = server
        self._security = TransportSecurityMiddleware(security)
        self._tools = {tool.name: tool for tool in server._tool_manager.list_tools() if may_be_fronted(tool)}  # (3)
        self._taken: dict[tuple[bytes | None, ...], None] = {}
        self._clients: dict[str, str | None] = {}
        self._lists: dict[_Kind, bytes] = {}
        # All that its form of results asks for.
        self._runner = ServerRunner(server._lowlevel_server, cast(Connection, None), None)

    async def answer(self, scope: Scope, access: Access, body: bytes) -> bytes | None:
        """The whole answer, or None where the SDK is to give it. ``scope`` is as the SDK would get it."""
        if type(get_tracer_provider()) is not ProxyTracerProvider:
            return None
        headers = _headers(scope)
        call = _call(body)
        if headers is None or call is None:
            return None
        if not _are_named(headers, call) or not await self._are_taken(headers):
            return None
        if call.meta not in self._clients and not self._knows(call, headers):
            return None
        if call.method == LIST:
            return await self._listed(call, scope, access, body)
        tool = self._tools.get(call.params["name"])
        if tool is None:
            return None
        asking = Asking(
            access=access,
            client=client_of(scope, self._server.limits.trusted),
            software=self._clients[call.meta] or headers.get(b"user-agent", b"").decode("latin-1"),
            protocol=MODERN,
        )
        outcome = await self._server.call_recorded(tool, call.params["arguments"], asking, None)  # (4)
        result = self._runner._serialize(CALL, MODERN, outcome)  # (5)
        return json.dumps({"jsonrpc": "2.0", "id": call.id, "result": result}, separators=(",", ":")).encode()

    async def _listed(self, call: _Call, scope: Scope, access: Access, body: bytes) -> bytes | None:
        """The list of tools; the SDK is asked once for each kind of client."""
        start = f'{{"jsonrpc":"2.0","id":{json.dumps(call.id)},"result":'.encode()
        kind = _kind(call, access)
        if kind not in self._lists:
            sent: list[Message] = []

            async def kept(message: Message) -> None:
                sent.append(message)

            await self._app(dict(scope), replay(body, _nothing_more), kept)
            whole = b"".join(message.get("body", b"") for message in sent)
            if not sent or sent[0].get("status") != 200 or not whole.startswith(start):
                return None
            _remember(self._lists, kind, whole[len(start) :], _LISTS_REMEMBERED)
        return start + self._lists[kind]

    async def _are_taken(self, headers: _Headers) -> bool:
        """(1)"""
        given = tuple(headers.get(name) for name in sorted(_CHECKED))
        if given in self._taken:
            return True
        pairs = [(name, headers[name]) for name in _CHECKED if name in headers]
        request = Request({"type": "http", "method": "POST", "headers": pairs})
        accepts_both = check_accept_headers(request) == (True, True)
        if not accepts_both or await self._security.validate_request(request, is_post=True) is not None:
            return False
        if sum(map(len, filter(None, given))) <= _LONGEST:
            _remember(self._taken, given, None)
        return True

    def _knows(self, call: "_Call", headers: _Headers) -> bool:
        """Whether the SDK takes what the client says of itself (2); remembers what it is called."""
        request = {"jsonrpc": "2.0", "id": call.id, "method": call.method, "params": call.params}
        try:
            JSONRPCRequest.model_validate(request)
            validate_client_request(call.method, MODERN, call.params)
            (CallToolRequestParams if call.method == CALL else PaginatedRequestParams).model_validate(
                call.params, by_name=False
            )
        except ValidationError:
            return False
        names = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        route = classify_inbound_request(request, headers=names)
        if len(call.meta) > _LONGEST or not isinstance(route, InboundModernRoute):
            return False
        declared = Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities
        ).client_params
        named = declared.client_info if declared else None
        _remember(self._clients, call.meta, None if named is None else f"{named.name} {named.version}")
        return True


def may_be_fronted(tool: Tool) -> bool:
    """Whether a tool only reads and asks nothing of the protocol (3)."""
    reads = tool.annotations is not None and tool.annotations.read_only_hint
    alone = tool.context_kwarg is None and not tool.resolved_params
    return bool(reads) and alone and "x-mcp-header" not in json.dumps(tool.parameters)


async def send_answer(send: Send, body: bytes) -> None:
    """Sends a whole answer as the SDK's does."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> _Headers | None:
    """The headers by name, or None where one that counts stands there twice, or carries an argument."""
    found: _Headers = {}
    for name, value in scope["headers"]:
        if name.startswith(_PARAM_HEADER) or (name in found and (name in _CHECKED or name in _ROUTING)):
            return None
        found.setdefault(name, value)
    return found if found.get(b"mcp-protocol-version") == MODERN.encode() else None


def _call(body: bytes) -> _Call | None:
    """The request, if it is wholly of the known form (2)."""
    try:
        request = json.loads(body)
        if not isinstance(request, dict) or request.keys() != _REQUEST:
            return None
        request_id, method, params = request["id"], request["method"], request["params"]
        if request["jsonrpc"] != "2.0" or not _is_id(request_id) or not _are_params(method, params):
            return None
        return _Call(request_id, method, params, json.dumps(params["_meta"]))
    except (ValueError, RecursionError):
        return None


def _is_id(request_id: object) -> bool:
    return isinstance(request_id, str) or (type(request_id) is int and abs(request_id) <= _LARGEST_ID)


def _are_params(method: object, params: object) -> bool:
    if not isinstance(params, dict) or method not in (CALL, LIST) or params.keys() != _PARAMS[str(method)]:
        return False
    meta, arguments = params["_meta"], params.get("arguments", {})
    if not isinstance(meta, dict) or not meta.keys() <= _META or not isinstance(params.get("name", ""), str):
        return False
    return isinstance(arguments, dict) and all(map(_is_plain, arguments.values()))


def _kind(call: _Call, access: Access) -> _Kind:
    """What the list may depend on: what the client can do, and what who calls may do; guests and the brand's agent see all."""
    can = json.dumps(call.params["_meta"].get(_META_PREFIX + "clientCapabilities"))
    return can, None if access.is_guest else access.scopes


def _is_plain(value: object) -> bool:
    """Whether an argument holds nothing that holds something."""
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(each, list | dict) for each in values)


def _are_named(headers: _Headers, call: _Call) -> bool:
    """Whether the routing headers say what the body says (2)."""
    return {name: value for name, value in headers.items() if name in _ROUTING} == call.headers


async def _nothing_more() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value, most: int = _REMEMBERED) -> None:
    """Keeps one more; empties a memory that is full."""
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
