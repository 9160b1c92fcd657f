"""The merchant's page of offers says what the record says, escapes what it is told, and plays decisions again."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from commerce_api.brands import find_brand
from commerce_api.models import offer_decision
from commerce_api.offering.page import render_page, share, told
from commerce_api.offering.replayed import replay_one
from tests.commerce_api.test_offering import GUEST, asked, bought, offer, with_offers
from tests.commerce_api.world import BRAND, World, commerce_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with commerce_world(tmp_path) as built:
        yield built


async def page(world: World) -> str:
    return await world.commerce.database.read(
        lambda connection: render_page(connection, find_brand(connection, BRAND), world.desk.rankers, world.clock())
    )


async def test_it_counts_what_is_on_record_on_either_database(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        await with_offers(
            world, offer(limits={"budget_minor": 10_000, "budget_uses": 5}), offer(id="never", priority=1)
        )
        await bought(world)
        await asked(world)
        await asked(world, shown=False)
        html = await page(world)
    row = re.search(r"<code>fifteen</code>.*?</tr>", html, re.DOTALL)
    assert row is not None
    cells = [re.sub(r"<br>.*", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row.group())]
    assert cells[:4] == ["3", "2", "1", "1"]
    assert "<td>$11.85</td><td>$23.70</td><td>$100.00</td>" in html
    assert "<td>1</td><td>2</td><td>5</td>" in html
    assert html.count("comes out the same") == 3


async def test_nothing_runs_in_it_and_nothing_is_fetched(world: World) -> None:
    await with_offers(world, offer(title="15% off & more"))
    await asked(world)
    html = await page(world)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    named = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{named}'" in html
    assert "default-src 'none'" in html
    assert "15% off &amp; more" in html
    assert not re.search(r"<script|\bon[a-z]+=|src=|href=", html)


async def test_a_record_that_was_changed_comes_out_differently_and_is_said(world: World) -> None:
    await with_offers(world, offer(), offer(id="other"))
    made = (await asked(world)).offers[0].offer_id
    database = world.commerce.database

    async def played() -> bool | None:
        return (await database.read(lambda connection: replay_one(connection, BRAND, made, world.desk.rankers))).is_same

    assert await played() is True
    [row] = await world.rows(offer_decision)
    record = json.loads(row.record)
    record["candidates"][0]["propensity"], record["candidates"][1]["propensity"] = 0.0, 1.0
    await database.maintain(
        lambda tx: tx.execute(update(offer_decision).values(record=json.dumps(record), chosen="other"))
    )
    assert await played() is False
    assert "comes out differently" in await page(world)


async def test_what_was_on_the_table_is_kept_when_the_policy_changes(world: World) -> None:
    await with_offers(world, offer())
    made = (await asked(world)).offers[0].offer_id
    await with_offers(world, offer(version=2, percent_basis_points=500))
    played = await world.commerce.database.read(
        lambda connection: replay_one(connection, BRAND, made, world.desk.rankers)
    )
    assert played.is_same is True
    assert told(played)[-1] == "Played again it comes out the same."
    assert (await world.desk.get_offers(BRAND, GUEST, [])).offers == []


@pytest.mark.parametrize(("part", "whole"), [(0, 0), (0, 1), (1, 1), (5, 10), (999, 1_000), (2, 1), (1, 0)])
def test_an_interval_holds_its_share_and_stays_within_bounds(part: int, whole: int) -> None:
    found = share(part, whole)
    rate = min(part / whole, 1.0) if whole else 0.5
    assert 0 <= found.low <= rate <= found.high <= 1
    assert found.low < found.high
