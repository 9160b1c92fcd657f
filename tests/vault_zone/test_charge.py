"""A charge happens at most once, and is accounted for whatever dies in between (I3, I8). Each test on both databases."""

import asyncio
import itertools

import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.fake_processor import LIFETIME_SECONDS
from tests.vault_zone.world import Crash, World, charge_request, zone_world
from tokenization.wire import FINAL_CHARGE_STATES, Charge, ChargeState, ReturnRequest
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.processors.port import Outcome, ProcessorAnswer, ProcessorEvent
from vault_zone.states import MOVES, move

pytestmark = pytest.mark.anyio
ACTOR = "service:commerce"

PROCESSOR_CASES: dict[str, dict[str, object]] = {
    "answers": {},
    "loses the reply after the effect": {"lose_reply": True},
    "loses the request": {"lose_request": True},
    "cannot be connected to": {"unreachable": True},
    "declines": {"outcome": Outcome.DECLINED},
    "declines and loses the reply": {"outcome": Outcome.DECLINED, "lose_reply": True},
    "wants authentication": {"outcome": Outcome.ACTION_REQUIRED},
}
CRASHES = list(itertools.product((None, 1, 2, 3), ("lost", "persisted")))


async def charged(world: World, grant: str, **other: object) -> Charge:
    return await world.engine.charge(charge_request(grant, **other), ACTOR)


async def test_a_grant_is_charged_once_and_the_code_reaches_the_processor(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, await world.captured_grant())
        assert charge.state is ChargeState.SUCCEEDED
        assert (charge.card.brand, charge.card.last4, charge.amount_minor) == ("visa", "4242", 10_905)
        [(reference, amount_minor, number, code)] = world.processor.seen
        assert (reference, amount_minor, number, code) == (charge.charge, 10_905, "4242424242424242", "737")


@pytest.mark.parametrize("case", PROCESSOR_CASES)
@pytest.mark.parametrize(("write", "fate"), CRASHES)
async def test_whatever_dies_at_any_write_every_charge_is_accounted_for(
    database_url: str, case: str, write: int | None, fate: str
) -> None:
    """The table {write} × {lost, persisted} × {what the processor does}: after a restart nothing is charged twice or lost."""
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        for name, value in PROCESSOR_CASES[case].items():
            setattr(world.processor, name, value)
        asked = charge_request(grant)
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, fate == "persisted"
        try:
            await world.engine.charge(asked, ACTOR)
        except Crash:
            world = world.restart()  # noqa: PLW2901  # the process that died is not asked again
            await world.engine.recover()
        world.database.crash_at = None
        world.processor.lose_reply = world.processor.lose_request = world.processor.unreachable = False

        # The same call again, as commerce makes it, and the time after which no request can take effect any more.
        again = await answer_or_refusal(world, asked)
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.engine.resolve_unknown()
        final = await world.engine.find(asked.merchant, asked.payment)

        record = list(world.processor.record.values())
        assert len(record) <= 1, "more than one charge reached the processor"
        assert world.processor.calls <= 1, "the processor was asked a second time"
        if final is None:
            assert again is ZoneError.SECURITY_CODE_GONE, "nothing was begun, so the shopper is asked again"
            assert not record
        elif record and record[0].outcome is Outcome.ACTION_REQUIRED:
            assert final.state is ChargeState.ACTION_REQUIRED
        else:
            assert final.state in FINAL_CHARGE_STATES
            assert (final.state is ChargeState.SUCCEEDED) == (world.processor.money_taken() == 1)


@pytest.mark.parametrize("write", [1, 2])
async def test_after_a_crash_before_the_charge_a_new_card_pays_the_same_checkout(database_url: str, write: int) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        grant = await world.captured_grant()
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, False
        with pytest.raises(Crash):
            await charged(world, grant)
        world.processor.lose_request = False
        world = world.restart()  # noqa: PLW2901  # the process that died is not asked again
        await world.engine.recover()
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.engine.resolve_unknown()
        charge = await charged(world, await world.captured_grant())
        assert charge.state is ChargeState.SUCCEEDED
        assert world.processor.money_taken() == 1


