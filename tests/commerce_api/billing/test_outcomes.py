"""Outcomes over the agents' API and from orders: what is billed, what is not, and what a refund does to it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from commerce_api.app import commerce_app
from commerce_api.billing.contract import Contract, ContractInvalid, load_contract, set_contract
from commerce_api.billing.statement import statement
from commerce_api.brands import find_brand
from commerce_api.checkout import pricing
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.checkout.totals import Totals, totals
from commerce_api.cli import main
from commerce_api.errors import CommerceError
from commerce_api.models import billed_outcome, billing_line, offer_budget, offer_outcome
from commerce_api.order_money import refresh
from commerce_api.schemas import CheckoutGiven
from tests.commerce_api.purchases import ready
from tests.commerce_api.test_offering import GUEST, asked, bought, offer, taken, with_offers
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, World, commerce_world
from tokenization.ids import letters_of

pytestmark = pytest.mark.anyio
PREFIX = f"/agents/v1/{BRAND}/outcomes"
TERMS: dict[str, Any] = {
    "version": 1,
    "currency": "USD",
    "sale": {"rate_basis_points": 500, "attributed_by": "conversation"},
    "save": {"fee_minor": 250},
    "booking": {"rate_basis_points": 1_000, "maximum_minor": 900, "reversal_days": 30},
}
TALK = letters_of(sha256(b"a transcript").digest())


async def agree(world: World, **changes: Any) -> None:
    """The brand's contract has these terms from now on."""
    contract = Contract.model_validate_json(json.dumps(TERMS | changes))
    await world.commerce.database.change(lambda tx: set_contract(tx, find_brand(tx.connection, BRAND), contract))


async def told(world: World, month: str) -> dict[str, Any]:
    """The statement of a month."""
    return await world.commerce.database.read(
        lambda connection: statement(connection, find_brand(connection, BRAND), month)
    )


def month_of(world: World) -> str:
    from tokenization.clock import as_text

    return as_text(world.clock())[:7]


async def money(world: World, **amounts: int) -> None:
    """The zone's record of the one charge says so, and commerce learns it, twice."""
    [payment] = world.vault.charges
    world.vault.amend(payment, **amounts)
    for _ in range(2):
        await refresh(world.commerce.database, world.commerce.payments.vault, BRAND, payment)


async def ordered(world: World, channel: str = "mcp") -> int:
    """A guest's order that an agent began; what was paid, in minor units."""
    guest = Caller(ANONYMOUS, channel)
    view = await world.desk.create_checkout(BRAND, guest, CheckoutGiven.model_validate(ready()), None)
    await world.desk.complete_checkout(BRAND, guest, view.checkout_id)
    await pay(world, view.checkout_id)
    assert (await world.desk.get_checkout(BRAND, guest, view.checkout_id)).status == "completed"
    return view.totals.total.amount_minor


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with commerce_world(tmp_path) as built:
        yield built


