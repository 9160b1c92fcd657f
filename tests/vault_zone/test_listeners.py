"""The listeners over real sockets: slow, idle, endless, malformed and greedy clients, and a shopper who is served meanwhile."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.authority import issue_to, make_zone_files, zone_over
from tests.vault_zone.callers import zone_of
from tests.vault_zone.listening import DONE, GET, Running, allow_many_files, listening, until
from tests.vault_zone.world import ACTOR, capture_request, zone_world
from tokenization.edge import BodyLimit, Receive, Scope, Send
from vault_zone.app import internal_app, public_app
from vault_zone.capture import open_session
from vault_zone.connections import Limits
from vault_zone.listeners import BoundedProtocol, Listener, bounded
from vault_zone.serve import PUBLIC_LIMITS, internal_config, public_config

pytestmark = pytest.mark.anyio
BRISK = Limits(
    first_byte_seconds=0.4, head_seconds=0.4, body_seconds=0.4, idle_seconds=0.4, closing_seconds=0.3, connections=40
)
POST = b"POST / HTTP/1.1\r\nhost: zone\r\ncontent-length: 100\r\n\r\n"


class Application:
    """Answers each request with its path once its body has come; ``/held`` when it is let go, ``/large`` at length."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                break
        self.begun += 1
        if scope["path"] == "/held":
            await self.let_go.wait()
        said = b"x" * 20_000_000 if scope["path"] == "/large" else scope["path"].encode() + b"\n"
        head = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": said})


@asynccontextmanager
async def running(limits: Limits = BRISK, application: Any = None) -> AsyncIterator[Running]:
    """A listener with these limits over the application."""
    allow_many_files()
    protocol = cast(Any, bounded(BoundedProtocol, limits))
    config = uvicorn.Config(
        application or Application(),
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=cast(int, limits.idle_seconds),
        server_header=False,
        date_header=False,
    )
    async with listening(config) as listener:
        yield listener


@requirement("6.2.4")
async def test_who_says_nothing_is_let_go_without_a_word() -> None:
    async with running() as listener:
        assert await (await listener.open()).rest() == b""


@requirement("6.2.4")
@pytest.mark.parametrize(
    ("begins", "drip", "status"),
    [
        (b"GET / HTTP/1.1\r\n", b"a", b"HTTP/1.1 408"),  # a head that never ends
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n", b"HTTP/1.1 408"),  # line by line
        (b"", b"\r\n", b"HTTP/1.1 408"),  # blank lines before a request
        (POST, b"a", b""),  # a body: the application is the one to answer, and here it waits
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", b""),
    ],
)
async def test_what_trickles_in_extends_no_limit(begins: bytes, drip: bytes, status: bytes) -> None:
    async with running() as listener:
        line = await listener.open()
        await line.send(begins)
        said = await line.trickle(drip)
        assert said.startswith(status)
        assert bool(said) == bool(status)


async def test_the_servers_own_protocol_would_have_waited_for_ever() -> None:
    config = uvicorn.Config(Application(), http="httptools", lifespan="off", log_config=None)
    async with listening(config, uvicorn.Server) as listener:
        line = await listener.open()
        await line.send(b"GET / HTTP/1.1\r\n")
        with pytest.raises(TimeoutError):
            await line.rest(seconds=1.5)


async def test_between_two_requests_nothing_and_blank_lines_are_the_same() -> None:
    for drip in (b"", b"\r\n"):
        async with running() as listener:
            line = await listener.open()
            await line.send(GET)
            assert (await line.trickle(drip)).startswith(DONE)


async def test_who_takes_no_answer_does_not_keep_its_connection() -> None:
    async with running() as listener:
        line = await listener.open()
        await line.send(b"GET /large HTTP/1.1\r\n\r\n")
        await until(lambda: listener.server.server_state.total_requests == 1)
        await until(lambda: not listener.server.server_state.connections)
        assert len(await line.rest()) < 20_000_000


@requirement("6.2.4")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\ncookie: " + b"a" * 40_000, b"HTTP/1.1 431"),
        (b"GET / HTTP/1.1\r\ncookie: " + b"a" * 17_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 431"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 65 + b"\r\n", b"HTTP/1.1 431"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 60 + b"\r\n", DONE),
        (b"GET / HTTP/1.1\r\ncookie: " + b"a" * 15_000 + b"\r\n\r\n", DONE),
    ],
)
async def test_a_head_is_bounded_in_bytes_and_lines(sent: bytes, status: bytes) -> None:
    async with running() as listener:
        assert (await listener.said_to(sent)).startswith(status)


