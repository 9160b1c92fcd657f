"""A published test number in every place where a caller can put text: it is refused, and seen nowhere (I2).

Each way of looking is tried on a server whose card guard is taken off, where it must find the number.
"""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from commerce_api.models import checkout as checkout_table
from mcp_server.app import refuse_as_json_rpc
from tests.commerce_api.purchases import ready
from tests.mcp_server.serving import (
    LEGACY_HEADERS,
    MODERN_META,
    Site,
    body,
    call_body,
    client,
    headers_of,
    legacy_call,
    mcp_site,
    post,
    result_of,
)
from tokenization import edge, logs
from tokenization.edge import CARD_TEXT_CODE
from tokenization.tally import INTERVAL_SECONDS

pytestmark = pytest.mark.anyio

CANARY = "4242424242424242"
SPELLINGS = [
    CANARY,
    "4242 4242 4242 4242",
    "4242-4242-4242-4242",
    "5555 5555 5555 4444",
    "3782 822463 10005",
    "４２４２４２４２４２４２４２４２",
]
TRACES = [text.encode() for text in (*SPELLINGS, "5555555555554444", "378282246310005")] + [
    json.dumps(SPELLINGS[-1])[1:-1].encode(),
    CANARY[4:].encode(),
]
_CLIENT_LOGGERS = ("httpx", "httpcore", "httpx2", "httpcore2", "mcp.client", "asyncio", "client")


def traces_in(data: bytes) -> list[bytes]:
    """The forms of a canary that stand in the data."""
    return [trace for trace in TRACES if trace in data]


@pytest.fixture
def server_log() -> Iterator[io.StringIO]:
    """Everything that the server's side logs, at any level, as it was before the scrubbing formatter saw it."""
    stream = io.StringIO()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith(_CLIENT_LOGGERS):
                stream.write(logging.Formatter("%(name)s %(message)s").format(record) + "\n")

    handler, level = Collect(), logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    yield stream
    structlog.reset_defaults()
    logging.root.setLevel(level)
    logging.root.removeHandler(handler)


