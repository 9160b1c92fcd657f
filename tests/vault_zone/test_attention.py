"""What needs a person, over the internal API: listed, shown with why it went where, and decided by two operators."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.vault_zone.callers import ask, policy_of, zone_of
from tests.vault_zone.fake_processor import LIFETIME_SECONDS, Account
from tests.vault_zone.saving import recorded
from tests.vault_zone.world import ACTOR, MERCHANT, World, charge_request, modification_request, zone_world
from tokenization.wire import Charge, ChargeState, Modification, ModificationKind, ModificationState
from vault_zone import settling
from vault_zone.cli.charges import as_lines
from vault_zone.ledger.events import RefundReturned
from vault_zone.models import modification, notice
from vault_zone.processors.port import (
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
)
from vault_zone.runtime import Zone

pytestmark = pytest.mark.anyio
AMOUNT = 10_905
POLICY = policy_of(
    ana="payment_manager:*", ben="payment_manager:*", cora="payment_manager:oak", dora="card_manager:*", eli="auditor:*"
)
REFUND = ModificationKind.REFUND


async def charged(world: World, checkout: str = "chk_a", **other: object) -> Charge:
    grant = await world.captured_grant(checkout=checkout)
    return await world.engine.charge(charge_request(grant, checkout=checkout, **other), ACTOR)


async def unknown(world: World, **other: Any) -> Charge:
    """A charge of which nothing is known for so long that a person is told."""
    world.processor.lose_request = world.processor.unreachable_find = True
    charge = await charged(world, **other)
    world.processor.lose_request = False
    world.clock.advance(3_600)
    await world.lapses.sweep()
    return charge


async def now(world: World, charge: Charge) -> Charge:
    found = await world.engine.find(charge.merchant, charge.payment)
    assert found is not None
    return found


async def decided(zone: Zone, subject: str, outcome: str, *, second: str = "ben") -> str:
    """Asks for a decision as ana and approves it; where the operation then stands."""
    body = {"act": f"resolve_as_{outcome}", "merchant": MERCHANT, "subject": subject, "grounds": "seen_at_processor"}
    made = await ask(zone, "operator:ana", "POST", "/v1/operations", body)
    assert made.status_code == 201, made.text
    approved = await ask(zone, f"operator:{second}", "POST", f"/v1/operations/{made.json()['operation']}/approve")
    answer: Mapping[str, str] = approved.json()
    return answer["state"] if approved.is_success else approved.json()["error"]["code"]


async def waiting(zone: Zone, who: str = "ana") -> list[tuple[str, str]]:
    """Subject and reason of what the API lists."""
    answer = await ask(zone, f"operator:{who}", "GET", "/v1/charges/attention")
    assert answer.status_code == 200, answer.text
    return [(one["subject"], one["reason"]) for one in answer.json()["waiting"]]


@pytest.mark.parametrize(
    ("outcome", "state", "captured"),
    [("succeeded", ChargeState.SUCCEEDED, AMOUNT), ("failed", ChargeState.FAILED, 0)],
)
async def test_two_operators_end_what_the_processor_does_not(
    database_url: str, outcome: str, state: ChargeState, captured: int
) -> None:
    async with zone_world(database_url) as world:
        zone = zone_of(world, policy=POLICY)
        charge = await unknown(world)
        assert await waiting(zone) == [(charge.charge, "unknown_too_long")]
        assert await decided(zone, charge.charge, outcome, second="ana") == "second_person_needed"
        assert await decided(zone, charge.charge, outcome) == "executed"
        found = await now(world, charge)
        assert (found.state, found.captured_minor) == (state, captured)
        assert len(world.booked) == (2 if captured else 0)
        assert await waiting(zone) == []
        assert await recorded(world, "charge.needs_attention", charge.charge) == 2, (
            "that it waited, and what was decided"
        )
        assert await decided(zone, charge.charge, outcome) == "failed", "there is nothing to decide any more"


async def test_an_unknown_authorization_that_succeeded_is_held_and_not_taken(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await unknown(world, capture="manual")
        assert await decided(zone_of(world, policy=POLICY), charge.charge, "succeeded") == "executed"
        found = await now(world, charge)
        assert (found.state, found.authorized_minor, found.captured_minor) == (ChargeState.AUTHORIZED, AMOUNT, 0)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_an_unknown_refund_is_decided_with_its_amounts(database_url: str, outcome: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        world.processor.lose_request = world.processor.unreachable_find = True
        refund = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        world.clock.advance(3_600)
        await world.lapses.sweep()
        zone = zone_of(world, policy=POLICY)
        assert await waiting(zone) == [(refund.modification, "unknown_too_long")]
        assert await decided(zone, refund.modification, outcome) == "executed"
        assert (await now(world, charge)).refunded_minor == (AMOUNT if outcome == "succeeded" else 0)


async def late_refund(world: World) -> tuple[Charge, Modification]:
    """A refund that counted as never sent, and of which the processor then says that it took place."""
    charge = await charged(world)
    world.processor.lose_request = True
    refund = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
    world.processor.lose_request = False
    world.clock.advance(LIFETIME_SECONDS + 1)
    await world.modifications.resolve_unknown()
    news = ModificationNews(REFUND, refund.modification, ModificationAnswer(ModificationOutcome.SUCCEEDED, "re_late"))
    await world.engine.apply_webhook(ProcessorEvent("evt_late", charge.charge, news), "fake")
    return charge, refund


async def test_a_late_refund_counts_when_two_operators_say_so(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge, refund = await late_refund(world)
        zone = zone_of(world, policy=POLICY)
        assert await waiting(zone) == [(refund.modification, "late_success")]
        assert await decided(zone, refund.modification, "succeeded") == "executed"
        found = await world.modifications.find(charge.merchant, refund.request)
        assert found is not None
        assert (found.state, found.charge.refunded_minor) == (ModificationState.SUCCEEDED, AMOUNT)
        assert "modification.settled" in await told(world), "and commerce is told"
        assert await recorded(world, "modification.settled", refund.modification) == 2, "as failed, then as decided"


async def told(world: World) -> list[str]:
    """The kinds of what commerce is told."""
    return await world.database.read(lambda c: list(c.execute(select(notice.c.kind)).scalars()))


async def came_back(world: World) -> tuple[Charge, Modification]:
    """A refund that came back after it had succeeded."""
    charge = await charged(world)
    refund = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
    news = ModificationNews(REFUND, refund.modification, ModificationAnswer(ModificationOutcome.DECLINED, "re_back"))
    await world.engine.apply_webhook(ProcessorEvent("evt_back", charge.charge, news), "fake")
    return charge, refund


@pytest.mark.parametrize("planted", [False, True])
async def test_a_refund_that_came_back_is_seen_to_and_not_made_to_have_succeeded(
    database_url: str, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plant takes the late word that it once succeeded for a success after its end."""
    if planted:
        monkeypatch.setattr(settling, "_WORD_FROM_BEFORE", (ModificationState.ACCEPTED,))
    async with zone_world(database_url) as world:
        charge, refund = await came_back(world)
        zone = zone_of(world, policy=POLICY)
        assert await decided(zone, refund.modification, "succeeded") == "failed"
        assert (await now(world, charge)).refunded_minor == 0
        assert await waiting(zone) == [(refund.modification, "came_back")]
        assert await decided(zone, refund.modification, "failed") == "executed"
        assert await waiting(zone) == []
        assert (await now(world, charge)).refunded_minor == 0, "given back once"
        late = ModificationNews(REFUND, refund.modification, ModificationAnswer(ModificationOutcome.SUCCEEDED, "re_a"))
        await world.engine.apply_webhook(ProcessorEvent("evt_late", charge.charge, late), "fake")
        assert [reason for _, reason in await waiting(zone)] == ["late_success"] * planted


