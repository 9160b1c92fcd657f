"""Work in threads that always comes back: no future of asyncio takes a StopIteration, so its caller would wait for ever."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The work's answer, from a thread. Raises what it raises, and RuntimeError for StopIteration."""
    return await asyncio.to_thread(for_thread(work), *arguments, **named)


def for_thread(work: Callable[P, T]) -> Callable[P, T]:
    """The same work with RuntimeError for StopIteration: for an executor of one's own."""

    def run(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return work(*arguments, **named)
        except StopIteration as failure:
            raise RuntimeError("work in a thread raised StopIteration") from failure

    return run
