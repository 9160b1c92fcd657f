"""The recovery attack: whoever knows eight digits of a number and its last four has a thousand guesses left, and plays them.

A channel is a way to hand a card to the zone and to see everything that comes of it. `Told` makes its answers comparable: an
identifier is replaced by its place in the answers, or by SEEN if it was given out before, so that a returned token shows.
"""

import asyncio
import re
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, cast

import httpx
from sqlalchemy import Engine, event

from audit.transaction import Transaction
from tests.vault_zone.callers import as_peer, zone_of
from tests.vault_zone.delegation.platform_world import Agent, a_credential, a_request, an_agent
from tests.vault_zone.puzzles import unanswered
from tests.vault_zone.test_fields_pages import SHOP
from tests.vault_zone.test_openers import OPENER
from tests.vault_zone.test_public_pages import FORM
from tests.vault_zone.world import ACTOR, MERCHANT, VISA, World, capture_request, charge_request
from tokenization.ids import digest
from vault_zone.app import internal_app, public_app
from vault_zone.capture import FIELDS, claim_link, open_session
from vault_zone.card import passes_luhn
from vault_zone.merchants import change_frame_origins
from vault_zone.openers import claim_by_opener
from vault_zone.platforms import Protocol
from vault_zone.public_pages import CLAIM_COOKIE
from vault_zone.runtime import Zone
from vault_zone.velocity import DEFAULTS, Kind, Limit, Limits
from vault_zone.velocity_policy import VelocityPolicy

GUESSES = [
    number for middle in range(10_000) if passes_luhn(number := f"{VISA[:8]}{middle:04}{VISA[-4:]}")
]  # the published number and the 999 that share its first eight and last four digits
OFF: Limits = {kind: Limit(86_400, 10**9) for kind in Kind}
AT_ONCE = 25
_RANDOM = re.compile(r"(?:[a-z]{2,8}_)?[bcdfghjkmnpqrstv]{32,64}")
_PACKAGES = ("/vault_zone/", "/audit/", "/tokenization/")
_NOT_WATCHED = (
    "/tests/",
    "/tokenization/scanner/",
)  # the scanner reads fresh identifiers, letter by letter, and no card
Channel = Callable[["Attacker", str], Awaitable[list[httpx.Response]]]


@dataclass
class Told:
    """What answers say once their fresh identifiers are taken out."""

    seen: set[str] = field(default_factory=set)

    def of(self, answers: list[httpx.Response]) -> str:
        """Status, headers and body of the answers, comparable with those of another guess."""
        text = "\n".join(f"{a.status_code} {sorted(a.headers.items())} {a.text}" for a in answers)
        own = list(dict.fromkeys(_RANDOM.findall(text)))
        names = {found: "SEEN" if found in self.seen else f"ID{n}" for n, found in enumerate(own)}
        self.seen.update(own)
        return _RANDOM.sub(lambda match: names[match[0]], text)


@dataclass
class Attacker:
    """Somebody with as many links, networks and platforms' requests as wanted."""

    world: World
    zone: Zone
    agent: Agent
    guesses: int = 0

    @classmethod
    async def at(cls, world: World, limits: Limits = DEFAULTS) -> "Attacker":
        """An attacker before this zone."""
        await world.database.change(lambda tx: change_frame_origins(tx, MERCHANT, add=[SHOP], actor="operator:ada"))
        zone = replace(zone_of(world), limits=VelocityPolicy({MERCHANT: limits}))
        agent = await an_agent(world, protocols=(Protocol.ACP, Protocol.UCP))
        await agent.client.aclose()
        return cls(world, zone, Agent(_public(zone, "203.0.113.7"), agent.platform, agent.bearer))

    def next_place(self) -> tuple[str, str]:
        """A checkout and an address that were never used."""
        self.guesses += 1
        letters = "".join("bcdfghjkmn"[int(digit)] for digit in f"{self.guesses:04}")
        return f"chk_{letters}", f"2001:db8:{self.guesses:x}::1"

    def shopper(self, address: str) -> httpx.AsyncClient:
        """A browser at an address."""
        return _public(self.zone, address)

    def commerce(self) -> httpx.AsyncClient:
        """Commerce itself, should it be the attacker."""
        transport = httpx.ASGITransport(app=cast(Any, as_peer(internal_app(self.zone), "service:commerce")))
        return httpx.AsyncClient(transport=transport, base_url="https://zone")

    async def play(self, channel: Channel, guesses: list[str]) -> list[list[httpx.Response]]:
        """Every guess through a channel, some at once."""
        answers = []
        for start in range(0, len(guesses), AT_ONCE):
            answers += await asyncio.gather(*(channel(self, number) for number in guesses[start : start + AT_ONCE]))
        return answers


