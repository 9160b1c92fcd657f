"""An agent of pydantic-ai over the router: scrubbed, on record, text alone, and each call judged once."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import UnsupportedSettingWarning
from pydantic_ai.messages import (
    BinaryContent,
    BinaryImage,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.output import NativeOutput, PromptedOutput
from pydantic_ai.settings import ModelSettings

from offer_engine.models.events import FailureKind
from offer_engine.models.pydantic_ai import RefusalKind, RequestRefused, RouterFailed, RouterModel
from offer_engine.models.records import CallJudged, CallOpened, Occasion, reconcile
from offer_engine.models.router import Answer, Router
from tests.offer_engine.fake_provider import WORDS, Script, fault, pieces, stream_of
from tests.offer_engine.models.world import DIALECT_NAMES, Kept, by_host, egress_of, spec
from tests.offer_engine.virtual_time import loop_seconds, run_virtually
from tokenization.clock import monotonic_seconds
from tokenization.scanner import contains_card

ROOT = Path(__file__).parents[3]
CARD = "4242 4242 4242 4242"
GOOD = stream_of("openai", pieces(WORDS))


class Shop:
    """A router over made-up providers, as a model of pydantic-ai."""

    def __init__(self, *answers: Script, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        names = [f"provider-{place}" for place in range(len(answers))]
        self.transport = by_host(dict(zip(names, answers, strict=True)))
        self._names = names

    def model(self) -> RouterModel:
        """The model; made in the loop in which it is asked."""
        specs = [spec("openai", name) for name in self._names]
        router = Router(specs, egress_of(self.transport, self.kept), loop_seconds)
        return RouterModel(router, Occasion("agent", brand="harbour-pine"))

    def run(self, talk: Callable[[RouterModel], Awaitable[Any]]) -> Any:
        """What the talk gives, in made-up time."""

        async def talked() -> Any:
            return await talk(self.model())

        return run_virtually(talked())

    def bodies(self) -> list[dict[str, Any]]:
        """What left."""
        return [json.loads(request.content) for request in self.transport.requests]

    def verdicts(self) -> list[str]:
        """The verdicts on record, which agree with the calls."""
        assert reconcile(self.kept.records) == []
        return [record.verdict for record in self.kept.records if isinstance(record, CallJudged)]


def asking(text: Any = "A present for my mother?", **agent: Any) -> Callable[[RouterModel], Awaitable[Any]]:
    """An agent's run."""

    async def talk(model: RouterModel) -> Any:
        return await Agent(model, **agent).run(text)

    return talk


def streaming(take: int | None = None) -> Callable[[RouterModel], Awaitable[list[str]]]:
    """An agent's stream, read to its end or left after some pieces."""

    async def talk(model: RouterModel) -> list[str]:
        read: list[str] = []
        async with Agent(model).run_stream("Hello?") as stream:
            async for text in stream.stream_text(delta=True, debounce_by=None):
                read.append(text)
                if len(read) == take:
                    break
        return read

    return talk


def asked(*parts: Any) -> ModelRequest:
    """A message of a user."""
    return ModelRequest([UserPromptPart(part) if isinstance(part, str) else part for part in parts])


def said(*parts: Any) -> ModelResponse:
    """A message of a model."""
    return ModelResponse([TextPart(part) if isinstance(part, str) else part for part in parts])


def requesting(messages: list[ModelMessage], **parameters: Any) -> Callable[[RouterModel], Awaitable[Any]]:
    """A request without an agent."""

    async def talk(model: RouterModel) -> Any:
        return await model.request(messages, None, ModelRequestParameters(**parameters))

    return talk


def refusal(shop: Shop, talk: Callable[[RouterModel], Awaitable[Any]]) -> RefusalKind:
    """Why a request is refused, of which nothing left and nothing is on record."""
    with pytest.raises(RequestRefused) as refused:
        shop.run(talk)
    assert shop.transport.requests == []
    assert shop.kept.records == []
    return refused.value.kind


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_an_agent_gets_the_words_and_who_said_them_and_what_they_cost(dialect: Any) -> None:
    kept = Kept()
    transport = by_host({dialect: stream_of(dialect, pieces(WORDS))})

    async def talk() -> Any:
        router = Router([spec(dialect)], egress_of(transport, kept), loop_seconds)
        return await Agent(RouterModel(router, Occasion("agent", "harbour-pine"))).run("Hello?")

    result = run_virtually(talk())
    assert result.output == WORDS
    assert (result.usage.input_tokens, result.usage.output_tokens) == (300, 40)
    assert (result.response.model_name, result.response.provider_name) == ("small-1", dialect)
    [opened] = [record for record in kept.records if isinstance(record, CallOpened)]
    assert (opened.purpose, opened.brand) == ("agent", "harbour-pine")
    assert reconcile(kept.records) == []


