"""One question to several models: the first that speaks answers.

What holds:
 1. A provider that fails before its first words is followed by the next at once; none is asked twice for one question, and none
    whose breaker is open.
 2. One that is slow with its first words is joined by the next (a hedge), if the bucket allows; who speaks first goes on, the
    other is cancelled.
 3. Once words came they are one model's. If it breaks off, that is told: the caller knows what was said, and asks again.
 4. Every call that was made gets one verdict: the caller's for the one that spoke, for the others their failure, ``lost_race``
    where another spoke, or ``abandoned`` where the caller waited for none of them any longer.
 5. One that is given up without a word after it was due for a hedge counts as stalled for its breaker: what hangs longer than
    anybody waits would else be asked again and again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from offer_engine.models.breaker import Breaker
from offer_engine.models.egress import Egress, ModelCall
from offer_engine.models.events import FailureKind, ModelEvent, ModelFailed, Text
from offer_engine.models.hedging import Hedging
from offer_engine.models.prompt import Prompt
from offer_engine.models.records import Occasion
from offer_engine.models.specs import ModelSpec

_LOST: Final = "lost_race"
_ABANDONED: Final = "abandoned"
_SAME_WITH_ANY: Final = frozenset({FailureKind.CARD_TEXT, FailureKind.NOT_RECORDED})


@dataclass(slots=True)
class _Attempt:
    """A call under way, up to its first words."""

    call: ModelCall
    events: AsyncGenerator[ModelEvent, None]
    first: "asyncio.Task[str]"
    began_seconds: float


class Router:
    """Asks models in their order. Keep one for the process: it remembers who failed and who is slow."""

    def __init__(
        self, specs: Sequence[ModelSpec], egress: Egress, now_seconds: Callable[[], float], *, hedges: bool = True
    ) -> None:
        self._specs = tuple(specs)
        self._egress = egress
        self._now = now_seconds
        self._hedges = hedges
        self._breakers = {spec.name: Breaker() for spec in specs}
        self._hedging = {spec.name: Hedging() for spec in specs}

    def ask(self, prompt: Prompt, occasion: Occasion) -> "Answer":
        """A question; nothing is sent before its words are asked for."""
        return Answer(self, prompt, occasion)

    async def speak(self, prompt: Prompt, occasion: Occasion, answer: "Answer") -> AsyncGenerator[str, None]:
        """The words of whoever speaks first. Raises ModelFailed."""
        waiting = list(self._specs)
        running: list[_Attempt] = []
        try:
            winner, text = await self._first_to_speak(prompt, occasion, waiting, running)
            answer.call = winner.call
            running.remove(winner)
            await self._give_up(running, _LOST)  # (2)
            yield text
            try:
                async for event in winner.events:
                    if isinstance(event, Text) and event.text:
                        yield event.text
            except ModelFailed as failure:  # (3)
                self._breakers[winner.call.spec.name].broke_off(failure, self._now())
                raise
            finally:
                await winner.events.aclose()
        finally:
            await self._give_up(running, _ABANDONED)

    async def _first_to_speak(
        self, prompt: Prompt, occasion: Occasion, waiting: list[ModelSpec], running: list[_Attempt]
    ) -> tuple[_Attempt, str]:
        last = ModelFailed(FailureKind.NONE_LEFT)
        may_hedge = self._hedges
        while True:
            if not running:
                may_hedge = self._hedges
                try:
                    running.append(await self._begin(prompt, occasion, waiting))
                except ModelFailed as failure:
                    raise (last if failure.kind is FailureKind.NONE_LEFT else failure) from None
            done, _ = await asyncio.wait(
                [attempt.first for attempt in running],
                timeout=self._wait_seconds(running) if may_hedge and waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in [attempt for attempt in running if attempt.first in done]:
                name = attempt.call.spec.name
                try:
                    text = attempt.first.result()
                except ModelFailed as failure:  # (1)
                    last = failure
                    running.remove(attempt)
                    await attempt.events.aclose()
                    self._breakers[name].failed(failure, self._now())
                    attempt.call.judged(failure.kind.value)  # (4)
                    continue
                self._breakers[name].succeeded()
                self._hedging[name].saw(self._now() - attempt.began_seconds)
                return attempt, text
            if not done:  # (2)
                may_hedge = False
                if self._hedging[running[0].call.spec.name].spend():
                    with suppress(ModelFailed):
                        running.append(await self._begin(prompt, occasion, waiting))

    async def _begin(self, prompt: Prompt, occasion: Occasion, waiting: list[ModelSpec]) -> _Attempt:
        """Begins a call of the next that may be asked. Raises ModelFailed."""
        last = FailureKind.NONE_LEFT
        while waiting:
            spec = waiting.pop(0)
            breaker = self._breakers[spec.name]
            if not breaker.may_call(self._now()):
                continue
            breaker.begin()
            call = None
            try:
                call = await self._egress.open(spec, prompt, occasion)
            except ModelFailed as failure:
                if failure.kind in _SAME_WITH_ANY:
                    raise
                last = failure.kind
                continue
            finally:
                if call is None:
                    breaker.abandoned()
            self._hedging[spec.name].earn()
            events = call.events()
            return _Attempt(call, events, asyncio.create_task(_first_words(events)), self._now())
        raise ModelFailed(last)

    def _wait_seconds(self, running: Sequence[_Attempt]) -> float:
        """How long to go on waiting for first words alone."""
        slow = running[0]
        waited_seconds = self._now() - slow.began_seconds
        return max(self._hedging[slow.call.spec.name].wait_seconds() - waited_seconds, 0.0)

    async def _give_up(self, running: list[_Attempt], verdict: str) -> None:
        """Cancels calls that are no longer wanted (2) (4)."""
        while running:
            attempt = running.pop()
            attempt.first.cancel()
            with suppress(asyncio.CancelledError, ModelFailed):
                await attempt.first
            await attempt.events.aclose()
            breaker, hedging = self._breakers[attempt.call.spec.name], self._hedging[attempt.call.spec.name]
            waited_seconds = self._now() - attempt.began_seconds
            if waited_seconds >= hedging.wait_seconds():
                breaker.failed(ModelFailed(FailureKind.STALLED), self._now())  # (5)
            else:
                breaker.abandoned()
            hedging.saw(waited_seconds)
            attempt.call.judged(verdict)


class Answer:
    """One question's answer: its words, once, and what became of them."""

    def __init__(self, router: Router, prompt: Prompt, occasion: Occasion) -> None:
        self._router = router
        self._prompt = prompt
        self._occasion = occasion
        self.call: ModelCall | None = None

    def words(self) -> AsyncGenerator[str, None]:
        """The text as it comes. Raises ModelFailed."""
        return self._router.speak(self._prompt, self._occasion, self)

    def judged(self, verdict: str) -> None:
        """Records the verdict on the words, if any came (4)."""
        if self.call is not None:
            self.call.judged(verdict)


async def _first_words(events: AsyncGenerator[ModelEvent, None]) -> str:
    async for event in events:
        if isinstance(event, Text) and event.text:
            return event.text
    raise ModelFailed(FailureKind.TRUNCATED)  # it ended without a word
