"""Access tokens of an authorization server of the brand's own, verified against its key set.

What holds:
 1. The key set is read from the configured address alone, never from one that a token names; bounded in size and time, without
    redirects.
 2. It is kept for KEEP_SECONDS. A key that is not in it makes it be read again, at most once in REFRESH_SECONDS: a rotation is
    taken up at once, and made-up key ids make no traffic.
 3. While the server cannot be reached the keys that are known still verify, for STALE_SECONDS; after that nothing does.
 4. An entry of the set that cannot be read is left out, whatever is wrong with it: the others still verify. A set of nothing
    but such entries counts as not read (3); one without entries takes every key back.
 5. A server that is slow keeps nobody waiting but who comes with a token of its own.
 6. Only the configured algorithms are taken, all of them with public keys: a key set can never be used as a shared secret.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from commerce_api.authorization.access_tokens import TYPES, AccessToken, TokenRefused, accepted, header_of, opened
from commerce_api.authorization.issuers import External
from tokenization.clock import Clock
from tokenization.logs import cause_of

KEEP_SECONDS: Final = 600
REFRESH_SECONDS: Final = 30
STALE_SECONDS: Final = 86_400
LEEWAY_SECONDS: Final = 30  # between two machines' clocks
_TIMEOUT_SECONDS: Final = 5.0
_MAXIMUM_BYTES: Final = 128 * 1024
log = structlog.get_logger("authorization")


@dataclass
class _Known:
    keys: dict[str, Any] = field(default_factory=dict)  # by key id
    read_ms: int | None = None  # when it was last read
    tried_ms: int | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class ExternalIssuers:
    """Verifies tokens of configured servers; keeps their keys."""

    def __init__(self, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._clock = clock
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._known: dict[str, _Known] = {}

    async def verify(self, server: External, token: str, resource: str, now_ms: int) -> AccessToken:
        """What a token of the server's says. Raises TokenRefused."""
        key_id = header_of(token).get("kid")
        await self._ensure(server.jwks_url, key_id)
        keys = self._known[server.jwks_url].keys

        def find(header: Mapping[str, Any]) -> Any:
            return keys.get(str(header.get("kid"))) if "kid" in header else _only(keys)

        header, claims = opened(token, find, list(server.algorithms))  # (6)
        if server.token_type == TYPES[0] and header.get("typ") not in TYPES:
            raise TokenRefused("type")
        return accepted(
            claims,
            issuer=server.issuer,
            audience=server.audience or resource,
            now_ms=now_ms,
            leeway_seconds=LEEWAY_SECONDS,
        )

    async def close(self) -> None:
        """Lets the connections go."""
        if self._http is not None:
            await self._http.aclose()

    async def _ensure(self, url: str, key_id: object) -> None:
        """Reads the key set where it is time to (2) (3)."""
        known = self._known.setdefault(url, _Known())
        if not self._is_due(known, key_id):
            return
        async with known.reading:
            if not self._is_due(known, key_id):  # somebody else has just read it
                return
            known.tried_ms = self._clock()
            try:
                known.keys = await self._read(url)
                known.read_ms = self._clock()
            except (
                httpx.HTTPError,
                TimeoutError,
                JoseError,
                ValueError,
                TypeError,
                KeyError,
                RecursionError,
            ) as failure:
                log.warning("key_set_not_read", cause=cause_of(failure))
                if known.read_ms is not None and self._clock() - known.read_ms > STALE_SECONDS * 1000:
                    known.keys = {}

    def _is_due(self, known: _Known, key_id: object) -> bool:
        now_ms = self._clock()
        if known.tried_ms is not None and now_ms - known.tried_ms < REFRESH_SECONDS * 1000:
            return False
        is_old = known.read_ms is None or now_ms - known.read_ms >= KEEP_SECONDS * 1000
        return is_old or (key_id is not None and key_id not in known.keys)

    async def _read(self, url: str) -> dict[str, Any]:
        """The keys at an address, by id. Raises what httpx and joserfc raise, ValueError for what is no key set."""
        if self._http is None:
            self._http = httpx.AsyncClient(transport=self._transport, trust_env=False, follow_redirects=False)
        async with asyncio.timeout(_TIMEOUT_SECONDS), self._http.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise ValueError("not a key set")
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _MAXIMUM_BYTES:
                    raise ValueError("not a key set")
        keys = keys_in(bytes(content))
        if not keys and json.loads(content)["keys"]:  # (4)
            raise ValueError("no key of the set can be read")
        return keys


def keys_in(content: bytes) -> dict[str, Any]:
    """The public signing keys of a key set, by id. Raises ValueError, TypeError or KeyError for what is no key set.

    Left out are kinds that cannot verify, and what cannot be read: a set may hold keys for others to use (RFC 7517, 5).
    """
    found = {}
    for described in json.loads(content)["keys"]:
        key = _key_in(described)
        if key is not None:
            found[str(described.get("kid", ""))] = key
    return found


def _key_in(described: Any) -> Any:
    """The key that an entry describes, or None."""
    if not isinstance(described, dict) or not isinstance(described.get("kid", ""), str):
        return None
    if described.get("use", "sig") != "sig" or described.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        (key,) = KeySet.import_key_set({"keys": [described]}).keys
    except Exception:  # noqa: BLE001  # (4) the libraries below raise what their own slips raise
        return None
    return key


def _only(keys: dict[str, Any]) -> Any:
    """The key for a token that names none: there must be no choice."""
    return next(iter(keys.values())) if len(keys) == 1 else None
