"""Captures, voids and refunds: what each comes to, and that no two of them together get more than there is."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.vault_zone.processors.sandbox_server.test_idempotency import NoClaims, forget_answers
from tests.vault_zone.processors.sandbox_server.world import (
    CHALLENGE,
    FAILING_REFUND,
    LATE_REFUND,
    START,
    VISA,
    World,
    charge,
    modify,
)
from vault_zone.processors.sandbox_server import books
from vault_zone.processors.sandbox_server.books import Books
from vault_zone.processors.sandbox_server.objects import Charge, Entry, Kind, ModificationDecline, Status
from vault_zone.processors.sandbox_server.store import Effects
from vault_zone.processors.sandbox_server.timing import Timing
from vault_zone.processors.sandbox_server.wire import ModificationOrder

pytestmark = pytest.mark.anyio

AUTHORIZED: dict[str, Any] = {"capture": False}


async def held(client: httpx.AsyncClient, **body: Any) -> str:
    """The id of a charge of 123.50 that is authorized."""
    return str((await charge(client, **{**AUTHORIZED, **body})).json()["id"])


async def taken(client: httpx.AsyncClient, **body: Any) -> str:
    return str((await charge(client, **body)).json()["id"])


async def outcome(
    client: httpx.AsyncClient, charge_id: str, kind: str, key: str, **body: Any
) -> tuple[str, str | None]:
    content = (await modify(client, charge_id, kind, key, **body)).json()
    return content["status"], content.get("decline_code")


async def amounts(client: httpx.AsyncClient, charge_id: str) -> tuple[str, int, int, int]:
    content = (await client.get(f"/v1/charges/{charge_id}")).json()
    return content["status"], content["capturable_minor"], content["captured_minor"], content["refunded_minor"]


async def types(world: World) -> list[str]:
    """The types of the events so far."""
    await world.courier.deliver_due()
    return [event["type"] for event in world.receiver.events()]


async def test_an_authorized_charge_holds_the_money_and_takes_none(world: World) -> None:
    async with world.client() as client:
        content = (await charge(client, **AUTHORIZED)).json()
    assert (content["status"], content["capturable_minor"], content["captured_minor"]) == ("authorized", 12_350, 0)
    assert content["expires_at"] == "2026-11-25T11:06:40.000Z"
    assert await types(world) == ["charge.authorized"]


async def test_a_capture_without_an_amount_takes_all_that_is_held(world: World) -> None:
    async with world.client() as client:
        charge_id = await held(client)
        content = (await modify(client, charge_id, "capture", "cap_a")).json()
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 0)
    assert content == {
        "id": content["id"],
        "object": "modification",
        "kind": "capture",
        "reference": "cap_a",
        "charge": charge_id,
        "charge_reference": "chg_one",
        "status": "succeeded",
        "amount_minor": 12_350,
        "currency": "EUR",
        "created_at": "2026-11-18T11:06:40.000Z",
        "sandbox": True,
        "final": True,
    }
    assert await types(world) == ["charge.authorized", "capture.succeeded", "charge.succeeded"]


async def test_captures_that_are_not_final_leave_the_rest_held_and_the_final_one_lets_it_go(world: World) -> None:
    async with world.client() as client:
        charge_id = await held(client)
        assert await outcome(client, charge_id, "capture", "a", amount_minor=5_000, final=False) == ("succeeded", None)
        assert await amounts(client, charge_id) == ("succeeded", 7_350, 5_000, 0)
        assert await outcome(client, charge_id, "capture", "b", amount_minor=1_000) == ("succeeded", None)
        assert await amounts(client, charge_id) == ("succeeded", 0, 6_000, 0)
        assert await outcome(client, charge_id, "capture", "c") == ("declined", "already_captured")
    assert (await types(world)).count("charge.succeeded") == 1


async def test_a_void_lets_the_money_go_and_nothing_follows_it(world: World) -> None:
    async with world.client() as client:
        charge_id = await held(client)
        assert await outcome(client, charge_id, "void", "a") == ("succeeded", None)
        assert await outcome(client, charge_id, "void", "b") == ("declined", "already_voided")
        assert await outcome(client, charge_id, "capture", "c") == ("declined", "already_voided")
        assert await outcome(client, charge_id, "refund", "d") == ("declined", "nothing_captured")
        assert await amounts(client, charge_id) == ("voided", 0, 0, 0)
    assert (await types(world))[:3] == ["charge.authorized", "void.succeeded", "charge.voided"]


async def test_a_void_ends_a_challenge_that_was_not_answered_and_a_late_approval_takes_nothing(world: World) -> None:
    async with world.client() as client:
        made = (await charge(client, number=CHALLENGE)).json()
        assert await outcome(client, made["id"], "capture", "a") == ("declined", "authentication_pending")
        assert await outcome(client, made["id"], "void", "b") == ("succeeded", None)
        late = await client.post(made["action"]["url"], data={"outcome": "approve"})
        page = (await client.get(made["action"]["url"])).text
        assert await amounts(client, made["id"]) == ("voided", 0, 0, 0)
    assert late.status_code == 303
    assert "<h1>No longer needed</h1>" in page
    assert "<button" not in page


async def test_an_approved_challenge_of_a_charge_to_be_captured_later_holds_the_money(world: World) -> None:
    async with world.client() as client:
        made = (await charge(client, number=CHALLENGE, **AUTHORIZED)).json()
        await client.post(made["action"]["url"], data={"outcome": "approve"})
        page = (await client.get(made["action"]["url"])).text
        assert await amounts(client, made["id"]) == ("authorized", 12_350, 0, 0)
    assert "<h1>Payment confirmed</h1>" in page


async def test_refunds_may_be_in_part_and_many_up_to_what_was_captured(world: World) -> None:
    async with world.client() as client:
        charge_id = await taken(client)
        assert await outcome(client, charge_id, "refund", "a", amount_minor=5_000) == ("succeeded", None)
        assert await outcome(client, charge_id, "refund", "b", amount_minor=5_000) == ("succeeded", None)
        too_much = await outcome(client, charge_id, "refund", "c", amount_minor=5_000)
        assert too_much == ("declined", "amount_exceeds_refundable")
        assert await outcome(client, charge_id, "refund", "d") == ("succeeded", None)
        assert await outcome(client, charge_id, "refund", "e") == ("declined", "already_refunded")
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 12_350)


DECLINED: list[tuple[dict[str, Any], str, dict[str, Any], ModificationDecline]] = [
    (AUTHORIZED, "capture", {"amount_minor": 12_351}, ModificationDecline.AMOUNT_EXCEEDS_CAPTURABLE),
    (AUTHORIZED, "capture", {"currency": "USD"}, ModificationDecline.CURRENCY_MISMATCH),
    (AUTHORIZED, "refund", {}, ModificationDecline.NOTHING_CAPTURED),
    ({}, "capture", {}, ModificationDecline.ALREADY_CAPTURED),
    ({}, "void", {}, ModificationDecline.ALREADY_CAPTURED),
    ({}, "refund", {"amount_minor": 12_351}, ModificationDecline.AMOUNT_EXCEEDS_REFUNDABLE),
    ({}, "refund", {"currency": "USD"}, ModificationDecline.CURRENCY_MISMATCH),
    ({"number": "4000000000000002"}, "capture", {}, ModificationDecline.CHARGE_DECLINED),
    ({"number": "4000000000000002"}, "void", {}, ModificationDecline.CHARGE_DECLINED),
    ({"number": "4000000000000259"}, "refund", {}, ModificationDecline.CHARGE_DISPUTED),
]


@pytest.mark.parametrize(("made", "kind", "body", "code"), DECLINED)
async def test_what_may_not_be_is_declined_recorded_and_without_effect(
    world: World, made: dict[str, Any], kind: str, body: dict[str, Any], code: ModificationDecline
) -> None:
    async with world.client() as client:
        charge_id = await taken(client, **made)
        before = await amounts(client, charge_id)
        assert await outcome(client, charge_id, kind, "mod_a", **body) == ("declined", code)
        assert await amounts(client, charge_id) == before
        found = (await client.get("/v1/modifications", params={"reference": "mod_a"})).json()["modifications"]
    assert [each["decline_code"] for each in found] == [code]
    assert (await types(world))[-1] == f"{kind}.declined"


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("capture", {"amount_minor": 0}, "amount_minor"),
        ("capture", {"final": "yes"}, "final"),
        ("refund", {"amount_minor": 1.5}, "amount_minor"),
        ("refund", {"currency": "eur"}, "currency"),
        ("refund", {"reference": VISA}, "reference"),
        ("void", {"amount_minor": 5}, "amount_minor"),
    ],
)
async def test_a_wrong_field_is_refused_and_uses_up_no_key(
    world: World, kind: str, body: dict[str, Any], field: str
) -> None:
    async with world.client() as client:
        charge_id = await held(client)
        refused = await modify(client, charge_id, kind, "mod_a", **body)
        missing = await modify(client, "sbx_ch_none", kind, "mod_a")
        keyless = await client.post(f"/v1/charges/{charge_id}/void", json={"reference": "a"})
        assert (await modify(client, charge_id, "void", "mod_a")).json()["status"] == "succeeded"
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
    assert f"Look at: {field}." in refused.json()["error"]["message"]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (keyless.status_code, keyless.json()["error"]["code"]) == (400, "idempotency_key_required")


async def test_a_repeated_key_gets_the_original_answer_and_another_body_a_conflict_also_after_a_restart(
    world: World,
) -> None:
    async with world.client() as client:
        charge_id = await taken(client)
        first = await modify(client, charge_id, "refund", amount_minor=5_000)
    world.restart()
    async with world.client() as client:
        second = await modify(client, charge_id, "refund", amount_minor=5_000)
        others = [
            await modify(client, charge_id, "refund", amount_minor=5_001),
            await modify(client, charge_id, "refund", amount_minor=5_000, reference="another"),
            await modify(client, charge_id, "void"),
            await modify(client, "sbx_ch_other", "refund", amount_minor=5_000),
            await charge(client, key="key-m"),
        ]
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 5_000)
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert {each.json()["error"]["code"] for each in others} == {"idempotency_conflict"}


async def two_at_once(world: World, kind: str, *bodies: dict[str, Any]) -> tuple[list[httpx.Response], str]:
    """Both are past the door before either has its effect."""
    async with world.client() as client:
        charge_id = await held(client) if kind == "capture" else await taken(client)
        delay = {"mode": "delay_before", "times": 2, "delay_seconds": 5, "operation": kind}
        await client.post("/sandbox/faults", json=delay)
        first = asyncio.create_task(modify(client, charge_id, kind, **bodies[0]))
        await world.gate.arrival()
        second = asyncio.create_task(modify(client, charge_id, kind, **bodies[1]))
        arrived = asyncio.create_task(world.gate.arrival())
        await asyncio.wait([second, arrived], return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        world.gate.open()
        return list(await asyncio.gather(first, second)), charge_id


async def test_the_second_of_two_with_one_key_is_told_to_come_back(world: World) -> None:
    (first, second), charge_id = await two_at_once(world, "refund", {"amount_minor": 1}, {"amount_minor": 1})
    assert first.json()["status"] == "succeeded"
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert (world.store.charge(charge_id) or _no_charge()).refunded_minor == 1


async def test_without_the_first_guard_the_second_still_keeps_it_at_one_refund_and_without_both_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refunded = []
    for name in ("one_guard", "no_guard"):
        world = World(tmp_path / name, NoClaims())
        if name == "no_guard":
            forget_answers(world.store, monkeypatch)
        _, charge_id = await two_at_once(world, "refund", {"amount_minor": 1}, {"amount_minor": 1})
        refunded.append((world.store.charge(charge_id) or _no_charge()).refunded_minor)
        world.store.close()
    assert refunded == [1, 2]


@pytest.mark.parametrize("kind", ["capture", "refund"])
async def test_two_that_together_ask_for_too_much_never_both_get_it(world: World, kind: str) -> None:
    bodies = [{"amount_minor": 7_000, "key": key} for key in ("a", "b")]
    for body in bodies if kind == "capture" else []:
        body["final"] = False
    answers, _ = await two_at_once(world, kind, *bodies)
    assert sorted(answer.json()["status"] for answer in answers) == ["declined", "succeeded"]


async def test_the_store_itself_keeps_nothing_over_its_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault of the test above: a decision that forgets the bounds does not get past the table."""
    monkeypatch.setattr(books, "_refundable", lambda charge, asked: (asked, None))
    async with world.client() as client:
        charge_id = await taken(client)
        answer = await modify(client, charge_id, "refund", amount_minor=12_351)
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 0)
    assert answer.status_code == 500
    assert world.store.all_modifications() == []


