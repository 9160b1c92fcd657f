"""The command line as a newcomer meets it: what it prints, what it exits with, and that its first error tells the fix."""

import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from commerce_api.cli import main
from commerce_api.cli.databases import database_urls
from commerce_api.cli.doctor import BAD, findings
from commerce_api.cli.ports import choose_ports, is_free
from commerce_api.cli.refused import CommandRefused
from commerce_api.models import variant
from tests.commerce_api.world import STORE
from tokenization.clock import now_milliseconds

SHARED = Path(__file__).parents[4] / "shared" / "data" / "feeds"
CARD = "4242 4242 4242 4242"


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_scan_finds_a_card_in_a_file_and_does_not_print_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text(f"pay with {CARD} please", encoding="utf-8")
    assert main(["scan", str(tmp_path / "notes.txt")]) == 1
    out, _ = said(capsys)
    assert "1 card-like text found" in out
    assert "4242" not in out
    (tmp_path / "clean.txt").write_text("two kettles", encoding="utf-8")
    assert main(["scan", str(tmp_path / "clean.txt")]) == 0


def test_scan_by_lines_gives_one_object_for_each_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"hello\nmy card is {CARD}\n\norder 1240311797"))
    assert main(["scan", "--lines"]) == 1
    objects = [json.loads(line) for line in said(capsys)[0].splitlines()]
    assert objects == [
        {"line": 1, "found": False, "count": 0},
        {"line": 2, "found": True, "count": 1},
        {"line": 3, "found": False, "count": 0},
        {"line": 4, "found": False, "count": 0},
    ]


def test_scan_finds_a_card_across_the_blocks_it_reads_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_api.cli.scan.BLOCK_CHARACTERS", 600)
    for lead in range(560, 620, 3):
        (tmp_path / "long.txt").write_text("word " * (lead // 5) + "x" * (lead % 5) + f" {CARD} ", encoding="utf-8")
        assert main(["scan", str(tmp_path / "long.txt")]) == 1


def test_a_file_that_is_not_there_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "nowhere.txt"]) == 1
    assert "give the path" in said(capsys)[1]


def test_deps_lists_a_deployables_packages_with_the_reasons_of_the_direct_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["deps", "zone"]) == 0
    out, _ = said(capsys)
    assert "cryptography" in out
    assert "AES-256-GCM" in out
    assert "mcp " not in out


def brand_add(data: Path, feed: Path, *more: str, name: str = "Harbour & Pine") -> int:
    return main(["brand", "add", name, "--feed", str(feed), "--data", str(data), *more])


def test_a_brand_is_added_and_adding_it_again_updates_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed = tmp_path / "products.csv"
    feed.write_text((STORE / "products.csv").read_text(encoding="utf-8"), encoding="utf-8")
    assert brand_add(tmp_path / "data", feed, "--policy", str(STORE / "policy.json")) == 0
    first, _ = said(capsys)
    assert "28 variants, USD" in first
    feed.write_text(feed.read_text(encoding="utf-8").replace("79.00 USD", "81.00 USD"), encoding="utf-8")
    assert brand_add(tmp_path / "data", feed, "--policy", str(STORE / "policy.json")) == 0
    again, _ = said(capsys)
    assert first.splitlines()[-1] == again.splitlines()[-1], "the agent key stays"
    rows = {row.id: row.price_minor for row in stored(tmp_path / "data")}
    assert len(rows) == 28
    assert rows["hp-kettle-oat"] == 8_100


