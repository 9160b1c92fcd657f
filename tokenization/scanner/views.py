"""A view is a rewritten copy of a text that can say which part of the original each of its characters came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenization.scanner.finding import Kind


class Edit(NamedTuple):
    """``text[start:end]`` reads as ``replacement`` once the rule ``kind`` has decoded it."""

    start: int
    end: int
    replacement: str
    kind: Kind | None = None


class View:
    """A text and, unless it is the original, the edits that made it from its parent. Positions are worked out on demand."""

    __slots__ = ("_edits", "_ends", "_parent", "_starts", "text")

    def __init__(
        self,
        text: str,
        parent: View | None = None,
        edits: Sequence[Edit] | Callable[[], Sequence[Edit]] = (),
    ) -> None:
        self.text = text
        self._parent = parent
        self._edits = edits
        self._starts: list[int] | None = None  # where each replacement begins and ends in this view
        self._ends: list[int] = []

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that ``text[start:end]`` (not empty) came from; an edited part counts whole."""
        if self._parent is None:
            return start, end
        return self._parent.origin(self._before(start), self._after(end - 1))

    def kind(self, start: int, end: int) -> Kind | None:
        """The outermost rule that decoded some of ``text[start:end]``, or None if all of it stood there in clear."""
        if self._parent is None:
            return None
        outer = self._parent.kind(self._before(start), self._after(end - 1))
        return outer or next((edit.kind for edit in self._edits_in(start, end) if edit.kind), None)

    def _index(self) -> tuple[Sequence[Edit], list[int]]:
        edits = self._edits() if callable(self._edits) else self._edits
        self._edits = edits
        if self._starts is None:
            self._starts, shift = [], 0
            for edit in edits:
                self._starts.append(edit.start + shift)
                self._ends.append(edit.start + shift + len(edit.replacement))
                shift += len(edit.replacement) - (edit.end - edit.start)
        return edits, self._starts

    def _edits_in(self, start: int, end: int) -> Sequence[Edit]:
        edits, starts = self._index()
        first = bisect_right(starts, start) - 1
        first = first if first >= 0 and self._ends[first] > start else first + 1
        return edits[first : bisect_right(starts, end - 1)]

    def _before(self, position: int) -> int:
        """Where in the parent the part begins that the character at ``position`` came from."""
        edits, starts = self._index()
        at = bisect_right(starts, position) - 1
        if at < 0:
            return position
        if position < self._ends[at]:
            return edits[at].start
        return edits[at].end + position - self._ends[at]

    def _after(self, position: int) -> int:
        """Where in the parent the part ends that the character at ``position`` came from."""
        edits, starts = self._index()
        at = bisect_right(starts, position) - 1
        if at >= 0 and position < self._ends[at]:
            return edits[at].end
        return self._before(position) + 1


def edited(view: View, edits: Sequence[Edit]) -> View:
    """The view with the edits applied. They must be sorted and must not overlap."""
    parts: list[str] = []
    position = 0
    for edit in edits:
        parts.append(view.text[position : edit.start])
        parts.append(edit.replacement)
        position = edit.end
    parts.append(view.text[position:])
    return View("".join(parts), view, edits)
