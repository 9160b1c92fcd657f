"""Offers said over the agents' API: whose words, of what, to whom, in time; and what is on record of it."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi.responses import StreamingResponse
from sqlalchemy import select, text, update
from sqlalchemy.engine import Connection

from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import metadata, offer_decision
from commerce_api.offering import saying, saying_api, signed
from commerce_api.offering.saying import BURST, PER_SECOND, Pace, SayingDesk, Wish, open_saying
from commerce_api.schemas import LineGiven
from commerce_api.serve import server
from offer_engine.models.events import FailureKind
from offer_engine.presenting.locales import LOCALES
from offer_engine.presenting.present import Presentation
from offer_engine.snapshot import Sayable
from tests.commerce_api.purchases import KETTLE, MUG, lines
from tests.commerce_api.talking import MODELS, OFFERS, PRICE, TITLE, Shop, calls, disagreements, says, shop
from tests.commerce_api.world import BRAND, OFFER_KEY, World
from tests.offer_engine.fake_provider import WORDS, Script, app_of, fault, stream_of
from tokenization.edge import Receive, Scope, Send

pytestmark = pytest.mark.anyio
CARD = "4242 4242 4242 4242"
MARKER = "aubergine-coloured"
BY_MODEL = "Worded by a language model; price and terms come from the shop's records."


def code(answer: httpx.Response) -> str:
    """The closed code of a refusal."""
    told: str = answer.json()["error"]["code"]
    return told


@pytest.mark.parametrize("wording", ["template", "chosen", "free"])
async def test_without_models_every_wording_is_the_template_s(world: World, wording: str) -> None:
    async with shop(world, None, wording) as at:
        offer = await at.offer()
        said = (await at.said(offer)).json()
        events = await at.streamed(offer)
    assert (said["by"], said["verdicts"], said["named"]) == ("template", [], [offer])
    assert TITLE in said["said"]
    assert PRICE in said["said"]
    assert "".join(data["text"] for name, data in events if name == "said") == said["said"]
    assert await calls(world) == []


@pytest.mark.parametrize(
    ("wording", "words", "begins"),
    [
        ("free", WORDS, f"{TITLE} is here. With it you get 15% off, and that is {PRICE}."),
        ("chosen", "hello\ngives 1\nprice 1\n", f"Hello! {TITLE} gives you 15% off. With {TITLE} it comes to {PRICE}."),
        ("template", WORDS, "Here is what the shop offers."),
    ],
)
async def test_each_wording_says_the_offer_and_its_calls_are_on_record(
    world_on_each: World, wording: str, words: str, begins: str
) -> None:
    world = world_on_each
    async with shop(world, says(words), wording) as at:
        offer = await at.offer()
        said = (await at.said(offer)).json()
        events = await at.streamed(offer)
    by_model = wording != "template"
    assert said["said"].startswith(begins)
    assert said["said"].endswith(BY_MODEL) == by_model
    assert said["by"] == ("model" if by_model else "template")
    assert "".join(data["text"] for name, data in events if name == "said") == said["said"]
    assert events[-1] == ("done", {name: value for name, value in said.items() if name != "said"})
    assert len(at.transport.requests) == (2 if by_model else 0)
    assert await disagreements(world) == []
    rows = [row for row in await calls(world) if row.record == "opened"]
    assert {(row.brand, row.decision, row.purpose) for row in rows} == (
        {(BRAND, offer, "presentation")} if by_model else set()
    )
    assert len(rows) == len(at.transport.requests)


async def test_a_sentence_that_does_not_hold_reaches_nobody_and_the_template_goes_on(world: World) -> None:
    async with shop(world, lambda: fault("ungrounded later", "openai")) as at:
        events = await at.streamed(await at.offer())
    told = "".join(data["text"] for name, data in events if name == "said")
    assert told.startswith(f"{TITLE} is here.")
    assert "guaranteed" not in told
    assert "$1," not in told
    assert events[-1][1]["by"] in ("model", "both")
    assert "currency" in events[-1][1]["verdicts"]


async def test_sentences_are_passed_on_before_the_model_has_ended(world: World) -> None:
    begun = stream_of("openai", [WORDS + " "], ends=False)
    async with shop(world, lambda: Script([*begun.pieces, (3_600, b"")])) as at:
        saying_ = await at.desk.say(BRAND, _agent(), Wish((await at.offer(),)), streamed=True)
        running = at.desk.start(saying_)
        async with aclosing(saying_.pieces()) as told:  # type: ignore[type-var]  # an async generator
            first = await anext(told)
        assert not running.done()
        running.cancel()
    assert first.startswith(f"{TITLE} is here.")
    assert await disagreements(world) == []


# A deadline of a second, and what a busy machine adds; a stalled provider is given up after eight, a locked database after ten.
IN_TIME_SECONDS = 5
FAULTS = ("rate limit", "stall before", "stall inside", "truncated", "bad json")


@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_a_provider_does_the_offer_is_said_in_time_and_the_record_agrees(
    world_on_each: World, name: str
) -> None:
    world = world_on_each
    async with shop(world, lambda: fault(name, "openai"), offer_wording_seconds=1) as at:
        offer = await at.offer()
        async with asyncio.timeout(IN_TIME_SECONDS):
            said = (await at.said(offer)).json()
        async with asyncio.timeout(IN_TIME_SECONDS):
            events = await at.streamed(offer)
    if name.startswith("stall"):
        assert "deadline" in said["verdicts"]
    assert TITLE in said["said"]
    assert PRICE in said["said"]
    assert events[-1][0] == "done"
    told = "".join(data["text"] for name, data in events if name == "said")
    assert TITLE in told
    assert PRICE in told
    assert await disagreements(world) == []
    assert await calls(world)


async def test_planted_fault_a_presentation_that_outstays_its_time_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: Any, deadline_seconds: float, **named: Any) -> Presentation:
        return Presentation(*arguments, deadline_seconds=deadline_seconds + IN_TIME_SECONDS, **named)

    monkeypatch.setattr(saying, "Presentation", late)
    async with shop(world, lambda: fault("stall before", "openai"), offer_wording_seconds=1) as at:
        offer = await at.offer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(IN_TIME_SECONDS):
                await at.said(offer)
    assert await disagreements(world) == []


async def test_a_record_that_cannot_be_written_stops_the_call_and_the_template_stands(world_by_owner: World) -> None:
    world = world_by_owner
    async with shop(world, says(WORDS)) as at:
        await _refuse_rows(world)
        offer = await at.offer()
        said = (await at.said(offer)).json()
        assert (said["by"], said["verdicts"]) == ("template", [FailureKind.NOT_RECORDED.value])
        assert PRICE in said["said"]
        assert at.transport.requests == []
        await _take_rows(world)
        assert (await at.said(offer)).json()["by"] == "model"
    assert len(at.transport.requests) == 1
    assert await disagreements(world) == []


async def test_planted_fault_a_call_that_does_not_wait_for_its_record_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hastily(self: Any, opened: Any, made: Any) -> None:
        self.recorder.write(opened)

    monkeypatch.setattr("offer_engine.models.egress.Egress._put_on_record", hastily)
    async with shop(world, says(WORDS)) as at:
        await _refuse_rows(world)
        await at.said(await at.offer())
        assert len(at.transport.requests) == 1
        await _take_rows(world)


async def test_a_locked_database_costs_the_model_s_words_and_no_time(world_on_each: World) -> None:
    world = world_on_each
    async with shop(world, says(WORDS), offer_wording_seconds=1) as at:
        offer = await at.offer()
        await at.said(offer)
        async with _locked(world):
            async with asyncio.timeout(IN_TIME_SECONDS):
                said = (await at.said(offer)).json()
        assert (said["by"], said["verdicts"]) == ("template", ["deadline"])
        assert len(at.transport.requests) == 1
    rows = await calls(world)
    assert sorted(row.verdict for row in rows if row.record == "judged") == ["abandoned", "ok"]
    assert await disagreements(world) == []


async def test_who_goes_away_in_the_middle_stops_the_model_and_that_is_on_record(world_on_each: World) -> None:
    world = world_on_each
    begun = stream_of("openai", [WORDS + " "], ends=False)
    async with shop(world, lambda: Script([*begun.pieces, (3_600, b"")])) as at:
        offer = await at.offer()
        async with _served(at) as port:
            await _heard_and_left(at, offer, port)
            await asyncio.wait(at.desk.running, timeout=20)
            assert not at.desk.running, "the shop still talks to nobody"
    rows = {row.record: row for row in await calls(world)}
    assert (rows["ended"].outcome, rows["judged"].verdict) == ("cancelled", "abandoned")
    assert await disagreements(world) == []


async def test_planted_fault_a_shop_that_talks_on_to_nobody_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = stream_of("openai", [WORDS + " "], ends=False)
    async with shop(world, lambda: Script([*begun.pieces, (3_600, b"")])) as at:
        offer = await at.offer()
        monkeypatch.setattr(saying_api.SaidStream, "__call__", _without_end)
        async with _served(at) as port:
            await _heard_and_left(at, offer, port)
            await asyncio.wait(at.desk.running, timeout=0.5)
            assert at.desk.running
            assert {row.record for row in await calls(world)} == {"opened"}
    assert await disagreements(world) == [], "the end of the process ends it"


async def test_a_provider_on_a_real_socket_is_asked_and_heard(world: World) -> None:
    provider = uvicorn.Config(app_of(lambda _: fault("none", "openai")), log_config=None, lifespan="off")
    async with shop(world, None) as at, _serving(uvicorn.Server(provider)) as port:
        address = {"base_url": f"http://127.0.0.1:{port}/v1"}
        path = world.directory / "models.json"
        path.write_text(json.dumps({"models": [{**MODELS["models"][0], **address}]}), encoding="utf-8")
        async with open_saying(path, world.commerce.database, OFFER_KEY, world.clock) as desk:
            said = await desk.say(BRAND, _agent(), Wish((await at.offer(),)), streamed=False)
            presented = await said.whole()
    assert (presented.by, presented.verdicts) == ("model", ("ok",))
    rows = {row.record: row for row in await calls(world)}
    assert (rows["ended"].input_tokens, rows["ended"].cost_micros) == (300, 69)
    assert await disagreements(world) == []


async def test_planted_fault_a_slip_of_ours_ends_the_stream_without_done_and_its_text_is_not_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def slips(_: Presentation) -> AsyncIterator[str]:
        yield "Hello! "
        raise RuntimeError(MARKER)

    monkeypatch.setattr(Presentation, "__aiter__", slips)
    async with shop(world, None) as at:
        offer = await at.offer()
        assert [name for name, _ in await at.streamed(offer)] == ["said"]
        answer = await at.said(offer)
    assert (answer.status_code, code(answer)) == (500, CommerceError.INTERNAL.code)
    told = "".join(capsys.readouterr()) + caplog.text
    assert "RuntimeError" in told
    assert MARKER not in told


async def test_several_offers_are_weighed_in_one_text(world: World) -> None:
    words = "{{offer.2.title}} gives you {{offer.2.benefit}}. {{offer.1.title}} brings it to {{offer.1.price}}."
    async with shop(world, says(words)) as at:
        kettle, mugs = await at.offer(), await at.offer(lines(MUG, 6))
        said = (await at.said(kettle, **{"with": [mugs]})).json()
        sent = at.transport.requests[0].content.decode()
    assert said["offer_ids"] == [kettle, mugs]
    assert said["named"] == [kettle, mugs]
    assert said["said"].startswith("Free shipping from $80 gives you free shipping. 15% off kettles and coffee brings")
    assert "{{offer.2.title}}" in sent
    assert "about coffee" in sent
    assert TITLE not in sent


async def test_offers_of_two_shoppers_are_not_said_together(world: World) -> None:
    async with shop(world, None) as at:
        robin, morgan = await at.offer(shopper="shp_robin"), await at.offer(shopper="shp_morgan")
        nobody, again = await at.offer(), await at.offer(shopper="shp_robin")
        for others in ([morgan], [nobody], [again, morgan]):
            answer = await at.said(robin, **{"with": others})
            assert (answer.status_code, code(answer)) == (422, CommerceError.OFFERS_APART.code)
        together = await at.said(robin, **{"with": [again]})
        assert together.json()["offer_ids"] == [robin, again]
        assert (await at.said(nobody, **{"with": [await at.offer()]})).status_code == 200


async def test_an_offer_is_said_to_whom_it_was_made_and_nobody_else(world_on_each: World) -> None:
    world = world_on_each
    async with shop(world, None) as at:
        offer = await at.offer()
        guest = await world.desk.get_offers(BRAND, Caller(ANONYMOUS, "test"), [LineGiven(variant_id=KETTLE)])
        other = await world.add_brand("Salt Shed")
        stranger = {"authorization": f"Bearer {await world.agent_key(other)}"}
        elsewhere = await at.agent.post(f"/agents/v1/{other}/offers/{offer}/said", json={}, headers=stranger)
        assert (elsewhere.status_code, code(elsewhere)) == (404, CommerceError.OFFER_UNKNOWN.code)
        for foreign in (guest.offers[0].offer_id, "off_" + "b" * 32, "none", "off_%00"):
            answer = await at.said(foreign)
            assert (answer.status_code, code(answer)) == (404, CommerceError.OFFER_UNKNOWN.code)
            beside = await at.said(offer, **{"with": [foreign]})
            assert (beside.status_code, code(beside)) == (404, CommerceError.OFFER_UNKNOWN.code)
        without = await at.agent.post(f"{OFFERS}/{offer}/said", json={}, headers={"authorization": "Bearer wrong"})
        assert (without.status_code, code(without)) == (401, CommerceError.UNAUTHENTICATED.code)


async def test_planted_fault_a_search_that_forgets_whose_offer_it_is_is_stopped_by_the_signature(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anybody_s(connection: Connection, *_: str) -> Any:
        return connection.execute(select(offer_decision).where(offer_decision.c.id == asked)).first()

    async with shop(world, None) as at:
        other = await world.add_brand("Salt Shed")
        stranger = {"authorization": f"Bearer {await world.agent_key(other)}"}
        asked = await at.offer()
        monkeypatch.setattr(signed, "_row", anybody_s)
        elsewhere = await at.agent.post(f"/agents/v1/{other}/offers/{asked}/said", json={}, headers=stranger)
        assert (elsewhere.status_code, code(elsewhere)) == (422, CommerceError.OFFER_INVALID.code)
        guest = await world.desk.get_offers(BRAND, Caller(ANONYMOUS, "test"), [LineGiven(variant_id=KETTLE)])
        asked = guest.offers[0].offer_id
        assert (await at.said(asked)).status_code == 422


async def test_an_offer_whose_time_is_over_is_refused(world: World) -> None:
    async with shop(world, None) as at:
        offer = await at.offer()
        world.clock.advance(1_799)
        assert (await at.said(offer)).status_code == 200
        world.clock.advance(1)
        answer = await at.said(offer)
    assert (answer.status_code, code(answer)) == (422, CommerceError.OFFER_INVALID.code)


async def test_planted_fault_a_signature_under_another_decision_is_not_said(world: World) -> None:
    """The row is the brand's and the signature is good; only the two do not belong together."""
    async with shop(world, None) as at:
        one, other = await at.offer(), await at.offer()
        of_other = select(offer_decision.c.snapshot).where(offer_decision.c.id == other).scalar_subquery()
        swap = update(offer_decision).where(offer_decision.c.id == one).values(snapshot=of_other)
        await world.commerce.database.maintain(lambda tx: tx.execute(swap))
        answer = await at.said(one)
    assert (answer.status_code, code(answer)) == (422, CommerceError.OFFER_INVALID.code)


