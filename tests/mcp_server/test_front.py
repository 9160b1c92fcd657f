"""Calls that are answered before the SDK: asked the same beside, it says the same, byte for byte, or is left to answer."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any
from unittest.mock import AsyncMock

import pytest
from opentelemetry.trace import NoOpTracerProvider

from commerce_api.authorization.scopes import CATALOG_READ, CHECKOUT_WRITE
from mcp_server import front
from mcp_server.bearer import GUEST, Access, Door
from mcp_server.call_record import Call, CallRecorder
from mcp_server.front import Front, may_be_fronted
from mcp_server.handoff import MODERN
from tests.mcp_server.serving import LEGACY_HEADERS, MODERN_META, Site, body, call_body, headers_of
from tokenization.edge import Message, Scope

pytestmark = pytest.mark.anyio
FRONTED = ("search_catalog", "get_product")
CASES = 400
CAPABILITIES = f"{front._META_PREFIX}clientCapabilities"
AGENT = Access("agent:harbour-pine", None)
BUYER = Access("shopper:shp_robin", frozenset({CATALOG_READ, CHECKOUT_WRITE}), "shp_robin")
READER = Access("shopper:shp_robin", frozenset({CATALOG_READ}), "shp_robin")
Answer = tuple[int, dict[bytes, bytes], bytes]


def scope_of(site: Site, headers: Mapping[str, str] | list[tuple[str, str]]) -> Scope:
    """A request to the brand's endpoint."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return {
        "type": "http",
        "method": "POST",
        "path": f"/{site.world.brand}/mcp",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8705),
        "headers": [(b"host", b"127.0.0.1:8705"), *((name.encode(), value.encode()) for name, value in pairs)],
    }


async def answer_of(site: Site, scope: Scope, content: bytes) -> Answer:
    """What the endpoint says."""
    sent: list[Message] = []
    given = asyncio.Event()

    async def receive() -> Message:
        if given.is_set():
            await asyncio.Event().wait()
        given.set()
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.endpoints(scope, receive, send)
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), whole