def test_what_a_provider_does_not_tell_of_its_tokens_is_not_counted_as_none() -> None:
    events = [piece for piece in GOOD.pieces if b"usage" not in piece[1]]
    result = Shop(Script(events)).run(asking())
    assert (result.usage.input_tokens, result.usage.unmeasured_requests) == (0, 1)


def test_instructions_what_was_said_before_and_settings_reach_the_model() -> None:
    shop = Shop(GOOD)

    async def talk(model: RouterModel) -> None:
        agent = Agent(model, instructions="You sell furniture.", system_prompt="Be brief.")
        first = await agent.run("Hello?")
        settings = ModelSettings(max_tokens=77, temperature=0.0)
        await agent.run("And then?", message_history=first.all_messages(), model_settings=settings)

    shop.run(talk)
    _, body = shop.bodies()
    said = [(message["role"], message["content"]) for message in body["messages"]]
    assert said == [
        ("system", "Be brief.\n\nYou sell furniture."),
        ("user", "Hello?"),
        ("assistant", WORDS),
        ("user", "And then?"),
    ]
    assert 77 in body.values()
    assert body["temperature"] == 0.0
    assert shop.verdicts() == ["ok", "ok"]


def test_a_stream_comes_in_pieces_and_is_judged_when_it_was_read_to_its_end() -> None:
    shop = Shop(GOOD)
    assert shop.run(streaming()) == pieces(WORDS)
    assert shop.verdicts() == ["ok"]


def test_a_stream_that_is_left_is_abandoned() -> None:
    shop = Shop(GOOD)
    read = shop.run(streaming(take=1))
    assert read == pieces(WORDS)[:1]
    assert shop.verdicts() == ["abandoned"]


@pytest.mark.parametrize("another_task", [False, True])
def test_a_stream_that_is_cancelled_is_abandoned(another_task: bool) -> None:
    shop = Shop(stream_of("openai", pieces(WORDS), 1.0))

    async def talk(model: RouterModel) -> list[Any]:
        events: list[Any] = []
        async with model.request_stream([asked("Hello?")], None, ModelRequestParameters()) as stream:
            if another_task:
                loop = asyncio.get_running_loop()
                loop.call_later(0.5, lambda: cancelling.append(asyncio.ensure_future(stream.cancel())))
            async for event in stream:
                events.append(event)
                if not another_task and len(events) == 3:
                    await stream.cancel()
            assert stream.get().state == "interrupted"
        return events

    cancelling: list[asyncio.Task[None]] = []
    assert len(shop.run(talk)) < len(pieces(WORDS))
    assert shop.verdicts() == ["abandoned"]


def test_a_run_that_is_cancelled_is_judged() -> None:
    shop = Shop(stream_of("openai", pieces(WORDS), 1.0))

    async def talk(model: RouterModel) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Agent(model).run("Hello?"), 2.5)

    shop.run(talk)
    assert shop.verdicts() == ["abandoned"]


@pytest.mark.parametrize("talk", [asking(f"My card is {CARD}, what now?"), asking(["My card is", CARD, "what now?"])])
def test_a_card_in_a_users_words_does_not_leave(talk: Callable[[RouterModel], Awaitable[Any]]) -> None:
    shop = Shop(GOOD)
    shop.run(talk)
    [request] = shop.transport.requests
    assert "what now?" in request.content.decode()
    assert not contains_card(request.content.decode())
    assert b"4242" not in request.content
    assert shop.verdicts() == ["ok"]