@pytest.mark.parametrize("locale", LOCALES)
async def test_an_offer_is_said_in_another_language_as_if_it_had_been_made_in_it(world: World, locale: str) -> None:
    async with shop(world, None) as at:
        made = await at.said(await at.offer(locale=locale))
        english = await at.offer()
        translated = await at.said(english, locale=f"{locale}-CH")
        back = await at.said(await at.offer(locale=locale), locale="en")
    assert translated.json()["said"] == made.json()["said"]
    assert translated.json()["locale"] == locale
    assert back.json()["said"] == (await _english(world))


async def test_a_record_that_is_not_what_was_signed_is_said_in_no_other_language(world: World) -> None:
    async with shop(world, None) as at:
        offer = await at.offer()
        await _reprice(world, offer, 100)
        answer = await at.said(offer, locale="de")
        signed = await at.said(offer)
    assert (answer.status_code, code(answer)) == (422, CommerceError.OFFER_INVALID.code)
    assert PRICE in signed.json()["said"], "what was signed holds"


async def test_planted_fault_a_translation_that_is_not_held_against_the_signature_would_say_another_price(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(Sayable, "__eq__", lambda *_: True)
    async with shop(world, None) as at:
        offer = await at.offer()
        await _reprice(world, offer, 100)
        assert PRICE.replace(".", ",") not in (await at.said(offer, locale="de")).json()["said"]


@pytest.mark.parametrize(
    "talk",
    [
        [{"role": "user", "text": f"My card is {CARD}, take it"}],
        [{"role": "user", "text": "4242 4242"}, {"role": "user", "text": "4242 4242"}],
        [{"role": "assistant", "text": "My card? ４２４２４２４２４２４２４２４２"}],
    ],
)
async def test_a_card_in_the_conversation_is_refused_before_any_model_hears_of_it(
    world: World, talk: list[dict[str, str]]
) -> None:
    async with shop(world, says(WORDS)) as at:
        answer = await at.said(await at.offer(), talk=talk)
        assert (answer.status_code, code(answer)) == (422, "card_text_refused")
        assert at.transport.requests == []
    assert await calls(world) == []
    assert len(await world.events("card_text.refused")) == 1


async def test_what_was_said_is_heard_by_the_model_and_stored_nowhere(world_on_each: World) -> None:
    world = world_on_each
    async with shop(world, says(WORDS)) as at:
        offer = await at.offer()
        talk = [{"role": "user", "text": f"Something {MARKER} for {{{{offer.9.price}}}}"}]
        assert (await at.said(offer, talk=talk)).json()["by"] == "model"
        assert (await at.streamed(offer, talk=talk))[-1][1]["by"] == "model"
        heard = at.transport.requests[0].content.decode()
    assert MARKER in heard
    assert "{{offer.9" not in heard
    kept = [row for table in metadata.sorted_tables for row in await world.rows(table)]
    assert offer in repr(kept), "what is stored is found by this search"
    assert MARKER not in repr(kept)
    files = b"".join(path.read_bytes() for path in world.directory.rglob("*") if path.is_file())
    assert MARKER.encode() not in files


@pytest.mark.parametrize(
    "given",
    [
        {"talk": [{"role": "user", "text": "x" * 2_001}]},
        {"talk": [{"role": "user", "text": "x"}] * 21},
        {"talk": [{"role": "system", "text": "kangaroo"}]},
        {"with": ["a", "b", "c"]},
        {"locale": "kangaroo!"},
        {"kangaroo": 1},
    ],
)
async def test_what_is_out_of_bounds_is_refused_without_an_echo(world: World, given: dict[str, Any]) -> None:
    async with shop(world, None) as at:
        answer = await at.said(await at.offer(), **given)
    assert (answer.status_code, code(answer)) == (422, CommerceError.INVALID_REQUEST.code)
    assert "kangaroo" not in answer.text


async def test_a_brand_that_asks_too_often_is_told_to_wait_and_the_others_are_not(world: World) -> None:
    async with shop(world, None) as at:
        seconds = 0.0
        at.desk.pace = Pace(lambda: seconds)
        offer = await at.offer()
        answers = [await at.said(offer) for _ in range(int(BURST) + 1)]
        at.desk.pace.spend("another brand")
        seconds = 1 / PER_SECOND
        after = [await at.said(offer) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200] * int(BURST) + [429]
    assert code(answers[-1]) == CommerceError.RATE_LIMITED.code
    assert [answer.status_code for answer in after] == [200, 429]


async def test_a_database_that_does_not_answer_is_told_of_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saying, "READ_SECONDS", 0.05)

    async def stuck(_: Any) -> None:
        await asyncio.Event().wait()

    database = replace_read(world, stuck)
    desk = SayingDesk(database, OFFER_KEY, world.clock)
    with pytest.raises(CommerceRefusal) as refused:
        await desk.say(BRAND, _agent(), Wish(("off_x",)), streamed=False)
    assert refused.value.kind is CommerceError.BUSY


