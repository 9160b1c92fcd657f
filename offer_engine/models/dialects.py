"""Three ways to ask a model and to read what it streams: the only code that knows providers' formats.

OpenAI chat completions (and every server that speaks it), Anthropic messages, Gemini generateContent.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from offer_engine.models.events import Ended, FailureKind, ModelEvent, ModelFailed, Text, Usage
from offer_engine.models.prompt import Prompt
from offer_engine.models.specs import DialectName, ModelSpec
from offer_engine.models.sse import SseEvent

_ANTHROPIC_VERSION: Final = "2023-06-01"
_MOST_TOKENS: Final = 10**9  # with the dearest price the cost is still a number that a database takes


class Request(NamedTuple):
    """A request without the key: where to, and what."""

    url: str
    body: Mapping[str, Any]


class Dialect(NamedTuple):
    """How a provider is asked, where its key goes, and what an event of its stream says."""

    request: Callable[[ModelSpec, Prompt], Request]
    headers: Callable[[str], dict[str, str]]
    read: Callable[[SseEvent], Iterator[ModelEvent]]


def _ask_openai(spec: ModelSpec, prompt: Prompt) -> Request:
    messages = [{"role": "system", "content": prompt.system}]
    messages += [{"role": turn.role, "content": turn.text} for turn in prompt.turns]
    body = {
        "model": spec.model,
        "messages": messages,
        "max_tokens": prompt.maximum_tokens,
        "temperature": prompt.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Request(f"{spec.base_url}/chat/completions", {**body, **spec.extra})


def _read_openai(event: SseEvent) -> Iterator[ModelEvent]:
    if event.data == "[DONE]":
        yield Ended("done")
        return
    data = _object(event.data)
    if data.get("error") is not None:
        raise ModelFailed(FailureKind.SERVER_ERROR)
    for choice in _list(data.get("choices")):
        text = _dict(_dict(choice).get("delta")).get("content")
        if text is not None:
            yield Text(_text(text))
    if data.get("usage") is not None:
        usage = _dict(data["usage"])
        yield Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _ask_anthropic(spec: ModelSpec, prompt: Prompt) -> Request:
    body = {
        "model": spec.model,
        "system": prompt.system,
        "messages": [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
        "max_tokens": prompt.maximum_tokens,
        "temperature": prompt.temperature,
        "stream": True,
    }
    return Request(f"{spec.base_url}/v1/messages", {**body, **spec.extra})


def _read_anthropic(event: SseEvent) -> Iterator[ModelEvent]:
    data = _object(event.data)
    match data.get("type"):
        case "message_start":
            usage = _dict(_dict(data.get("message")).get("usage"))
            yield Usage(_count(usage.get("input_tokens")), None)
        case "content_block_delta":
            delta = _dict(data.get("delta"))
            if delta.get("type") == "text_delta":
                yield Text(_text(delta.get("text")))
        case "message_delta":
            yield Usage(None, _count(_dict(data.get("usage")).get("output_tokens")))
        case "message_stop":
            yield Ended("message_stop")
        case "error":
            overloaded = _dict(data.get("error")).get("type") in ("overloaded_error", "rate_limit_error")
            raise ModelFailed(FailureKind.RATE_LIMITED if overloaded else FailureKind.SERVER_ERROR)


def _ask_gemini(spec: ModelSpec, prompt: Prompt) -> Request:
    roles = {"user": "user", "assistant": "model"}
    body = {
        "systemInstruction": {"parts": [{"text": prompt.system}]},
        "contents": [{"role": roles[turn.role], "parts": [{"text": turn.text}]} for turn in prompt.turns],
        "generationConfig": {"maxOutputTokens": prompt.maximum_tokens, "temperature": prompt.temperature},
    }
    url = f"{spec.base_url}/v1beta/models/{quote(spec.model, safe='')}:streamGenerateContent?alt=sse"
    return Request(url, {**body, **spec.extra})


def _read_gemini(event: SseEvent) -> Iterator[ModelEvent]:
    data = _object(event.data)
    if data.get("error") is not None:
        raise ModelFailed(FailureKind.SERVER_ERROR)
    candidates = [_dict(candidate) for candidate in _list(data.get("candidates"))]
    for candidate in candidates:
        for part in _list(_dict(candidate.get("content")).get("parts")):
            if "text" in _dict(part) and not _dict(part).get("thought"):
                yield Text(_text(part["text"]))
    if "usageMetadata" in data:
        usage = _dict(data["usageMetadata"])
        yield Usage(_count(usage.get("promptTokenCount")), _count(usage.get("candidatesTokenCount")))
    for candidate in candidates:
        if candidate.get("finishReason"):
            yield Ended(_text(candidate["finishReason"]))


DIALECTS: Final[Mapping[DialectName, Dialect]] = {
    "openai": Dialect(_ask_openai, lambda key: {"authorization": f"Bearer {key}"}, _read_openai),
    "anthropic": Dialect(
        _ask_anthropic, lambda key: {"x-api-key": key, "anthropic-version": _ANTHROPIC_VERSION}, _read_anthropic
    ),
    "gemini": Dialect(_ask_gemini, lambda key: {"x-goog-api-key": key}, _read_gemini),
}


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelFailed(FailureKind.GARBAGE) from None
    return _dict(value)


def _dict(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ModelFailed(FailureKind.GARBAGE)
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ModelFailed(FailureKind.GARBAGE)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ModelFailed(FailureKind.GARBAGE)
    return value


def _count(value: Any) -> int | None:
    """Tokens as a provider counts them; None for what no text could come to."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