@pytest.fixture
async def agent(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with await calling(world) as http:
        yield http


async def calling(world: World) -> httpx.AsyncClient:
    """Calls of the brand's own agent."""
    transport = httpx.ASGITransport(commerce_app(world.commerce))
    headers = {"authorization": f"Bearer {await world.agent_key()}"}
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8703", headers=headers)


async def reported(http: httpx.AsyncClient, key: str = "k", **body: Any) -> httpx.Response:
    """A save, unless it says otherwise."""
    content = {"type": "save", "conversation": TALK, **body}
    return await http.post(PREFIX, json=content, headers={"idempotency-key": key})


async def reversed_(http: httpx.AsyncClient, outcome: str, key: str = "k", **body: Any) -> httpx.Response:
    """It did not last."""
    content = {"reason": "canceled", **body}
    return await http.post(f"{PREFIX}/{outcome}/reversals", json=content, headers={"idempotency-key": key})


def code(answer: httpx.Response) -> str:
    found: str = answer.json()["error"]["code"]
    return found


async def test_a_sale_is_billed_once_and_follows_its_order_in_lines_of_their_own(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await agree(world)
        paid_minor = await ordered(world)
        fee_minor = (paid_minor * 500 + 5_000) // 10_000
        await money(world, refunded_minor=1_000)
        await money(world, refunded_minor=1_000, disputed_minor=paid_minor - 1_000)
        await money(world, refunded_minor=1_000, disputed_minor=0)
        await money(world, refunded_minor=0, disputed_minor=0)
        view = await told(world, month_of(world))
        first_minor = ((paid_minor - 1_000) * 500 + 5_000) // 10_000
        assert [(line["kind"], line["amount_minor"], line["reason"]) for line in view["lines"]] == [
            ("charge", fee_minor, None),
            ("reversal", first_minor - fee_minor, "refunded"),
            ("reversal", -first_minor, "disputed"),
            ("reinstatement", first_minor, "refunded"),
            ("reinstatement", fee_minor - first_minor, "refund_returned"),
        ]
        assert view["total"]["net_minor"] == fee_minor == view["totals"]["sale"]["net_minor"]
        [row] = await world.rows(billed_outcome)
        assert view["lines"][0]["evidence"] == {"order": row.order_id}
        assert len(await world.events("billing.line_written")) == 5


async def test_a_sale_by_offer_has_its_decision_as_evidence_and_others_are_not_billed(world: World) -> None:
    await agree(world, sale={"rate_basis_points": 500})
    await with_offers(world, offer())
    made = await bought(world)
    await ordered(world)
    rulings = {row.decision: row.ruling for row in await world.rows(billed_outcome)}
    assert rulings == {made: "billed", None: "not_attributed"}
    [line] = (await told(world, month_of(world)))["lines"]
    assert line["evidence"]["decision"] == made


async def paid_with_a_code_of_the_offers_name(directory: Path, url: str) -> list[tuple[str, str | None]]:
    """An offer that does not hold beside a code, in a checkout with a code of its name: how the sale was ruled, with what."""
    async with commerce_world(directory, url) as world:
        await agree(world, sale={"rate_basis_points": 500})
        await with_offers(world, offer(id="WELCOME5", limits={"budget_uses": 1, "stacks_with_codes": False}))
        made = (await asked(world)).offers[0].offer_id
        view = await taken(world, made, discount_codes=["WELCOME5"])
        assert [applied.id for applied in view.totals.applied] == ["WELCOME5"]
        await world.desk.complete_checkout(BRAND, GUEST, view.checkout_id)
        await pay(world, view.checkout_id)
        [counted] = await world.rows(offer_budget)
        kinds = [row.type for row in await world.rows(offer_outcome)]
        assert ("purchased" in kinds) is (counted.spent_uses == 1)
        return [(row.ruling, row.decision) for row in await world.rows(billed_outcome)]


async def test_a_code_named_as_an_offer_is_not_taken_for_the_offer(tmp_path: Path, database_url: str) -> None:
    assert await paid_with_a_code_of_the_offers_name(tmp_path, database_url) == [("not_attributed", None)]


async def test_planted_fault_offers_told_by_their_names_bill_a_sale_that_no_offer_brought(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_name(*arguments: Any, **named: Any) -> Totals:
        counted = totals(*arguments, **named)
        return replace(counted, offer_taken_minor={name: taken for name, _, taken in counted.applied}.get("WELCOME5"))

    monkeypatch.setattr(pricing, "totals", by_name)
    [(ruling, _)] = await paid_with_a_code_of_the_offers_name(tmp_path, database_url)
    assert ruling == "billed"


async def test_an_order_that_no_agent_began_is_not_billed_and_without_a_contract_nothing_is(world: World) -> None:
    await ordered(world)
    assert await world.rows(billed_outcome) == []
    await agree(world)
    await ordered(world, "page")
    assert [row.ruling for row in await world.rows(billed_outcome)] == ["not_attributed"]
    assert await world.rows(billing_line) == []


async def test_a_save_is_rated_once_however_often_and_under_whatever_key_it_is_reported(
    tmp_path: Path, database_url: str
) -> None:
    async with commerce_world(tmp_path, database_url) as world, await calling(world) as http:
        await agree(world)
        answers = [await reported(http, key) for key in ("k", "k", "another")]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["outcome_id"] for answer in answers}) == 1
        assert answers[0].json()["ruling"] == "billed"
        assert code(await reported(http, "k", reference="other")) == CommerceError.IDEMPOTENCY_CONFLICT.code
        assert code(await reported(http, "third", value_minor=5)) == CommerceError.OUTCOME_CONFLICT.code
        assert (await reported(http, "fourth", reference="second-save")).status_code == 201
        view = await told(world, month_of(world))
        assert [line["amount_minor"] for line in view["lines"]] == [250, 250]
        assert {line["evidence"]["conversation"] for line in view["lines"]} == {TALK}


async def test_a_booking_is_reversed_in_part_and_then_whole_and_a_key_stands_for_one_reversal(
    world: World, agent: httpx.AsyncClient
) -> None:
    await agree(world)
    outcome = (await reported(agent, type="booking", value_minor=5_000)).json()["outcome_id"]
    for _ in range(2):
        answer = await reversed_(agent, outcome, "one", amount_minor=1_005)
    assert [line["amount"]["amount_minor"] for line in answer.json()["lines"]] == [500, -100]  # 399.5 is 400
    assert code(await reversed_(agent, outcome, "one")) == CommerceError.IDEMPOTENCY_CONFLICT.code
    world.clock.advance(60)
    await reversed_(agent, outcome, "two")
    view = await told(world, month_of(world))
    assert [line["amount_minor"] for line in view["lines"]] == [500, -100, -400]
    assert (view["total"]["net_minor"], view["total"]["charged_minor"]) == (0, 500)


async def test_what_is_reversed_too_late_stays_billed(world: World, agent: httpx.AsyncClient) -> None:
    await agree(world)
    outcome = (await reported(agent, type="booking", value_minor=5_000)).json()["outcome_id"]
    world.clock.advance(31 * 86_400)
    assert len((await reversed_(agent, outcome)).json()["lines"]) == 1


async def test_an_outcome_is_rated_by_the_contract_of_its_time(world: World, agent: httpx.AsyncClient) -> None:
    from tokenization.clock import as_text

    await agree(world)
    world.clock.advance(3_600)
    before = as_text(world.clock())
    world.clock.advance(3_600)
    await agree(world, version=2, save={"fee_minor": 999})
    late = await reported(agent, "late", at=before)
    now = await reported(agent, "now", reference="now")
    fees = [answer.json()["lines"][0]["amount"]["amount_minor"] for answer in (late, now)]
    assert fees == [250, 999]
    too_early = await reported(agent, "early", reference="early", at="2001-01-01T00:00:00Z")
    assert (too_early.json()["ruling"], too_early.json()["lines"]) == ("no_contract", [])


async def test_what_comes_after_a_month_is_closed_counts_in_the_month_in_which_it_comes(
    world: World, agent: httpx.AsyncClient
) -> None:
    from tokenization.clock import as_text

    await agree(world)
    month, happened = month_of(world), as_text(world.clock())
    await reported(agent, "in time")
    before = await told(world, month)
    world.clock.advance(40 * 86_400)
    await reported(agent, "late", reference="late", at=happened)
    assert await told(world, month) == before
    [line] = (await told(world, month_of(world)))["lines"]
    assert line["happened_at"] == happened


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"save": {"fee_minor": 1}}, "other terms"),
        ({"version": 2, "currency": "EUR"}, "currency"),
        ({"version": 2, "valid_from": "2001-01-01T00:00:00Z"}, "past"),
    ],
)
async def test_a_version_of_a_contract_is_never_changed_and_never_begins_in_the_past(
    world: World, changes: dict[str, Any], problem: str
) -> None:
    await agree(world)
    await agree(world)
    with pytest.raises(ContractInvalid, match=problem):
        await agree(world, **changes)
    assert len(await world.events("billing.contract_set")) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"conversation": "f" * 64}, CommerceError.OUTCOME_UNKNOWN),
        ({"conversation": "0" * 64}, CommerceError.INVALID_REQUEST),
        ({"type": "sale"}, CommerceError.INVALID_REQUEST),
        ({"at": "2999-01-01T00:00:00Z"}, CommerceError.INVALID_REQUEST),
        ({"at": "0001-01-01T00:00:00+14:00"}, CommerceError.INVALID_REQUEST),
        ({"decision": "off_" + "b" * 32}, CommerceError.OFFER_UNKNOWN),
        ({"decision": "off_x"}, CommerceError.OFFER_UNKNOWN),
        ({"order": "ord_" + "b" * 32}, CommerceError.ORDER_UNKNOWN),
    ],
)
async def test_a_report_without_its_evidence_is_refused(
    world: World, agent: httpx.AsyncClient, body: dict[str, Any], expected: CommerceError
) -> None:
    await agree(world)
    answer = await reported(agent, **body)
    if expected is CommerceError.OUTCOME_UNKNOWN:  # f is a letter of the alphabet: it is in order
        answer = await reversed_(agent, "bot_" + "b" * 32)
    assert (answer.status_code, code(answer)) == (expected.status, expected.code)


