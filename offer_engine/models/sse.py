"""Server-sent events from bytes, bounded (WHATWG HTML, 9.2.6). Names and data alone: ids and retry times are not used."""

import codecs
from collections.abc import Iterator
from typing import Final, NamedTuple

from offer_engine.models.events import FailureKind, ModelFailed

MAXIMUM_EVENT: Final = 256 * 1024
MAXIMUM_STREAM: Final = 2 * 1024 * 1024


class SseEvent(NamedTuple):
    """An event: its name (empty: none was given) and its data."""

    name: str
    data: str


class SseParser:
    """Takes bytes in any pieces and gives events. Raises ModelFailed(TOO_LARGE), and GARBAGE for what is not UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = ""
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._total = 0
        self._after_return = False

    def feed(self, content: bytes) -> Iterator[SseEvent]:
        """The events that end in these bytes."""
        self._total += len(content)
        if self._total > MAXIMUM_STREAM:
            raise ModelFailed(FailureKind.TOO_LARGE)
        try:
            text = self._decoder.decode(content)
        except UnicodeDecodeError:
            raise ModelFailed(FailureKind.GARBAGE) from None
        if self._after_return and text.startswith("\n"):
            text = text[1:]
        if text:
            self._after_return = text.endswith("\r")
        lines = (self._line + text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
        self._line = lines.pop()
        if len(self._line) > MAXIMUM_EVENT:
            raise ModelFailed(FailureKind.TOO_LARGE)
        for line in lines:
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: str) -> SseEvent | None:
        if not line:
            event = SseEvent(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._size += len(value)
            if self._size > MAXIMUM_EVENT:
                raise ModelFailed(FailureKind.TOO_LARGE)
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None
