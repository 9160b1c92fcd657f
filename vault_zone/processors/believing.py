"""What a connector believes of what a processor sends: bounded JSON, bounded texts, and never a card number."""

import json
import re
from typing import Any

from tokenization.scanner import contains_card

MAXIMUM_ANSWER_BYTES = 1024 * 1024  # a page of a hundred payments is about 300 KiB
REASON_CHARS = 40
_REASON = re.compile(r"[a-z][a-z_]{0,39}")


def parsed_object(content: bytes) -> dict[str, Any]:
    """The JSON object of a bounded text. Raises ValueError for any text that holds none, however deep it is nested."""
    if len(content) > MAXIMUM_ANSWER_BYTES:
        raise ValueError("too long")
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the text is wrong, not the caller's type
    return value


def text(value: object, limit: int = 80) -> str | None:
    """A processor's word; None for what is no text, is longer, or holds a card number (I1)."""
    return value if isinstance(value, str) and 0 < len(value) <= limit and not contains_card(value) else None


def reason(value: object) -> str | None:
    """A processor's code as a reason that may be kept: lower-case letters and underscores, 40 at most."""
    return value if isinstance(value, str) and _REASON.fullmatch(value) else None


def child(value: object, *path: str) -> Any:
    """What lies at a path of nested objects; None where one of them is missing or no object."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