async def test_a_sale_is_not_reversed_by_word_and_no_outcome_is_seen_by_another_brand(
    world: World, agent: httpx.AsyncClient
) -> None:
    await agree(world)
    await ordered(world)
    [row] = await world.rows(billed_outcome)
    assert code(await reversed_(agent, row.id)) == CommerceError.OUTCOME_FOLLOWS_ORDER.code
    other = await world.add_brand("Salt Shed")
    headers = {"authorization": f"Bearer {await world.agent_key(other)}"}
    answer = await agent.get(f"/agents/v1/{other}/outcomes/{row.id}", headers=headers)
    assert code(answer) == CommerceError.OUTCOME_UNKNOWN.code
    assert (await agent.get(f"{PREFIX}/{row.id}")).json()["ruling"] == "billed"
    for method, path in (("POST", PREFIX), ("GET", f"{PREFIX}/{row.id}"), ("POST", f"{PREFIX}/{row.id}/reversals")):
        refused = await agent.request(method, path, headers={"authorization": "Bearer wrong", "idempotency-key": "k"})
        assert refused.status_code in (401, 422)


async def test_a_contract_is_set_and_a_statement_told_by_command(
    world: World, agent: httpx.AsyncClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    file = tmp_path / "contract.json"
    file.write_text(json.dumps(TERMS), encoding="utf-8")
    where = ["--database-url", world.commerce.database.url, "--data", str(tmp_path)]

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(main, [*arguments, *where])
        captured = capsys.readouterr()
        return done, captured.out + captured.err

    assert await run("contract", "set", BRAND, str(file)) == (0, f"{BRAND}: version 1 is in force\n")
    assert await run("contract", "set", BRAND, str(file)) == (0, f"{BRAND}: version 1 is there already, as it is\n")
    file.write_text(json.dumps(TERMS | {"booking": None}), encoding="utf-8")
    assert (await run("contract", "set", BRAND, str(file)))[0] == 1
    file.write_text(json.dumps(TERMS | {"sale": {"rate_basis_points": "kangaroo"}}), encoding="utf-8")
    with pytest.raises(ContractInvalid) as invalid:
        load_contract(file)
    assert "kangaroo" not in str(invalid.value)
    assert (await run("contract", "set", "nobody", str(file)))[0] == 1
    from tokenization.clock import now_milliseconds

    world.clock.advance((now_milliseconds() - world.clock()) // 1_000 + 60)
    await reported(agent)
    month = month_of(world)
    done, text = await run("statement", BRAND, "--month", month)
    assert done == 0
    assert "$2.50 charged, $0.00 reversed: $2.50" in text
    assert TALK in text
    _, text = await run("statement", BRAND, "--month", month, "--json")
    assert json.loads(text) == await told(world, month)
    assert (await run("statement", BRAND, "--month", "soon"))[0] == 1
