"""What the process says when something fails that nobody caught: kind and place, never a text, an argument or a local (I1).

Python has several ways to speak up by itself, each with an exception's text or an object's repr in it: the interpreter's and
threads' hooks, exceptions in finalisers, asyncio's handler, the logging module's own failures, warnings, faulthandler,
tracemalloc and the debugger. Each of them is replaced or off once quieten() has returned.
"""

import asyncio
import faulthandler
import logging
import sys
import threading
import tracemalloc
import warnings
from types import TracebackType
from typing import Any

from tokenization.logs import cause_of

log = logging.getLogger("last_words")


def quieten() -> None:
    """Replaces the hooks of the interpreter. An event loop has one more: quieten_loop()."""
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
    sys.breakpointhook = _no_debugger
    logging.raiseExceptions = False  # a record that cannot be formatted is printed with its arguments otherwise
    warnings.simplefilter("ignore")  # a warning shows a line of source, and some libraries put values into its text
    faulthandler.disable()
    tracemalloc.stop()


def quieten_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Replaces the loop's own report, which holds the repr of tasks and callbacks, and its debug mode, which logs more."""
    loop.set_debug(False)
    loop.set_exception_handler(_in_loop)


def _uncaught(kind: type[BaseException], failure: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("failed cause=%s", cause_of(failure.with_traceback(trace)))


def _unraisable(raised: "sys.UnraisableHookArgs") -> None:
    log.error("failed_in_finaliser cause=%s", cause_of(raised.exc_value) if raised.exc_value else "unknown")


def _in_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is not None and not issubclass(raised.exc_type, SystemExit):
        log.error("failed_in_thread cause=%s", cause_of(raised.exc_value))


def _in_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    failure = context.get("exception")
    log.error("failed_in_loop cause=%s", cause_of(failure) if isinstance(failure, BaseException) else "unknown")


def _no_debugger(*_: object, **__: object) -> None:
    log.error("breakpoint_ignored")
