"""docs/sandbox.md names everything that a caller can meet, and nothing that is gone."""

import re
from pathlib import Path

import pytest

from tests.vault_zone.processors.sandbox_server.world import World
from vault_zone.processors.sandbox_server.cards import PUBLISHED_CARDS, DeclineCode, Source
from vault_zone.processors.sandbox_server.errors import ANSWERS
from vault_zone.processors.sandbox_server.objects import (
    DisputeReason,
    DisputeStatus,
    Entry,
    ModificationDecline,
    ModificationStatus,
    Status,
)
from vault_zone.processors.sandbox_server.pages import display_number
from vault_zone.processors.sandbox_server.report import COLUMNS
from vault_zone.processors.sandbox_server.serve import serve
from vault_zone.processors.sandbox_server.webhooks import MAX_ATTEMPTS, SIGNATURE_HEADER
from vault_zone.processors.sandbox_server.wire import FaultMode, Operation

TEXT = (Path(__file__).parents[4] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_card_is_in_the_table_and_no_other_number_is() -> None:
    shown = re.findall(r"^\| `([\d ]+)` \|", TEXT, re.MULTILINE)
    assert shown == [display_number(card.number) for card in PUBLISHED_CARDS]


def test_every_error_is_documented_with_its_status() -> None:
    assert re.findall(r"^\| `(\w+)` \| (\d{3}) \|", TEXT, re.MULTILINE) == [
        (code.value, str(status)) for code, (status, _) in ANSWERS.items()
    ]


@pytest.mark.parametrize(
    "word",
    [
        *(*DeclineCode, *Status, *ModificationStatus, *ModificationDecline, *DisputeStatus, *DisputeReason),
        *(*FaultMode, *Operation, *Source, *Entry, *COLUMNS, SIGNATURE_HEADER),
    ],
)
def test_every_word_of_the_interface_is_documented(word: str) -> None:
    assert word in TEXT


def test_the_number_of_attempts_is_the_documented_one() -> None:
    assert f"{MAX_ATTEMPTS} attempts" in TEXT


def test_every_option_is_documented_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    serve(["--help"])
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
    section = TEXT.split("## Start it")[1].split("\n## ")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", section)) == options


def test_every_route_is_documented_and_no_other(world: World) -> None:
    served = {
        (method, route.path)
        for route in vars(world.app)["_app"].routes
        for method in sorted(route.methods or ())
        if method != "HEAD" and not route.path.startswith("/static/")
    }
    documented = set(re.findall(r"`(GET|POST|DELETE) (/[^`? ]*)", TEXT))
    assert documented == served
