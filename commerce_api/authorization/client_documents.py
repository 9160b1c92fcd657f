"""Client metadata documents: a client id that is the address of a document which says who the client is.

(OAuth Client ID Metadata Document, draft-ietf-oauth-client-id-metadata-document.) Anybody may name any address, and this side
fetches it from inside the operator's network. What holds for every fetch:
 1. The address is https, with a path, on the usual port; no user, query, fragment or dots that climb.
 2. Every address that its host's name has is a public one, and the connection goes to one of those that were looked at: the
    name is not looked up again (DNS rebinding). The certificate has to be for the name all the same.
 3. No redirect is followed, no proxy used, no cookie or credential sent.
 4. It takes TIMEOUT_SECONDS and MAXIMUM_BYTES at most, in all; SIMULTANEOUS at once.
 5. The document says that it is about this very address.
 6. It is kept for KEEP_SECONDS, and so is a failure for FAILURE_SECONDS: naming an address again makes no traffic.
Loopback is allowed where a test's configuration says so, and nowhere else.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpx
import structlog

from commerce_api.authorization.clients import MAXIMUM_URL, Client, described
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from tokenization.clock import Clock
from tokenization.logs import cause_of

TIMEOUT_SECONDS: Final = 5.0
MAXIMUM_BYTES: Final = 16 * 1024
SIMULTANEOUS: Final = 8
KEEP_SECONDS: Final = 300
FAILURE_SECONDS: Final = 30
_KEPT_MAXIMUM: Final = 500
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
log = structlog.get_logger("authorization")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


class ClientDocuments:
    """Fetches and keeps documents. ``resolve`` and ``tls`` are a test's; ``loopback`` lets this machine's addresses through."""

    def __init__(
        self,
        clock: Clock,
        *,
        loopback: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._loopback = loopback
        self._resolve = resolve or _resolve
        self._tls = tls
        self._kept: dict[str, tuple[int, Client | None]] = {}  # until when, and what
        self._turn = asyncio.Semaphore(SIMULTANEOUS)

    async def client(self, identifier: str) -> Client:
        """The client at this address. Raises OAuthRefused(INVALID_CLIENT)."""
        parts = document_address(identifier, loopback=self._loopback)
        if parts is None:
            raise OAuthRefused(OAuthError.INVALID_CLIENT)
        until_ms, known = self._kept.get(identifier, (0, None))
        if self._clock() >= until_ms:
            known = await self._fetched(identifier, parts)
            kept_seconds = FAILURE_SECONDS if known is None else KEEP_SECONDS
            while len(self._kept) >= _KEPT_MAXIMUM:
                self._kept.pop(next(iter(self._kept)))
            self._kept[identifier] = (self._clock() + kept_seconds * 1000, known)  # (6)
        if known is None:
            raise OAuthRefused(OAuthError.INVALID_CLIENT)
        return known

    async def _fetched(self, identifier: str, parts: SplitResult) -> Client | None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._turn:  # (4)
                document = await self._get(parts)
            if not isinstance(document, dict) or document.get("client_id") != identifier:  # (5)
                return None
            return described(document, identifier=identifier)
        except (OAuthRefused, TimeoutError, httpx.HTTPError, OSError, ValueError, RecursionError) as failure:
            log.info("client_document_refused", cause=cause_of(failure))
            return None

    async def _get(self, parts: SplitResult) -> Any:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        addresses = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        if not addresses or not all(is_public(address, loopback=self._loopback) for address in addresses):  # (2)
            raise ValueError("not a public address")
        chosen = addresses[0]
        literal = f"[{chosen}]" if chosen.version == 6 else str(chosen)
        named = host if parts.port is None else f"{host}:{port}"
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=self._tls or True) as http,  # (3)
            http.stream(
                "GET",
                f"{parts.scheme}://{literal}:{port}{parts.path}",
                headers={"host": named, "accept": "application/json", "accept-encoding": "identity"},
                extensions={"sni_hostname": host},  # what the certificate is checked against
            ) as answer,
        ):
            if answer.status_code != 200 or "json" not in answer.headers.get("content-type", ""):
                raise ValueError("no document")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > MAXIMUM_BYTES:  # (4)
                    raise ValueError("too long")
        return json.loads(content)


def document_address(identifier: str, *, loopback: bool = False) -> SplitResult | None:
    """The parts of a client id that may be fetched (1), else None."""
    if len(identifier) > MAXIMUM_URL or not identifier.isascii() or not identifier.isprintable():
        return None
    try:
        parts = urlsplit(identifier)
        port = parts.port
    except ValueError:
        return None
    is_test = loopback and parts.hostname in ("127.0.0.1", "localhost")
    if (parts.scheme != "https" or port is not None) and not is_test:
        return None
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or " " in identifier:
        return None
    if len(parts.path) < 2 or parts.query or parts.fragment or identifier.endswith(("?", "#")):
        return None
    if any(part in (".", "..") for part in parts.path.lower().replace("%2e", ".").split("/")) or "\\" in identifier:
        return None
    return parts


def is_public(address: Address, *, loopback: bool = False) -> bool:
    """Whether an address is of the public internet; one that carries another inside is judged by that one (2)."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner, loopback=loopback)
        if address.is_site_local:  # deprecated, and still what some networks use inside (RFC 3879)
            return False
    if address.is_loopback:
        return loopback
    return address.is_global and not address.is_multicast and not address.is_reserved


async def _resolve(host: str, port: int) -> list[str]:
    """Every address of a host's name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