def replace_read(world: World, read: Any) -> Any:
    """The world's database, with another way to read."""

    class Stuck:
        def __getattr__(self, name: str) -> Any:
            return read if name == "read" else getattr(world.commerce.database, name)

    return Stuck()


def _agent() -> Caller:
    return Caller(f"agent:{BRAND}", "agents_api")


async def _english(world: World) -> str:
    async with shop(world, None) as at:
        return str((await at.said(await at.offer())).json()["said"])


async def _reprice(world: World, offer: str, price_minor: int) -> None:
    """Somebody writes another price into a decision's record."""

    def work(tx: Any) -> None:
        of = offer_decision.c.id == offer
        record = json.loads(tx.execute(select(offer_decision.c.record).where(of)).scalar())
        record["context"]["lines"][0][2] = price_minor
        tx.execute(update(offer_decision).where(of).values(record=json.dumps(record)))

    await world.commerce.database.maintain(work)


async def _refuse_rows(world: World) -> None:
    """Rows of model calls cannot be written, as on a full disk."""
    if world.commerce.database.is_sqlite:
        plant = ["CREATE TRIGGER full BEFORE INSERT ON model_call BEGIN SELECT RAISE(ABORT, 'full'); END"]
    else:
        plant = [
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'full'; END $$",
            "CREATE TRIGGER full_disk BEFORE INSERT ON model_call FOR EACH ROW EXECUTE FUNCTION full_disk()",
        ]
    await world.commerce.database.maintain(lambda tx: [tx.connection.execute(text(each)) for each in plant][:0])


