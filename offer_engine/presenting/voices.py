"""The models as a voice of presentations."""

from collections.abc import AsyncIterator

from offer_engine.models.events import ModelFailed
from offer_engine.models.prompt import Prompt
from offer_engine.models.records import Occasion
from offer_engine.models.router import Answer, Router
from offer_engine.presenting.present import Utterance, VoiceFailed


class ModelVoice:
    """Says prompts by whichever model answers first. ``brand`` and ``decision`` go on record with each call."""

    def __init__(self, router: Router, brand: str = "", decision: str = "") -> None:
        self._router = router
        self._occasion = Occasion("presentation", brand, decision)

    def say(self, prompt: Prompt, budget_seconds: float) -> Utterance:
        """Begins a question. The budget is the presentation's to keep: it cancels what is late."""
        return _Utterance(self._router.ask(prompt, self._occasion))


class _Utterance:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def deltas(self) -> AsyncIterator[str]:
        """The text as it comes. Raises VoiceFailed."""
        words = self._answer.words()
        try:
            async for text in words:
                yield text
        except ModelFailed as failure:
            raise VoiceFailed(failure.kind.value) from None
        finally:
            close = getattr(words, "aclose", None)
            if close is not None:
                await close()

    def judged(self, verdict: str) -> None:
        """Tells what became of the text."""
        self._answer.judged(verdict)
