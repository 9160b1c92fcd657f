"""Folds a text to what a reader sees: every digit an ASCII digit, every space a space, nothing invisible.

Unicode 15 (unicodedata of the running Python): decimal, digit and numeric values; general categories; NFKD. Characters that
show nothing (format characters, combining marks, variation selectors, Hangul fillers) are dropped; "tag" characters, which a
reader does not see but a model reads, become the ASCII characters they stand for.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from tokenization.scanner.views import Edit, View

_CACHED_CHARACTERS: Final = 20_000  # a hostile text may use every code point there is
_INVISIBLE: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # letters and signs that are drawn as nothing
_DROPPED_CATEGORIES: Final = frozenset({"Mn", "Me", "Cf"})
_FIRST_TAG: Final = 0xE0020
_LAST_TAG: Final = 0xE007E
_TAG_SHIFT: Final = 0xE0000

# Letters of other scripts that look like the letters of number words, or like 0 and 1.
_LOOK_ALIKES: Final = dict(
    zip(
        "АаВЕеНһОоРрСсТуХхІіЅѕԝѵոΑΒΕΗΙΚΜΝΟΡΤΥΧοιν" + "ӀӏՕօ",
        "AaBEeHhOoPpCcTyXxIiSswvnABEHIKMNOPTYXoiv" + "IlOo",
        strict=True,
    )
)


def _number(character: str) -> str | None:
    """The decimal notation of a character that stands for a whole number below 100."""
    value = unicodedata.numeric(character, None)
    if value is None or not value.is_integer() or not 0 <= value < 100:
        return None
    return str(int(value))


def _fold_character(character: str) -> str:
    code_point = ord(character)
    if _FIRST_TAG <= code_point <= _LAST_TAG:
        return chr(code_point - _TAG_SHIFT)
    category = unicodedata.category(character)
    if category in _DROPPED_CATEGORIES or character in _INVISIBLE:
        return ""
    if category[0] == "Z":
        return " " if category == "Zs" else "\n"
    number = _number(character)
    if number is not None:
        return number
    if character in _LOOK_ALIKES:
        return _LOOK_ALIKES[character]
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    return plain if plain.isascii() and plain else character


class _Folds(dict[int, str]):
    """Code point to folded text, filled as characters are met and bounded."""

    def __missing__(self, code_point: int) -> str:
        folded = chr(code_point) if code_point < 128 else _fold_character(chr(code_point))
        if len(self) < _CACHED_CHARACTERS:
            self[code_point] = folded
        return folded


_FOLDS: Final = _Folds()


def _edits(text: str) -> Sequence[Edit]:
    folded = ((index, character, _FOLDS[ord(character)]) for index, character in enumerate(text))
    return [Edit(index, index + 1, fold) for index, character, fold in folded if fold != character]


def fold(view: View) -> View:
    """The view with every character folded; the same view if it is ASCII. Lower-casing a folded text keeps its length."""
    if view.text.isascii():
        return view
    return View(view.text.translate(_FOLDS), view, lambda: _edits(view.text))
