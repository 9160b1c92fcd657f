"""The slots of a model's text, ``{{offer.1.price}}``: figures, dates and names get into what is said by them alone."""

import re
from typing import Final, NamedTuple

# What may be said of an offer. The first is its name; the last are texts that need nothing said around them.
TITLE: Final = "title"
VALUES: Final = ("benefit", "price", "regular_price", "saving", "minimum", "expires")
DISCLOSURE: Final = "disclosure"
FIELDS: Final = (TITLE, *VALUES, DISCLOSURE)

_SLOT: Final = re.compile(r"\{\{ ?offer\.([1-9][0-9]?)\.([a-z_]{1,20}) ?\}\}")


class Slot(NamedTuple):
    """A slot: the offer's place, counted from 1, and a field. Whether the two exist is for the verifier to say."""

    offer: int
    field: str


def pieces_of(text: str) -> list[str | Slot]:
    """The text between slots and the slots, in order. Braces that make no slot stay in the text."""
    pieces: list[str | Slot] = []
    end = 0
    for match in _SLOT.finditer(text):
        pieces += [text[end : match.start()], Slot(int(match[1]), match[2])]
        end = match.end()
    return [piece for piece in (*pieces, text[end:]) if piece]
