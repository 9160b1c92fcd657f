"""What must not be said in a language, and how it is found however it is spelled.

The words of the language itself, and of all others those number words and claims that mean nothing else in it: a text in
English that slips into German is read too. A word is looked at as it stands, and as it reads without what was put between its
letters (``f-r-e-e``, ``s e v e n``, ``sev enty``); a word with a letter drawn out (``freeee``) is none.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from offer_engine.presenting.grammar import grammar
from offer_engine.presenting.locales import LOCALES, Words, folded, words

_SHORTEST_FOREIGN: Final = 5  # shorter words of another language are too often words of this one
_SHORTEST_FUNCTION_WORD: Final = 3
_SHORTEST_JOINED: Final = 5
_LONGEST_JOINED_PARTS: Final = 3
_LETTERS_IN_A_ROW: Final = 5  # "n'y a-t-il" has four
_LONGEST_WORD: Final = 60
_AROUND_WORDS: Final = ".,;:!?…\"“”„«»‹›()'’-–—•¡¿/&\ue000"
_REMEMBERED: Final = 8_192
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_REPEATED: Final = re.compile(r"(.)\1{2,}")
_ROMAN: Final = re.compile(r"(?=[IVXLCDM]{2})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\Z")
_NO_ROMANS: Final = frozenset({"mix", "mil", "div"})
# Codes of currencies in capitals, of the countries where the languages are spoken and the most traded ones.
_CURRENCY_CODES: Final = frozenset(
    [
        "USD",
        "EUR",
        "GBP",
        "CHF",
        "JPY",
        "CAD",
        "AUD",
        "NZD",
        "CNY",
        "INR",
        "BRL",
        "MXN",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "CZK",
        "HUF",
        "ZAR",
        "BTC",
        "ETH",
    ]
)


class Word(NamedTuple):
    """A word of a text: as written, folded, and where it stands."""

    text: str
    folded: str
    start: int
    end: int


class Found(NamedTuple):
    """A phrase that must not be said, or only with a licence: its kind, the licence, and how many words it has."""

    kind: str
    licence: str
    length: int


class Lexicon:
    """The words of one language, compiled."""

    def __init__(self, locale: str) -> None:
        own = words(locale)
        self.own = own
        known = own.ordinary | own.openers | own.inside
        self._numbers = own.numbers
        self._phrases = dict(own.phrases)
        self._compounds: list[Words] = [own]
        for other in LOCALES:
            if other == locale:
                continue
            foreign = words(other)
            self._compounds.append(foreign)
            for phrase, (kind, licence) in foreign.phrases.items():
                if kind != "harmless" and _is_foreign(phrase, known, self._phrases):
                    self._phrases[phrase] = (kind, licence)
        self._foreign_numbers = frozenset(
            word for other in LOCALES for word in words(other).numbers if len(word) >= 4 and word not in known
        )
        self._known = known
        self._said_side_by_side = known | grammar(locale).vocabulary
        # Function words of each other language that are no words of this one.
        self._function_words = {
            other: frozenset(
                word
                for word in words(other).openers
                if len(word) >= _SHORTEST_FUNCTION_WORD
                and word not in self._said_side_by_side
                and (word,) not in self._phrases
            )
            for other in LOCALES
            if other != locale
        }
        self._longest = max(map(len, self._phrases))
        self._begins = frozenset(phrase[0] for phrase in self._phrases if len(phrase) > 1)
        # A language's words come again and again; what a word is does not change.
        self.is_number = lru_cache(_REMEMBERED)(self._is_number)
        self.is_forbidden = lru_cache(_REMEMBERED)(self._is_forbidden)
        self._is_split = lru_cache(_REMEMBERED)(self._split_word)
        self._alone = lru_cache(_REMEMBERED)(self._entry_alone)

    def words_of(self, text: str) -> list[Word]:
        """The words of a text, each with its place. ``won't`` is one word, ``l'offre`` is two, as the language has it."""
        found: list[Word] = []
        for match in _WORD.finditer(text):
            if self.own.joins_apostrophes:
                found.append(Word(match[0], folded(re.sub("['’]", "", match[0])), match.start(), match.end()))
                continue
            start = match.start()
            for part in re.split("['’]", match[0]):
                found.append(Word(part, folded(part), start, start + len(part)))
                start += len(part) + 1
        return found

    def _is_number(self, word: str) -> bool:
        """Whether a folded word says a number, alone or in a compound (``neunundsiebzig``, ``twofold``)."""
        if word in self._numbers or word in self._foreign_numbers:
            return True
        if len(word) > _LONGEST_WORD:
            return True  # nothing that long is a word
        return word not in self._known and self._is_compound(word)

    def is_code(self, word: str) -> bool:
        """Whether a word as written is a currency's code."""
        return word in _CURRENCY_CODES

    def is_roman(self, word: str) -> bool:
        """Whether a word as written is a Roman number: of two letters in capitals, of three in any case."""
        if _ROMAN.match(word):
            return True
        return len(word) > len("vi") and word.lower() not in _NO_ROMANS and _ROMAN.match(word.upper()) is not None

    def is_foreign(self, run: Sequence[str]) -> bool:
        """Whether some of the words are another language's: two function words of it that this one does not have."""
        here = set(run)
        return any(len(here & theirs) > 1 for theirs in self._function_words.values())

    def phrase_at(self, run: Sequence[str], place: int) -> Found | None:
        """The longest phrase that begins at a place of a run of folded words."""
        first = run[place]
        if first in self._begins:
            for length in range(min(self._longest, len(run) - place), 1, -1):
                begin, last = tuple(run[place : place + length - 1]), run[place + length - 1]
                entry = self._phrases.get((*begin, last)) or self._stem(begin, last)
                if entry is not None:
                    return Found(*entry, length)
        entry = self._alone(first)
        return Found(*entry, 1) if entry is not None else None

    def _entry_alone(self, word: str) -> tuple[str, str] | None:
        return self._phrases.get((word,)) or self._stem((), word)

    def respelled(self, text: str, found: Sequence[Word], before: Sequence[str] = ()) -> Iterator[str]:
        """Words that the text reads as once what was put between letters is taken away; folded.

        ``before`` are the last words before the text: letters are put together with those.
        """
        for chunk in text.split():
            letters = "".join(character for character in chunk if character.isalpha())
            if len(letters) < len(chunk.strip(_AROUND_WORDS)):
                yield folded(letters)
        for word in found:
            if ("'" in word.text or "’" in word.text) and len(word.text) > len("won't"):
                yield folded(re.split("['’]", word.text)[0])
        yield from _spelled([*before, *(word.folded for word in found)])

    def joins_to_forbidden(self, run: Sequence[str]) -> bool:
        """Whether two or three words written apart are one that must not be said, none of them being that by itself."""
        for length in range(2, _LONGEST_JOINED_PARTS + 1):
            for place in range(len(run) - length + 1):
                parts = tuple(run[place : place + length])
                if len("".join(parts)) >= _SHORTEST_JOINED and self._is_split(parts):
                    return True
        return False

    def _split_word(self, parts: tuple[str, ...]) -> bool:
        joined = "".join(parts)
        if all(part in self._said_side_by_side for part in parts):
            return False  # an honest sentence holds such words side by side
        if joined in self._numbers or joined in self._foreign_numbers or (joined,) in self._phrases:
            return True
        inner = joined[: len(joined) - len(parts[-1]) + 1]
        for end in range(len(inner), len(joined) + 1):
            if (joined[:end] + "*",) in self._phrases and end >= len("return"):
                return True
        return self._is_compound(joined) and not any(self._is_compound(part) or part in self._numbers for part in parts)

    def _is_forbidden(self, word: str) -> bool:
        """Whether a respelled word would be refused by itself, whatever the licence: nobody honest writes so."""
        if not word or word in self._known:
            return False
        if word in self._numbers or word in self._foreign_numbers or (len(word) >= 6 and self._is_compound(word)):
            return True
        entry = self._alone(word) if len(word) >= 6 else self._phrases.get((word,))
        return entry is not None and entry[0] != "harmless"

    def _stem(self, begin: tuple[str, ...], last: str) -> tuple[str, str] | None:
        for end in range(len(last), 1, -1):
            entry = self._phrases.get((*begin, last[:end] + "*"))
            if entry is not None:
                return entry
        return None

    def _is_compound(self, word: str) -> bool:
        return any(
            _is_compound(word, language.numbers, language.number_parts, language.number_endings)
            for place, language in enumerate(self._compounds)
            if place == 0 or len(word) >= 6
        )


