"""What outcomes come to: arithmetic that adds up, whatever the order of reports, over the database's own lines."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from audit.transaction import Transaction
from commerce_api.billing import outcomes
from commerce_api.billing.contract import Contract, Term, set_contract
from commerce_api.billing.outcomes import Reported, given_back, report, reverse
from commerce_api.billing.rating import DAY_MS, Reversal, dues, fee_minor
from commerce_api.billing.statement import month_bounds, statement
from commerce_api.brands import find_brand, save_brand
from commerce_api.errors import CommerceRefusal
from commerce_api.migrations import upgrade
from commerce_api.models import billed_outcome, billing_line
from commerce_api.policy import default_policy

NOW_MS = 1_795_000_000_000  # 2026-11-18
BRAND = "harbour-pine"
TERMS = st.one_of(
    st.builds(Term, fee_minor=st.integers(1, 500)),
    st.builds(
        Term,
        rate_basis_points=st.integers(1, 10_000),
        minimum_minor=st.integers(0, 20),
        maximum_minor=st.one_of(st.none(), st.integers(20, 10_000)),
    ),
)
REVERSALS = st.lists(
    st.builds(
        Reversal,
        key=st.uuids().map(str),
        amount_minor=st.one_of(st.none(), st.integers(-5_000, 50_000)),
        at_ms=st.integers(NOW_MS, NOW_MS + 400 * DAY_MS),
    ),
    max_size=8,
    unique_by=lambda reversal: reversal.key,
)
CONTRACT = Contract.model_validate(
    {
        "version": 1,
        "currency": "USD",
        "sale": {"rate_basis_points": 333, "attributed_by": "conversation"},
        "save": {"fee_minor": 250},
        "booking": {"rate_basis_points": 1_250, "minimum_minor": 30, "maximum_minor": 900},
    }
)


@given(TERMS, st.integers(0, 10**9), REVERSALS)
def test_lines_add_up_to_what_is_left_of_an_outcome_and_to_nothing_when_all_is_reversed(
    term: Term, value_minor: int, reversals: list[Reversal]
) -> None:
    found = dues(term, value_minor, NOW_MS, reversals)
    in_time_ms = NOW_MS + term.reversal_days * DAY_MS
    gone_minor = 0
    for one in sorted(reversals, key=lambda one: (one.at_ms, one.key)):
        amount_minor = one.amount_minor or 0
        if amount_minor < 0 or one.at_ms <= in_time_ms:
            gone_minor = max(0, gone_minor + amount_minor)
    whole = any(one.amount_minor is None and one.at_ms <= in_time_ms for one in reversals)
    expected = 0 if whole else fee_minor(term, max(0, value_minor - gone_minor), value_minor)
    assert sum(due.amount_minor for due in found) == expected
    everything = [*reversals, Reversal("all", None, NOW_MS)]
    assert sum(due.amount_minor for due in dues(term, value_minor, NOW_MS, everything)) == 0


def money_of(moves: list[tuple[int, int]]) -> list[Reversal]:
    """Reversals from what is given back in all: (days after the outcome, minor units), each a change to the one before."""
    found, so_far_minor = [], 0
    for place, (days, total_minor) in enumerate(sorted(moves, key=lambda move: move[0])):
        found.append(Reversal(f"money:{place:06}", total_minor - so_far_minor, NOW_MS + days * DAY_MS))
        so_far_minor = total_minor
    return found


MOVES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 50_000)), max_size=6)


@given(TERMS, st.integers(0, 50_000), MOVES)
def test_an_outcome_whose_money_all_came_back_costs_what_it_cost_at_first_whenever_that_was(
    term: Term, value_minor: int, moves: list[tuple[int, int]]
) -> None:
    found = dues(term, value_minor, NOW_MS, money_of([*moves, (401, 0)]))
    assert sum(due.amount_minor for due in found) == fee_minor(term, value_minor, value_minor)


@given(TERMS, st.integers(0, 50_000), MOVES)
def test_a_bill_never_falls_below_what_the_money_left_costs_nor_rises_above_the_whole(
    term: Term, value_minor: int, moves: list[tuple[int, int]]
) -> None:
    billed_minor = sum(due.amount_minor for due in dues(term, value_minor, NOW_MS, money_of(moves)))
    gone_minor = sum(one.amount_minor or 0 for one in money_of(moves))
    assert fee_minor(term, max(0, value_minor - gone_minor), value_minor) <= billed_minor
    assert billed_minor <= fee_minor(term, value_minor, value_minor)


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([(170, 100_000), (190, 0)], [5_000, -5_000, 5_000]),  # disputed in time, won later
        ([(190, 100_000), (200, 0)], [5_000, 0, 0]),  # disputed too late, won
        ([(170, 40_000), (190, 100_000), (200, 0)], [5_000, -2_000, 0, 2_000]),
        ([(170, 40_000), (190, 20_000)], [5_000, -2_000, 1_000]),
    ],
)
def test_what_comes_back_late_is_billed_again_and_what_went_late_stays_billed(
    moves: list[tuple[int, int]], expected: list[int]
) -> None:
    term = Term(rate_basis_points=500, reversal_days=180)
    assert [due.amount_minor for due in dues(term, 100_000, NOW_MS, money_of(moves))] == expected


def test_planted_fault_days_that_bind_what_comes_back_too_lose_it_for_good() -> None:
    term = Term(rate_basis_points=500, reversal_days=180)
    last_ms = NOW_MS + term.reversal_days * DAY_MS
    in_time = [one for one in money_of([(170, 100_000), (190, 0)]) if one.at_ms <= last_ms]
    assert sum(due.amount_minor for due in dues(term, 100_000, NOW_MS, in_time)) == 0


@given(TERMS, st.integers(0, 10**9), REVERSALS, st.randoms(use_true_random=False))
def test_the_order_of_reports_changes_no_line(
    term: Term, value_minor: int, reversals: list[Reversal], chance: random.Random
) -> None:
    shuffled = chance.sample(reversals, len(reversals))
    assert dues(term, value_minor, NOW_MS, shuffled) == dues(term, value_minor, NOW_MS, reversals)


@pytest.mark.parametrize(
    ("rate", "value_minor", "expected"),
    [(333, 7_900, 263), (50, 100, 1), (50, 99, 0), (50, 300, 2), (10_000, 7, 7), (1, 4_999, 0), (1, 5_000, 1)],
)
def test_a_share_is_rounded_half_up_to_the_minor_unit(rate: int, value_minor: int, expected: int) -> None:
    assert fee_minor(Term(rate_basis_points=rate), value_minor, value_minor) == expected


def test_planted_fault_lines_rounded_by_themselves_do_not_add_up() -> None:
    term = Term(rate_basis_points=50)
    by_themselves = fee_minor(term, 300, 300) - 3 * fee_minor(term, 100, 300)
    together = sum(
        due.amount_minor for due in dues(term, 300, NOW_MS, [Reversal(str(n), 100, NOW_MS) for n in range(3)])
    )
    assert (by_themselves, together) == (-1, 0)


@pytest.mark.parametrize(
    "term",
    [
        {},
        {"rate_basis_points": 100, "fee_minor": 100},
        {"fee_minor": 100, "minimum_minor": 1},
        {"rate_basis_points": 100, "minimum_minor": 2, "maximum_minor": 1},
        {"rate_basis_points": 10_001},
        {"rate_basis_points": 1.5},
    ],
)
def test_a_term_is_a_rate_with_bounds_or_a_fee(term: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Term.model_validate(term)


@cache
def template() -> Path:
    """A database with the schema, a brand and its contract: copied for each example, because making it takes a while."""
    path = Path(mkdtemp()) / "template.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection)
        tx = Transaction(connection, NOW_MS - DAY_MS)
        brand = save_brand(tx, name="Harbour & Pine", currency="USD", policy=default_policy("USD"))
        assert set_contract(tx, brand, CONTRACT)
    engine.dispose()
    return path


@contextmanager
def database() -> Iterator[Engine]:
    """A database of its own, in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        source = sqlite3.connect(template())
        source.backup(raw)
        source.close()
    yield engine
    engine.dispose()


