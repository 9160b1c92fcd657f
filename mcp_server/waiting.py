"""Waiting for the shopper to pay, inside one call: the host hears progress, and learns the outcome without asking again.

What holds:
 1. A call waits at most MAXIMUM_SECONDS, which every host and proxy in between bears with, and never when there is no more to
    wait for.
 2. At most MAXIMUM_WAITING calls wait in a process; one more is answered at once with how things stand.
 3. Who goes away ends the wait: the SDK cancels the call with its connection.
"""

import asyncio
from collections.abc import Awaitable, Callable

from commerce_api.schemas import CheckoutView

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

Report = Callable[[float, float | None, str | None], Awaitable[None]]


async def until_changed(look: Callable[[], Awaitable[CheckoutView]], wait_seconds: int, report: Report) -> CheckoutView:
    """The checkout once its status is another one, or when the time is over."""
    global _waiting  # noqa: PLW0603  # a count of this process's calls, on its one event loop
    first = current = await look()
    if first.status not in _OPEN or not wait_seconds or _waiting >= MAXIMUM_WAITING:  # (1) (2)
        return first
    _waiting += 1
    try:
        for second in range(min(wait_seconds, MAXIMUM_SECONDS)):
            await report(float(second), float(wait_seconds), _SAID[first.status])
            await pause(LOOK_SECONDS)  # (3)
            current = await look()
            if current.status != first.status:
                break
    finally:
        _waiting -= 1
    return current
