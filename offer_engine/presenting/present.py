"""An offer said to a shopper: by a model where there is one and its words hold, else by a template; always, and in time.

What holds:
 1. Nothing reaches the shopper but sentences that the verifier passed, templates, and what the snapshots hold.
 2. A model is asked at most twice: once more when its words were refused before any was passed on (repair), or when it failed
    in the middle (another goes on after the last whole sentence). After that the template stands.
 3. When the deadline comes the text is finished from the template, at once.
 4. Every offer's required disclosures are in the text, and whose offer it is, and that a model worded it if one did.
 5. Each call is told its verdict, once: calls and verdicts can be held against each other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from offer_engine.models.prompt import Prompt, Turn
from offer_engine.presenting import templates
from offer_engine.presenting.phrasebook import PhraseBook
from offer_engine.presenting.prompts import continued, prompt_for, repaired
from offer_engine.presenting.stream import Reader, SafeStream
from offer_engine.presenting.verifier import Grounds, Verdict, Verifier


class VoiceFailed(Exception):
    """A model gave no words, or stopped in the middle. ``kind`` says how, from the provider layer's closed set."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Utterance(Protocol):
    """One call of a model."""

    def deltas(self) -> AsyncIterator[str]:
        """The text as it comes. Raises VoiceFailed."""

    def judged(self, verdict: str) -> None:
        """Tells what became of the text: a verdict, or how the call failed."""


class Voice(Protocol):
    """Whatever can put a prompt into words."""

    def say(self, prompt: Prompt, budget_seconds: float) -> Utterance:
        """Begins a call that has this much time."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What became of a presentation, for the decision's record. ``verdicts`` are those of the calls, in order."""

    text: str
    by: Literal["model", "template", "both"]
    named: tuple[int, ...]
    verdicts: tuple[str, ...]


class Presentation:
    """One presentation: iterate over it for the text as it may be shown; afterwards ``presented`` says what it was.

    ``wording`` is ``free`` for a model's own words, read by the verifier, or ``chosen`` for sentences of the phrase book alone.
    With ``streamed`` each sentence comes as soon as it holds; without, a text that does not hold as a whole is never begun.
    """

    def __init__(
        self,
        grounds: Grounds,
        voice: Voice | None,
        *,
        deadline_seconds: float,
        now_seconds: Callable[[], float],
        talk: Sequence[Turn] = (),
        hints: Sequence[str] = (),
        streamed: bool = True,
        wording: Literal["free", "chosen"] = "free",
    ) -> None:
        self._grounds = grounds
        self._voice = voice if grounds.offers else None
        self._now = now_seconds
        self._ends = now_seconds() + deadline_seconds
        self._prompt = prompt_for(grounds, talk, hints)
        self._reader: Reader = Verifier(grounds)
        if wording == "chosen":
            book = PhraseBook(grounds)
            self._reader, self._prompt = book, book.prompt(self._prompt)
        self._streamed = streamed
        self._stream = SafeStream(self._reader)
        self._shown: list[str] = []
        self._verdicts: list[str] = []
        self.presented: Presented | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        async for piece in self._in_the_model_s_words():
            yield self._show(piece)
        by_model = bool(self._shown)
        named = set(self._stream.state.named) if by_model else set()
        finished = by_model and self._verdicts[-1] == Verdict.OK
        if not finished:
            for piece in self._from_the_template(set(self._stream.state.presented) if by_model else set()):
                yield self._show(piece)
            named = set(range(1, len(self._grounds.offers) + 1))
        closing = templates.closing(self._grounds, named=named, told="".join(self._shown), by_model=by_model)  # (4)
        if closing:
            yield self._show("\n" + closing)
        self.presented = Presented(
            text="".join(self._shown),
            by="model" if finished else "both" if by_model else "template",
            named=tuple(sorted(named)),
            verdicts=tuple(self._verdicts),
        )

    async def _in_the_model_s_words(self) -> AsyncIterator[str]:
        """(1) (2)"""
        if self._voice is None:
            return
        prompt = self._prompt
        for _ in range(2):
            held: list[str] = []
            async for piece in self._one_call(self._voice, prompt):
                if self._streamed:
                    yield piece
                else:
                    held.append(piece)
            verdict = self._verdicts[-1]
            if verdict == Verdict.OK:
                for piece in held:
                    yield piece
                return
            if self._now() >= self._ends:
                return  # (3)
            failed = self._stream.verdict is Verdict.OK
            if self._streamed and self._stream.raw:
                if not failed:
                    return
                self._stream.drop()
                prompt = continued(self._prompt, self._stream.raw)
            elif failed:
                return  # the provider layer has tried its others already
            else:
                prompt = repaired(self._prompt, self._stream.verdict)
                self._stream = SafeStream(self._reader)

    async def _one_call(self, voice: Voice, prompt: Prompt) -> AsyncIterator[str]:
        """What may be shown of one call's text; its verdict is the last of ``_verdicts`` (3) (5)."""
        left_seconds = self._ends - self._now()
        if left_seconds <= 0:
            self._verdicts.append("no_time")
            return
        call = voice.say(prompt, left_seconds)
        deltas = aiter(call.deltas())
        verdict = "abandoned"
        try:
            while self._stream.verdict is Verdict.OK:
                try:
                    piece = await asyncio.wait_for(anext(deltas), max(self._ends - self._now(), 0))
                except StopAsyncIteration:
                    if passed := self._stream.end():
                        yield passed
                    break
                if passed := self._stream.feed(piece):
                    yield passed
            verdict = self._stream.verdict.value
        except TimeoutError:
            verdict = "deadline"
        except VoiceFailed as failure:
            verdict = failure.kind
        except Exception:  # noqa: BLE001  # whatever a voice slips on, the shopper gets the offer
            verdict = "failed"
        finally:
            self._verdicts.append(verdict)
            call.judged(verdict)
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()

    def _from_the_template(self, presented: set[int]) -> list[str]:
        lines = templates.offers(self._grounds, without=presented)
        if not self._shown:
            return [templates.opening(self._grounds), *(["\n" + lines] if lines else [])]
        return ["\n" + lines] if lines else []

    def _show(self, piece: str) -> str:
        self._shown.append(piece)
        return piece


async def present(presentation: Presentation) -> Presented:
    """The whole of a presentation, where nothing is shown before its end."""
    async for _ in presentation:
        pass
    presented = presentation.presented
    if presented is None:
        raise RuntimeError("a presentation that was iterated to its end has its outcome")
    return presented
