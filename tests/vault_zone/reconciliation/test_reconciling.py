"""A processor's report against charges and books: what agrees, what does not, what it settles, and the file itself."""

import contextlib
import csv
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.callers import ask, policy_of, zone_of
from tests.vault_zone.world import ACTOR, MERCHANT, START_MS, VISA, World, zone_world
from tokenization.clock import as_text
from tokenization.money import Money
from tokenization.wire import ChargeState, ModificationKind, ModificationState
from vault_zone.errors import ZoneRefusal
from vault_zone.ledger.accounts import Account
from vault_zone.ledger.balances import balances
from vault_zone.ledger.events import Captured, DisputeOpened, Refunded
from vault_zone.ledger.posting import record
from vault_zone.ledger.verifying import verify
from vault_zone.models import charge, merchant, modification, settlement_break
from vault_zone.processors.port import ProcessorAnswer
from vault_zone.reconciliation.breaks import open_breaks, resolve
from vault_zone.reconciliation.forms import FORMS
from vault_zone.reconciliation.importing import GRACE_MS, Read, begin, finish, judge, leave_unknown, read_lines
from vault_zone.reconciliation.line import Line, LineType
from vault_zone.reconciliation.matching import Code
from vault_zone.reconciliation.reading import LINE_BYTES_MAXIMUM, ReportRefused, digest_of, form_of, lines

anyio = pytest.mark.anyio
NOW_SECONDS = START_MS // 1000
DIGEST = "b" * 64


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone with its merchant, on either database."""
    async with zone_world(database_url) as made:
        await made.database.maintain(
            lambda tx: tx.execute(insert(merchant).values(id=MERCHANT, name="Harbour & Pine", created_ms=START_MS))
        )
        yield made


def charged(
    tx: Transaction, charge_id: str, amount_minor: int = 1_000, state: ChargeState = ChargeState.SUCCEEDED
) -> None:
    """A charge, and what the books hold of it."""
    is_done = state is ChargeState.SUCCEEDED
    tx.execute(
        insert(charge).values(
            id=charge_id,
            payment=charge_id,
            merchant=MERCHANT,
            checkout=charge_id,
            grant_id="g",
            token="t",
            amount_minor=amount_minor,
            currency="USD",
            brand="visa",
            last4="4242",
            processor="sandbox",
            processor_charge=f"sb_{charge_id}",
            state=state,
            return_url="https://shop.example/return",
            authorized_minor=amount_minor if is_done else 0,
            captured_minor=amount_minor if is_done else 0,
            intended_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
    )
    if is_done:
        record(tx, Captured(MERCHANT, charge_id, charge_id, Money(amount_minor, "USD"), "sandbox"))


def refunded(tx: Transaction, charge_id: str, modification_id: str, amount_minor: int) -> None:
    """A refund that was made."""
    tx.execute(
        insert(modification).values(
            id=modification_id,
            request=modification_id,
            charge_id=charge_id,
            merchant=MERCHANT,
            kind=ModificationKind.REFUND,
            amount_minor=amount_minor,
            currency="USD",
            state=ModificationState.SUCCEEDED,
            processor="sandbox",
            processor_reference=f"sb_{modification_id}",
            intended_ms=tx.now_ms,
            changed_ms=tx.now_ms,
        )
    )
    record(tx, Refunded(MERCHANT, charge_id, modification_id, Money(amount_minor, "USD"), "sandbox"))


def line(
    reported_id: str,
    type_: LineType,
    gross_minor: int,
    reference: str | None = None,
    *,
    fee_minor: int = 0,
    **other: Any,
) -> Line:
    """A line of a report."""
    fields = {
        "reported_id": reported_id,
        "type": type_,
        "reference": reference,
        "gross_minor": gross_minor,
        "fee_minor": fee_minor,
        "net_minor": gross_minor - fee_minor,
        "currency": "USD",
        "created_seconds": NOW_SECONDS,
    }
    return Line.model_validate(fields | other)


async def handed_in(world: World, *of: Line, digest: str = DIGEST, settle: Any = leave_unknown) -> Read:
    """A report of these lines, not yet ended."""
    report = await world.database.change(lambda tx: begin(tx, MERCHANT, "sandbox", digest, ACTOR))
    return await world.database.change(lambda tx: read_lines(tx, MERCHANT, report.id, of, ACTOR, settle))


async def held(world: World, account: Account = Account.RECEIVABLE, currency: str = "USD") -> int:
    """An account's balance."""
    rows = await world.database.read(lambda c: balances(c, MERCHANT))
    return sum(row.balance_minor for key, row in rows.items() if (key.kind, key.currency) == (account, currency))


