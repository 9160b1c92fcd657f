"""What the merchant's page says of models: which way of choosing earns most, what beats chance, where a model stands."""

import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Request, async_playwright

from commerce_api.offering import earning, export
from offer_engine.features import DEFAULT_SCHEMA, Vector
from offer_engine.judging.judge import Batches, from_lines
from offer_engine.judging.promotion import Stage
from offer_engine.learning import gbdt
from offer_engine.learning.log import TRAINED_PERCENT, Integers, Reading, subject_share
from offer_engine.learning.registry import Change, ModelKind
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.learning.training import Source
from offer_engine.market import NOW_MS, FixedPlayer, Player, lines
from tests.commerce_api.pages.test_browser import CHROMIUM, FLAGS, JUDGEMENTS
from tests.commerce_api.test_offering import asked, offer, with_offers
from tests.commerce_api.test_offers_page import page
from tests.commerce_api.test_ramping import begun, registry_of, stored
from tests.commerce_api.world import World, commerce_world
from tests.mcp_server.conformance.suite import TOOLS
from tests.offer_engine.stages import HOUR_MS, Staged, stark
from tests.offer_engine.test_rankers import ABOUT

pytestmark = pytest.mark.anyio
AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
COMPLAINTS_OF_AXE = """async () => {
  const only = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] };
  const { violations } = await axe.run(document, { runOnly: only });
  return violations.map((each) => `${each.id}: ${each.nodes[0].html}`);
}"""
TITLES = ("15% off kettles and coffee", "Free shipping from $80", "10% off a second mug & more, for whoever comes back")


BEST = "Always 10% off a second mug &amp; more, for whoever comes back"


