"""Runs calls that may block for ever on one thread of their own, so that a caller waits no longer than it is willing to."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

T = TypeVar("T")


class TookTooLong(Exception):
    """The call was not begun or not finished in time. If it had begun, it goes on, and its answer is dropped."""


class OneThread:
    """Calls run one after the other, each on the same thread. A call that hangs holds up the thread, never a caller."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        # A daemon: a device that does not answer must not keep the process from ending.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, work: Callable[[], T], *, timeout_seconds: float) -> T:
        """What work() returns or raises. Raises TookTooLong."""
        done: Future[T] = Future()
        self._calls.put((work, done))
        try:
            return done.result(timeout_seconds)
        except (FutureTimeout, CancelledError):
            if done.done() and not done.cancelled():
                raise  # the work's own TimeoutError
            done.cancel()
            raise TookTooLong from None

    def _run(self) -> None:
        while True:
            work, done = self._calls.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(work())
            except BaseException as failure:  # noqa: BLE001  # whatever it is, its own caller gets it, and the thread goes on
                done.set_exception(failure)
            del work, done
