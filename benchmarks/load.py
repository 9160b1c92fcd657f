"""Clients that ask one after the other over connections that stay: as little of their own work as Python allows."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, cast

STATUS = slice(9, 12)  # of an answer's first line


class Load(NamedTuple):
    """What a number of clients got for how long."""

    rate: float
    milliseconds: list[float]


class Unexpected(Exception):
    """An answer that the benchmark does not count. Holds its status alone."""


class _Client(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], bytes], expected: bytes, until: float) -> None:
        self._next_request = next_request
        self._expected = expected
        self._until = until
        self._received = b""
        self._sent_at = 0.0
        self.milliseconds: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or not _is_whole(head.lower(), body):
            return
        now = time.perf_counter()
        self.milliseconds.append((now - self._sent_at) * 1000)
        if head[STATUS] != self._expected:
            self._end(Unexpected(head[STATUS].decode("ascii", "replace")))
        elif now >= self._until:
            self._end(None)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or Unexpected("connection closed"))

    def _ask(self) -> None:
        self._received = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._next_request())

    def _end(self, failure: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(failure) if failure else self.done.set_result(None)
            self._transport.close()


def _is_whole(head: bytes, body: bytes) -> bool:
    """Whether a body, by its length or in chunks, has come to its end. ``head`` is in lower case."""
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"\r\n0\r\n\r\n")
    name = head.index(b"content-length:")
    return len(body) >= int(head[name + 15 :].split(b"\r\n", 1)[0])


async def load(port: int, next_request: Callable[[], bytes], *, clients: int, seconds: float, expected: int) -> Load:
    """So many clients at once for so long. Raises Unexpected for an answer of another status."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _Client(next_request, str(expected).encode(), started + seconds), "127.0.0.1", port
        )
        for _ in range(clients)
    ]
    await asyncio.gather(*(client.done for _, client in made))
    took = time.perf_counter() - started
    milliseconds = [one for _, client in made for one in client.milliseconds]
    return Load(len(milliseconds) / took, milliseconds)


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """One request as it goes over the wire."""
    told = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body
