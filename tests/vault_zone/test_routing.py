"""Which processor is asked, why, and when another one is: rules, health, and legs that never risk a second charge."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.vault_zone.fake_processor import LIFETIME_SECONDS, FakeProcessor
from tests.vault_zone.saving import granted, recorded, saved_card
from tests.vault_zone.world import ACTOR, VISA, Crash, World, charge_request, zone_world
from tokenization.wire import Charge, ChargeState, Initiator
from vault_zone import legs
from vault_zone.breaker import BreakerLimits, Breakers, Position
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import charge_leg
from vault_zone.processors.port import Feature, Outcome, ProcessorAnswer, ProcessorEvent
from vault_zone.processors.registry import Processors
from vault_zone.routing import candidates
from vault_zone.routing_policy import Question, RoutingPolicy
from vault_zone.settings import SettingsRefused

pytestmark = pytest.mark.anyio
BOTH = RoutingPolicy(default=("fake", "second"))
WRITTEN = {
    "rules": [
        {
            "name": "euro_visa",
            "when": {
                "brands": ["visa"],
                "currencies": ["EUR"],
                "bins": [{"from": "424242", "to": "424299"}],
                "amount_minor": {"from": 100, "to": 5_000},
                "merchants": ["harbour-pine"],
            },
            "processors": ["second", "fake"],
        },
        {"name": "dollars", "when": {"currencies": ["USD"]}, "processors": ["fake"]},
    ],
    "default": ["second"],
    "legs_maximum": 3,
    "patience": {"abandon_seconds": 600},
}
FITS: dict[str, Any] = {
    "merchant": "harbour-pine",
    "brand": "visa",
    "bin8": "42424242",
    "amount_minor": 100,
    "currency": "EUR",
}


def policy_of(tmp_path: Path, written: object) -> RoutingPolicy:
    path = tmp_path / "routing.json"
    path.write_text(json.dumps(written), encoding="utf-8")
    return RoutingPolicy.read(path, ("fake", "second"))


def test_without_a_file_the_first_processor_gets_everything(tmp_path: Path) -> None:
    policy = RoutingPolicy.read(tmp_path / "routing.json", ("fake", "second"))
    assert policy.decide(Question(**FITS)) == (("fake",), None)


@pytest.mark.parametrize(
    ("other", "decided"),
    [
        ({}, (("second", "fake"), "euro_visa")),
        ({"amount_minor": 5_000}, (("second", "fake"), "euro_visa")),
        ({"amount_minor": 99}, (("second",), None)),
        ({"amount_minor": 5_001}, (("second",), None)),
        ({"brand": "amex"}, (("second",), None)),
        ({"bin8": "42430000"}, (("second",), None)),
        ({"bin8": "42429999"}, (("second", "fake"), "euro_visa")),
        ({"merchant": "oak"}, (("second",), None)),
        ({"currency": "USD"}, (("fake",), "dollars")),
    ],
)
def test_the_first_rule_of_which_every_condition_holds_decides(
    tmp_path: Path, other: dict[str, object], decided: object
) -> None:
    policy = policy_of(tmp_path, WRITTEN)
    assert policy.decide(Question(**{**FITS, **other})) == decided
    assert (policy.legs_maximum, policy.patience.abandon_seconds) == (3, 600)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"default": []}, "default"),
        ({"default": ["third"]}, "default"),
        ({"default": ["fake", "fake"]}, "default"),
        ({"extra": 1}, "must hold an object"),
        ({"legs_maximum": 0}, "legs_maximum"),
        ({"legs_maximum": True}, "legs_maximum"),
        ({"rules": {}}, "rules must be a list"),
        ({"rules": [{"name": "x"}]}, "a rule has name, when and processors"),
        ({"rules": [{"name": "Ünsafe", "when": {}, "processors": ["fake"]}]}, "name"),
        ({"rules": [{"name": "a", "when": {"moon": 1}, "processors": ["fake"]}]}, "when may hold"),
        ({"rules": [{"name": "a", "when": {"currencies": "EUR"}, "processors": ["fake"]}]}, "currencies"),
        ({"rules": [{"name": "a", "when": {"currencies": ["eur"]}, "processors": ["fake"]}]}, "currencies"),
        ({"rules": [{"name": "a", "when": {"bins": [{"from": "43", "to": "44"}]}, "processors": ["fake"]}]}, "bins"),
        (
            {"rules": [{"name": "a", "when": {"bins": [{"from": "430000", "to": "42"}]}, "processors": ["fake"]}]},
            "bins",
        ),
        ({"rules": [{"name": "a", "when": {"amount_minor": {"from": 2, "to": 1}}, "processors": ["fake"]}]}, "amount"),
        ({"rules": [{"name": "a", "when": {}, "processors": ["fake"]}] * 2}, "same name"),
        ({"patience": {"abandon_seconds": 0}}, "patience"),
        ({"patience": {"hurry": 1}}, "patience"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_to_mend(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(SettingsRefused, match=said):
        policy_of(tmp_path, {**WRITTEN, **change})


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "routing.json").write_text("{", encoding="utf-8")
    with pytest.raises(SettingsRefused, match="not JSON"):
        RoutingPolicy.read(tmp_path / "routing.json", ("fake",))


@given(
    order=st.permutations(["a", "b", "c"]),
    unwell=st.sets(st.sampled_from(["a", "b", "c"])),
    lacking=st.sets(st.sampled_from(["a", "b", "c"])),
    bound_to=st.sampled_from([None, "a", "b", "c", "elsewhere"]),
    legs_maximum=st.integers(1, 3),
)
def test_candidates_are_able_each_once_well_ones_first_and_bounded(
    order: list[str], unwell: set[str], lacking: set[str], bound_to: str | None, legs_maximum: int
) -> None:
    processors = Processors(
        *(FakeProcessor(name, features=frozenset(() if name in lacking else Feature)) for name in ("a", "b", "c"))
    )
    policy = RoutingPolicy(default=tuple(order), legs_maximum=legs_maximum)
    found = candidates(
        policy, processors, Question(**FITS), bound_to=bound_to, needs={Feature.MANUAL_CAPTURE}, unwell=unwell
    )
    names = [one.processor for one in found]
    if bound_to is not None:
        assert names == ([bound_to] if bound_to in {"a", "b", "c"} - lacking else [])
        return
    able = [name for name in order if name not in lacking]
    wanted = [name for name in able if name not in unwell] + [name for name in able if name in unwell]
    assert names == wanted[:legs_maximum]


class Clock:
    def __init__(self) -> None:
        self.now_seconds = 0.0

    def __call__(self) -> float:
        return self.now_seconds


LIMITS = BreakerLimits(window_seconds=60, calls_minimum=4, failed_share=0.5, open_seconds=30)


def opened() -> tuple[Breakers, Clock]:
    clock = Clock()
    breakers = Breakers(clock, LIMITS)
    for well in (True, True, False, False):
        assert breakers.lets_through("a")
        breakers.end("a", well=well)
    return breakers, clock


def test_a_breaker_opens_at_its_share_and_only_for_its_own_processor() -> None:
    breakers, _ = opened()
    assert breakers.position("a") is Position.OPEN
    assert not breakers.lets_through("a")
    assert breakers.lets_through("b")


def test_what_went_wrong_before_the_window_does_not_count() -> None:
    clock = Clock()
    breakers = Breakers(clock, LIMITS)
    for _ in range(3):
        breakers.end("a", well=False)
    clock.now_seconds = 60.0
    breakers.end("a", well=False)
    assert breakers.position("a") is Position.CLOSED


def test_half_open_it_lets_one_through_which_decides() -> None:
    for well, after in ((True, Position.CLOSED), (False, Position.OPEN)):
        breakers, clock = opened()
        clock.now_seconds = 30.0
        assert breakers.position("a") is Position.HALF_OPEN
        assert breakers.lets_through("a")
        breakers.begin("a")
        assert not breakers.lets_through("a"), "one at a time"
        breakers.end("a", well=well)
        assert breakers.position("a") is after


async def charged(world: World, checkout: str = "chk_a", **other: object) -> Charge:
    grant = await world.captured_grant(checkout=checkout)
    return await world.engine.charge(charge_request(grant, checkout=checkout, **other), ACTOR)


async def legs_of(world: World, charge: Charge) -> list[tuple[str, str, str | None]]:
    """Processor, reason and outcome of each leg."""
    found = select(charge_leg).where(charge_leg.c.charge_id == charge.charge).order_by(charge_leg.c.leg)
    rows = await world.database.read(lambda c: c.execute(found).all())
    return [(row.processor, row.reason, row.outcome) for row in rows]


async def test_a_decline_that_may_go_elsewhere_goes_to_the_next_with_the_same_key_and_code(database_url: str) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.outcome, world.processor.may_go_elsewhere = Outcome.DECLINED, True
        charge = await charged(world)
        assert (charge.state, charge.processor) == (ChargeState.SUCCEEDED, "second")
        assert world.processor.seen[0][:1] + world.processor.seen[0][2:] == (charge.charge, VISA, "737")
        assert second.seen[0][:1] + second.seen[0][2:] == (charge.charge, VISA, "737"), "one code, through all legs"
        assert await legs_of(world, charge) == [
            ("fake", "by_default", "declined"),
            ("second", "after_decline", "succeeded"),
        ]
        assert await recorded(world, "charge.routed", charge.charge) == 2


async def test_a_processor_that_takes_no_connection_is_tried_again_and_then_left(database_url: str) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.unreachable = True
        charge = await charged(world)
        assert (charge.state, charge.processor) == (ChargeState.SUCCEEDED, "second")
        assert world.processor.connections_refused == legs.TRIES
        assert (await legs_of(world, charge))[1][:2] == ("second", "after_no_connection")


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"lose_reply": True, "unreachable_find": True}, ChargeState.UNKNOWN),
        ({"lose_request": True}, ChargeState.UNKNOWN),
        ({"outcome": Outcome.ACTION_REQUIRED}, ChargeState.ACTION_REQUIRED),
        ({"outcome": Outcome.DECLINED}, ChargeState.DECLINED),
    ],
)
async def test_nothing_else_is_ever_sent_to_a_second_processor(
    database_url: str, fault: dict[str, object], state: ChargeState
) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        for name, value in fault.items():
            setattr(world.processor, name, value)
        assert (await charged(world)).state is state
        assert second.calls == 0


async def test_a_planted_cascade_after_unknown_would_charge_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the guard prevents: without it, a lost reply and a second processor take the money twice."""
    monkeypatch.setattr(legs, "_may_go_on", lambda answer: answer.outcome is not Outcome.SUCCEEDED)
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.lose_reply = True
        await charged(world)
        assert world.processor.money_taken() + second.money_taken() == 2