@pytest.mark.parametrize(("kind", "before"), [("capture", AUTHORIZED), ("void", AUTHORIZED), ("refund", {})])
@pytest.mark.parametrize(
    ("mode", "status", "effects"),
    [
        ("drop_before", None, 0),
        ("drop_after", None, 1),
        ("error_500", 500, 0),
        ("unavailable", 503, 0),
        ("delay_before", 200, 1),
        ("delay_after", 200, 1),
    ],
)
async def test_each_fault_meets_each_operation_and_a_retry_makes_it_exactly_one(
    world: World, kind: str, before: dict[str, Any], mode: str, status: int | None, effects: int
) -> None:
    world.gate.open()
    async with world.served() as client:
        charge_id = await taken(client, **before)
        await client.post("/sandbox/faults", json={"mode": mode, "delay_seconds": 5, "operation": kind})
        answer = None
        with suppress(httpx.RemoteProtocolError):
            answer = await modify(client, charge_id, kind)
        counted = (await client.get("/sandbox/modifications")).json()["count"]
        retried = await modify(client, charge_id, kind)
    assert (answer and answer.status_code) == status
    assert counted == effects
    assert retried.json()["status"] == "succeeded"
    assert len(world.store.all_modifications()) == 1


async def test_a_fault_of_one_operation_leaves_the_others_alone(world: World) -> None:
    async with world.client() as client:
        for operation in ("void", "query_modification"):
            await client.post("/sandbox/faults", json={"mode": "unavailable", "operation": operation})
        charge_id = await held(client)
        assert (await modify(client, charge_id, "capture", "a")).status_code == 200
        assert (await modify(client, charge_id, "refund", "b")).status_code == 200
        assert (await modify(client, charge_id, "void", "c")).status_code == 503
        assert (await client.get("/v1/charges", params={"reference": "chg_one"})).status_code == 200
        assert (await client.get("/v1/modifications", params={"reference": "a"})).status_code == 503
        assert (await client.get("/v1/modifications", params={"reference": "a"})).status_code == 200


