"""Calls of the catalogue's tools, answered without the SDK's stream, tasks and contexts: most calls are of this kind.

What holds for a call that is answered here:
 1. The SDK's own functions take its headers: host, origin, content type, accepted types. Each stands there once.
 2. It is one ``tools/call`` of 2026-07-28 with nothing in it but id, name, plain arguments, and in ``_meta`` what the client is
    and can do, which the SDK's own models take. The headers that name method and tool say what the body says.
 3. The tool only reads, and asks nothing of the protocol: no progress, no address to open, no argument in a header.
 4. The tool is called as the SDK calls it (brand_server.py): same scopes, checks, refusals, record.
 5. The answer is what the SDK makes of the same result.
Everything else is the SDK's to answer, and to refuse. Where traces are taken everything is: its spans are the only ones.
"""

import json
from typing import Any, Final, NamedTuple, TypeVar, cast

from mcp.server.connection import Connection
from mcp.server.mcpserver.tools import Tool
from mcp.server.runner import ServerRunner
from mcp.server.streamable_http import check_accept_headers
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp_types import CallToolRequestParams, JSONRPCRequest
from mcp_types.methods import validate_client_request
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from pydantic import ValidationError
from starlette.requests import Request

from mcp_server.bearer import Access
from mcp_server.brand_server import Asking, BrandServer
from mcp_server.handoff import MODERN
from mcp_server.rates import client_of
from tokenization.edge import Scope, Send

CALL: Final = "tools/call"
_CHECKED: Final = frozenset({b"host", b"origin", b"content-type", b"accept"})  # (1)
_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})  # (2)
_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS: Final = frozenset({"name", "arguments", "_meta"})
_META_PREFIX: Final = "io.modelcontextprotocol/"
_META: Final = frozenset(_META_PREFIX + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))
_PARAM_HEADER: Final = b"mcp-param-"
_LARGEST_ID: Final = 2**53
_REMEMBERED: Final = 256  # sets of headers, and clients, that the SDK took
_LONGEST: Final = 2_000  # characters of one
_Headers = dict[bytes, bytes]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Call(NamedTuple):
    """A call of the known form. ``meta`` is the text of what the client says of itself."""

    id: int | str
    params: dict[str, Any]
    meta: str


class Front:
    """Stands before one brand's SDK application."""

    def __init__(self, server: BrandServer, security: TransportSecuritySettings) -> None:
        self._server = server
        self._security = TransportSecurityMiddleware(security)
        self._tools = {tool.name: tool for tool in server._tool_manager.list_tools() if may_be_fronted(tool)}  # (3)
        self._taken: dict[tuple[bytes | None, ...], None] = {}
        self._clients: dict[str, str | None] = {}
        self._runner = ServerRunner(
            server._lowlevel_server, cast(Connection, None), None
        )  # its form of results needs no more

    async def answer(self, scope: Scope, access: Access, body: bytes) -> bytes | None:
        """The whole answer, or None where the SDK is to give it. ``scope`` is as the SDK would get it."""
        if type(get_tracer_provider()) is not ProxyTracerProvider:
            return None
        headers = _headers(scope)
        call = _call(body)
        if headers is None or call is None:
            return None
        tool = self._tools.get(call.params["name"])
        if tool is None or not _are_named(headers, tool) or not await self._are_taken(headers):
            return None
        if call.meta not in self._clients and not self._knows(call, headers):
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

    async def _are_taken(self, headers: _Headers) -> bool:
        """(1)"""
        given = tuple(headers.get(name) for name in sorted(_CHECKED))
        if given in self._taken:
            return True
        pairs = [(name, headers[name]) for name in _CHECKED if name in headers]
        request = Request({"type": "http", "method": "POST", "headers": pairs})
        if await self._security.validate_request(request, is_post=True) or check_accept_headers(request) != (
            True,
            True,
        ):
            return False
        if sum(map(len, filter(None, given))) <= _LONGEST:
            _remember(self._taken, given, None)
        return True

    def _knows(self, call: "_Call", headers: _Headers) -> bool:
        """Whether the SDK takes what the client says of itself (2); remembers what it is called."""
        request = {"jsonrpc": "2.0", "id": call.id, "method": CALL, "params": call.params}
        try:
            JSONRPCRequest.model_validate(request)
            validate_client_request(CALL, MODERN, call.params)
            CallToolRequestParams.model_validate(call.params, by_name=False)
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
    """The call, if it is wholly of the known form (2)."""
    try:
        request = json.loads(body)
        if not isinstance(request, dict) or request.keys() != _REQUEST:
            return None
        request_id, params = request["id"], request["params"]
        if (
            request["jsonrpc"] != "2.0"
            or request["method"] != CALL
            or not _is_id(request_id)
            or not _are_params(params)
        ):
            return None
        return _Call(request_id, params, json.dumps(params["_meta"]))
    except (ValueError, RecursionError):
        return None


def _is_id(request_id: object) -> bool:
    return isinstance(request_id, str) or (type(request_id) is int and abs(request_id) <= _LARGEST_ID)


def _are_params(params: object) -> bool:
    if not isinstance(params, dict) or params.keys() != _PARAMS or not isinstance(params["name"], str):
        return False
    arguments, meta = params["arguments"], params["_meta"]
    if not isinstance(arguments, dict) or not isinstance(meta, dict):
        return False
    return meta.keys() <= _META and all(map(_is_plain, arguments.values()))


def _is_plain(value: object) -> bool:
    """Whether an argument holds nothing that holds something."""
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(each, list | dict) for each in values)


def _are_named(headers: _Headers, tool: Tool) -> bool:
    """Whether the routing headers say what the body says (2)."""
    return headers.get(b"mcp-method") == CALL.encode() and headers.get(b"mcp-name") == tool.name.encode()


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keeps one more; empties a memory that is full."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
