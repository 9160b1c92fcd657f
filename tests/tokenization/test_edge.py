"""The edge as plain ASGI: bodies bounded in length and time, no card-like text, failures kept inside."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization import edge
from tokenization.edge import (
    DRAIN_BYTES,
    App,
    BodyLimit,
    BodyRefused,
    CardGuard,
    Contained,
    Message,
    Receive,
    Scope,
    Send,
    error_body,
    header,
    may_be_part_of_card,
    read_body,
    replay,
    send_json,
    spoken_texts,
)
from tokenization.scanner import contains_card

LIMIT = 64
CARD = "4242 4242 4242 4242"
chunked = st.lists(st.binary(max_size=LIMIT), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def arriving(chunks: Iterable[bytes], *, cut_off: bool = False) -> Receive:
    """A connection that brings a body in pieces; with ``cut_off`` it ends before the body does."""
    pieces = list(chunks) or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": cut_off or place < len(pieces) - 1}
        for place, piece in enumerate(pieces)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return messages.pop(0)

    return receive


async def silence() -> Message:
    """A connection on which nothing comes."""
    await asyncio.Event().wait()
    raise AssertionError


def scope_of(path: str = "/", query: bytes = b"", kind: str = "http", **headers: str) -> Scope:
    """A request's scope."""
    told = [(name.replace("_", "-").encode(), value.encode("utf-8")) for name, value in headers.items()]
    return {"type": kind, "method": "POST", "path": path, "query_string": query, "headers": told}


