"""Where a sentence ends, in a text that is still being written: known as soon as the character after its end is there.

What holds:
 1. The sentences of a text do not depend on the pieces in which it came.
 2. Looking for an end takes a step a sign, also in a run of a hundred thousand stops: whoever writes the text is not trusted.
"""

import re
from typing import Final

_END: Final = re.compile(r"(?<![.!?…])[.!?…]++[\"”“»’')]{0,2}\s|\n")  # (2) a run of stops is tried once, as a whole


def cut(text: str) -> tuple[str, str] | None:
    """The first sentence with the blank after it, and the rest; None while it is not known where the sentence ends."""
    end = _END.search(text)
    return (text[: end.end()], text[end.end() :]) if end else None


def sentences(text: str) -> list[str]:
    """All sentences of a finished text."""
    found: list[str] = []
    while (pair := cut(text)) is not None:
        found.append(pair[0])
        text = pair[1]
    return [*found, text] if text else found