class Both:
    """Asks twice: with the front, and the SDK alone. Keeps what was recorded of either, and how often the front answered."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.answered = 0
        self.calls: list[Call] = []
        self._sdk_alone = False
        real, take = Front.answer, CallRecorder.take

        async def watched(front: Front, *given: Any) -> bytes | None:
            made = None if self._sdk_alone else await real(front, *given)
            self.answered += made is not None
            return made

        def taken(recorder: CallRecorder, call: Call) -> None:
            self.calls.append(call)
            take(recorder, call)

        monkeypatch.setattr(Front, "answer", watched)
        monkeypatch.setattr(CallRecorder, "take", taken)

    async def ask(self, scope: Scope, content: bytes) -> tuple[Answer, Answer]:
        """The two answers. Raises AssertionError where the two records differ."""
        answers, recorded = [], []
        for self._sdk_alone in (False, True):
            self.calls.clear()
            answers.append(await answer_of(self.site, dict(scope), content))
            recorded.append(list(self.calls))
        assert recorded[0] == recorded[1]
        return answers[0], answers[1]


def front_of(site: Site) -> Front:
    """What stands before the one endpoint that was asked."""
    [running] = site.endpoints._running.values()
    return running.front


@pytest.fixture
def both(site: Site, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(site, monkeypatch)


def some(rng: Random, *values: Any) -> Any:
    return rng.choice(values)


def arguments_of(rng: Random) -> dict[str, Any]:
    """Arguments of one of the tools, often wrong in some way."""
    drawn: dict[str, Callable[[], Any]] = {
        "query": lambda: some(
            rng, "kettle", "", "KETTLE oat", "\ud800", "a\u0000b", 7, None, "x" * 301, '["kettle"]', "é 日本"
        ),
        "limit": lambda: some(rng, 1, 3, 20, 21, 0, "3", "three", 2.0, 2.5, True, None, 10**30, float("nan")),
        "offset": lambda: some(rng, 0, 2, -1, 10_001, []),
        "available_only": lambda: some(rng, True, False, "yes", 1),
        "minimum_price_minor": lambda: some(rng, 0, 5000, "x"),
        "product_id": lambda: some(rng, "hp-kettle", "hp-mug", "hp-kettle-oat", "nothing", "", 5, {"a": 1}),
        "compare_with": lambda: some(
            rng, ["hp-kettle", "hp-mug"], ["hp-kettle"], [], '["hp-kettle", "hp-mug"]', [["a"]], "x"
        ),
        "unknown": lambda: "x",
        "shopper": lambda: "shp_robin",
    }
    names = some(
        rng,
        ["query", "limit"],
        ["product_id"],
        ["product_id", "compare_with"],
        ["query"],
        [],
        rng.sample(list(drawn), 2),
    )
    return {name: drawn[name]() for name in names}


def request_of(rng: Random) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a call, sometimes bent at one place."""
    told: dict[str, Any] = json.loads(
        call_body(
            some(rng, *FRONTED * 4, "get_order", "no_such_tool"),
            arguments_of(rng),
            request_id=rng.randrange(99),
        )
    )
    if rng.random() < 0.15:
        told = json.loads(
            body("tools/list", request_id=rng.randrange(99), **some(rng, {}, {}, {}, {"cursor": "x"}, {"name": "x"}))
        )
    headers = headers_of(json.dumps(told).encode())
    bends: list[Callable[[], Any]] = [
        lambda: told.update(id=some(rng, "abc", "é\ud800", "", 2**53, 2**60, -1, 1.5, None, True, [1])),
        lambda: told.update(jsonrpc=some(rng, "1.0", 2.0)),
        lambda: told.update(extra=1),
        lambda: told.pop(some(rng, "id", "method", "jsonrpc", "params")),
        lambda: told["params"].pop(some(rng, "arguments", "_meta", "name"), None),
        lambda: told["params"].update(arguments=some(rng, None, [], "x", {})),
        lambda: told["params"].update(
            some(rng, {"requestState": "x"}, {"inputResponses": {}}, {"task": {}}, {"extra": 1})
        ),
        lambda: told["params"].update(
            _meta={**MODERN_META, **some(rng, {"progressToken": 7}, {"traceparent": "x"}, {"a": 1})}
        ),
        lambda: told["params"].update(
            _meta={**MODERN_META, f"{front._META_PREFIX}clientInfo": some(rng, None, {"name": "x"}, 1, {})}
        ),
        lambda: told["params"].update(
            _meta={**MODERN_META, f"{front._META_PREFIX}protocolVersion": some(rng, "2025-11-25", 1)}
        ),
        lambda: told["params"].update(
            _meta={**MODERN_META, f"{front._META_PREFIX}clientCapabilities": some(rng, None, 1, {"x": 1})}
        ),
        lambda: told["params"].update(
            _meta={f"{front._META_PREFIX}protocolVersion": MODERN, f"{front._META_PREFIX}clientCapabilities": {}}
        ),
        lambda: headers.update({"accept": some(rng, "application/json", "text/event-stream", "*/*", "")}),
        lambda: headers.update(
            {"content-type": some(rng, "text/plain", "application/json; charset=utf-8", "application/jsonp")}
        ),
        lambda: headers.update({"origin": some(rng, "https://evil.example", "http://127.0.0.1:8705")}),
        lambda: headers.update({"mcp-method": some(rng, "tools/list", "")}),
        lambda: headers.update({"mcp-name": some(rng, "get_order", "=?base64?c2VhcmNoX2NhdGFsb2c=?=", "")}),
        lambda: headers.update({"mcp-protocol-version": some(rng, "2025-11-25", "2099-01-01", "")}),
        lambda: headers.update({"mcp-param-query": "kettle", "user-agent": "someone/1.0"}),
        lambda: headers.pop(some(rng, "accept", "content-type", "mcp-method", "mcp-protocol-version"), None),
    ]
    if rng.random() < 0.6:
        rng.choice(bends)()
    pairs = list(headers.items())
    if rng.random() < 0.1:
        pairs.append(rng.choice(pairs))
    content = json.dumps(told, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
    return pairs, content[: len(content) if rng.random() < 0.97 else -2]


async def test_whatever_is_asked_the_answer_and_the_record_are_the_sdks(site: Site, both: Both) -> None:
    rng = Random(20261127)
    for _ in range(CASES):
        headers, content = request_of(rng)
        with_front, sdk_alone = await both.ask(scope_of(site, headers), content)
        assert with_front == sdk_alone, (headers, content)
    assert CASES // 4 < both.answered < CASES


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_catalog", {"query": "kettle", "limit": 2}),
        ("get_product", {"product_id": "hp-kettle"}),
        ("get_product", {"product_id": "hp-kettle", "compare_with": ["hp-mug"]}),
        ("get_product", {"product_id": "nothing"}),
        ("search_catalog", {"limit": 0}),
        ("search_catalog", {"wrong": 1}),
    ],
)
async def test_a_plain_call_of_the_catalogue_never_reaches_the_sdk(
    site: Site, both: Both, tool: str, arguments: dict[str, Any]
) -> None:
    content = call_body(tool, arguments)
    with_front, sdk_alone = await both.ask(scope_of(site, headers_of(content)), content)
    assert with_front == sdk_alone
    assert both.answered == 1


