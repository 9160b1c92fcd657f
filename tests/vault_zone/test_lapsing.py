"""What nobody ends is ended by the processor's word and in time: abandoned authentications, authorizations, doubts."""

import pytest

from tests.vault_zone.fake_processor import AUTHORIZATION_SECONDS, FakeProcessor
from tests.vault_zone.saving import recorded
from tests.vault_zone.world import ACTOR, World, charge_request, modification_request, zone_world
from tokenization.wire import Charge, ChargeState, ModificationKind, ModificationState
from vault_zone import attention, modifications
from vault_zone.lapsing import RECHECK_SECONDS, RETRY_SECONDS
from vault_zone.ledger.events import AuthorizationReleased, Authorized, Captured, Refunded
from vault_zone.processors.port import Feature, ModificationOutcome, Outcome, ProcessorAnswer, ProcessorEvent
from vault_zone.routing_policy import Patience, RoutingPolicy

pytestmark = pytest.mark.anyio
PATIENCE = Patience(abandon_seconds=600, unknown_seconds=3_600, accepted_seconds=86_400)
POLICY = RoutingPolicy(default=("fake",), patience=PATIENCE)
AMOUNT = 10_905


async def charged(world: World, checkout: str = "chk_a", **other: object) -> Charge:
    grant = await world.captured_grant(checkout=checkout)
    return await world.engine.charge(charge_request(grant, checkout=checkout, **other), ACTOR)


async def now(world: World, charge: Charge) -> Charge:
    found = await world.engine.find(charge.merchant, charge.payment)
    assert found is not None
    return found


async def reasons(world: World) -> list[str]:
    """Why something needs attention."""
    return [one.reason for one in await world.database.read(attention.waiting)]


async def abandoned(world: World) -> Charge:
    """A charge whose shopper was sent to the bank, at the time when that counts as abandoned."""
    world.processor.outcome = Outcome.ACTION_REQUIRED
    charge = await charged(world)
    world.clock.advance(PATIENCE.abandon_seconds)
    return charge


