"""Stock is never oversold: buyers of the last item, lapses, releases and re-imports, on both databases."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine, event, insert, select

from audit.transaction import Transaction
from commerce_api import stock
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import brand, metadata, reservation, variant
from tests.commerce_api.test_payment import CALLER, basket, handed_off, pay, stock_of, view_of
from tests.commerce_api.world import BRAND, World, commerce_world

THROW = "hp-throw-oatmeal"
THROWS_IN_STOCK = 3


async def complete(world: World, identifier: str) -> str:
    try:
        return (await world.desk.complete_checkout(BRAND, CALLER, identifier)).status
    except CommerceRefusal as refusal:
        return refusal.kind.code


@pytest.mark.anyio
async def test_many_buyers_of_the_last_items_get_just_what_there_is(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        views = [await world.desk.create_checkout(BRAND, CALLER, basket(1, THROW), None) for _ in range(8)]
        answers = await asyncio.gather(*(complete(world, view.checkout_id) for view in views))
        assert sorted(answers) == ["out_of_stock"] * 5 + ["requires_escalation"] * 3
        for view, answer in zip(views, answers, strict=True):
            if answer == "requires_escalation":
                await pay(world, view.checkout_id)
        assert await stock_of(world, THROW) == (0, 0)


@pytest.mark.anyio
async def test_a_reservation_that_lapsed_goes_to_the_next_buyer(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        first = await handed_off(world, THROWS_IN_STOCK, THROW)
        second = (await world.desk.create_checkout(BRAND, CALLER, basket(1, THROW), None)).checkout_id
        assert await complete(world, second) == "out_of_stock"
        world.clock.advance(901)
        assert await complete(world, second) == "requires_escalation"
        with pytest.raises(CommerceRefusal) as refused:
            await world.commerce.payments.capture_link(BRAND, first)
        assert refused.value.kind is CommerceError.OUT_OF_STOCK


@pytest.mark.anyio
async def test_a_card_entered_too_late_for_the_stock_is_not_charged(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        first = await handed_off(world, THROWS_IN_STOCK, THROW)
        await world.commerce.payments.capture_link(BRAND, first)
        world.clock.advance(901)
        second = await handed_off(world, THROWS_IN_STOCK, THROW)
        world.vault.sessions = {
            name: session.model_copy(update={"expires_ms": 2**53}) for name, session in world.vault.sessions.items()
        }
        world.vault.capture()
        late = await view_of(world, first)
        assert late.status == "incomplete"
        assert world.vault.asked == []
        await pay(world, second)
        assert (await view_of(world, second)).status == "completed"


@pytest.mark.anyio
async def test_canceling_gives_back_what_was_held(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        identifier = await handed_off(world, 2, THROW)
        assert await stock_of(world, THROW) == (3, 2)
        await world.desk.cancel_checkout(BRAND, CALLER, identifier)
        assert await stock_of(world, THROW) == (3, 0)
        assert await world.rows(reservation) == []


@pytest.mark.anyio
async def test_a_checkout_of_which_one_line_is_short_holds_nothing(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        given = basket(1)
        given = given.model_copy(update={"lines": [*(given.lines or []), *(basket(3, THROW).lines or [])]})
        view = await world.desk.create_checkout(BRAND, CALLER, given, None)
        await handed_off(world, 1, THROW)
        assert await complete(world, view.checkout_id) == "out_of_stock"
        assert (await stock_of(world))[1] == 0


class StockMachine(RuleBasedStateMachine):
    """Any order of reserving, pinning, selling, releasing and waiting; a plain model beside it says what must be."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = create_engine("sqlite://")
        event.listen(self.engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
        self.connection = self.engine.connect()
        metadata.create_all(self.connection)
        self.now_ms = 1_000_000
        self.left = {"a": 3, "b": 5}
        self.held: dict[str, tuple[dict[str, int], int]] = {}
        self.connection.execute(
            insert(brand).values(id="shop", name="s", currency="USD", policy="{}", agent_key_version=1, created_ms=0)
        )
        for name, count in self.left.items():
            self.connection.execute(insert(variant).values(**_variant(name, count)))

    def teardown(self) -> None:
        self.connection.close()
        self.engine.dispose()

    def _free(self, name: str) -> int:
        return self.left[name] - sum(
            lines.get(name, 0) for lines, expires_ms in self.held.values() if expires_ms > self.now_ms
        )

    @rule(who=st.sampled_from("xyz"), a=st.integers(0, 4), b=st.integers(0, 4), pinned=st.booleans())
    def reserve(self, who: str, a: int, b: int, *, pinned: bool) -> None:
        lines = {name: count for name, count in (("a", a), ("b", b)) if count}
        before = self.held.pop(who, None)
        possible = all(self._free(name) >= count for name, count in lines.items())
        expires_ms = stock.NEVER_MS if pinned else self.now_ms + 900
        with self.connection.begin_nested() as savepoint:
            tx = Transaction(self.connection, self.now_ms)
            try:
                stock.reserve(tx, brand="shop", checkout=who, quantities=lines, expires_ms=expires_ms)
            except CommerceRefusal:
                savepoint.rollback()
                assert not possible, "refused although there was enough"
                if before is not None:
                    self.held[who] = before
                return
        assert possible, "reserved more than there is"
        # Taking stock from a reservation that lapsed ends that reservation.
        for other in [
            name for name, (held, until) in self.held.items() if until <= self.now_ms and set(held) & set(lines)
        ]:
            del self.held[other]
        if lines:
            self.held[who] = (lines, expires_ms)

    @precondition(lambda self: any(until > self.now_ms for _, until in self.held.values()))
    @rule(data=st.data())
    def sell(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(w for w, (_, until) in self.held.items() if until > self.now_ms)))
        stock.sell(Transaction(self.connection, self.now_ms), who)
        lines, _ = self.held.pop(who)
        for name, count in lines.items():
            self.left[name] -= count

    @rule(who=st.sampled_from("xyz"))
    def release(self, who: str) -> None:
        stock.release(Transaction(self.connection, self.now_ms), brand="shop", checkout=who)
        self.held.pop(who, None)

    @rule()
    def wait(self) -> None:
        self.now_ms += 900

    @rule()
    def sweep(self) -> None:
        stock.release_lapsed(Transaction(self.connection, self.now_ms), 100)
        self.held = {who: kept for who, kept in self.held.items() if kept[1] > self.now_ms}

    @invariant()
    def the_table_says_what_the_model_says(self) -> None:
        for row in self.connection.execute(select(variant)):
            assert 0 <= row.reserved <= row.stock
            assert row.stock == self.left[row.id]
            assert row.reserved == sum(lines.get(row.id, 0) for lines, _ in self.held.values())


def _variant(name: str, count: int) -> dict[str, object]:
    texts = dict.fromkeys(("title", "product_title", "description", "condition", "brand_name", "search_text"), "")
    return {
        "brand": "shop",
        "id": name,
        "product_id": name,
        "price_minor": 100,
        "availability": "in_stock",
        "available": 1,
        "stock": count,
        "reserved": 0,
        "options": "[]",
        "categories": "[]",
        "updated_ms": 0,
        **texts,
    }


TestStockMachine = StockMachine.TestCase
TestStockMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
