"""Where a client's document may be fetched from, and what is made of it: the guard against requests to inside addresses."""

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.authorization import client_documents
from commerce_api.authorization.client_documents import ClientDocuments, document_address, is_public
from commerce_api.authorization.clients import Client
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from tests.commerce_api.world import TestClock

pytestmark = pytest.mark.anyio

NETWORK = "one household's"
TLS_HANDSHAKE = b"\x16"  # RFC 8446, 5.1


@dataclass
class Host:
    """A web server on loopback that answers what it is told to, and counts."""

    port: int = 0
    answer: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    silent: bool = False

    @property
    def id(self) -> str:
        """The client id of a document there."""
        return f"http://127.0.0.1:{self.port}/client.json"

    def says(self, document: object, *, status: str = "200 OK", kind: str = "application/json", more: str = "") -> None:
        """Sets the answer."""
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n{more}\r\n"
        self.answer = head.encode() + content


@asynccontextmanager
async def hosting() -> AsyncIterator[Host]:
    """A host on a free port."""
    host = Host()

    under_way: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            begun = await reader.readexactly(1)
            if begun != TLS_HANDSHAKE:  # it speaks no TLS
                host.requests.append(begun + await reader.readuntil(b"\r\n\r\n"))
                if host.silent:
                    await reader.read()
                writer.write(host.answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    host.says({"client_id": host.id, "client_name": "Acorn", "redirect_uris": ["https://acorn.example/cb"]})
    try:
        yield host
    finally:
        server.close()
        await asyncio.gather(*(task for task in under_way if task is not None))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A host for one test."""
    async with hosting() as found:
        yield found


def documents(**given: Any) -> ClientDocuments:
    """A fetcher for which loopback is allowed, as a test's configuration may say."""
    return ClientDocuments(given.pop("clock", TestClock()), loopback=True, **given)


async def refused(fetcher: ClientDocuments, identifier: str) -> bool:
    """Whether there is no such client."""
    try:
        await fetcher.client(identifier, NETWORK)
    except OAuthRefused as refusal:
        return refusal.kind is OAuthError.INVALID_CLIENT
    return False


async def test_a_client_is_what_its_document_says(host: Host) -> None:
    assert await documents().client(host.id, NETWORK) == Client(host.id, "Acorn", ("https://acorn.example/cb",))
    [request] = host.requests
    assert b"cookie" not in request.lower()
    assert b"authorization" not in request.lower()


async def test_without_a_tests_configuration_loopback_is_out_of_reach(host: Host) -> None:
    assert await refused(ClientDocuments(TestClock()), host.id)
    assert host.requests == []


@pytest.mark.parametrize(
    "identifier",
    [
        "http://shop.example/client.json",
        "https://shop.example",
        "https://shop.example/",
        "https://shop.example:8443/client.json",
        "https://user@shop.example/client.json",
        "https://user:pass@shop.example/client.json",
        "https://shop.example/client.json?x=1",
        "https://shop.example/client.json?",
        "https://shop.example/client.json#f",
        "https://shop.example/a/../client.json",
        "https://shop.example/%2e%2e/client.json",
        "https://shop.example/a\\b",
        "https:///client.json",
        "ftp://shop.example/client.json",
        "HTTPS://shop.example/client.json",
        "Https://shop.example/client.json",
        "https://Shop.example/client.json",
        "https://shop_1.example/client.json",
        "https://shop.example:/client.json",
        "https://[2606:4700::1111]/client.json",
        "https://shop%2eexample/client.json",
        "https://shop.example;a/client.json",
        "file:///etc/passwd",
        "https://[::1/client.json",
        "https://shop.example/" + "a" * 500,
        "https://shop.exämple/client.json",
        "https://shop.example/cl ient.json",
        "https://shop.example/\r\nx: y",
    ],
)
def test_an_address_that_is_not_plainly_https_is_no_client_id(identifier: str) -> None:
    assert document_address(identifier) is None


@pytest.mark.parametrize("scheme", ["HTTP", "Https"])
async def test_a_tests_configuration_does_not_soften_the_form(host: Host, scheme: str) -> None:
    assert await refused(documents(), host.id.replace("http", scheme, 1))
    assert await refused(documents(), host.id.replace("http://", "http://user@", 1))
    assert host.requests == []


@given(st.text("htpsHTPS:/.@[]-_%aA0", max_size=20))
def test_a_document_has_one_id(text: str) -> None:
    for identifier in (text, f"https://{text}/c", f"https://shop.example{text}/c"):
        parts = document_address(identifier)
        assert parts is None or identifier == f"https://{parts.hostname}{parts.path}"


def test_a_plain_https_address_is_one() -> None:
    parts = document_address("https://shop.example/oauth/client.json")
    assert (parts and parts.hostname, parts and parts.path) == ("shop.example", "/oauth/client.json")


INSIDE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "198.18.0.1", "192.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1"),
    *("::ffff:169.254.169.254", "64:ff9b:1::1"),
]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_that_leads_inside_is_never_connected_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        return ["93.184.215.14", address]  # one public address beside it does not help

    tried: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *given: tried.append(given))
    assert await refused(ClientDocuments(TestClock(), resolve=resolve), "https://shop.example/client.json")
    assert tried == []
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_inside_address_hides_in_no_address_of_version_6(inner: ipaddress.IPv4Address) -> None:
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(inner))
        assert is_public(outer) == is_public(inner)
    outer = ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80))
    assert is_public(outer) == is_public(inner)


