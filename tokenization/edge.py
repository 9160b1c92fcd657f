"""The outer edge of every HTTP program: bounded bodies, no card-like text, errors that echo nothing.

Plain ASGI, so the same code stands before FastAPI, Starlette and the MCP SDK. What holds for a request that passes CardGuard:
 1. Its body is at most ``maximum_bytes`` long and arrived within ``body_timeout_seconds``.
 2. Neither path, query, headers that people fill, nor body hold card-like text (I2), alone or with what the same
    conversation sent just before. An idempotency key that is a UUID is not read (opaque_keys.py).
 3. Nothing of a refused request was logged, stored or passed on.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, cast
from urllib.parse import parse_qsl, unquote_plus

from tokenization import opaque_keys
from tokenization.logs import cause_of
from tokenization.scanner import ConversationScanner, contains_card, contains_card_in_bytes
from tokenization.scanner.fold import fold
from tokenization.scanner.fragments import fragments_of
from tokenization.scanner.inert import is_inert
from tokenization.scanner.lexicon import CARD_WORDS
from tokenization.scanner.passed import LONGEST_CHARS, Passed
from tokenization.scanner.views import View

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = tuple[int, dict[str, Any]]

BODY_TIMEOUT_SECONDS = 15.0
# What is read and thrown away of a body that is too long: a client still sending would lose the answer with its connection.
DRAIN_BYTES = 256 * 1024
CARD_TEXT_CODE = "card_text_refused"
CARD_TEXT_MESSAGE = (
    "This looks like a card number, and card numbers are never taken here. Nothing of it was kept. "
    "Send the shopper to the payment link of the checkout; the card is entered there and nowhere else."
)
INTERNAL_CODE = "internal"
INTERNAL_MESSAGE = "Something failed here that is ours to mend. Nothing is lost; ask for the state, then try again."
MAXIMUM_TEXTS = 64  # of one request that are read with what was said before; each of them is also read by itself
MAXIMUM_DEPTH = 12  # of a JSON body in which such texts are looked for; the deepest request here is half of that
_HALF_A_CARD_DIGITS = 8
log = logging.getLogger("edge")
# Headers that software sets for itself are left alone: a trace id is not a card.
_UNSCANNED_HEADERS = frozenset(
    {b"authorization", b"cookie", b"traceparent", b"tracestate", b"x-request-id", b"content-length"}
)


def error_body(code: str, message: str) -> dict[str, Any]:
    """The one shape of an error: ``{"error": {"code", "message"}}``."""
    return {"error": {"code": code, "message": message}}


async def send_json(send: Send, answer: Answer, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Sends a whole JSON answer."""
    status, content = answer
    body = json.dumps(content, separators=(",", ":")).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


class BodyRefused(Exception):
    """A body that is too long, too slow or cut off. ``code`` names which."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.answer: Answer = (status, error_body(code, message))


async def read_body(receive: Receive, maximum_bytes: int, timeout_seconds: float = BODY_TIMEOUT_SECONDS) -> bytes:
    """The whole body, bounded in length and time. Raises BodyRefused."""  # (1)
    if isinstance(receive, _Replayed) and receive.body is not None and len(receive.body) <= maximum_bytes:
        return cast(bytes, (await receive())["body"])  # it is here already
    chunks: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _too_large(maximum_bytes) if length > maximum_bytes else _cut_off()
                chunk = message.get("body", b"")
                length += len(chunk)
                ended = not message.get("more_body")
                if length <= maximum_bytes:
                    chunks.append(chunk)
                elif ended or length > maximum_bytes + DRAIN_BYTES:
                    raise _too_large(maximum_bytes)
                if ended:
                    return b"".join(chunks)
    except TimeoutError:
        raise BodyRefused(408, "body_too_slow", "The body did not arrive in time. Send the request again.") from None


def _too_large(maximum_bytes: int) -> BodyRefused:
    return BodyRefused(413, "body_too_large", f"The body may be at most {maximum_bytes} bytes long.")


def _cut_off() -> BodyRefused:
    return BodyRefused(400, "body_cut_off", "The connection ended before the body did. Send the request again.")


def replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was already read, then what the connection says."""
    return _Replayed(body, receive)


class _Replayed:
    """See replay()."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self.body = self.body, None
        return await self._receive() if body is None else {"type": "http.request", "body": body, "more_body": False}


def header(scope: Scope, name: bytes) -> str | None:
    """A request header's text without blanks around it, or None. Names are lower case."""
    for key, value in scope.get("headers", ()):
        if key == name:
            text: str = value.decode("latin-1").strip(" \t")  # some parsers leave the blanks (RFC 9110, 5.5)
            return text
    return None


def bearer_of(presented: str) -> str | None:
    """What an ``Authorization`` header presents by the one scheme that there is, however it is spelt (RFC 6750, 2.1)."""
    scheme, _, credential = presented.partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