async def test_the_same_payment_asked_many_times_at_once_is_one_charge(database_url: str) -> None:
    async with zone_world(database_url) as world:
        asked = charge_request(await world.captured_grant())
        answers = await asyncio.gather(*(world.engine.charge(asked, ACTOR) for _ in range(8)))
        assert {answer.charge for answer in answers} == {answers[0].charge}
        assert world.processor.calls == 1
        assert (await world.engine.charge(asked, ACTOR)).state is ChargeState.SUCCEEDED


async def test_two_payments_of_one_checkout_are_one_charge_and_one_refusal(database_url: str) -> None:
    """Two channels that pay one checkout, each with a card of its own."""
    async with zone_world(database_url) as world:
        grants = [await world.captured_grant(), await world.captured_grant()]
        answers = await asyncio.gather(*(answer_or_refusal(world, charge_request(grant)) for grant in grants))
        assert sorted(isinstance(answer, Charge) for answer in answers) == [False, True]
        assert ZoneError.CHECKOUT_ALREADY_CHARGED in answers
        assert world.processor.money_taken() == 1


async def test_a_payment_id_never_stands_for_two_different_charges(database_url: str) -> None:
    async with zone_world(database_url) as world:
        asked = charge_request(await world.captured_grant())
        await world.engine.charge(asked, ACTOR)
        for other in ({"amount_minor": 1}, {"checkout": "chk_b"}, {"currency": "EUR"}):
            changed = asked.model_copy(update=other)
            assert await answer_or_refusal(world, changed) is ZoneError.PAYMENT_CONFLICT
        assert world.processor.calls == 1


async def test_an_unknown_charge_ends_only_by_the_processors_record(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        assert charge.state is ChargeState.UNKNOWN
        await world.engine.resolve_unknown()
        early = await world.engine.find(charge.merchant, charge.payment)
        assert early is not None
        assert early.state is ChargeState.UNKNOWN, "absence says nothing while the request may still be on its way"
        # It was on its way after all: the record appears, and is believed.
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, "ch_late")
        await world.engine.resolve_unknown()
        late = await world.engine.find(charge.merchant, charge.payment)
        assert late is not None
        assert late.state is ChargeState.SUCCEEDED
        assert world.processor.calls == 1


async def test_an_empty_answer_that_took_its_time_proves_nothing(database_url: str) -> None:
    """The processor looked while the request could still take effect; its answer came after that time."""
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        world.processor.before_answering_find = lambda: world.clock.advance(LIFETIME_SECONDS + 1)
        await world.engine.resolve_unknown()
        world.processor.before_answering_find = None
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, "ch_late")
        await world.engine.resolve_unknown()
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert found.state is ChargeState.SUCCEEDED


async def test_a_charge_that_the_processor_acknowledged_never_ends_by_absence(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charge = await charged(world, await world.captured_grant())
        world.processor.record.clear()
        world.clock.advance(3600)
        await world.engine.resolve_unknown()
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert found.state is ChargeState.ACTION_REQUIRED


async def test_a_shopper_who_comes_back_has_the_processor_asked(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charge = await charged(world, await world.captured_grant())
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, "ch")
        back = ReturnRequest(merchant=charge.merchant, payment=charge.payment, query="")
        assert (await world.engine.returned(back)).state is ChargeState.SUCCEEDED


@pytest.mark.parametrize("told", [Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.UNKNOWN, Outcome.ACTION_REQUIRED])
async def test_what_a_processor_says_of_a_return_is_what_counts(
    database_url: str, told: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, str, bool]] = []

    async def end_authentication(reference: str, query: str, *, capture: bool) -> ProcessorAnswer:
        heard.append((reference, query, capture))
        return ProcessorAnswer(told, "ch")

    async with zone_world(database_url) as world:
        monkeypatch.setattr(world.processor, "end_authentication", end_authentication, raising=False)
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charge = await charged(world, await world.captured_grant())
        back = ReturnRequest(merchant=charge.merchant, payment=charge.payment, query="redirectResult=a")
        state = (await world.engine.returned(back)).state
        is_final = told in (Outcome.SUCCEEDED, Outcome.DECLINED)
        assert state.value == (told.value if is_final else "action_required")
        await world.engine.returned(back)
        assert heard == [(charge.charge, "redirectResult=a", True)] * (
            1 if is_final else 2
        )  # what has ended is not asked about