async def test_planted_fault_without_the_look_at_addresses_an_inside_one_is_asked(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_documents, "is_public", lambda *_, **__: True)
    monkeypatch.setattr(client_documents, "document_address", lambda identifier, **_: urlsplit(identifier))
    assert not await refused(ClientDocuments(TestClock()), host.id)
    assert len(host.requests) == 1


async def test_the_name_is_looked_up_once_and_what_was_looked_at_is_connected_to(host: Host) -> None:
    """DNS rebinding: a second look-up would say something else."""
    asked: list[str] = []

    async def resolve(name: str, _: int) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    identifier = f"http://localhost:{host.port}/client.json"
    host.says({"client_id": identifier, "redirect_uris": ["https://a.example/cb"]})
    assert (await documents(resolve=resolve).client(identifier, NETWORK)).id == identifier
    assert asked == ["localhost"]
    assert f"host: localhost:{host.port}".encode() in host.requests[0].lower()


async def test_the_certificate_has_to_be_for_the_name(host: Host) -> None:
    """The connection goes to an address, and the name goes along for TLS: a plain server is no https."""
    context = ssl.create_default_context()
    assert await refused(documents(tls=context), f"https://127.0.0.1:{host.port}/client.json")
    assert host.requests == []


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary", "404 Not Found", "500 Broken", "204 None"]
)
async def test_nothing_is_followed_and_only_200_counts(host: Host, status: str) -> None:
    async with hosting() as other:
        document = {"client_id": host.id, "redirect_uris": ["https://acorn.example/cb"]}
        other.says(document)
        host.says(document, status=status, more=f"location: {other.id}\r\n")
        assert await refused(documents(), host.id)
        assert other.requests == []


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "https://other.example/client.json"},
        {"client_id": None},
        {"redirect_uris": ["http://shop.example/cb"]},
        {"redirect_uris": []},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"client_secret": "x"},
    ],
    ids=str,
)
async def test_a_document_about_another_address_or_of_no_public_client_is_refused(
    host: Host, change: dict[str, Any]
) -> None:
    host.says({"client_id": host.id, "redirect_uris": ["https://acorn.example/cb"], **change})
    assert await refused(documents(), host.id)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 10_000], ids=lambda c: str(c[:4])
)
async def test_what_is_no_document_is_refused(host: Host, content: bytes) -> None:
    host.says(content)
    assert await refused(documents(), host.id)


async def test_a_page_is_no_document(host: Host) -> None:
    host.says({"client_id": host.id, "redirect_uris": ["https://acorn.example/cb"]}, kind="text/html")
    assert await refused(documents(), host.id)