@pytest.mark.parametrize(
    ("number", "status", "code", "refunded"),
    [(LATE_REFUND, "succeeded", None, 5_000), (FAILING_REFUND, "declined", "refund_failed", 0)],
)
async def test_a_late_refund_is_pending_counts_against_the_bounds_and_ends_by_itself(
    world: World, number: str, status: str, code: str | None, refunded: int
) -> None:
    async with world.client() as client:
        charge_id = await taken(client, number=number)
        first = await modify(client, charge_id, "refund", "ref_a", amount_minor=5_000)
        assert first.json()["status"] == "pending"
        over = await outcome(client, charge_id, "refund", "ref_b", amount_minor=7_351)
        assert over == ("declined", "amount_exceeds_refundable")
        world.happenings.end_due()
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 0), "not before its time"
        world.now += 2_000
        world.happenings.end_due()
        world.happenings.end_due()
        [found] = (await client.get("/v1/modifications", params={"reference": "ref_a"})).json()["modifications"]
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, refunded)
        assert (await modify(client, charge_id, "refund", "ref_a", amount_minor=5_000)).content == first.content
    assert (found["status"], found.get("decline_code")) == (status, code)
    events = await types(world)
    assert [each for each in events if each.startswith("refund")] == [
        "refund.pending",
        "refund.declined",
        f"refund.{status}",
    ]


