"""Whether a text may reach a shopper: read sentence by sentence, everything in it that no slot brought.

What holds for a text whose verdict is OK:
 1. Every slot is one of an offer that is on the table and has such a value.
 2. A value stands by the name of its own offer: it follows that offer's title with no other title between, in the same
    sentence once two offers were named; where one sentence names several, each is followed by a value of its own. No word
    turns a value into another (``less than``, ``per``, ``not``, ``the other``), and nothing is glued to it. What is remembered
    of the shopper stands in sentences without a value and without a claim.
 3. Outside slots there is no figure in any script, no number word, no currency, no percentage, no time and no date.
 4. There is no letter and no sign but those the language is written with: nothing invisible, nothing that looks like another
    letter, no bidirectional marks.
 5. It is in the shopper's language. A sentence speaks of money only with a value in it. There is no claim that the offers
    spoken of do not license, no address, no instruction.
 6. There is no name but the shop's: no word in capitals that the language would not write so, and no known title.
 7. The grammar of the language has every sentence, word by word and slot by slot (grammar.py). It has no word by which a shop
    promises, so nothing is promised in plain words; and it says which slot a word of giving, taking off or costing goes with.
 8. It presents at least one offer, with its name and what it gives, and is not too long.

By (7) alone nothing else could be said than the grammar has. The lists behind (3), (5) and (6) are a second net under what a
grammar's author overlooks, and name what is wrong, so that a model can mend it.

A sentence's verdict depends on it and on what came before it alone (State): what follows never changes it. So a text may be
passed on sentence by sentence.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from offer_engine.presenting.grammar import ASKED, BRAND, grammar
from offer_engine.presenting.lexicon import Word, is_spelled_out, lexicon, tail_of
from offer_engine.presenting.sentences import sentences
from offer_engine.presenting.slots import FIELDS, SHOPPER, TITLE, VALUES, Slot, pieces_of
from offer_engine.snapshot import Sayable

MAXIMUM_SENTENCE: Final = 600
MAXIMUM_TEXT: Final = 2_000
_SIGNS: Final = frozenset(" \n\u00a0\u202f.,;:!?…'’\"“”„«»‹›()-–—•/&¡¿😊🙂👍✨🎉☕🙏")
_OPENING: Final = frozenset(':"“„«‹(¡¿•\n')
_ADDRESS: Final = re.compile(r"[^\W\d_]\.[^\W\d_]{2}|//|[^\W_]/[^\W_]+/|@")
_MAY_TOUCH_BEFORE: Final = frozenset(" \n\u00a0\u202f(\"“„«:’'")
_MAY_TOUCH_AFTER: Final = frozenset(' \n\u00a0\u202f.,;:!?…)"”“»')
GIVE: Final = frozenset({"benefit", "price", "saving"})  # one of them says what an offer gives
_CLAUSE: Final = re.compile("[,;(–—\ue000]")
_CLOSING: Final = " \n\u00a0\u202f!?.…\"”“»’')"
_QUOTES: Final = ' \n\u00a0\u202f("“„«'
_PLACEHOLDER: Final = "\ue000"  # stands for a slot while words are read; no sign of it can come from the text


class Verdict(StrEnum):
    """What is wrong with a text. Codes are only ever added."""

    OK = "ok"
    MALFORMED_SLOT = "malformed_slot"
    UNKNOWN_SLOT = "unknown_slot"
    GLUED_SLOT = "glued_slot"
    MISPLACED_VALUE = "misplaced_value"
    TURNED_VALUE = "turned_value"
    NUMBER = "number"
    NUMBER_WORD = "number_word"
    CURRENCY = "currency"
    SPELLED_OUT = "spelled_out"
    LANGUAGE = "language"
    PERCENT = "percent"
    TIME = "time"
    CHARACTER = "character"
    CLAIM = "claim"
    ADDRESS = "address"
    INSTRUCTION = "instruction"
    NAME = "name"
    WORDING = "wording"  # words, or an order of words, that the grammar lacks
    NO_PHRASE = "no_phrase"  # of a phrase book
    TOO_LONG = "too_long"
    NO_OFFER = "no_offer"


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a text may rest on: the offers on the table, in order; names of its own the shop may be called by; known titles; and
    what is remembered of the shopper, by the names of its slots (remembered.py).
    """

    locale: str
    offers: tuple[Sayable, ...]
    brand: str = ""
    known_titles: tuple[str, ...] = ()
    remembered: tuple[tuple[str, str], ...] = ()

    def value(self, slot: Slot) -> str | None:
        """What a slot stands for, or None if there is no such slot."""
        if slot.offer == SHOPPER:
            return dict(self.remembered).get(slot.field)
        is_there = slot.offer <= len(self.offers) and slot.field in FIELDS
        return self.offers[slot.offer - 1].value(slot.field) if is_there else None


