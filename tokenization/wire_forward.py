"""What crosses the wall to forward a card: a request with placeholders, and what may be told of its answer. Never a card.

As wire.py: version 1, closed and frozen, times in milliseconds since the Unix epoch.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from tokenization.wire import Identifier, Wire


class ForwardState(StrEnum):
    """Where a forwarded request stands. ``answered`` and ``failed`` are final."""

    PENDING = "pending"  # the intent is on disk; the destination is being asked
    UNKNOWN = "unknown"  # it may have had its effect, and no answer came that can be believed
    ANSWERED = "answered"  # the destination answered, with whatever HTTP status
    FAILED = "failed"  # provably never sent


class ForwardRequest(Wire):
    """Asks to fill a request's placeholders with a card and send it.

    ``destination`` is an id in the zone's signed list. ``idempotency_key`` belongs to the request, whatever is retried.
    ``body`` is a JSON object; for a form, one of strings.
    """

    merchant: Identifier
    idempotency_key: Identifier
    grant: Identifier
    checkout: Identifier
    destination: Identifier
    parameters: Annotated[dict[str, str], Field(max_length=10, default_factory=dict)]
    headers: Annotated[dict[str, str], Field(max_length=20, default_factory=dict)]
    body: dict[str, Any]


class Forward(Wire):
    """A forwarded request as the caller sees it.

    ``status`` is the destination's HTTP status. ``fields`` are the allowed response fields by JSON Pointer, numbers with a
    point as text; ``withheld`` are pointers that were there and are not told. ``reason`` says why nothing was told or sent.
    """

    forward: Identifier
    merchant: Identifier
    idempotency_key: Identifier
    destination: Identifier
    state: ForwardState
    attempts: int
    status: int | None = None
    fields: Annotated[dict[str, str | int | bool | None], Field(default_factory=dict)]
    withheld: tuple[str, ...] = ()
    reason: str | None = None
