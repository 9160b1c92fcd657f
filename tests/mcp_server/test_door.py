"""What a request must be to reach the SDK: method, size, host, origin, key; and whose checkouts it then sees."""

import asyncio
from pathlib import Path

import pytest

from commerce_api.agent_desk import AgentDesk
from commerce_api.brands import Brand
from commerce_api.errors import CommerceError
from commerce_api.models import brand as brand_table
from mcp_server import app
from mcp_server.app import BODY_BYTES, BrandEndpoints
from mcp_server.profiles import OPEN
from tests.commerce_api.purchases import ready
from tests.commerce_api.world import commerce_world
from tests.mcp_server.serving import (
    STATE_KEYS,
    Site,
    body,
    call_body,
    client,
    code_of,
    headers_of,
    mcp_site,
    post,
    raw_exchange,
    result_of,
    structured,
)

pytestmark = pytest.mark.anyio


def request_of(method: str, path: str, headers: dict[str, str], content: bytes = b"") -> bytes:
    """An HTTP/1.1 request as bytes, on a connection that ends with it."""
    told = {"host": "127.0.0.1:8705", "connection": "close", "content-length": str(len(content)), **headers}
    head = "".join(f"{name}:{value}\r\n" for name, value in told.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_only_post_is_served(site: Site, method: str) -> None:
    answer = await raw_exchange(site.url, request_of(method, f"/{site.world.brand}/mcp", {}))
    assert status_of(answer) == 405
    assert b"allow: POST" in answer


@pytest.mark.parametrize("path", ["/nobody/mcp", "/harbour-pine", "/harbour-pine/mcp/more", "/mcp", "/", "*"])
async def test_what_is_no_brands_endpoint_is_not_found(site: Site, path: str) -> None:
    answer = await raw_exchange(site.url, request_of("OPTIONS" if path == "*" else "POST", path, {}, b"{}"))
    assert status_of(answer) == 404
    assert b'"error":{"code":' in answer


async def test_a_brand_added_while_it_runs_is_served(site: Site) -> None:
    brand = await site.world.add_brand("Tide Works")
    assert (await post(site.endpoint(brand), body("tools/list"))).status_code == 200


async def test_health_is_answered(site: Site) -> None:
    answer = await raw_exchange(site.url, request_of("GET", "/health", {}))
    assert status_of(answer) == 200


@pytest.mark.parametrize(("name", "value"), [("host", "rebound.example"), ("origin", "https://rebound.example")])
async def test_another_host_or_origin_is_refused(site: Site, name: str, value: str) -> None:
    content = call_body("search_catalog")
    answer = await post(site.endpoint(), content, **{name: value})
    assert answer.status_code in (403, 421)
    allowed = {"host": "localhost:8705", "origin": "http://localhost:8705"}[name]
    assert (await post(site.endpoint(), content, **{name: allowed})).status_code == 200


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Bearer ", "Basic cak_x", "", "cak_x", "Bearer \u00e9"])
async def test_a_key_that_is_presented_must_be_right(site: Site, authorization: str) -> None:
    content = call_body("search_catalog")
    answer = await raw_exchange(
        site.url,
        request_of(
            "POST", f"/{site.world.brand}/mcp", {**headers_of(content), "authorization": authorization}, content
        ),
    )
    assert status_of(answer) == 401
    assert b"www-authenticate: Bearer" in answer
    assert b'"code":"unauthenticated"' in answer


async def test_the_key_of_another_brand_opens_nothing(site: Site) -> None:
    other = await site.world.add_brand("Salt Shed")
    key = await site.world.agent_key(other)
    content = call_body("search_catalog")
    assert (await post(site.endpoint(), content, authorization=f"Bearer {key}")).status_code == 401
    assert (await post(site.endpoint(other), content, authorization=f"bearer {key}")).status_code == 200


async def test_a_key_that_was_taken_back_opens_nothing_once_the_brand_is_read_again(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again after BRAND_SECONDS; and not for each of the calls before."""
    world = own_site.world
    read: list[str] = []
    real = AgentDesk.brand

    async def counted(self: AgentDesk, identifier: str) -> Brand:
        read.append(identifier)
        return await real(self, identifier)

    monkeypatch.setattr(AgentDesk, "brand", counted)
    now_seconds = [1000.0]
    monkeypatch.setattr(app, "monotonic_seconds", lambda: now_seconds[0])
    content, key = call_body("search_catalog"), {"authorization": f"Bearer {await world.agent_key()}"}
    before = [(await post(own_site.endpoint(), content, **key)).status_code for _ in range(3)]
    assert (before, read) == ([200] * 3, [world.brand])
    taken_back = brand_table.update().values(agent_key_version=2)
    await world.commerce.database.maintain(lambda tx: tx.execute(taken_back))
    now_seconds[0] += app.BRAND_SECONDS
    assert (await post(own_site.endpoint(), content, **key)).status_code == 401


async def test_who_sees_which_checkout(site: Site) -> None:
    """The brand's agent sees the brand's checkouts; anonymous callers none that an agent signed for; other brands none."""
    other = await site.world.add_brand("Gull and Sons")
    own_key, other_key = await site.world.agent_key(), await site.world.agent_key(other)
    async with (
        client(site, key=own_key) as agent,
        client(site) as anonymous,
        client(site, brand=other, key=other_key) as stranger,
        client(site, brand=other) as passer_by,
    ):
        signed = {"checkout_id": structured(await agent.call_tool("create_checkout", ready()))["checkout_id"]}
        unsigned = {"checkout_id": structured(await anonymous.call_tool("create_checkout", ready()))["checkout_id"]}
        seen = {
            (who, what): code_of(await caller.call_tool("get_checkout", checkout))
            for who, caller in (("agent", agent), ("anonymous", anonymous), ("other", stranger), ("passer", passer_by))
            for what, checkout in (("signed", signed), ("unsigned", unsigned))
        }
        changed = [
            code_of(await anonymous.call_tool(tool, signed))
            for tool in ("update_checkout", "complete_checkout", "cancel_checkout")
        ]
    unknown = CommerceError.CHECKOUT_UNKNOWN.code
    assert [key for key, code in seen.items() if code is None] == [
        ("agent", "signed"),
        ("agent", "unsigned"),
        ("anonymous", "unsigned"),
    ]
    assert {code for code in seen.values() if code} == {unknown}
    assert changed == [unknown] * 3


async def test_planted_fault_a_door_that_checks_no_keys_lets_anybody_be_the_agent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(site, key=await site.world.agent_key()) as agent:
        signed = {"checkout_id": structured(await agent.call_tool("create_checkout", ready()))["checkout_id"]}
    monkeypatch.setattr("mcp_server.bearer.is_agent_key", lambda *_: True)
    async with client(site, key="made-up") as impostor:
        assert code_of(await impostor.call_tool("get_checkout", signed)) is None


@pytest.mark.parametrize("extra", [1, 100_000])
async def test_a_body_over_the_limit_is_refused_with_413(site: Site, extra: int) -> None:
    content = b'{"x":"' + b"a" * (BODY_BYTES + extra) + b'"}'
    answer = await raw_exchange(site.url, request_of("POST", f"/{site.world.brand}/mcp", {}, content))
    assert status_of(answer) == 413
    assert b'"code":"body_too_large"' in answer


async def test_a_body_at_the_limit_is_read(site: Site) -> None:
    padding = BODY_BYTES - len(call_body("search_catalog", {"query": ""}))
    content = call_body("search_catalog", {"query": "a" * padding})
    assert len(content) == BODY_BYTES
    answer = result_of(await post(site.endpoint(), content))
    assert answer["result"]["structuredContent"]["broken"] == ["query: string_too_long"]


async def test_blanks_around_header_values_do_no_harm(site: Site) -> None:
    """RFC 9110, 5.5; the parser that our programs run under leaves them on."""
    content = call_body("search_catalog", {"query": "mug"})
    key = await site.world.agent_key()
    spaced = {name: f" \t {value} \t" for name, value in headers_of(content).items()}
    headers = {**spaced, "authorization": f"  Bearer  {key}  "}
    answer = await raw_exchange(site.url, request_of("POST", f"/{site.world.brand}/mcp", headers, content))
    assert status_of(answer) == 200


async def test_planted_fault_without_the_shim_blanks_are_a_header_mismatch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = call_body("search_catalog", {"query": "mug"})
    headers = {**headers_of(content), "mcp-name": " search_catalog \t"}
    request = request_of("POST", f"/{site.world.brand}/mcp", headers, content)
    assert status_of(await raw_exchange(site.url, request)) == 200
    monkeypatch.setattr("mcp_server.app._as_sdk_expects", lambda scope: {**scope, "path": "/mcp", "raw_path": b"/mcp"})
    assert status_of(await raw_exchange(site.url, request)) == 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":{},"method":"tools/call"}',
        b"[" * 60_000,
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"id":' + b"9" * 5000 + b',"method":"tools/call"}',
    ],
)
async def test_hostile_bodies_are_refused_and_are_never_our_failure(site: Site, content: bytes) -> None:
    answer = await post(site.endpoint(), content, {"content-type": "application/json", "accept": "*/*"})
    assert 200 < answer.status_code < 500


async def test_lone_surrogates_and_nul_characters_are_refused_or_harmless(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world, mcp_site(world) as served:
        for text in ("\\ud800", "\\u0000", "mug\\u0000"):
            for tool, name in (("search_catalog", "query"), ("get_product", "product_id")):
                content = call_body(tool, {name: "PLACE"}).replace(b"PLACE", text.encode())
                answer = await post(served.endpoint(), content)
                told = result_of(answer)
                code = told.get("result", {}).get("structuredContent", {}).get("error", {}).get("code")
                assert answer.status_code in (200, 400), (tool, text)
                assert code in (None, CommerceError.INVALID_REQUEST.code, CommerceError.PRODUCT_UNKNOWN.code)


async def test_a_brand_whose_server_does_not_start_keeps_no_other_brand_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    brand = await site.world.add_brand("Slack Water")

    class Broken:
        session_manager = None

        def streamable_http_app(self, **_: object) -> object:
            return None

    endpoints = BrandEndpoints(site.world.commerce, STATE_KEYS)
    known = await site.world.desk.brand(brand)
    with monkeypatch.context() as planted:
        planted.setattr("mcp_server.app.make_brand_server", lambda *_: Broken())
        async with asyncio.timeout(5):
            with pytest.raises(AttributeError):
                await endpoints._server_of(known, OPEN)
    await endpoints._server_of(known, OPEN)  # and it can be started later
    await endpoints.close()