@lru_cache(maxsize=64)
def lexicon(locale: str) -> Lexicon:
    """A language's lexicon."""
    return Lexicon(locale)


def is_spelled_out(run: Sequence[str]) -> bool:
    """Whether letters stand alone in a row that spell a word, or one is drawn out: no language here does either."""
    if any(_REPEATED.search(word) for word in run):
        return True
    alone = 0
    for word in run:
        alone = alone + 1 if len(word) == 1 else 0
        if alone == _LETTERS_IN_A_ROW:
            return True
    return False


def tail_of(run: Sequence[str]) -> tuple[str, ...]:
    """The last words of a run that a phrase, or a word spelled out, may go on from."""
    kept = _LONGEST_JOINED_PARTS
    while kept < len(run) and kept < _LETTERS_IN_A_ROW and len(run[-kept]) == 1:
        kept += 1
    return tuple(run[-kept:])


def _spelled(run: Sequence[str]) -> Iterator[str]:
    """Letters that stand alone, put together; with a letter less at each end, for ``f r e e a day``."""
    letters = ""
    for word in (*run, "  "):
        if len(word) == 1:
            letters += word
            continue
        if len(letters) > 1:
            yield from (letters, letters[1:], letters[:-1])
        letters = ""


def _is_foreign(phrase: tuple[str, ...], known: frozenset[str], own: dict[tuple[str, ...], tuple[str, str]]) -> bool:
    if phrase in own or len("".join(phrase).rstrip("*")) < _SHORTEST_FOREIGN:
        return False
    return not all(
        word.rstrip("*") in known or any(k.startswith(word[:-1]) for k in known if word[-1] == "*") for word in phrase
    )


@lru_cache(maxsize=20_000)
def _is_compound(word: str, numbers: frozenset[str], parts: frozenset[str], endings: frozenset[str]) -> bool:
    """Whether a word is number words and joiners, at least one of the former, with at most one ending."""
    # For each place: 1 if it can be reached by parts alone, 2 if a number word is among them.
    reached = [0] * (len(word) + 1)
    reached[0] = 1
    for place in range(len(word)):
        if not reached[place]:
            continue
        for end in range(place + 1, len(word) + 1):
            piece = word[place:end]
            if piece in numbers:
                reached[end] = 2
            elif piece in parts:
                reached[end] = max(reached[end], reached[place])
    return any(state == 2 and (place == len(word) or word[place:] in endings) for place, state in enumerate(reached))
