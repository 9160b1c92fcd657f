"""The one way out to models: what leaves is scrubbed, on record before it leaves, bounded, and its end is on record too.

What holds for a call:
 1. No card-like text leaves: what people said is redacted; if what is left of the request still looks like a card, alone or
    put together over its turns, nothing is sent.
 2. That it is made is on record before it is, with a keyed hash of the very bytes; a record that fails stops the call.
 3. It ends on record exactly once, however it ends; cancelled, too, and also where that is while it is put on record.
 4. It goes to the configured address alone: no redirect, no proxy of the environment, certificate verified. The key is read
    from its file for the call, stands in one header, and in no record, log or error.
 5. What comes back is bounded in size, and in time between two pieces of it.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import httpx

from offer_engine.models.dialects import DIALECTS, Dialect
from offer_engine.models.events import Ended, FailureKind, ModelEvent, ModelFailed, Text, Usage
from offer_engine.models.prompt import Prompt
from offer_engine.models.records import CallEnded, CallJudged, CallOpened, Occasion, Recorder
from offer_engine.models.specs import ModelSpec, read_key
from offer_engine.models.sse import SseParser
from tokenization.clock import Clock
from tokenization.ids import letters_of, new_id
from tokenization.scanner import ConversationScanner, contains_card_in_bytes, redact

CONNECT_SECONDS: Final = 3.0
STALL_SECONDS: Final = 8.0
_LONGEST_WAIT_SECONDS: Final = 600.0  # of what a provider may ask for


@dataclass(slots=True)
class _Count:
    """What a call has cost so far."""

    usage: Usage = field(default_factory=Usage)
    first_token_seconds: float | None = None
    outcome: str = "cancelled"


class ModelCall:
    """A call that was opened: its events, once, and its verdict, once. ``usage`` is what was told of its tokens so far."""

    def __init__(self, egress: "Egress", spec: ModelSpec, call: str, url: str, body: bytes, key: str) -> None:
        self.id = call
        self.spec = spec
        self.usage = Usage()
        self._egress = egress
        self._url = url
        self._body = body
        self._key = key
        self._is_begun = False
        self._is_judged = False

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        """What the model says, ending with Ended. Raises ModelFailed."""
        self._is_begun = True
        events = self._egress.run(self.spec, self.id, self._url, self._body, self._key)
        try:
            async for event in events:
                if isinstance(event, Usage):
                    self.usage = self.usage.followed_by(event)
                yield event
        finally:
            await events.aclose()

    def judged(self, verdict: str) -> None:
        """Records what became of the words. The first verdict counts; a call that was never begun ends here (3)."""
        if self._is_judged:
            return
        self._is_judged = True
        if not self._is_begun:
            self._egress.recorder.write(CallEnded(self.id, "cancelled", None, 0, None, None, None, self.spec.currency))
        self._egress.recorder.write(CallJudged(self.id, verdict))


class Egress:
    """Opens calls. Keep one for the process: it keeps connections."""

    def __init__(
        self,
        recorder: Recorder,
        hash_key: bytes,
        clock: Clock,
        now_seconds: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.recorder = recorder
        self._hash_key = hash_key
        self._clock = clock
        self._now = now_seconds
        self._stall_seconds = stall_seconds
        self._ending: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        )  # (4)

    async def close(self) -> None:
        """Waits for calls that were cancelled while they were put on record (3), and lets the connections go."""
        await asyncio.gather(*self._ending)
        await self._http.aclose()

    async def open(self, spec: ModelSpec, prompt: Prompt, occasion: Occasion) -> ModelCall:
        """Puts a call on record. Raises ModelFailed where it may not be made: CARD_TEXT, NO_KEY, NOT_RECORDED (2)."""
        scrubbed = _scrubbed(prompt)
        request = DIALECTS[spec.dialect].request(spec, scrubbed)
        body = json.dumps(request.body, ensure_ascii=False, separators=(",", ":")).encode()
        if _reads_like_a_card(scrubbed, body):
            raise ModelFailed(FailureKind.CARD_TEXT)  # (1)
        key = read_key(spec.key_file) if spec.key_file is not None else ""
        if key is None:
            raise ModelFailed(FailureKind.NO_KEY)
        call = new_id("call")
        sent = letters_of(hmac.new(self._hash_key, body, hashlib.sha256).digest())
        opened = CallOpened(
            call=call,
            at_ms=self._clock(),
            provider=spec.name,
            model=spec.model,
            purpose=occasion.purpose,
            sent=sent,
            scrubbed=scrubbed != prompt,
            brand=occasion.brand,
            decision=occasion.decision,
        )
        made = ModelCall(self, spec, call, request.url, body, key)
        await self._put_on_record(opened, made)
        return made

    async def _put_on_record(self, opened: CallOpened, made: ModelCall) -> None:
        """(2) Who is cancelled meanwhile leaves a record that may come to be written: then it ends, unbegun (3)."""
        writing = asyncio.ensure_future(self.recorder.opened(opened))
        try:
            await asyncio.shield(writing)
        except OSError:
            raise ModelFailed(FailureKind.NOT_RECORDED) from None
        except asyncio.CancelledError:
            ending = asyncio.create_task(_end_unbegun(writing, made))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise

    async def run(
        self, spec: ModelSpec, call: str, url: str, body: bytes, key: str
    ) -> AsyncGenerator[ModelEvent, None]:
        """Sends a call that is on record. Raises ModelFailed."""
        began, count = self._now(), _Count()
        events = self._events(DIALECTS[spec.dialect], url, body, key)
        try:
            async for event in events:
                if isinstance(event, Text) and count.first_token_seconds is None and event.text:
                    count.first_token_seconds = self._now() - began
                elif isinstance(event, Usage):
                    count.usage = count.usage.followed_by(event)
                elif isinstance(event, Ended):
                    count.outcome = "ok"
                yield event
        except ModelFailed as failure:
            count.outcome = failure.kind.value
            raise
        finally:
            await events.aclose()
            self.recorder.write(self._ended(spec, call, began, count))  # (3)

    def _ended(self, spec: ModelSpec, call: str, began: float, count: _Count) -> CallEnded:
        usage = count.usage
        told = usage.input_tokens is not None and usage.output_tokens is not None
        return CallEnded(
            call=call,
            outcome=count.outcome,
            first_token_ms=None if count.first_token_seconds is None else round(count.first_token_seconds * 1000),
            total_ms=round((self._now() - began) * 1000),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_micros=spec.cost_micros(usage.input_tokens or 0, usage.output_tokens or 0) if told else None,
            currency=spec.currency,
        )

    async def _events(self, dialect: Dialect, url: str, body: bytes, key: str) -> AsyncGenerator[ModelEvent, None]:
        headers = {"content-type": "application/json", "accept": "text/event-stream", "accept-encoding": "identity"}
        headers |= dialect.headers(key) if key else {}
        request = self._http.build_request("POST", url, content=body, headers=headers)
        try:
            answer = await asyncio.wait_for(self._http.send(request, stream=True), self._stall_seconds)
        except TimeoutError:
            raise ModelFailed(FailureKind.STALLED) from None
        except httpx.HTTPError:
            raise ModelFailed(FailureKind.UNREACHABLE) from None
        try:
            if answer.status_code != 200:
                raise _refused(answer)
            events = self._read(dialect, answer)
            try:
                async for event in events:
                    yield event
            finally:
                await events.aclose()
        finally:
            await answer.aclose()

    async def _read(self, dialect: Dialect, answer: httpx.Response) -> AsyncGenerator[ModelEvent, None]:
        """(5)"""
        parser = SseParser()
        ended = False
        pieces = aiter(answer.aiter_raw())
        while True:
            try:
                piece = await asyncio.wait_for(anext(pieces), self._stall_seconds)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise ModelFailed(FailureKind.STALLED) from None
            except httpx.HTTPError:
                raise ModelFailed(FailureKind.TRUNCATED) from None
            for event in parser.feed(piece):
                for said in dialect.read(event):
                    ended = ended or isinstance(said, Ended)
                    yield said
            if ended:
                return
        raise ModelFailed(FailureKind.TRUNCATED)


async def _end_unbegun(writing: "asyncio.Future[None]", made: ModelCall) -> None:
    """(3)"""
    with suppress(OSError):
        await writing
        made.judged("abandoned")


def _refused(answer: httpx.Response) -> ModelFailed:
    status = answer.status_code
    if status in (429, 529):  # Anthropic answers 529 when it is overloaded
        return ModelFailed(FailureKind.RATE_LIMITED, retry_after(answer.headers.get("retry-after")))
    if status >= 500:
        return ModelFailed(FailureKind.SERVER_ERROR, retry_after(answer.headers.get("retry-after")))
    return ModelFailed(FailureKind.REJECTED)


def retry_after(value: str | None) -> float | None:
    """Seconds that a provider asks to be left alone for, bounded. A date is not read: clocks differ."""
    if value is None or not value.strip().isascii() or not value.strip().isdigit():
        return None
    return min(float(value.strip()[:9]), _LONGEST_WAIT_SECONDS)


def _scrubbed(prompt: Prompt) -> Prompt:
    """(1)"""
    return replace(prompt, turns=tuple(replace(turn, text=redact(turn.text)) for turn in prompt.turns))


def _reads_like_a_card(prompt: Prompt, body: bytes) -> bool:
    """(1) The body whole, and the turns as a conversation, in which a card may be split up."""
    scanner = ConversationScanner()
    return contains_card_in_bytes(body, "application/json") or any(
        scanner.check("prompt", turn.text, 0.0) for turn in prompt.turns
    )
