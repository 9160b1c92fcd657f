"""What leaves for models is scrubbed, on record, and goes nowhere else."""

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.models.egress import Egress, retry_after
from offer_engine.models.events import FailureKind, ModelFailed
from offer_engine.models.prompt import Prompt, Turn
from offer_engine.models.records import (
    CallEnded,
    CallJudged,
    CallOpened,
    JsonLinesRecorder,
    Occasion,
    read_records,
    reconcile,
)
from offer_engine.models.router import Router
from offer_engine.models.specs import ModelSpec, SpecsInvalid, load_specs, read_key
from offer_engine.models.sse import SseEvent, SseParser
from tests.offer_engine.fake_provider import WORDS, FakeTransport, Script, fault, stream_of
from tests.offer_engine.models.world import DIALECT_NAMES, HASH_KEY, Kept, by_host, egress_of, spec, words_of
from tests.offer_engine.virtual_time import loop_seconds, run_virtually
from tokenization.ids import letters_of
from tokenization.scanner import contains_card

CARD = "4242 4242 4242 4242"


def sent(prompt: Prompt, kept: Kept, key_file: Path | None = None, dialect: int = 0) -> FakeTransport:
    """What leaves for a prompt."""
    name = DIALECT_NAMES[dialect]
    transport = by_host({name: stream_of(name, [WORDS])})

    async def talk() -> None:
        call = await egress_of(transport, kept).open(spec(name, key_file=key_file), prompt, Occasion("test"))
        async for _ in call.events():
            pass
        call.judged("ok")

    run_virtually(talk())
    return transport


@pytest.mark.parametrize("dialect", range(3))
def test_a_card_in_what_was_said_does_not_leave_and_that_is_on_record(dialect: int) -> None:
    kept = Kept()
    transport = sent(Prompt("Hello.", (Turn("user", f"My card is {CARD}, what now?"),)), kept, dialect=dialect)
    body = transport.requests[0].content.decode()
    assert "4242" not in body
    assert "what now?" in body
    assert not contains_card(body)
    (opened,) = [record for record in kept.records if isinstance(record, CallOpened)]
    assert opened.scrubbed


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(f"The shopper's card is {CARD}.", (Turn("user", "Hi"),)),
        Prompt("Hi", (Turn("user", "4242 4242"), Turn("assistant", "Yes?"), Turn("user", "4242 4242"))),
    ],
    ids=["instructions", "split over turns"],
)
def test_what_still_reads_like_a_card_is_not_sent_at_all(prompt: Prompt) -> None:
    kept = Kept()
    with pytest.raises(ModelFailed) as failed:
        sent(prompt, kept)
    assert failed.value.kind is FailureKind.CARD_TEXT
    assert kept.records == []


def test_a_planted_egress_that_does_not_scrub_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offer_engine.models.egress._scrubbed", lambda prompt: prompt)
    prompt = Prompt("Hello.", (Turn("user", f"My card is {CARD}."),))
    with pytest.raises(ModelFailed):
        sent(prompt, Kept())
    monkeypatch.setattr("offer_engine.models.egress._reads_like_a_card", lambda *_: False)
    assert b"4242" in sent(prompt, Kept()).requests[0].content


def test_the_hash_on_record_is_of_the_very_bytes_that_left_and_needs_the_key() -> None:
    kept = Kept()
    transport = sent(Prompt("Hello.", (Turn("user", "Hi"),)), kept)
    (opened,) = [record for record in kept.records if isinstance(record, CallOpened)]
    body = transport.requests[0].content
    assert opened.sent == letters_of(hmac.new(HASH_KEY, body, hashlib.sha256).digest())
    assert opened.sent != letters_of(hashlib.sha256(body).digest())


def test_a_call_that_cannot_be_recorded_is_not_made() -> None:
    class Full(Kept):
        async def opened(self, record: CallOpened) -> None:
            raise OSError("disk full")

    transport = by_host({"openai": stream_of("openai", [WORDS])})

    async def talk() -> None:
        egress = Egress(Full(), HASH_KEY, lambda: 0, loop_seconds, transport)
        await words_of(Router([spec("openai"), spec("gemini")], egress, loop_seconds))

    with pytest.raises(ModelFailed) as failed:
        run_virtually(talk())
    assert failed.value.kind is FailureKind.NOT_RECORDED
    assert transport.requests == []


@pytest.mark.parametrize("is_full", [False, True])
def test_who_is_cancelled_while_a_call_is_put_on_record_leaves_one_that_ended_and_was_judged_or_none(
    is_full: bool,
) -> None:
    class Slow(Kept):
        async def opened(self, record: CallOpened) -> None:
            await asyncio.sleep(5)
            if is_full:
                raise OSError("disk full")
            self.records.append(record)

    kept, transport = Slow(), by_host({"openai": stream_of("openai", [WORDS])})

    async def talk() -> None:
        router = Router([spec("openai")], egress_of(transport, kept), loop_seconds)
        task = asyncio.create_task(words_of(router))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kept.records == []
        await asyncio.sleep(9)

    run_virtually(talk())
    assert transport.requests == []
    assert reconcile(kept.records) == []
    assert [type(record) for record in kept.records] == ([] if is_full else [CallOpened, CallEnded, CallJudged])


