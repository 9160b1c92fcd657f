"""The whole thread over real processes, as `make demo` plays it, and its search for the card: files, memory, traffic."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commerce_api.cli.doctor import browser_path
from examples.demo.leaks import Card, MemoryUnreadable, hits, search_files, search_memory
from tests.journeys.running import ROOT
from tests.requirement import requirement

CARD = Card("4242424242424242", "737")
FORMS = [
    b"4242424242424242",
    b"x4242 4242 4242 4242x",
    b"4242-4242-4242-4242",
    b"number=4242+4242+4242+4242&",
    "4242424242424242".encode("utf-16-le"),
    b"34323432343234323432343234323432",
    b'{"cvc":"737"}',
    b"a=1&cvc=737",
]


def demo(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "examples.demo", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=230, cwd=ROOT)


@requirement("3.3.1", "3.5.1", "4.2.2", "10.3.4", "12.10.7")
@pytest.mark.parametrize("shopper", ["in a browser", "over HTTP"])
def test_an_agent_buys_and_the_card_is_nowhere_but_on_its_way_to_the_processor(tmp_path: Path, shopper: str) -> None:
    """Two in a row on one directory: the demonstration can be run again."""
    if shopper == "in a browser" and browser_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    arguments = ("--over-http",) if shopper == "over HTTP" else ()
    done = demo(tmp_path / "demo", *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "traffic zone → processor" in done.stdout
    assert "not readable" not in done.stdout, "memory was not searched"
    if shopper == "in a browser":
        assert len(list((tmp_path / "demo" / "pictures").glob("*.png"))) == 3
    else:
        assert "no browser" in done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_each_form_in_a_file_and_in_a_process(tmp_path: Path, form: bytes) -> None:
    """The negative control: the same search over a place where the card is."""
    (tmp_path / "held").write_bytes(b"\x00" * 5_000_000 + form)
    assert list(search_files(tmp_path, CARD)) == [tmp_path / "held"]
    assert hits(form, CARD)
    program = (
        f"import sys; held = bytes({list(form)!r}) * 2; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.read(1)
        try:
            found = search_memory(holder.pid, CARD)
        except MemoryUnreadable:
            pytest.skip("this system lets no process read another's memory")
        finally:
            holder.kill()
    assert found


def test_the_search_finds_nothing_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "clean").write_bytes(json.dumps({"order": "ord_bcd", "total": 10905, "last4": "4242"}).encode() * 1000)
    assert search_files(tmp_path, CARD) == {}
