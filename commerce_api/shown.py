"""Text of others as it is told to people and models: on one line, bounded, nothing in it that is not seen, marked as data.

A feed's and a policy's texts are plain when they come in (catalogue/feed_text.py). What is told is made plain again here,
because rows are older than rules, and because buyers' words come in by other ways.
"""

import re
import unicodedata
from typing import Any, Final

TITLE_LENGTH: Final = 150
# Formats (bidi marks and overrides, zero widths, tags), controls, surrogates, private use; and what looks like nothing although
# its category says otherwise: joiners of graphemes, fillers, variation selectors, unassigned tags, non-characters.
_UNSEEN_CATEGORIES: Final = frozenset({"Cf", "Cc", "Cs", "Co"})
_UNSEEN_OTHERS: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\u2800\u2065\ufdd0-\ufdef\ufff0-\ufff8\ufffe\uffff\U000e0000-\U000e0fff]"
)
_JOINERS: Final = "\u200c\u200d"  # Persian, Indic scripts and emoji need them, between characters that are not ASCII


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line without what is not seen; cut with an ellipsis where it is longer than ``limit``."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(_kept(text))
    folded = " ".join(text.split())
    return folded if limit is None or len(folded) <= limit else folded[: limit - 1].rstrip() + "…"


def quoted(text: str, limit: int = TITLE_LENGTH) -> str:
    """The text between double quotation marks; its own become single ones, so that it does not end before its end."""
    return "“" + one_line(text, limit).replace("“", "'").replace("”", "'").replace('"', "'") + "”"


def seen(data: Any) -> Any:
    """JSON data whose texts hold nothing that is not seen; line breaks and tabs stay."""
    if isinstance(data, str):
        if data.isascii() and data.isprintable():
            return data
        return "".join(_kept(data, keep="\n\t"))
    if isinstance(data, dict):
        return {name: seen(value) for name, value in data.items()}
    return [seen(value) for value in data] if isinstance(data, list) else data


def _kept(text: str, keep: str = "") -> list[str]:
    kept: list[str] = []
    for place, character in enumerate(text):
        if character in _JOINERS:
            around = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
            if len(around) == 2 and around.isprintable() and not (around[0].isascii() or around[1].isascii()):
                kept.append(character)
        elif character in keep:
            kept.append(character)
        elif character.isspace():  # line and paragraph separators among them
            kept.append(" ")
        elif unicodedata.category(character) in _UNSEEN_CATEGORIES or _UNSEEN_OTHERS.match(character):
            continue
        else:
            kept.append(character)
    return kept