async def test_what_ends_by_itself_does_so_in_the_background_at_its_time(world: World) -> None:
    running = asyncio.create_task(world.happenings.run())
    async with world.client() as client:
        charge_id = await taken(client, number=LATE_REFUND)
        await modify(client, charge_id, "refund")
        await world.gate.arrival()
        assert world.gate.waits == [2.0]
        world.now += 2_000
        await held(client, key="another")  # news, and the time has come
        await world.gate.arrival()  # that was done; now it waits for the end of the other's authorization
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 12_350)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert world.store.next_happening_at() == world.now + 604_800_000


async def test_an_authorization_runs_out_in_time_and_nothing_can_be_captured_even_before_that_was_noticed(
    world: World,
) -> None:
    async with world.client() as client:
        charge_id = await held(client)
        world.now += 604_800_000
        assert await outcome(client, charge_id, "capture", "a") == ("declined", "authorization_expired")
        world.happenings.end_due()
        world.happenings.end_due()
        assert await amounts(client, charge_id) == ("expired", 0, 0, 0)
        assert await outcome(client, charge_id, "void", "b") == ("declined", "authorization_expired")
    assert (await types(world)).count("charge.expired") == 1


async def test_tests_can_let_an_authorization_run_out_at_once(world: World) -> None:
    async with world.client() as client:
        await held(client)
        expired = await client.post("/sandbox/expire", json={"reference": "chg_one"})
        again = await client.post("/sandbox/expire", json={"reference": "chg_one"})
        part = await held(client, key="b", reference="chg_part")
        await modify(client, part, "capture", amount_minor=1, final=False)
        partly = await client.post("/sandbox/expire", json={"reference": "chg_part"})
        waiting = await charge(client, key="c", reference="chg_waiting", number=CHALLENGE)
        given_up = await client.post("/sandbox/expire", json={"reference": "chg_waiting"})
        nothing = await client.post("/sandbox/expire", json={"reference": "chg_none"})
    assert (expired.json()["status"], again.json()) == ("expired", expired.json())
    assert (partly.json()["status"], partly.json()["captured_minor"], partly.json()["capturable_minor"]) == (
        *("succeeded", 1, 0),
    )
    assert (waiting.json()["status"], given_up.json()["status"]) == ("requires_action", "expired")
    assert nothing.status_code == 404


