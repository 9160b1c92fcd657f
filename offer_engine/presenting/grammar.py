"""Which sentences a model may make in its own words: a closed grammar of each language, ``grammar/LANGUAGE.json``.

What holds:
 1. A sentence is accepted only if the grammar has all of it: each word and each slot, in that order. What the grammar lacks
    cannot be said, whatever it means.
 2. A word of giving, taking off, costing or lasting is in the grammar only beside the slot that says what or how much.
 3. The grammar has no word by which the shop would bind itself to do a thing, nor one by which it would agree (``yes``,
    ``of course``): with those a shopper's question becomes a promise.
 4. Reading takes one step a word, whatever the text; what is remembered is bounded.
 5. Goods are named in talk: sentences apart, in which no value of an offer stands and no word of giving, adding, fitting,
    helping or lasting. What asks there is said only with the mark of a question.

A sentence is ``lead* clause tail*``, again and again, with joiners between; or it is talk, again and again. Each of these is a
pattern: words, ``{field}`` for a slot, ``<part>`` for a pattern with a name, ``(a|b)``, ``[perhaps]``, and ``?`` where the
sentence must end as a question. A part names only parts above it: nothing is recursive. ``shown`` is talk that a model is
shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from offer_engine.presenting.locales import folded, grammar_data, words

BRAND: Final = "{brand}"  # stands for the shop's own name
ASKED: Final = "?"  # the last token of a sentence that ends as a question
_STEPS_REMEMBERED: Final = 50_000  # honest sentences of a language need some thousands
_LEXEME: Final = re.compile(r"[()\[\]|]|<[a-z_]+>|\{[a-z_.]+\}|[^\s()\[\]|<>{}]+")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
# Between clauses: where one may begin, where one has ended; and the same for talk, from which nothing leads to a clause (5).
_START, _END, _TALK, _TALKED = range(4)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One of the ``options``; each is words, slots and patterns one after the other. An empty option is nothing said."""

    options: tuple[tuple["str | Pattern", ...], ...]


class Grammar:
    """One language's grammar, compiled to a machine that reads a token a step."""

    def __init__(self, data: dict[str, Any], *, joins_apostrophes: bool) -> None:
        self._joins = joins_apostrophes
        self._parts: dict[str, Pattern] = {}
        for name, source in data["parts"].items():
            self._parts[name] = self.parse(source)
        self.leads, self.clauses, self.tails, self.joiners, self.talk = (
            tuple(map(self.parse, data[name])) for name in ("leads", "clauses", "tails", "joiners", "talk")
        )
        self._next: list[dict[str, list[int]]] = [{}, {ASKED: [_END]}, {}, {ASKED: [_TALKED]}]
        self._silent: list[list[int]] = [[], [_START], [], [_TALK]]  # reached without a word
        for patterns, start, end in (
            (self.leads, _START, _START),
            (self.clauses, _START, _END),
            (self.tails, _END, _END),
            (self.joiners, _END, _START),
            (self.talk, _TALK, _TALKED),
        ):
            for pattern in patterns:
                self._connect(pattern, start, end)
        self.vocabulary = frozenset(word for step in self._next for word in step if word.isalpha())
        self.in_capitals = self.vocabulary if data.get("nouns") == "capital" else frozenset[str]()
        self.vouched = frozenset(self._words(data.get("vouched", "")))
        self._reached = [self._without_words(state) for state in range(len(self._next))]
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def accepts(self, tokens: Sequence[str]) -> bool:
        """Whether the grammar has a sentence of these: folded words, ``{field}`` for slots, and ASKED where it asks (1).

        Nothing is a sentence.
        """
        here = frozenset({_START, _TALK})
        for token in tokens:
            here = self._step(here, token)
            if not here:
                return False
        return not tokens or any(not {_END, _TALKED}.isdisjoint(self._reached[state]) for state in here)

    def _step(self, here: frozenset[int], token: str) -> frozenset[int]:
        """Every place that a token leads to from these (4)."""
        known = self._steps.get((here, token))
        if known is not None:
            return known
        there = frozenset(
            following
            for state in here
            for reached in self._reached[state]
            for following in self._next[reached].get(token, ())
        )
        if len(self._steps) >= _STEPS_REMEMBERED:
            self._steps.clear()
        self._steps[here, token] = there
        return there

    def parse(self, source: str) -> Pattern:
        """A pattern as written. Raises ValueError for one that is none, KeyError for a part that does not stand above."""
        lexemes = _LEXEME.findall(source)
        pattern, end = self._options(lexemes, 0)
        if end != len(lexemes):
            raise ValueError(f"a bracket closes that was not opened: {source!r}")
        return pattern

    def _options(self, lexemes: list[str], place: int) -> tuple[Pattern, int]:
        options: list[tuple[str | Pattern, ...]] = []
        run: list[str | Pattern] = []
        while place < len(lexemes) and lexemes[place] not in (")", "]"):
            lexeme = lexemes[place]
            place += 1
            if lexeme == "|":
                options.append(tuple(run))
                run = []
            elif lexeme in ("(", "["):
                inner, place = self._options(lexemes, place)
                if place == len(lexemes) or lexemes[place] != {"(": ")", "[": "]"}[lexeme]:
                    raise ValueError("a bracket is not closed")
                run.append(Pattern((*inner.options, ())) if lexeme == "[" else inner)
                place += 1
            elif lexeme.startswith("<"):
                run.append(self._parts[lexeme[1:-1]])
            else:
                run += [lexeme] if lexeme == ASKED or lexeme.startswith("{") else self._words(lexeme)
        return Pattern((*options, tuple(run))), place

    def _words(self, written: str) -> list[str]:
        return [folded(word) for word in _LETTERS.findall(re.sub("['’]", "" if self._joins else " ", written))]

    def _connect(self, pattern: Pattern, start: int, end: int) -> None:
        """Makes every way of saying a pattern lead from ``start`` to ``end``."""
        for option in pattern.options:
            if not option:
                self._silent[start].append(end)
                continue
            here = start
            for place, element in enumerate(option):
                there = end if place == len(option) - 1 else self._new()
                if isinstance(element, Pattern):
                    self._connect(element, here, there)
                else:
                    self._next[here].setdefault(element, []).append(there)
                here = there

    def _new(self) -> int:
        self._next.append({})
        self._silent.append([])
        return len(self._next) - 1

    def _without_words(self, state: int) -> tuple[int, ...]:
        reached = {state}
        waiting = [state]
        while waiting:
            for following in self._silent[waiting.pop()]:
                if following not in reached:
                    reached.add(following)
                    waiting.append(following)
        return tuple(reached)


@lru_cache(maxsize=64)
def grammar(locale: str) -> Grammar:
    """A language's grammar."""
    return Grammar(grammar_data(locale), joins_apostrophes=words(locale).joins_apostrophes)
