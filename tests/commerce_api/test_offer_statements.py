"""What one question for offers asks of the database: over a network each statement is a round trip, and they add up."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from commerce_api.brands import save_brand
from commerce_api.checkout.service import Caller
from commerce_api.models import offer_decision
from commerce_api.offering import budget, making, terms
from commerce_api.policy import Policy, load_policy
from tests.commerce_api.test_offer_records import POLICY, remember
from tests.commerce_api.test_offering import AGENT, GUEST, ROBIN, asked, offer
from tests.commerce_api.world import BRAND_NAME, CURRENCY, STORE, World

pytestmark = pytest.mark.anyio
SHARED = 5  # the brand, what is looked at, the decision, that it was shown, the events
KNOWN = 3  # consent, orders, what was shown and refused
FACTS = 1
BUDGET = 3  # what is left of all, what is set aside, for which decision
CASES: list[tuple[Caller, dict[str, Any], int]] = [
    (GUEST, {}, SHARED),
    (ROBIN, {}, SHARED + KNOWN + FACTS),
    (Caller("shopper:shp_morgan", "test"), {}, SHARED + KNOWN),
    (AGENT, {"shopper": "shp_robin"}, SHARED + KNOWN - 1 + FACTS),  # whose orders they are, an agent cannot say
    (GUEST, {"shown": False}, SHARED - 1),
]


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def with_policy(world: World, *offers: dict[str, Any]) -> None:
    """A policy with these offers, and wordings to agree to."""
    document = json.loads(load_policy(STORE / "policy.json").model_dump_json())
    document |= {"offers": list(offers), "memory": POLICY["memory"]}
    policy = Policy.model_validate_json(json.dumps(document))
    await world.commerce.database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))


async def sent_for(world: World, caller: Caller, **more: Any) -> int:
    """How many statements one question takes, once the offers on the table are on record."""
    await asked(world, GUEST)
    with statements() as sent:
        assert (await asked(world, caller, **more)).offers != []
    return len(sent)


@pytest.mark.parametrize("limits", [{}, {"budget_minor": 10**7}], ids=["without a budget", "with one"])
async def test_a_question_for_offers_sends_few_statements_however_many_offers_there_are(
    world_on_each: World, limits: dict[str, int]
) -> None:
    world = world_on_each
    few, many = ([offer(id=f"offer-{number}", limits=limits) for number in range(count)] for count in (2, 40))
    for offers in (few, many):
        await with_policy(world, *offers)
        await world.commerce.database.change(remember)
        for caller, more, statements_maximum in CASES:
            assert await sent_for(world, caller, **more) <= statements_maximum + (BUDGET if limits else 0)


async def test_what_is_not_on_record_of_the_offers_is_written_once(world_on_each: World) -> None:
    await with_policy(world_on_each, offer())
    with statements() as first:
        await asked(world_on_each)
    with statements() as second:
        await asked(world_on_each)
    assert [len(first), len(second)] == [SHARED + 1, SHARED]
    assert sum("INTO offer_policy" in statement for statement in first) == 1


async def test_planted_fault_who_reads_the_budget_of_each_offer_by_itself_is_over_the_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Any] = budget.left_of

    def one_by_one(connection: Any, brand: str, limited: dict[str, Any]) -> dict[str, Any]:
        return {name: each for one in limited.items() for name, each in read(connection, brand, dict([one])).items()}

    monkeypatch.setattr(budget, "left_of", one_by_one)
    await with_policy(world, *(offer(id=f"offer-{number}", limits={"budget_uses": 9}) for number in range(3)))
    assert await sent_for(world, GUEST) == SHARED + BUDGET + 2


async def test_a_policy_that_was_saved_decides_the_next_offer_whatever_was_worked_out_of_the_one_before(
    world_on_each: World,
) -> None:
    world = world_on_each
    titles = []
    for number in range(3):
        await with_policy(world, offer(title=f"Offer {number}", limits={"budget_uses": 1 + number}))
        titles += [made.title for made in (await asked(world, ROBIN)).offers]
    assert titles == ["Offer 0", "Offer 1", "Offer 2"]
    hashes = [json.loads(row.record)["policy_hash"] for row in await world.rows(offer_decision)]
    assert len(set(hashes)) == 3


async def test_planted_fault_terms_that_are_kept_by_brand_and_not_by_policy_are_older_than_what_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, terms.Terms] = {}

    def by_currency(policy: Policy, currency: str) -> terms.Terms:
        return kept.setdefault(currency, terms.terms_of(policy, currency))

    monkeypatch.setattr(making, "terms_of", by_currency)
    titles = []
    for number in range(2):
        await with_policy(world, offer(title=f"Offer {number}"))
        titles += [made.title for made in (await asked(world)).offers]
    assert titles == ["Offer 0", "Offer 0"]
