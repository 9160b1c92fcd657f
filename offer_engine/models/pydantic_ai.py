"""The models behind an agent that a brand builds with pydantic-ai: the router as one of its ``Model``s. Needs the extra
``pydantic-ai``; nothing of ours imports this.

What holds for a request:
 1. It is text alone. One with tools, a shape to answer in, pictures, files or speech is refused whole: nothing of it is sent.
 2. What is sent goes through the router: scrubbed, on record, bounded. What may not be sent so is refused with an error that
    does not make pydantic-ai's FallbackModel go on: the next model would get it unscrubbed.
 3. Every call is judged once: ``ok`` where its text was read to its end, else the failure, or ``abandoned``.
 4. A stream is open once the first words are there, so that one which nobody begins to answer fails as a whole.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import AsyncGeneratorType
from typing import Any, Final, cast, get_args

from pydantic_ai.exceptions import AgentRunError, ModelAPIError
from pydantic_ai.messages import (
    CachePoint,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponseStreamEvent,
    SystemPromptPart,
    TextContent,
    TextPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettingName, ModelSettings
from pydantic_ai.tools import RunContext
from pydantic_ai.usage import RequestUsage

from offer_engine.models.events import FailureKind, ModelFailed
from offer_engine.models.prompt import Prompt, Turn
from offer_engine.models.records import Occasion
from offer_engine.models.router import Answer, Router
from tokenization.clock import now_milliseconds

_NAME: Final = "cordon"
_TEXT_ALONE: Final = ModelProfile(
    supports_tools=False,
    supports_json_schema_output=False,
    supports_json_object_output=False,
    supports_image_output=False,
    supports_image_input=False,
)
_SETTINGS: Final = frozenset({"max_tokens", "temperature"})
_SETTINGS_OF_PYDANTIC_AI: Final = frozenset({"request_timeout", "first_event_timeout", "framing_announcement"})


class RefusalKind(StrEnum):
    """Why a request was not sent. Codes are only ever added."""

    TOOLS = "tools"
    STRUCTURED_OUTPUT = "structured_output"
    NOT_TEXT = "not_text"
    NO_QUESTION = "no_question"
    CARD_TEXT = "card_text"
    NOT_RECORDED = "not_recorded"


_WHAT_TO_DO: Final = {
    RefusalKind.TOOLS: "This model takes no tools: take them from the agent, or call them before it is asked.",
    RefusalKind.STRUCTURED_OUTPUT: "This model answers in text: leave the agent's output_type as str.",
    RefusalKind.NOT_TEXT: "This model reads text: take pictures, files, speech, thoughts and tools out of the messages.",
    RefusalKind.NO_QUESTION: "The last message must be a user's words.",
    RefusalKind.CARD_TEXT: "The request reads like a card, alone or over its messages: begin anew without it.",
    RefusalKind.NOT_RECORDED: "The call could not be put on record: mend the recorder, then ask again.",
}
_NOT_ELSEWHERE: Final = {
    FailureKind.CARD_TEXT: RefusalKind.CARD_TEXT,
    FailureKind.NOT_RECORDED: RefusalKind.NOT_RECORDED,
}


class RequestRefused(AgentRunError):
    """Nothing was sent. The message says what to do, and holds nothing of the request."""

    def __init__(self, kind: RefusalKind) -> None:
        super().__init__(_WHAT_TO_DO[kind])
        self.kind = kind


class RouterFailed(ModelAPIError):
    """No model answered, or the one that spoke broke off. FallbackModel goes on to its next."""

    def __init__(self, failure: ModelFailed) -> None:
        super().__init__(_NAME, failure.kind.value, retry_after=failure.retry_after_seconds)
        self.kind = failure.kind


class RouterModel(Model[None]):
    """A router as a model of pydantic-ai. ``occasion`` goes on record with each call; ``max_tokens`` and ``temperature`` of the
    settings are kept to, and pydantic-ai warns of those that would promise something and are not."""

    unsupported_settings = frozenset(get_args(ModelSettingName)) - _SETTINGS - _SETTINGS_OF_PYDANTIC_AI

    def __init__(self, router: Router, occasion: Occasion, *, settings: ModelSettings | None = None) -> None:
        super().__init__(settings=settings, profile=_TEXT_ALONE)
        self._router = router
        self._occasion = occasion

    @property
    def model_name(self) -> str:
        """One name for all: a response names the model that gave it."""
        return _NAME

    @property
    def system(self) -> str:
        """As ``model_name``."""
        return _NAME

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        """What pydantic-ai settles before a request. Raises RequestRefused."""
        _must_be_text_alone(model_request_parameters)
        return super().prepare_request(model_settings, model_request_parameters)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """The whole answer. Raises RequestRefused, RouterFailed."""
        answer = self._ask(messages, model_settings, model_request_parameters)
        async with aclosing(_judged(answer)) as words:
            text = "".join([word async for word in words])
        model_name, provider_name = _who(answer)
        return ModelResponse([TextPart(text)], usage=_usage(answer), model_name=model_name, provider_name=provider_name)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """The answer as it comes. Raises RequestRefused, RouterFailed; the latter also while it is read."""
        answer = self._ask(messages, model_settings, model_request_parameters)
        async with aclosing(_judged(answer)) as words:
            first = await anext(words)  # (4)
            yield _Stream(model_request_parameters, answer, first, cast("AsyncGeneratorType[str, None]", words))

    def _ask(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> Answer:
        settings, parameters = self.prepare_request(settings, parameters)
        instructions = [part.content for part in self._get_instruction_parts(messages, parameters) or []]
        return self._router.ask(_prompt(messages, instructions, settings or {}), self._occasion)


@dataclass
class _Stream(StreamedResponse):
    _answer: Answer
    _first: str
    _words: AsyncGeneratorType[str, None]
    _timestamp: datetime = field(default_factory=lambda: datetime.fromtimestamp(now_milliseconds() / 1000, UTC))

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for event in self._parts_manager.handle_text_delta(vendor_part_id=None, content=self._first):
            yield event
        async for text in self._words:
            if self.cancelled:
                return
            for event in self._parts_manager.handle_text_delta(vendor_part_id=None, content=text):
                yield event
        self._usage = _usage(self._answer)

    async def close_stream(self) -> None:
        """Ends the call; where another task waits for its next words, that task does, when they come or are late."""
        if not self._words.ag_running:
            await self._words.aclose()

    @property
    def model_name(self) -> str:
        """The model that speaks."""
        return _who(self._answer)[0]

    @property
    def provider_name(self) -> str:
        """The name that the operator's file gives it."""
        return _who(self._answer)[1]

    @property
    def provider_url(self) -> None:
        """Not told: addresses are the operator's."""
        return

    @property
    def timestamp(self) -> datetime:
        """When its first words came."""
        return self._timestamp


