"""A listener of the zone over real sockets, in this process, and a client that does what no browser does."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import uvicorn

from vault_zone.listeners import Listener

DONE = b"HTTP/1.1 200 OK"
GET = b"GET / HTTP/1.1\r\nhost: zone\r\n\r\n"


class Running(NamedTuple):
    """A listener that listens."""

    server: uvicorn.Server
    port: int
    lines: list["Line"]

    async def open(self, source: str | None = None) -> "Line":
        """A connection, from an address of this machine's own network."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0) if source else None
        )
        self.lines.append(Line(reader, writer))
        return self.lines[-1]

    async def said_to(self, sent: bytes) -> bytes:
        """All that the listener says on a fresh connection until it ends it."""
        line = await self.open()
        await line.send(sent)
        return await line.rest()


class Line(NamedTuple):
    """One connection of the client's."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Sends, whether or not anybody listens."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return

    async def rest(self, seconds: float = 8) -> bytes:
        """What comes until the listener ends the connection. Raises TimeoutError when it does not."""
        said = bytearray()
        async with asyncio.timeout(seconds):
            try:
                while chunk := await self.reader.read(65536):
                    said += chunk
            except OSError:
                pass
        return bytes(said)

    async def trickle(self, data: bytes, pause_seconds: float = 0.05) -> bytes:
        """Sends one byte after the other for ever, with a pause; returns what came when the listener had enough."""

        async def drip() -> None:
            while True:
                await self.send(data)
                await asyncio.sleep(pause_seconds)

        dripping = asyncio.create_task(drip())
        try:
            return await self.rest()
        finally:
            dripping.cancel()

    def close(self) -> None:
        """Ends it."""
        self.writer.transport.abort()


@asynccontextmanager
async def listening(config: uvicorn.Config, server_class: type[uvicorn.Server] = Listener) -> AsyncIterator[Running]:
    """Runs a server on a free port until the block ends."""
    config.port = 0
    server = server_class(config)
    cast(Any, server).capture_signals = _no_signals
    serving = asyncio.create_task(server.serve())
    await until(lambda: bool(getattr(server, "servers", None)) or serving.done())
    running = Running(server, server.servers[0].sockets[0].getsockname()[1], [])
    try:
        yield running
    finally:
        for line in running.lines:
            line.close()
        server.should_exit = server.force_exit = True
        await serving


class _no_signals:  # noqa: N801  # stands for a method
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Waits for what another task brings about. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # a server tells nobody that it has begun or that a connection has ended
            await asyncio.sleep(0.01)


def allow_many_files() -> None:
    """Both ends of each connection are in this process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if most == resource.RLIM_INFINITY else min(most, 8192)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
