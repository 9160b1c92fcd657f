"""Search gives the same answers on both databases, to words and to what is not meant as words."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.transaction import Transaction
from commerce_api.catalogue import search as search_module
from commerce_api.catalogue.search import Search, search_products
from commerce_api.models import variant
from tests.commerce_api.world import BRAND, World, commerce_world

pytestmark = pytest.mark.anyio


async def found(world: World, query: str, brand: str = BRAND, **more: object) -> list[str]:
    search = Search(query, **more)  # type: ignore[arg-type]  # the fields of Search
    database = world.commerce.database
    groups = await database.read(lambda c: search_products(c, brand, search, is_sqlite=database.is_sqlite))
    return [rows[0].product_id for rows in groups]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("kettle", "hp-kettle"),
        ("Kettles", "hp-kettle"),
        ("slow pour", "hp-kettle"),
        ("whistling stovetop", "hp-stovetop"),
        ("Santoku", "hp-knife"),
        ("lambswool throw unicorn", "hp-throw"),
        ("café", None),
        ("zzz", None),
    ],
)
async def test_words_find_products_by_their_beginning_and_all_before_any(
    tmp_path: Path, database_url: str, query: str, first: str | None
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        answers = await found(world, query)
        if first is None:
            assert answers == []
        elif query in ("kettle", "Kettles"):
            assert set(answers[:2]) == {"hp-kettle", "hp-stovetop"}
        else:
            assert answers[0] == first


async def with_all(world: World, *words: str) -> list[str]:
    """Products that hold all of the words."""
    database = world.commerce.database
    return await database.read(
        lambda c: search_module.matching(c, BRAND, Search(""), words, "AND", is_sqlite=database.is_sqlite)
    )


async def test_a_single_letter_is_a_beginning_by_itself_and_whole_among_others(world_on_each: World) -> None:
    assert await with_all(world_on_each, "t")
    assert await with_all(world_on_each, "dr", "kettle")
    assert await with_all(world_on_each, "t", "kettle") == []
    assert (await found(world_on_each, "t kettle"))[0] in ("hp-kettle", "hp-stovetop")


async def test_planted_fault_where_a_letter_is_always_a_beginning_it_narrows_nothing(
    world_on_each: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_is_beginning", lambda *_: True)
    assert await with_all(world_on_each, "t", "kettle")


async def test_prices_and_stock_narrow_what_is_found(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        assert await found(world, "kettle", maximum_minor=6_000) == ["hp-stovetop"]
        assert await found(world, "kettle", minimum_minor=6_000) == ["hp-kettle"]
        everything = await found(world, "", limit=20)
        assert len(everything) == 16
        assert await found(world, "", limit=5, offset=5) == everything[5:10]


async def test_another_brands_products_are_not_found(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        other = await world.add_brand("Harbour")
        assert await found(world, "kettle", other) == await found(world, "kettle")
        await world.commerce.database.maintain(
            lambda tx: tx.execute(variant.update().where(variant.c.brand == other).values(title="x", search_text="y"))
        )
        assert await found(world, "kettle", other) == []
        assert await found(world, "kettle") != []


async def test_a_changed_text_is_found_anew_and_no_longer_by_the_old_words(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:

        def rename(tx: Transaction) -> None:
            tx.execute(
                variant.update()
                .where(variant.c.product_id == "hp-knife")
                .values(title="Axe", search_text="axe for wood")
            )

        await world.commerce.database.maintain(rename)
        assert await found(world, "santoku") == []
        assert await found(world, "axe") == ["hp-knife"]


HOSTILE = [
    '"',
    "'",
    "kettle*",
    "NOT kettle",
    "a AND (",
    "title:kettle",
    "-kettle",
    "NEAR(a b)",
    "%",
    "x' OR 1=1 --",
    ":*",
    "&|!",
]


async def test_what_is_not_a_word_has_no_meaning(tmp_path: Path, database_url: str) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        for query in HOSTILE:
            await found(world, query)
        assert await found(world, 'kettle" OR "') == await found(world, "kettle or")


async def test_any_text_is_a_query(tmp_path: Path, database_url: str) -> None:
    """Generated once, so that one database serves all of them."""
    queries: list[str] = []

    @settings(max_examples=60, database=None, derandomize=True)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60))
    def collect(query: str) -> None:
        queries.append(query)

    collect()
    async with commerce_world(tmp_path, database_url) as world:
        for query in queries:
            assert isinstance(await found(world, query), list)


@pytest.mark.parametrize("tiers", [(1, 5_000), (3, 5_000), (5_000,)])
async def test_the_first_few_matches_give_the_beginning_of_what_all_give(
    tmp_path: Path, database_url: str, tiers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with commerce_world(tmp_path, database_url) as world:
        whole = await found(world, "kitchen", limit=20)
        monkeypatch.setattr(search_module, "SCORED_VARIANTS", tiers)
        paged = [
            product for offset in range(0, 20, 2) for product in await found(world, "kitchen", limit=2, offset=offset)
        ]
        assert paged == whole
        assert set(await found(world, "kitchen", limit=20, maximum_minor=3_000)) == {"hp-mug", "hp-towel"}


async def test_other_brands_do_not_use_up_what_is_scored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [await world.add_brand(name) for name in ("One", "Two")]
    alone = await found(world, "kitchen", limit=20)
    monkeypatch.setattr(search_module, "SCORED_VARIANTS", (2, 40))
    assert await found(world, "kitchen", limit=20) == alone
    assert {tuple(await found(world, "kitchen", brand, limit=20)) for brand in others} == {tuple(alone)}


async def test_planted_fault_without_the_second_look_a_filter_finds_too_little(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SCORED_VARIANTS", (1,))
    assert len(await found(world, "kitchen", limit=20)) == 1


async def test_a_page_behind_the_last_is_empty_and_does_not_begin_with_other_words(world_on_each: World) -> None:
    assert await found(world_on_each, "slow pour") == ["hp-kettle"]
    assert await found(world_on_each, "slow pour", offset=1) == []
    first = await found(world_on_each, "lambswool unicorn kettle", limit=1)
    assert await found(world_on_each, "lambswool unicorn kettle", limit=1, offset=1) not in ([], first)