async def codes(world: World) -> list[Code]:
    """The open breaks."""
    return [Code(row.code) for row in await world.database.read(lambda c: open_breaks(c, MERCHANT))]


@anyio
async def test_a_report_that_agrees_leaves_in_the_books_what_it_says_the_processor_holds(world: World) -> None:
    def made(tx: Transaction) -> None:
        charged(tx, "chg_a")
        charged(tx, "chg_b", 2_000)
        refunded(tx, "chg_b", "mod_a", 500)
        record(tx, DisputeOpened(MERCHANT, "chg_a", "dsp_a", Money(1_000, "USD"), "sandbox"))

    await world.database.maintain(made)
    report = (
        line("t1", LineType.CHARGE, 1_000, "chg_a", fee_minor=59),
        line("t2", LineType.CHARGE, 2_000, fee_minor=88, processor_ids=("sb_chg_b",)),
        line("t3", LineType.REFUND, -500, "mod_a"),
        line("t4", LineType.DISPUTE, -1_000, "chg_a"),
        line("t5", LineType.FEE, 0, "chg_a", fee_minor=1_500),
        line("t6", LineType.PAYOUT, -300),
    )
    assert await handed_in(world, *report) == Read(6, 6, ())
    assert await held(world) == sum(one.net_minor for one in report)
    assert [await held(world, one) for one in (Account.FEES, Account.PAYOUTS, Account.SUSPENSE)] == [1_647, 300, 0]
    assert await handed_in(world, *report, digest="c" * 64) == Read(0, 0, ()), "the same lines in another file"
    assert await held(world) == sum(one.net_minor for one in report)


@anyio
@pytest.mark.parametrize(
    ("told", "code", "suspense"),
    [
        (line("t", LineType.CHARGE, 1_000, "chg_nobody"), Code.MISSING_HERE, -1_000),
        (line("t", LineType.CHARGE, 900, "chg_a"), Code.AMOUNT_DIFFERS, 100),
        (line("t", LineType.CHARGE, 1_100, "chg_a"), Code.AMOUNT_DIFFERS, -100),
        (line("t", LineType.UNKNOWN, 70, "chg_a"), Code.UNKNOWN_TYPE, -70),
        (line("t", LineType.CHARGE, 1_000, "chg_no"), Code.STATE_DIFFERS, -1_000),
        (line("t", LineType.CHARGE, 1_000, "chg_unknown"), Code.STATE_DIFFERS, -1_000),
        (line("t", LineType.REFUND, -200, "chg_a"), Code.MISSING_HERE, 200),
        (line("t", LineType.REFUND, -200, "mod_a"), Code.AMOUNT_DIFFERS, -100),
        (line("t", LineType.DISPUTE, -200, "chg_a"), Code.MISSING_HERE, 200),
    ],
)
async def test_what_does_not_agree_is_a_break_with_its_code_and_stands_in_suspense(
    world: World, told: Line, code: Code, suspense: int
) -> None:
    def made(tx: Transaction) -> None:
        charged(tx, "chg_a")
        charged(tx, "chg_no", state=ChargeState.DECLINED)
        charged(tx, "chg_unknown", state=ChargeState.UNKNOWN)
        refunded(tx, "chg_a", "mod_a", 300)

    await world.database.maintain(made)
    before = await held(world)
    done = await handed_in(world, told)
    assert (done.matched, len(done.breaks), await codes(world)) == (0, 1, [code])
    assert await held(world, Account.SUSPENSE) == suspense
    if told.reference == "chg_nobody" or code is Code.UNKNOWN_TYPE:
        assert await held(world) == before + told.net_minor
    assert (await verify(world.database)).findings == ()


@anyio
async def test_another_currency_is_a_break_in_that_currency(world: World) -> None:
    await world.database.maintain(lambda tx: charged(tx, "chg_a"))
    await handed_in(world, line("t", LineType.CHARGE, 1_000, "chg_a", currency="EUR"))
    assert await codes(world) == [Code.CURRENCY_DIFFERS]
    assert (await held(world, Account.SUSPENSE, "EUR"), await held(world, Account.SUSPENSE)) == (-1_000, 0)


