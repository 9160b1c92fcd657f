"""An event loop whose time is not the machine's: it never waits, and runs the same tasks in the same order every time."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class Stuck(RuntimeError):
    """Nothing is left to do, and something is still awaited."""


class _Leaping(selectors.BaseSelector):
    """Where a selector would sleep, time leaps. There is nothing to watch: nothing here touches a socket."""

    def __init__(self) -> None:
        self.now_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Lets the time pass that the loop would have slept."""
        if timeout is None:
            raise Stuck
        self.now_seconds += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The loop's own wake-up pipe, which nobody writes to."""
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As register()."""
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Nothing is watched."""
        return {}


class Clockwork(asyncio.SelectorEventLoop):
    """A loop in simulated time."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Seconds since the history began."""
        return self._leaping.now_seconds
