"""The slots of a model's text, ``{{offer.1.price}}``, ``{{memory.size.shoe}}``: figures, dates and names get into what is said
by them alone.
"""

import re
from typing import Final, NamedTuple

# What may be said of an offer. The first is its name; the last are texts that need nothing said around them.
TITLE: Final = "title"
VALUES: Final = ("benefit", "price", "regular_price", "saving", "minimum", "expires")
DISCLOSURE: Final = "disclosure"
FIELDS: Final = (TITLE, *VALUES, DISCLOSURE)

SHOPPER: Final = 0  # in an offer's place: what is remembered of the shopper (remembered.py)

_SLOT: Final = re.compile(r"\{\{ ?(?:offer\.([1-9][0-9]?)\.([a-z_]{1,20})|(memory\.[a-z.]{1,40})) ?\}\}")


class Slot(NamedTuple):
    """A slot: the offer's place, counted from 1, and a field. Whether the two exist is for the verifier to say.

    One of the shopper's has the place SHOPPER, and its whole name for a field.
    """

    offer: int
    field: str


def pieces_of(text: str) -> list[str | Slot]:
    """The text between slots and the slots, in order. Braces that make no slot stay in the text."""
    pieces: list[str | Slot] = []
    end = 0
    for match in _SLOT.finditer(text):
        slot = Slot(SHOPPER, match[3]) if match[3] else Slot(int(match[1]), match[2])
        pieces += [text[end : match.start()], slot]
        end = match.end()
    return [piece for piece in (*pieces, text[end:]) if piece]
