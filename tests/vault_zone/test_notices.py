"""A processor's notices: applied once, in any order, also of what was done at the processor and not through Cordon."""

import asyncio
import itertools
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.vault_zone.saving import count, recorded
from tests.vault_zone.world import ACTOR, START_MS, World, charge_request, modification_request, zone_world
from tokenization.money import Money
from tokenization.wire import Charge, ChargeState, DisputeState, Modification, ModificationKind, ModificationState
from vault_zone import attention, notices, settling
from vault_zone.charge_rows import charge_row
from vault_zone.ledger.events import RefundReturned
from vault_zone.models import modification, notice, webhook_inbox
from vault_zone.processors.port import (
    DisputeNews,
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
)

pytestmark = pytest.mark.anyio
AMOUNT = 10_905
REFUND, CAPTURE = ModificationKind.REFUND, ModificationKind.CAPTURE


async def charged(world: World, **other: object) -> Charge:
    return await world.engine.charge(charge_request(await world.captured_grant(), **other), ACTOR)


async def now(world: World, charge: Charge) -> Charge:
    found = await world.engine.find(charge.merchant, charge.payment)
    assert found is not None
    return found


async def tell(world: World, charge: Charge | None, news: Any, event_id: str = "evt_a", **other: Any) -> None:
    await world.engine.apply_webhook(ProcessorEvent(event_id, charge.charge if charge else None, news, **other), "fake")


def outside_refund(amount_minor: int, reference: str = "re_outside") -> ModificationNews:
    answer = ModificationAnswer(ModificationOutcome.SUCCEEDED, reference)
    return ModificationNews(REFUND, None, answer, Money(amount_minor, "USD"))


async def accepted(world: World, charge: Charge) -> Modification:
    """A refund that the processor has taken on."""
    world.processor.modification_outcome = ModificationOutcome.ACCEPTED
    return await world.modifications.modify(modification_request(charge, REFUND), ACTOR)


