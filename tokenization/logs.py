"""Logs as JSON lines through one scrubber that nothing goes around (I1, I2).

Every logger of the process, ours and the libraries', ends in one handler. Its formatter redacts card-like text in the finished
line, so a message, an argument or an exception's text cannot carry a card out, whatever wrote it. Values of local variables
are never part of a traceback.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

from tokenization.clock import as_text
from tokenization.scanner import redact
from tokenization.scanner.log import scrub_event


class ScrubbedJson(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``event`` and the event's own fields, redacted."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": as_text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        # The finished line is scrubbed once more: fields that are harmless apart may not be so together.
        return redact(json.dumps(line, ensure_ascii=False))


def install(stream: TextIO | None = None, level: str = "INFO") -> None:
    """Makes the scrubbed handler the only one of the process. Call first, in every program's main."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ScrubbedJson())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = name != "uvicorn.access"  # its lines hold whole URLs, and a capture link is a secret
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)  # their INFO lines hold URLs


def cause_of(failure: BaseException) -> str:
    """What failed and where, without its text or any value: ``KeyError at vault.py:72``."""
    frame = failure.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(failure).__name__}{place}"


def render(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    """The last structlog processor: ``name key=value…`` for the handler above, which makes it a JSON line."""
    name = str(event.pop("event", ""))
    fields = " ".join(f"{key}={value}" for key, value in sorted(event.items()))
    return f"{name} {fields}".strip()


PROCESSORS = (scrub_event, render)
