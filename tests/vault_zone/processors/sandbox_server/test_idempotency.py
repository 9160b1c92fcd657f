"""At most one charge for each idempotency key: under concurrency, after a lost reply, after a restart."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.vault_zone.processors.sandbox_server.world import CHALLENGE, SLOW, World, charge, charge_body
from vault_zone.processors.sandbox_server.once import Claims
from vault_zone.processors.sandbox_server.store import Store

pytestmark = pytest.mark.anyio


class NoClaims(Claims):
    """The first guard, removed."""

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        yield


def forget_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second guard, removed: the key is not looked up, and two answers to one key are no conflict."""
    store._database.execute("DROP TABLE answers")
    store._database.execute("CREATE TABLE answers (key_hash, fingerprint, object_id, answer)")
    monkeypatch.setattr(store, "answer_to", lambda key: None)


async def two_at_once(world: World) -> list[httpx.Response]:
    """Two requests with one key, both past the door before either has had its effect."""
    async with world.client() as client:
        await client.post("/sandbox/faults", json={"mode": "delay_before", "times": 2, "delay_seconds": 5})
        first = asyncio.create_task(charge(client))
        await world.gate.arrival()
        second = asyncio.create_task(charge(client))
        held = asyncio.create_task(world.gate.arrival())  # a guarded second is refused, an unguarded one waits too
        await asyncio.wait([second, held], return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        world.gate.open()
        return list(await asyncio.gather(first, second))


async def test_the_second_of_two_simultaneous_requests_is_told_to_come_back_and_there_is_one_charge(
    world: World,
) -> None:
    first, second = await two_at_once(world)
    assert first.json()["status"] == "succeeded"
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert second.headers["Retry-After"] == "1"
    assert world.count() == 1


async def test_without_the_first_guard_the_second_still_keeps_it_at_one_charge(tmp_path: Path) -> None:
    world = World(tmp_path / "data", NoClaims())
    first, second = await two_at_once(world)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert world.count() == 1
    world.store.close()


async def test_without_both_guards_there_would_be_two_charges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "data", NoClaims())
    forget_answers(world.store, monkeypatch)
    await two_at_once(world)
    assert world.count() == 2
    world.store.close()


async def test_fifty_simultaneous_requests_with_one_key_make_one_charge(world: World) -> None:
    async with world.served() as client:
        answers = await asyncio.gather(*(charge(client) for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    assert world.count() == 1


async def test_requests_with_different_keys_do_not_wait_for_each_other(world: World) -> None:
    async with world.client() as client:
        slow = asyncio.create_task(charge(client, key="slow", number=SLOW))
        await world.gate.arrival()
        assert (await charge(client, key="quick")).status_code == 200
        world.gate.open()
        await slow
    assert world.count() == 2


async def test_a_repeated_key_gets_the_original_answer_and_says_so(world: World) -> None:
    async with world.client() as client:
        first = await charge(client)
        world.now += 86_400_000
        second = await charge(client)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.content == first.content
    assert world.count() == 1


async def test_a_repeated_key_gets_the_original_answer_after_a_restart(world: World) -> None:
    async with world.client() as client:
        first = await charge(client)
    world.restart()
    async with world.client() as client:
        second = await charge(client)
        conflict = await charge(client, amount_minor=1)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.content == first.content
    assert conflict.status_code == 409
    assert world.count() == 1


async def test_a_repeated_key_gets_the_original_answer_even_when_the_challenge_has_ended_since(world: World) -> None:
    async with world.client() as client:
        first = await charge(client, number=CHALLENGE)
        await client.post(first.json()["action"]["url"], data={"outcome": "approve"})
        second = await charge(client, number=CHALLENGE)
        now = await client.get(f"/v1/charges/{first.json()['id']}")
    assert second.content == first.content
    assert now.json()["status"] == "succeeded"


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 12_351},
        {"currency": "USD"},
        {"reference": "chg_two"},
        {"merchant": "Another"},
        {"return_url": "https://shop.example/other"},
        {"description": "A tent"},
        {"number": "4000056655665556"},
        {"card": {"exp_month": 11}},
        {"card": {"name": "Ada Lovelace"}},
    ],
)
async def test_the_same_key_with_another_body_is_a_conflict(world: World, change: dict[str, Any]) -> None:
    async with world.client() as client:
        await charge(client)
        conflict = await charge(client, **change)
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert world.count() == 1


async def test_a_retry_that_has_forgotten_the_cvc_is_the_same_request(world: World) -> None:
    async with world.client() as client:
        first = await charge(client)
        second = await charge(client, card={"cvc": None})
    assert second.content == first.content


async def test_the_order_of_the_fields_does_not_make_another_body(world: World) -> None:
    async with world.client() as client:
        first = await charge(client)
        reordered = dict(reversed(list(charge_body().items())))
        second = await client.post("/v1/charges", json=reordered, headers={"Idempotency-Key": "key-1"})
    assert second.content == first.content


async def test_a_refused_request_does_not_use_up_its_key(world: World) -> None:
    async with world.client() as client:
        assert (await charge(client, amount_minor=0)).status_code == 422
        assert (await charge(client)).status_code == 200


async def test_keys_of_any_characters_are_kept_apart(world: World) -> None:
    async with world.client() as client:
        for key in ("a", "A", "ä", "x" * 255):
            headers = [(b"Idempotency-Key", key.encode("latin-1"))]
            answer = await client.post("/v1/charges", json=charge_body(), headers=headers)
            assert answer.status_code == 200
    assert world.count() == 4


def test_what_is_committed_is_on_disk(world: World) -> None:
    (journal,) = world.store._database.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = world.store._database.execute("PRAGMA synchronous").fetchone()
    assert (journal, synchronous) == ("wal", 2)  # 2 is FULL: SQLite's documentation of the pragma


async def test_charge_answer_and_event_are_kept_together_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(world.store, "_insert_event", _disk_full)
            assert (await charge(client)).status_code == 500
        assert (world.count(), world.store.answer_to("key-1"), world.store.event_states()) == (0, None, {})
        assert (await charge(client)).json()["status"] == "succeeded"


def _disk_full(_: object) -> None:
    raise OSError
