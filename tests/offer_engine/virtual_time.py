"""An event loop whose time is made up: where nothing is left to do but wait, it is later at once. Nothing sleeps."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Selector(selectors.SelectSelector):
    """Never waits: it moves the loop's clock instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits for somebody: this would never end")
        self.loop.now_seconds += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Only for what never leaves the process: a socket would have no time to answer."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_seconds


def run_virtually(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine in made-up time, and says nothing of what is left over."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def loop_seconds() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()
