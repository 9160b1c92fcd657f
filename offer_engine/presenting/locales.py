"""The languages offers are said in, as data: texts and formats in ``templates/``, what must not be said in ``words/``, what a
model may say in ``grammar/`` (grammar.py), and sentences to choose from in ``phrases/``.

A language is four files of one name. Words are separated by spaces, phrases by ``|``; ``*`` at the end of a phrase stands for
any ending. Everything is compared folded: lower case, without accents.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tokenization.scanner.fold import fold
from tokenization.scanner.views import View

_HERE: Final = Path(__file__).parent
LOCALES: Final = tuple(sorted(path.stem for path in (_HERE / "templates").glob("*.json")))
DEFAULT_LOCALE: Final = "en"


def locale_for(tag: str) -> str:
    """The language to speak for a BCP 47 tag: ``de-CH`` is ``de``; what is not known is English."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return language if language in LOCALES else DEFAULT_LOCALE


@lru_cache(maxsize=20_000)
def folded(word: str) -> str:
    """A word as it is compared: ``Größe`` is ``grosse``."""
    return fold(View(word)).text.casefold()


@lru_cache(maxsize=64)
def templates(locale: str) -> dict[str, Any]:
    """A language's formats and sentences."""
    return _read("templates", locale)


@lru_cache(maxsize=64)
def phrases(locale: str) -> dict[str, str]:
    """A language's sentences to choose from, by name."""
    return _read("phrases", locale)


@lru_cache(maxsize=64)
def grammar_data(locale: str) -> dict[str, Any]:
    """A language's patterns."""
    return _read("grammar", locale)


@dataclass(frozen=True, slots=True)
class Words:
    """A language's words, folded. ``phrases`` gives for each phrase what it is: a kind, and for a claim its licence."""

    letters: frozenset[str]  # not folded, both cases
    joins_apostrophes: bool
    numbers: frozenset[str]
    number_parts: frozenset[str]
    number_endings: frozenset[str]
    phrases: dict[tuple[str, ...], tuple[str, str]]
    ordinary: frozenset[str]
    turning: frozenset[str]  # said before a value they make it another one
    before_value: frozenset[str]  # likewise, next to it
    after_value: frozenset[str]
    conjunctions: frozenset[str]  # behind which a value may go on: "or less"
    inside: frozenset[str]
    openers: frozenset[str]


@lru_cache(maxsize=64)
def words(locale: str) -> Words:
    """A language's words."""
    data = _read("words", locale)
    accented = data["letters"] + data["letters"].upper()
    return Words(
        letters=frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + accented),
        joins_apostrophes=data["apostrophes"] == "join",
        numbers=_set(data["numbers"]),
        number_parts=_set(data["number_parts"]),
        number_endings=_set(data["number_endings"]),
        phrases=dict(_phrases(data)),
        ordinary=_set(data["ordinary"]),
        turning=_set(data["turning"]),
        before_value=_set(data["before_slot"]),
        after_value=_set(data["after_slot"]),
        conjunctions=_set(data["or"]),
        inside=_set(data["inside"]),
        openers=_set(data["openers"].replace("'", " ").replace("-", " ")),
    )


def _phrases(data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], tuple[str, str]]]:
    joins = data["apostrophes"] == "join"

    def split(text: str) -> Iterator[tuple[str, ...]]:
        for phrase in text.split("|"):
            yield tuple(folded(phrase.replace("'", "" if joins else " ")).split())

    for licence, text in data["claims"].items():
        for phrase in split(text):
            yield phrase, ("claim", licence)
    for kind, name in (("instruction", "instructions"), ("time", "times")):
        for phrase in split(data[name]):
            yield phrase, (kind, "")
    for kind, name in (("currency", "currencies"), ("number_word", "quantities")):
        for word in data[name].split():
            yield (folded(word),), (kind, "")
    for phrase in split(data["percents"]):
        yield phrase, ("percent", "")
    for phrase in split(data["harmless"]):
        yield phrase, ("harmless", "")


def _set(text: str) -> frozenset[str]:
    return frozenset(folded(word) for word in text.split())


def _read(folder: str, locale: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_HERE / folder / f"{locale}.json").read_text(encoding="utf-8"))
    return content
