"""`cordon order` as an operator meets it: what it prints, what it exits with, what it says that can be done."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from commerce_api.cli import main
from commerce_api.models import order
from tests.commerce_api.test_payment import handed_off, pay
from tests.commerce_api.test_refunds import RefundingZone
from tests.commerce_api.world import BRAND, commerce_world


class Shop:
    """A command line over a shop with one paid order of 100.00, and its zone."""

    def __init__(self, order_id: str, zone: RefundingZone, url: str, data: Path) -> None:
        self.order_id, self.zone = order_id, zone
        self._options = ["--data", str(data), "--database-url", url]

    def run(self, action: str, *more: str, order_id: str | None = None) -> int:
        return main(["order", action, BRAND, order_id or self.order_id, *more, *self._options])


class NoConnection:
    """As VaultClient, over the made-up zone."""

    def __init__(self, zone: RefundingZone) -> None:
        self._zone = zone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._zone, name)

    async def close(self) -> None:
        """As VaultClient.close."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    async def made() -> Shop:
        async with commerce_world(tmp_path) as world:
            await pay(world, await handed_off(world))
            [placed] = await world.rows(order)
            zone = RefundingZone(world, placed.payment, 10_000)
            return Shop(placed.id, zone, world.commerce.settings.database_url, tmp_path)

    shop = asyncio.run(made())
    monkeypatch.setattr("commerce_api.vault_client.VaultClient", lambda *_: NoConnection(shop.zone))
    return shop


def test_a_part_is_given_back_and_shown(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("refund", "--amount", "12.50", "--reason", "damaged") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{shop.order_id} USD: captured 100.00, refunded 12.50, disputed 0.00 (sandbox)"
    assert said[1].endswith(" of 12.50, damaged: succeeded")
    assert shop.run("show") == 0
    assert capsys.readouterr().out.splitlines() == said
    assert shop.zone.given_back == 1_250


def test_a_lost_reply_is_asked_about_by_the_same_command_and_another_has_to_wait(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.zone.lose_reply = True
    assert shop.run("refund", "--amount", "12.50") == 1
    assert "Try the same call again: it never charges twice" in capsys.readouterr().err
    assert shop.run("refund") == 1
    assert "give that command again first, with --amount 12.50 --reason asked_by_operator" in capsys.readouterr().err
    shop.zone.lose_reply = False
    assert shop.run("refund", "--amount", "12.50") == 0
    assert shop.zone.given_back == 1_250


def test_what_was_not_given_back_ends_with_one(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("refund", "--amount", "100.01") == 1
    assert "refused (amount_not_available)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--amount", "0"), "--amount is an amount of USD"),
        (("--amount", "-1"), "--amount is an amount of USD"),
        (("--amount", "1.234"), "--amount is an amount of USD"),
        (("--reason", "It broke"), "--reason is up to 40 small letters"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str], more: tuple[str, str], words: str
) -> None:
    assert shop.run("refund", f"{more[0]}={more[1]}") == 1
    assert words in capsys.readouterr().err
    assert not shop.zone.made


def test_an_order_that_is_not_there_is_said_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("show", order_id="ord_nothing") == 1
    assert "There is no such order here" in capsys.readouterr().err


def test_without_commerces_certificates_it_says_what_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["order", "show", BRAND, "ord_nothing", "--data", str(tmp_path)]) == 1
    assert "check --data and --database-url" in capsys.readouterr().err
