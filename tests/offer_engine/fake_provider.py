"""A provider of models that does what it is told, faults among it: in the process in made-up time, or a server on loopback.

python -m tests.offer_engine.fake_provider --port 8799 --fault drip      # to try a client by hand
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

WORDS: Final = "{{offer.1.title}} is here. With it you get {{offer.1.benefit}}, and that is {{offer.1.price}}."
LIE: Final = "It is only $1, guaranteed. "


@dataclass(frozen=True)
class Script:
    """An answer: what is waited for before it, its status and headers, its pieces with a wait before each, and how it ends."""

    pieces: Sequence[tuple[float, bytes]] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    before_seconds: float = 0.0
    is_refused: bool = False
    is_cut: bool = False


def stream_of(dialect: str, texts: Sequence[str], every_seconds: float = 0.0, *, ends: bool = True) -> Script:
    """A good stream of these texts in a provider's format."""
    return Script([(every_seconds, _sse(event)) for event in events_of(dialect, texts, ends=ends)])


def events_of(dialect: str, texts: Sequence[str], *, ends: bool = True) -> list[tuple[str, Any]]:
    """The events of a stream: names and data, as each provider documents them."""
    if dialect == "openai":
        events: list[tuple[str, Any]] = [
            ("", {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}) for text in texts
        ]
        done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 300, "completion_tokens": 40}}
        return [*events, *([("", done), ("", usage), ("", "[DONE]")] if ends else [])]
    if dialect == "anthropic":
        start = {"type": "message_start", "message": {"usage": {"input_tokens": 300, "output_tokens": 1}}}
        events = [("message_start", start), ("ping", {"type": "ping"})]
        for text in texts:
            delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            events.append(("content_block_delta", delta))
        stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 40}}
        return [*events, *([("message_delta", stop), ("message_stop", {"type": "message_stop"})] if ends else [])]
    events = [("", {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}) for text in texts]
    last = {
        "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 300, "candidatesTokenCount": 40},
    }
    return [*events, *([("", last)] if ends else [])]


def _sse(event: tuple[str, Any]) -> bytes:
    name, data = event
    written = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {written}\n\n".encode()


def pieces(text: str, length: int = 12) -> list[str]:
    """The text in pieces, as models give it."""
    return [text[place : place + length] for place in range(0, len(text), length)]


def fault(name: str, dialect: str) -> Script:
    """A scripted answer by its name."""
    good = stream_of(dialect, pieces(WORDS))
    begun = list(good.pieces[: len(good.pieces) // 2])
    faults: dict[str, Callable[[], Script]] = {
        "none": lambda: good,
        "rate limit": lambda: Script(status=429, headers={"retry-after": "30"}),
        "server error": lambda: Script(status=500),
        "bad key": lambda: Script(status=401),
        "redirect": lambda: Script(status=307, headers={"location": "https://elsewhere.example/"}),
        "refused": lambda: Script(is_refused=True),
        "stall before": lambda: Script(good.pieces, before_seconds=3_600),
        "stall inside": lambda: Script([*begun, (3_600, b"")]),
        "truncated": lambda: Script(begun, is_cut=True),
        "ends early": lambda: stream_of(dialect, pieces(WORDS), ends=False),
        "bad json": lambda: Script([*begun, (0.0, b"data: {not json\n\n")]),
        "not text": lambda: Script([(0.0, b"data: \xff\xfe\n\n")]),
        "other shape": lambda: Script([(0.0, b'data: {"choices": 7, "candidates": 7, "type": 7}\n\n')]),
        "empty": lambda: Script([]),
        "endless line": lambda: Script([(0.0, b"data: " + b"x" * 300_000)]),
        "drip": lambda: stream_of(dialect, pieces(WORDS, 3), 0.7),
        "ungrounded": lambda: stream_of(dialect, pieces(LIE + WORDS)),
        "ungrounded later": lambda: stream_of(dialect, pieces(WORDS + " " + LIE)),
        "silence": lambda: stream_of(dialect, []),
    }
    return faults[name]()


FAULTS: Final = (
    *("rate limit", "server error", "bad key", "redirect", "refused", "stall before", "stall inside", "truncated"),
    *("ends early", "bad json", "not text", "other shape", "empty", "endless line", "drip", "ungrounded"),
    *("ungrounded later", "silence"),
)


class FakeTransport(httpx.AsyncBaseTransport):
    """Answers in the process. ``script`` is asked for each request; ``requests`` keeps them, with their bodies."""

    def __init__(self, script: Callable[[httpx.Request], Script]) -> None:
        self._script = script
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        script = self._script(request)
        if script.is_refused:
            raise httpx.ConnectError("refused", request=request)
        await asyncio.sleep(script.before_seconds)
        return httpx.Response(script.status, headers=script.headers, stream=_Stream(script))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in _played(self._script):
            yield piece

    async def aclose(self) -> None:
        return


async def _played(script: Script) -> AsyncIterator[bytes]:
    for seconds, piece in script.pieces:
        await asyncio.sleep(seconds)
        yield piece
    if script.is_cut:
        raise httpx.ReadError("cut off")


def app_of(script: Callable[[str], Script]) -> Starlette:
    """The same as an application: every path answers by the script for it."""

    async def answer(request: Request) -> Response:
        await request.body()
        script_ = script(request.url.path)
        await asyncio.sleep(script_.before_seconds)
        headers = {"content-type": "text/event-stream"} | script_.headers
        return StreamingResponse(_played(script_), script_.status, headers)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--fault", choices=("none", *FAULTS), default="none")
    chosen = parser.parse_args()

    def script(path: str) -> Script:
        dialect = "gemini" if "v1beta" in path else "anthropic" if path.endswith("messages") else "openai"
        return fault(chosen.fault, dialect)

    uvicorn.run(app_of(script), host="127.0.0.1", port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
