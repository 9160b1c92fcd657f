"""Offers said over the agents' API: as a whole, or as a stream of sentences that have been read and may be shown."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from commerce_api.agents_api import AgentIn, CommerceIn
from commerce_api.memory.terms import NAMED
from commerce_api.offering.saying import Saying, SayingDesk, Wish
from commerce_api.schemas import Given
from offer_engine.models.prompt import Turn
from offer_engine.presenting.present import Presented
from tokenization.edge import Receive, Scope, Send

router = APIRouter(prefix="/agents/v1/{brand}/offers", tags=["agents"])
EVENT_STREAM = "text/event-stream"
OfferId = Annotated[str, Field(min_length=1, max_length=64)]


class TurnGiven(Given):
    """What the shopper, or the agent, said. The newest are read, and nothing of it is kept."""

    role: Literal["user", "assistant"]
    text: Annotated[str, Field(min_length=1, max_length=2_000)]


class SaidGiven(Given):
    """How an offer is to be said. ``with`` are other offers of the same shopper, to be weighed with it.

    Without ``locale`` (BCP 47) it is said in the language that it was made in. ``stream``, or the header ``Accept:
    text/event-stream``, asks for sentences as they come.
    """

    locale: Annotated[str, Field(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$")] | None = None
    talk: Annotated[list[TurnGiven], Field(max_length=20)] = Field(default_factory=list)
    with_: Annotated[list[OfferId], Field(max_length=2)] = Field(default_factory=list, alias="with")
    known_by: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")] = NAMED
    stream: bool | None = None


class SaidView(BaseModel):
    """A text to show or read out as it stands. ``by`` says who worded it, ``named`` which offers are in it, ``verdicts`` what
    came of each model's words, ``disclosures`` what had to be told: it is in the text.
    """

    offer_ids: list[str]
    locale: str
    said: str
    by: Literal["model", "template", "both"]
    named: list[str]
    verdicts: list[str] = []
    disclosures: list[str] = []


@router.post("/{offer}/said", response_model=SaidView)
async def post_said(
    brand: str,
    offer: str,
    given: SaidGiven,
    commerce: CommerceIn,
    agent: AgentIn,
    accept: Annotated[str, Header(max_length=300)] = "",
) -> SaidView | Response:
    """Says an offer that was made, and those of ``with``. Telling that it was shown is a call of its own."""
    streamed = EVENT_STREAM in accept if given.stream is None else given.stream
    talk = tuple(Turn(turn.role, turn.text) for turn in given.talk)
    wish = Wish((offer, *given.with_), talk, given.locale, given.known_by)
    saying = await commerce.saying.say(brand, agent, wish, streamed=streamed)
    return SaidStream(commerce.saying, saying) if streamed else _view(saying, await saying.whole())


class SaidStream(StreamingResponse):
    """Events ``said``, each with a ``text`` to put behind the one before; at last ``done``, a SaidView without the text.

    A stream that ends without ``done`` was broken off.
    """

    def __init__(self, desk: SayingDesk, saying: Saying) -> None:
        super().__init__(self._events(), headers={"cache-control": "no-store"}, media_type=EVENT_STREAM)
        self._desk = desk
        self._saying = saying

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers. Whoever goes away before the end stops the model."""
        running = self._desk.start(self._saying)
        try:
            await super().__call__(scope, receive, send)
        finally:
            running.cancel()

    async def _events(self) -> AsyncIterator[bytes]:
        async for text in self._saying.pieces():
            yield _event("said", {"text": text})
        presented = self._saying.presentation.presented
        if presented is not None:
            yield _event("done", _view(self._saying, presented).model_dump(exclude={"said"}))


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _view(saying: Saying, presented: Presented) -> SaidView:
    return SaidView(
        offer_ids=list(saying.offers),
        locale=saying.grounds.locale,
        said=presented.text,
        by=presented.by,
        named=saying.named(presented),
        verdicts=list(presented.verdicts),
        disclosures=saying.disclosures(presented),
    )
