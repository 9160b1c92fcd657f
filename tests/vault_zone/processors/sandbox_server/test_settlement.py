"""Fees, payouts and the settlement report: every line adds up, in an order that stays."""

import csv
import io

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.sandbox_server.world import (
    DISPUTED,
    FAILING_REFUND,
    START,
    World,
    charge,
    modify,
)
from vault_zone.processors.sandbox_server.books import fee_minor
from vault_zone.processors.sandbox_server.report import COLUMNS, LINES_AT_ONCE, settlement

pytestmark = pytest.mark.anyio

ALL = {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}


async def report(client: httpx.AsyncClient, **period: str) -> list[dict[str, str]]:
    answer = await client.get("/v1/reports/settlement", params=period or ALL)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


async def a_busy_day(client: httpx.AsyncClient, world: World) -> None:
    """One of everything that moves the balance, a millisecond apart, and things that do not move it."""
    made = (await charge(client, key="a", reference="chg_a")).json()
    await modify(client, made["id"], "refund", "ref_a", amount_minor=2_350)
    await modify(client, made["id"], "refund", "ref_over", amount_minor=99_999)
    world.now += 1
    later = (await charge(client, key="b", reference="chg_b", capture=False)).json()
    await modify(client, later["id"], "capture", "cap_b", amount_minor=1_000)
    world.now += 1
    await charge(client, key="c", reference="chg_c", number=DISPUTED, amount_minor=5_000)
    [dispute] = (await client.get("/v1/disputes", params={"reference": "chg_c"})).json()["disputes"]
    await client.post(f"/sandbox/disputes/{dispute['id']}", json={"status": "won"})
    await charge(client, key="d", reference="chg_d", number="4000000000000002")
    failing = (await charge(client, key="e", reference="chg_e", number=FAILING_REFUND, currency="USD")).json()
    await modify(client, failing["id"], "refund", "ref_e")
    world.now += 10_000
    world.happenings.end_due()


async def test_the_report_has_a_line_for_everything_that_moved_the_balance_and_for_nothing_else(world: World) -> None:
    async with world.client() as client:
        await a_busy_day(client, world)
        lines = await report(client)
    told = [
        (line["type"], line["reference"], line["charge_reference"], line["gross_minor"], line["fee_minor"])
        for line in lines
    ]
    assert told == [
        ("charge", "chg_a", "chg_a", "12350", "388"),
        ("refund", "ref_a", "chg_a", "-2350", "0"),
        ("charge", "cap_b", "chg_b", "1000", "59"),
        ("charge", "chg_c", "chg_c", "5000", "175"),
        ("dispute", "chg_c", "chg_c", "-5000", "0"),
        ("fee", "chg_c", "chg_c", "0", "1500"),
        ("dispute_reversal", "chg_c", "chg_c", "5000", "0"),
        ("charge", "chg_e", "chg_e", "12350", "388"),
    ]
    assert all(int(line["net_minor"]) == int(line["gross_minor"]) - int(line["fee_minor"]) for line in lines)
    assert tuple(lines[0]) == COLUMNS
    assert lines[0]["created_at"] == "2026-11-18T11:06:40.000Z"
    assert lines[1]["processor_id"].startswith("sbx_ref_")


async def test_a_payout_empties_the_balance_of_each_currency_and_marks_what_it_paid(world: World) -> None:
    async with world.client() as client:
        await a_busy_day(client, world)
        paid = (await client.post("/sandbox/payouts")).json()["payouts"]
        again = (await client.post("/sandbox/payouts")).json()["payouts"]
        lines = await report(client)
    assert [(each["currency"], each["amount_minor"]) for each in paid] == [("EUR", 13_878), ("USD", 11_962)]
    assert again == []
    assert {line["payout_id"] for line in lines} == {each["id"] for each in paid}
    for payout in paid:
        of_it = [line for line in lines if line["payout_id"] == payout["id"]]
        assert sum(int(line["net_minor"]) for line in of_it) == 0
        assert [line["processor_id"] for line in of_it if line["type"] == "payout"] == [payout["id"]]
    await world.courier.deliver_due()
    assert [event["type"] for event in world.receiver.events()].count("payout.paid") == 2


async def test_a_balance_below_nothing_is_not_paid_out_and_waits(world: World) -> None:
    async with world.client() as client:
        await charge(client, number=DISPUTED)
        assert (await client.post("/sandbox/payouts")).json()["payouts"] == []
        assert {line["payout_id"] for line in await report(client)} == {""}


async def test_a_period_is_from_its_first_moment_to_before_its_last_and_periods_join_without_gap(world: World) -> None:
    async with world.client() as client:
        await a_busy_day(client, world)
        whole = await report(client)
        first = await report(client, **{"from": "2026-11-18T00:00:00Z", "to": "2026-11-18T11:06:40.001Z"})
        second = await report(client, **{"from": "2026-11-18T12:06:40.001+01:00", "to": "2026-11-19T00:00:00Z"})
        none = await report(client, **{"from": "2026-12-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"})
    assert [line["reference"] for line in first] == ["chg_a", "ref_a"]
    assert first + second == whole
    assert none == []


@pytest.mark.parametrize(
    ("period", "field"),
    [
        ({"to": "2026-11-18T00:00:00Z"}, "from"),
        ({"from": "2026-11-18T00:00:00Z"}, "to"),
        ({"from": "yesterday", "to": "2026-11-18T00:00:00Z"}, "from"),
        ({"from": "2026-11-18T00:00:00", "to": "2026-11-18T00:00:00Z"}, "the body"),
        ({**ALL, "format": "xml"}, "the body"),
    ],
)
async def test_a_period_that_is_none_is_refused(world: World, period: dict[str, str], field: str) -> None:
    async with world.client() as client:
        answer = await client.get("/v1/reports/settlement", params=period)
    assert answer.status_code == 422
    assert f"Look at: {field}." in answer.json()["error"]["message"]


async def test_a_report_is_read_in_pieces_from_one_state_whatever_is_written_meanwhile(world: World) -> None:
    async with world.client() as client:
        for number in range(LINES_AT_ONCE + 1):
            await charge(client, key=f"k{number}", reference=f"chg_{number}")
        pieces = settlement(world.store.transactions_between(START, START + 1))
        head, first = next(pieces), next(pieces)
        await charge(client, key="meanwhile", reference="chg_meanwhile")
        await client.post("/sandbox/payouts")
        rest = list(pieces)
    assert head.strip().split(",") == list(COLUMNS)
    assert len(first.splitlines()) == LINES_AT_ONCE
    assert len(rest) == 1
    [last] = csv.reader(rest)
    assert dict(zip(COLUMNS, last, strict=True))["reference"] == f"chg_{LINES_AT_ONCE}"
    assert last[COLUMNS.index("payout_id")] == ""


@pytest.mark.parametrize(
    ("captured", "fee"), [(1, 30), (17, 30), (18, 31), (100, 33), (12_350, 388), (10**12 - 1, 29_000_000_030)]
)
def test_the_fee_is_the_documented_one_rounded_half_up(captured: int, fee: int) -> None:
    assert fee_minor(captured) == fee


@given(st.integers(1, 10**12))
def test_the_fee_is_within_half_a_minor_unit_of_the_exact_one(captured: int) -> None:
    assert -5_000 <= captured * 290 - (fee_minor(captured) - 30) * 10_000 < 5_000