async def _take_rows(world: World) -> None:
    drop = "DROP TRIGGER full" if world.commerce.database.is_sqlite else "DROP TRIGGER full_disk ON model_call"
    await world.commerce.database.maintain(lambda tx: [tx.connection.execute(text(drop))][:0])


@asynccontextmanager
async def _locked(world: World) -> AsyncIterator[None]:
    """Another process holds what is to be written."""
    if world.commerce.database.is_sqlite:
        with closing(sqlite3.connect(world.directory / "commerce.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    connection = await asyncpg.connect(world.commerce.database.url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE model_call IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def _served(at: Shop) -> AsyncIterator[int]:
    """The application on a real socket, as `cordon serve` has it; gives its port."""
    async with _serving(server(at.app, "127.0.0.1", 0)) as port:
        yield port


@asynccontextmanager
async def _serving(serving: uvicorn.Server) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(serving.serve([listening]))
    try:
        yield int(listening.getsockname()[1])
    finally:
        serving.should_exit = True
        await task


async def _heard_and_left(at: Shop, offer: str, port: int) -> None:
    """A client that hears the first sentence and goes away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"stream": True}).encode()
    head = [
        f"POST {OFFERS}/{offer}/said HTTP/1.1",
        "host: shop",
        "content-type: application/json",
        f"authorization: {at.agent.headers['authorization']}",
        f"content-length: {len(body)}",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    await reader.readuntil(b"event: said")
    writer.close()


async def _without_end(self: saying_api.SaidStream, scope: Scope, receive: Receive, send: Send) -> None:
    """SaidStream without its last line."""
    self._desk.start(self._saying)
    await StreamingResponse.__call__(self, scope, receive, send)
