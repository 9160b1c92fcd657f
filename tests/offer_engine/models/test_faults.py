"""Whatever providers do, an offer is presented within its deadline, grounded, and every call has one end and one verdict."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from offer_engine.models.breaker import Breaker
from offer_engine.models.dialects import DIALECTS
from offer_engine.models.egress import Egress
from offer_engine.models.events import FailureKind, ModelFailed, Text, Usage
from offer_engine.models.hedging import Hedging
from offer_engine.models.records import CallEnded, CallJudged, CallOpened, Occasion, reconcile
from offer_engine.models.router import Router
from offer_engine.models.specs import DialectName, ModelSpec
from offer_engine.models.sse import SseEvent
from tests.offer_engine.fake_provider import FAULTS, LIE, WORDS, Script, app_of, fault, pieces, stream_of
from tests.offer_engine.models.world import (
    DIALECT_NAMES,
    HASH_KEY,
    PROMPT,
    Kept,
    by_host,
    egress_of,
    presented,
    spec,
    words_of,
)
from tests.offer_engine.virtual_time import loop_seconds, run_virtually
from tokenization.clock import monotonic_seconds

EXPECTED = {
    "rate limit": FailureKind.RATE_LIMITED,
    "server error": FailureKind.SERVER_ERROR,
    "bad key": FailureKind.REJECTED,
    "redirect": FailureKind.REJECTED,
    "refused": FailureKind.UNREACHABLE,
    "stall before": FailureKind.STALLED,
    "stall inside": FailureKind.STALLED,
    "truncated": FailureKind.TRUNCATED,
    "ends early": FailureKind.TRUNCATED,
    "bad json": FailureKind.GARBAGE,
    "not text": FailureKind.GARBAGE,
    "other shape": FailureKind.GARBAGE,
    "empty": FailureKind.TRUNCATED,
    "endless line": FailureKind.TOO_LARGE,
    "silence": FailureKind.TRUNCATED,
}


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_each_provider_s_stream_is_read_with_its_tokens_and_cost(dialect: DialectName) -> None:
    kept = Kept()

    async def talk() -> str:
        egress = egress_of(by_host({dialect: stream_of(dialect, pieces(WORDS))}), kept)
        return await words_of(Router([spec(dialect)], egress, loop_seconds))

    assert run_virtually(talk()) == WORDS
    (ended,) = [record for record in kept.records if isinstance(record, CallEnded)]
    assert (ended.outcome, ended.input_tokens, ended.output_tokens) == ("ok", 300, 40)
    assert ended.cost_micros == 69  # 300 × 0.15 + 40 × 0.60 millionths
    assert reconcile(kept.records) == []


@pytest.mark.parametrize("told", [10**30, 10**9 + 1, -1, True, 3.0, "300", None])
def test_a_count_of_tokens_that_no_text_comes_to_is_not_believed(told: object) -> None:
    stream = {"choices": [], "usage": {"prompt_tokens": told, "completion_tokens": 10**9}}
    assert list(DIALECTS["openai"].read(SseEvent("", json.dumps(stream)))) == [Usage(None, 10**9)]


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_an_error_that_a_server_says_there_is_none_of_is_none(dialect: DialectName) -> None:
    told: dict[str, dict[str, Any]] = {
        "openai": {"error": None, "choices": [{"delta": {"content": "Hello"}}]},
        "gemini": {"error": None, "candidates": [{"content": {"parts": [{"text": "Hello"}]}}]},
    }
    assert list(DIALECTS[dialect].read(SseEvent("", json.dumps(told[dialect])))) == [Text("Hello")]
    with pytest.raises(ModelFailed):
        list(DIALECTS[dialect].read(SseEvent("", json.dumps({**told[dialect], "error": {"code": 500}}))))


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize("name", EXPECTED)
def test_each_fault_has_its_kind(name: str, dialect: DialectName) -> None:
    kept = Kept()

    async def talk() -> None:
        egress = egress_of(by_host({dialect: fault(name, dialect)}), kept)
        await words_of(Router([spec(dialect)], egress, loop_seconds))

    with pytest.raises(ModelFailed) as failed:
        run_virtually(talk())
    assert failed.value.kind is EXPECTED[name] or (name == "other shape" and dialect != "openai")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize("name", FAULTS)
def test_an_offer_is_presented_within_its_deadline_whatever_a_provider_does(
    name: str, dialect: DialectName, streamed: bool
) -> None:
    kept = Kept()

    async def talk() -> None:
        egress = egress_of(by_host({dialect: fault(name, dialect)}), kept)
        router = Router([spec(dialect)], egress, loop_seconds)
        outcome, seconds = await presented(router, deadline_seconds=4.0, streamed=streamed)
        assert seconds <= 4.0
        assert "Kettle week" in outcome.text
        assert "$67.15" in outcome.text
        assert "guaranteed" not in outcome.text
        assert "$1," not in outcome.text

    run_virtually(talk())
    assert reconcile(kept.records) == []
    assert kept.records


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {"drip", "ungrounded", "ungrounded later"}])
def test_another_provider_answers_where_the_first_fails(name: str) -> None:
    kept = Kept()

    async def talk() -> None:
        scripts = {"openai": fault(name, "openai"), "gemini": stream_of("gemini", pieces(WORDS))}
        egress = egress_of(by_host(scripts), kept, stall_seconds=2.0)
        router = Router([spec("openai"), spec("gemini")], egress, loop_seconds)
        outcome, seconds = await presented(router, deadline_seconds=9.0)
        assert seconds < 9.0
        assert "Kettle week is here." in outcome.text
        assert outcome.by in {"model", "both"}

    run_virtually(talk())
    assert reconcile(kept.records) == []


def test_one_that_breaks_off_is_followed_after_the_last_whole_sentence() -> None:
    kept = Kept()
    first = "{{offer.1.title}} is here. With it you"
    rest = "It brings you {{offer.1.benefit}}."

    async def talk() -> str:
        scripts = {"openai": stream_of("openai", [first], ends=False), "gemini": stream_of("gemini", [rest])}
        transport = by_host(scripts)
        specs = [spec("openai"), spec("gemini")]
        router = Router(specs, egress_of(transport, kept), loop_seconds)
        outcome, _ = await presented(router)
        assert outcome.by == "model"
        assert b"{{offer.1.title}} is here." in transport.requests[1].content, "the other is told what was said"
        return outcome.text

    assert run_virtually(talk()).startswith("Kettle week is here. It brings you 15% off.")
    assert [record.verdict for record in kept.records if isinstance(record, CallJudged)] == ["truncated", "ok"]


def test_who_asks_to_be_left_alone_is_left_alone_so_long() -> None:
    async def talk() -> tuple[list[int], float]:
        transport = by_host({"openai": fault("rate limit", "openai"), "gemini": stream_of("gemini", [WORDS])})
        router = Router([spec("openai"), spec("gemini")], egress_of(transport, Kept()), loop_seconds)
        asked = []
        for seconds in (0, 10, 15, 10):  # 30 were asked for
            await asyncio.sleep(seconds)
            await words_of(router)
            asked.append(sum(request.url.host == "openai.example" for request in transport.requests))
        return asked, loop_seconds()

    assert run_virtually(talk())[0] == [1, 1, 1, 2]


def test_who_fails_three_times_in_a_row_pauses_and_then_one_call_tries() -> None:
    async def talk() -> list[int]:
        transport = by_host({"openai": fault("server error", "openai"), "gemini": stream_of("gemini", [WORDS])})
        router = Router([spec("openai"), spec("gemini")], egress_of(transport, Kept()), loop_seconds)
        asked = []
        for seconds in (0, 0, 0, 0, 1, 5, 0, 9, 2):
            await asyncio.sleep(seconds)
            await asyncio.gather(words_of(router), words_of(router)) if seconds == 5 else await words_of(router)
            asked.append(sum(request.url.host == "openai.example" for request in transport.requests))
        return asked

    assert run_virtually(talk()) == [1, 2, 3, 3, 3, 4, 4, 4, 5]


def test_with_nobody_left_to_ask_it_says_so_at_once() -> None:
    async def talk() -> None:
        transport = by_host({"openai": fault("rate limit", "openai")})
        router = Router([spec("openai")], egress_of(transport, Kept()), loop_seconds)
        with pytest.raises(ModelFailed) as first:
            await words_of(router)
        with pytest.raises(ModelFailed) as second:
            await words_of(router)
        assert [first.value.kind, second.value.kind] == [FailureKind.RATE_LIMITED, FailureKind.NONE_LEFT]

    run_virtually(talk())


def test_a_slow_one_is_joined_by_another_and_the_loser_is_cancelled() -> None:
    kept = Kept()

    async def talk() -> float:
        slow = Script(stream_of("openai", [WORDS]).pieces, before_seconds=60)
        scripts = {"openai": slow, "gemini": stream_of("gemini", [WORDS])}
        router = Router([spec("openai"), spec("gemini")], egress_of(by_host(scripts), kept, 100), loop_seconds)
        assert await words_of(router) == WORDS
        return loop_seconds()

    assert run_virtually(talk()) == pytest.approx(1.5)
    assert [record.outcome for record in kept.records if isinstance(record, CallEnded)] == ["cancelled", "ok"]
    assert sorted(record.verdict for record in kept.records if isinstance(record, CallJudged)) == ["lost_race", "ok"]
    assert reconcile(kept.records) == []


def test_hedges_are_bounded_by_what_calls_have_earned() -> None:
    kept = Kept()
    calls = 60

    async def talk() -> None:
        slow = Script(stream_of("openai", [WORDS]).pieces, before_seconds=60)
        scripts = {"openai": slow, "gemini": stream_of("gemini", [WORDS])}
        router = Router([spec("openai"), spec("gemini")], egress_of(by_host(scripts), kept, 100), loop_seconds)
        for _ in range(calls):
            await words_of(router)

    run_virtually(talk())
    hedges = sum(isinstance(record, CallOpened) and record.provider == "gemini" for record in kept.records)
    assert 1 < hedges <= 1 + calls * 0.1 + 1
    assert reconcile(kept.records) == []


def by_a_model_beside_one_that_hangs(texts: int) -> tuple[int, Kept]:
    """Of so many texts, one every ten seconds, those that a model worded while the first that is asked never answers."""
    kept = Kept()

    async def talk() -> int:
        scripts = {
            "openai": fault("stall before", "openai"),
            "gemini": replace(fault("none", "gemini"), before_seconds=0.5),
        }
        router = Router([spec("openai"), spec("gemini")], egress_of(by_host(scripts), kept), loop_seconds)
        worded = 0
        for _ in range(texts):
            outcome, took_seconds = await presented(router, 6.0)
            assert took_seconds <= 6.0
            worded += outcome.by == "model"
            await asyncio.sleep(10.0)
        return worded

    return run_virtually(talk()), kept


def test_one_that_hangs_longer_than_anybody_waits_pauses_and_the_next_is_asked_at_once() -> None:
    worded, kept = by_a_model_beside_one_that_hangs(100)
    assert worded > 80
    asked = [record.provider for record in kept.records if isinstance(record, CallOpened)]
    assert asked.count("openai") < 25
    assert reconcile(kept.records) == []


def test_planted_fault_a_breaker_that_is_not_told_of_those_given_up_asks_the_one_that_hangs_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Breaker, "failed", lambda breaker, *_: breaker.abandoned())
    worded, kept = by_a_model_beside_one_that_hangs(100)
    assert worded < 20
    assert reconcile(kept.records) == []


def test_one_that_is_given_up_before_it_is_late_is_not_blamed() -> None:
    async def talk() -> str:
        scripts = {"openai": replace(fault("none", "openai"), before_seconds=1.2)}
        router = Router([spec("openai")], egress_of(by_host(scripts), Kept()), loop_seconds)
        for _ in range(10):
            outcome, _ = await presented(router, 1.0)
            assert outcome.verdicts == ("deadline",)
        return await words_of(router)

    assert run_virtually(talk()) == WORDS


def test_the_wait_for_another_does_not_grow_with_those_that_were_given_up() -> None:
    hedging = Hedging()
    for _ in range(300):
        hedging.saw(hedging.wait_seconds() + 1.0)
    assert hedging.wait_seconds() == 3.0


def test_a_presentation_that_is_abandoned_leaves_no_call_without_its_end() -> None:
    kept = Kept()

    async def talk() -> None:
        slow = Script(stream_of("openai", [WORDS]).pieces, before_seconds=60)
        scripts = {"openai": slow, "gemini": slow}
        router = Router([spec("openai"), spec("gemini")], egress_of(by_host(scripts), kept, 100), loop_seconds)
        for seconds in (0.0, 0.5, 1.5, 2.0):
            task = asyncio.create_task(words_of(router))
            await asyncio.sleep(seconds)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_virtually(talk())
    assert reconcile(kept.records) == []


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        return


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The fake provider on loopback: the path says the fault."""

    def script(path: str) -> Script:
        name = path.split("/")[1].replace("-", " ")
        return fault(name, "openai")

    running = _Server(uvicorn.Config(app_of(script), host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        thread.join(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(10)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, kind in EXPECTED.items() if name not in {"refused", "stall before", "stall inside"}],
)
def test_faults_on_real_sockets_have_the_same_kinds(server: str, name: str, kind: FailureKind) -> None:
    kept = Kept()

    async def talk() -> None:
        egress = Egress(kept, HASH_KEY, lambda: 0, monotonic_seconds)
        try:
            one = ModelSpec("local", "openai", f"{server}/{name.replace(' ', '-')}", "small-1")
            with pytest.raises(ModelFailed) as failed:
                await words_of(Router([one], egress, monotonic_seconds))
            assert failed.value.kind is kind
            good = ModelSpec("local", "openai", f"{server}/none", "small-1")
            assert await words_of(Router([good], egress, monotonic_seconds)) == WORDS
        finally:
            await egress.close()

    asyncio.run(talk())


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    async def talk() -> None:
        egress = Egress(Kept(), HASH_KEY, lambda: 0, monotonic_seconds)
        with pytest.raises(ModelFailed) as failed:
            await words_of(Router([ModelSpec("local", "openai", "http://127.0.0.1:9", "m")], egress, monotonic_seconds))
        assert failed.value.kind is FailureKind.UNREACHABLE
        await egress.close()

    asyncio.run(talk())


def test_a_planted_router_that_does_not_hedge_is_seen() -> None:
    async def talk(hedges: bool) -> float:
        slow = Script(stream_of("openai", [WORDS]).pieces, before_seconds=60)
        scripts = {"openai": slow, "gemini": stream_of("gemini", [WORDS])}
        egress = egress_of(by_host(scripts), Kept(), 100)
        await words_of(Router([spec("openai"), spec("gemini")], egress, loop_seconds, hedges=hedges))
        return loop_seconds()

    assert run_virtually(talk(hedges=False)) == pytest.approx(60)
    assert run_virtually(talk(hedges=True)) < 2


def test_a_planted_verdict_that_is_forgotten_is_seen() -> None:
    kept = Kept()

    async def talk() -> None:
        router = Router([spec("openai")], egress_of(by_host({"openai": fault("none", "openai")}), kept), loop_seconds)
        async for _ in router.ask(PROMPT, Occasion("test")).words():
            pass

    run_virtually(talk())
    assert [problem.partition(": ")[2] for problem in reconcile(kept.records)] == ["judged 0 times"]
    assert LIE