async def test_a_long_document_is_cut_off(host: Host) -> None:
    fit = {"client_id": host.id, "redirect_uris": ["https://acorn.example/cb"], "x": ""}
    fit["x"] = "a" * (client_documents.MAXIMUM_BYTES - len(json.dumps(fit)))
    host.says(fit)
    assert not await refused(documents(), host.id)
    host.says({**fit, "x": f"{fit['x']}a"})
    assert await refused(documents(), host.id)


async def test_a_host_that_says_nothing_is_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.silent = True
    monkeypatch.setattr(client_documents, "TIMEOUT_SECONDS", 0.05)
    assert await refused(documents(), host.id)


async def test_documents_and_failures_are_kept_for_their_time(host: Host) -> None:
    clock = TestClock()
    fetcher = documents(clock=clock)
    await fetcher.client(host.id, NETWORK)
    clock.advance(client_documents.KEEP_SECONDS - 1)
    await fetcher.client(host.id, NETWORK)
    assert len(host.requests) == 1
    clock.advance(1)
    host.says({}, status="500 Broken")
    assert [await refused(fetcher, host.id) for _ in range(3)] == [True] * 3
    assert len(host.requests) == 2
    clock.advance(client_documents.FAILURE_SECONDS)
    await refused(fetcher, host.id)
    assert len(host.requests) == 3


async def test_what_is_kept_has_a_bound_and_failures_push_out_no_document(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_documents, "_KEPT_MAXIMUM", 3)
    fetcher = documents()
    await fetcher.client(host.id, NETWORK)
    for number in range(9):
        assert await refused(fetcher, f"http://127.0.0.1:{host.port}/{number}.json")
    assert (len(fetcher._documents), len(fetcher._failures)) == (1, 3)
    asked = len(host.requests)
    await fetcher.client(host.id, NETWORK)
    assert len(host.requests) == asked


async def test_a_document_that_is_asked_for_stays_before_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_documents, "_KEPT_MAXIMUM", 2)
    fetcher = documents()
    async with hosting() as used, hosting() as unused, hosting() as new:
        for host in (used, unused, used, new, used):
            await fetcher.client(host.id, NETWORK)
        assert len(used.requests) == 1
        await fetcher.client(unused.id, NETWORK)
        assert len(unused.requests) == 2


class Slow:
    """Look-ups that wait until they are let go; the addresses are then of nowhere public."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, name: str, _: int) -> list[str]:
        self.asked.append(name)
        await self.go.wait()
        return ["10.0.0.1"]


async def settled() -> None:
    """Lets every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def slow_id(name: object) -> str:
    """A document of a slow host's."""
    return f"https://slow-{name}.example/client.json"


async def outcome(fetcher: ClientDocuments, identifier: str, network: str) -> OAuthError | None:
    """What a request is refused with, if it is."""
    try:
        await fetcher.client(identifier, network)
    except OAuthRefused as refusal:
        return refusal.kind
    return None


async def test_a_network_has_two_fetches_under_way_and_another_network_goes_on(host: Host) -> None:
    slow = Slow()

    async def resolve(name: str, port: int) -> list[str]:
        return await slow(name, port) if name.startswith("slow") else ["127.0.0.1"]

    fetcher = documents(resolve=resolve)
    waiting = [asyncio.create_task(outcome(fetcher, slow_id(number), NETWORK)) for number in range(5)]
    await settled()
    assert len(slow.asked) == client_documents.PER_NETWORK
    assert await outcome(fetcher, host.id, NETWORK) is OAuthError.TEMPORARILY_UNAVAILABLE
    assert await outcome(fetcher, host.id, "another's") is None
    slow.go.set()
    kinds = [await task for task in waiting]
    assert kinds == [OAuthError.INVALID_CLIENT] * 2 + [OAuthError.TEMPORARILY_UNAVAILABLE] * 3
    assert await outcome(fetcher, host.id, NETWORK) is None  # being turned away was not kept


