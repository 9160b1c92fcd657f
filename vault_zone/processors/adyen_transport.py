"""How the official Adyen client reaches Adyen: one request, bounded in time and size, in a thread of its own.

What must hold of a request that carries a card:
 1. It goes once: no retry, no redirect, and no proxy of the environment (the client's own transport takes one).
 2. That no connection was made is told apart from every other failure: only then did nothing leave.
 3. What is not a bounded JSON object is no answer.
 4. The client is given no request back: its errors keep what they are given, and print it (Adyen 16.0).
"""

from typing import Any, Final

import httpx

from vault_zone.processors.believing import MAXIMUM_ANSWER_BYTES, parsed_object

CONNECT_TIMEOUT_SECONDS: Final = 3.0


class NotSent(Exception):
    """No connection was made, so nothing left (2)."""


class NotAnswered(Exception):
    """The request may have arrived, and nothing that can be believed came back (3)."""


class AdyenTransport:
    """The HTTP client that the Adyen client is given in place of its own.

    ``api_base`` replaces the address that the client asks for, in tests alone.
    """

    user_agent = "cordon"

    def __init__(self, timeout_seconds: float, api_base: str | None = None) -> None:
        self._api_base = api_base
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)),
            follow_redirects=False,  # (1)
            trust_env=False,
        )

    def request(
        self, method: str, url: str, json: Any = None, xapikey: str = "", headers: dict[str, str] | None = None
    ) -> tuple[bytes, None, int, dict[str, str]]:
        """The body, no request (4), the status and no headers of one answer. Raises NotSent, NotAnswered."""
        address = httpx.URL(url)
        if self._api_base is not None:
            address = httpx.URL(self._api_base).copy_with(raw_path=address.raw_path)
        sent = {**(headers or {}), "x-api-key": xapikey}
        body = bytearray()
        try:
            with self._client.stream(method, address, json=json, headers=sent) as answer:
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > MAXIMUM_ANSWER_BYTES:
                        raise NotAnswered
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise NotSent from None  # (2)
        except httpx.HTTPError:
            raise NotAnswered from None
        try:
            parsed_object(bytes(body))
        except ValueError:
            raise NotAnswered from None  # (3)
        return bytes(body), None, answer.status_code, {}

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
