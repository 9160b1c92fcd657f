"""What the scanner reports: the rule and the place, never the text."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal[
    "digits", "spoken", "base64", "percent", "hex", "entity", "escape", "fields", "conversation", "cvc", "too_large"
]

KINDS: Final[tuple[Kind, ...]] = (
    "digits",
    "spoken",
    "base64",
    "percent",
    "hex",
    "entity",
    "escape",
    "fields",
    "conversation",
    "cvc",
    "too_large",
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Card-like text: which rule saw it, and where. It never holds the text itself, so it may be logged.

    ``offset`` and ``length`` count characters of the scanned string; for an encoded card they span the encoded run. For a
    JSON value they are relative to the leaf, and for leaves or messages joined they cover the last part alone.
    """

    kind: Kind
    offset: int
    length: int
