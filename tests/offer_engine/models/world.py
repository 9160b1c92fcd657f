"""Models of three providers, a recorder in memory, and presentations by them in made-up time."""

from collections.abc import Callable
from pathlib import Path

import httpx

from offer_engine.models.egress import Egress
from offer_engine.models.prompt import Prompt, Turn
from offer_engine.models.records import CallEnded, CallJudged, CallOpened, Occasion, Record
from offer_engine.models.router import Router
from offer_engine.models.specs import DialectName, ModelSpec
from offer_engine.presenting.present import Presentation, Presented, present
from offer_engine.presenting.voices import ModelVoice
from tests.offer_engine.fake_provider import FakeTransport, Script
from tests.offer_engine.presenting.world import grounds
from tests.offer_engine.virtual_time import loop_seconds

HASH_KEY = b"a key for tests"
DIALECT_NAMES: tuple[DialectName, ...] = ("openai", "anthropic", "gemini")
PROMPT = Prompt("Word the offers.", (Turn("user", "What can you offer me?"),))


class Kept:
    """A recorder in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def opened(self, record: CallOpened) -> None:
        self.records.append(record)

    def write(self, record: CallEnded | CallJudged) -> None:
        self.records.append(record)


def spec(dialect: DialectName, name: str | None = None, key_file: Path | None = None) -> ModelSpec:
    """A model of a provider at an address of its own."""
    return ModelSpec(
        name=name or dialect,
        dialect=dialect,
        base_url=f"https://{name or dialect}.example",
        model="small-1",
        key_file=key_file,
        input_micros_per_million=150_000,
        output_micros_per_million=600_000,
    )


def by_host(scripts: dict[str, Script]) -> FakeTransport:
    """A transport that answers each provider's requests by its script."""
    return FakeTransport(lambda request: scripts[request.url.host.partition(".")[0]])


def egress_of(transport: httpx.AsyncBaseTransport, kept: Kept, stall_seconds: float = 8.0) -> Egress:
    """An egress in made-up time."""
    return Egress(kept, HASH_KEY, lambda: 1_795_000_000_000, loop_seconds, transport, stall_seconds)


async def words_of(router: Router, judge: Callable[[str], str] = lambda _: "ok") -> str:
    """One answer's words, judged."""
    answer = router.ask(PROMPT, Occasion("test"))
    text = ""
    async for piece in answer.words():
        text += piece
    answer.judged(judge(text))
    return text


async def presented(router: Router, deadline_seconds: float = 4.0, *, streamed: bool = True) -> tuple[Presented, float]:
    """A presentation by models, and how long it took in the loop's time."""
    began = loop_seconds()
    presentation = Presentation(
        grounds(offers=1),
        ModelVoice(router),
        deadline_seconds=deadline_seconds,
        now_seconds=loop_seconds,
        streamed=streamed,
    )
    outcome = await present(presentation)
    return outcome, loop_seconds() - began
