"""Cards saved, granted, charged, revoked, deleted and swept in any order and time, beside a model: on both databases."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
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
from sqlalchemy import ColumnElement, delete, select

from audit.store import audit_event
from audit.transaction import Database, Transaction
from tests.vault_zone.saving import SHOPPER, count, gauge, granted, saved_card, sweeper_of
from tests.vault_zone.world import ACTOR, MERCHANT, charge_request, zone_world
from vault_zone import grants, models
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import Asked, binding, revoke_grant
from vault_zone.ledger.append_only import APPEND_ONLY
from vault_zone.models import card_record
from vault_zone.processors.port import Outcome
from vault_zone.saved_cards import delete_card, list_cards

T = TypeVar("T")
DAY_SECONDS = 86_400


class RetentionMachine(RuleBasedStateMachine):
    """Cards saved, granted, charged, revoked, deleted, in any order and time, beside a model of what each grant is worth."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.world = self.do(self.stack.enter_async_context(zone_world(self.url)))
        self.do(self.emptied())
        self.world.keys.forget_all()
        self.cards: dict[str, int] = {}  # until when
        self.grants: dict[str, list[int]] = {}  # until when, uses, rest
        self.of_card: dict[str, str] = {}
        self.made = 0

    async def emptied(self) -> None:
        """As the owner: who serves may not take every table's rows away."""

        def work(tx: Transaction) -> None:
            for table in reversed(models.metadata.sorted_tables):
                if table.name not in APPEND_ONLY:  # nothing may delete there, and no card is kept by it
                    tx.execute(delete(table))

        owner = Database.open(self.url, self.world.clock)
        try:
            await owner.maintain(work)
        finally:
            await owner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def checkout(self) -> str:
        self.made += 1
        return f"chk_{self.made}"

    @initialize()
    def begin(self) -> None:
        """A card with a grant on it, so that there is something to do from the first step on."""
        self.save(ticked=True)
        self.grant_on(next(iter(self.cards)), uses=2, lifetime_seconds=900)

    @rule(ticked=st.booleans())
    def save(self, ticked: bool) -> None:
        token = self.do(saved_card(self.world, checkout=self.checkout(), ticked=ticked))
        if ticked:
            found = select(card_record.c.expires_ms).where(card_record.c.token == token)
            self.cards[token] = self.do(self.world.database.read(lambda c: c.execute(found).scalar_one()))

    @precondition(lambda self: self.cards)
    @rule(data=st.data(), uses=st.integers(1, 3), lifetime_seconds=st.sampled_from([60, 900, 30 * DAY_SECONDS]))
    def grant(self, data: st.DataObject, uses: int, lifetime_seconds: int) -> None:
        self.grant_on(data.draw(st.sampled_from(sorted(self.cards))), uses, lifetime_seconds)

    def grant_on(self, token: str, uses: int, lifetime_seconds: int) -> None:
        """A grant, which ends with its card at the latest."""
        made = self.do(
            granted(
                self.world, token, ceiling_minor=1_000, uses=uses, lifetime_seconds=lifetime_seconds, checkout="chk_m"
            )
        )
        asked_ms = self.world.clock.now_ms + lifetime_seconds * 1000
        self.grants[made] = [min(asked_ms, self.cards[token]), uses, 1_000]
        self.of_card[made] = token

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), amount_minor=st.sampled_from([1, 400, 600, 1_000]))
    def charge(self, data: st.DataObject, amount_minor: int) -> None:
        """Declined ones, so that the checkout stays free for the next."""
        grant = data.draw(st.sampled_from(sorted(self.grants)))
        self.world.processor.outcome = Outcome.DECLINED
        ends_ms, uses, left_minor = self.grants[grant]
        usable = ends_ms > self.world.clock.now_ms and uses > 0 and amount_minor <= left_minor
        calls = self.world.processor.calls
        work = self.world.engine.charge(charge_request(grant, checkout="chk_m", amount_minor=amount_minor), ACTOR)
        if usable:
            self.do(work)
            self.grants[grant] = [ends_ms, uses - 1, left_minor - amount_minor]
            token = self.of_card[grant]
            self.cards[token] = self.do(
                self.world.database.read(
                    lambda c: c.execute(
                        select(card_record.c.expires_ms).where(card_record.c.token == token)
                    ).scalar_one()
                )
            )
        else:
            with pytest.raises(ZoneRefusal) as refused:
                self.do(work)
            assert refused.value.kind is ZoneError.GRANT_NOT_USABLE
        assert self.world.processor.calls == calls + usable

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        grant = data.draw(st.sampled_from(sorted(self.grants)))
        try:
            self.do(
                self.world.database.change(lambda tx: revoke_grant(tx, grant=grant, merchant=MERCHANT, actor=ACTOR))
            )
        except ZoneRefusal as refusal:
            assert refusal.kind is ZoneError.NOT_FOUND  # noqa: PT017  # only for one that was swept
            assert self.grants[grant][0] <= self.world.clock.now_ms
        self.grants[grant][1] = 0

    @precondition(lambda self: self.cards)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.cards)))
        self.do(
            self.world.database.change(
                lambda tx: delete_card(tx, merchant=MERCHANT, shopper=SHOPPER, token=token, actor=ACTOR, reason="asked")
            )
        )
        del self.cards[token]
        for grant in [grant for grant, card in self.of_card.items() if card == token]:
            self.grants[grant][0] = 0

    @rule(seconds=st.sampled_from([1, 59, 899, DAY_SECONDS, 31 * DAY_SECONDS, 396 * DAY_SECONDS]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        for token in [token for token, ends_ms in self.cards.items() if ends_ms <= self.world.clock.now_ms]:
            del self.cards[token]

    @rule()
    def sweep(self) -> None:
        self.do(sweeper_of(self.world).sweep_all())
        assert self.do(gauge(self.world)) == {}

    @invariant()
    def what_is_saved_is_what_the_model_says(self) -> None:
        now_ms = self.world.clock.now_ms
        found = self.do(self.world.database.read(lambda c: list_cards(c, MERCHANT, SHOPPER, now_ms)))
        assert {card.token for card in found} == set(self.cards)

    def teardown(self) -> None:
        self.do(sweeper_of(self.world).sweep_all())
        assert self.do(gauge(self.world)) == {}
        assert self.do(count(self.world, audit_event)) > 0 or not self.made
        self.do(self.stack.aclose())
        self.runner.close()


SETTINGS = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def machine_on(url: str) -> type[RetentionMachine]:
    return type("Machine", (RetentionMachine,), {"url": url})


def test_in_any_order_a_grant_is_worth_what_the_model_says_and_nothing_expired_stays(database_url: str) -> None:
    run_state_machine_as_test(machine_on(database_url), settings=SETTINGS)


def test_a_planted_grant_that_is_good_after_it_was_revoked_is_found_by_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(asked: Asked, now_ms: int) -> dict[str, ColumnElement[bool]]:
        conditions = binding(asked, now_ms)
        return {name: conditions[name] for name in conditions if name not in ("revoked", "uses")}

    monkeypatch.setattr(grants, "binding", planted)
    with pytest.raises(BaseException):  # noqa: B017, PT011  # whatever way the machine finds it by
        run_state_machine_as_test(
            machine_on(f"sqlite:///{tmp_path / 'zone.sqlite3'}"),
            settings=settings(SETTINGS, max_examples=100, phases=(Phase.generate,)),
        )
