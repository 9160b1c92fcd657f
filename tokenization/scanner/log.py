"""A structlog processor that lets no card-like text into a log.

Place it after ``format_exc_info`` and before the renderer: objects that are no plain values become their redacted text here.
What must hold:
 1. No key, value or number of the event that leaves holds card-like text, however deep, nor do its fields joined.
 2. It never raises: an event that cannot be scrubbed is replaced by a constant.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from tokenization.scanner.documents import contains_card_in_json
from tokenization.scanner.redaction import REMOVED, redact
from tokenization.scanner.text import contains_card

WITHHELD: Final = "log event withheld by the card-text scanner"
_MAX_DEPTH: Final = 16
_MAX_VALUES: Final = 10_000


class _Budget:
    """How many values may still be scrubbed."""

    def __init__(self) -> None:
        self.left = _MAX_VALUES

    def spend(self, depth: int) -> bool:
        self.left -= 1
        return self.left >= 0 and depth <= _MAX_DEPTH


def scrub_event(logger: object, name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with every card-like text redacted; a constant event if that fails or its fields make a card together."""
    del logger, name  # structlog's signature
    try:
        scrubbed = _scrub_mapping(event_dict, _Budget(), 0)
        return {"event": WITHHELD} if contains_card_in_json(scrubbed) else scrubbed  # (1)
    except Exception:  # noqa: BLE001  (2): a log call must not fail, and the failure's text may hold what it failed on
        return {"event": WITHHELD}


def _scrub_mapping(values: Mapping[Any, Any], budget: _Budget, depth: int) -> dict[str, Any]:
    return {redact(str(key)): _scrub(value, budget, depth + 1) for key, value in values.items()}


def _scrub(value: object, budget: _Budget, depth: int) -> object:
    if not budget.spend(depth):
        return REMOVED
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return REMOVED if contains_card_in_json(value) else value
    if isinstance(value, Mapping):
        return _scrub_mapping(value, budget, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub(item, budget, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray):
        text = bytes(value).decode("latin-1")
        return REMOVED if contains_card(text) else redact(repr(value))
    return redact(value if isinstance(value, str) else str(value))