def test_a_country_of_which_only_regions_have_a_tax_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = json.loads((STORE / "policy.json").read_text(encoding="utf-8"))
    for by_region, noted in (({"US-CA": 725, "CA": 500}, True), ({"US-CA": 725, "US": 0}, False), ({}, False)):
        policy["tax"] = {"kind": "flat", "rate_basis_points": 205, "by_region": by_region}
        (tmp_path / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
        assert brand_add(tmp_path / "data", STORE / "products.csv", "--policy", str(tmp_path / "policy.json")) == 0
        told = said(capsys)[1]
        assert ("regions of US and no rate for US itself" in told and "taxed 2.05 %" in told) is noted


def test_rejected_rows_are_reported_with_line_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared feeds are not here")
    report = tmp_path / "rejected.jsonl"
    assert brand_add(tmp_path / "data", SHARED / "dirty.csv", "--report", str(report), name="dirty") == 0
    out, _ = said(capsys)
    assert "rejected line 22: description" in out
    assert "4242" not in out
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == out.count("rejected line") >= 19
    assert all(set(line) == {"line", "code", "reason"} for line in lines)


@pytest.mark.parametrize(
    ("name", "feed", "words"),
    [
        ("shop", "nothing.csv", "no such file"),
        ("!!!", "products.csv", "letter or digit"),
        ("shop", "empty.csv", "feed"),
    ],
)
def test_a_brand_that_cannot_be_added_says_why_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, feed: str, words: str
) -> None:
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    (tmp_path / "products.csv").write_text((STORE / "products.csv").read_text(encoding="utf-8"), encoding="utf-8")
    assert brand_add(tmp_path / "data", tmp_path / feed, name=name) == 1
    assert words in said(capsys)[1]
    assert not (tmp_path / "data").exists()


def test_a_policy_with_mistakes_names_each_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.json").write_text('{"currency": "USD", "ships_to": [], "shiping": 1}', encoding="utf-8")
    assert brand_add(tmp_path / "data", STORE / "products.csv", "--policy", str(tmp_path / "policy.json")) == 1
    assert len(said(capsys)[1].splitlines()) >= 3


def test_doctor_has_a_fix_for_everything_that_is_not_well(tmp_path: Path) -> None:
    keys = tmp_path / "zone" / "keys"
    keys.mkdir(parents=True)
    (keys / "root.key").write_text("x", encoding="utf-8")
    (keys / "root.key").chmod(0o644)
    (tmp_path / "commerce").mkdir()
    (tmp_path / "commerce" / "database.url").write_text("postgresql://a:secret@127.0.0.1:1/x", encoding="utf-8")
    found = list(findings(tmp_path))
    bad = {finding.subject for finding in found if finding.verdict == BAD}
    assert bad == {"zone keys", "PostgreSQL"}
    assert all(finding.fix for finding in found if finding.verdict == BAD)
    assert "secret" not in repr(found)
    assert main(["doctor", "--data", str(tmp_path)]) == 1


def test_a_usual_port_that_is_taken_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as port:
        monkeypatch.setattr("commerce_api.cli.ports.USUAL", {"capture": port})
        ports, lines = choose_ports(None)
        assert ports["capture"] != port
        assert lines == [f"port {port} is in use; capture listens on {ports['capture']} instead"]
        assert not is_free(port)
        with pytest.raises(CommandRefused, match=f"port {port}"):
            choose_ports(port)


def test_database_urls_are_none_two_named_two_in_order_or_refused(tmp_path: Path) -> None:
    zone, commerce = "postgresql://a@h/z", "postgresql://b@h/c"
    assert database_urls([], tmp_path) == {"zone": None, "commerce": None}
    assert database_urls([zone, commerce], tmp_path) == {"zone": zone, "commerce": commerce}
    assert database_urls([f"commerce={commerce}", f"zone={zone}"], tmp_path) == {"zone": zone, "commerce": commerce}
    for wrong in (["mysql://h/d", commerce], [zone, commerce, zone], [f"zone={zone}"], ["nonsense", "x"]):
        with pytest.raises(CommandRefused):
            database_urls(wrong, tmp_path)


def stored(data: Path) -> "list[Any]":
    import asyncio

    from audit.transaction import Database
    from commerce_api.settings import sqlite_url

    async def read() -> "list[Any]":
        database = Database.open(sqlite_url(data / "commerce"), now_milliseconds)
        try:
            return list(await database.read(lambda connection: connection.execute(variant.select()).all()))
        finally:
            await database.close()

    return asyncio.run(read())
