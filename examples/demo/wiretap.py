"""Records what two processes say to each other: a proxy that ends TLS with certificates of both sides, and keeps the bytes.

The recording is in memory only: on the leg to the processor it holds the card.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CHUNK_BYTES = 64 * 1024
HOST = "127.0.0.1"


@dataclass
class Wiretap:
    """One recorded leg, listening on its own port in a thread of its own."""

    name: str
    target_port: int
    listen_context: ssl.SSLContext | None = None
    target_context: ssl.SSLContext | None = None
    port: int = 0
    recorded: list[bytes] = field(default_factory=list, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set, repr=False)

    @classmethod
    def between_sides(cls, target_port: int, own: Path, caller: Path) -> Self:
        """The leg from commerce to the zone: shows ``own`` as the server, and presents the caller's identity to the zone."""
        listen = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(own / "ca.crt"))
        listen.load_cert_chain(own / "wiretap.crt", own / "wiretap.key")
        listen.verify_mode = ssl.CERT_REQUIRED
        speak = ssl.create_default_context(cafile=str(caller / "ca.crt"))
        speak.load_cert_chain(caller / "commerce.crt", caller / "commerce.key")
        return cls("commerce ↔ zone", target_port, listen, speak)

    def bytes_recorded(self) -> bytes:
        """Everything said so far, both ways, in the order it was seen."""
        return b"".join(self.recorded)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Records while the block runs."""
        started = threading.Event()
        thread = threading.Thread(target=self._run, args=(started,), name=f"wiretap {self.name}", daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._connected, HOST, self.port, ssl=self.listen_context)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._stop.wait()
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run(main())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        ends = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self.target_port, ssl=self.target_context)
            ends.append(there_writer)
            await asyncio.gather(self._pipe(reader, there_writer), self._pipe(there_reader, writer))
        except OSError:
            return  # nobody listens there: the caller sees the connection end
        except asyncio.CancelledError:
            # The recording ends, and its loop with it: no farewell would be sent, and a socket that waits for one stays open.
            # Not raised again: asyncio's own callback would report a cancelled connection as a failure.
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()
            if task is not None:
                self._tasks.discard(task)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            while chunk := await source.read(CHUNK_BYTES):
                self.recorded.append(chunk)
                target.write(chunk)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()
            else:
                target.close()
