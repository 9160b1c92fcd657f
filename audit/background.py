"""Work that goes on beside a program, and ends with it even where a cancellation is lost."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

AGAIN_SECONDS: Final = 5.0  # longer than a connection takes to say farewell to a server that answers


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Runs each in a task while the body runs, and leaves only when all have ended. Raises as ``asyncio.TaskGroup`` does."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in work]
        try:
            yield
        finally:
            await ended(running)


async def ended(tasks: Iterable["asyncio.Task[Any]"], again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancels the tasks, again and again, until each has ended.

    One cancellation is not enough for a loop that outlives errors: what fails while it is passed on takes its place, and
    ``asyncio.wait_for`` of Python 3.11 returns in its stead when the answer came in the same moment (CPython issue 86296).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_seconds)