async def test_nobody_comes_back_to_a_charge_that_the_merchant_does_not_have(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, await world.captured_grant())
        for merchant, payment in (("other-brand", charge.payment), (charge.merchant, "pay_never")):
            with pytest.raises(ZoneRefusal) as refused:
                await world.engine.returned(ReturnRequest(merchant=merchant, payment=payment, query=""))
            assert refused.value.kind is ZoneError.NOT_FOUND


async def test_an_outcome_that_could_not_be_written_is_found_again_without_a_restart(database_url: str) -> None:
    async with zone_world(database_url) as world:
        asked = charge_request(await world.captured_grant())
        world.database.changes, world.database.crash_at = 0, 2
        with pytest.raises(Crash):
            await world.engine.charge(asked, ACTOR)
        world.database.crash_at = None
        world.clock.advance(61)
        assert await world.engine.recover(idle_seconds=60) == 1
        await world.engine.resolve_unknown()
        found = await world.engine.find(asked.merchant, asked.payment)
        assert found is not None
        assert found.state is ChargeState.SUCCEEDED
        assert world.processor.calls == 1


async def test_a_charge_on_its_way_is_not_taken_for_a_lost_one(database_url: str) -> None:
    async with zone_world(database_url) as world:
        taken: list[int] = []

        def during() -> None:
            world.clock.advance(120)

        world.processor.during = during
        world.processor.while_charging = world.engine.recover
        world.processor.taken = taken
        charge = await charged(world, await world.captured_grant())
        assert charge.state is ChargeState.SUCCEEDED
        assert taken == [0]


