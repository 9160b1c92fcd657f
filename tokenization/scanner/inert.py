"""Texts that hold nothing a card is made of, such as the names of fields: they need no second look.

What holds for a text that is inert: it has no digit, no number word and nothing encoded, and no rule finds anything in it. So
it adds nothing to what stands beside it either.
"""

import re
from typing import Final

from tokenization.scanner.decoders import decoded
from tokenization.scanner.passed import LONGEST_CHARS, Passed
from tokenization.scanner.text import hits
from tokenization.scanner.traits import Traits
from tokenization.scanner.views import View

_DIGIT: Final = re.compile("[0-9]")
_inert: Final = Passed()


def is_inert(text: str) -> bool:
    """Whether a text is short, ASCII, and holds nothing that a card is made of. False says nothing of it."""
    if len(text) > LONGEST_CHARS or not text.isascii() or _DIGIT.search(text):
        return False
    digest = _inert.digest(text)
    if digest in _inert:
        return True
    traits = Traits(text)
    if traits.has_number_words or decoded(View(text), traits) is not None or next(hits(traits), None) is not None:
        return False
    _inert.add(digest)
    return True
