"""A report's line and the webhook of the same thing, in whatever order: the books end the same, and count it once."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from audit.transaction import Transaction
from tests.vault_zone.fake_processor import FakeProcessor
from tests.vault_zone.reconciliation.test_reconciling import charged, codes, handed_in, held, line
from tests.vault_zone.saving import recorded
from tests.vault_zone.world import MERCHANT, START_MS, World, usd, zone_world
from tokenization.wire import ChargeState, DisputeState, ModificationKind
from vault_zone.disputes import disputes_in
from vault_zone.ledger.accounts import Account
from vault_zone.ledger.posting import Outcome as Became
from vault_zone.ledger.posting import Recorded, post
from vault_zone.ledger.verifying import verify
from vault_zone.models import charge, ledger_entry, merchant, settlement_break, settlement_line
from vault_zone.notices import Notices
from vault_zone.processors.port import (
    DisputeNews,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
)
from vault_zone.reconciliation import explaining
from vault_zone.reconciliation.breaks import open_breaks, resolve
from vault_zone.reconciliation.explaining import EXPLAINED, Explaining, explain
from vault_zone.reconciliation.line import Line, LineType
from vault_zone.reconciliation.matching import Code, Known
from vault_zone.settling import Settler

pytestmark = pytest.mark.anyio
News = ProcessorAnswer | ModificationNews | DisputeNews
PAID, HELD = "chg_paid", "chg_held"


def refund(outcome: ModificationOutcome, amount_minor: int = 300, reference: str = "re_x") -> ModificationNews:
    """A refund in the processor's dashboard."""
    answer = ModificationAnswer(outcome, reference)
    return ModificationNews(ModificationKind.REFUND, None, answer, usd(amount_minor))


def captured(amount_minor: int) -> ProcessorAnswer:
    """So much of the authorization is captured now, in the processor's dashboard."""
    return ProcessorAnswer(Outcome.SUCCEEDED, f"sb_{HELD}", captured_minor=amount_minor)


# What happened: the webhook of it, and its line. Webhooks of one kind come one after the other, lines in any order.
HAPPENED: dict[str, tuple[str, News, Line]] = {
    "refund": (PAID, refund(ModificationOutcome.SUCCEEDED), line("t1", LineType.REFUND, -300, processor_ids=("re_x",))),
    "return": (
        PAID,
        refund(ModificationOutcome.DECLINED),
        line("t2", LineType.REFUND_FAILURE, 300, processor_ids=("re_x",)),
    ),
    "other refund": (
        PAID,
        refund(ModificationOutcome.SUCCEEDED, 200, "re_y"),
        line("t3", LineType.REFUND, -200, processor_ids=("re_y",)),
    ),
    "dispute": (
        PAID,
        DisputeNews("dp_x", DisputeState.NEEDS_RESPONSE, usd(400), "fraudulent"),
        line("t4", LineType.DISPUTE, -400, PAID),
    ),
    "won": (
        PAID,
        DisputeNews("dp_x", DisputeState.WON, usd(400), "fraudulent"),
        line("t5", LineType.DISPUTE_REVERSAL, 400, PAID),
    ),
    "capture": (HELD, captured(600), line("t6", LineType.CHARGE, 600, HELD, fee_minor=20)),
    "rest": (HELD, captured(1_000), line("t7", LineType.CHARGE, 400, HELD, fee_minor=10)),
}
WEBHOOKS, LINES, PASS = "webhook", "line", "pass"
Step = tuple[str, str]


