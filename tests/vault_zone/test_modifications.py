"""A capture, void or refund happens at most once, never beyond the amounts there are, whatever dies in between (I3, I8)."""

import asyncio
import itertools

import pytest

from tests.vault_zone.fake_processor import LIFETIME_SECONDS
from tests.vault_zone.world import ACTOR, Crash, World, charge_request, modification_request, zone_world
from tokenization.money import Money
from tokenization.wire import (
    FINAL_MODIFICATION_STATES,
    Charge,
    ChargeState,
    Modification,
    ModificationKind,
    ModificationRequest,
    ModificationState,
)
from vault_zone import charge_rows, modifications
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.ledger.events import AuthorizationReleased, Authorized, Captured, Refunded
from vault_zone.processors.port import Feature, ModificationOutcome
from vault_zone.states import MODIFICATION_MOVES, modification_move

pytestmark = pytest.mark.anyio
AMOUNT = 10_905
CAPTURE, VOID, REFUND = ModificationKind.CAPTURE, ModificationKind.VOID, ModificationKind.REFUND
SUCCEEDED, DECLINED, FAILED = ModificationState.SUCCEEDED, ModificationState.DECLINED, ModificationState.FAILED

PROCESSOR_CASES: dict[str, dict[str, object]] = {
    "answers": {},
    "loses the reply after the effect": {"lose_reply": True},
    "loses the request": {"lose_request": True},
    "cannot be connected to": {"unreachable": True},
    "declines": {"modification_outcome": ModificationOutcome.DECLINED},
    "declines and loses the reply": {"modification_outcome": ModificationOutcome.DECLINED, "lose_reply": True},
    "accepts and tells later": {"modification_outcome": ModificationOutcome.ACCEPTED},
}
CRASHES = list(itertools.product((None, 1, 2, 3), ("lost", "persisted")))


async def charged(world: World, checkout: str = "chk_a", *, capture: str = "manual") -> Charge:
    grant = await world.captured_grant(checkout=checkout)
    return await world.engine.charge(charge_request(grant, checkout=checkout, capture=capture), ACTOR)


async def modified(world: World, charge: Charge, kind: ModificationKind, **other: object) -> Modification:
    return await world.modifications.modify(modification_request(charge, kind, **other), ACTOR)


async def refusal(world: World, charge: Charge, kind: ModificationKind, **other: object) -> ZoneError | None:
    try:
        await modified(world, charge, kind, **other)
    except ZoneRefusal as refused:
        return refused.kind
    return None


async def found(world: World, charge: Charge) -> Charge:
    now = await world.engine.find(charge.merchant, charge.payment)
    assert now is not None
    return now


