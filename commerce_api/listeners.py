"""What a listener of commerce and of the brands' MCP servers does before a request reaches the code: it bounds the head.

The server's own protocol bounds neither how long a request's head is nor how long it may take: who has no key could fill the
memory with lines of one head, or keep connections for ever. What holds for each connection:
 1. A head has at most HEAD_BYTES and HEAD_LINES. One that has more is answered 431 and read no further.
 2. It is there HEAD_SECONDS after its first byte, whatever trickles in meanwhile, and its first byte as long after the
    connection was made. One that is late is answered 408; who said nothing at all is told nothing.
 3. What is no HTTP is answered 400. No answer repeats anything of the request.
 4. An answer that is under way has no other written into it: the connection ends in its stead.
Bodies are bounded by the edge (tokenization/edge.py), the time between two requests by the server (serve.py). How many
connections an address may have is the proxy's to say that stands in front.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 32 * 1024  # an access token of another's server, cookies, and what proxies add
HEAD_LINES: Final = 100
HEAD_SECONDS: Final = 10.0
_WORDS: Final = {
    HTTPStatus.BAD_REQUEST: "This is not a request that can be read here.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time. Send it again.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request's head is too long. Send shorter headers, or fewer.",
}


class _HeadRefused(Exception):
    """A head breaks a limit; the parser stops at it."""


class BoundedHeads(HttpToolsProtocol):
    """One connection, within its limits."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._alarm: asyncio.TimerHandle | None = None
        self._is_between = True  # between two requests: no byte of the next one came
        self._in_head = True
        self._head_bytes = 0
        self._refusal = HTTPStatus.BAD_REQUEST

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for a first byte (2)."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._after(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._unset()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, if what came keeps to the limits."""
        if self.transport.is_closing():
            return
        if self._is_between:
            self._begin_head()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():  # (1)
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The parser sees a request; one that was sent ahead begins here, without data of its own."""
        super().on_message_begin()
        if self._is_between:
            self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of a head (1)."""
        super().on_header(name, value)
        if len(self.headers) > HEAD_LINES:
            self._stop()

    def on_headers_complete(self) -> None:
        """The head is whole. It may have come at once, with more behind it: what counts is the head alone (1)."""
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            self._stop()
        self._in_head = False
        self._unset()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._is_between = True
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """The parser stopped, at what is no HTTP or at a limit (1) (3)."""
        self._refuse(self._refusal)

    def _begin_head(self) -> None:
        self._is_between = False
        self._in_head = True
        self._head_bytes = 0
        self._after(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_answering():
            self._after(HEAD_SECONDS, self._head_is_late)  # (4) its turn has not come
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _stop(self) -> None:
        self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise _HeadRefused

    def _refuse(self, status: HTTPStatus) -> None:
        self._unset()
        if not self._is_answering():  # (4)
            words = f"{_WORDS[status]}\n".encode("ascii")
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(words)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + words)
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._unset()
        self._alarm = self.loop.call_later(seconds, act)

    def _unset(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
