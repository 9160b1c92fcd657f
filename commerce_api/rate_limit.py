"""How often, and with how much, a client gets as far as the card guard: it reads all that a stranger sends, and that is dear.

What holds for a request that goes on from here:
 1. Who sent it is its client, not the proxy that it came by (FromClient).
 2. Its body is as long as its path may have it, at most.
 3. The bucket of its client had a call for it, and as many more as it is long (rates.py), before anything read it.
 4. What proves by itself that it is from the other side of the wall is not held up by strangers at the same address: it has a
    bucket of its own, of those alone that prove it.
"""

from collections.abc import Awaitable, Callable, Sequence

from commerce_api.rates import CALL_BYTES, Rates, client_of
from tokenization.addresses import Network
from tokenization.edge import Answer, App, BodyRefused, Receive, Scope, Send, read_body, read_length, replay, send_json

HEALTH = "/health"


class FromClient:
    """Puts the client's address in the place of a trusted proxy's, for all behind: else who come by it are one (1)."""

    def __init__(self, app: App, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            scope = {**scope, "client": (client_of(scope, self._trusted), scope["client"][1])}
        return await self._app(scope, receive, send)


class RateLimited:
    """Lets a client through as often, and with as much, as its rate allows."""

    def __init__(
        self,
        app: App,
        rates: Rates,
        *,
        maximum_bytes: Callable[[Scope], int],
        refuse: Callable[[bytes, int], Answer],
        is_signed: Callable[[Scope, bytes], Awaitable[bool]] | None = None,
    ) -> None:
        """``refuse`` shapes the refusal for a protocol, of a body and the seconds to wait. ``is_signed`` says whether a request
        proves itself (4); it never raises.
        """
        self._app = app
        self._rates = rates
        self._maximum_bytes = maximum_bytes
        self._refuse = refuse
        self._is_signed = is_signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # First, so that a body that is refused counts too. What asks for HEALTH is let through, with nothing much to read.
        wait_seconds = 0 if scope["path"] == HEALTH else self._rates.wait_seconds(scope)
        try:
            body = await read_body(receive, self._maximum_bytes(scope))  # (2)
        except BodyRefused as refused:
            return await send_json(send, refused.answer)
        more = read_length(scope, body) // CALL_BYTES
        if more and not wait_seconds:
            wait_seconds = self._rates.wait_seconds(scope, more)  # (3)
        if wait_seconds and self._is_signed is not None and await self._is_signed(scope, body):
            wait_seconds = self._rates.take("signed", self._rates.limits.keyed_per_second, 1 + more)  # (4)
        if not wait_seconds:
            return await self._app(scope, replay(body, receive), send)
        after = ((b"retry-after", str(wait_seconds).encode()),)
        return await send_json(send, self._refuse(body, wait_seconds), after)
