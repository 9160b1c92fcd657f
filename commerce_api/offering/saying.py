"""Offers are said to their shopper: in a model's words where the brand wants them and they hold, else by the template.

What holds:
 1. What is said are offers that were signed for who asks (signed.py), made to one shopper, or all of them to nobody known.
 2. A text comes within the brand's ``offer_wording_seconds`` of the question, whatever models do.
 3. What was said in the conversation is in the prompt (offer_engine/presenting/prompts.py), and in nothing that is stored.
 4. Of what is remembered of a shopper only closed forms are said (offer_engine/presenting/remembered.py): with their consent to
    personal offers, and seen at the level at which they are known now. A model is told that it is known, never what it is.
 5. Who stops listening stops the model: its call ends on record, and is judged.
 6. A brand has BURST texts at once and PER_SECOND from then on in each process, so that nobody runs up its bill.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select
from sqlalchemy.engine import Connection

from audit.threads import in_thread
from audit.transaction import Database
from commerce_api.brands import Brand, find_brand
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.terms import NAMED
from commerce_api.memory.using import facts_at, slots_of
from commerce_api.models import variant
from commerce_api.offering.signed import Signed, opened
from offer_engine.models.prompt import Turn
from offer_engine.presenting.present import Presentation, Presented, present
from offer_engine.presenting.remembered import remembered
from offer_engine.presenting.verifier import Grounds
from offer_engine.presenting.voices import ModelVoice
from tokenization.clock import Clock, monotonic_seconds
from tokenization.logs import cause_of

if TYPE_CHECKING:
    import httpx

    from offer_engine.models.router import Router
    from offer_engine.models.specs import ModelSpec

PER_SECOND: Final = 5.0
BURST: Final = 30.0
READ_SECONDS: Final = 5.0  # a database that does not answer is told of, in time
TITLES_KNOWN: Final = 100
log = structlog.get_logger("commerce_api")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be said: decisions by their ids, after what was said so far. ``known_by`` as in docs/memory.md."""

    offers: tuple[str, ...]
    talk: tuple[Turn, ...] = ()
    locale: str | None = None
    known_by: str = NAMED


@dataclass(slots=True)
class Saying:
    """Offers that are being said. ``presentation`` may be iterated once."""

    offers: tuple[str, ...]
    grounds: Grounds
    presentation: Presentation
    _pieces: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)

    async def whole(self) -> Presented:
        """The text at its end."""
        return await present(self.presentation)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes, of a run() beside."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def run(self) -> None:
        """Has it said. In a task of its own: who reads the pieces may be cancelled again and again, this only once (5)."""
        try:
            async for piece in self.presentation:
                self._pieces.put_nowait(piece)
        finally:
            self._pieces.put_nowait(None)

    def named(self, presented: Presented) -> list[str]:
        """The offers that the text names."""
        return [self.offers[place - 1] for place in presented.named]

    def disclosures(self, presented: Presented) -> list[str]:
        """What had to be told with them, each once."""
        told = [text for place in presented.named for text in self.grounds.offers[place - 1].disclosures]
        return list(dict.fromkeys(told))


@dataclass(slots=True)
class Pace:
    """How many texts each brand may have now (6)."""

    now_seconds: Callable[[], float] = monotonic_seconds
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, brand: str) -> None:
        """Takes one. Raises CommerceRefusal(RATE_LIMITED)."""
        now = self.now_seconds()
        left, since = self._left.get(brand, (BURST, now))
        left = min(left + (now - since) * PER_SECOND, BURST)
        if left < 1:
            raise CommerceRefusal(CommerceError.RATE_LIMITED)
        self._left[brand] = (left - 1, now)