async def test_an_abandoned_authentication_is_let_go_at_the_processor(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        world.clock.advance(-1)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.ACTION_REQUIRED, "not before its time"
        world.clock.advance(1)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.VOIDED
        assert world.processor.record[charge.charge].outcome is Outcome.VOIDED
        world.processor.outcome = Outcome.SUCCEEDED
        assert (await charged(world)).state is ChargeState.SUCCEEDED, "the checkout can be paid anew"


async def test_who_came_back_in_time_has_paid(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        world.processor.become(charge.charge, Outcome.SUCCEEDED)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.SUCCEEDED
        assert world.processor.modify_calls == 0


@pytest.mark.parametrize("planted", [False, True])
async def test_an_authorization_that_came_just_now_is_not_taken_for_abandoned(
    database_url: str, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked about, the charge turned out authorized: the void of what was abandoned is not begun. The plant begins it."""
    if planted:
        monkeypatch.setattr(modifications, "ABANDONED", "another_reason")
    async with zone_world(database_url, policy=POLICY) as world:
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charge = await charged(world, capture="manual")
        world.clock.advance(PATIENCE.abandon_seconds)
        world.processor.become(charge.charge, Outcome.AUTHORIZED)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is (ChargeState.VOIDED if planted else ChargeState.AUTHORIZED)


async def test_the_processors_own_end_ends_it_as_well(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        world.processor.become(charge.charge, Outcome.EXPIRED)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.EXPIRED


async def test_a_void_without_effect_is_tried_anew_and_then_left_to_a_person(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        world.processor.modification_outcome = ModificationOutcome.DECLINED
        await world.lapses.sweep()
        await world.lapses.sweep()
        assert world.processor.modify_calls == 1
        world.clock.advance(RETRY_SECONDS)
        await world.lapses.sweep()
        assert world.processor.modify_calls == 2
        world.clock.advance(PATIENCE.unknown_seconds)
        await world.lapses.tell_of_what_has_no_end()
        await world.lapses.sweep()
        assert world.processor.modify_calls == 2
        assert await reasons(world) == ["not_ended"]
        assert (await now(world, charge)).state is ChargeState.ACTION_REQUIRED


async def test_a_late_success_is_never_lost_and_can_be_given_back(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        await world.lapses.sweep()
        world.processor.outcome = Outcome.SUCCEEDED
        other = await charged(world)
        world.processor.become(charge.charge, Outcome.SUCCEEDED)
        late = ProcessorAnswer(Outcome.SUCCEEDED, f"ch_{charge.charge}")
        for event_id in ("evt_late", "evt_late_again"):
            await world.engine.apply_webhook(ProcessorEvent(event_id, charge.charge, late), "fake")
        found = await now(world, charge)
        assert (found.state, found.captured_minor) == (ChargeState.VOIDED, AMOUNT), "what commerce was told stays"
        assert await reasons(world) == ["late_success"]
        assert await recorded(world, "charge.needs_attention", charge.charge) == 1
        refund = await world.modifications.modify(modification_request(charge, ModificationKind.REFUND), ACTOR)
        assert (refund.state, refund.charge.refunded_minor) == (ModificationState.SUCCEEDED, AMOUNT)
        of_it = [event for event in world.booked if event.charge == charge.charge]
        assert [type(event) for event in of_it] == [Authorized, Captured, Refunded]
        assert (await now(world, other)).state is ChargeState.SUCCEEDED


async def test_word_of_an_authorization_that_was_on_its_way_is_checked_with_the_record(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await abandoned(world)
        await world.lapses.sweep()
        stale = ProcessorEvent("evt_stale", charge.charge, ProcessorAnswer(Outcome.AUTHORIZED, "ch_a"))
        await world.engine.apply_webhook(stale, "fake")
        assert await reasons(world) == []
        assert (await now(world, charge)).authorized_minor == 0
        world.processor.become(charge.charge, Outcome.AUTHORIZED)
        true = ProcessorEvent("evt_true", charge.charge, ProcessorAnswer(Outcome.AUTHORIZED, "ch_a"))
        await world.engine.apply_webhook(true, "fake")
        assert await reasons(world) == ["late_success"]
        assert (await now(world, charge)).authorized_minor == AMOUNT
        void = await world.modifications.modify(modification_request(charge, ModificationKind.VOID), ACTOR)
        assert void.state is ModificationState.SUCCEEDED
        of_it = [event for event in world.booked if event.charge == charge.charge]
        assert [type(event) for event in of_it] == [Authorized, AuthorizationReleased]


async def test_an_authorization_past_its_time_ends_by_the_processors_record(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        world.processor.become(charge.charge, Outcome.EXPIRED)
        world.clock.advance(AUTHORIZATION_SECONDS - 1)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED
        world.clock.advance(1)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.EXPIRED
        assert [type(event) for event in world.booked] == [Authorized, AuthorizationReleased]


async def test_what_the_processor_still_holds_is_asked_about_again(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        world.clock.advance(AUTHORIZATION_SECONDS)
        assert await world.lapses.end_expired() == 1
        assert await world.lapses.end_expired() == 0
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED
        world.processor.become(charge.charge, Outcome.EXPIRED)
        world.clock.advance(RECHECK_SECONDS)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.EXPIRED


async def test_a_processor_that_cannot_be_asked_expires_nothing(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        world.clock.advance(AUTHORIZATION_SECONDS)
        world.processor.unreachable_find = True
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED
        world.processor.unreachable_find = False
        world.processor.become(charge.charge, Outcome.EXPIRED)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED, "others get their turn first"
        world.clock.advance(RETRY_SECONDS)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.EXPIRED


async def test_a_record_that_is_gone_is_for_a_person(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        world.clock.advance(AUTHORIZATION_SECONDS)
        world.processor.record.clear()
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED
        assert await reasons(world) == ["record_absent"]


async def test_where_there_is_no_record_the_processors_own_lifetime_ends_it(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        world.processor.features = frozenset(Feature) - {Feature.QUERY}
        charge = await charged(world, capture="manual")
        world.processor.record.clear()
        world.clock.advance(AUTHORIZATION_SECONDS)
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.EXPIRED


async def test_the_rest_of_a_partly_captured_authorization_is_released_when_it_runs_out(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        part = modification_request(charge, ModificationKind.CAPTURE, amount_minor=4_000, is_final=False)
        await world.modifications.modify(part, ACTOR)
        world.clock.advance(AUTHORIZATION_SECONDS)
        await world.lapses.sweep()
        found = await now(world, charge)
        assert (found.state, found.captured_minor) == (ChargeState.SUCCEEDED, 4_000)
        assert world.booked[-1].amount.amount_minor == 6_905
        assert await recorded(world, "charge.expired", charge.charge) == 1


async def test_nothing_expires_beneath_a_capture_that_is_under_way(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        charge = await charged(world, capture="manual")
        world.processor.modification_outcome = ModificationOutcome.ACCEPTED
        capture = await world.modifications.modify(modification_request(charge, ModificationKind.CAPTURE), ACTOR)
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.EXPIRED)
        world.clock.advance(AUTHORIZATION_SECONDS)
        await world.lapses.end_expired()
        assert (await now(world, charge)).state is ChargeState.AUTHORIZED
        world.processor.settle(capture.modification, ModificationOutcome.SUCCEEDED)
        await world.modifications.resolve_unknown()
        assert (await now(world, charge)).captured_minor == AMOUNT


async def test_what_stays_unknown_or_accepted_too_long_is_told_once_and_still_asked_about(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        taken = await charged(world, "chk_b")
        world.processor.modification_outcome = ModificationOutcome.ACCEPTED
        accepted = await world.modifications.modify(modification_request(taken, ModificationKind.REFUND), ACTOR)
        world.processor.lose_reply = world.processor.unreachable_find = True
        charge = await charged(world)
        world.clock.advance(PATIENCE.unknown_seconds - 1)
        assert await world.lapses.tell_of_what_has_no_end() == 0
        world.clock.advance(1)
        assert await world.lapses.tell_of_what_has_no_end() == 1
        assert await world.lapses.tell_of_what_has_no_end() == 0
        assert await reasons(world) == ["unknown_too_long"]
        world.clock.advance(PATIENCE.accepted_seconds)
        await world.lapses.tell_of_what_has_no_end()
        assert await reasons(world) == ["unknown_too_long", "not_ended"]
        world.processor.unreachable_find = False
        await world.engine.resolve_unknown()
        assert (await now(world, charge)).state is ChargeState.SUCCEEDED
        world.processor.settle(accepted.modification, ModificationOutcome.SUCCEEDED)
        await world.modifications.resolve_unknown()
        assert await reasons(world) == [], "the processor's word ends it as well"


async def test_a_processor_that_the_zone_has_no_more_leaves_its_charges_to_a_person(database_url: str) -> None:
    async with zone_world(database_url, policy=POLICY) as world:
        world.processor.lose_reply = world.processor.unreachable_find = True
        charge = await charged(world)
        world.connect(FakeProcessor("another"))
        world.clock.advance(PATIENCE.unknown_seconds)
        await world.engine.resolve_unknown()
        await world.lapses.sweep()
        assert (await now(world, charge)).state is ChargeState.UNKNOWN
        assert await reasons(world) == ["unknown_too_long"]
