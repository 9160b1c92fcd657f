"""Sends a filled request to its destination, once.

What must hold:
 1. TLS 1.2 or newer, the certificate verified for the entry's host; with a pinned authority, by that one alone.
 2. The name is resolved once, every address is looked at, and the connection goes to one that was looked at: a name that
    points inside the network, or is pointed there a moment later, is not followed.
 3. Nothing is redirected, retried, taken from the environment (proxies) or kept open for another request.
 4. Connecting, waiting and the whole call are bounded in time; the answer is bounded in size and not decompressed.
 5. A request that provably never left is told from one that may have taken effect.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx

from vault_zone.forward.allowlist import Destination

HTTPS_PORT = 443
CONNECT_TIMEOUT_SECONDS = 3.0
RESOLVE_TIMEOUT_SECONDS = 3.0
ANSWER_BYTES_MAXIMUM = 64 * 1024  # many times a processor's longest answer; the search takes its time
# RFC 6052: behind a translator these reach an IPv4 address that the check would not see.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Delivery(StrEnum):
    """What became of a request (5)."""

    ANSWERED = "answered"
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, not yet scrubbed, so nothing of it is shown. ``body`` is None when it was not or could not be read."""

    delivery: Delivery
    problem: str = ""
    status: int = 0
    head: str = field(default="", repr=False)  # status line's phrase and headers, for the search
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request with the card in it. Shows nothing of it (I1)."""

    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


async def look_up(host: str, port: int) -> list[str]:
    """The host's addresses, by the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def is_public(address: str) -> bool:
    """Whether the address is one of the Internet at large: not private, local, multicast, mapped or translated."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        embeds = parsed.ipv4_mapped or parsed.sixtofour or parsed.teredo
        if embeds or any(parsed in network for network in _TRANSLATED):
            return False
    return parsed.is_global and not parsed.is_multicast


class Sender:
    """Sends to destinations of the list. ``only_public``: refuse addresses inside a network, as production does."""

    def __init__(self, directory: Path, *, only_public: bool, resolve: Resolve = look_up) -> None:
        self._directory = directory
        self._only_public = only_public
        self._resolve = resolve

    async def send(self, destination: Destination, outgoing: Outgoing) -> Reply:
        """Makes the request. Raises nothing for what the network does."""
        try:
            context = self._tls(destination)
        except (OSError, ValueError):
            return Reply(Delivery.NEVER_SENT, "authority_unreadable")
        address, problem = await self._address(destination)
        if address is None:
            return Reply(Delivery.NEVER_SENT, problem)
        try:
            async with asyncio.timeout(destination.timeout_seconds):  # (4)
                return await _exchange(destination, outgoing, address, context)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return Reply(
                Delivery.NEVER_SENT, "not_connected"
            )  # (5) no connection, or one that failed its TLS handshake
        except httpx.TimeoutException:
            return Reply(Delivery.UNKNOWN, "timed_out")
        except httpx.HTTPError:
            return Reply(Delivery.UNKNOWN, "broken_off")
        except TimeoutError:
            return Reply(Delivery.UNKNOWN, "timed_out")

    def _tls(self, destination: Destination) -> ssl.SSLContext:
        authority = self._directory / destination.ca_file if destination.ca_file else None
        context = ssl.create_default_context(cafile=authority)  # (1)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    async def _address(self, destination: Destination) -> tuple[str | None, str]:
        """(2) An address that was looked at, or why there is none."""
        addresses: list[str] = []
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(RESOLVE_TIMEOUT_SECONDS):
                addresses = await self._resolve(destination.host, destination.port)
        if not addresses:
            return None, "name_not_resolved"
        if self._only_public and not all(map(is_public, addresses)):
            return None, "address_refused"
        return addresses[0], ""


async def _exchange(destination: Destination, outgoing: Outgoing, address: str, context: ssl.SSLContext) -> Reply:
    authority = f"[{address}]" if ":" in address else address
    port = "" if destination.port == HTTPS_PORT else f":{destination.port}"
    request = httpx.Request(
        destination.method,
        f"https://{authority}:{destination.port}{outgoing.path}",
        headers=[("host", f"{destination.host}{port}"), *outgoing.headers],
        content=outgoing.body,
        extensions={
            "sni_hostname": destination.host,  # (1) the certificate is checked for the name, not for the address
            "timeout": httpx.Timeout(destination.timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS).as_dict(),
        },
    )
    client = httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False)  # (3)
    async with client:
        answer = await client.send(request, stream=True)
        try:
            return await _read(answer)
        finally:
            await answer.aclose()


async def _read(answer: httpx.Response) -> Reply:
    """(4) The answer, read up to its bound as the bytes that came."""
    phrase = answer.extensions.get("reason_phrase", b"").decode("latin-1")
    head = "\n".join([phrase, *(f"{name}: {value}" for name, value in answer.headers.multi_items())])
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return Reply(Delivery.ANSWERED, "encoded", answer.status_code, head)
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAXIMUM:
            return Reply(Delivery.ANSWERED, "too_long", answer.status_code, head)
    return Reply(Delivery.ANSWERED, "", answer.status_code, head, bytes(body))