@dataclass(slots=True)
class SayingDesk:
    """Has offers said. ``router`` asks the operator's models; without one the template says all of them."""

    database: Database
    offer_key: bytes
    clock: Clock
    router: "Router | None" = None
    now_seconds: Callable[[], float] = monotonic_seconds
    pace: Pace = field(default_factory=Pace)
    running: "set[asyncio.Task[None]]" = field(default_factory=set)  # what is being said now, in streams

    async def say(self, brand_id: str, caller: Caller, wish: Wish, *, streamed: bool) -> Saying:
        """Offers, ready to be said. Raises CommerceRefusal: OFFER_UNKNOWN, OFFER_INVALID, OFFERS_APART, RATE_LIMITED, BUSY."""
        self.pace.spend(brand_id)
        asked_seconds = self.now_seconds()
        now_ms = self.clock()

        def work(connection: Connection) -> tuple[Brand, list[Signed], Grounds]:
            brand = find_brand(connection, brand_id)
            signed = self._signed(connection, brand, caller, wish, now_ms)
            return brand, signed, _grounds(connection, brand, signed, wish, now_ms)

        try:
            async with asyncio.timeout(READ_SECONDS):
                brand, signed, grounds = await self.database.read(work)
        except TimeoutError:
            raise CommerceRefusal(CommerceError.BUSY) from None
        wording = brand.policy.offer_wording
        voice = None
        if self.router is not None and wording != "template":
            voice = ModelVoice(self.router, brand.id, signed[0].decision)
        presentation = await in_thread(  # a language's words are read once, which takes a moment
            Presentation,
            grounds,
            voice,
            deadline_seconds=brand.policy.offer_wording_seconds - (self.now_seconds() - asked_seconds),  # (2)
            now_seconds=self.now_seconds,
            talk=wish.talk,
            hints=[_hint(each) for each in signed],
            streamed=streamed,
            wording="chosen" if wording == "chosen" else "free",
        )
        return Saying(tuple(each.decision for each in signed), grounds, presentation)

    def start(self, saying: Saying) -> "asyncio.Task[None]":
        """Begins run(). Whoever starts it cancels it when nobody reads the pieces any more (5)."""
        task = asyncio.create_task(saying.run())
        self.running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("saying_failed", cause=cause_of(failure))  # its text may hold what was said

    async def close(self) -> None:
        """Stops what is being said."""
        running = list(self.running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _signed(self, connection: Connection, brand: Brand, caller: Caller, wish: Wish, now_ms: int) -> list[Signed]:
        """(1)"""
        signed = [
            opened(connection, brand, caller, offer, key=self.offer_key, now_ms=now_ms, locale=wish.locale)
            for offer in dict.fromkeys(wish.offers)
        ]
        if len({each.subject for each in signed}) > 1:
            raise CommerceRefusal(CommerceError.OFFERS_APART)
        locale = signed[0].said.locale
        return [
            each
            if each.said.locale == locale
            else opened(connection, brand, caller, each.decision, key=self.offer_key, now_ms=now_ms, locale=locale)
            for each in signed
        ]


@asynccontextmanager
async def open_saying(
    models: Path,
    database: Database,
    offer_key: bytes,
    clock: Clock,
    transport: "httpx.AsyncBaseTransport | None" = None,
) -> AsyncIterator[SayingDesk]:
    """A desk that asks the models of a file, if there is one: one egress for the process, closed with it.

    Raises SpecsInvalid, OSError for a file that cannot be used.
    """
    desk = SayingDesk(database, offer_key, clock)
    specs = models_of(models)
    if not specs:
        yield desk
        return
    from commerce_api.offering.model_calls import ModelCallRecorder
    from offer_engine.models.egress import Egress
    from offer_engine.models.router import Router

    recorder = ModelCallRecorder(database)
    egress = Egress(recorder, hash_key(offer_key), clock, monotonic_seconds, transport)
    desk.router = Router(specs, egress, monotonic_seconds)
    try:
        yield desk
    finally:
        await desk.close()
        await egress.close()
        await recorder.close()


def models_of(path: Path) -> "list[ModelSpec]":
    """The models of a file, and none where there is no file. Raises SpecsInvalid, OSError."""
    if not path.exists():
        return []
    from offer_engine.models.specs import load_specs

    return load_specs(path)


def hash_key(offer_key: bytes) -> bytes:
    """The key of the hashes of what was sent to models, derived from the key that signs offers."""
    return hmac.new(offer_key, b"model calls\0", hashlib.sha256).digest()


def _grounds(connection: Connection, brand: Brand, signed: Sequence[Signed], wish: Wish, now_ms: int) -> Grounds:
    """What may be said: the offers, and of the shopper what they let be used (4)."""
    locale, subject = signed[0].said.locale, signed[0].subject
    facts = {}
    if subject is not None:
        level = brand.policy.memory.level_of(wish.known_by)
        facts = facts_at(connection, brand, subject, level, now_ms)
    said = tuple(each.said for each in signed)
    titles = _titles(connection, brand, signed)
    return Grounds(locale, said, signed[0].said.brand, titles, remembered(slots_of(facts), locale))


def _titles(connection: Connection, brand: Brand, signed: Sequence[Signed]) -> tuple[str, ...]:
    """What must not be named: the policy's other offers, and the products that were looked at."""
    said = {each.offer.title for each in signed}
    others = [offer.title for offer in brand.policy.offers if offer.title not in said]
    looked_at = {variant_id for each in signed for variant_id in each.variants}
    products = connection.execute(
        select(variant.c.product_title)
        .where(variant.c.brand == brand.id, variant.c.id.in_(looked_at))
        .order_by(variant.c.product_title)
        .distinct()
    ).scalars()
    return tuple(dict.fromkeys([*others[:TITLES_KNOWN], *products]))


def _hint(signed: Signed) -> str:
    """What an offer is about: the last part of its first category, which the prompt takes only where it is plain words."""
    first = min(signed.offer.categories, default="")
    return first.rpartition(">")[2].strip().lower()
