"""What the SDK's own errors repeat of a request, and that none of it leaves: the protocol's errors are a closed set."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.server.apps import EXTENSION_ID
from mcp.server.mcpserver import MCPServer
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION

from mcp_server import brand_server, closed_errors
from mcp_server.brand_server import BrandServer
from mcp_server.closed_errors import CURSOR_UNKNOWN, MESSAGES, RESOURCE_UNKNOWN, TOOL_UNKNOWN, close_errors
from tests.mcp_server.serving import (
    LEGACY_HEADERS,
    MODERN_META,
    Site,
    body,
    call_body,
    headers_of,
    post,
    result_of,
)

pytestmark = pytest.mark.anyio

WORD = "kangaroo"
ELSEWHERE = {"mcp-name": "x"}


def old(method: str, **params: Any) -> bytes:
    """A request of 2025-11-25."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def requests() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """A word of the caller's in every place of which an error may speak."""
    plain = call_body("search_catalog", {"query": "mug"})
    headers = headers_of(plain)
    told: dict[str, Any] = json.loads(plain)

    def with_params(**fields: Any) -> bytes:
        return json.dumps({**told, "params": {**told["params"], **fields}}).encode()

    def whole(content: bytes, **more: str) -> tuple[bytes, dict[str, str]]:
        return content, {**headers_of(content), **more}

    yield "tool", *whole(call_body(WORD))
    yield "method", *whole(body(WORD))
    yield "resource", *whole(body("resources/read", uri=f"file:///{WORD}"), **{"mcp-name": f"file:///{WORD}"})
    yield "prompt", *whole(body("prompts/get", name=WORD))
    yield "cursor", *whole(body("tools/list", cursor=WORD))
    for name in ("mcp-name", "mcp-method", "mcp-protocol-version", "accept", "content-type", "host", "origin"):
        yield f"header {name}", plain, {**headers, name: WORD}
    for name in ("protocolVersion", "clientCapabilities", "clientInfo"):
        meta = {**MODERN_META, f"io.modelcontextprotocol/{name}": WORD}
        yield f"meta {name}", with_params(_meta=meta), headers
    for name in ("arguments", "requestState", "inputResponses"):
        yield name, with_params(**{name: WORD}), headers
    yield "params", json.dumps({**told, "params": WORD}).encode(), headers
    yield "request id", json.dumps({**told, "id": {WORD: 1}}).encode(), headers
    yield "no JSON", WORD.encode(), headers
    yield "an argument's name", call_body("get_checkout", {WORD: 1}), {**headers, "mcp-name": "get_checkout"}
    yield (
        "an argument of the wrong type",
        call_body("get_product", {"product_id": [WORD]}),
        headers_of(call_body("get_product")),
    )
    for name, content in {
        "tool": old("tools/call", name=WORD, arguments={}),
        "method": old(WORD),
        "resource": old("resources/read", uri=f"file:///{WORD}"),
        "prompt": old("prompts/get", name=WORD),
        "cursor": old("tools/list", cursor=WORD),
        "arguments": old("tools/call", name="get_product", arguments={"product_id": [WORD]}),
        "handshake": old("initialize", protocolVersion="2025-11-25", capabilities=WORD, clientInfo=WORD),
        "batch": b"[" + old("ping", word=WORD) + b"]",
        "request id": json.dumps({"jsonrpc": "2.0", "id": {WORD: 1}, "method": 7}).encode(),
    }.items():
        yield f"old {name}", content, LEGACY_HEADERS


REQUESTS = list(requests())


@pytest.mark.parametrize(("content", "headers"), [case[1:] for case in REQUESTS], ids=[case[0] for case in REQUESTS])
async def test_no_error_repeats_what_was_sent(site: Site, content: bytes, headers: dict[str, str]) -> None:
    answer = await post(site.endpoint(), content, headers)
    assert WORD not in answer.text
    if b'"error"' in answer.content and "jsonrpc" in answer.text:
        told = result_of(answer)
        if "error" in told:
            assert told["error"]["message"] in {*MESSAGES.values(), TOOL_UNKNOWN, RESOURCE_UNKNOWN, CURSOR_UNKNOWN}