async def test_the_number_of_legs_is_bounded(database_url: str) -> None:
    others = [FakeProcessor(name, outcome=Outcome.DECLINED, may_go_elsewhere=True) for name in ("second", "third")]
    policy = RoutingPolicy(default=("fake", "second", "third"), legs_maximum=2)
    async with zone_world(database_url, *others, policy=policy) as world:
        world.processor.outcome, world.processor.may_go_elsewhere = Outcome.DECLINED, True
        charge = await charged(world)
        assert (charge.state, charge.processor) == (ChargeState.DECLINED, "second")
        assert [one.calls for one in others] == [1, 0]


async def test_a_grant_that_names_a_processor_goes_there_alone(database_url: str) -> None:
    second = FakeProcessor("second", outcome=Outcome.DECLINED, may_go_elsewhere=True)
    async with zone_world(database_url, second, policy=BOTH) as world:
        grant = await granted(world, await saved_card(world), ceiling_minor=10_905, processor="second")
        charge = await world.engine.charge(charge_request(grant), ACTOR)
        assert (charge.state, charge.processor) == (ChargeState.DECLINED, "second")
        assert await legs_of(world, charge) == [("second", "named_by_grant", "declined")]
        assert world.processor.calls == 0


async def test_an_ill_processor_comes_last_until_a_probe_goes_well(database_url: str) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.lose_request = True
        for number in range(5):
            await charged(world, f"chk_ill_{number}")
        world.processor.lose_request = False
        charge = await charged(world, "chk_b")
        assert await legs_of(world, charge) == [("second", "others_unwell", "succeeded")]
        world.clock.advance(30)
        assert (await charged(world, "chk_c")).processor == "fake"
        assert (await charged(world, "chk_d")).processor == "fake"


