"""Words to the model's numbers: BERT's basic and WordPiece tokenisation of uncased text (google-research/bert, Apache-2.0).

``wordpieces.json`` is that model's vocabulary as it was published (vocab.txt of bert-base-uncased, Apache-2.0), in its order.
"""

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Final

_VOCABULARY: Final = Path(__file__).parent / "wordpieces.json"
_LONGEST_WORD: Final = 100
_IDEOGRAPHS: Final = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


@cache
def _numbers() -> dict[str, int]:
    return {piece: number for number, piece in enumerate(json.loads(_VOCABULARY.read_text(encoding="utf-8")))}


def numbers_of(text: str, limit: int) -> list[int]:
    """The text's pieces as numbers, between the marks of beginning and end; at most ``limit`` with these."""
    known = _numbers()
    found = [known["[CLS]"]]
    for word in _words(text):
        found += _pieces(word, known)
        if len(found) >= limit:
            break
    return [*found[: limit - 1], known["[SEP]"]]


def _words(text: str) -> list[str]:
    """Lower case without accents; marks and ideographs stand alone."""
    spaced: list[str] = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category in ("Cc", "Cf") and not character.isspace()):
            continue
        alone = _is_mark(character, category) or any(low <= ord(character) <= high for low, high in _IDEOGRAPHS)
        spaced.append(f" {character} " if alone else character)
    return "".join(spaced).split()


def _is_mark(character: str, category: str) -> bool:
    return category[0] == "P" or (
        character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    )


def _pieces(word: str, known: dict[str, int]) -> list[int]:
    """The longest piece that is known, then the longest of what is left; a word with a part that is not known is unknown."""
    if len(word) > _LONGEST_WORD:
        return [known["[UNK]"]]
    found: list[int] = []
    start = 0
    while start < len(word):
        end = len(word)
        while end > start and (piece := ("##" if start else "") + word[start:end]) not in known:
            end -= 1
        if end == start:
            return [known["[UNK]"]]
        found.append(known[piece])
        start = end
    return found