def lines_of(connection: Connection) -> list[tuple[Any, ...]]:
    """Every line, in the order in which they were written."""
    return [tuple(row) for row in connection.execute(select(billing_line).order_by(billing_line.c.recorded_ms))]


def months_net_minor(connection: Connection) -> int:
    """What the statements of all months come to."""
    brand = find_brand(connection, BRAND)
    months = [f"{year}-{month:02}" for year in (2026, 2027) for month in range(1, 13)]
    return sum(int(statement(connection, brand, month)["total"]["net_minor"]) for month in months)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(["save", "booking"]), st.integers(0, 20_000)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 9_000), st.integers(0, 9)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_any_order_of_reports_with_repeats_and_late_ones_gives_the_same_statement(
    made: list[tuple[Any, int]], undone: list[tuple[int, int, int]], chance: random.Random
) -> None:
    acts: list[tuple[str, int]] = [("outcome", n) for n in range(len(made))]
    acts += [("reversal", n) for n, (which, _, __) in enumerate(undone) if which < len(made)]

    def told(order: list[tuple[str, int]]) -> list[Any]:
        with database() as engine, engine.begin() as connection:
            waiting = list(order)
            while waiting:  # what cannot be placed yet is sent again, as its sender would
                waiting = [act for act in waiting if not carried_out(Transaction(connection, NOW_MS + DAY_MS), act)]
            view = statement(connection, find_brand(connection, BRAND), "2026-11")
            sums: dict[tuple[str, str], int] = {}
            for line in view["lines"]:
                of = (line["evidence"]["conversation"], line["happened_at"])
                sums[of] = sums.get(of, 0) + line["amount_minor"]
            return [sorted((of, amount) for of, amount in sums.items() if amount), view["total"]["net_minor"]]

    def carried_out(tx: Transaction, act: tuple[str, int]) -> bool:
        kind, n = act
        if kind == "outcome":
            report(tx, BRAND, Reported(made[n][0], made[n][1], NOW_MS, conversation=str(n)))
            return True
        which, amount_minor, hours = undone[n]
        key = Reported(made[which][0], 0, 0, conversation=str(which)).key
        row = tx.execute(select(billed_outcome).where(billed_outcome.c.key == key)).first()
        if row is None:
            return False
        at_ms = NOW_MS + hours * 3_600_000
        reverse(tx, row, Reversal(f"r{n}", None if amount_minor < 0 else amount_minor, at_ms), "returned")
        return True

    shuffled = chance.sample(acts, len(acts)) + chance.choices(acts, k=3)
    assert told(shuffled) == told(acts)


