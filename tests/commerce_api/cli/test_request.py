"""`cordon request` as an operator meets it."""

import asyncio
from pathlib import Path

import pytest

from commerce_api.checkout.service import Caller
from commerce_api.cli import main
from commerce_api.models import order
from commerce_api.schemas import OrderRequestGiven
from tests.commerce_api.test_payment import handed_off, pay
from tests.commerce_api.world import BRAND, commerce_world


class Shop:
    """A command line over a shop with one paid order and a request about it."""

    def __init__(self, order_id: str, request_id: str, url: str, data: Path) -> None:
        self.order_id, self.request_id = order_id, request_id
        self._options = ["--data", str(data), "--database-url", url]

    def run(self, *arguments: str) -> int:
        return main(["request", *arguments, *self._options])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    async def made() -> Shop:
        async with commerce_world(tmp_path) as world:
            await pay(world, await handed_off(world))
            [placed] = await world.rows(order)
            asked = OrderRequestGiven(kind="return", reason="damaged")
            request = await world.desk.request_about_order(BRAND, Caller(f"agent:{BRAND}", "mcp"), placed.id, asked)
            return Shop(placed.id, request.request_id, world.commerce.settings.database_url, tmp_path)

    return asyncio.run(made())


def test_a_request_is_listed_until_it_is_answered(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("list", BRAND) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{shop.request_id} 2026-11-18T")
    assert line.endswith(f" return {shop.order_id} damaged\n")
    assert shop.run("answer", BRAND, shop.request_id, "accepted") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{shop.request_id} accepted\nno money has moved: `cordon order refund {BRAND} ")
    assert shop.run("list", BRAND) == 0
    assert capsys.readouterr().out == ""


def test_what_is_not_there_is_said_and_nothing_is_changed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("answer", BRAND, "orq_nothing", "declined") == 1
    assert "no such open request" in capsys.readouterr().err
    assert shop.run("answer", "nobody", shop.request_id, "declined") == 1
    assert "no brand of this name" in capsys.readouterr().err
    assert shop.run("answer", BRAND, shop.request_id, "declined") == 0
    assert shop.run("answer", BRAND, shop.request_id, "accepted") == 1
