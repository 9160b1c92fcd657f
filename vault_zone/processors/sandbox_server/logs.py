"""Logs as JSON lines: names and ids that the sandbox made, never a body, a header or an address that was asked for."""

import json
import logging
import threading
from collections.abc import Callable
from typing import TextIO

from vault_zone.processors.sandbox_server.objects import as_text

Scalar = str | int | bool | None


class Log:
    """Writes one JSON object a line, each with ``"sandbox": true``."""

    def __init__(self, stream: TextIO, clock: Callable[[], int]) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Scalar) -> None:
        """Writes the line at once."""
        line = {"at": as_text(self._clock()), "event": event, **fields, "sandbox": True}
        with self._lock:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()


class LibraryLines(logging.Handler):
    """Says that a library logged something, not what: messages, arguments and exception texts may hold input."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes which logger spoke, from which line of its source, and the type of the exception."""
        error = record.exc_info[0] if record.exc_info else None
        self._log(
            "library",
            logger=record.name,
            level=record.levelname.lower(),
            source=f"{record.module}:{record.lineno}",
            exception=error.__name__ if error else None,
        )
