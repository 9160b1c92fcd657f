"""Safe streaming: of a text that is being written, only finished sentences whose verdict is OK are passed on.

What holds:
 1. What was passed on is a beginning of the text whose verdict, as a whole, is OK; nothing that comes later can change that.
 2. After the first sentence that is not OK nothing more is passed on, whatever comes.
 3. What is passed on does not depend on the pieces in which the text came.
 4. What is held is bounded: a sentence that does not end is refused.
"""

from typing import Protocol

from offer_engine.presenting.sentences import cut
from offer_engine.presenting.verifier import MAXIMUM_SENTENCE, State, Verdict


class Reader(Protocol):
    """Judges sentences one after the other: a Verifier, or a PhraseBook."""

    def start(self) -> State:
        """Before the first sentence."""

    def sentence(self, text: str, state: State) -> tuple[Verdict, State]:
        """The verdict on the next, and the state after it. MUST depend on these two alone."""

    def ending(self, state: State) -> Verdict:
        """The verdict on a text that ends here."""

    def fill(self, text: str) -> str:
        """A sentence that is OK, as it is said."""


class SafeStream:
    """Takes a model's text in pieces and gives the shopper's, slots filled."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._held = ""
        self.state = reader.start()
        self.verdict = Verdict.OK
        self.raw = ""  # the model's text as far as it was passed on

    def feed(self, piece: str) -> str:
        """What may be passed on now that this piece has come; often nothing."""
        self._held += piece
        passed = ""
        while self.verdict is Verdict.OK and (pair := cut(self._held)) is not None:
            sentence, self._held = pair
            passed += self._pass(sentence)
        if self.verdict is Verdict.OK and len(self._held) > MAXIMUM_SENTENCE:
            self.verdict = Verdict.TOO_LONG  # (4)
        return passed

    def end(self) -> str:
        """What may be passed on of the rest, now that the text is finished. Sets the final verdict."""
        rest, self._held = self._held, ""
        passed = self._pass(rest) if rest and self.verdict is Verdict.OK else ""
        if self.verdict is Verdict.OK:
            self.verdict = self._reader.ending(self.state)
        return passed

    def drop(self) -> None:
        """Forgets an unfinished sentence: its writer failed, and another goes on after the last finished one."""
        self._held = ""

    def _pass(self, sentence: str) -> str:
        self.verdict, state = self._reader.sentence(sentence, self.state)
        if self.verdict is not Verdict.OK:
            return ""  # (2)
        self.state = state
        self.raw += sentence
        return self._reader.fill(sentence)