def test_the_key_stands_in_one_header_and_nowhere_else(tmp_path: Path) -> None:
    key_file = tmp_path / "model.key"
    key_file.write_text("sk-secret-of-tests\n")
    key_file.chmod(0o600)
    for place, header in enumerate(("authorization", "x-api-key", "x-goog-api-key")):
        kept = Kept()
        (request,) = sent(Prompt("Hi", (Turn("user", "Hi"),)), kept, key_file, place).requests
        holding = [name for name, value in request.headers.items() if "sk-secret" in value]
        assert holding == [header]
        assert "sk-secret" not in str(request.url)
        assert b"sk-secret" not in request.content
        assert "sk-secret" not in repr(kept.records)


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    key_file = tmp_path / "model.key"
    assert read_key(key_file) is None
    key_file.write_text("sk-secret-of-tests")
    key_file.chmod(0o644)
    with pytest.raises(ModelFailed) as failed:
        sent(Prompt("Hi", (Turn("user", "Hi"),)), Kept(), key_file)
    assert failed.value.kind is FailureKind.NO_KEY


def test_a_redirect_is_not_followed() -> None:
    transport = by_host({"openai": fault("redirect", "openai")})

    async def talk() -> None:
        await words_of(Router([spec("openai")], egress_of(transport, Kept()), loop_seconds))

    with pytest.raises(ModelFailed):
        run_virtually(talk())
    assert [request.url.host for request in transport.requests] == ["openai.example"]


def test_records_come_back_from_their_file_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    transport = by_host({"openai": Script(status=500), "gemini": stream_of("gemini", [WORDS])})

    async def talk() -> None:
        egress = Egress(JsonLinesRecorder(path), HASH_KEY, lambda: 7, loop_seconds, transport)
        await words_of(Router([spec("openai"), spec("gemini")], egress, loop_seconds))

    run_virtually(talk())
    records = read_records(path)
    assert len(records) == 6
    assert reconcile(records) == []
    assert reconcile(records[1:]) != []
    assert WORDS not in path.read_text()


GOOD = {"name": "first", "dialect": "openai", "base_url": "https://models.example/v1", "model": "small-1"}


def test_a_file_of_models_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"models": [GOOD, {**GOOD, "name": "second", "key_file": "keys/second.key"}]}))
    first, second = load_specs(path)
    assert (first.name, first.key_file) == ("first", None)
    assert second.key_file == tmp_path / "keys" / "second.key"
    assert ModelSpec("a", "openai", "u", "m", None, 1, 1).cost_micros(1, 0) == 1, "rounded up"


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://models.example"},
        {"base_url": "https://user:secret@models.example"},
        {"base_url": "https://models.example?key=secret"},
        {"base_url": "file:///etc"},
        {"dialect": "telepathy"},
        {"name": "../x"},
        {"api_key": "secret"},
        {"input_micros_per_million": -1},
    ],
)
def test_a_file_of_models_that_is_not_as_it_should_be_is_refused_without_its_values(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"models": [{**GOOD, **change}]}))
    with pytest.raises(SpecsInvalid) as refused:
        load_specs(path)
    assert "secret" not in str(refused.value)
    for text in ("{", "[]", json.dumps({"models": [GOOD, GOOD]})):
        path.write_text(text)
        with pytest.raises(SpecsInvalid):
            load_specs(path)


def test_only_whole_seconds_are_taken_as_a_time_to_wait() -> None:
    given_ = ["3", " 7 ", "99999999999", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "٣", "", None]
    assert [retry_after(value) for value in given_] == [3.0, 7.0, 600.0, None, None, None, None, None, None]


LINES = st.sampled_from(["data: a", "data:b", "data", "event: x", ": comment", "id: 7", "", "data: ü€", "other: y"])


@settings(deadline=None)
@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 80), max_size=6))
def test_events_do_not_depend_on_where_the_bytes_were_cut(lines: list[str], end: str, cuts: list[int]) -> None:
    content = "".join(line + end for line in [*lines, "data: last", "", ""]).encode()
    whole = list(SseParser().feed(content + b"\n"))
    parser, found, start = SseParser(), list[SseEvent](), 0
    for cut in [*sorted(min(cut, len(content)) for cut in cuts), len(content)]:
        found += parser.feed(content[start:cut])
        start = cut
    found += parser.feed(b"\n")
    assert found == whole
    assert found[-1].data.endswith("last")