def left_to_the_sdk() -> Iterator[tuple[str, Mapping[str, str], bytes]]:
    """Requests that want something of the protocol, or are not of the one known form."""
    content = call_body("get_product", {"product_id": "hp-kettle"})
    headers = headers_of(content)
    yield "another method", headers_of(body("server/discover")), body("server/discover")
    yield "a page of the list", headers_of(body("tools/list")), body("tools/list", cursor="x")
    yield "a tool that writes", headers_of(call_body("get_offers")), call_body("get_offers")
    yield "a tool that tells progress", headers_of(call_body("get_checkout")), call_body("get_checkout")
    yield (
        "a progress token",
        headers,
        call_body("get_product", {"product_id": "hp-kettle"}, _meta={**MODERN_META, "progressToken": 1}),
    )
    yield (
        "a trace",
        headers,
        call_body("get_product", {"product_id": "hp-kettle"}, _meta={**MODERN_META, "traceparent": "00-a-b-01"}),
    )
    yield "a second half", headers, call_body("get_product", {"product_id": "hp-kettle"}, requestState="x")
    yield "the handshake era", LEGACY_HEADERS, content
    yield "an argument in a header", {**headers, "mcp-param-id": "x"}, content
    yield "a foreign origin", {**headers, "origin": "https://evil.example"}, content
    yield "no stream accepted", {**headers, "accept": "application/json"}, content
    yield "a name that differs", {**headers, "mcp-name": "search_catalog"}, content
    yield "nested arguments", headers, call_body("get_product", {"product_id": {"deep": [1]}})
    yield "no JSON", headers, b"{"


@pytest.mark.parametrize(("headers", "content"), [pytest.param(*case[1:], id=case[0]) for case in left_to_the_sdk()])
async def test_what_is_not_of_the_known_form_is_left_to_the_sdk(
    site: Site, both: Both, headers: Mapping[str, str], content: bytes
) -> None:
    with_front, sdk_alone = await both.ask(scope_of(site, headers), content)
    assert with_front == sdk_alone
    assert both.answered == 0


KINDS = (GUEST, AGENT, BUYER, READER)
CAN: tuple[dict[str, Any], ...] = ({}, {"elicitation": {"url": {}}})