async def test_planted_fault_the_sdks_errors_repeat_some_of_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_errors, "close_errors", lambda content: content)
    echoed = {
        name for name, content, headers in REQUESTS if WORD in (await post(site.endpoint(), content, headers)).text
    }
    assert {"method", "old method", "old batch"} <= echoed


async def test_planted_fault_a_rejected_argument_is_repeated_by_the_sdk(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error text holds the rejected value; our results hold the path and the rule."""
    content = call_body("get_checkout", {"checkout_id": [WORD]})  # the front answers no call of it
    assert WORD not in (await post(own_site.endpoint(), content)).text
    monkeypatch.setattr(BrandServer, "call_tool", MCPServer.call_tool)
    assert WORD in (await post(own_site.endpoint(), content)).text


async def test_what_is_not_served_is_not_offered(site: Site) -> None:
    offered = result_of(await post(site.endpoint(), body("server/discover")))["result"]["capabilities"]
    assert set(offered) == {"tools", "resources", "extensions"}
    assert not any(offered["resources"].values())  # no subscriptions, no list that changes
    assert set(offered["extensions"]) == {EXTENSION_ID}
    for method in ("prompts/get", "resources/templates/list", "resources/subscribe", "subscriptions/listen"):
        content = body(method, name="x", uri="x", notifications={})
        told = result_of(await post(site.endpoint(), content, {**headers_of(content), **ELSEWHERE}))
        assert told["error"]["code"] == METHOD_NOT_FOUND, method


async def test_planted_fault_a_prompt_that_is_not_there_would_be_a_failure_of_ours(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brand_server, "serve_tools_and_views", lambda server: None)
    told = result_of(await post(own_site.endpoint(), body("prompts/get", name="x")))
    assert told["error"]["code"] == INTERNAL_ERROR


async def test_a_version_that_is_not_spoken_is_told_with_those_that_are(site: Site) -> None:
    version = "2099-01-01"
    meta = {**MODERN_META, "io.modelcontextprotocol/protocolVersion": version}
    content = body("tools/list", _meta=meta)
    told = result_of(await post(site.endpoint(), content, **{"mcp-protocol-version": version}))
    assert told["error"]["code"] == UNSUPPORTED_PROTOCOL_VERSION
    assert told["error"]["data"] == {"supported": ["2026-07-28"], "requested": version}


@settings(deadline=None)
@given(
    code=st.one_of(st.sampled_from(sorted(MESSAGES)), st.integers(-33000, 33000)),
    text=st.text(st.characters(categories=["Ll"]), min_size=20, max_size=40),
    as_event=st.booleans(),
)
def test_whatever_an_error_holds_only_our_words_leave(code: int, text: str, as_event: bool) -> None:
    data = dict.fromkeys(("uri", "reason", "requested", "detail"), text)
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": text, "data": data}}
    content = json.dumps(error).encode()
    closed = close_errors(b"event: message\r\ndata: " + content + b"\r\n\r\n" if as_event else content)
    assert text.encode() not in closed
    assert json.dumps(text).encode()[1:-1] not in closed
    told = json.loads(closed.partition(b"data: ")[2] if as_event else closed)
    assert told["error"]["message"] == MESSAGES[told["error"]["code"]]
    assert told["error"]["code"] == (code if code in MESSAGES else INTERNAL_ERROR)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4))
def test_results_pass_as_they_are(content: dict[str, str]) -> None:
    result = {"jsonrpc": "2.0", "id": 1, "result": {"structuredContent": {"error": content}, "isError": True}}
    for body_ in (json.dumps(result).encode(), b"data: " + json.dumps(result).encode() + b"\n\n"):
        assert close_errors(body_) == body_