class Sent(list[Message]):
    """Everything an application sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    @property
    def status(self) -> int:
        """The answer's status."""
        status: int = self[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        """The answer's whole body."""
        return b"".join(message.get("body", b"") for message in self[1:])

    @property
    def code(self) -> str:
        """The closed code of an error; it has the one shape that there is."""
        told = json.loads(self.body)
        assert told.keys() == {"error"}
        assert told["error"].keys() == {"code", "message"}
        assert all(isinstance(text, str) for text in told["error"].values())
        code: str = told["error"]["code"]
        return code


class Inner:
    """The application behind the edge: remembers what reached it, and answers 204."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def run(app: App, scope: Scope, receive: Receive) -> Sent:
    """What the application sent."""
    sent = Sent()

    async def once() -> None:
        await app(scope, receive, sent)

    anyio.run(once)
    return sent


def guard(inner: App, **options: Any) -> CardGuard:
    """A guard before an application, with a clock that stands still."""
    return CardGuard(inner, maximum_bytes=1_000_000, monotonic_seconds=lambda: 0.0, **options)


def refusal_of(reading: Callable[[], Awaitable[bytes]]) -> tuple[int, str]:
    """Status and code with which a body is refused."""
    with pytest.raises(BodyRefused) as refused:
        anyio.run(reading)
    status, content = refused.value.answer
    assert content == error_body(content["error"]["code"], content["error"]["message"])
    return status, content["error"]["code"]


@given(chunks=chunked)
def test_a_body_is_read_whole_up_to_the_limit_and_refused_past_it(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)

    async def reading() -> bytes:
        return await read_body(arriving(chunks), LIMIT)

    if len(whole) <= LIMIT:
        assert anyio.run(reading) == whole
    else:
        assert refusal_of(reading) == (413, "body_too_large")


@given(chunks=chunked)
def test_a_body_that_is_cut_off_is_never_taken_for_a_whole_one(chunks: list[bytes]) -> None:
    async def reading() -> bytes:
        return await read_body(arriving(chunks, cut_off=True), LIMIT)

    expected = (413, "body_too_large") if len(b"".join(chunks)) > LIMIT else (400, "body_cut_off")
    assert refusal_of(reading) == expected


def test_a_body_past_the_limit_is_not_read_to_its_end() -> None:
    taken: list[int] = []

    async def endless() -> Message:
        taken.append(1)
        return {"type": "http.request", "body": b"x" * LIMIT, "more_body": True}

    assert refusal_of(lambda: read_body(endless, LIMIT)) == (413, "body_too_large")
    assert len(taken) * LIMIT <= 2 * LIMIT + DRAIN_BYTES, "what is thrown away is bounded too"


def test_a_body_that_does_not_come_is_refused_when_its_time_is_over() -> None:
    assert refusal_of(lambda: read_body(silence, LIMIT, timeout_seconds=0.0)) == (408, "body_too_slow")


def test_the_time_is_for_the_whole_body_and_not_for_each_piece() -> None:
    """A caller that sends a byte now and then must not hold a connection for ever."""

    async def dripping() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    assert refusal_of(lambda: read_body(dripping, LIMIT, timeout_seconds=0.01)) == (408, "body_too_slow")


def test_a_cancelled_request_is_cancelled_and_not_refused() -> None:
    async def cancelled() -> None:
        with anyio.move_on_after(0) as scope:
            await read_body(silence, LIMIT)
        assert scope.cancelled_caught

    anyio.run(cancelled)


@given(body=st.binary(max_size=LIMIT))
def test_a_body_that_was_read_is_given_again_once_and_then_the_connection_speaks(body: bytes) -> None:
    async def read_twice() -> list[Message]:
        again = replay(body, arriving([b"later"]))
        return [await again(), await again()]

    first, second = anyio.run(read_twice)
    assert first == {"type": "http.request", "body": body, "more_body": False}
    assert second["body"] == b"later"


@pytest.mark.parametrize("kind", ["limit", "guard"])
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_refused_body_is_an_answer_and_reaches_nobody(kind: str, *, cut_off: bool) -> None:
    inner = Inner()
    app: App = BodyLimit(inner, maximum_bytes=LIMIT)
    if kind == "guard":
        app = CardGuard(inner, maximum_bytes=LIMIT, monotonic_seconds=lambda: 0.0)
    sent = run(app, scope_of(), arriving([b"x"], cut_off=True) if cut_off else arriving([b"x" * (LIMIT + 1)]))
    assert (sent.status, sent.code) == ((400, "body_cut_off") if cut_off else (413, "body_too_large"))
    assert inner.bodies == []


@given(chunks=st.lists(st.binary(max_size=16), max_size=4))
def test_a_body_within_bounds_reaches_the_application_as_it_came(chunks: list[bytes]) -> None:
    inner = Inner()
    assert run(BodyLimit(inner, maximum_bytes=LIMIT), scope_of(), arriving(chunks)).status == 204
    assert inner.bodies == [b"".join(chunks)]


@given(value=json_values)
def test_the_guard_passes_on_what_it_does_not_refuse_byte_for_byte(value: Any) -> None:
    inner = Inner()
    content = json.dumps(value).encode()
    sent = run(guard(inner), scope_of(content_type="application/json"), arriving([content]))
    assert (sent.status, inner.bodies) in ((204, [content]), (422, []))


PLACES: dict[str, tuple[Scope, bytes]] = {
    "path": (scope_of(path=f"/{CARD}"), b""),
    "query": (scope_of(query=b"q=4242+4242+4242+4242"), b""),
    "query, percent-encoded": (scope_of(query=b"q=%34%32%34%32424242424242"), b""),
    "over path and query": (scope_of(path="/4242-4242-4242", query=b"4242"), b""),
    "header": (scope_of(user_agent=CARD), b""),
    "body": (scope_of(), CARD.encode()),
    "JSON": (scope_of(content_type="application/json"), json.dumps({"a": [CARD]}).encode()),
    "JSON name": (scope_of(content_type="application/json"), json.dumps({CARD: 1}).encode()),
    "form": (scope_of(content_type="application/x-www-form-urlencoded"), b"a=1&card=4242+4242+4242+4242"),
    "too deep to read": (scope_of(content_type="application/json"), b"[" * 100_000),
}


@pytest.mark.parametrize(("scope", "body"), PLACES.values(), ids=PLACES.keys())
def test_card_text_anywhere_in_a_request_is_refused_and_reaches_nobody(scope: Scope, body: bytes) -> None:
    inner, noticed = Inner(), []

    async def notice(seen: Scope) -> None:
        noticed.append(seen["path"])

    sent = run(guard(inner, on_refusal=notice), scope, arriving([body]))
    assert (sent.status, sent.code) == (422, "card_text_refused")
    assert inner.bodies == []
    assert len(noticed) == 1
    assert b"4242" not in sent.body


@pytest.mark.parametrize(("scope", "body"), PLACES.values(), ids=PLACES.keys())
def test_planted_fault_behind_a_body_limit_alone_it_all_gets_through(scope: Scope, body: bytes) -> None:
    inner = Inner()
    run(BodyLimit(inner, maximum_bytes=1_000_000), scope, arriving([body]))
    assert inner.bodies == [body]


@pytest.mark.parametrize("name", ["authorization", "cookie", "traceparent", "x-request-id"])
def test_headers_that_software_fills_are_not_taken_for_cards(name: str) -> None:
    inner = Inner()
    scope = {**scope_of(), "headers": [(name.encode(), b"4242424242424242")]}
    assert run(guard(inner), scope, arriving([b""])).status == 204


def test_the_refusal_can_take_a_protocols_form() -> None:
    sent = run(
        guard(Inner(), refuse=lambda scope, body: (418, error_body("teapot", f"{len(body)}"))),
        scope_of(),
        arriving([CARD.encode()]),
    )
    assert (sent.status, sent.code) == (418, "teapot")


def say(app: App, *texts: str, query: bool = False) -> list[int]:
    """The statuses of requests that say these texts, one after the other."""
    statuses = []
    for text in texts:
        content = b"" if query else json.dumps({"text": text}).encode()
        scope = scope_of(
            query=f"q={text.replace(' ', '+')}".encode() if query else b"", content_type="application/json"
        )
        statuses.append(run(app, scope, arriving([content])).status)
    return statuses


@pytest.mark.parametrize("query", [False, True])
def test_a_card_split_over_the_requests_of_one_conversation_is_refused(*, query: bool) -> None:
    app = guard(Inner(), conversation=lambda scope: "one")
    assert say(app, "4242 4242", "4242 4242", query=query) == [204, 422]


def test_planted_fault_without_a_conversation_the_pieces_pass() -> None:
    for nobody in (None, lambda scope: None):
        assert say(guard(Inner(), conversation=nobody), "4242 4242", "4242 4242") == [204, 204]


def test_what_was_said_long_ago_is_forgotten() -> None:
    times = [0.0, 3600.0]
    app = CardGuard(
        Inner(), maximum_bytes=1000, monotonic_seconds=lambda: times.pop(0), conversation=lambda scope: "one"
    )
    assert say(app, "4242 4242", "4242 4242") == [204, 204]


@given(value=json_values)
def test_every_text_of_a_body_that_could_go_on_is_read_and_nothing_raises(value: Any) -> None:
    content = json.dumps({"a": value, "b": "4242 4242"}).encode()
    texts = spoken_texts(content)
    assert "4242 4242" in texts
    for text in texts:
        may_be_part_of_card(text)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b'"\\ud800"'])
def test_a_body_that_cannot_be_read_holds_no_texts_or_harmless_ones(content: bytes) -> None:
    assert spoken_texts(content) in ([], ["\ud800"])


def test_of_json_rpc_only_the_parameters_are_speech() -> None:
    content = {
        "jsonrpc": "2.0",
        "id": "42424242",
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": "mug"}, "_meta": {"version": "42424242"}},
    }
    assert spoken_texts(json.dumps(content).encode()) == ["search", "mug"]
    assert spoken_texts(b'{"jsonrpc": "2.0", "params": [1]}') == []


@pytest.mark.parametrize("text", ["4242", "4242 4242", "and then 4242", "my card is", "four two four two", "４２４２"])
def test_what_may_go_on_to_be_a_card_is_kept(text: str) -> None:
    assert may_be_part_of_card(text)


@pytest.mark.parametrize("text", ["", "2.0", "2026-07-28", "4210 Main Street", "hp-mug-sea-300ml", "$12.50", "mug"])
def test_what_people_write_beside_their_cards_is_not_kept(text: str) -> None:
    assert not may_be_part_of_card(text)


async def fails_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a kangaroo")


async def fails_after_its_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, (500, error_body("internal", "as the framework says it")))
    raise RuntimeError("a kangaroo")


async def fails_halfway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ExceptionGroup("a kangaroo", [ValueError("a kangaroo")])


@pytest.mark.parametrize(
    ("app", "status", "logged"), [(fails_at_once, 500, 1), (fails_after_its_answer, 500, 0), (fails_halfway, 200, 1)]
)
def test_a_failure_stays_inside_is_answered_once_and_logged_once_without_its_text(
    app: App, status: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        sent = run(Contained(app), scope_of(), arriving([b""]))
    assert sent.status == status
    assert [message["type"] for message in sent].count("http.response.start") == 1
    if status == 500:
        assert sent.code == "internal"
        assert dict(sent[0]["headers"])[b"content-type"] == b"application/json"
    assert len([record for record in caplog.records if "request_failed" in record.getMessage()]) == logged
    assert "kangaroo" not in caplog.text
    assert b"kangaroo" not in sent.body


def test_planted_fault_outside_of_it_the_failure_gets_out() -> None:
    with pytest.raises(RuntimeError, match="kangaroo"):
        run(fails_at_once, scope_of(), arriving([b""]))


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_a_failure_of_what_is_no_request_is_not_answered_as_one(kind: str) -> None:
    assert run(Contained(fails_at_once), scope_of(kind=kind), arriving([b""])) == []


def test_a_cancelled_application_is_cancelled_and_not_answered() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def cancelled() -> list[Message]:
        sent = Sent()
        with anyio.move_on_after(0) as cancelling:
            await Contained(waits)(scope_of(), silence, sent)
        assert cancelling.cancelled_caught
        return sent

    assert anyio.run(cancelled) == []


@given(code=st.text(), message=st.text())
def test_an_error_has_one_shape(code: str, message: str) -> None:
    assert error_body(code, message) == {"error": {"code": code, "message": message}}


@settings(max_examples=50)
@given(status=st.integers(200, 599), value=st.dictionaries(st.text(), json_values, max_size=3))
def test_a_json_answer_says_how_long_it_is_and_is_kept_by_nobody(status: int, value: dict[str, Any]) -> None:
    sent = Sent()
    anyio.run(send_json, sent, (status, value), ((b"x-more", b"1"),))
    headers = dict(sent[0]["headers"])
    assert sent.status == status
    assert json.loads(sent.body) == value
    assert headers[b"content-length"] == str(len(sent.body)).encode()
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-more"] == b"1"


def test_a_body_that_was_read_before_is_held_to_its_limit_again() -> None:
    async def reading(limit: int) -> tuple[bytes, Message]:
        again = replay(b"x" * 10, arriving([b"the rest"]))
        return await read_body(again, limit), await again()

    body, after = anyio.run(reading, 10)
    assert body == b"x" * 10
    assert after["body"] == b"the rest"
    assert refusal_of(lambda: read_body(replay(b"x" * 10, arriving([])), 9)) == (413, "body_too_large")


def _answers_to(guarded: CardGuard, values: Iterable[str]) -> list[int]:
    return [run(guarded, scope_of(user_agent=value), arriving([b""])).status for value in values]


def test_headers_that_come_again_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reading(text: str) -> bool:
        read.append(text)
        return contains_card(text)

    monkeypatch.setattr(edge, "contains_card", reading)
    assert _answers_to(guard(Inner()), ["client/1.0 (linux)"] * 5) == [204] * 5
    assert read.count("client/1.0 (linux)") == 1


def test_a_card_in_a_header_is_refused_each_time_whatever_came_before() -> None:
    guarded = guard(Inner())
    assert _answers_to(guarded, ["4242 4242", CARD, "4242 4242", CARD, CARD]) == [204, 422, 204, 422, 422]
    assert _answers_to(guarded, ["x" * 300 + CARD] * 2) == [422] * 2


def test_planted_fault_a_memory_of_headers_that_takes_any_for_known_lets_a_card_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guarded = guard(Inner())
    assert _answers_to(guarded, ["client/1.0", CARD]) == [204, 422]
    monkeypatch.setattr(guarded._passed, "digest", lambda _: b"one for all")
    assert _answers_to(guarded, ["client/1.0", CARD]) == [204, 204]


def test_a_header_is_read_by_its_name_without_the_blanks_around_it() -> None:
    scope = {"headers": [(b"a", b" \t one \t"), (b"a", b"two"), (b"b", b"caf\xe9")]}
    assert header(scope, b"a") == "one"
    assert header(scope, b"b") == "café"
    assert header(scope, b"c") is None
    assert header({}, b"a") is None
