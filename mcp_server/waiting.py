"""Waiting for the shopper to pay, inside one call: the host hears progress, and learns the outcome without asking again.

What holds:
 1. A call waits at most MAXIMUM_SECONDS, which every host and proxy in between bears with, and never when there is no more to
    wait for.
 2. At most MAXIMUM_WAITING calls wait in a process, and of one client as many as it may make in a second: each looks once a
    second, so waiting is not worth more than asking. One more is answered at once with how things stand.
 3. Who goes away ends the wait: the SDK cancels the call with its connection.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from commerce_api.rates import Limits, client_of
from commerce_api.schemas import CheckoutView
from mcp_server.bearer import access_of
from tokenization.addresses import network_of

MAXIMUM_SECONDS = 25
MAXIMUM_WAITING = 200
LOOK_SECONDS = 1.0
_OPEN = ("requires_escalation", "complete_in_progress")
_SAID = {
    "requires_escalation": "Waiting for the shopper to pay on the secure page.",
    "complete_in_progress": "The payment is being made.",
}
pause = asyncio.sleep
_waiting = 0
_waiting_of: Counter[str] = Counter()


class Client(NamedTuple):
    """Who waits, and how many calls of theirs may (2)."""

    name: str
    most: float


Report = Callable[[float, float | None, str | None], Awaitable[None]]


def client_that_waits(request: Any, limits: Limits) -> Client:
    """The client of an HTTP request; its limit is the rate of its kind."""
    if request is None:
        return Client("", limits.anonymous_per_second)
    is_guest = access_of(request).is_guest
    name = f"{is_guest}|{network_of(client_of(request.scope, limits.trusted))}"
    return Client(name, limits.anonymous_per_second if is_guest else limits.keyed_per_second)


async def until_changed(
    look: Callable[[], Awaitable[CheckoutView]], wait_seconds: int, report: Report, client: Client
) -> CheckoutView:
    """The checkout once its status is another one, or when the time is over."""
    global _waiting  # noqa: PLW0603  # a count of this process's calls, on its one event loop
    first = current = await look()
    is_full = _waiting >= MAXIMUM_WAITING or _waiting_of[client.name] >= max(1, client.most)  # (2)
    if first.status not in _OPEN or not wait_seconds or is_full:  # (1)
        return first
    _waiting += 1
    _waiting_of[client.name] += 1
    try:
        for second in range(min(wait_seconds, MAXIMUM_SECONDS)):
            await report(float(second), float(wait_seconds), _SAID[first.status])
            await pause(LOOK_SECONDS)  # (3)
            current = await look()
            if current.status != first.status:
                break
    finally:
        _waiting -= 1
        _waiting_of[client.name] -= 1
        if not _waiting_of[client.name]:
            del _waiting_of[client.name]
    return current
