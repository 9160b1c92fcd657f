"""A destination in a test: a real TLS server on loopback with a certificate of its own authority, and whatever manners."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vault_zone.hazmat.pki import create_authority, issue_identity

Answer = Callable[["Seen"], Awaitable[bytes]]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer's bytes."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def plain(_: Seen) -> bytes:
    """A processor that behaves."""
    return http(b'{"id": "ch_abc", "status": "succeeded", "last4": "4242"}', content_type="application/json")


@dataclass
class Destination:
    """The server: what it saw, and how it answers."""

    directory: Path
    port: int = 0
    answer: Answer = plain
    close_before_answer: bool = False
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    effects: dict[str, int] = field(default_factory=dict)  # by idempotency header, as one that honours it keeps them

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            seen = Seen(head[0], headers, body)
            self.seen.append(seen)
            key = headers.get("idempotency-key", f"none-{len(self.seen)}")
            self.effects[key] = self.effects.get(key, 0) + 1
            if not self.close_before_answer:
                writer.write(await self.answer(seen))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the caller hung up
        finally:
            writer.close()


@asynccontextmanager
async def destination(directory: Path, *, hosts: tuple[str, ...] = ("localhost",)) -> AsyncIterator[Destination]:
    """A running destination whose certificate names ``hosts``; ``directory``/ca.crt is its authority."""
    now = datetime.now(UTC)
    create_authority(directory / "authority", now)
    issue_identity(directory / "authority", directory, "destination", now, hosts=hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "destination.crt", directory / "destination.key")
    made = Destination(directory)
    server = await asyncio.start_server(made.serve_one, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