async def test_a_notice_ends_a_modification_that_was_accepted(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        refund = await accepted(world, charge)
        assert (refund.state, refund.charge.refunded_minor) == (ModificationState.ACCEPTED, 0)
        done = ModificationNews(REFUND, refund.modification, ModificationAnswer(ModificationOutcome.SUCCEEDED, "re_x"))
        await asyncio.gather(*(tell(world, charge, done) for _ in range(4)))
        assert (await now(world, charge)).refunded_minor == AMOUNT
        assert await recorded(world, "modification.settled", refund.modification) == 2, "accepted, then succeeded"
        assert await count(world, webhook_inbox) == 1


async def test_in_whatever_order_notices_come_the_end_is_the_same(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        for number, outcomes in enumerate(
            itertools.permutations(
                (ModificationOutcome.ACCEPTED, ModificationOutcome.SUCCEEDED, ModificationOutcome.UNKNOWN)
            )
        ):
            world.processor.lose_request = True
            asked = modification_request(charge, REFUND, amount_minor=100)
            refund = await world.modifications.modify(asked, ACTOR)
            assert refund.state is ModificationState.UNKNOWN
            for step, outcome in enumerate(outcomes):
                news = ModificationNews(REFUND, refund.modification, ModificationAnswer(outcome, f"re_{number}"))
                await tell(world, charge, news, f"evt_{number}_{step}")
            assert (await now(world, charge)).refunded_minor == 100 * (number + 1)


async def test_a_refund_at_the_processor_is_written_down_once_and_counts(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await tell(world, charge, outside_refund(4_000), "evt_a")
        await tell(world, charge, outside_refund(4_000), "evt_a")
        await tell(world, charge, outside_refund(4_000), "evt_b")  # another notice of the same refund
        assert (await now(world, charge)).refunded_minor == 4_000
        row = await world.database.read(lambda c: c.execute(select(modification)).one())
        assert (row.is_ours, row.state, row.processor_reference) == (False, "succeeded", "re_outside")
        rest = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        assert rest.amount_minor == AMOUNT - 4_000


async def test_our_own_refund_told_without_our_reference_is_not_counted_twice(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        refund = await world.modifications.modify(modification_request(charge, REFUND, amount_minor=4_000), ACTOR)
        await tell(world, charge, outside_refund(4_000, f"re_{refund.modification}"))
        assert (await now(world, charge)).refunded_minor == 4_000


async def test_a_refund_beyond_what_was_captured_is_for_a_person(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await tell(world, charge, outside_refund(AMOUNT + 1))
        assert (await now(world, charge)).refunded_minor == 0
        [waiting] = await world.database.read(attention.waiting)
        assert (waiting.subject, waiting.reason) == (charge.charge, "amount_does_not_fit")


@pytest.mark.parametrize("planted", [False, True])
async def test_a_refund_that_does_not_fit_leaves_the_attention_that_is_there(
    database_url: str, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are on record. The plant forgets to keep the first."""
    if planted:
        asked = settling.needs_attention
        monkeypatch.setattr(settling, "needs_attention", lambda *of, **_: asked(*of))
    async with zone_world(database_url) as world:
        charge = await charged(world)
        row = await world.database.read(lambda c: charge_row(c, charge.charge))
        assert row is not None
        await world.database.change(lambda tx: settling.needs_attention(tx, row, "late_success", ACTOR))
        world.clock.advance(60)
        await tell(world, charge, outside_refund(AMOUNT + 1))
        [waiting] = await world.database.read(attention.waiting)
        assert waiting.reason == ("amount_does_not_fit" if planted else "late_success")
        assert (waiting.since_ms == START_MS) is not planted, "and since when"
        assert await recorded(world, "charge.needs_attention", charge.charge) == 2


async def test_a_capture_at_the_processor_is_written_down(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.features = frozenset(Feature) - {Feature.MULTIPLE_CAPTURES}
        charge = await charged(world, capture="manual")
        captured = ProcessorAnswer(Outcome.SUCCEEDED, "ch_a", captured_minor=4_000)
        await tell(world, charge, captured)
        found = await now(world, charge)
        assert (found.state, found.captured_minor) == (ChargeState.SUCCEEDED, 4_000)
        assert [event.amount.amount_minor for event in world.booked] == [AMOUNT, 4_000, AMOUNT - 4_000]


async def test_word_of_the_charge_waits_for_our_own_capture(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="manual")
        world.processor.modification_outcome = ModificationOutcome.ACCEPTED
        capture = await world.modifications.modify(modification_request(charge, CAPTURE), ACTOR)
        await tell(world, charge, ProcessorAnswer(Outcome.SUCCEEDED, "ch_a", captured_minor=AMOUNT))
        assert (await now(world, charge)).captured_minor == 0
        world.processor.settle(capture.modification, ModificationOutcome.SUCCEEDED)
        await world.modifications.resolve_unknown()
        assert (await now(world, charge)).captured_minor == AMOUNT
        rows = await world.database.read(
            lambda c: c.execute(select(func.count()).select_from(modification)).scalar_one()
        )
        assert rows == 1


async def test_a_charge_is_found_by_the_processors_own_id(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await tell(world, None, outside_refund(500), processor_charge=f"ch_{charge.charge}")
        assert (await now(world, charge)).refunded_minor == 500


@pytest.mark.parametrize("reference", [None, "chg_nobody", "<script>", "4242 4242 4242 4242"])
async def test_a_notice_of_nothing_of_ours_stays_in_the_inbox(database_url: str, reference: str | None) -> None:
    async with zone_world(database_url) as world:
        event = ProcessorEvent("evt_a", reference, ProcessorAnswer(Outcome.SUCCEEDED))
        await world.engine.apply_webhook(event, "fake")
        assert await count(world, webhook_inbox) == 1
        assert await count(world, modification) == 0


@pytest.mark.parametrize("planted", [False, True])
async def test_a_decline_told_while_the_call_is_under_way_is_left_to_the_call(
    database_url: str, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call's own answer ends the charge, and knows whether another may be asked. The plant believes the notice."""
    if planted:
        monkeypatch.setattr(notices.Notices, "_call_will_tell", lambda *_: False)
    async with zone_world(database_url) as world:

        async def said() -> int:
            [reference] = world.processor.record
            news = ProcessorEvent("evt_a", reference, ProcessorAnswer(Outcome.DECLINED, "ch_a", "card_declined"))
            await world.engine.apply_webhook(news, "fake")
            return 0

        world.processor.while_charging, world.processor.taken = said, []
        charge = await charged(world)
        assert charge.state is (ChargeState.DECLINED if planted else ChargeState.SUCCEEDED)


async def test_a_success_told_while_the_call_is_under_way_and_a_lost_answer_are_one_success(database_url: str) -> None:
    async with zone_world(database_url) as world:

        async def said() -> int:
            [reference] = world.processor.record
            await world.engine.apply_webhook(
                ProcessorEvent("evt_a", reference, ProcessorAnswer(Outcome.SUCCEEDED, "ch_a")), "fake"
            )
            return 0

        world.processor.while_charging, world.processor.taken = said, []
        world.processor.lose_reply = world.processor.unreachable_find = True
        charge = await charged(world)
        assert (charge.state, charge.captured_minor) == (ChargeState.SUCCEEDED, AMOUNT)
        assert len(world.booked) == 2, "authorized and captured, once"


async def refunded(world: World) -> tuple[Charge, Modification]:
    """A charge of which 4,000 were refunded."""
    charge = await charged(world)
    asked = modification_request(charge, REFUND, amount_minor=4_000)
    return charge, await world.modifications.modify(asked, ACTOR)


def failed_refund(refund: Modification) -> ModificationNews:
    answer = ModificationAnswer(ModificationOutcome.DECLINED, f"re_{refund.modification}", "lost_or_stolen_card")
    return ModificationNews(REFUND, refund.modification, answer, Money(4_000, "USD"))


async def test_a_refund_that_comes_back_gives_its_amount_back_and_is_for_a_person(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge, refund = await refunded(world)
        await tell(world, charge, failed_refund(refund))
        found = await world.modifications.find(charge.merchant, refund.request)
        assert found is not None
        assert (found.state, found.decline_code) == (ModificationState.RETURNED, "lost_or_stolen_card")
        assert found.charge.refunded_minor == 0
        assert (type(world.booked[-1]), world.booked[-1].amount) == (RefundReturned, Money(4_000, "USD"))
        [waiting] = await world.database.read(attention.waiting)
        assert (waiting.subject, waiting.state, waiting.reason) == (refund.modification, "returned", "came_back")
        assert await recorded(world, "modification.returned", refund.modification) == 1
        told = await world.database.read(lambda c: list(c.execute(select(notice.c.kind)).scalars()))
        assert told.count("modification.returned") == 1
        world.processor.accounts[charge.charge].refunded = 0
        again = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        assert (again.state, again.amount_minor) == (ModificationState.SUCCEEDED, AMOUNT), "it can be refunded anew"


@pytest.mark.parametrize("told", list(itertools.product(("succeeded", "declined"), repeat=3)))
async def test_a_refund_comes_back_once_whatever_is_told_again(database_url: str, told: tuple[str, ...]) -> None:
    async with zone_world(database_url) as world:
        charge, refund = await refunded(world)
        for number, outcome in enumerate(told):
            answer = ModificationAnswer(ModificationOutcome(outcome), f"re_{refund.modification}")
            news = ModificationNews(REFUND, refund.modification, answer, Money(4_000, "USD"))
            await tell(world, charge, news, f"evt_{number}")
        came_back = "declined" in told
        assert (await now(world, charge)).refunded_minor == (0 if came_back else 4_000)
        assert sum(isinstance(event, RefundReturned) for event in world.booked) == came_back
        reasons = [one.reason for one in await world.database.read(attention.waiting)]
        assert reasons == ["came_back"] * came_back, "word from before is not taken for a late success"


@pytest.mark.parametrize("planted", ["only asks a person", "moves nothing"])
async def test_a_planted_fault_in_what_comes_back_is_seen(
    database_url: str, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with zone_world(database_url) as world:
        charge, refund = await refunded(world)
        match planted:
            case "only asks a person":
                monkeypatch.setattr(settling, "_comes_back", lambda *_: False)
            case "moves nothing":
                monkeypatch.setattr(settling.Settler, "_returned", lambda *_: None)
        await tell(world, charge, failed_refund(refund), "evt_a")
        found = await world.modifications.find(charge.merchant, refund.request)
        assert found is not None
        sound = (ModificationState.RETURNED, 0, 1)
        assert (found.state, found.charge.refunded_minor, await returns(world)) != sound


async def returns(world: World) -> int:
    return sum(isinstance(event, RefundReturned) for event in world.booked)


async def test_a_refund_at_the_processor_comes_back_too(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await tell(world, charge, outside_refund(4_000), "evt_a")
        answer = ModificationAnswer(ModificationOutcome.DECLINED, "re_outside")
        await tell(world, charge, ModificationNews(REFUND, None, answer, Money(4_000, "USD")), "evt_b")
        assert (await now(world, charge)).refunded_minor == 0
        assert await returns(world) == 1


@pytest.mark.parametrize("late", ["succeeded", "accepted"])
async def test_a_refund_at_the_processor_whose_failure_is_told_first_never_counts(database_url: str, late: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        answer = ModificationAnswer(ModificationOutcome.DECLINED, "re_outside")
        await tell(world, charge, ModificationNews(REFUND, None, answer, Money(4_000, "USD")), "evt_b")
        before = ModificationAnswer(ModificationOutcome(late), "re_outside")
        await tell(world, charge, ModificationNews(REFUND, None, before, Money(4_000, "USD")), "evt_a")
        assert (await now(world, charge)).refunded_minor == 0
        [row] = await world.database.read(lambda c: c.execute(select(modification)).all())
        assert (row.is_ours, row.state) == (False, "declined")
        assert [one.reason for one in await world.database.read(attention.waiting)] == (
            ["late_success"] if late == "succeeded" else []
        )
        rest = await world.modifications.modify(modification_request(charge, REFUND), ACTOR)
        assert rest.amount_minor == AMOUNT, "nothing is held for it"


async def test_a_capture_that_failed_after_it_succeeded_moves_nothing_by_itself(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="manual")
        capture = await world.modifications.modify(modification_request(charge, CAPTURE), ACTOR)
        answer = ModificationAnswer(ModificationOutcome.DECLINED, "cap_x")
        await tell(world, charge, ModificationNews(CAPTURE, capture.modification, answer))
        assert (await now(world, charge)).captured_minor == AMOUNT
        [waiting] = await world.database.read(attention.waiting)
        assert (waiting.subject, waiting.state, waiting.reason) == (capture.modification, "succeeded", "came_back")


async def test_a_dispute_is_handed_on_with_its_charge(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        seen: list[tuple[str, DisputeNews]] = []
        settler = world.engine.settler
        hook = notices.Notices(world.processors, settler, lambda _, row, news: seen.append((row.id, news)))
        news = DisputeNews("dp_a", DisputeState.NEEDS_RESPONSE, Money(AMOUNT, "USD"), "fraudulent")
        event = ProcessorEvent("evt_a", charge.charge, news)
        await world.database.change(lambda tx: hook.apply(tx, event, "fake"))
        assert seen == [(charge.charge, news)]
