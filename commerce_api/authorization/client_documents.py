"""Client metadata documents: a client id that is the address of a document which says who the client is.

(OAuth Client ID Metadata Document, draft-ietf-oauth-client-id-metadata-document.) Anybody may name any address, and this side
fetches it from inside the operator's network. What holds for every fetch:
 1. The address is https, a host's plain name, both in lower case, on the usual port, and a path; no user, query, fragment or
    dots that climb. One document has one id, and what is shown of it is what was looked at.
 2. Every address that its host's name has is a public one, and the connection goes to one of those that were looked at: the
    name is not looked up again (DNS rebinding). The certificate has to be for the name all the same.
 3. No redirect is followed, no proxy used, no cookie or credential sent.
 4. It takes TIMEOUT_SECONDS and MAXIMUM_BYTES at most, in all; SIMULTANEOUS at once. Names are looked up in threads of their
    own: a slow one holds up nothing else of this process.
 5. The document says that it is about this very address.
 6. It is kept for KEEP_SECONDS, and so is a failure for FAILURE_SECONDS: naming an address again makes no traffic. Failures and
    documents are kept apart, and the one that was not asked for longest goes first: nobody's failures push out a document.
 7. A network begins BURST fetches at once and one in REFILL_SECONDS after that, and has PER_NETWORK under way. Whose address is
    being fetched already waits for that and begins none. Over all processes of a deployment: document_fetches.py.
 8. Waiting for a turn is no part of the time that a fetch takes, and WAITING wait at most. Who is turned away by (7) or (8) is
    told to try again; nothing is kept of it, since it says nothing of the document.
Loopback is allowed where a test's configuration says so, and nowhere else.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

import httpx
import structlog

from audit.threads import for_thread
from commerce_api.authorization.clients import HOST, MAXIMUM_URL, Client, described
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from tokenization.clock import Clock
from tokenization.logs import cause_of

TIMEOUT_SECONDS: Final = 5.0
MAXIMUM_BYTES: Final = 16 * 1024
SIMULTANEOUS: Final = 8
WAITING: Final = 24
PER_NETWORK: Final = 2
BURST: Final = 10
REFILL_SECONDS: Final = 6
KEEP_SECONDS: Final = 300
FAILURE_SECONDS: Final = 30
_KEPT_MAXIMUM: Final = 500
_NETWORKS_MAXIMUM: Final = 5_000
_LOOK_UPS: Final = ThreadPoolExecutor(
    2 * SIMULTANEOUS, "client-document-names"
)  # (4) some stay behind a fetch that gave up
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
log = structlog.get_logger("authorization")
T = TypeVar("T")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
Allowance = Callable[[str], Awaitable[bool]]


class ClientDocuments:
    """Fetches and keeps documents. ``resolve`` and ``tls`` are a test's; ``loopback`` lets this machine's addresses through.

    ``allowance`` says whether a network may begin a fetch as far as the whole deployment goes (7).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        loopback: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._clock = clock
        self._loopback = loopback
        self._resolve = resolve or _resolve
        self._tls = tls
        self._allowance = allowance
        self._documents: OrderedDict[str, tuple[int, Client]] = OrderedDict()  # until when, and what
        self._failures: OrderedDict[str, tuple[int, None]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Client | None]] = {}  # by identifier
        self._networks: Counter[str] = Counter()  # how many each has under way
        self._begun = _Begun(clock)
        self._turn = asyncio.Semaphore(SIMULTANEOUS)

    async def client(self, identifier: str, network: str) -> Client:
        """The client at this address, for who asks from ``network``.

        Raises OAuthRefused: INVALID_CLIENT; TEMPORARILY_UNAVAILABLE past a limit (7) (8).
        """
        parts = document_address(identifier, loopback=self._loopback)
        if parts is None:
            raise OAuthRefused(OAuthError.INVALID_CLIENT)
        known = self._kept(identifier)
        is_new = known is None and identifier not in self._under_way
        if is_new and self._allowance is not None and not await self._allowance(network):  # (7)
            raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
        if known is None:
            task = self._under_way.get(identifier) or self._begin(identifier, parts, network)
            # Who asked may leave; others may wait for the same.
            found = await asyncio.shield(task)
        else:
            _, found = known
        if found is None:
            raise OAuthRefused(OAuthError.INVALID_CLIENT)
        return found

    def _kept(self, identifier: str) -> tuple[int, Client | None] | None:
        """What is known of an address, until when (6)."""
        for kept in (self._documents, self._failures):
            if identifier in kept:
                kept.move_to_end(identifier)
                if self._clock() < kept[identifier][0]:
                    return kept[identifier]
        return None

    def _begin(self, identifier: str, parts: SplitResult, network: str) -> "asyncio.Task[Client | None]":
        """Begins a fetch. Raises OAuthRefused(TEMPORARILY_UNAVAILABLE)."""
        crowded = len(self._under_way) >= SIMULTANEOUS + WAITING or self._networks[network] >= PER_NETWORK
        if crowded or not self._begun.may(network):  # (7) (8)
            raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
        task = asyncio.create_task(self._fetched(identifier, parts))
        self._under_way[identifier] = task
        self._networks[network] += 1
        task.add_done_callback(lambda done: self._end(identifier, network, done))
        return task

    def _end(self, identifier: str, network: str, task: "asyncio.Task[Client | None]") -> None:
        del self._under_way[identifier]
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
        if task.cancelled() or task.exception() is not None:
            return  # who waits hears of it; it says nothing of the document
        found, now_ms = task.result(), self._clock()
        self._documents.pop(identifier, None)
        self._failures.pop(identifier, None)
        if found is None:
            _keep(self._failures, identifier, (now_ms + FAILURE_SECONDS * 1000, None))
        else:
            _keep(self._documents, identifier, (now_ms + KEEP_SECONDS * 1000, found))

    async def _fetched(self, identifier: str, parts: SplitResult) -> Client | None:
        try:
            async with self._turn, asyncio.timeout(TIMEOUT_SECONDS):  # (4) (8)
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


class _Begun:
    """How many fetches each network may still begin (7). The table has a bound; who has been idle longest is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()  # how many, when that was counted

    def may(self, network: str) -> bool:
        """Whether it may begin one now, which is then counted."""
        now_ms = self._clock()
        left, since_ms = self._left.pop(network, (float(BURST), now_ms))
        left = min(float(BURST), left + max(0, now_ms - since_ms) / (REFILL_SECONDS * 1000))
        allowed = left >= 1
        while len(self._left) >= _NETWORKS_MAXIMUM:
            self._left.popitem(last=False)
        self._left[network] = (left - 1 if allowed else left, now_ms)
        return allowed


def _keep(kept: OrderedDict[str, tuple[int, T]], identifier: str, what: tuple[int, T]) -> None:
    """(6)"""
    while len(kept) >= _KEPT_MAXIMUM:
        kept.popitem(last=False)
    kept[identifier] = what


def document_address(identifier: str, *, loopback: bool = False) -> SplitResult | None:
    """The parts of a client id that may be fetched (1), else None."""
    if len(identifier) > MAXIMUM_URL or not identifier.isascii() or not identifier.isprintable():
        return None
    try:
        parts = urlsplit(identifier)
    except ValueError:
        return None
    is_test = loopback and parts.hostname in ("127.0.0.1", "localhost")
    schemes = ("https://", "http://") if is_test else ("https://",)
    named = parts.netloc.rpartition(":")[0] if is_test else parts.netloc  # which leaves no room for a user or a port
    if not identifier.startswith(schemes) or not HOST.fullmatch(named) or " " in identifier:
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
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, for_thread(look_up))
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
