"""One charge's whole life against a model: hypothesis makes the steps, the faults and the deaths; each step compares.

The model is the processor's own account of the charge, kept by FakeProcessor: it refuses what is beyond its amounts and does
each reference once. Whatever the steps were, in the end zone and processor say the same, and the books add up.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.engine import Connection

from commerce_api.settings import sqlite_url
from tests.vault_zone.fake_processor import AUTHORIZATION_SECONDS, LIFETIME_SECONDS
from tests.vault_zone.world import ACTOR, Crash, World, charge_request, modification_request, zone_world
from tokenization.wire import Charge, ChargeState, ModificationKind
from vault_zone import settling
from vault_zone.charge_rows import charge_row
from vault_zone.errors import ZoneRefusal
from vault_zone.ledger.events import AuthorizationReleased, Authorized, BooksEvent, Captured, Refunded
from vault_zone.processors.port import (
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
)

T = TypeVar("T")
AMOUNT = 1_000
FAULTS = ("", "lose_reply", "lose_request", "unreachable")
ENDED = (ChargeState.DECLINED, ChargeState.FAILED, ChargeState.VOIDED, ChargeState.EXPIRED)


class ChargeLife(RuleBasedStateMachine):
    """The steps of a charge's life, over one zone."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._directory = tempfile.TemporaryDirectory()
        self._context = zone_world(sqlite_url(Path(self._directory.name)))
        self.world: World = self.run(self._context.__aenter__())
        self.charge: Charge | None = None
        self.events = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs one step."""
        return self._loop.run_until_complete(work)

    def teardown(self) -> None:
        """In the end everything is resolved, and zone, processor and books say the same."""
        try:
            if self.charge is not None:
                self.resolve()
                self.compare()
        finally:
            self.run(self._context.__aexit__(None, None, None))
            self._loop.close()
            self._directory.cleanup()

    @initialize(
        capture=st.sampled_from(["manual", "automatic"]),
        outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.ACTION_REQUIRED, Outcome.DECLINED]),
        fault=st.sampled_from(FAULTS),
    )
    def begin(self, capture: str, outcome: Outcome, fault: str) -> None:
        """The charge, under a fault."""

        async def work() -> Charge:
            grant = await self.world.captured_grant(amount_minor=AMOUNT)
            self.world.processor.outcome = outcome
            return await self.world.engine.charge(charge_request(grant, amount_minor=AMOUNT, capture=capture), ACTOR)

        self.fault(fault)
        self.charge = self.run(work())
        self.fault("")

    @rule(
        kind=st.sampled_from(ModificationKind),
        amount_minor=st.one_of(st.none(), st.integers(1, AMOUNT)),
        is_final=st.booleans(),
        fault=st.sampled_from(FAULTS),
        outcome=st.sampled_from(
            [ModificationOutcome.SUCCEEDED, ModificationOutcome.DECLINED, ModificationOutcome.ACCEPTED]
        ),
        dies_at=st.sampled_from([None, None, None, (1, False), (1, True), (2, False), (2, True)]),
    )
    def modify(
        self,
        kind: ModificationKind,
        amount_minor: int | None,
        is_final: bool,
        fault: str,
        outcome: ModificationOutcome,
        dies_at: tuple[int, bool] | None,
    ) -> None:
        """A capture, void or refund, under a fault, in a process that may die of it."""
        assert self.charge is not None
        other = {} if kind is ModificationKind.VOID else {"amount_minor": amount_minor}
        asked = modification_request(self.charge, kind, is_final=is_final, **other)
        database = self.world.database
        database.changes, (database.crash_at, database.persisted) = 0, dies_at or (None, False)
        self.world.processor.modification_outcome = outcome
        self.fault(fault)
        try:
            self.run(self.world.modifications.modify(asked, ACTOR))
        except ZoneRefusal:
            pass
        except Crash:
            self.world = self.world.restart()
            self.run(self.world.modifications.recover())
        database.crash_at = None
        self.fault("")

    @rule(succeeds=st.booleans(), by_notice=st.booleans())
    def settle_one(self, succeeds: bool, by_notice: bool) -> None:
        """The processor makes up its mind about what it accepted, and may say so."""
        assert self.charge is not None
        accepted = [
            reference
            for reference, (_, answer) in self.world.processor.modified.items()
            if answer.outcome is ModificationOutcome.ACCEPTED
        ]
        if not accepted:
            return
        outcome = ModificationOutcome.SUCCEEDED if succeeds else ModificationOutcome.DECLINED
        answer = self.world.processor.settle(accepted[0], outcome)
        if by_notice:
            request, _ = self.world.processor.modified[accepted[0]]
            self.tell(ModificationNews(request.kind, accepted[0], answer))

    @rule(outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.AUTHORIZED, Outcome.DECLINED, Outcome.EXPIRED]))
    @precondition(lambda self: self.at_processor() is Outcome.ACTION_REQUIRED)
    def shopper_answers(self, outcome: Outcome) -> None:
        """The shopper's bank decides."""
        assert self.charge is not None
        self.world.processor.become(self.charge.charge, outcome)

    @rule()
    @precondition(lambda self: self.at_processor() is Outcome.AUTHORIZED)
    def authorization_runs_out(self) -> None:
        """The processor lets go of what it holds, and the zone finds out in time."""
        assert self.charge is not None
        self.world.processor.become(self.charge.charge, Outcome.EXPIRED)
        self.world.clock.advance(AUTHORIZATION_SECONDS)
        self.run(self.world.lapses.end_expired())

    @rule(repeated=st.integers(1, 2))
    def notice_of_the_charge(self, repeated: int) -> None:
        """The processor says how the charge stands with it."""
        assert self.charge is not None
        answer = self.world.processor.record.get(self.charge.charge)
        for _ in range(repeated if answer else 0):
            self.tell(answer)

    @rule()
    def sweep(self) -> None:
        """A while passes, and the zone looks after what is open."""
        self.world.clock.advance(LIFETIME_SECONDS + 1)
        self.run(self.look())

    @invariant()
    def amounts_are_within_bounds_and_booked(self) -> None:
        """What the row says is what the books were told, at every moment."""
        if self.charge is None:
            return
        now = self.found()
        booked = {
            kind: sum(event.amount.amount_minor for event in self.world.booked if type(event) is kind)
            for kind in (Authorized, AuthorizationReleased, Captured, Refunded)
        }
        assert booked[Authorized] == now.authorized_minor
        assert booked[Captured] == now.captured_minor
        assert booked[Refunded] == now.refunded_minor
        assert booked[AuthorizationReleased] <= now.authorized_minor - now.captured_minor
        assert 0 <= now.refunded_minor <= now.captured_minor <= now.authorized_minor <= AMOUNT
        keys = [key_of(event) for event in self.world.booked]
        assert len(keys) == len(set(keys)), "one posting for one cause"
        assert self.world.processor.calls <= 1

    def resolve(self) -> None:
        """Everything that is accepted or open comes to its end."""
        for reference, (_, answer) in list(self.world.processor.modified.items()):
            if answer.outcome is ModificationOutcome.ACCEPTED:
                self.world.processor.settle(reference, ModificationOutcome.DECLINED)
        for _ in range(3):
            self.world.clock.advance(AUTHORIZATION_SECONDS)
            self.run(self.look())

    def compare(self) -> None:
        """Zone and processor say the same."""
        assert self.charge is not None
        now, account = self.found(), self.world.processor.accounts.get(self.charge.charge)
        if account is None:
            assert (now.state, now.authorized_minor) == (ChargeState.FAILED, 0)
            return
        assert (now.captured_minor, now.refunded_minor) == (account.captured, account.refunded)
        assert self.run(self.world.database.read(self.under_way)) == (0, 0), "nothing is held in the end"
        said = settling.STATE_OF[self.world.processor.record[self.charge.charge].outcome]
        assert now.state is said or (now.state in ENDED and said in ENDED)
        if now.state is not ChargeState.AUTHORIZED:
            released = sum(e.amount.amount_minor for e in self.world.booked if type(e) is AuthorizationReleased)
            assert released == now.authorized_minor - now.captured_minor

    def under_way(self, connection: Connection) -> tuple[int, int]:
        """What is being captured and being refunded."""
        assert self.charge is not None
        row = charge_row(connection, self.charge.charge)
        assert row is not None
        return row.capturing_minor, row.refunding_minor

    def at_processor(self) -> Outcome | None:
        """How the charge stands at the processor."""
        answer = self.world.processor.record.get(self.charge.charge) if self.charge else None
        return answer.outcome if answer else None

    def found(self) -> Charge:
        """The charge as the zone has it."""
        assert self.charge is not None
        now = self.run(self.world.engine.find(self.charge.merchant, self.charge.payment))
        assert now is not None
        return now

    def fault(self, name: str) -> None:
        """Sets one fault, and takes the others away."""
        for one in FAULTS[1:]:
            setattr(self.world.processor, one, one == name)

    def tell(self, news: ProcessorAnswer | ModificationNews | None) -> None:
        """A notice."""
        assert self.charge is not None
        assert news is not None
        self.events += 1
        event = ProcessorEvent(f"evt_{self.events}", self.charge.charge, news)
        self.run(self.world.engine.apply_webhook(event, "fake"))

    async def look(self) -> None:
        """What the zone does once a second."""
        await self.world.engine.recover()
        await self.world.engine.resolve_unknown()
        await self.world.modifications.recover()
        await self.world.modifications.resolve_unknown()
        await self.world.lapses.sweep()


def key_of(event: BooksEvent) -> tuple[str, str]:
    """What makes a posting idempotent."""
    return type(event).__name__, event.source


LIMITS = settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)


def test_a_charges_whole_life_is_accounted_for() -> None:
    run_state_machine_as_test(ChargeLife, settings=LIMITS)


def test_a_planted_capture_that_keeps_its_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plant: what had no effect does not give back the amount it held."""
    monkeypatch.setattr(settling.Settler, "_let_go_of_hold", lambda *_: None)

    # Which lives are drawn depends on the modules that are loaded beside this one, so enough are drawn for any of them.
    with pytest.raises(AssertionError):
        run_state_machine_as_test(ChargeLife, settings=settings(LIMITS, max_examples=200))