@pytest.mark.parametrize("write", [1, 2, 3])
@pytest.mark.parametrize("persisted", [False, True])
async def test_whatever_dies_between_legs_there_is_one_charge_and_its_processor_is_asked(
    database_url: str, write: int, persisted: bool
) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.outcome, world.processor.may_go_elsewhere = Outcome.DECLINED, True
        asked = charge_request(await world.captured_grant())
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
        with pytest.raises(Crash):
            await world.engine.charge(asked, ACTOR)
        world = world.restart()  # noqa: PLW2901  # the process that died is not asked again
        await world.engine.recover()
        world.clock.advance(LIFETIME_SECONDS + 1)
        await world.engine.resolve_unknown()
        final = await world.engine.find(asked.merchant, asked.payment)
        if final is None:
            assert (write, persisted, second.calls) == (1, False, 0)
        else:
            assert (final.state is ChargeState.SUCCEEDED) == (second.money_taken() == 1)
            assert final.state in (ChargeState.SUCCEEDED, ChargeState.DECLINED, ChargeState.FAILED)


async def test_word_of_a_processor_that_was_left_moves_nothing_and_money_there_is_seen_to(database_url: str) -> None:
    second = FakeProcessor("second")
    async with zone_world(database_url, second, policy=BOTH) as world:
        world.processor.outcome, world.processor.may_go_elsewhere = Outcome.DECLINED, True
        charge = await charged(world)
        for event_id, outcome in (("evt_a", Outcome.DECLINED), ("evt_b", Outcome.SUCCEEDED)):
            news = ProcessorEvent(event_id, charge.charge, ProcessorAnswer(outcome, "ch_x"))
            await world.engine.apply_webhook(news, "fake")
        now = await world.engine.find(charge.merchant, charge.payment)
        assert now is not None
        assert (now.state, now.captured_minor) == (ChargeState.SUCCEEDED, 10_905)
        assert await recorded(world, "charge.needs_attention", charge.charge) == 1