async def test_two_operators_say_that_a_refund_came_back(database_url: str) -> None:
    """One that was written down as a person's alone, before its amount came back by itself."""
    async with zone_world(database_url) as world:
        charge = await charged(world)
        refund = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        noted = update(modification).where(modification.c.id == refund.modification)
        await world.database.maintain(lambda tx: tx.execute(noted.values(attention="came_back", attention_ms=1)))
        zone = zone_of(world, policy=POLICY)
        assert await decided(zone, refund.modification, "failed") == "executed"
        found = await world.modifications.find(charge.merchant, refund.request)
        assert found is not None
        assert (found.state, found.charge.refunded_minor) == (ModificationState.RETURNED, 0)
        assert isinstance(world.booked[-1], RefundReturned)
        assert "modification.returned" in await told(world)
        assert await waiting(zone) == []


async def late_charge(world: World) -> Charge:
    """A charge that counted as failed, and of which the processor then says that it took the money."""
    world.processor.lose_request = True
    charge = await charged(world)
    world.processor.lose_request = False
    world.clock.advance(LIFETIME_SECONDS + 1)
    await world.engine.resolve_unknown()
    late = ProcessorAnswer(Outcome.SUCCEEDED, f"ch_{charge.charge}")
    await world.engine.apply_webhook(ProcessorEvent("evt_late", charge.charge, late), "fake")
    return charge


