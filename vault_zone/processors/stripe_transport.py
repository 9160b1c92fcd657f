"""How the official Stripe client reaches Stripe: one request, bounded in time and size, and not a word of it in a log.

What must hold of a request that carries a card:
 1. It goes once: no retry, no redirect, and no proxy of the environment.
 2. That no connection was made is told apart from every other failure: only then did nothing leave.
 3. What is not a bounded JSON object, with an error where the status says so, is no answer.
 4. Nothing that the client library logs, prints, counts or writes to disk holds a body. It logs bodies at level debug, prints
    them by an environment variable, sends figures of this machine and keeps an identifier in the home directory (stripe 16.1).
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import httpx
import stripe
import stripe._util as stripe_util

from vault_zone.processors.believing import MAXIMUM_ANSWER_BYTES, parsed_object

CONNECT_TIMEOUT_SECONDS: Final = 3.0


class NotSent(stripe.APIConnectionError):
    """No connection was made, so nothing left (2)."""

    def __init__(self) -> None:
        super().__init__("no connection was made")  # type: ignore[no-untyped-call]


class NotAnswered(stripe.APIConnectionError):
    """The request may have arrived, and nothing that can be believed came back (3)."""

    def __init__(self) -> None:
        super().__init__("no answer that can be believed")  # type: ignore[no-untyped-call]


class StripeTransport(stripe.HTTPClient):
    """The HTTP client that the Stripe client is given in place of its own."""

    name = "httpx"

    def __init__(self, timeout_seconds: float, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)),
            follow_redirects=False,  # (1)
            trust_env=False,
            transport=transport,
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """The body and status of one answer. Raises NotSent, NotAnswered.

        Its headers are kept from the client: it would print one of them as a warning.
        """
        sent = (post_data or "").encode() if method == "post" else None
        try:
            async with self._client.stream(method, url, headers=dict(headers), content=sent) as answer:
                body = await _bounded(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise NotSent from None  # (2)
        except httpx.HTTPError:
            raise NotAnswered from None
        try:
            content = parsed_object(body)
        except ValueError:
            raise NotAnswered from None  # (3)
        if not 200 <= answer.status_code < 300 and not isinstance(content.get("error"), dict):
            raise NotAnswered
        return body, answer.status_code, {}

    async def close_async(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


async def _bounded(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MAXIMUM_ANSWER_BYTES:
            raise NotAnswered
    return bytes(body)


def _silence_the_library() -> None:  # (4)
    stripe.enable_telemetry = False
    stripe.log = None
    stripe_util.STRIPE_LOG = None  # what the environment said when the library was loaded
    logging.getLogger("stripe").addFilter(lambda _: False)


_silence_the_library()