class Contained:
    """Keeps a failure inside: it is logged by its kind and place and never by its text, and answered if nothing was yet."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = ended = False

        async def watched(message: Message) -> None:
            nonlocal started, ended
            started = started or message["type"] == "http.response.start"
            ended = ended or (message["type"] == "http.response.body" and not message.get("more_body"))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as failure:  # noqa: BLE001  # whatever it is: the server would log it with its text
            if not ended:  # a framework that answered it has logged it too
                log.error("request_failed cause=%s", cause_of(failure))
            if not started and scope["type"] == "http":
                await send_json(send, (500, error_body(INTERNAL_CODE, INTERNAL_MESSAGE)))


class BodyLimit:
    """Lets only bounded, timely bodies through (1). For the card page, where a card is what is expected."""

    def __init__(self, app: App, *, maximum_bytes: int, longer: tuple[str, int] | None = None) -> None:
        """``longer``: a beginning of paths whose bodies may be so many bytes long."""
        self._app = app
        self._maximum_bytes = maximum_bytes
        self._longer = longer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._maximum_bytes
        if self._longer is not None and scope["path"].startswith(self._longer[0]):
            limit = self._longer[1]
        try:
            body = await read_body(receive, limit)
        except BodyRefused as refused:
            return await send_json(send, refused.answer)
        return await self._app(scope, replay(body, receive), send)


class CardGuard:
    """Refuses card-like text before anything else sees the request (1) (2) (3)."""

    def __init__(
        self,
        app: App,
        *,
        maximum_bytes: int,
        monotonic_seconds: Callable[[], float],
        refuse: Callable[[Scope, bytes], Answer] | None = None,
        conversation: Callable[[Scope], str | None] | None = None,
        on_refusal: Callable[[Scope], Awaitable[None]] | None = None,
    ) -> None:
        """``refuse`` shapes the refusal for a protocol; ``conversation`` names who speaks, to see digits split up."""
        self._app = app
        self._maximum_bytes = maximum_bytes
        self._now_seconds = monotonic_seconds
        self._refuse = refuse or plain_refusal
        self._conversation = conversation
        self._on_refusal = on_refusal
        self._scanner = ConversationScanner()
        self._passed = Passed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            body = await read_body(receive, self._maximum_bytes)
        except BodyRefused as refused:
            return await send_json(send, refused.answer)
        if self._holds_card(scope, body):
            if self._on_refusal:
                await self._on_refusal(scope)
            return await send_json(send, self._refuse(scope, body))
        return await self._app(scope, replay(body, receive), send)

    def _holds_card(self, scope: Scope, body: bytes) -> bool:
        query = scope.get("query_string", b"").decode("latin-1")
        if self._in_text(f"{opaque_keys.path_without_key(scope.get('path', ''))} {unquote_plus(query)}"):
            return True
        if any(self._in_text(text) for text in _headers_to_read(scope)):
            return True
        content_type = header(scope, b"content-type")
        read = opaque_keys.without_key(body, content_type)
        if read and contains_card_in_bytes(read, content_type):
            return True
        return self._in_conversation(scope, query, read)

    def _in_text(self, text: str) -> bool:
        """As contains_card(); a client's headers are the same each time, and read once."""
        if len(text) > LONGEST_CHARS:
            return contains_card(text)
        digest = self._passed.digest(text)
        if digest in self._passed:
            return False
        found = contains_card(text)
        if not found:
            self._passed.add(digest)
        return found

    def _in_conversation(self, scope: Scope, query: str, body: bytes) -> bool:
        speaker = self._conversation(scope) if self._conversation else None
        if speaker is None:
            return False
        texts = [value for _, value in parse_qsl(query)] + spoken_texts(body)
        return any(
            self._scanner.check(speaker, text, self._now_seconds())
            for text in texts[:MAXIMUM_TEXTS]
            if may_be_part_of_card(text)
        )


def read_length(scope: Scope, body: bytes) -> int:
    """How much of a request the guard reads, in bytes or a little more: reading it is what costs."""
    headers = sum(len(value) for name, value in scope["headers"] if name not in _UNSCANNED_HEADERS)
    return len(scope.get("path", "")) + len(scope.get("query_string", b"")) + headers + len(body)


def _headers_to_read(scope: Scope) -> Iterator[str]:
    for name, value in scope["headers"]:
        if name not in _UNSCANNED_HEADERS:
            text = value.decode("latin-1")
            if name != opaque_keys.HEADER or not opaque_keys.is_opaque_key(text):
                yield text


def plain_refusal(_: Scope, __: bytes) -> Answer:
    """The refusal for an ordinary JSON API: 422 with a closed code."""
    return 422, error_body(CARD_TEXT_CODE, CARD_TEXT_MESSAGE)


def spoken_texts(body: bytes) -> list[str]:
    """The strings a person may have typed into a JSON body, in order. Of JSON-RPC only the parameters, without ``_meta``."""
    try:
        value = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return []
    if isinstance(value, dict) and "jsonrpc" in value:
        parameters = value.get("params")
        named = parameters if isinstance(parameters, dict) else {}
        value = {name: child for name, child in named.items() if name != "_meta"}
    return list(_texts(value, 0))


def may_be_part_of_card(text: str) -> bool:
    """Whether digits of the text could go on in the next message, or it speaks of cards.

    A house number does not: it stands among words and is short. Without this, addresses that follow one another would meet.
    """
    if CARD_WORDS.search(text):
        return True
    if is_inert(text):
        return False
    fragments = fragments_of(fold(View(text)).text.lower())
    return any(fragment.bare or len(fragment.digits) >= _HALF_A_CARD_DIGITS for fragment in fragments)


def _texts(node: object, depth: int) -> Iterator[str]:
    if depth > MAXIMUM_DEPTH:
        return
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for name, child in node.items():
            if name != "postal_code":  # in many countries four digits
                yield from _texts(child, depth + 1)
    elif isinstance(node, list):
        for child in node:
            yield from _texts(child, depth + 1)
