"""What every listener of the zone does before a request reaches the code: bounds on connections, time, size and form.

The server's own protocol bounds neither the time that a request's head may take nor its size, counts idle connections against
those that work, and repeats its own words to who sends nonsense. What must hold for each connection:

1. It is one of the gate's (vault_zone/connections.py), or is refused in one line.
2. Until its first byte, for a request's head, for a request's body and between requests it has so many seconds, whatever
   trickles in meanwhile; then it ends. Only a head that is late is told why: nobody listens in the other cases.
3. A head has at most so many bytes and lines.
4. A request that is no HTTP is answered 400 with a fixed text: nothing of it is repeated or logged.
5. An answer that is under way is not cut into by a later request on the same connection, and who does not take an answer does
   not keep its connection.
"""

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tokenization import listening
from tokenization.addresses import UNKNOWN, Network
from vault_zone.connections import Gate, Limits

log = structlog.get_logger("vault_zone")
_WORDS = {
    HTTPStatus.BAD_REQUEST: "This is not a request that can be read here.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time. Send it again.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request's head is too long. Clear this site's cookies and try again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many connections just now. Nothing was charged. Wait a moment and try again.",
}


class _HeadRefused(Exception):
    """The head of a request breaks a limit; the parser stops at it."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, within its limits (1) to (5)."""

    def __init__(self, gate: Gate, **server: Any) -> None:
        super().__init__(**server)
        self.peer = UNKNOWN
        self._gate = gate
        self._limits = gate.limits
        self._alarm: asyncio.TimerHandle | None = None
        self._in_request = False  # from the first byte of a head to the last byte of its body
        self._head_done = False
        self._head_bytes = 0
        self._refusal = HTTPStatus.BAD_REQUEST

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection, or refuses it (1)."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.peer = self.client[0] if self.client else UNKNOWN
        if not self._gate.admit(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._after(self._limits.first_byte_seconds, self._end)  # (2)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, whoever ended it."""
        self._unset()
        self._gate.leave(self)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, if what came keeps to the limits."""
        if self.transport.is_closing():
            return
        if not self._in_request:
            self._begin_head()
        if not self._head_done:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._head_done and self._head_bytes > self._limits.head_bytes and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)  # (3)

    def on_message_begin(self) -> None:
        """The parser sees a request; one that was sent ahead begins here, without data of its own."""
        super().on_message_begin()
        if not self._in_request:
            self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of a head (3)."""
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """A head is whole: its body has its own time (2)."""
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self._limits.head_bytes:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)  # (3)
        self._head_done = True
        self._after(self._limits.body_seconds, self._end)
        self._gate.waits(self)
        super().on_headers_complete()
        if len(self.pipeline) > self._limits.pipelined:
            self._stop(HTTPStatus.BAD_REQUEST)

    def on_message_complete(self) -> None:
        """A request is whole: from here on the connection waits for us."""
        super().on_message_complete()
        self._in_request = self._head_done = False
        self._head_bytes = 0
        self._unset()
        if not self.cycle.response_complete:
            self._gate.answers(self)

    def on_response_complete(self) -> None:
        """An answer is written: the connection waits for its client again."""
        super().on_response_complete()
        if self._in_request:
            self._unset_keepalive_if_required()  # the next head, or the rest of a body answered early, has a time of its own
        if self.transport.is_closing():
            self._soon_gone()
        elif self.cycle.response_complete:
            self._gate.waits(self)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came between two requests (2)."""
        self._end()

    def send_400_response(self, msg: str) -> None:
        """The parser stopped: at what is no HTTP, or at what one of the limits said (3) (4)."""
        self._refuse(self._refusal)

    def drop(self) -> None:
        """Ends the connection at once, as the gate asks (1)."""
        self._unset()
        if self.transport is not None:
            self.transport.abort()

    def _begin_head(self) -> None:
        self._in_request = True
        self._head_done = False
        self._head_bytes = 0
        self._after(self._limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_answering():
            self._after(self._limits.head_seconds, self._head_is_late)  # (5) its turn has not come
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _stop(self, status: HTTPStatus) -> None:
        self._refusal = status
        raise _HeadRefused

    def _refuse(self, status: HTTPStatus) -> None:
        if self._is_answering():  # (5)
            if self.pipeline or self.cycle.response_started or not self._head_done:
                self.drop()
                return
            self.cycle.disconnected = (
                True  # its body broke off: the application hears that, and what it says goes nowhere
            )
        words = f"{_WORDS[status]}\n".encode("ascii")
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(words)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
            f"{'retry-after: 5' + chr(13) + chr(10) if status is HTTPStatus.SERVICE_UNAVAILABLE else ''}"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + words)
        self._end()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end(self) -> None:
        self._unset()
        if not self.transport.is_closing():
            self.transport.close()
        self._soon_gone()

    def _soon_gone(self) -> None:  # (5) a peer that takes nothing would keep the connection in closing for ever
        self._after(self._limits.closing_seconds, self.transport.abort)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._unset()
        self._alarm = self.loop.call_later(seconds, act)

    def _unset(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class Listener(uvicorn.Server):
    """A server that bounds the time of a TLS handshake too: uvicorn's own waits a minute for each."""

    handshake_seconds = 5.0

    async def startup(self, sockets: Any = None) -> None:
        """Listens. Raises SystemExit where the address cannot be had, as uvicorn does."""
        await super().startup(sockets=[])
        config, loop = self.config, asyncio.get_running_loop()
        protocol = functools.partial(
            cast(Any, config.http_protocol_class),
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        tls: dict[str, Any] = {"ssl": config.ssl, "ssl_handshake_timeout": self.handshake_seconds} if config.ssl else {}
        try:
            server = await loop.create_server(protocol, config.host, config.port, backlog=config.backlog, **tls)
        except OSError as failure:
            log.error("cannot_listen", host=config.host, port=config.port, reason=os.strerror(failure.errno or 0))
            listening.tell(listening.REFUSED, config.port)
            raise SystemExit(STARTUP_FAILURE) from None
        self.servers = [server]
        listening.tell(listening.LISTENING, config.port)
        log.info("listening", host=config.host, port=server.sockets[0].getsockname()[1], tls=bool(tls))


def bounded(
    protocol: type[BoundedProtocol], limits: Limits, trusted: Sequence[Network] = ()
) -> functools.partial[BoundedProtocol]:
    """The protocol of one listener, for uvicorn's ``http``; its connections share one gate."""
    return functools.partial(protocol, Gate(limits, trusted))