async def test_a_late_success_becomes_the_checkouts_charge_when_nothing_else_paid_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await late_charge(world)
        assert await decided(zone_of(world, policy=POLICY), charge.charge, "succeeded") == "executed"
        assert (await now(world, charge)).state is ChargeState.SUCCEEDED
        assert "charge.succeeded" in await told(world), "so commerce learns that there is a paid checkout"
        assert await recorded(world, "charge.succeeded", charge.charge) == 1


async def test_a_late_success_never_becomes_a_second_charge_of_its_checkout(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await late_charge(world)
        paid = await charged(world)
        zone = zone_of(world, policy=POLICY)
        assert await decided(zone, charge.charge, "succeeded") == "failed"
        assert (await now(world, charge)).state is ChargeState.FAILED
        assert (await now(world, paid)).state is ChargeState.SUCCEEDED
        assert await waiting(zone) == [(charge.charge, "late_success")], "it still waits"


async def test_a_late_success_counts_as_failed_only_when_the_money_was_given_back(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await late_charge(world)
        zone = zone_of(world, policy=POLICY)
        assert await decided(zone, charge.charge, "failed") == "failed"
        world.processor.accounts[charge.charge] = Account(AMOUNT, authorized=AMOUNT, captured=AMOUNT, is_closed=True)
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, f"ch_{charge.charge}")
        await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        assert await decided(zone, charge.charge, "failed") == "executed"
        assert await waiting(zone) == []


async def test_a_charge_is_shown_with_its_legs_and_what_was_done_to_it(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        refund = await world.modifications.modify(modification_request(charge, REFUND, amount_minor=500), ACTOR)
        zone = zone_of(world, policy=POLICY)
        for subject in (charge.charge, refund.modification):
            answer = await ask(zone, "operator:eli", "GET", f"/v1/charges/{subject}")
            assert answer.status_code == 200, answer.text
            lines = as_lines(answer.json()).splitlines()
            assert lines[0] == f"{charge.charge} succeeded: {AMOUNT} USD of {MERCHANT}, visa ending 4242"
            assert "captured 10905, being refunded 0, refunded 500" in lines[1]
            assert lines[2] == "  leg 1: fake, by_default: succeeded"
            assert lines[3] == f"  {refund.modification} refund 500 succeeded"


async def test_of_another_merchant_nothing_is_listed_or_shown(database_url: str) -> None:
    async with zone_world(database_url) as world:
        zone = zone_of(world, policy=POLICY)
        charge = await unknown(world)
        assert await waiting(zone, "cora") == []
        shown = await ask(zone, "operator:cora", "GET", f"/v1/charges/{charge.charge}")
        absent = await ask(zone, "operator:cora", "GET", "/v1/charges/chg_nobody")
        assert (shown.status_code, shown.json()) == (absent.status_code, absent.json())
        assert shown.status_code == 404


async def test_commerce_captures_voids_and_refunds_over_the_api(database_url: str) -> None:
    async with zone_world(database_url) as world:
        zone = zone_of(world)
        charge = await charged(world, capture="manual")
        asked = modification_request(charge, ModificationKind.CAPTURE)
        answer = await ask(zone, "service:commerce", "POST", "/v1/modifications", asked.model_dump(mode="json"))
        assert answer.status_code == 200, answer.text
        assert Modification.model_validate_json(answer.content).charge.captured_minor == AMOUNT
        path = f"/v1/merchants/{MERCHANT}/modifications/{asked.request}"
        again = await ask(zone, "service:commerce", "GET", path)
        assert again.json() == answer.json()
        shown = await ask(zone, "service:commerce", "GET", f"/v1/merchants/{MERCHANT}/charges/{charge.payment}")
        assert shown.json()["captured_minor"] == AMOUNT