async def test_a_refund_by_hand_has_no_reference(world: World) -> None:
    async with world.client() as client:
        charge_id = await taken(client)
        made = (await client.post("/sandbox/refunds", json={"reference": "chg_one", "amount_minor": 100})).json()
        assert await amounts(client, charge_id) == ("succeeded", 0, 12_350, 100)
    assert (made["status"], made["reference"], made["amount_minor"]) == ("succeeded", None, 100)


MERCHANT = {"initiator": "merchant_unscheduled", "network_reference": "sbx_net_first"}


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (VISA, "succeeded", None),
        ("4000002500003155", "succeeded", None),
        (CHALLENGE, "declined", "authentication_required"),
        ("4000008400001629", "declined", "authentication_required"),
        ("4000000000009995", "declined", "insufficient_funds"),
    ],
)
async def test_a_charge_that_the_merchant_begins_asks_no_shopper(
    world: World, number: str, status: str, code: str | None
) -> None:
    async with world.client() as client:
        content = (await charge(client, number=number, **MERCHANT)).json()
    assert (content["status"], content.get("decline_code"), content["initiator"]) == (
        *(status, code, "merchant_unscheduled"),
    )


async def test_a_charge_that_the_merchant_begins_is_refused_without_the_purchase_that_agreed_to_it(
    world: World,
) -> None:
    async with world.client() as client:
        answer = await charge(client, initiator="merchant_recurring")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert "network_reference" in answer.json()["error"]["message"]
    assert world.count() == 0


