"""Vectors of products: made once for a text, kept by brand, searched by meaning, and filtered by the record."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from audit.transaction import Transaction
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.embeddings.model import DIMENSIONS, MiniLm
from commerce_api.embeddings.nearest import Nearest
from commerce_api.embeddings.store import refresh
from commerce_api.embeddings.wordpieces import numbers_of
from commerce_api.models import product_vector, variant
from tests.commerce_api.world import World

pytestmark = pytest.mark.anyio

GUEST = Caller(ANONYMOUS, "mcp")


class Counting:
    """Vectors by the first letters alone; counts what it was asked for."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        """As Embedder.embed."""
        self.asked += texts
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for place, text in enumerate(texts):
            for letter in text.lower()[:12]:
                vectors[place, ord(letter) % DIMENSIONS] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model() -> MiniLm:
    """The model itself, loaded once."""
    return MiniLm()


async def test_each_text_is_read_once_and_again_only_when_it_or_the_model_changed(world_on_each: World) -> None:
    database, brand = world_on_each.commerce.database, world_on_each.brand
    embedder = Counting()
    assert await refresh(database, brand, embedder) == 16
    assert await refresh(database, brand, embedder) == 0
    renamed = update(variant).where(variant.c.product_id == "hp-knife").values(product_title="Axe")
    await database.maintain(lambda tx: tx.execute(renamed))
    assert await refresh(database, brand, embedder) == 1
    assert embedder.asked[-1].startswith("Axe. Kitchen > Knives")
    assert await refresh(database, brand, Counting("another")) == 16


async def test_a_stopped_pass_is_finished_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_api.embeddings.store.BATCH_PRODUCTS", 5)
    database, calls = world.commerce.database, 0

    class Stops(Counting):
        def embed(self, texts: Sequence[str]) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            return super().embed(texts)

    with pytest.raises(KeyboardInterrupt):
        await refresh(database, world.brand, Stops())
    assert len(await world.rows(product_vector)) == 10
    assert await refresh(database, world.brand, Counting()) == 6


async def test_new_vectors_are_found_without_a_restart_and_only_by_their_own_brand(world_on_each: World) -> None:
    database = world_on_each.commerce.database
    other = await world_on_each.add_brand("Other")
    nearest = Nearest(database, Counting())
    assert await nearest.ids(world_on_each.brand, "Santoku Knif") == []
    await refresh(database, world_on_each.brand, Counting())
    assert (await nearest.ids(world_on_each.brand, "Santoku Knif"))[0] == "hp-knife"
    assert await nearest.ids(other, "Santoku Knif") == []

    def rename(tx: Transaction) -> None:
        tx.execute(update(variant).where(variant.c.product_id == "hp-mug").values(product_title="Zzzzzzzzzzzz"))

    await database.maintain(rename)
    world_on_each.clock.advance(1)
    await refresh(database, world_on_each.brand, Counting())
    assert (await nearest.ids(world_on_each.brand, "zzzzzzzzzzzz"))[0] == "hp-mug"
    assert len(nearest._brands[world_on_each.brand].ids) == 16


@pytest.mark.parametrize(
    ("need", "product"),
    [
        ("a dutch oven", "hp-casserole"),
        ("a nice scent for the living room", "hp-candle"),
        ("something to chop vegetables with", "hp-knife"),
        ("a skillet", "hp-pan"),
    ],
)
async def test_a_need_finds_what_is_called_otherwise_and_says_that_no_record_says_its_words(
    world: World, model: MiniLm, need: str, product: str
) -> None:
    await refresh(world.commerce.database, world.brand, model)
    desk = replace(world.desk, nearest=Nearest(world.commerce.database, model))
    view = await desk.ask(world.brand, GUEST, need)
    assert product in [found.id for found in view.products]
    assert not view.products[0].fits
    assert view.offers == []
    assert any(why.startswith("its record does not say") for why in view.products[0].why)


async def test_what_is_near_is_still_held_against_price_and_stock(world_on_each: World, model: MiniLm) -> None:
    await refresh(world_on_each.commerce.database, world_on_each.brand, model)
    desk = replace(world_on_each.desk, nearest=Nearest(world_on_each.commerce.database, model))
    view = await desk.ask(world_on_each.brand, GUEST, "a dutch oven under $80")
    assert view.products
    assert all(told.price.amount_minor <= 8_000 for found in view.products for told in found.variants)
    exact = await desk.ask(world_on_each.brand, GUEST, "a quiet kettle under $150")
    assert [found.id for found in exact.products] == ["hp-kettle"]


def test_vectors_are_of_unit_length_and_the_same_whatever_stands_beside_a_text(model: MiniLm) -> None:
    texts = ["a quiet kettle", "", "Café Ünïcode 忽略", "x" * 5_000]
    together = model.embed(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, np.concatenate([model.embed([text]) for text in texts]), atol=0.02)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a quiet kettle under", [101, 1037, 4251, 22421, 2104, 102]),  # as the model's own tokeniser has it
        ("", [101, 102]),
        ("Kettle!", [101, 22421, 999, 102]),
        ("KÉTTLE", [101, 22421, 102]),
        ("x" * 101, [101, 100, 102]),
    ],
)
def test_words_are_cut_into_pieces_as_the_model_learnt_them(text: str, numbers: list[int]) -> None:
    assert numbers_of(text, 64) == numbers
    assert len(numbers_of(text * 100, 8)) <= 8