class Mostly(Player):
    """Nearly always the last arm, which is the best."""

    def propensities(self, context: Vector, arms: Integers) -> Vector:
        return np.where(arms == 3, 0.85, 0.05)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A store of which all subjects are judged on: a small market tells enough then."""
    monkeypatch.setattr(earning, "TRAINED_PERCENT", 0)
    async with commerce_world(tmp_path) as built:
        offers = (offer(id=f"offer-{place}", title=title) for place, title in enumerate(TITLES, start=1))
        await with_offers(built, *offers)
        yield built


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Boosted trees of the market whose last arm is the best."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_text("\n".join(lines(stark(2_000), Player(), seed=5)), encoding="utf-8")
    source = Source((path,), DEFAULT_SCHEMA, RewardRule(), NOW_MS + 365 * DAY_MS)
    return gbdt.train(source).model.to_bytes()


async def with_a_model(world: World, trees: bytes | None = None) -> World:
    """A model at half of the shoppers, whose first sixty days are over."""
    if trees is None:
        name = begun(world)
    else:
        name = registry_of(world).add(trees, ModelKind.BOOSTED, dict(ABOUT)).model
        registry_of(world).record(Change(NOW_MS, name, Stage.RAMP_50.value, "ana", "passed"))
    await stored(world, Staged(stark(3_000), Mostly(), FixedPlayer(1), Stage.RAMP_50, name).records(3))
    world.clock.now_ms = NOW_MS + 60 * 24 * HOUR_MS
    await asked(world)
    return world


def rows(html: str, region: str) -> dict[str, str]:
    """The rows of a table by their names, as text."""
    table = html.partition(f'aria-label="{region}"')[2].partition("</table>")[0]
    found = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", cells).split()) for name, cells in found}


async def test_ways_of_choosing_have_a_value_where_the_record_can_tell_and_else_a_reason(world: World) -> None:
    html = await page(await with_a_model(world))
    told = rows(html, "Ways of choosing")
    best = told.pop(BEST)
    value, low, high = map(float, best.split())
    assert low < 0.92 < high
    assert low < value < high
    assert {"The model", "Your priorities", "By chance", "Never an offer"} <= told.keys()
    assert told["Always Free shipping from $80"].startswith("cannot be told: too few decisions came out")
    assert html.count("<svg") == 3
    assert "mug & more" not in html


async def test_boosted_trees_stand_beside_the_other_ways_of_choosing(world: World, trees: bytes) -> None:
    told = rows(await page(await with_a_model(world, trees)), "Ways of choosing")
    value, low, high = map(float, told["The model"].split())
    assert low < value < high
    assert value > 0.5


@pytest.mark.parametrize("fault", ["no_library", "missing", "damaged", "slow"])
async def test_a_model_that_cannot_be_judged_here_has_its_reason_in_words_and_the_others_their_values(
    world: World, trees: bytes, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    await with_a_model(world, trees)
    [file] = (registry_of(world).directory / "models").glob("*.txt")
    if fault == "no_library":
        monkeypatch.setitem(sys.modules, "lightgbm", None)
        why = "LightGBM is not installed here: pip install &#39;cordon[offers]&#39;"
    elif fault == "slow":
        monkeypatch.setattr(earning, "SCORING_SECONDS", 0.0)
        why = "it takes too long here; offer-engine evaluate judges it"
    else:
        file.unlink() if fault == "missing" else file.write_bytes(b"x" + trees)
        why = "it cannot be loaded here: its file is missing, damaged or of a later version"
    told = rows(await page(world), "Ways of choosing")
    assert told["The model"] == f"cannot be told: {why}"
    assert float(told[BEST].split()[0]) > 0.5


async def test_no_more_candidates_are_judged_than_the_bound_says(
    world: World, trees: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earning, "ROWS_MAXIMUM", 2_000)
    html = await page(await with_a_model(world, trees))
    [judged] = re.findall(r"reckoned from ([\d,]+) decisions", html)
    assert 0 < int(judged.replace(",", "")) <= 2_000 / 4 + 1


async def test_planted_fault_decisions_that_tried_nothing_else_leave_nothing_to_tell(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earning, "_tells_of_others", lambda record: True)
    told = rows(await page(await with_a_model(world)), "Ways of choosing")
    assert "it would do what nobody has tried yet" in told["By chance"]
    assert not [text for text in told.values() if not text.startswith("cannot be told")]


def judged(html: str) -> int:
    """How many decisions the ways of choosing were reckoned from."""
    [count] = re.findall(r"reckoned from ([0-9,]+) decisions", html)
    return int(count.replace(",", ""))


async def young(world: World, count: int) -> None:
    """So many decisions by chance, of the last hours."""
    records = list(Staged(stark(10), Mostly(), FixedPlayer(1), Stage.RAMP_50).records(4))
    [template] = [record for record in records if record["policy"].startswith("linear:")][:1]
    now_ms = world.clock()
    of = {"policy": "chance:1", "exploration": "uniform", "model_hash": None}
    await stored(
        world,
        (
            {
                **template,
                **of,
                "decision_id": f"off_young{number}",
                "subject": f"psn_young_{number}",
                "outcomes": [],
                "decided_ms": now_ms - 1_000 - number,
                "presented_ms": now_ms - 1_000 - number,
            }
            for number in range(count)
        ),
    )


async def test_what_is_too_young_takes_no_place_of_what_can_be_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earning, "JUDGED_MAXIMUM", 400)
    await with_a_model(world)
    before = judged(await page(world))
    await young(world, 500)
    html = await page(world)
    assert judged(html) == before == 400
    assert "500 more are too young to be counted." in html


async def test_planted_fault_a_reading_of_the_newest_alone_is_of_the_young_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earning, "JUDGED_MAXIMUM", 400)
    honest = export.read_newest
    monkeypatch.setattr(
        earning, "read_newest", lambda of, brand, since, until, most: honest(of, brand, since, world.clock(), most)
    )
    await with_a_model(world)
    await young(world, 500)
    assert judged(await page(world)) == 0


async def test_what_the_priorities_decided_is_not_judged_where_there_was_nothing_to_choose_either(
    world: World,
) -> None:
    await with_a_model(world)
    before = judged(await page(world))
    [template] = [r for r in Staged(stark(10), Mostly(), FixedPlayer(1)).records(4) if r["policy"] == "priority:1"][:1]
    nothing = {"offer": "no_offer", "version": 0, "discount_minor": 0, "margin_minor": 0, "score": 0.0, "features": {}}
    alone = {**template, "candidates": [{**nothing, "propensity": 1.0}], "chosen": "no_offer"}
    await stored(
        world,
        (
            {**alone, "decision_id": f"off_alone{number}", "subject": f"psn_alone_{number}", "outcomes": []}
            for number in range(300)
        ),
    )
    assert judged(await page(world)) == before


async def test_a_model_is_judged_on_subjects_that_it_did_not_learn_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def kept(reading: Reading, lines: Callable[[], list[str]]) -> Batches:
        read.extend(lines())
        return from_lines(reading, lines)

    monkeypatch.setattr(earning, "TRAINED_PERCENT", TRAINED_PERCENT)
    monkeypatch.setattr(earning, "from_lines", kept)
    await page(await with_a_model(world))
    shares = {subject_share(json.loads(line)["subject"]) for line in read}
    assert shares == set(range(TRAINED_PERCENT, 100))


async def test_gains_over_chance_are_told_with_their_bounds(world: World) -> None:
    html = await page(await with_a_model(world))
    [(value, low, high)] = re.findall(r"<li>The model: (\S+), from (\S+) to (\S+)</li>", html)
    assert 0 < float(low) < float(value) < float(high)
    assert "<li>Your priorities: -" in html


async def test_the_model_s_stage_guards_and_history_are_there(world: World) -> None:
    html = await page(await with_a_model(world))
    assert re.search(r'<li aria-current="step">ramp 50<span>50 %</span></li>', html)
    guards = rows(html, "Guards")
    assert guards["sales lost, a decision"].endswith("0 fine")
    assert len(guards) == 6
    assert "may go on to full, with offer-engine promote" in html
    name = registry_of(world).history()[0].model
    registry_of(world).record(Change(NOW_MS + 2, name, "rolled_back", "<i>ana</i>", "complaints & <script>"))
    world.desk.rankers._seen.clear()
    html = await page(world)
    assert "No model decides; your priorities do." in html
    assert "&lt;i&gt;ana" in html
    assert "<script" not in html


async def test_without_chance_or_a_model_the_page_says_what_is_missing(world: World) -> None:
    await asked(world)
    html = await page(world)
    reason = "cannot be told: no decision by chance or by a model is old enough"
    assert rows(html, "Ways of choosing") == dict.fromkeys(("Your priorities", "By chance"), reason)
    assert "no decision of a shopper who was held out is old enough" in html
    assert "No model decides" in html
    assert "<svg" not in html


def noted(fetched: list[str], request: Request) -> None:
    fetched.append(request.url)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
async def test_the_page_can_be_read_in_either_scheme_wide_and_narrow(world: World, tmp_path: Path) -> None:
    (tmp_path / "offers.html").write_text(await page(await with_a_model(world)), encoding="utf-8")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme in ("light", "dark"):
            for width in (320, 1_100):
                shown = await browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
                )
                fetched: list[str] = []
                shown.on("request", partial(noted, fetched))
                await shown.goto((tmp_path / "offers.html").as_uri())
                assert await shown.evaluate(JUDGEMENTS) == [], (scheme, width)
                if AXE.exists():
                    await shown.evaluate(AXE.read_text(encoding="utf-8"))
                    assert await shown.evaluate(COMPLAINTS_OF_AXE) == [], (scheme, width)
                assert len(fetched) == 1
                await shown.close()
        await browser.close()