async def test_an_authorization_is_captured_in_whole(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        assert (charge.state, charge.authorized_minor, charge.captured_minor) == (ChargeState.AUTHORIZED, AMOUNT, 0)
        assert charge.authorized_until_ms == world.clock() + world.processor.authorization_lifetime_seconds * 1000
        capture = await modified(world, charge, CAPTURE)
        assert (capture.state, capture.amount_minor) == (SUCCEEDED, AMOUNT)
        assert (capture.charge.state, capture.charge.captured_minor) == (ChargeState.SUCCEEDED, AMOUNT)
        assert world.processor.accounts[charge.charge].captured == AMOUNT
        assert await refusal(world, charge, CAPTURE) is ZoneError.MODIFICATION_NOT_POSSIBLE
        assert await refusal(world, charge, VOID) is ZoneError.MODIFICATION_NOT_POSSIBLE


async def test_a_partial_final_capture_releases_the_rest(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await modified(world, charge, CAPTURE, amount_minor=4_000)
        now = await found(world, charge)
        assert (now.state, now.authorized_minor, now.captured_minor) == (ChargeState.SUCCEEDED, AMOUNT, 4_000)
        assert await refusal(world, charge, CAPTURE) is ZoneError.MODIFICATION_NOT_POSSIBLE
        assert [type(event) for event in world.booked] == [Authorized, Captured, AuthorizationReleased]
        assert [event.amount.amount_minor for event in world.booked] == [AMOUNT, 4_000, 6_905]


async def test_several_captures_take_the_whole_and_the_last_one_closes(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await modified(world, charge, CAPTURE, amount_minor=4_000, is_final=False)
        second = await modified(world, charge, CAPTURE, amount_minor=4_000, is_final=False)
        assert (second.charge.state, second.charge.captured_minor) == (ChargeState.SUCCEEDED, 8_000)
        assert await refusal(world, charge, CAPTURE, amount_minor=2_906) is ZoneError.AMOUNT_NOT_AVAILABLE
        last = await modified(world, charge, CAPTURE, is_final=False)
        assert (last.amount_minor, last.charge.captured_minor) == (2_905, AMOUNT)
        assert world.processor.accounts[charge.charge].is_closed


async def test_what_is_left_after_a_part_was_captured_can_be_let_go(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        await modified(world, charge, CAPTURE, amount_minor=4_000, is_final=False)
        void = await modified(world, charge, VOID)
        assert (void.state, void.charge.state) == (SUCCEEDED, ChargeState.SUCCEEDED)
        assert world.booked[-1] == AuthorizationReleased(
            charge.merchant, charge.charge, void.modification, Money(6_905, "USD"), "fake"
        )
        assert await refusal(world, charge, CAPTURE) is ZoneError.MODIFICATION_NOT_POSSIBLE


async def test_a_void_lets_the_checkout_be_paid_anew(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        void = await modified(world, charge, VOID)
        assert (void.state, void.amount_minor, void.charge.state) == (SUCCEEDED, None, ChargeState.VOIDED)
        assert await refusal(world, charge, CAPTURE) is ZoneError.MODIFICATION_NOT_POSSIBLE
        again = await charged(world)
        assert again.state is ChargeState.AUTHORIZED


async def test_refunds_in_parts_never_give_back_more_than_was_captured(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        assert (charge.authorized_minor, charge.captured_minor) == (AMOUNT, AMOUNT)
        for amount_minor in (5_000, 5_000):
            assert (await modified(world, charge, REFUND, amount_minor=amount_minor)).state is SUCCEEDED
        assert await refusal(world, charge, REFUND, amount_minor=906) is ZoneError.AMOUNT_NOT_AVAILABLE
        rest = await modified(world, charge, REFUND)
        assert (rest.amount_minor, rest.charge.refunded_minor, rest.charge.state) == (
            905,
            AMOUNT,
            ChargeState.SUCCEEDED,
        )
        assert await refusal(world, charge, REFUND) is ZoneError.AMOUNT_NOT_AVAILABLE
        assert sum(event.amount.amount_minor for event in world.booked if isinstance(event, Refunded)) == AMOUNT


async def test_refunds_at_once_share_what_there_is(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        answers = await asyncio.gather(*(refusal(world, charge, REFUND, amount_minor=4_000) for _ in range(4)))
        assert sorted(str(answer) for answer in answers) == [
            "None",
            "None",
            "ZoneError.AMOUNT_NOT_AVAILABLE",
            "ZoneError.AMOUNT_NOT_AVAILABLE",
        ]
        assert world.processor.accounts[charge.charge].refunded == 8_000


@pytest.mark.parametrize(
    ("lacking", "kind", "other"),
    [
        (Feature.PARTIAL_CAPTURE, CAPTURE, {"amount_minor": 1}),
        (Feature.MULTIPLE_CAPTURES, CAPTURE, {"amount_minor": 1, "is_final": False}),
        (Feature.PARTIAL_REFUND, REFUND, {"amount_minor": 1}),
    ],
)
async def test_what_the_processors_account_cannot_do_is_not_asked_of_it(
    database_url: str, lacking: Feature, kind: ModificationKind, other: dict[str, object]
) -> None:
    async with zone_world(database_url) as world:
        world.processor.features = frozenset(Feature) - {lacking}
        charge = await charged(world, capture="automatic" if kind is REFUND else "manual")
        assert await refusal(world, charge, kind, **other) is ZoneError.NOT_OFFERED_BY_PROCESSOR
        assert world.processor.modify_calls == 0
        assert (await modified(world, charge, kind)).state is SUCCEEDED, "the whole can be had"


@pytest.mark.parametrize("case", PROCESSOR_CASES)
@pytest.mark.parametrize("kind", ModificationKind)
async def test_whatever_dies_at_any_write_every_modification_is_accounted_for(
    database_url: str, kind: ModificationKind, case: str
) -> None:
    """The table {write} × {lost, persisted} × {what the processor does}, for each kind: charge by charge in one zone."""
    async with zone_world(database_url) as world:
        for number, (write, fate) in enumerate(CRASHES):
            charge = await charged(world, f"chk_{number}", capture="automatic" if kind is REFUND else "manual")
            for name, value in PROCESSOR_CASES[case].items():
                setattr(world.processor, name, value)
            asked = modification_request(charge, kind)
            world.database.changes, world.database.crash_at, world.database.persisted = 0, write, fate == "persisted"
            calls = world.processor.modify_calls
            try:
                await world.modifications.modify(asked, ACTOR)
            except Crash:
                world = world.restart()  # noqa: PLW2901  # the process that died is not asked again
                await world.modifications.recover()
            world.database.crash_at = None
            for name in ("lose_reply", "lose_request", "unreachable"):
                setattr(world.processor, name, False)
            begun = await world.modifications.find(asked.merchant, asked.request)
            if begun is not None:  # the same call again is the same act
                again = await world.modifications.modify(asked, ACTOR)
                assert again.modification == begun.modification
            world.clock.advance(LIFETIME_SECONDS + 1)
            await world.modifications.resolve_unknown()
            assert world.processor.modify_calls - calls <= 1, "the processor was asked a second time"
            await accounted_for(world, charge, asked)
            world.processor.modification_outcome = ModificationOutcome.SUCCEEDED


async def accounted_for(world: World, charge: Charge, asked: ModificationRequest) -> None:
    """What the zone says happened is what the processor did, in states and in amounts."""
    final, now = await world.modifications.find(asked.merchant, asked.request), await found(world, charge)
    account = world.processor.accounts[charge.charge]
    assert (now.captured_minor, now.refunded_minor) == (account.captured, account.refunded)
    done = [answer for request, answer in world.processor.modified.values() if request.charge == charge.charge]
    if final is None:
        assert not done, "what is not on disk was not asked for"
        return
    if done and done[0].outcome is ModificationOutcome.ACCEPTED:
        assert final.state is ModificationState.ACCEPTED
        world.processor.settle(final.modification, ModificationOutcome.SUCCEEDED)
        await world.modifications.resolve_unknown()
        await accounted_for(world, charge, asked)
        return
    assert final.state in FINAL_MODIFICATION_STATES
    took_effect = bool(done) and done[0].outcome is ModificationOutcome.SUCCEEDED
    assert (final.state is SUCCEEDED) == took_effect
    if asked.kind is VOID:
        assert now.state is (ChargeState.VOIDED if took_effect else ChargeState.AUTHORIZED)


async def test_one_request_asked_many_times_at_once_is_one_call(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        asked = modification_request(charge, REFUND, amount_minor=500)
        answers = await asyncio.gather(*(world.modifications.modify(asked, ACTOR) for _ in range(6)))
        assert len({answer.modification for answer in answers}) == 1
        assert world.processor.modify_calls == 1
        assert (await found(world, charge)).refunded_minor == 500


async def test_a_request_key_never_stands_for_two_acts(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge, other = await charged(world, capture="automatic"), await charged(world, "chk_b", capture="automatic")
        asked = modification_request(charge, REFUND, amount_minor=500, reason="returned")
        first = await world.modifications.modify(asked, ACTOR)
        changes: tuple[dict[str, object], ...] = (
            {"amount_minor": 501},
            {"amount_minor": None},
            {"kind": CAPTURE},
            {"reason": "damaged"},
            {"payment": other.payment},
        )
        for change in changes:
            with pytest.raises(ZoneRefusal) as refused:
                await world.modifications.modify(asked.model_copy(update=change), ACTOR)
            assert refused.value.kind is ZoneError.MODIFICATION_CONFLICT
        assert (await world.modifications.modify(asked, ACTOR)).modification == first.modification
        assert world.processor.modify_calls == 1


async def test_a_refused_request_leaves_its_key_free(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        asked = modification_request(charge, REFUND, amount_minor=500)
        with pytest.raises(ZoneRefusal):
            await world.modifications.modify(asked, ACTOR)
        await modified(world, charge, CAPTURE)
        assert (await world.modifications.modify(asked, ACTOR)).state is SUCCEEDED


async def test_an_amount_that_is_under_way_is_not_taken_by_another(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        world.processor.lose_request = True
        unknown = await modified(world, charge, REFUND)
        assert (unknown.state, unknown.charge.refunded_minor) == (ModificationState.UNKNOWN, 0)
        world.processor.lose_request = False
        assert await refusal(world, charge, REFUND, amount_minor=1) is ZoneError.AMOUNT_NOT_AVAILABLE
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.modifications.resolve_unknown()
        assert (await modified(world, charge, REFUND)).state is SUCCEEDED, "and given back when it had no effect"


async def test_without_a_record_to_ask_absence_ends_nothing(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.features = frozenset(Feature) - {Feature.QUERY}
        charge = await charged(world, capture="automatic")
        world.processor.lose_request = True
        unknown = await modified(world, charge, REFUND)
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.modifications.resolve_unknown()
        now = await world.modifications.find(unknown.charge.merchant, unknown.request)
        assert now is not None
        assert now.state is ModificationState.UNKNOWN


async def test_nothing_is_begun_while_the_log_cannot_be_written(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        world.log_writable[0] = False
        assert await refusal(world, charge, CAPTURE) is ZoneError.AUDIT_UNAVAILABLE
        assert world.processor.modify_calls == 0


async def test_another_merchants_charge_does_not_exist(database_url: str) -> None:
    async with zone_world(database_url) as world:
        charge = await charged(world)
        assert await refusal(world, charge, VOID, merchant="somebody-else") is ZoneError.NOT_FOUND
        assert (await found(world, charge)).state is ChargeState.AUTHORIZED


@pytest.mark.parametrize(("kind", "capture"), [(CAPTURE, "manual"), (REFUND, "automatic")])
async def test_with_the_check_of_amounts_planted_out_the_database_still_refuses(
    database_url: str, kind: ModificationKind, capture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modifications, "_within", lambda asked_minor, left_minor: asked_minor or left_minor)
    async with zone_world(database_url) as world:
        charge = await charged(world, capture=capture)
        assert await refusal(world, charge, kind, amount_minor=AMOUNT + 1) is ZoneError.INTERNAL
        assert world.processor.modify_calls == 0


async def test_with_the_turn_and_the_look_planted_out_the_database_still_makes_one_act_of_one_key(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that are asked at once: neither sees the other's request before it writes its own."""
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        asked = modification_request(charge, REFUND, amount_minor=500)
        await world.modifications.modify(asked, ACTOR)
        monkeypatch.setattr(charge_rows, "modification_of_request", lambda *_: None)
        assert await refusal(world, charge, REFUND, request=asked.request, amount_minor=500) is ZoneError.INTERNAL
        assert world.processor.modify_calls == 1


async def test_a_planted_absence_that_does_not_wait_would_refund_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the waiting prevents: believed at once, an empty record gives the amount free while the request is on its way."""
    monkeypatch.setattr(modifications, "_verdict_of_absence", lambda *_: ModificationOutcome.NEVER_SENT)
    async with zone_world(database_url) as world:
        charge = await charged(world, capture="automatic")
        world.processor.lose_request = True
        assert (await modified(world, charge, REFUND)).state is FAILED
        world.processor.lose_request = False
        assert (await modified(world, charge, REFUND)).state is SUCCEEDED


def test_every_state_is_in_the_table_and_no_move_leaves_an_end() -> None:
    assert set(MODIFICATION_MOVES) == set(ModificationState)
    for source, target in itertools.product(ModificationState, ModificationState):
        comes_back = (source, target) == (SUCCEEDED, ModificationState.RETURNED)
        if source in FINAL_MODIFICATION_STATES or target in (ModificationState.PENDING, ModificationState.RETURNED):
            assert modification_move(source, target) is comes_back