async def test_a_network_begins_so_many_fetches_and_then_one_in_a_while(host: Host) -> None:
    clock = TestClock()
    fetcher = documents(clock=clock)

    async def tried(first: int, count: int) -> list[bool]:
        kinds = [
            await outcome(fetcher, f"http://127.0.0.1:{host.port}/{number}.json", NETWORK)
            for number in range(first, first + count)
        ]
        return [kind is OAuthError.INVALID_CLIENT for kind in kinds]  # it was asked for, and is about another address

    assert await tried(0, client_documents.BURST + 2) == [True] * client_documents.BURST + [False] * 2
    assert len(host.requests) == client_documents.BURST
    clock.advance(client_documents.REFILL_SECONDS)
    assert await tried(100, 2) == [True, False]
    assert await outcome(fetcher, host.id, "another's") is None
    assert await outcome(fetcher, host.id, NETWORK) is None  # what is kept costs nothing
    clock.advance(client_documents.REFILL_SECONDS * client_documents.BURST * 9)
    assert await tried(200, client_documents.BURST + 1) == [True] * client_documents.BURST + [False]


async def test_the_count_of_networks_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_documents, "_NETWORKS_MAXIMUM", 3)
    begun = client_documents._Begun(TestClock())
    assert all(begun.may(f"{number}") for number in range(9))
    assert len(begun._left) == 3


async def test_who_names_what_is_being_fetched_waits_for_that(host: Host) -> None:
    asked: list[str] = []
    go = asyncio.Event()

    async def resolve(name: str, _: int) -> list[str]:
        asked.append(name)
        await go.wait()
        return ["127.0.0.1"]

    fetcher = documents(resolve=resolve)
    waiting = [asyncio.create_task(fetcher.client(host.id, NETWORK)) for _ in range(5)]
    await settled()
    waiting[0].cancel()  # who began it leaves
    await settled()
    go.set()
    assert [(await task).id for task in waiting[1:]] == [host.id] * 4
    assert asked == ["127.0.0.1"]
    assert len(host.requests) == 1
    assert (fetcher._under_way, fetcher._networks) == ({}, {})


async def test_waiting_for_a_turn_is_no_failure_of_the_document(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow hosts hold every turn for as long as they can: who waited behind them is fetched all the same."""
    monkeypatch.setattr(client_documents, "TIMEOUT_SECONDS", 0.3)

    async def resolve(name: str, _: int) -> list[str]:
        if name.startswith("slow"):
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    fetcher = documents(resolve=resolve)
    slow = [
        asyncio.create_task(outcome(fetcher, slow_id(number), f"network {number}"))
        for number in range(2 * client_documents.SIMULTANEOUS)
    ]
    await settled()
    assert await outcome(fetcher, host.id, NETWORK) is None
    assert {await task for task in slow} == {OAuthError.INVALID_CLIENT}


async def test_those_who_wait_for_a_turn_are_counted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_documents, "WAITING", 3)
    slow = Slow()

    async def resolve(name: str, port: int) -> list[str]:
        return await slow(name, port) if name.startswith("slow") else ["127.0.0.1"]

    fetcher = documents(resolve=resolve)
    limit = client_documents.SIMULTANEOUS + 3
    waiting = [
        asyncio.create_task(outcome(fetcher, slow_id(number), f"network {number}")) for number in range(limit + 2)
    ]
    await settled()
    assert len(slow.asked) == client_documents.SIMULTANEOUS
    assert await outcome(fetcher, host.id, NETWORK) is OAuthError.TEMPORARILY_UNAVAILABLE
    slow.go.set()
    kinds = [await task for task in waiting]
    assert kinds == [OAuthError.INVALID_CLIENT] * limit + [OAuthError.TEMPORARILY_UNAVAILABLE] * 2
    assert await outcome(fetcher, host.id, NETWORK) is None


async def test_names_are_looked_up_in_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def look_up(*_: object, **__: object) -> list[Any]:
        threads.append(threading.current_thread().name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert await refused(ClientDocuments(TestClock()), "https://shop.example/client.json")
    assert [name.startswith("client-document-names") for name in threads] == [True]
