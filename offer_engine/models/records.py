"""What is on record of each call of a model: that it was begun, how it ended, what became of its words. No text of it.

Calls and verdicts agree one to one: reconcile() tells where they do not.
"""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a call is made for: its purpose, and where there is one the brand and the decision that is put into words."""

    purpose: str
    brand: str = ""
    decision: str = ""


@dataclass(frozen=True, slots=True)
class CallOpened:
    """A call that is about to be made. ``sent`` is a keyed hash (HMAC-SHA-256) of the body, byte for byte."""

    call: str
    at_ms: int
    provider: str
    model: str
    purpose: str
    sent: str
    scrubbed: bool
    brand: str = ""
    decision: str = ""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """How it ended: ``ok``, a FailureKind, or ``cancelled``. Costs are millionths of the currency; None: not told."""

    call: str
    outcome: str
    first_token_ms: int | None
    total_ms: int
    input_tokens: int | None
    output_tokens: int | None
    cost_micros: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class CallJudged:
    """What became of its words: a verdict of the verifier, ``lost_race``, ``abandoned``, or how the call failed."""

    call: str
    verdict: str


Record = CallOpened | CallEnded | CallJudged
KINDS: Final = {CallOpened: "opened", CallEnded: "ended", CallJudged: "judged"}


class Recorder(Protocol):
    """Where records go."""

    async def opened(self, record: CallOpened) -> None:
        """Keeps it, and returns when that is durable. MUST raise OSError otherwise: then the call is not made."""

    def write(self, record: CallEnded | CallJudged) -> None:
        """Keeps how a call went on, now or soon. MUST neither wait nor raise: what it tells has happened already."""


class JsonLinesRecorder:
    """Appends records to a file, one JSON object a line. For programs that serve nobody else meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def opened(self, record: CallOpened) -> None:
        """Keeps it. Raises OSError."""
        self._append(record)

    def write(self, record: CallEnded | CallJudged) -> None:
        """Keeps it. One that cannot be kept is missing, which reconcile() tells."""
        with suppress(OSError):
            self._append(record)

    def _append(self, record: Record) -> None:
        line = json.dumps({"record": KINDS[type(record)], **asdict(record)}, separators=(",", ":"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_records(path: Path) -> list[Record]:
    """The records of a file. Raises ValueError where a line is none."""
    types: dict[str, Any] = {name: kind for kind, name in KINDS.items()}
    records: list[Record] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        records.append(types[data.pop("record")](**data))
    return records


def reconcile(records: Iterable[Record]) -> list[str]:
    """Where calls and verdicts do not agree, one line each: every call that was opened ended once and was judged once."""
    counts: dict[type[Record], Counter[str]] = {kind: Counter() for kind in KINDS}
    for record in records:
        counts[type(record)][record.call] += 1
    opened, problems = counts[CallOpened], []
    for call in sorted(opened | counts[CallEnded] | counts[CallJudged]):
        for kind, name in KINDS.items():
            if counts[kind][call] != 1:
                problems.append(f"{call}: {name} {counts[kind][call]} times")
    return problems
