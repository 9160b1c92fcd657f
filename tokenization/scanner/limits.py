"""Bounds that keep the scanner's work linear. What exceeds one is reported as ``too_large`` and so refused."""

from typing import Final

MAX_TEXT_CHARS: Final = 262_144  # four times the longest body that Cordon accepts; a hostile one takes seconds to read
MAX_JSON_DEPTH: Final = 64  # deeper than any protocol message here; well below the interpreter's recursion limit
MAX_JSON_LEAVES: Final = 100_000
MAX_DECODE_DEPTH: Final = 3  # base64 in base64 in percent-encoding
MAX_DECODED_GROWTH: Final = 4  # decoded text over all depths, as a multiple of the input
MAX_FINDINGS: Final = 1_000  # a text with more is refused anyway

MAX_GAP_CHARS: Final = 6  # signs between two digit groups of one number
MAX_SPOKEN_GAP_CHARS: Final = 8  # signs between two spoken digits
MAX_FILLER_WORDS: Final = 4  # "and then the next", between two groups
EVIDENCE_CHARS: Final = 60  # how far before a number the word "card" still speaks of it

MAX_FIELD_DIGITS: Final = 8  # a longer field is an identifier of its own
