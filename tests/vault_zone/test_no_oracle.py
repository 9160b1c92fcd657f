"""A thousand guesses at a stored card, through everything that takes a card: no answer and no step tells the right one.

Every route has a verdict here. A route without one fails the suite until somebody has said how it was looked at.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import select
from starlette.routing import Route

from audit.event import MEANINGS
from audit.store import audit_event
from audit.transaction import Transaction
from commerce_api.settings import sqlite_url
from tests.requirement import requirement
from tests.vault_zone.callers import zone_of
from tests.vault_zone.guessing import CHANNELS, GUESSES, LEAN, OFF, Attacker, Channel, Footprints, Told, footprints
from tests.vault_zone.world import MERCHANT, VISA, World, zone_world
from vault_zone import capture, card_testing
from vault_zone.app import internal_app, public_app
from vault_zone.card import Pan
from vault_zone.fingerprint import Fingerprint, fingerprint_of
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.keyring import KeyRing
from vault_zone.models import card_record
from vault_zone.sweeping import Sweeper
from vault_zone.vault import store_card
from vault_zone.velocity import DEFAULTS, Kind

pytestmark = pytest.mark.anyio

PLAYED_BY_PAGE, PLAYED_BY_FIELDS, PLAYED_BY_PLATFORM, PLAYED_BY_TOKENIZER = (
    "the attack is played through it: page",
    "the attack is played through it: fields",
    "the attack is played through it: platform",
    "the attack is played through it: tokenizer",
)
NO_CARD = "takes no card, and answers nothing about one"
OWN_CARD = "the attack reads it: it names the card of its own session or payment alone"
HELD_CARD = "names brand and last four of a token that the caller holds already; each capture has a token of its own"
OF_THE_FORM_ALONE = (
    "answers by the form of the card that is handed over: no fingerprint of it is made or looked for (wallets); its "
    "caller's role can do nothing else"
)
REPEATS_NOTHING = (
    "takes a grant, not a card; what is told of an answer never depends on what the caller wrote (forward)"
)
VERDICTS = {
    ("GET", "/capture/{secret}"): PLAYED_BY_PAGE,
    ("POST", "/capture/{secret}"): PLAYED_BY_PAGE,
    ("POST", "/capture/{secret}/claim"): NO_CARD,
    ("GET", "/fields/manifest.json"): NO_CARD,
    ("GET", "/fields/{secret}"): NO_CARD,
    ("POST", "/fields/{secret}/claim"): NO_CARD,
    ("POST", "/fields/{secret}/card"): PLAYED_BY_FIELDS,
    ("GET", "/assets/{name}"): NO_CARD,
    ("POST", "/webhooks/{processor}"): NO_CARD,
    ("GET", "/health"): NO_CARD,
    ("POST", "/agentic_commerce/delegate_payment"): PLAYED_BY_PLATFORM,
    ("POST", "/ucp/tokenize"): PLAYED_BY_TOKENIZER,
    ("POST", "/v1/capture-sessions"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/capture-sessions/{session}"): OWN_CARD,
    ("POST", "/v1/charges"): OWN_CARD,
    ("POST", "/v1/charges/returned"): OWN_CARD,
    ("GET", "/v1/merchants/{merchant}/charges/{payment}"): OWN_CARD,
    ("POST", "/v1/modifications"): OWN_CARD,
    ("GET", "/v1/merchants/{merchant}/modifications/{request}"): OWN_CARD,
    ("GET", "/v1/charges/attention"): NO_CARD,
    ("GET", "/v1/charges/{charge}"): OWN_CARD,
    ("POST", "/v1/forwards"): REPEATS_NOTHING,
    ("GET", "/v1/merchants/{merchant}/forwards/{idempotency_key}"): REPEATS_NOTHING,
    ("POST", "/v1/merchants/{merchant}/wallet-tokens"): OF_THE_FORM_ALONE,
    ("GET", "/v1/health"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/grants"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/grants"): HELD_CARD,
    ("POST", "/v1/merchants/{merchant}/grants/{grant}/revoke"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/shoppers/{shopper}/cards"): HELD_CARD,
    ("DELETE", "/v1/merchants/{merchant}/shoppers/{shopper}/cards/{token}"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/shoppers/{shopper}/cards/{token}/withdraw-consent"): NO_CARD,
    ("GET", "/v1/retention"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/ledger/balances"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/ledger/entries"): NO_CARD,
    ("GET", "/v1/ledger/verification"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/settlements"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/settlements/{settlement}/lines"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/settlements/{settlement}/finish"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/settlement-breaks"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/settlement-breaks/{broken}/resolve"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/disputes"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/notice-secret"): NO_CARD,
    ("GET", "/v1/notices"): NO_CARD,
    ("POST", "/v1/notices/replay"): NO_CARD,
    ("POST", "/v1/unseal"): NO_CARD,
    ("POST", "/v1/seal"): NO_CARD,
    ("GET", "/v1/operations"): NO_CARD,
    ("POST", "/v1/operations"): NO_CARD,
    ("POST", "/v1/operations/{operation}/approve"): NO_CARD,
    ("POST", "/v1/operations/{operation}/refuse"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/keys"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/keys/rotate"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/keys/{key}/retire"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/keys/{key}/destroy"): NO_CARD,
    ("POST", "/v1/merchants/{merchant}/rekeyings"): NO_CARD,
    ("GET", "/v1/merchants/{merchant}/rekeyings/{run}"): NO_CARD,
}
SOME = [*GUESSES[:6], VISA, *GUESSES[-6:], VISA]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


@pytest.fixture(params=CHANNELS)
def channel(request: pytest.FixtureRequest) -> Channel:
    """Each way to hand a card to the zone."""
    return CHANNELS[request.param]


@pytest.fixture(params=LEAN)
def lean(request: pytest.FixtureRequest) -> Channel:
    """The same, by the one request that hands the card over."""
    return LEAN[request.param]


async def stored_card(attacker: Attacker, told: Told | None = None) -> None:
    """The card that is to be found out, entered by its holder through every channel; and what everybody sees from then on."""
    for number in (VISA, GUESSES[0], VISA):
        for way in CHANNELS.values():
            answers = await way(attacker, number)
            if told:
                told.of(answers)


def test_the_guesses_are_a_thousand_and_one_of_them_is_right() -> None:
    assert (len(GUESSES), GUESSES.count(VISA)) == (1_000, 1)


async def test_every_route_has_a_verdict(world: World) -> None:
    found = {
        (method, route.path)
        for app in (public_app(zone_of(world)), internal_app(zone_of(world)))
        for route in routes_of(inner(app))
        if not route.path.startswith("/openapi")
        for method in (route.methods or ())
        if method != "HEAD"
    }
    assert found - VERDICTS.keys() == set(), "look at what each of these tells about a card, then say so above"
    assert VERDICTS.keys() - found == set(), "these are gone"


def routes_of(program: FastAPI | APIRouter) -> Iterator[APIRoute | Route]:
    """Every route of a program and of the routers in it; anything else has no verdict and fails."""
    for route in program.routes:
        router = getattr(route, "original_router", None)
        if isinstance(router, APIRouter):
            yield from routes_of(router)
        else:
            assert isinstance(route, APIRoute | Route), route
            yield route


def inner(app: object) -> FastAPI:
    """The program inside its guards."""
    while not isinstance(app, FastAPI):
        app = getattr(app, "_app")  # noqa: B009  # the guards keep it to themselves
    return app


@requirement("3.5.1.1", "6.2.4")
@pytest.mark.parametrize(("way", "taken"), [("page", 303), ("platform", 201), ("tokenizer", 200)])
async def test_the_limits_stop_the_attack_far_below_a_thousand(world: World, way: str, taken: int) -> None:
    attacker = await Attacker.at(world)
    answers = await attacker.play(LEAN[way], GUESSES if world.database.is_sqlite else GUESSES[:100])
    statuses = Counter(done.status_code for [done] in answers)
    assert statuses == {taken: DEFAULTS[Kind.BIN_LAST4].maximum, 429: len(answers) - DEFAULTS[Kind.BIN_LAST4].maximum}
    refused = {Told().of([done]) for [done] in answers if done.status_code == 429}
    assert len(refused) == 1, "the right guess is refused in the words of the others"


@requirement("3.5.1.1", "3.4.1", "6.2.4")
async def test_without_limits_no_answer_to_a_thousand_guesses_tells_the_right_one(
    tmp_path: Path, lean: Channel
) -> None:
    async with zone_world(sqlite_url(tmp_path)) as world:
        attacker, told = await Attacker.at(world, OFF), Told()
        await stored_card(attacker, told)
        answers = await attacker.play(lean, GUESSES)
        alike = Counter(told.of(each) for each in answers)
        assert list(alike.values()) == [1_000], [text[:300] for text in alike]


@requirement("3.5.1.1", "3.4.1", "6.2.4")
async def test_nothing_that_can_be_asked_afterwards_tells_the_right_guess(world: World, channel: Channel) -> None:
    attacker, told = await Attacker.at(world, OFF), Told()
    await stored_card(attacker, told)
    answers = await attacker.play(channel, SOME)
    assert min(len(each) for each in answers) >= 4, "its session, its charge and the same once more were asked for"
    alike = Counter(told.of(each) for each in answers)
    assert list(alike.values()) == [len(SOME)], [text[:300] for text in alike]


@requirement("3.5.1.1", "6.2.4")
async def test_the_zone_takes_the_same_steps_for_a_card_it_holds_and_for_one_it_does_not(
    watched: Footprints, database_url: str, channel: Channel
) -> None:
    assert differing(await steps_of(watched, database_url, channel)) == {}


@pytest.fixture
def watched() -> Iterator[Footprints]:
    """Footprints, from before the database is opened."""
    with footprints() as made:
        yield made


async def steps_of(
    watched: Footprints, database_url: str, channel: Channel
) -> dict[str, list[Counter[tuple[str, str]]]]:
    """The steps for a few guesses: right ones and wrong ones by turns."""
    async with zone_world(database_url) as world:
        attacker = await Attacker.at(world, OFF)
        await stored_card(attacker)
        steps: dict[str, list[Counter[tuple[str, str]]]] = {"right": [], "wrong": []}
        for wrong in GUESSES[10:13]:
            steps["wrong"].append(await watched.of(channel(attacker, wrong)))
            steps["right"].append(await watched.of(channel(attacker, VISA)))
        return steps


def differing(steps: dict[str, list[Counter[tuple[str, str]]]]) -> dict[tuple[str, str], tuple[int, ...]]:
    """The steps that were not taken equally often by every guess."""
    every = [*steps["right"], *steps["wrong"]]
    names = set().union(*every)
    assert len(names) > 50, "the footprints are taken"
    counts = {name: tuple(taken[name] for taken in every) for name in names}
    return {name: taken for name, taken in counts.items() if len(set(taken)) > 1}


# Planted oracles: what other vaults offer. Each must be found.


def deduplicating(tx: Transaction, keys: KeyRing, *, fingerprint: Fingerprint | None = None, **card: Any) -> str:
    """Returns the token that the card has already."""
    known = known_token(tx, fingerprint)
    return known or store_card(tx, keys, fingerprint=fingerprint, **card)


def known_token(tx: Transaction, mark: Fingerprint | None) -> str | None:
    found: str | None = tx.execute(
        select(card_record.c.token).where(card_record.c.fingerprint == (mark.digest if mark else "")).limit(1)
    ).scalar()
    return found


async def refusing_known_cards(keys: KeyRing, merchant: str, pan: Pan) -> Fingerprint:
    """Says no to a card that the zone holds."""
    mark = await fingerprint_of(keys, merchant, pan)
    if await keys.read(lambda connection: known_token(Transaction(connection, 0), mark)):
        raise KeyUnavailable
    return mark


async def early_for_known_cards(keys: KeyRing, merchant: str, pan: Pan) -> Fingerprint:
    """Looks a second time for a card that was not found: the answers are alike, the time they take is not."""
    mark = await fingerprint_of(keys, merchant, pan)
    for _ in range(2):
        if await keys.read(lambda connection: known_token(Transaction(connection, 0), mark)):
            break
    return mark


async def told_apart(world: World) -> int:
    """How many different answers a few guesses through the page bring."""
    attacker, told = await Attacker.at(world, OFF), Told()
    for number in (VISA, GUESSES[0]):
        told.of(await CHANNELS["page"](attacker, number))
    return len({told.of(each) for each in await attacker.play(CHANNELS["page"], [GUESSES[1], VISA, GUESSES[2]])})


async def test_a_planted_duplicate_check_is_found_by_its_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "store_card", deduplicating)
    assert await told_apart(world) > 1


async def test_a_planted_refusal_of_known_cards_is_found_by_its_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def captured_before(keys: KeyRing, merchant: str, pan: Pan) -> Fingerprint:
        return await (refusing_known_cards if is_on else fingerprint_of)(keys, merchant, pan)

    is_on = False
    monkeypatch.setattr(card_testing, "fingerprint_of", captured_before)
    attacker, told = await Attacker.at(world, OFF), Told()
    told.of(await CHANNELS["page"](attacker, VISA))
    is_on = True
    assert len({told.of(await CHANNELS["page"](attacker, number)) for number in (GUESSES[1], VISA)}) == 2


@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [(capture, "store_card", deduplicating), (card_testing, "fingerprint_of", early_for_known_cards)],
)
async def test_planted_oracles_are_found_by_their_steps(
    watched: Footprints, database_url: str, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, planted: Any
) -> None:
    monkeypatch.setattr(where, name, planted)
    assert differing(await steps_of(watched, database_url, CHANNELS["page"])) != {}


# The fingerprint itself.


@requirement("3.5.1.1")
async def test_no_answer_event_or_document_of_the_interface_holds_a_fingerprint(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    attacker = await Attacker.at(world)
    answers = await CHANNELS["page"](attacker, VISA)
    marks = await world.database.read(lambda c: c.execute(select(card_record.c.fingerprint)).scalars().all())
    entries = await world.database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
    async with attacker.commerce() as commerce:
        document = (await commerce.get("/openapi.json")).text
    shown = "".join([*(f"{a.headers}{a.text}" for a in answers), *map(str, entries), document, *capsys.readouterr()])
    [mark] = marks
    assert mark is not None
    assert mark not in shown
    assert not re.search(r'"[^"]*fingerprint[^"]*":', document), "a key may be for fingerprints; no field holds one"
    assert not [keys for keys in (meaning.keys for meaning in MEANINGS.values()) if "fingerprint" in keys]
    assert json.loads(entries[0])["v"] >= 1, "the entries are read"


@requirement("3.5.1.1")
async def test_one_card_has_one_fingerprint_for_each_merchant_and_another_card_another(world: World) -> None:
    pans = {number: Pan.parse(number) for number in GUESSES[:3]}
    marks = {
        (merchant, number): (await fingerprint_of(world.keys, merchant, pan)).digest
        for merchant in await two_merchants(world)
        for number, pan in pans.items()
    }
    assert len(set(marks.values())) == 6
    for (merchant, number), mark in marks.items():
        assert (await fingerprint_of(world.keys, merchant, pans[number])).digest == mark


async def two_merchants(world: World) -> tuple[str, str]:
    """Two merchants that the zone knows."""
    for merchant, checkout in ((MERCHANT, "chk_a"), ("lantern-row", "chk_b")):
        await world.captured_grant(merchant=merchant, checkout=checkout)
    return MERCHANT, "lantern-row"


@requirement("3.5.1.1", "3.2.1")
async def test_a_card_past_its_time_takes_its_fingerprint_with_it(world: World) -> None:
    await CHANNELS["page"](await Attacker.at(world), VISA)
    world.clock.advance(2 * 86_400)
    await Sweeper(world.database, world.codes, world.clock).sweep_all()
    left = await world.database.read(
        lambda c: c.execute(select(card_record.c.fingerprint, card_record.c.fingerprint_key_id)).all()
    )
    assert not [row for row in left if row.fingerprint or row.fingerprint_key_id]
