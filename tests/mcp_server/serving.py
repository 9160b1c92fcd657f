"""The MCP server on a loopback port, and clients of it: the official one, and raw HTTP for what that one never sends."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CallToolResult,
    ClientCapabilities,
    ElicitationCapability,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    FormElicitationCapability,
)

from commerce_api.rates import Limits, Rates
from commerce_api.serve import server
from mcp_server.app import BrandEndpoints, mcp_app
from mcp_server.bearer import presented
from tests.commerce_api.world import World
from tokenization.clock import monotonic_seconds
from tokenization.edge import App

STATE_KEYS = [b"a state key for tests, shared by all of its workers"]
MODERN, LEGACY = "2026-07-28", "legacy"
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1.0.0"},
}


@dataclass
class Site:
    """A served application."""

    url: str
    world: World
    endpoints: BrandEndpoints

    def endpoint(self, brand: str | None = None) -> str:
        """A brand's endpoint."""
        return f"{self.url}/{brand or self.world.brand}/mcp"


@asynccontextmanager
async def serving(app: App, port: int = 0) -> AsyncIterator[str]:
    """Serves an application as our programs do (uvicorn, httptools) on a loopback port, a free one; gives its address."""
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    program = server(app, "127.0.0.1", port)
    task = asyncio.create_task(program.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        program.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def mcp_site(
    world: World, state_keys: list[bytes] | None = None, *, guarded: bool = True, limits: Limits | None = None
) -> AsyncIterator[Site]:
    """The MCP server over a world. Without ``guarded`` its card guard is taken off: for negative controls only.

    Without ``limits`` tests may call as often as they like.
    """
    rates = Rates(monotonic_seconds, presented, limits or Limits(1e6, 1e6))
    endpoints = BrandEndpoints(world.commerce, state_keys or STATE_KEYS, rates)
    try:
        async with serving(mcp_app(world.commerce, endpoints) if guarded else endpoints) as url:
            yield Site(url, world, endpoints)
    finally:
        await endpoints.close()


@dataclass
class Host:
    """What an assistant's host does when it is asked to open an address."""

    action: str = "accept"
    asked: list[ElicitRequestParams] = field(default_factory=list)

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params)
        return ElicitResult.model_validate({"action": self.action})

    @property
    def urls(self) -> list[str]:
        """The addresses it was asked to open."""
        return [params.url for params in self.asked if isinstance(params, ElicitRequestURLParams)]


class _FormsOnly(Client):
    """The official client in a host that shows forms and opens no addresses (as Claude Code declares itself)."""

    async def _build_session(self, exit_stack: AsyncExitStack) -> ClientSession:
        session = await super()._build_session(exit_stack)
        declared = session._build_capabilities
        forms = ElicitationCapability(form=FormElicitationCapability())

        def build(version: str) -> ClientCapabilities:
            return declared(version).model_copy(update={"elicitation": forms})

        session._build_capabilities = build  # type: ignore[method-assign]
        return session


@asynccontextmanager
async def client(
    site: Site,
    *,
    mode: str = "auto",
    host: Host | None = None,
    forms_only: bool = False,
    key: str | None = None,
    brand: str | None = None,
) -> AsyncIterator[Client]:
    """The official client, connected over HTTP. ``host`` is what opens addresses; ``key`` is an agent key."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, verify=False, timeout=30) as http:
        transport = streamable_http_client(site.endpoint(brand), http_client=http)
        kind = _FormsOnly if forms_only else Client
        async with kind(transport, mode=mode, elicitation_callback=host, cache=None) as connected:
            yield connected


LEGACY_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}


def legacy_call(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """A tools/call of 2025-11-25 as bytes."""
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def structured(answer: CallToolResult) -> dict[str, Any]:
    """A tool's structured answer."""
    content: dict[str, Any] = answer.structured_content or {}
    return content


def code_of(answer: CallToolResult) -> str | None:
    """The closed code of a refusal; None when it is no refusal."""
    code: str | None = structured(answer).get("error", {}).get("code") if answer.is_error else None
    return code


def result_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC answer in a response, be it JSON or one event of a stream."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line for line in text.splitlines() if line.startswith("data: "))[6:]
    answer: dict[str, Any] = json.loads(text)
    return answer


def call_body(tool: str, arguments: Mapping[str, Any] | None = None, *, request_id: object = 1, **params: Any) -> bytes:
    """A tools/call of 2026-07-28 as bytes."""
    return body("tools/call", request_id=request_id, name=tool, arguments=arguments or {}, **params)


def body(method: str, *, request_id: object = 1, **params: Any) -> bytes:
    """A request of 2026-07-28 as bytes."""
    params = {"_meta": MODERN_META, **params}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()


def headers_of(content: bytes) -> dict[str, str]:
    """The headers that go with a request of 2026-07-28."""
    told = json.loads(content)
    named = {"mcp-name": told["params"]["name"]} if "name" in told["params"] else {}
    return {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": told["method"],
        **named,
    }


async def post(url: str, content: bytes, headers: Mapping[str, str] | None = None, /, **more: str) -> httpx.Response:
    """POSTs a body on a connection of its own. Plain HTTP: there is nothing to verify, and loading authorities is slow."""
    given = dict(headers) if headers is not None else headers_of(content)
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        return await http.post(url, content=content, headers={**given, **more})


async def raw_exchange(url: str, request: bytes) -> bytes:
    """Sends bytes as they are and returns everything that came back until the server closed the connection."""
    port = int(url.split(":")[2].split("/", maxsplit=1)[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