class Bill(RuleBasedStateMachine):
    """Outcomes, reversals and orders' money, reported once, twice and late; beside a model that only knows what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = database()
        self.connection = self.opened.__enter__().connect()
        self.now_ms = NOW_MS
        self.value: dict[str, tuple[str, int]] = {}
        self.gone: dict[str, int] = {}
        self.lines: list[tuple[Any, ...]] = []

    def teardown(self) -> None:
        self.connection.close()
        self.opened.__exit__(None, None, None)

    def tx(self) -> Transaction:
        return Transaction(self.connection, self.now_ms)

    @rule(name=st.sampled_from("abc"), value_minor=st.integers(0, 30_000))
    def sell(self, name: str, value_minor: int) -> None:
        known = self.value.setdefault(name, ("sale", value_minor))[1]
        report(self.tx(), BRAND, Reported("sale", known, self.now_ms, order=name, channel="mcp"))

    @rule(name=st.sampled_from("xyz"), value_minor=st.integers(0, 30_000))
    def book(self, name: str, value_minor: int) -> None:
        known = self.value.setdefault(name, ("booking", value_minor))[1]
        report(self.tx(), BRAND, Reported("booking", known, self.now_ms, conversation=name))

    @rule(name=st.sampled_from("abc"), total_minor=st.integers(0, 40_000))
    def money_moves(self, name: str, total_minor: int) -> None:
        for _ in range(2):
            given_back(self.tx(), BRAND, name, total_minor, "refunded")
        if name in self.value:
            self.gone[name] = total_minor

    @rule(name=st.sampled_from("xyz"), key=st.sampled_from(["k1", "k2"]))
    def cancel(self, name: str, key: str) -> None:
        of = Reported("booking", 0, 0, conversation=name).key
        row = self.tx().execute(select(billed_outcome).where(billed_outcome.c.key == of)).first()
        if row is not None:
            reverse(self.tx(), row, Reversal(key, None, row.at_ms), "canceled")
            self.gone[name] = 10**9

    @rule(name=st.sampled_from("abcxyz"))
    def report_another_value(self, name: str) -> None:
        if name in self.value:
            kind, value_minor = self.value[name]
            evidence = {"order": name, "channel": "mcp"} if kind == "sale" else {"conversation": name}
            with pytest.raises(CommerceRefusal):
                report(self.tx(), BRAND, Reported(kind, value_minor + 1, self.now_ms, **evidence))  # type: ignore[arg-type]

    @rule(days=st.integers(1, 20))
    def time_passes(self, days: int) -> None:
        self.now_ms = min(self.now_ms + days * DAY_MS, NOW_MS + 170 * DAY_MS)

    @invariant()
    def what_is_billed_is_what_is_left(self) -> None:
        expected = 0
        for name, (kind, value_minor) in self.value.items():
            left_minor = max(0, value_minor - self.gone.get(name, 0))
            if self.gone.get(name) != 10**9:
                term = CONTRACT.term(kind)
                assert term is not None
                expected += fee_minor(term, left_minor, value_minor)
        lines = lines_of(self.connection)
        amounts = [row[6] for row in lines]
        assert sum(amounts) == expected
        assert months_net_minor(self.connection) == expected

    @invariant()
    def no_line_was_changed(self) -> None:
        lines = lines_of(self.connection)
        assert set(self.lines) <= set(lines)
        self.lines = lines


TestBill = Bill.TestCase
TestBill.settings = settings(
    deadline=None, max_examples=15, stateful_step_count=15, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("table", ["billing_contract", "billed_outcome", "billing_reversal", "billing_line"])
@pytest.mark.parametrize("statement_", ["UPDATE {} SET {}", "DELETE FROM {}"])
def test_the_database_refuses_to_change_or_delete_what_was_billed(table: str, statement_: str) -> None:
    column = {"billing_contract": "document = ''", "billed_outcome": "value_minor = 0"}.get(table, "amount_minor = 0")
    with database() as engine, engine.begin() as connection:
        row = report(Transaction(connection, NOW_MS), BRAND, Reported("save", 0, NOW_MS, conversation="c"))
        reverse(Transaction(connection, NOW_MS), row, Reversal("k", None, NOW_MS), "mistaken")
        with pytest.raises(DBAPIError, match="append-only"):
            connection.exec_driver_sql(statement_.format(table, column))


def test_planted_fault_a_report_that_is_rated_anew_each_time_is_billed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with database() as engine, engine.begin() as connection:
        reported = Reported("save", 0, NOW_MS, conversation="c")
        for _ in range(2):
            report(Transaction(connection, NOW_MS), BRAND, reported)
        assert [row[6] for row in lines_of(connection)] == [250]
        counter = iter(range(9))
        monkeypatch.setattr(outcomes.Reported, "key", property(lambda _: f"never the same {next(counter)}"))
        for _ in range(2):
            report(Transaction(connection, NOW_MS), BRAND, reported)
        assert [row[6] for row in lines_of(connection)] != [250]


def test_months_are_of_utc() -> None:
    assert month_bounds("2026-12") == (1_796_083_200_000, 1_798_761_600_000)
    for bad in ("2026-13", "2026-1", "2026", "", "next"):
        with pytest.raises(ValueError, match="written YYYY-MM"):
            month_bounds(bad)