@dataclass
class Desk:
    """Where webhooks and reports come in, over real books."""

    world: World
    explaining: Explaining
    notices: Notices
    told: int = 0
    files: int = 0
    lines: dict[str, Line] = field(default_factory=dict)

    async def do(self, step: Step) -> None:
        """A webhook comes, a report with this line is read, or a pass of the housekeeping."""
        what, name = step
        if what == WEBHOOKS:
            of, news, _ = HAPPENED[name]
            self.told += 1
            event = ProcessorEvent(f"evt_{self.told}", of, news)
            await self.world.database.change(lambda tx: self.notices.apply(tx, event, "sandbox"))
        elif what == LINES:
            await self.read(HAPPENED[name][2])
        else:
            await self.look()

    async def read(self, *of: Line) -> None:
        """A report with these lines."""
        self.files += 1
        letters = "bcdfghjkmnpqrstv"
        digest = (letters[self.files % 16] + letters[self.files // 16]) * 32
        self.lines |= {one.reported_id: one for one in of}
        await handed_in(self.world, *of, digest=digest)

    async def look(self) -> int:
        """Passes until nothing is new."""
        moved = 0
        while now := await self.explaining.look():
            moved += now
        return moved


@asynccontextmanager
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """A paid charge of 1,000 and one that is held."""
    async with zone_world(database_url, FakeProcessor(name="sandbox")) as world:
        notices = Notices(world.processors, Settler(world.processors, post), disputes_in(post))
        yield Desk(world, Explaining(world.database), notices)


def made(tx: Transaction) -> None:
    tx.execute(insert(merchant).values(id=MERCHANT, name="Harbour & Pine", created_ms=START_MS))
    charged(tx, PAID)
    tx.execute(update(charge).where(charge.c.id == PAID).values(is_closed=True))
    charged(tx, HELD, state=ChargeState.AUTHORIZED)
    tx.execute(update(charge).where(charge.c.id == HELD).values(authorized_minor=1_000))


async def sound(desk: Desk) -> None:
    """The books hold what the reports say the processor does, and nothing is left to explain."""
    world = desk.world
    assert await held(world) == 1_000 + sum(one.net_minor for one in desk.lines.values())
    assert (await codes(world), await held(world, Account.SUSPENSE)) == ([], 0)
    assert (await verify(world.database)).findings == ()


def natural(steps: list[Step]) -> list[Step]:
    """The same steps, with webhooks put into the order in which a processor sends them; lines stay where they are."""
    ordered = iter([(WEBHOOKS, name) for name in HAPPENED if (WEBHOOKS, name) in steps])
    return [next(ordered) if step[0] == WEBHOOKS else step for step in steps]


@pytest.mark.parametrize("name", ["refund", "other refund", "dispute", "capture"])
@pytest.mark.parametrize(
    "order", list(itertools.permutations(((WEBHOOKS,), (LINES,), (LINES, "again")))), ids=lambda order: str(len(order))
)
async def test_webhook_line_and_line_again_end_the_same_in_any_order(
    database_url: str, name: str, order: tuple[tuple[str, ...], ...]
) -> None:
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        for step in order:
            await one.do((step[0], name))
        await one.look()
        await sound(one)


ALL = [(what, name) for what in (WEBHOOKS, LINES) for name in HAPPENED]
STEPS = st.permutations([*ALL, *((LINES, name) for name in HAPPENED), (PASS, ""), (PASS, ""), (PASS, "")])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_whatever_the_order_the_books_end_right(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    directory: Path = tmp_path_factory.mktemp("zone")
    async with desk(f"sqlite:///{directory / 'zone'}") as one:
        await one.world.database.maintain(made)
        for step in natural(steps):
            await one.do(step)
        await one.look()
        await sound(one)
        row = await one.world.database.read(lambda c: c.execute(select(charge).where(charge.c.id == PAID)).one())
        assert (row.refunded_minor, row.disputed_minor) == (200, 0)


async def test_without_a_second_look_a_line_before_its_webhook_counts_twice(database_url: str) -> None:
    """What the second look is for, planted as nobody's."""
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.do((LINES, "refund"))
        await one.do((WEBHOOKS, "refund"))
        assert await held(one.world) == 1_000 - 2 * 300
        assert await one.look() == 1
        await sound(one)
        assert await one.look() == 0
        [found] = await one.world.database.read(lambda c: c.execute(select(settlement_break)).all())
        assert (found.resolved_by, found.reason) == ("service:vault_zone", EXPLAINED)
        assert await recorded(one.world, "settlement.break_resolved", found.id) == 1
        assert await recorded(one.world, "ledger.reversed", found.entry) == 1
        [told] = await one.world.database.read(lambda c: c.execute(select(settlement_line)).all())
        assert (told.charge_id, told.ours_minor, told.modification_id is not None) == (PAID, -300, True)


async def test_what_is_left_of_a_difference_stays_in_suspense_and_is_booked_once(database_url: str) -> None:
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.read(line("t1", LineType.REFUND, -310, processor_ids=("re_x",)))
        assert (await codes(one.world), await held(one.world, Account.SUSPENSE)) == ([Code.MISSING_HERE], 310)
        await one.do((WEBHOOKS, "refund"))
        assert await one.look() == 1
        assert (await codes(one.world), await held(one.world, Account.SUSPENSE)) == ([Code.AMOUNT_DIFFERS], 10)
        assert await held(one.world) == 1_000 - 310
        [found] = await one.world.database.read(lambda c: open_breaks(c, MERCHANT))
        assert await recorded(one.world, "settlement.break_changed", found.id) == 1
        before = await one.world.database.read(lambda c: len(c.execute(select(ledger_entry.c.id)).all()))
        assert await one.look() == 0
        assert await one.world.database.read(lambda c: len(c.execute(select(ledger_entry.c.id)).all())) == before
        assert (await verify(one.world.database)).findings == ()


async def test_what_somebody_resolved_stays_as_they_said(database_url: str) -> None:
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.do((LINES, "refund"))
        [found] = await one.world.database.read(lambda c: open_breaks(c, MERCHANT))
        await one.world.database.change(lambda tx: resolve(tx, MERCHANT, found.id, "booked by hand", "operator:bea"))
        await one.do((WEBHOOKS, "refund"))
        assert await one.look() == 0
        assert await one.world.database.change(lambda tx: explain(tx, [found.id])) == 0
        assert await held(one.world, Account.SUSPENSE) == 300


async def test_a_true_duplicate_stays_one_beside_the_line_that_it_repeats(database_url: str) -> None:
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.do((WEBHOOKS, "refund"))
        await one.do((LINES, "refund"))
        await one.read(line("t9", LineType.REFUND, -300, processor_ids=("re_x",)))
        assert await one.look() == 0
        assert (await codes(one.world), await held(one.world, Account.SUSPENSE)) == ([Code.DUPLICATE], 300)


async def test_many_open_breaks_are_all_looked_at_a_few_at_a_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "PASS_LIMIT", 2)
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        for number in range(5):
            await one.read(line(f"n{number}", LineType.REFUND, -1, processor_ids=("re_none",)))
        await one.do((LINES, "refund"))
        await one.do((WEBHOOKS, "refund"))
        assert sum([await one.explaining.look() for _ in range(4)]) == 1
        assert await codes(one.world) == [Code.MISSING_HERE] * 5


@pytest.mark.parametrize("planted", [False, True])
async def test_no_two_lines_account_for_the_same_of_the_books(
    database_url: str, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plant forgets what other lines account for: a charge that is reported twice agrees twice."""
    if planted:
        monkeypatch.setattr(Known, "_accounted", lambda *_: [])
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.do((WEBHOOKS, "capture"))
        await one.do((LINES, "capture"))
        await one.read(line("t9", LineType.CHARGE, 600, HELD))
        await one.look()
        assert await codes(one.world) == ([] if planted else [Code.DUPLICATE])


async def test_a_planted_second_look_that_leaves_the_old_entry_is_seen(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "reverse", lambda *_: Recorded(Became.APPLIED, "len_x"))
    async with desk(database_url) as one:
        await one.world.database.maintain(made)
        await one.do((LINES, "refund"))
        await one.do((WEBHOOKS, "refund"))
        await one.look()
        assert await codes(one.world) == []
        assert await held(one.world, Account.SUSPENSE) == 300
