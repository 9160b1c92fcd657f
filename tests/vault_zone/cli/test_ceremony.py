"""The key ceremony as its custodians live it, on a real terminal: own share alone, checked, acknowledged, on record."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from audit.store import audit_event
from audit.transaction import Database
from tests.requirement import requirement
from tests.vault_zone.cli.custodians import CLEARED, Terminal
from vault_zone.cli import main
from vault_zone.hazmat.local import KEYSTORE, ROOT_KEY, LocalKeys
from vault_zone.hazmat.provider import KeyContext, KeyUnavailable
from vault_zone.hazmat.shares import ShareRefused

NAMES = ["ann", "bob", "cyd"]
CONTEXT = KeyContext("shop", "sealing", "key_a")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A zone that has no root key yet."""
    assert main(["init", "--data", str(tmp_path / "zone")]) == 0
    for name in (ROOT_KEY, KEYSTORE):
        (tmp_path / "zone" / "keys" / name).unlink(missing_ok=True)
    return tmp_path / "zone"


def ceremony(data: Path, *more: str, **options: Any) -> Terminal:
    """The command at a terminal; SQLite unless the caller says another."""
    return Terminal(["ceremony", *more, "--data", str(data)], **options)


def events(url: str) -> list[dict[str, Any]]:
    """What is on record."""

    async def read() -> list[dict[str, Any]]:
        database = Database.open(url, lambda: 0)
        try:
            rows = await database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
            return [json.loads(bytes(row)) for row in rows]
        finally:
            await database.close()

    return asyncio.run(read())


def opened(data: Path, *shares: str) -> LocalKeys:
    """The keystore after these shares."""
    keys = LocalKeys.open(data / "keys", "development")
    for share in shares:
        keys.unseal(share)
    return keys


@requirement("3.6.1.2", "3.7.6", "3.7.8")
def test_a_ceremony_gives_each_custodian_one_share_and_any_two_open_the_keystore(data: Path) -> None:
    held = ceremony(data)
    assert held.run(NAMES) == 0, held.said
    assert list(held.shares) == NAMES
    assert {len(share.split()) for share in held.shares.values()} == {33}
    for pair in (("ann", "bob"), ("bob", "cyd"), ("cyd", "ann")):
        assert not opened(data, *(held.shares[name] for name in pair)).is_sealed
    assert opened(data, held.shares["ann"]).is_sealed


@requirement("3.7.6")
def test_no_two_shares_ever_stand_on_one_screen_and_none_is_on_the_disk(data: Path) -> None:
    held = ceremony(data)
    held.run(NAMES)
    for screen in held.screens:
        assert sum(share.split()[4:8] == shown_in(screen)[4:8] for share in held.shares.values()) <= 1
    assert sum(len(shown_in(screen)) == 33 for screen in held.screens) == 3
    assert held.said.count(CLEARED) >= 3 * len(NAMES), "before a share, after it, and after its custodian"
    kept = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    for share in held.shares.values():
        assert " ".join(share.split()[4:8]).encode() not in kept
    assert b"cordon" in kept, "the search would find what is kept"


def shown_in(screen: str) -> list[str]:
    """The words of a share that stand on a screen."""
    return [word for _, word in re.findall(r"(\d+)\. ([a-z]+)", screen)]


@requirement("3.7.8", "10.2.1.1")
def test_each_act_is_on_record_with_its_custodian_and_no_word(data: Path) -> None:
    held = ceremony(data)
    held.run(NAMES)
    entries = events(f"sqlite:///{data / 'zone.sqlite3'}")
    acts = [(entry["type"], entry["actor"]) for entry in entries if entry["type"].startswith(("cust", "cerem"))]
    assert acts == [
        *(("custodian.acknowledged", f"custodian:{name}") for name in NAMES),
        ("ceremony.held", "custodian:ann"),
    ]
    assert not any(" ".join(share.split()[4:6]) in json.dumps(entries) for share in held.shares.values())


def test_a_ceremony_is_recorded_in_postgresql_as_well(data: Path, postgres_url: str) -> None:
    held = ceremony(data, "--database-url", postgres_url)
    assert held.run(NAMES) == 0
    assert [entry["type"] for entry in events(postgres_url)].count("custodian.acknowledged") == 3


@pytest.mark.parametrize("fault", ["words", "acknowledgement"])
def test_a_ceremony_that_is_broken_off_leaves_no_key(data: Path, fault: str) -> None:
    held = ceremony(data, mistakes=9 if fault == "words" else 0, refuses=fault == "acknowledgement")
    assert held.run(NAMES) == 1
    assert "nothing is in force" in held.said
    assert not (data / "keys" / KEYSTORE).exists()


def test_a_word_that_is_misremembered_is_asked_for_again(data: Path) -> None:
    held = ceremony(data, mistakes=1)
    assert held.run(NAMES) == 0
    assert "Look at what you wrote down" in held.said


def test_a_second_ceremony_does_not_replace_the_first(data: Path) -> None:
    ceremony(data).run(NAMES)
    before = (data / "keys" / KEYSTORE).read_bytes()
    again = ceremony(data)
    assert again.run(NAMES) == 1
    assert "reshare" in again.said
    assert (data / "keys" / KEYSTORE).read_bytes() == before


@requirement("3.7.6", "3.7.5")
def test_new_shares_need_enough_present_ones_and_end_them(data: Path) -> None:
    first = ceremony(data)
    first.run(NAMES)
    running = opened(data, first.shares["ann"], first.shares["bob"])
    made = running.generate(CONTEXT)
    present = [first.shares["ann"], first.shares["cyd"]]
    second = ceremony(data, "reshare", "--shares", "2")
    assert second.run(["dee", "eli"], present) == 0, second.said
    assert not any(" ".join(share.split()[2:5]) in second.said for share in present), "typed unseen"
    with pytest.raises(KeyUnavailable):
        running.unwrap(made.wrapped, CONTEXT)
    with pytest.raises(ShareRefused):
        opened(data, *present)
    assert opened(data, *second.shares.values()).unwrap(made.wrapped, CONTEXT) == made.key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "1"], "two custodians at least"),
        (["--threshold", "4"], "two custodians at least"),
        (["--shares", "17"], "two custodians at least"),
    ],
)
def test_numbers_that_end_dual_control_are_refused(
    data: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ceremony", "--data", str(data), *arguments]) == 1
    assert said in capsys.readouterr().err


def test_without_a_zone_the_fix_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ceremony", "--data", str(tmp_path)]) == 1
    assert "vault-zone init" in capsys.readouterr().err