async def lists_differ(site: Site, both: Both, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether anybody gets another list than the SDK's; each asks twice, in turns."""
    differs = False
    for access in (*KINDS, *KINDS):
        for capabilities in CAN:
            monkeypatch.setattr(Door, "admit", AsyncMock(return_value=access))
            content = body("tools/list", request_id="abc", _meta={**MODERN_META, CAPABILITIES: capabilities})
            with_front, sdk_alone = await both.ask(scope_of(site, headers_of(content)), content)
            differs = differs or with_front != sdk_alone
    return differs


async def test_the_list_of_tools_is_the_sdks_for_each_kind_of_client(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Both(own_site, monkeypatch)
    assert not await lists_differ(own_site, both, monkeypatch)
    assert both.answered == 4 * len(KINDS)
    lists = front_of(own_site)._lists
    assert {scopes for _, scopes in lists} == {None, BUYER.scopes, READER.scopes}
    assert len(set(lists.values())) == 3


async def test_planted_fault_one_list_for_all_would_show_tools_that_a_token_does_not_open(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "_kind", lambda *_: "anybody")
    assert await lists_differ(own_site, Both(own_site, monkeypatch), monkeypatch)


async def test_where_traces_are_taken_the_sdk_answers_everything(
    site: Site, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "get_tracer_provider", NoOpTracerProvider)
    content = call_body("get_product", {"product_id": "hp-kettle"})
    await both.ask(scope_of(site, headers_of(content)), content)
    assert both.answered == 0


async def test_only_tools_that_read_and_ask_nothing_of_the_protocol_are_fronted(site: Site, both: Both) -> None:
    content = call_body("get_product", {"product_id": "hp-kettle"})
    await both.ask(scope_of(site, headers_of(content)), content)
    server = site.endpoints._running[(site.world.brand, "", False)].front._server
    for tool in server._tool_manager.list_tools():
        if may_be_fronted(tool):
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert tool.context_kwarg is None
    assert {tool.name for tool in server._tool_manager.list_tools() if may_be_fronted(tool)} >= set(FRONTED)


async def test_what_it_remembers_of_clients_is_bounded(site: Site, both: Both) -> None:
    for number in range(2 * front._REMEMBERED + 1):
        meta = {**MODERN_META, f"{front._META_PREFIX}clientInfo": {"name": f"client {number}", "version": "1"}}
        content = call_body("get_product", {"product_id": "nothing"}, _meta=meta)
        headers = {**headers_of(content), "accept": f"application/json, text/event-stream, text/x-{number}"}
        assert (await answer_of(site, scope_of(site, headers), content))[0] == 200
    remembered = site.endpoints._running[(site.world.brand, "", False)].front
    assert 0 < len(remembered._clients) <= front._REMEMBERED
    assert 0 < len(remembered._taken) <= front._REMEMBERED
    assert both.calls[-1].software == f"client {2 * front._REMEMBERED} 1"


async def taken(_: Front, __: object) -> bool:
    return True


def first_of_each(scope: Scope) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


FAULTS: list[tuple[str, object, str, object]] = [
    ("headers that nobody checked", Front, "_are_taken", taken),
    ("routing headers that say something else", front, "_are_named", lambda *_: True),
    ("headers read without a look for doubles, arguments or the era", front, "_headers", first_of_each),
    ("parameters of any form", front, "_are_params", lambda *_: True),
    ("ids of any form", front, "_is_id", lambda _: True),
]


@pytest.mark.parametrize(("owner", "name", "fault"), [pytest.param(*each[1:], id=each[0]) for each in FAULTS])
async def test_planted_fault_without_one_of_its_looks_its_answers_are_not_the_sdks(
    site: Site, both: Both, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, fault: object
) -> None:
    monkeypatch.setattr(owner, name, fault)
    rng = Random(20261127)
    differ = 0
    for _ in range(CASES):
        headers, content = request_of(rng)
        try:
            with_front, sdk_alone = await both.ask(scope_of(site, headers), content)
            differ += with_front != sdk_alone
        except (
            AssertionError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
        ):  # it fell over where the SDK did not
            differ += 1
    assert differ > 0
