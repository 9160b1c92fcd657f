"""Connections that end without a reply, and waits that end early: the ways in which a processor disappoints."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.logs import Log
from vault_zone.processors.sandbox_server.wire import refusal_object

# The ASGI extension by which the server lends the application its transport's close().
CLOSE_EXTENSION: Final = "cordon.sandbox.close"

Waiter = Callable[[float], Awaitable[None]]


class ClosingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a way for the application to close the connection: ASGI itself has none.

    Not answering is no way: for an application that returns without a response uvicorn sends a 500.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        app = self.app

        async def with_close(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), CLOSE_EXTENSION: transport.close}
            await app(scope, receive, send)

        self.app = with_close

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is refused in the sandbox's own words, labelled like every other answer."""
        refusal = Refusal(ErrorCode.INVALID_REQUEST)
        body = json.dumps(refusal_object(refusal)).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nX-Sandbox: true\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class NoReply(Response):
    """Ends the connection without a single byte of response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Closes the transport and waits until the server has noticed, so that it sends nothing in our place."""
        scope["extensions"][CLOSE_EXTENSION]()
        while (await receive())["type"] != "http.disconnect":
            pass


class Holds:
    """Waits that a departing client or a stopping server cuts short."""

    def __init__(self, waiter: Waiter, stopping: asyncio.Event, log: Log) -> None:
        """``waiter`` waits that many seconds; ``stopping`` is set when the server begins to stop."""
        self._waiter = waiter
        self._stopping = stopping
        self._log = log

    async def pause(self, seconds: float) -> bool:
        """Waits, whether or not the client stays. False when the server is stopping: then do nothing further."""
        if not self._stopping.is_set():
            self._log("waiting", seconds=f"{seconds:g}")
            await _first_of(self._waiter(seconds), self._stopping.wait())
        return not self._stopping.is_set()

    async def hold(self, seconds: float, receive: Receive) -> None:
        """Keeps a silent connection open until the time is up, the client leaves or the server stops."""
        if not self._stopping.is_set():
            self._log("holding", seconds=f"{seconds:g}")
            await _first_of(self._waiter(seconds), self._stopping.wait(), _departure(receive))


async def news_or(news: asyncio.Event, waiter: Waiter, seconds: float | None) -> None:
    """Waits for news, or until so many seconds have passed; without them for news alone."""
    waits: list[Awaitable[object]] = [news.wait()]
    if seconds is not None:
        waits.append(waiter(seconds))
    await _first_of(*waits)


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
