"""What a decision on offers leaves in the database, to the byte: known answers, the same on both databases.

Records are learnt from and played again for more than a year, so how they are written down is a format.
known_offer_records.json has what the story below leaves: random ids are numbered there in the order in which they come up, and
the draw is always a half.
"""

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from audit.transaction import Transaction
from commerce_api.brands import find_brand, pause_offers, save_brand
from commerce_api.checkout.service import Caller
from commerce_api.memory.asker import asker_of
from commerce_api.memory.consents import give
from commerce_api.memory.facts import NewFact, keep
from commerce_api.models import offer_budget, offer_decision, offer_outcome, offer_policy, offer_reservation
from commerce_api.offering.replayed import replayed
from commerce_api.policy import Policy, load_policy
from commerce_api.schemas import OffersView
from tests.commerce_api.test_offering import AGENT, GUEST, ROBIN, asked, offer, taken
from tests.commerce_api.test_payment import pay
from tests.commerce_api.world import BRAND, BRAND_NAME, CURRENCY, OFFER_KEY, STORE, World
from tokenization.ids import bytes_of

pytestmark = pytest.mark.anyio
KNOWN = Path(__file__).parent / "known_offer_records.json"
MORGAN = Caller("shopper:shp_morgan", "test")
POLICY = {
    "offers": [
        offer(priority=5, limits={"budget_minor": 4_000, "per_shopper": 2, "cooldown_days": 3}),
        offer(
            id="flat",
            kind="amount_off",
            percent_basis_points=None,
            amount_minor=333,
            priority=3,
            limits={"per_shopper": 1},
        ),
        offer(id="free", kind="free_shipping", percent_basis_points=None, priority=4, limits={"budget_uses": 2}),
        offer(id="owner", title="Für Stammgäste", priority=9, audience={"owns_product_ids": ["hp-kettle"]}),
        offer(id="agreed", priority=8, audience={"needs_consent": True}, valid_until="2026-11-21T00:00:00Z"),
    ],
    "offer_rules": {
        "maximum_discount_basis_points": 3_000,
        "minimum_margin_basis_points": -9_000,
        "never_discounted": [{"categories": ["Kitchen > Kettles"], "regions": ["FR"], "reason": "a law"}],
    },
    "memory": {
        "wordings": [
            {"id": purpose.replace("_", "-"), "purpose": purpose, "text": "May we remember this?"}
            for purpose in ("memory", "personal_offers")
        ]
    },
}
_RANDOM_ID = re.compile(r"\b(off|psn|ord|chk)_[bcdfghjkmnpqrstv]{32}\b")


async def story(world: World) -> None:
    """Guests, shoppers who are known, budgets, caps, a refusal, an order, memory, and a switch; a minute lies between."""

    async def ask(caller: Caller = GUEST, **more: Any) -> OffersView:
        world.clock.advance(60)
        return await asked(world, caller, **more)

    document = json.loads(load_policy(STORE / "policy.json").model_dump_json())
    policy = Policy.model_validate_json(json.dumps(document | POLICY))
    database = world.commerce.database
    await database.change(lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy))
    await ask(region="US-OR", locale="de")
    await ask(region="FR", shown=False)
    taken_up = (await ask(ROBIN, region="US")).offers[0].offer_id
    await ask(ROBIN, region="US", shown=False)
    declined = (await ask(MORGAN, region="US")).offers[0].offer_id
    await world.desk.offer_refused(BRAND, MORGAN, declined, "declined")
    checkout = await taken(world, taken_up, ROBIN)
    await world.desk.complete_checkout(BRAND, ROBIN, checkout.checkout_id)
    await pay(world, checkout.checkout_id)
    await database.change(remember)
    for caller in (ROBIN, MORGAN, GUEST):
        await ask(caller, region="US")
    await ask(AGENT, shopper="shp_robin", region="US", locale="fr")
    await database.change(lambda tx: pause_offers(tx, BRAND, paused=True))
    await ask(ROBIN)


def remember(tx: Transaction) -> None:
    """Robin agrees to personal offers, and tells two facts that count in ranking."""
    asker = asker_of(find_brand(tx.connection, BRAND), AGENT, "shp_robin", "signed_in", OFFER_KEY)
    give(tx, asker, "memory", "memory")
    give(tx, asker, "personal_offers", "personal-offers")
    keep(tx, asker, NewFact("size.clothing", "M", "told"))
    keep(tx, asker, NewFact("budget", "USD 80.00", "told"))


def numbered() -> Callable[[str], str]:
    """Random ids replaced by numbers, in the order in which they come up."""
    numbers: defaultdict[str, int] = defaultdict(partial(next, count(1)))
    return partial(_RANDOM_ID.sub, lambda found: f"{found[1]}_{numbers[found[0]]}")


async def written(world: World) -> dict[str, list[Any]]:
    """All that the story left of offers, by table; signatures as what is signed, events as what they say."""
    plain = numbered()
    decisions = sorted(await world.rows(offer_decision), key=lambda row: int(row.decided_ms))
    told = [json.loads(row.entry) for row in await world.events() if row.type.startswith("offer.")]
    outcomes = sorted(await world.rows(offer_outcome), key=lambda row: (row.recorded_ms, row.type))
    left: dict[str, list[Any]] = {
        "offer_decision": [_cells(offer_decision, row, plain) for row in decisions],
        "offer_outcome": [_cells(offer_outcome, row, plain) for row in outcomes],
        "events": [plain(json.dumps({name: said for name, said in each.items() if name != "id"})) for each in told],
    }
    for table in (offer_budget, offer_reservation, offer_policy):
        left[table.name] = sorted(_cells(table, row, plain) for row in await world.rows(table))
    return left


def _cells(table: Table, row: Any, plain: Callable[[str], str]) -> list[Any]:
    """A row's values in the order of the columns' names."""
    values = {**row._mapping}
    if values.get("snapshot"):
        values["snapshot"] = bytes_of(values["snapshot"].split(".")[1]).decode()
    named = [values[name] for name in sorted(table.c.keys())]
    return [plain(value) if isinstance(value, str) else value for value in named]


async def test_what_decisions_leave_is_the_same_to_the_byte(
    world_on_each: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound // 2)
    await story(world_on_each)
    assert await written(world_on_each) == json.loads(KNOWN.read_text())


async def test_every_record_is_word_for_word_what_its_decision_played_again_says(world_on_each: World) -> None:
    await story(world_on_each)
    rows = await world_on_each.rows(offer_decision)
    again = [
        await world_on_each.commerce.database.read(partial(replayed, row=row, rankers=world_on_each.desk.rankers))
        for row in rows
    ]
    assert [each.is_same for each in again] == [True] * len(rows)
    assert {row.chosen for row in rows} >= {"owner", "agreed", "fifteen", "no_offer"}


async def test_planted_fault_an_offer_that_is_signed_without_being_cut_to_its_budget_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound // 2)
    monkeypatch.setattr("commerce_api.offering.making._as_set_aside", lambda decision: decision.chosen.offer)
    await story(world)
    known = json.loads(KNOWN.read_text())
    left = await written(world)
    assert [table for table in known if left[table] != known[table]] == ["offer_decision"]