@anyio
@pytest.mark.parametrize("apart", [False, True])
async def test_a_charge_or_refund_reported_twice_is_a_duplicate_in_one_report_or_in_two(
    world: World, apart: bool
) -> None:
    def made(tx: Transaction) -> None:
        charged(tx, "chg_a")
        refunded(tx, "chg_a", "mod_a", 300)

    await world.database.maintain(made)
    first = (line("t1", LineType.CHARGE, 1_000, "chg_a"), line("t2", LineType.REFUND, -300, "mod_a"))
    again = (line("t3", LineType.CHARGE, 1_000, "chg_a"), line("t4", LineType.REFUND, -300, "mod_a"))
    if apart:
        await handed_in(world, *first)
        await handed_in(world, *again, digest="c" * 64)
    else:
        await handed_in(world, *first, *again)
    assert await codes(world) == [Code.DUPLICATE, Code.DUPLICATE]
    assert await held(world, Account.SUSPENSE) == -700


@anyio
async def test_a_charge_captured_in_parts_agrees_part_by_part(world: World) -> None:
    def made(tx: Transaction) -> None:
        charged(tx, "chg_a", 1_000)
        for name, amount in (("cap_a", 600), ("cap_b", 400)):
            refunded(tx, "chg_a", name, amount)
        tx.execute(update(modification).values(kind=ModificationKind.CAPTURE))

    await world.database.maintain(made)
    done = await handed_in(world, line("t1", LineType.CHARGE, 600, "cap_a"), line("t2", LineType.CHARGE, 400, "chg_a"))
    assert done == Read(2, 2, ())


@anyio
async def test_a_charge_whose_outcome_was_not_known_is_settled_by_the_report(world: World) -> None:
    await world.database.maintain(lambda tx: charged(tx, "chg_a", state=ChargeState.UNKNOWN))
    told: list[ProcessorAnswer] = []

    def settle(tx: Transaction, charge_id: str, answer: ProcessorAnswer) -> None:
        told.append(answer)
        values = {"state": ChargeState.SUCCEEDED, "authorized_minor": 1_000, "captured_minor": answer.captured_minor}
        tx.execute(update(charge).where(charge.c.id == charge_id).values(**values))
        record(tx, Captured(MERCHANT, charge_id, charge_id, Money(1_000, "USD"), "sandbox"))

    done = await handed_in(world, line("t", LineType.CHARGE, 1_000, "chg_a", processor_ids=("sb_x",)), settle=settle)
    assert done == Read(1, 1, ())
    assert [(one.outcome, one.processor_charge, one.captured_minor) for one in told] == [
        ("succeeded", "sb_chg_a", 1_000)
    ]
    assert await held(world) == 1_000


