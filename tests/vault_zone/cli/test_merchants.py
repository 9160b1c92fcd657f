"""``vault-zone merchants origins``: an operator says whose pages may frame a merchant's card fields, and it is on record."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vault_zone.cli import main
from vault_zone.merchants import MAXIMUM_ORIGINS

SHOP, OTHER = "https://shop.example", "https://other.example:8443"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A zone's directory with keys in it; its database is made by the first command."""
    (tmp_path / "keys").mkdir()
    return tmp_path


def origins(data: Path, *words: str, merchant: str = "harbour-pine") -> int:
    return main(["merchants", "origins", merchant, *words, "--data", str(data)])


def recorded(data: Path) -> list[dict[str, Any]]:
    """The entries of changes."""
    with sqlite3.connect(data / "zone.sqlite3") as database:
        rows = database.execute("SELECT entry FROM audit_event ORDER BY id").fetchall()
    entries = [json.loads(entry) for (entry,) in rows]
    return [entry for entry in entries if entry["type"] == "merchant.frame_origins_changed"]


def test_an_origin_is_added_shown_and_taken_away_with_a_record_of_each(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert origins(data, "--add", SHOP, "--add", OTHER) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted([SHOP, OTHER])
    assert origins(data, "--remove", OTHER) == 0
    assert capsys.readouterr().out == f"{SHOP}\n"
    assert origins(data, "--remove", SHOP) == 0
    assert "no page may frame" in capsys.readouterr().out
    assert len(recorded(data)) == 3
    assert all(json.dumps(entry).count("operator:") == 1 for entry in recorded(data))


def test_each_merchant_has_its_own(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert origins(data, "--add", SHOP) == 0
    capsys.readouterr()
    assert origins(data, merchant="oak") == 0
    assert SHOP not in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", ["https://Shop.example", "https://shop.example/", "http://shop.example", "shop.example", "*", "null", ""]
)
def test_what_is_no_origin_is_refused_and_nothing_changes(
    data: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert origins(data, "--add", SHOP) == 0
    assert origins(data, "--add", OTHER, "--add", wrong) == 1
    assert "as browsers write them" in capsys.readouterr().err
    assert len(recorded(data)) == 1
    assert origins(data) == 0
    assert capsys.readouterr().out == f"{SHOP}\n"


def test_more_than_a_merchant_may_have_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = [word for n in range(MAXIMUM_ORIGINS + 1) for word in ("--add", f"https://shop-{n}.example")]
    assert origins(data, *many) == 1
    assert "take one away first" in capsys.readouterr().err


def test_without_a_zone_there_is_nothing_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert origins(tmp_path, "--add", SHOP) == 1
    assert "vault-zone init" in capsys.readouterr().err
    assert not (tmp_path / "zone.sqlite3").exists()