async def test_what_no_processor_offers_is_refused_before_anything_is_begun(database_url: str) -> None:
    async with zone_world(database_url) as world:
        world.processor.features = frozenset({Feature.QUERY})
        grant = await world.captured_grant()
        with pytest.raises(ZoneRefusal) as refused:
            await world.engine.charge(charge_request(grant, capture="manual"), ACTOR)
        assert refused.value.kind is ZoneError.NOT_OFFERED_BY_PROCESSOR
        assert (await world.engine.charge(charge_request(grant), ACTOR)).state is ChargeState.SUCCEEDED, (
            "code and use kept"
        )


async def test_a_merchant_initiated_charge_names_the_purchase_in_which_the_shopper_agreed(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        first = await world.engine.charge(charge_request(await granted(world, token, ceiling_minor=10_905)), ACTOR)
        grant = await granted(world, token, ceiling_minor=10_905, checkout="chk_later")
        later = charge_request(grant, checkout="chk_later", initiator=Initiator.MERCHANT_RECURRING)
        assert (await world.engine.charge(later, ACTOR)).state is ChargeState.SUCCEEDED
        request = world.processor.requests[-1]
        assert (request.initiator, request.cvc) == (Initiator.MERCHANT_RECURRING, None)
        assert request.initial_network_reference == f"net_{first.charge}"


async def test_without_consent_or_with_a_code_nothing_is_merchant_initiated(database_url: str) -> None:
    async with zone_world(database_url) as world:
        grant = await world.captured_grant()
        asked = charge_request(grant, initiator=Initiator.MERCHANT_UNSCHEDULED)
        with pytest.raises(ZoneRefusal) as refused:
            await world.engine.charge(asked, ACTOR)
        assert refused.value.kind is ZoneError.GRANT_NOT_USABLE
        assert world.processor.calls == 0