async def test_money_taken_for_a_charge_that_counts_as_failed_is_on_record(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.engine.resolve_unknown()
        late = ProcessorEvent("evt_late", charge.charge, ProcessorAnswer(Outcome.SUCCEEDED, "ch_late"))
        await world.engine.apply_webhook(late, "fake")
        kinds = await world.database.read(lambda c: c.execute(select(audit_event.c.type)).scalars().all())
        assert "charge.needs_attention" in kinds


async def test_shoppers_who_never_come_back_keep_no_unknown_charge_waiting(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault_zone.charge_rows.BATCH", 2)
    async with zone_world(database_url) as world:
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charges = [
            await charged(world, await world.captured_grant(checkout=f"chk_{n}"), checkout=f"chk_{n}") for n in range(5)
        ]
        world.processor.outcome, world.processor.lose_reply = Outcome.SUCCEEDED, True
        grant = await world.captured_grant(checkout="chk_last")
        world.processor.unreachable_find = True
        last = await charged(world, grant, checkout="chk_last")
        world.processor.unreachable_find = False
        await world.engine.resolve_unknown()
        found = await world.engine.find(last.merchant, last.payment)
        assert found is not None
        assert found.state is ChargeState.SUCCEEDED
        for charge in charges:
            world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, "ch")
        for _ in range(4):
            await world.engine.resolve_unknown()
        assert world.processor.money_taken() == 6
        states = [await world.engine.find(charge.merchant, charge.payment) for charge in charges]
        assert {charge.state for charge in states if charge} == {ChargeState.SUCCEEDED}


async def test_charges_without_an_end_keep_no_other_unknown_charge_waiting(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault_zone.charge_rows.BATCH", 2)
    async with zone_world(database_url) as world:
        world.processor.features = frozenset()  # no record to ask: absence ends nothing
        world.processor.lose_request = True
        for number in range(5):
            await charged(world, await world.captured_grant(checkout=f"chk_{number}"), checkout=f"chk_{number}")
        world.processor.lose_request, world.processor.lose_reply, world.processor.unreachable_find = False, True, True
        last = await charged(world, await world.captured_grant(checkout="chk_last"), checkout="chk_last")
        world.processor.unreachable_find = False
        for _ in range(3):
            await world.engine.resolve_unknown()
        found = await world.engine.find(last.merchant, last.payment)
        assert found is not None
        assert found.state is ChargeState.SUCCEEDED


async def test_a_processor_that_cannot_be_asked_leaves_the_charge_unknown(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        world.processor.unreachable = True
        world.clock.advance(3600)
        await world.engine.resolve_unknown()
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert found.state is ChargeState.UNKNOWN


@requirement("10.7.2")
async def test_nothing_is_charged_while_the_log_cannot_be_written(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        world.log_writable[0] = False
        asked = charge_request(grant)
        assert await answer_or_refusal(world, asked) is ZoneError.AUDIT_UNAVAILABLE
        assert world.processor.calls == 0
        world.log_writable[0] = True
        assert (await world.engine.charge(asked, ACTOR)).state is ChargeState.SUCCEEDED, (
            "the same call works afterwards"
        )


async def test_a_failed_commit_of_the_intent_leaves_the_code_for_the_next_try(database_url: str) -> None:
    async with zone_world(database_url) as world:
        asked = charge_request(await world.captured_grant())
        world.database.changes, world.database.crash_at = 0, 1
        with pytest.raises(Crash):
            await world.engine.charge(asked, ACTOR)
        assert world.processor.calls == 0
        assert (await world.engine.charge(asked, ACTOR)).state is ChargeState.SUCCEEDED


async def test_authentication_ends_by_the_processors_word(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.outcome = Outcome.ACTION_REQUIRED
        charge = await charged(world, await world.captured_grant())
        assert charge.state is ChargeState.ACTION_REQUIRED
        assert charge.action_url == "https://bank.example/acs"
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.SUCCEEDED, "ch_1")
        await world.engine.resolve_unknown()
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert (found.state, found.action_url) == (ChargeState.SUCCEEDED, None)


async def test_a_webhook_is_applied_once_and_a_late_one_changes_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        won = ProcessorEvent("evt_1", charge.charge, ProcessorAnswer(Outcome.SUCCEEDED, "ch_1"))
        lost = ProcessorEvent("evt_0", charge.charge, ProcessorAnswer(Outcome.DECLINED, "ch_1", "card_declined"))
        await asyncio.gather(*(world.engine.apply_webhook(won, "fake") for _ in range(4)))
        await world.engine.apply_webhook(lost, "fake")
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert (found.state, found.decline_code) == (ChargeState.SUCCEEDED, None)


@pytest.mark.parametrize("said", ["4242424242424242", "<b>no</b>", "Declined: “sorry”", "x" * 500, "51"])
async def test_whatever_a_processor_calls_its_reason_the_outcome_is_recorded(database_url: str, said: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.lose_request = True
        charge = await charged(world, await world.captured_grant())
        world.processor.record[charge.charge] = ProcessorAnswer(Outcome.DECLINED, "ch_1", said)
        await world.engine.resolve_unknown()
        found = await world.engine.find(charge.merchant, charge.payment)
        assert found is not None
        assert (found.state, found.decline_code) == (ChargeState.DECLINED, "other")


async def test_a_webhook_about_nothing_of_ours_changes_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await world.engine.apply_webhook(
            ProcessorEvent("evt_1", "chg_nobody", ProcessorAnswer(Outcome.SUCCEEDED)), "fake"
        )
        assert await world.engine.resolve_unknown() == 0


def test_no_move_leaves_a_final_state_and_every_state_is_in_the_table() -> None:
    assert set(MOVES) == set(ChargeState)
    for source, target in itertools.product(ChargeState, ChargeState):
        if source in FINAL_CHARGE_STATES or target is ChargeState.PENDING:
            assert not move(source, target)
        if source is ChargeState.UNKNOWN and target in FINAL_CHARGE_STATES:
            assert move(source, target)


async def answer_or_refusal(world: World, asked: object) -> Charge | ZoneError:
    try:
        return await world.engine.charge(asked, ACTOR)  # type: ignore[arg-type]  # a ChargeRequest
    except ZoneRefusal as refusal:
        return refusal.kind