def test_a_request_that_still_reads_like_a_card_is_refused_and_no_other_model_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere: list[list[ModelMessage]] = []

    async def other(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        elsewhere.append(messages)
        return ModelResponse([TextPart("Hm.")])

    async def talk(model: RouterModel) -> None:
        await Agent(FallbackModel(model, FunctionModel(other)), instructions=f"The card is {CARD}.").run("Hello?")

    assert refusal(Shop(GOOD), talk) is RefusalKind.CARD_TEXT
    assert elsewhere == []
    monkeypatch.setattr("offer_engine.models.pydantic_ai._NOT_ELSEWHERE", {})  # planted: told as any other failure
    Shop(GOOD).run(talk)
    assert CARD in str(elsewhere)


def test_a_call_that_cannot_be_recorded_is_refused() -> None:
    class Full(Kept):
        async def opened(self, record: CallOpened) -> None:
            raise OSError("disk full")

    assert refusal(Shop(GOOD, kept=Full()), asking()) is RefusalKind.NOT_RECORDED


@pytest.mark.parametrize("talk", [asking(), streaming()], ids=["whole", "stream"])
def test_a_provider_that_fails_before_its_first_words_is_followed_by_the_next(
    talk: Callable[[RouterModel], Awaitable[Any]],
) -> None:
    shop = Shop(fault("server error", "openai"), GOOD)
    result = shop.run(talk)
    assert (result if isinstance(result, list) else pieces(result.output)) == pieces(WORDS)
    assert shop.verdicts() == ["server_error", "ok"]


@pytest.mark.parametrize("talk", [asking(), streaming()], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("name", "kind"), [("rate limit", FailureKind.RATE_LIMITED), ("truncated", FailureKind.TRUNCATED)]
)
def test_a_failure_is_told_by_its_kind_and_judged(
    talk: Callable[[RouterModel], Awaitable[Any]], name: str, kind: FailureKind
) -> None:
    shop = Shop(fault(name, "openai"))
    with pytest.raises(RouterFailed) as failed:
        shop.run(talk)
    assert failed.value.kind is kind
    assert shop.verdicts() == [kind.value]


def test_where_nobody_begins_to_answer_pydantic_ais_fallback_goes_on_even_in_a_stream() -> None:
    shop = Shop(fault("rate limit", "openai"))

    async def talk(model: RouterModel) -> str:
        async def other(_: list[ModelMessage], __: AgentInfo) -> Any:
            yield "From elsewhere."

        async with Agent(FallbackModel(model, FunctionModel(stream_function=other))).run_stream("Hello?") as stream:
            return await stream.get_output()

    assert shop.run(talk) == "From elsewhere."
    assert shop.verdicts() == ["rate_limited"]


def price(sku: str) -> str:
    """A tool."""
    return sku


class Shape(BaseModel):
    """A shape to answer in."""

    price_minor: int


@pytest.mark.parametrize(
    ("talk", "kind"),
    [
        (asking(tools=[price]), RefusalKind.TOOLS),
        (requesting([asked("Hello?")], native_tools=[WebSearchTool()]), RefusalKind.TOOLS),
        (asking(output_type=Shape), RefusalKind.STRUCTURED_OUTPUT),
        (asking(output_type=[str, Shape]), RefusalKind.STRUCTURED_OUTPUT),
        (asking(output_type=NativeOutput(Shape)), RefusalKind.STRUCTURED_OUTPUT),
        (asking(output_type=PromptedOutput(Shape)), RefusalKind.STRUCTURED_OUTPUT),
        (asking(output_type=BinaryImage), RefusalKind.STRUCTURED_OUTPUT),
        (asking(["Look:", ImageUrl("https://pictures.example/1.png")]), RefusalKind.NOT_TEXT),
        (asking(["Look:", BinaryContent(b"1", media_type="image/png")]), RefusalKind.NOT_TEXT),
        (requesting([asked("Hello?", ToolReturnPart("price", 7, tool_call_id="1"))]), RefusalKind.NOT_TEXT),
        (requesting([asked("Hello?"), said(ThinkingPart("Hm.")), asked("And?")]), RefusalKind.NOT_TEXT),
        (requesting([asked("Hello?"), said("Hello.")]), RefusalKind.NO_QUESTION),
        (requesting([]), RefusalKind.NO_QUESTION),
    ],
)
def test_what_is_not_a_question_in_text_alone_is_refused_whole(
    talk: Callable[[RouterModel], Awaitable[Any]], kind: RefusalKind
) -> None:
    assert refusal(Shop(GOOD), talk) is kind


def test_a_planted_model_that_drops_tools_instead_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offer_engine.models.pydantic_ai._must_be_text_alone", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refusal(Shop(GOOD), asking(tools=[price]))


def test_a_planted_model_that_judges_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "judged", lambda *_: None)
    shop = Shop(GOOD)
    shop.run(asking())
    assert [problem.partition(": ")[2] for problem in reconcile(shop.kept.records)] == ["judged 0 times"]


def test_every_refusal_says_what_to_do_and_nothing_of_the_request() -> None:
    said = {str(RequestRefused(kind)) for kind in RefusalKind}
    assert len(said) == len(RefusalKind)
    assert all(len(text) > 20 for text in said)


def test_a_setting_that_would_promise_something_and_is_not_kept_is_warned_of() -> None:
    with pytest.warns(UnsupportedSettingWarning, match="stop_sequences"):
        Shop(GOOD).run(asking(model_settings={"stop_sequences": ["."]}))


def test_the_example_of_the_documents_runs(capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("## In an agent of pydantic-ai")[2]
    example = "\n".join(re.findall(r"^ {4}(.*)$", section.partition("\n## ")[0], re.MULTILINE))
    kept = Kept()
    egress = egress_of(by_host({"openai": GOOD}), kept)
    router = Router([spec("openai")], egress, monotonic_seconds)
    names = {"Agent": Agent, "RouterModel": RouterModel, "Occasion": Occasion, "router": router}
    with asyncio.Runner() as runner:
        runner.get_loop()  # run_sync uses it; the one that it makes otherwise is left open
        exec(compile(example, "docs/models.md", "exec"), names)
    assert capsys.readouterr().out == WORDS + "\n"
    assert reconcile(kept.records) == []