@anyio
async def test_what_was_captured_in_the_reports_time_and_is_in_none_is_missing_there_until_one_brings_it(
    world: World,
) -> None:
    await world.database.maintain(lambda tx: charged(tx, "chg_a"))
    await world.database.maintain(lambda tx: charged(tx, "chg_b"))
    day = line("t9", LineType.FEE, 0, fee_minor=1, created_seconds=NOW_SECONDS + 2 * GRACE_MS // 1000)
    await handed_in(world, line("t1", LineType.CHARGE, 1_000, "chg_a"), day)
    report = await world.database.change(lambda tx: begin(tx, MERCHANT, "sandbox", DIGEST, ACTOR))
    ended = await world.database.change(lambda tx: finish(tx, MERCHANT, report.id, ACTOR))
    assert (len(ended.breaks), await codes(world)) == (1, [Code.MISSING_AT_PROCESSOR])
    again = await world.database.change(lambda tx: begin(tx, MERCHANT, "sandbox", DIGEST, ACTOR))
    assert (again.id, again.state) == (report.id, "finished")
    await handed_in(world, line("t2", LineType.CHARGE, 1_000, "chg_b"), digest="c" * 64)
    assert await codes(world) == []


@anyio
async def test_a_dry_run_says_the_same_and_writes_nothing(world: World) -> None:
    await world.database.maintain(lambda tx: charged(tx, "chg_a"))
    told = (line("t1", LineType.CHARGE, 1_000, "chg_a", fee_minor=9), line("t2", LineType.CHARGE, 5, "chg_x"))
    verdicts = await world.database.read(lambda c: judge(c, MERCHANT, "sandbox", told))
    assert [verdict.code for verdict in verdicts] == [None, Code.MISSING_HERE]
    assert (await codes(world), await held(world)) == ([], 1_000)


@anyio
@requirement("10.2.2")
async def test_a_break_is_resolved_once_with_who_and_why_and_its_suspense_is_undone_by_two(world: World) -> None:
    await handed_in(world, line("t", LineType.CHARGE, 1_000, "chg_nobody"))
    [row] = await world.database.read(lambda c: open_breaks(c, MERCHANT))
    await world.database.change(lambda tx: resolve(tx, MERCHANT, row.id, "sold by telephone", "operator:bea"))
    with pytest.raises(ZoneRefusal):
        await world.database.change(lambda tx: resolve(tx, MERCHANT, row.id, "again", "operator:bea"))
    found = await world.database.read(lambda c: c.execute(select(settlement_break)).one())
    assert (found.resolved_by, found.reason) == ("operator:bea", "sold by telephone")
    assert await held(world, Account.SUSPENSE) == -1_000
    zone = zone_of(world, policy=policy_of(bea="bookkeeper:*", bo="bookkeeper:*", gus="auditor:*"))
    asked = {"act": "reverse_entry", "merchant": MERCHANT, "subject": row.entry}
    for by, status in (("operator:gus", 403), ("operator:bea", 201)):
        answer = await ask(zone, by, "POST", "/v1/operations", asked)
        assert answer.status_code == status
    path = f"/v1/operations/{answer.json()['operation']}/approve"
    assert (await ask(zone, "operator:bea", "POST", path)).status_code == 409
    assert (await ask(zone, "operator:bo", "POST", path)).json()["state"] == "executed"
    assert await held(world, Account.SUSPENSE) == 0
    seen = await ask(zone, "operator:gus", "GET", f"/v1/merchants/{MERCHANT}/ledger/entries")
    assert [one["kind"] for one in seen.json()["entries"]].count("reversed") == 1


@anyio
async def test_a_report_is_handed_in_and_looked_at_over_the_internal_api(world: World) -> None:
    await world.database.maintain(lambda tx: charged(tx, "chg_a"))
    zone, base = zone_of(world, policy=policy_of(bea="bookkeeper:*", gus="auditor:*")), f"/v1/merchants/{MERCHANT}"
    begun = await ask(zone, "operator:bea", "POST", f"{base}/settlements", {"processor": "sandbox", "digest": DIGEST})
    path = f"{base}/settlements/{begun.json()['settlement']}"
    told = [line("t1", LineType.CHARGE, 1_000, "chg_a"), line("t2", LineType.PAYOUT, -100)]
    body = {"lines": [one.model_dump(mode="json") for one in told]}
    assert (await ask(zone, "operator:gus", "POST", f"{path}/lines", body)).status_code == 403
    done = (await ask(zone, "operator:bea", "POST", f"{path}/lines", body)).json()
    assert (done["lines"], done["matched"], done["breaks"]) == (2, 2, 0)
    assert (await ask(zone, "operator:bea", "POST", f"{path}/finish")).json()["breaks"] == 0
    assert (await ask(zone, "operator:bea", "POST", f"{path}/finish")).json()["error"]["code"] == "settlement_not_open"
    shown = (await ask(zone, "operator:gus", "GET", f"{base}/ledger/balances")).json()["balances"]
    assert sum(one["balance_minor"] for one in shown) == 0
    checked = (await ask(zone, "operator:gus", "GET", "/v1/ledger/verification")).json()
    assert (checked["entries"], checked["findings"]) == (2, [])
    assert (await ask(zone, "operator:gus", "GET", f"{base}/settlement-breaks")).json()["breaks"] == []


HEADING = "balance_transaction,type,reference,processor_id,gross_minor,fee_minor,net_minor,currency,created_at,payout"
ROW = "bt_a,charge,chg_a,sb_a,1000,59,941,usd,2026-11-20T10:00:00Z,po_a"


def written(directory: Path, *rows: str, heading: str = HEADING) -> Path:
    """A file of these rows."""
    file = directory / "report.csv"
    file.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return file


def read(file: Path) -> Sequence[Line]:
    """All lines of a file."""
    return list(lines(file, form_of(file, FORMS)))


def test_a_line_of_the_sandbox_is_read(tmp_path: Path) -> None:
    [one] = read(written(tmp_path, ROW))
    assert (one.reported_id, one.type, one.reference, one.processor_ids) == ("bt_a", "charge", "chg_a", ("sb_a",))
    assert (one.gross_minor, one.fee_minor, one.net_minor, one.currency) == (1_000, 59, 941, "USD")
    assert (as_text(one.created_seconds * 1000)[:19], one.payout) == ("2026-11-20T10:00:00", "po_a")


def test_lines_of_stripe_are_read_in_major_units_with_their_sign(tmp_path: Path) -> None:
    heading = (
        "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,charge_id,"
        "payment_intent_id,automatic_payout_id,payment_metadata[cordon_charge],refund_metadata[cordon_refund]"
    )
    made = read(
        written(
            tmp_path,
            "txn_a,2026-11-20 10:00:00,usd,10.00,0.59,9.41,charge,ch_a,ch_a,pi_a,po_a,chg_a,",
            "txn_b,2026-11-20 10:00:00,jpy,-500,0,-500,refund,re_a,ch_b,pi_b,po_a,chg_b,mod_b",
            "txn_c,2026-11-20 10:00:00,kwd,1.234,0.000,1.234,climate_order_purchase,x,,,,,",
            "txn_d,2026-11-20 10:00:00,usd,-3.00,0.00,-3.00,partial_capture_reversal,re_b,ch_a,pi_a,,chg_a,",
            heading=heading,
        )
    )
    assert [(one.type, one.gross_minor, one.currency) for one in made] == [
        ("charge", 1_000, "USD"),
        ("refund", -500, "JPY"),
        ("unknown", 1_234, "KWD"),
        ("unknown", -300, "USD"),
    ]
    assert [(one.reference, one.processor_ids) for one in made[:2]] == [
        ("chg_a", ("pi_a", "ch_a")),
        ("mod_b", ("re_a",)),
    ]


@requirement("3.4.1")
@pytest.mark.parametrize(
    ("rows", "number", "code"),
    [
        ((ROW, f"bt_b,charge,{VISA},sb_b,1,0,1,usd,2026-11-20T10:00:00Z,"), 3, "card_like_text"),
        ((ROW.replace("941", "940"),), 2, "net_is_not_gross_less_fee"),
        ((ROW.replace("1000", "10.00"),), 2, "amount_malformed"),
        ((ROW.replace("1000,59,941", "-1000,0,-1000"),), 2, "sign_does_not_fit_type"),
        ((ROW.replace("2026-11-20T10:00:00Z", "yesterday"),), 2, "time_malformed"),
        ((ROW.replace("usd", "dollars"),), 2, "currency_malformed"),
        ((ROW, "bt_b,charge"), 3, "columns_differ_from_heading"),
        ((ROW, f"{'x' * LINE_BYTES_MAXIMUM}x"), 3, "line_too_long"),
        ((ROW, 'bt_b,"charge'), 4, "not_csv_in_utf8"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_reason(
    tmp_path: Path, rows: tuple[str, ...], number: int, code: str
) -> None:
    file = written(tmp_path, *rows)
    with pytest.raises(ReportRefused) as refused:
        read(file)
    assert (refused.value.line, refused.value.code) == (number, code)
    assert VISA not in str(refused.value)


def test_another_companys_file_is_refused_at_its_heading(tmp_path: Path) -> None:
    with pytest.raises(ReportRefused, match="line 1: columns_missing"):
        read(written(tmp_path, "1,2", heading="date,amount"))
    (tmp_path / "report.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportRefused, match="line 1: not_csv_in_utf8"):
        read(tmp_path / "report.csv")


def test_a_large_file_is_read_in_memory_that_does_not_grow_with_it(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        file = tmp_path / f"{rows}.csv"
        with file.open("w", encoding="utf-8", newline="") as handle:
            out = csv.writer(handle)
            out.writerow(HEADING.split(","))
            out.writerows(
                [f"bt_{n}x", "fee", "", "", "0", "1", "-1", "USD", "2026-11-20T10:00:00Z", ""] for n in range(rows)
            )
        tracemalloc.start()
        try:
            form = form_of(file, FORMS)
            assert sum(1 for _ in lines(file, form)) == rows
            digest_of(file)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = peak(500)
    assert peak(5_000) < small + 256 * 1024


@settings(max_examples=200, deadline=None)
@given(row=st.lists(st.text(max_size=20), min_size=10, max_size=10))
def test_no_row_does_anything_but_become_a_line_or_be_refused(
    tmp_path_factory: pytest.TempPathFactory, row: list[str]
) -> None:
    file = tmp_path_factory.mktemp("any") / "report.csv"
    with file.open("w", encoding="utf-8", errors="replace", newline="") as handle:
        csv.writer(handle).writerow(HEADING.split(","))
        csv.writer(handle).writerow(row)
    with contextlib.suppress(ReportRefused):
        assert len(read(file)) <= 1