async def _judged(answer: Answer) -> AsyncGenerator[str, None]:
    """The words as they come, and the verdict on them (3). Raises RequestRefused, RouterFailed."""
    verdict = "abandoned"
    try:
        async with aclosing(answer.words()) as words:
            async for text in words:
                yield text
        verdict = "ok"
    except ModelFailed as failure:
        verdict = failure.kind.value
        raise _told(failure) from None
    finally:
        answer.judged(verdict)


def _told(failure: ModelFailed) -> RequestRefused | RouterFailed:
    """(2)"""
    refusal = _NOT_ELSEWHERE.get(failure.kind)
    return RequestRefused(refusal) if refusal is not None else RouterFailed(failure)


def _must_be_text_alone(parameters: ModelRequestParameters) -> None:
    """(1) Raises RequestRefused."""
    if parameters.function_tools or parameters.native_tools:
        raise RequestRefused(RefusalKind.TOOLS)
    has_shape = bool(parameters.output_tools) or parameters.output_object is not None
    if has_shape or parameters.allow_image_output or not parameters.allow_text_output:
        raise RequestRefused(RefusalKind.STRUCTURED_OUTPUT)


def _prompt(messages: Sequence[ModelMessage], instructions: list[str], settings: ModelSettings) -> Prompt:
    """The request in our form. Raises RequestRefused."""
    system, turns = [], []
    for message in messages:
        if isinstance(message, ModelRequest):
            told, asked = _of_a_request(message)
            system += told
            turns += [Turn("user", asked)] if asked else []
        else:
            said = _of_a_response(message)
            turns += [Turn("assistant", said)] if said else []
    if not turns or turns[-1].role != "user":
        raise RequestRefused(RefusalKind.NO_QUESTION)
    prompt = Prompt("\n\n".join([*system, *instructions]), tuple(turns))
    return replace(
        prompt,
        maximum_tokens=settings.get("max_tokens", prompt.maximum_tokens),
        temperature=settings.get("temperature", prompt.temperature),
    )


def _of_a_request(message: ModelRequest) -> tuple[list[str], str]:
    """What a message tells the model, and what it asks (1)."""
    told: list[str] = []
    asked: list[str] = []
    for part in message.parts:
        if isinstance(part, SystemPromptPart):
            told.append(part.content)
        elif isinstance(part, UserPromptPart):
            asked += _texts([part.content] if isinstance(part.content, str) else part.content)
        else:
            raise RequestRefused(RefusalKind.NOT_TEXT)
    return told, "\n\n".join(asked)


def _texts(content: Sequence[UserContent]) -> list[str]:
    """(1) A cache point is a mark between texts, and is left out."""
    texts = []
    for item in content:
        if isinstance(item, TextContent):
            texts.append(item.content)
        elif isinstance(item, str):
            texts.append(item)
        elif not isinstance(item, CachePoint):
            raise RequestRefused(RefusalKind.NOT_TEXT)
    return texts


def _of_a_response(message: ModelResponse) -> str:
    """(1)"""
    texts = []
    for part in message.parts:
        if not isinstance(part, TextPart):
            raise RequestRefused(RefusalKind.NOT_TEXT)
        texts.append(part.content)
    return "".join(texts)


def _who(answer: Answer) -> tuple[str, str]:
    """The model that spoke, and the name that the operator's file gives it."""
    return (answer.call.spec.model, answer.call.spec.name) if answer.call is not None else (_NAME, _NAME)


def _usage(answer: Answer) -> RequestUsage:
    """What the provider told of its tokens."""
    told = answer.call.usage if answer.call is not None else None
    if told is None or told.input_tokens is None or told.output_tokens is None:
        return RequestUsage(unmeasured_requests=1)
    return RequestUsage(input_tokens=told.input_tokens, output_tokens=told.output_tokens)