def string_places(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Iterator[Any]:
    """For every string in a tool's arguments: arguments that hold the word CANARY there and nothing else."""
    root = root or schema
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for option in schema.get("anyOf", ()):
        yield from string_places(option, root)
    if schema.get("type") == "string":
        yield "CANARY"
    if schema.get("type") == "array":
        yield from ([place] for place in string_places(schema["items"], root))
    for name, child in schema.get("properties", {}).items():
        yield from ({name: place} for place in string_places(child, root))


def with_text(place: Any, text: Any) -> Any:
    """The arguments with the text where the word CANARY stands."""
    if isinstance(place, dict):
        return {name: with_text(child, text) for name, child in place.items()}
    if isinstance(place, list):
        return [with_text(child, text) for child in place]
    return text


WRONG_TYPES: list[dict[str, Any]] = [
    {"limit": CANARY},
    {"limit": int(CANARY)},
    {"limit": float(CANARY)},
    {"available_only": CANARY},
    {"lines": CANARY},
    {"lines": [CANARY]},
    {"lines": [{"quantity": CANARY}]},
    {"lines": [{"quantity": int(CANARY)}]},
    {"buyer": [CANARY]},
    {"buyer": int(CANARY)},
    {"shipping_address": {CANARY: 1}},
    {CANARY: 1},
    {f"card {CANARY}": None},
    {"discount_codes": {"a": {"b": [CANARY]}}},
    {"number": "4242424242424242"[:8], "rest": "4242424242424242"[8:]},
    {"parts": ["4242", "4242", "4242", "4242"]},
]


async def tool_calls(site: Site) -> list[tuple[str, dict[str, Any]]]:
    """Every tool with a canary in every string argument, in unknown ones, and in ones of the wrong type."""
    async with client(site) as connected:
        tools = (await connected.list_tools()).tools
    calls: list[tuple[str, dict[str, Any]]] = []
    for tool in tools:
        places = list(string_places(tool.input_schema))
        assert places, tool.name
        calls += [(tool.name, with_text(place, SPELLINGS[at % len(SPELLINGS)])) for at, place in enumerate(places)]
        calls += [(tool.name, wrong) for wrong in WRONG_TYPES]
    return calls


def database_bytes(directory: Path) -> bytes:
    """The database as it is on disk, write-ahead log included."""
    return b"".join(path.read_bytes() for path in sorted(directory.glob("commerce.sqlite3*")))


async def test_no_tool_argument_carries_a_card_in(own_site: Site, server_log: io.StringIO) -> None:
    calls = await tool_calls(own_site)
    assert len(calls) > 150
    for tool, arguments in calls:
        answer = await post(own_site.endpoint(), call_body(tool, arguments))
        refused = result_of(answer)["result"]
        assert answer.status_code == 200, (tool, arguments)
        assert refused["isError"] is True, (tool, arguments)
        assert refused["structuredContent"]["error"]["code"] == CARD_TEXT_CODE, (tool, arguments)
        assert traces_in(answer.content) == [], (tool, arguments)
    assert traces_in(server_log.getvalue().encode()) == []
    assert traces_in(database_bytes(own_site.world.directory)) == []
    own_site.world.clock.advance(INTERVAL_SECONDS)
    await post(own_site.endpoint(), call_body(*calls[0]))
    recorded = [json.loads(event.entry)["data"]["count"] for event in await own_site.world.events("card_text.refused")]
    assert recorded == [1, len(calls)], "the first at once, and those that followed by their number"
    assert await own_site.world.rows(checkout_table) == []


async def test_negative_control_without_the_guard_answer_and_database_hold_the_number(
    own_site: Site, server_log: io.StringIO
) -> None:
    world = own_site.world
    async with mcp_site(world, guarded=False) as open_site:
        named = call_body("create_checkout", ready(buyer={"name": CANARY, "email": "a@shopper.example"}))
        answer = await post(open_site.endpoint(), named)
        await post(open_site.endpoint(), call_body("search_catalog"), host=CANARY)
    assert traces_in(answer.content)
    assert traces_in(database_bytes(world.directory))
    assert traces_in(server_log.getvalue().encode())


async def test_negative_control_each_of_the_calls_reaches_the_tools_without_the_guard(own_site: Site) -> None:
    """None of them is refused for another reason before it would be read."""
    async with mcp_site(own_site.world, guarded=False) as open_site:
        calls = (await tool_calls(open_site))[::7]
        key = f"Bearer {await own_site.world.agent_key()}"  # for what guests may not call
        for tool, arguments in calls:
            sent = await post(open_site.endpoint(), call_body(tool, arguments), authorization=key)
            answer = result_of(sent)["result"]
            code = (answer.get("structuredContent") or {}).get("error", {}).get("code")
            assert code != CARD_TEXT_CODE, (tool, arguments)


def envelopes() -> dict[str, tuple[bytes, dict[str, str], str]]:
    """Everything around the arguments: body, headers and what is added to the address."""
    plain = call_body("search_catalog", {"query": "mug"})
    headers = headers_of(plain)
    told: dict[str, Any] = json.loads(plain)

    def changed(**fields: Any) -> bytes:
        return json.dumps({**told, **fields}).encode()

    def parameters(**fields: Any) -> bytes:
        return changed(params={**told["params"], **fields})

    info = {**MODERN_META, "io.modelcontextprotocol/clientInfo": {"name": CANARY, "version": "1"}}
    return {
        "tool name": (call_body(CANARY), {**headers, "mcp-name": "x"}, ""),
        "tool name in the header": (plain, {**headers, "mcp-name": CANARY}, ""),
        "method": (body(CANARY), headers, ""),
        "request id": (changed(id=CANARY), headers, ""),
        "request id as a number": (changed(id=int(CANARY)), headers, ""),
        "client's name": (parameters(_meta=info), headers, ""),
        "state": (parameters(requestState=CANARY), headers, ""),
        "elicited content": (
            parameters(inputResponses={"pay": {"action": "accept", "content": {"card": CANARY}}}),
            headers,
            "",
        ),
        "cursor": (body("tools/list", cursor=CANARY), headers_of(body("tools/list")), ""),
        "resource": (body("resources/read", uri=f"file:///{CANARY}"), headers_of(body("resources/read")), ""),
        "query": (plain, headers, f"?card={CANARY}"),
        "query, encoded": (plain, headers, "?q=4242%204242%204242+4242"),
        "path": (plain, headers, f"/{CANARY}"),
        "user agent": (plain, {**headers, "user-agent": CANARY}, ""),
        "a header of its own": (plain, {**headers, "x-card": "4242-4242-4242-4242"}, ""),
        "session id": (plain, {**headers, "mcp-session-id": CANARY}, ""),
        "conversation id": (plain, {**headers, "conversation-id": CANARY}, ""),
        "protocol version": (plain, {**headers, "mcp-protocol-version": CANARY}, ""),
        "origin": (plain, {**headers, "origin": f"https://{CANARY}.example"}, ""),
        "no JSON": (f"card={CANARY}&cvc=737".encode(), headers, ""),
        "truncated JSON": (plain[:-1] + f', "x": "{CANARY}'.encode(), headers, ""),
        "a batch": (b"[" + call_body("get_order", {"order_id": CANARY}) + b"]", headers, ""),
        "handshake era": (legacy_call("get_order", {"order_id": CANARY}), LEGACY_HEADERS, ""),
        "key twice": (plain[:-1] + f', "id": "{CANARY}", "id": 1}}'.encode(), headers, ""),
        "UTF-16": (plain.decode().replace("mug", CANARY).encode("utf-16"), headers, ""),
    }


async def test_nothing_around_the_arguments_carries_a_card_in(own_site: Site, server_log: io.StringIO) -> None:
    for name, (content, headers, added) in envelopes().items():
        answer = await post(own_site.endpoint() + added, content, headers)
        assert CARD_TEXT_CODE in answer.text or "card number" in answer.text, name
        assert answer.status_code in (200, 422), name
        assert traces_in(answer.content) == [], name
    assert traces_in(server_log.getvalue().encode()) == []
    assert traces_in(database_bytes(own_site.world.directory)) == []


async def test_negative_control_without_the_guard_some_envelopes_are_echoed_or_logged(
    world: Any, server_log: io.StringIO
) -> None:
    seen = b""
    async with mcp_site(world, guarded=False) as open_site:
        for content, headers, added in envelopes().values():
            seen += (await post(open_site.endpoint() + added, content, headers)).content
    assert traces_in(seen)
    assert traces_in(server_log.getvalue().encode())


async def test_a_key_that_is_a_card_opens_nothing_and_is_not_repeated(own_site: Site, server_log: io.StringIO) -> None:
    answer = await post(own_site.endpoint(), call_body("search_catalog"), authorization=f"Bearer {CANARY}")
    assert answer.status_code == 401
    assert traces_in(answer.content) == []
    assert traces_in(server_log.getvalue().encode()) == []


PIECES = [
    ["4242 4242", "4242 4242"],
    ["4242", "4242", "4242", "4242"],
    ["42424242", "and then 42424242"],
    ["my card starts 4242 4242", "4242", "and ends 4242"],
    ["424242", "424242", "4242"],
]


async def said(site: Site, carrier: str, piece: str, turn: int) -> bool:
    """Says a piece of a number in one call; whether it was refused."""
    if carrier == "search":
        content = call_body("search_catalog", {"query": piece}, request_id=turn)
    elif carrier == "name":
        whole = ready(buyer={"name": piece, "email": "a@shopper.example"})
        content = call_body("update_checkout", {"checkout_id": "chk_" + "b" * 32, **whole}, request_id=turn)
    else:
        content = legacy_call("search_catalog", {"query": piece})
        answer = await post(site.endpoint(), content, LEGACY_HEADERS)
        return CARD_TEXT_CODE in answer.text
    return CARD_TEXT_CODE in (await post(site.endpoint(), content)).text


@pytest.mark.parametrize("carrier", ["search", "name", "handshake era"])
@pytest.mark.parametrize("pieces", PIECES, ids=len)
async def test_digits_split_over_consecutive_calls_of_one_conversation_are_refused(
    world: Any, carrier: str, pieces: list[str]
) -> None:
    async with mcp_site(world) as fresh:
        refused = [await said(fresh, carrier, piece, turn) for turn, piece in enumerate(pieces, 1)]
    assert refused == [False] * (len(pieces) - 1) + [True]


async def test_planted_fault_what_the_protocol_says_for_itself_would_push_the_pieces_apart(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were names, versions and methods read as speech, eight texts of memory would hold no two calls."""
    monkeypatch.setattr(edge, "may_be_part_of_card", lambda text: True)
    monkeypatch.setattr(edge, "spoken_texts", lambda content: list(edge._texts(json.loads(content), 0)))
    async with mcp_site(world) as fresh:
        refused = [await said(fresh, "name", piece, turn) for turn, piece in enumerate(PIECES[1], 1)]
    assert True not in refused


async def test_planted_fault_pieces_are_not_seen_when_each_call_is_a_conversation_of_its_own(site: Site) -> None:
    answers = [
        await post(site.endpoint(), call_body("search_catalog", {"query": "4242 4242"}), **{"conversation-id": name})
        for name in ("one", "two")
    ]
    assert not [answer for answer in answers if CARD_TEXT_CODE in answer.text]


async def test_addresses_of_many_shoppers_that_come_from_one_place_are_not_taken_for_a_card(site: Site) -> None:
    """House numbers and postal codes whose digits, one after the other, make a number that passes every check."""
    for piece in ("4242", "4242", "4242", "4242"):
        whole = ready(
            shipping_address={"line1": f"{piece} Quay Street", "city": "X", "postal_code": piece, "country": "US"}
        )
        answer = result_of(await post(site.endpoint(), call_body("create_checkout", whole)))["result"]
        assert not answer.get("isError"), piece


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{}", 422),
        (b"[1]", 422),
        (b"null", 422),
        (b'{"id":1}', 422),
        (b"[" * 100_000, 422),
        (b'{"id":"' + CANARY.encode() + b'","method":"tools/call"}', 200),
        (b'{"id":4242424242424242,"method":"ping"}', 200),
        (b'{"id":{"a":"4242424242424242"},"method":"ping"}', 200),
    ],
)
async def test_the_refusal_itself_repeats_nothing_of_the_request(content: bytes, status: int) -> None:
    answered, told = refuse_as_json_rpc({}, content)
    assert answered == status
    assert traces_in(json.dumps(told).encode()) == []
    assert "card_text_refused" in json.dumps(told) or told["error"]["code"] == -32602
