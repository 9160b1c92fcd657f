"""What the SDK leaves open at the door: the stream that a GET holds, and metadata at the host's root only for its own path."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest

from mcp_server import app, metadata
from mcp_server.brand_server import ListOnce
from mcp_server.profiles import OPEN
from tests.commerce_api.world import MCP_URL
from tests.mcp_server.serving import LEGACY_HEADERS, Site, call_body, post, serving

pytestmark = pytest.mark.anyio
ROOT = "/.well-known/oauth-protected-resource"


async def get(site: Site, path: str) -> httpx.Response:
    """A GET of the host."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
        return await http.get(site.url + path)


async def test_an_endpoint_says_what_it_is_at_its_path_and_alone_on_a_host_at_the_root(own_site: Site) -> None:
    brand = own_site.world.brand
    at_path, at_root = await get(own_site, f"{ROOT}/{brand}/mcp"), await get(own_site, ROOT)
    assert at_path.status_code == at_root.status_code == 200
    assert at_path.json() == at_root.json()
    assert at_root.json()["resource"] == f"{MCP_URL}/{brand}/mcp"
    assert at_root.json()["bearer_methods_supported"] == ["header"]


async def test_a_host_with_two_brands_names_neither_at_its_root(own_site: Site) -> None:
    other = await own_site.world.add_brand("Salt Shed")
    assert (await get(own_site, ROOT)).status_code == 404
    assert (await get(own_site, f"{ROOT}/{other}/mcp")).json()["resource"].endswith("/salt-shed/mcp")


@pytest.mark.parametrize("path", ["/nobody/mcp", "/harbour-pine", "/harbour-pine/mcp/x", "/../mcp"])
async def test_what_is_no_endpoint_has_no_metadata(site: Site, path: str) -> None:
    assert (await get(site, ROOT + path)).status_code == 404
    assert (await get(site, "/.well-known/openid-configuration")).status_code == 404


async def test_a_refused_key_is_answered_with_the_address_of_the_metadata(site: Site) -> None:
    answer = await post(site.endpoint(), call_body("search_catalog"), authorization="Bearer wrong")
    assert answer.status_code == 401
    named = f'resource_metadata="{MCP_URL}{ROOT}/{site.world.brand}/mcp"'
    assert named in answer.headers["www-authenticate"]


async def test_planted_fault_metadata_at_its_path_only_leaves_the_root_without(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the SDK does it."""
    named = metadata.resource_named
    monkeypatch.setattr(app, "resource_named", lambda parts, brands: named(parts, brands) if len(parts) > 2 else None)
    assert (await get(own_site, ROOT)).status_code == 404
    assert (await get(own_site, f"{ROOT}/{own_site.world.brand}/mcp")).status_code == 200


async def test_planted_fault_behind_the_door_a_get_is_held_open_for_ever(site: Site) -> None:
    """The SDK without sessions answers 200 and an event stream that nobody will ever write to; the door answers 405."""
    known = await site.world.desk.brand(site.world.brand)
    running = await site.endpoints._server_of(known, OPEN)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(running.app))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, verify=False, timeout=30))
        request = http.stream("GET", f"{url}/mcp", headers={"accept": "text/event-stream"})
        answer = await stack.enter_async_context(request)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await answer.aread()
    assert (await get(site, f"/{site.world.brand}/mcp")).status_code == 405


async def test_planted_fault_a_list_that_is_not_kept_is_built_for_every_asker(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def forgetful(self: ListOnce, ctx: object, call_next: object) -> object:
        asked.append(1)
        return await call_next(ctx)  # type: ignore[operator]

    built: list[int] = []
    from mcp.server.mcpserver import MCPServer

    build = MCPServer.list_tools

    async def counted(self: "MCPServer[object]") -> object:
        built.append(1)
        return await build(self)

    monkeypatch.setattr(MCPServer, "list_tools", counted)
    monkeypatch.setattr(ListOnce, "__call__", forgetful)
    listed = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    for _ in range(3):  # in the handshake era, whose lists the front does not keep
        await post(own_site.endpoint(), listed, LEGACY_HEADERS)
    assert len(built) == len(asked) == 3
