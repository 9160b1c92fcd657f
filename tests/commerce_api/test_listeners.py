"""The listeners of commerce over real sockets: heads that are too long, too slow or none at all; clients served meanwhile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from commerce_api import listeners
from commerce_api.listeners import HEAD_BYTES, HEAD_LINES, BoundedHeads
from commerce_api.serve import server
from tokenization.edge import Receive, Scope, Send, read_body

pytestmark = pytest.mark.anyio

GET = b"GET /first HTTP/1.1\r\nhost: shop\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n"
POST = b"POST /posted HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody"
BEGUN = b"GET / HTTP/1.1\r\nhost: shop\r\n"
TOO_LONG = {
    "many lines": BEGUN + b"".join(b"x-%d: a\r\n" % number for number in range(HEAD_LINES + 1)) + b"\r\n",
    "long lines": BEGUN + b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1_000) for number in range(40)) + b"\r\n",
    "one line": BEGUN + b"x: " + b"a" * HEAD_BYTES,
    "one name": BEGUN + b"a" * (HEAD_BYTES + 100),
    "the address": b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
    "an address without end": b"GET /" + b"a" * HEAD_BYTES * 2,
}


class Application:
    """Answers each request with its path and the length of its body; ``/held`` when it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = len(await read_body(receive, 1_000_000))
        if scope["path"] == "/held":
            await self.let_go.wait()
        said = f"{scope['path']} {length}\n".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})


@asynccontextmanager
async def listening(application: Any = None, program: uvicorn.Server | None = None) -> AsyncIterator[int]:
    """A listener as our programs have it; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    program = program or server(application or Application(), "127.0.0.1", port)
    task = asyncio.create_task(program.serve(sockets=[listener]))
    try:
        yield port
    finally:
        program.should_exit = True
        await task
        listener.close()


async def said_to(port: int, *sent: bytes, seconds: float = 8) -> bytes:
    """All that the listener says on a fresh connection until it ends it. Raises TimeoutError when it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(seconds):
            for piece in sent:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a head."""
    monkeypatch.setattr(listeners, "HEAD_SECONDS", 0.3)


@pytest.mark.parametrize("sent", TOO_LONG.values(), ids=TOO_LONG.keys())
async def test_a_head_that_is_too_long_is_refused_and_read_no_further(sent: bytes) -> None:
    async with listening() as port:
        said = await said_to(port, sent)
        assert said.startswith(b"HTTP/1.1 431 ")
        assert b"aaaa" not in said
        assert b"/last 0\n" in await said_to(port, LAST)


async def test_a_head_at_its_limits_is_served() -> None:
    lines = b"".join(b"x-%d: a\r\n" % number for number in range(HEAD_LINES - 2))
    async with listening() as port:
        assert b"/last 0" in await said_to(port, LAST.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n"))
        room = HEAD_BYTES - len(LAST) - 100
        assert b"/last 0" in await said_to(port, LAST.replace(b"host: shop", b"host: shop\r\nx: " + b"a" * room))


async def test_requests_are_served_one_after_the_other_however_they_are_cut() -> None:
    together = GET + POST * 3 + LAST
    async with listening() as port:
        for size in (1, 7, 50, len(together)):
            said = await said_to(port, *(together[at : at + size] for at in range(0, len(together), size)))
            assert [said.count(path) for path in (b"/first 0", b"/posted 4", b"/last 0")] == [1, 3, 1]


async def test_a_body_is_no_part_of_a_head() -> None:
    sent = LAST.replace(b"GET", b"POST").replace(b"host: shop", b"host: shop\r\ncontent-length: 200000")
    async with listening() as port:
        assert b"/last 200000" in await said_to(port, sent, b"a" * 200_000)


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("begun", [b"GET /", BEGUN, BEGUN + b"x: "])
async def test_a_head_that_does_not_end_is_late_whatever_trickles_in(begun: bytes) -> None:
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        writer.write(begun)
        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(8):
            said = await reader.readuntil(b"again.\n")
        dripping.cancel()
        writer.close()
    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("brisk")
async def test_who_says_nothing_is_let_go_and_told_nothing() -> None:
    async with listening() as port:
        assert await said_to(port) == b""


@pytest.mark.usefixtures("brisk")
async def test_an_answer_may_take_longer_than_a_head_and_is_not_cut_into(monkeypatch: pytest.MonkeyPatch) -> None:
    application, late = Application(), asyncio.Event()
    is_late = BoundedHeads._head_is_late

    def noted(connection: BoundedHeads) -> None:
        is_late(connection)
        late.set()

    monkeypatch.setattr(BoundedHeads, "_head_is_late", noted)
    async with listening(application) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET.replace(b"/first", b"/held"))
        writer.write(BEGUN)  # of the next, which never ends
        async with asyncio.timeout(8):
            await late.wait()
            application.let_go.set()
            said = await reader.read()
        writer.close()
    first, _, rest = said.partition(b"/held 0\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 408 ")


async def test_what_is_no_http_is_told_so_and_not_repeated() -> None:
    async with listening() as port:
        said = await said_to(port, b"4242 nonsense\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"4242" not in said


async def test_planted_fault_the_servers_own_protocol_reads_on_and_on() -> None:
    config = uvicorn.Config(Application(), http="httptools", ws="none", lifespan="off", log_config=None)
    async with listening(program=uvicorn.Server(config)) as port:
        with pytest.raises(TimeoutError):
            await said_to(port, *[TOO_LONG["one line"]] * 10, seconds=0.5)