@requirement("6.2.4", "3.4.1")
@pytest.mark.parametrize(
    "sent",
    [
        b"number=4242424242424242\r\n\r\n",
        b"GET / HTTP/4242424242424242\r\n\r\n",
        b"4242424242424242 / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n4242 4242 4242 4242: a\r\n\r\n",
        b"GET http://[4242424242424242 HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 4242424242424242424242\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4242-4242-4242-4242\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n4242424242424242",
        b"CONNECT 4242424242424242 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting",
    ],
)
async def test_what_is_no_http_is_answered_with_a_fixed_text(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running() as listener:
            said = await listener.said_to(sent)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said.endswith(b"This is not a request that can be read here.\n")
    assert b"4242" not in said
    assert "4242" not in caplog.text


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", GET, POST, b"GET /", b": "])), max_size=8))
async def test_any_bytes_are_answered_or_dropped_and_the_next_shopper_is_served(pieces: list[bytes]) -> None:
    async with running(replace(BRISK, first_byte_seconds=0.05, head_seconds=0.05, body_seconds=0.05)) as listener:
        line = await listener.open()
        await line.send(b"".join(pieces))
        said = await line.rest()
        assert all(status in (b"200", b"400", b"408") for status in statuses(said))
        assert (await listener.said_to(GET)).startswith(DONE)


def statuses(said: bytes) -> list[bytes]:
    return [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]


async def test_requests_sent_ahead_are_answered_in_order_and_are_few() -> None:
    async with running() as listener:
        paths = [b"/%d" % number for number in range(6)]
        said = await listener.said_to(b"".join(b"GET %b HTTP/1.1\r\n\r\n" % path for path in paths))
        assert [line for line in said.splitlines() if line.startswith(b"/")] == paths
        assert await listener.said_to(GET * 200) == b""


async def test_an_answer_under_way_is_not_cut_into_by_nonsense_behind_it() -> None:
    application = Application()
    async with running(application=application) as listener:
        line = await listener.open()
        await line.send(b"GET /held HTTP/1.1\r\n\r\n" + b"nonsense\r\n\r\n")
        assert await line.rest() == b""
        application.let_go.set()


async def test_a_late_second_head_does_not_cut_off_the_answer_to_the_first() -> None:
    application = Application()
    async with running(application=application) as listener:
        line = await listener.open()
        await line.send(b"GET /held HTTP/1.1\r\n\r\nGET /second HT")
        asyncio.get_running_loop().call_later(3 * BRISK.head_seconds, application.let_go.set)
        said = await line.rest()
    assert statuses(said) == [b"200", b"408"]


@requirement("6.2.4")
async def test_when_all_are_at_work_a_new_one_is_told_what_to_do_and_the_others_are_answered() -> None:
    application = Application()
    limits = replace(PUBLIC_LIMITS, connections=3)
    async with running(limits, application) as listener:
        lines = [await listener.open() for _ in range(3)]
        for line in lines:
            await line.send(b"GET /held HTTP/1.1\r\nconnection: close\r\n\r\n")
        await until(lambda: application.begun == 3)
        refused = await listener.said_to(b"")
        assert refused.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert b"retry-after: 5" in refused
        assert b"Nothing was charged. Wait a moment and try again." in refused
        application.let_go.set()
        assert [(await line.rest()).startswith(DONE) for line in lines] == [True] * 3


async def idle_crowd(listener: Running, count: int, sources: int = 1) -> None:
    """Connections that say nothing or half a word, from one address or several."""
    for number in range(count):
        line = await listener.open(f"127.0.0.{2 + number % sources}")
        if number % 2:
            await line.send(b"GET /capture/")


@requirement("6.2.4")
@pytest.mark.parametrize(
    ("trusted", "sources"), [((), 1), ((), 40), (("127.0.0.0/8",), 1)], ids=["one address", "many", "behind a proxy"]
)
async def test_six_hundred_idle_sockets_do_not_keep_a_shopper_from_the_card_page(
    trusted: tuple[str, ...], sources: int, tmp_path: Path
) -> None:
    import ipaddress

    allow_many_files()
    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world:
        _, secret = await world.database.change(lambda tx: open_session(tx, capture_request(), ACTOR))
        zone = zone_of(world)
        zone_settings = replace(zone.settings, trusted_proxies=tuple(map(ipaddress.ip_network, trusted)))
        async with listening(public_config(public_app(zone), zone_settings)) as listener:
            await idle_crowd(listener, 600, sources)
            said = await listener.said_to(
                f"GET /capture/{secret} HTTP/1.1\r\nhost: zone\r\nconnection: close\r\n\r\n".encode()
            )
            held = len(listener.server.server_state.connections)
    assert said.startswith(DONE)
    assert b"$109.05" in said
    assert held <= PUBLIC_LIMITS.connections


async def test_they_do_where_idle_connections_count_against_those_that_work() -> None:
    allow_many_files()
    config = uvicorn.Config(Application(), http="httptools", lifespan="off", log_config=None, limit_concurrency=512)
    async with listening(config, uvicorn.Server) as listener:
        await idle_crowd(listener, 600)
        said = await listener.said_to(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 503")


class BriskListener(Listener):
    """Does not wait long for a handshake."""

    handshake_seconds = 0.5


@requirement("6.2.4")
async def test_six_hundred_sockets_that_never_greet_do_not_keep_commerce_out(tmp_path: Path) -> None:
    allow_many_files()
    make_zone_files(tmp_path)
    issue_to(tmp_path, "commerce")
    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world:
        zone = zone_over(world, tmp_path)
        config = internal_config(internal_app(zone), zone.settings, zone.access)
        async with listening(config, BriskListener) as listener:
            crowd = [await listener.open() for _ in range(600)]
            context = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.crt"))
            context.load_cert_chain(tmp_path / "commerce" / "commerce.crt", tmp_path / "commerce" / "commerce.key")
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
            writer.write(b"GET /v1/health HTTP/1.1\r\nhost: zone\r\nconnection: close\r\n\r\n")
            said = await reader.read()
            writer.close()
            assert [await line.rest() for line in crowd] == [b""] * 600  # and each of them is let go
    assert said.startswith(DONE)


async def test_the_body_of_a_card_form_that_stops_is_answered_by_the_edge() -> None:
    edge = BodyLimit(Application(), maximum_bytes=10)
    async with running(application=edge) as listener:
        assert (await listener.said_to(POST + b"a" * 100)).startswith(b"HTTP/1.1 413")


async def test_the_address_of_a_client_is_never_what_its_own_header_says(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])
        await Application()(scope, receive, send)

    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world:
        config = public_config(look, zone_of(world).settings)
        async with listening(config) as listener:
            await listener.said_to(b"GET / HTTP/1.1\r\nx-forwarded-for: 198.51.100.1\r\nconnection: close\r\n\r\n")
    assert seen == ["127.0.0.1"]