def _no_charge() -> Charge:
    raise AssertionError("no such charge")


class BoundsMachine(RuleBasedStateMachine):
    """Any captures, voids, refunds, disputes and expiries in any order, against a model of two sums."""

    def __init__(self) -> None:
        super().__init__()
        ids = iter(range(10**9))
        self.books = Books(
            clock=lambda: START, new_id=lambda: f"id{next(ids)}", public_url="http://a.example", timing=Timing()
        )
        self.charge = _authorized(self.books)
        self.balance = 0
        self.taken = self.back = 0

    def apply(self, effects: Effects | None) -> bool:
        """Whether money moved. The balance follows the lines that were written."""
        if effects is None:
            return False
        self.charge = effects.charge or self.charge
        self.balance += sum(line.gross_minor for line in effects.transactions if line.type is not Entry.FEE)
        return effects.charge is not None

    @rule(amount=st.none() | st.integers(1, 1_200), final=st.booleans())
    def capture(self, amount: int | None, final: bool) -> None:
        before = self.charge
        if self.apply(
            self.books.modified(before, ModificationOrder(Kind.CAPTURE, before.id, "a", amount, None, final))
        ):
            self.taken += amount or before.capturable_minor

    @rule(amount=st.none() | st.integers(1, 1_200))
    def refund(self, amount: int | None) -> None:
        before = self.charge
        if self.apply(self.books.modified(before, ModificationOrder(Kind.REFUND, before.id, "a", amount))):
            self.back += amount or before.refundable_minor

    @rule()
    def void(self) -> None:
        self.apply(self.books.modified(self.charge, ModificationOrder(Kind.VOID, self.charge.id, "a")))

    @rule()
    def expire(self) -> None:
        self.apply(self.books.expired(self.charge))

    @invariant()
    def amounts_are_within_their_bounds_and_the_lines_add_up(self) -> None:
        now = self.charge
        assert 0 <= now.captured_minor + now.capturable_minor <= now.amount_minor
        assert 0 <= now.refunded_minor <= now.captured_minor
        assert (now.captured_minor, now.refunded_minor) == (self.taken, self.back)
        assert self.balance == self.taken - self.back


def _authorized(books: Books) -> Charge:
    blank = Charge(
        *("sbx_ch_a", "chg_a", Status.SUCCEEDED, 1_000, "EUR", False, "shopper", 0, 0, 0, 0, 0, None, "visa", "4242"),
        *("succeed", "Shop", "https://shop.example/", None, None, "sbx_net_a", None, START),
    )
    return books.approved(blank).charge or _no_charge()


TestBounds = BoundsMachine.TestCase
TestBounds.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize(
    "spoiled", [{"captured_minor": 1_001}, {"refunded_minor": 1}, {"captured_minor": 1, "capturable_minor": 999}]
)
def test_a_charge_out_of_its_bounds_would_be_noticed(spoiled: dict[str, int]) -> None:
    """The planted fault of the machine above."""
    machine = BoundsMachine()
    machine.charge = replace(machine.charge, **spoiled)  # type: ignore[arg-type]  # names of amounts
    with pytest.raises(AssertionError):
        machine.amounts_are_within_their_bounds_and_the_lines_add_up()