def _public(zone: Zone, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=cast(Any, public_app(zone)), client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701")


async def by_page(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through the capture page; then all that commerce can ask about it, and its charge."""
    checkout, address = attacker.next_place()
    asked = capture_request(checkout=checkout)
    session, secret = await attacker.world.database.change(lambda tx: open_session(tx, asked, ACTOR))
    async with attacker.shopper(address) as shopper, attacker.commerce() as commerce:
        page = await shopper.get(f"/capture/{secret}")
        form = {**FORM, "number": number, **unanswered(page.text)}
        done = await shopper.post(f"/capture/{secret}", data=form)
        found = await commerce.get(f"/v1/merchants/{MERCHANT}/capture-sessions/{session.session}")
        again = await shopper.post(f"/capture/{secret}", data=form)
        charged = await _charge(commerce, found.json().get("grant"), checkout)
    return _without_place([page, done, found, again, *charged], checkout)


async def by_platform(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through an agent platform's delegate_payment, and its charge."""
    checkout, _ = attacker.next_place()
    body = a_request(payment_method={"number": number}, allowance={"checkout_session_id": checkout})
    done = await attacker.agent.delegate(body, key=f"key_{checkout}")
    again = await attacker.agent.delegate(body, key=f"key_{checkout}")
    async with attacker.commerce() as commerce:
        charged = await _charge(commerce, done.json().get("id"), checkout)
    return _without_place([done, again, *charged], checkout)


async def _charge(commerce: httpx.AsyncClient, grant: str | None, checkout: str) -> list[httpx.Response]:
    if grant is None:
        return []
    asked = charge_request(grant, checkout=checkout).model_dump(mode="json")
    charged = await commerce.post("/v1/charges", json=asked)
    found = await commerce.get(f"/v1/merchants/{MERCHANT}/charges/{asked['payment']}")
    return [charged, found]


def _without_place(answers: list[httpx.Response], checkout: str) -> list[httpx.Response]:
    """The answers without what the attacker chose."""
    return [
        httpx.Response(
            answer.status_code,
            headers=[(name, value.replace(checkout, "CHECKOUT")) for name, value in answer.headers.items()],
            text=answer.text.replace(checkout, "CHECKOUT"),
        )
        for answer in answers
    ]


async def by_page_alone(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through the capture page: the answer to its form."""
    checkout, address = attacker.next_place()
    asked = capture_request(checkout=checkout)

    def opened(tx: Transaction) -> tuple[str, str]:
        _, secret = open_session(tx, asked, ACTOR)
        return secret, claim_link(tx, secret, None)[1]

    secret, claim = await attacker.world.database.change(opened)
    async with attacker.shopper(address) as shopper:
        shopper.cookies.set(CLAIM_COOKIE, claim)
        done = await shopper.post(f"/capture/{secret}", data={**FORM, "number": number})
    return _without_place([done], checkout)


async def by_fields(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through the fields in a frame of the merchant's page; then all that commerce can ask about it, and its charge."""
    checkout, address = attacker.next_place()
    asked = capture_request(checkout=checkout).model_copy(
        update={"mode": "fields", "frame_origin": SHOP, "opener_digest": digest(OPENER)}
    )

    def opened(tx: Transaction) -> tuple[str, str, str]:
        session, secret = open_session(tx, asked, ACTOR)
        return session.session, secret, claim_by_opener(tx, secret, OPENER, FIELDS).claim

    session_id, secret, claim = await attacker.world.database.change(opened)
    path, headers, form = f"/fields/{secret}/card", {"authorization": f"Bearer {claim}"}, {**FORM, "number": number}
    async with attacker.shopper(address) as frame, attacker.commerce() as commerce:
        done = await frame.post(path, data=form, headers=headers)
        found = await commerce.get(f"/v1/merchants/{MERCHANT}/capture-sessions/{session_id}")
        again = await frame.post(path, data=form, headers=headers)
        charged = await _charge(commerce, found.json().get("grant"), checkout)
    return _without_place([done, found, again, *charged], checkout)


async def by_platform_alone(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through an agent platform's delegate_payment: its answer."""
    checkout, _ = attacker.next_place()
    body = a_request(payment_method={"number": number}, allowance={"checkout_session_id": checkout})
    return _without_place([await attacker.agent.delegate(body, key=f"key_{checkout}")], checkout)


async def by_tokenizer(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through UCP's tokenizer, and its charge."""
    checkout, _ = attacker.next_place()
    body = a_credential(credential={"number": number}, binding={"checkout_id": checkout})
    done = await attacker.agent.tokenize(body, key=f"key_{checkout}")
    again = await attacker.agent.tokenize(body, key=f"key_{checkout}")
    async with attacker.commerce() as commerce:
        charged = await _charge(commerce, done.json().get("token"), checkout)
    return _without_place([done, again, *charged], checkout)


async def by_tokenizer_alone(attacker: Attacker, number: str) -> list[httpx.Response]:
    """A card through UCP's tokenizer: its answer."""
    checkout, _ = attacker.next_place()
    body = a_credential(credential={"number": number}, binding={"checkout_id": checkout})
    return _without_place([await attacker.agent.tokenize(body)], checkout)


LEAN: Mapping[str, Channel] = {
    "page": by_page_alone,
    "platform": by_platform_alone,
    "tokenizer": by_tokenizer_alone,
}
CHANNELS: Mapping[str, Channel] = {
    "page": by_page,
    "fields": by_fields,
    "platform": by_platform,
    "tokenizer": by_tokenizer,
}


# What the zone does for a guess, whatever it answers: the basis of what a clock could see.


@dataclass
class Footprints:
    """Statements and calls of the zone's own functions, in every thread, while a guess is played."""

    steps: list[tuple[str, str]] = field(default_factory=list)
    is_on: bool = False

    async def of(self, playing: Awaitable[Any]) -> Counter[tuple[str, str]]:
        """Which steps a guess took, and how often."""
        self.steps.clear()
        self.is_on = True
        sys.setprofile(self._on_call)
        try:
            await playing
        finally:
            sys.setprofile(None)
            self.is_on = False
        return Counter(self.steps)

    def _on_call(self, frame: FrameType, what: str, _: Any) -> None:
        if self.is_on and what == "call":
            code = frame.f_code
            path = code.co_filename
            if any(package in path for package in _PACKAGES) and not any(other in path for other in _NOT_WATCHED):
                self.steps.append((path, f"{code.co_qualname}:{code.co_firstlineno}"))

    def _on_statement(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if self.is_on:
            self.steps.append(("statement", statement))


@contextmanager
def footprints() -> Iterator[Footprints]:
    """To be opened before the database is: threads that begin afterwards are watched too."""
    watched = Footprints()
    threading.setprofile(watched._on_call)
    event.listen(Engine, "before_cursor_execute", watched._on_statement)
    try:
        yield watched
    finally:
        event.remove(Engine, "before_cursor_execute", watched._on_statement)
        threading.setprofile(cast(Any, None))