@dataclass(frozen=True, slots=True)
class State:
    """What a text has said so far: the offer it speaks of, those it named, those it said a value of, its last words."""

    subject: int | None
    named: frozenset[int] = frozenset()
    valued: frozenset[int] = frozenset()
    tail: tuple[str, ...] = ()
    length: int = 0

    @property
    def presented(self) -> frozenset[int]:
        """The offers of which a shopper now knows the name and what they give."""
        return self.named & self.valued


@dataclass(slots=True)
class _Sentence:
    """A sentence taken apart. ``flat`` has a placeholder for each slot."""

    pieces: list[str | Slot]
    flat: str
    slots: list[tuple[int, Slot]] = field(default_factory=list)  # place in flat


class Verifier:
    """Reads texts against one set of grounds."""

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self._lexicon = lexicon(grounds.locale)
        self._grammar = grammar(grounds.locale)
        self._signs = _SIGNS | self._lexicon.own.letters
        self._brand = tuple(word.folded for word in self._lexicon.words_of(grounds.brand))
        self._names = frozenset(self._brand)
        self._in_capitals = self._lexicon.own.inside | self._names | self._grammar.in_capitals
        self._beginnings = self._lexicon.own.openers | self._grammar.vocabulary
        self._pairs, self._singles = self._known_titles()
        self._licences = [frozenset(offer.licences) for offer in grounds.offers]

    def start(self) -> State:
        """Nothing said yet. With one offer on the table there is no doubt which one is spoken of."""
        return State(subject=1 if len(self.grounds.offers) == 1 else None)

    def verdict(self, text: str) -> Verdict:
        """The verdict on a whole text: that of its first sentence that is not OK."""
        state = self.start()
        for sentence in sentences(text):
            verdict, state = self.sentence(sentence, state)
            if verdict is not Verdict.OK:
                return verdict
        return self.ending(state)

    def ending(self, state: State) -> Verdict:
        """The verdict on a text that ends here (8)."""
        return Verdict.OK if state.presented else Verdict.NO_OFFER

    def fill(self, text: str) -> str:
        """A verified sentence as it is said."""
        return filled(text, self.grounds)

    def sentence(self, text: str, state: State) -> tuple[Verdict, State]:
        """The verdict on the next sentence, and the state after it."""
        is_short = len(text) <= MAXIMUM_SENTENCE
        if is_short and self._grammar_has(_taken_apart(text)):
            return self._read(text, state, self._grammar.vouched)
        verdict, _ = self._read(text, state, frozenset())
        return (Verdict.WORDING if verdict is Verdict.OK else verdict), state  # (7)

    def without_grammar(self, text: str, state: State) -> tuple[Verdict, State]:
        """The verdict by (1) to (6) and (8) alone: for words that are no sentence, such as a shopper's name."""
        return self._read(text, state, frozenset())

    def _read(self, text: str, state: State, vouched: frozenset[str]) -> tuple[Verdict, State]:
        """The same; ``vouched`` are words of the lists that may be said, for the grammar has the sentence they are in."""
        if len(text) > MAXIMUM_SENTENCE or state.length + len(text) > MAXIMUM_TEXT:
            return Verdict.TOO_LONG, state  # (8)
        sentence = _taken_apart(text)
        for check in (self._slots_exist, self._signs_are_plain):
            verdict = check(sentence)
            if verdict is not Verdict.OK:
                return verdict, state
        words = self._lexicon.words_of(sentence.flat)
        placed, subject = self._values_stand_by_their_offers(sentence, state)
        for verdict in (
            placed,
            self._values_are_not_turned(sentence, words),
            self._words_may_be_said(sentence, words, state, vouched),
            self._names_are_known(sentence, words),
        ):
            if verdict is not Verdict.OK:
                return verdict, state
        named = state.named | {slot.offer for _, slot in sentence.slots if slot.field == TITLE}
        valued = state.valued | {slot.offer for _, slot in sentence.slots if slot.field in GIVE}
        tail = tail_of((*state.tail, *(word.folded for word in words)))
        return Verdict.OK, State(subject, named, valued, tail, state.length + len(text))

    def _slots_exist(self, sentence: _Sentence) -> Verdict:
        """(1) (2: nothing glued)"""
        if any("{" in piece or "}" in piece for piece in sentence.pieces if isinstance(piece, str)):
            return Verdict.MALFORMED_SLOT
        for place, slot in sentence.slots:
            if self.grounds.value(slot) is None:
                return Verdict.UNKNOWN_SLOT
            before, after = sentence.flat[place - 1 : place], sentence.flat[place + 1 : place + 2]
            if (before and before not in _MAY_TOUCH_BEFORE) or (after and after not in _MAY_TOUCH_AFTER):
                return Verdict.GLUED_SLOT
        for (first, one), (second, other) in zip(sentence.slots, sentence.slots[1:], strict=False):
            if not sentence.flat[first + 1 : second].strip() and {one.field, other.field} <= set(VALUES):
                return Verdict.GLUED_SLOT
        return Verdict.OK

    def _signs_are_plain(self, sentence: _Sentence) -> Verdict:
        """(3: figures and signs) (4) (5: addresses)"""
        texts = [unicodedata.normalize("NFC", piece) for piece in sentence.pieces if isinstance(piece, str)]
        for character in "".join(texts):
            if character not in self._signs:
                return _what_is(character)
        return Verdict.ADDRESS if any(map(_ADDRESS.search, texts)) else Verdict.OK

    def _values_stand_by_their_offers(self, sentence: _Sentence, state: State) -> tuple[Verdict, int | None]:
        """(2)"""
        subject = state.subject
        of_shopper = any(slot.offer == SHOPPER for _, slot in sentence.slots)
        if of_shopper and any(slot.offer != SHOPPER and slot.field != TITLE for _, slot in sentence.slots):
            return Verdict.MISPLACED_VALUE, subject
        titles = {slot.offer for _, slot in sentence.slots if slot.field == TITLE}
        has_values = any(slot.field in VALUES for _, slot in sentence.slots)
        if len(state.named) > 1:
            subject = None  # once two are named, a value is said in the sentence that names its offer
        named, valued = None, True
        for _, slot in sentence.slots:
            if slot.field == TITLE:
                if has_values and len(titles) > 1 and slot.offer != named and not valued:
                    return Verdict.MISPLACED_VALUE, subject
                valued = slot.offer == named and valued
                named = subject = slot.offer
            elif slot.field in VALUES:
                if slot.offer != subject:
                    return Verdict.MISPLACED_VALUE, subject
                valued = True
        if has_values and len(titles) > 1 and not valued:
            return Verdict.MISPLACED_VALUE, subject
        return Verdict.OK, subject

    def _values_are_not_turned(self, sentence: _Sentence, words: Sequence[Word]) -> Verdict:
        """(2)"""
        own = self._lexicon.own
        said: set[Slot] = set()
        for place, slot in sentence.slots:
            last = [word for word in words if word.start < place][-1:]
            adds = any(w.folded in own.conjunctions and not sentence.flat[w.end : place].strip(_QUOTES) for w in last)
            again = slot in said or (adds and any(other.offer == slot.offer for other in said))
            if slot.field in GIVE and again:
                return Verdict.TURNED_VALUE  # one figure counted as two: "15% off and $11.85 off"
            if slot.field in GIVE:
                said.add(slot)
            if slot.field not in VALUES or slot.field == "regular_price":
                continue  # what is to pay without an offer is there to be compared: the grammar says how
            clause = _CLAUSE.split(sentence.flat[:place])[-1]
            before = [word.folded for word in words if place - len(clause) <= word.start < place]
            if (
                any(word in own.turning for word in before)
                or any(w.folded in own.before_value and not sentence.flat[w.end : place].strip(_QUOTES) for w in last)
                or self._goes_on(sentence, place, words)
            ):
                return Verdict.TURNED_VALUE
        return Verdict.OK

    def _goes_on(self, sentence: _Sentence, place: int, words: Sequence[Word]) -> bool:
        """Whether what follows a value at once makes it another: ``per mug``, ``or even less``."""
        own, end = self._lexicon.own, place + 1
        for word in words:
            if word.start < end:
                continue
            if sentence.flat[end : word.start].strip():
                return False
            if word.folded in own.after_value:
                return True
            if word.folded not in own.conjunctions:
                return False
            end = word.end
        return False

    def _words_may_be_said(
        self, sentence: _Sentence, words: Sequence[Word], state: State, vouched: frozenset[str]
    ) -> Verdict:
        """(3: words) (5)"""
        licences = self._licensed(sentence, state)
        for word in words:
            if self._lexicon.is_roman(word.text):
                return Verdict.NUMBER_WORD
            if self._lexicon.is_code(word.text):
                return Verdict.CURRENCY
        run = [*state.tail, *(word.folded for word in words)]
        place = 0
        while place < len(run):
            found = self._lexicon.phrase_at(run, place)
            length = found.length if found else 1
            is_new = place + length > len(state.tail)  # what lies before was read with its sentence
            innocent = found is not None and found.kind == "harmless"
            innocent = innocent or vouched.issuperset(run[place : place + length])
            if is_new and not innocent and self._lexicon.is_number(run[place]):
                return Verdict.NUMBER_WORD
            if found is None:
                place += 1
                continue
            if is_new and not innocent and not (found.kind == "claim" and found.licence in licences):
                return Verdict(found.kind)
            place += found.length if is_new or found.kind == "harmless" else 1
        if is_spelled_out(run):
            return Verdict.SPELLED_OUT
        if self._lexicon.is_foreign(run[len(state.tail) :]):
            return Verdict.LANGUAGE
        for respelled in self._lexicon.respelled(sentence.flat, words, state.tail):
            if self._lexicon.is_forbidden(respelled):
                return Verdict.NUMBER_WORD if self._lexicon.is_number(respelled) else Verdict.CLAIM
        return Verdict.CLAIM if self._lexicon.joins_to_forbidden(run) else Verdict.OK

    def _licensed(self, sentence: _Sentence, state: State) -> frozenset[str]:
        """What every offer that the sentence is about licenses: those of its slots, or else the one spoken of, or all.

        Money is spoken of with a value, and the end of an offer with its date, or not at all.
        """
        about = {slot.offer for _, slot in sentence.slots}
        if SHOPPER in about:
            return frozenset()
        if not about and state.subject is not None:
            about = {state.subject}
        chosen = [self._licences[offer - 1] for offer in about] if about else self._licences
        licences = frozenset.intersection(*chosen) if chosen else frozenset[str]()
        fields = {slot.field for _, slot in sentence.slots}
        if "expires" not in fields:
            licences -= {"timed"}
        return licences | {"money"} if fields & set(VALUES) else licences

    def _names_are_known(self, sentence: _Sentence, words: Sequence[Word]) -> Verdict:
        """(6)"""
        run = [word.folded for word in words]
        if any(pair in self._pairs for pair in itertools.pairwise(run)) or any(w in self._singles for w in run):
            return Verdict.NAME
        end = 0
        begins = True
        for word in words:
            between = sentence.flat[end : word.start]
            end = word.end
            begins = begins and _PLACEHOLDER not in between
            begins = begins or bool(between.strip(" \u00a0\u202f") and between.strip(" \u00a0\u202f")[-1] in _OPENING)
            is_capital = word.text != word.text.lower()
            may_be = word.folded in self._in_capitals
            if is_capital and not may_be and not (begins and word.folded in self._beginnings):
                return Verdict.NAME
            begins = False
        return Verdict.OK

    def _grammar_has(self, sentence: _Sentence) -> bool:
        """(7)"""
        words = self._lexicon.words_of(sentence.flat)
        placed = [(place, f"{{{slot.field}}}") for place, slot in sentence.slots]
        run = [word.folded for word in words]
        place = 0
        while place < len(run):
            if self._brand and tuple(run[place : place + len(self._brand)]) == self._brand:
                placed.append((words[place].start, BRAND))
                place += len(self._brand)
            else:
                placed.append((words[place].start, run[place]))
                place += 1
        tokens = [token for _, token in sorted(placed)]
        ending = sentence.flat[len(sentence.flat.rstrip(_CLOSING)) :]
        return self._grammar.accepts([*tokens, ASKED] if tokens and "?" in ending else tokens)

    def _known_titles(self) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
        """Pairs of words, and single words, by which a product or an offer that is not spoken of would be named."""
        own = self._lexicon.own
        pairs: set[tuple[str, str]] = set()
        singles: set[str] = set()
        for title in self.grounds.known_titles:
            run = [word.folded for word in self._lexicon.words_of(title)]
            if len(run) == 1 and run[0] not in self._beginnings | own.inside | own.ordinary:
                singles.add(run[0])
            named = {pair for pair in itertools.pairwise(run) if not self._grammar.vocabulary.issuperset(pair)}
            pairs |= named  # "of the" names nothing
            singles |= {a + b for a, b in named}
        return frozenset(pairs - set(itertools.pairwise(self._brand))), frozenset(singles - self._names)


def filled(text: str, grounds: Grounds) -> str:
    """A verified text with its slots filled, once: what a value holds is never read for slots."""
    return "".join(piece if isinstance(piece, str) else grounds.value(piece) or "" for piece in pieces_of(text))


def _taken_apart(text: str) -> _Sentence:
    sentence = _Sentence(pieces_of(text), "")
    for piece in sentence.pieces:
        if isinstance(piece, Slot):
            sentence.slots.append((len(sentence.flat), piece))
            sentence.flat += _PLACEHOLDER
        else:
            sentence.flat += unicodedata.normalize("NFC", piece)
    return sentence


def _what_is(character: str) -> Verdict:
    """The verdict on a sign that the language is not written with."""
    plain = unicodedata.normalize("NFKC", character)
    if unicodedata.numeric(character, None) is not None or any(part.isnumeric() for part in plain):
        return Verdict.NUMBER
    if any(unicodedata.category(part) == "Sc" for part in plain):
        return Verdict.CURRENCY
    if any(part in "%‰‱٪" for part in plain):
        return Verdict.PERCENT
    return Verdict.ADDRESS if character in "@#\\_" else Verdict.CHARACTER
