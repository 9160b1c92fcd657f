"""``cordon-audit`` as a newcomer and an auditor meet it."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from audit.cli import _progress, main
from audit.note import Signer, Verifier
from audit.tree import leaf_hash, verify_inclusion
from tests.audit.logs import event_entries, new_signer, short_entries, write_log


@pytest.fixture
def data_dir(tmp_path: Path, signer: Signer) -> Path:
    write_log(tmp_path / "data/zone/log", signer, event_entries(300), 300)
    return tmp_path / "data"


def test_a_whole_log_is_reported_in_plain_language(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(data_dir)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("zone/log: whole: not a byte was altered\n")
    assert "300 of 300 entries re-hashed" in out
    assert "from 2025-11-22T08:26:40.000Z to 2025-11-22T08:26:40.299Z" in out


def test_an_altered_byte_is_named_and_the_status_is_one(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data_dir / "zone/log/tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b"4242", b"4243", 1))
    assert main(["verify", str(data_dir)]) == 1
    out = capsys.readouterr().out
    assert "ALTERED" in out
    assert "problem   tile/entries/000, byte " in out
    assert ", entry 0: one byte of the entry was altered: it is 0x33, it was 0x32" in out


def test_the_report_can_be_had_as_json(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(data_dir), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert [log["entries"] for log in report["logs"]] == [300]
    (data_dir / "zone/log/tile/0/000").unlink()
    assert main(["verify", str(data_dir), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["logs"][0]["problems"] == [
        {"entry": None, "file": "tile/0/000", "offset": None, "what": "is missing"}
    ]


def test_a_kept_checkpoint_shows_that_history_stands(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes((data_dir / "zone/log/checkpoint").read_bytes())
    assert main(["verify", str(data_dir), "--kept", str(kept)]) == 0
    assert "begins with the 300 entries of the checkpoint kept elsewhere" in capsys.readouterr().out
    assert main(["verify", str(data_dir), "--kept", str(tmp_path / "nowhere")]) == 2
    assert "give the checkpoint that you kept" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "show"])
def test_the_first_error_a_newcomer_meets_tells_the_fix(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / "nowhere")]) == 2
    assert "give the data directory that the service was started with" in capsys.readouterr().err
    assert main([command, str(tmp_path)]) == 2
    assert "Start the service once" in capsys.readouterr().err


def test_a_call_that_cannot_be_read_ends_with_two() -> None:
    for call in ([], ["verify"], ["proof", "x"], ["fly"]):
        with pytest.raises(SystemExit) as ended:
            main(call)
        assert ended.value.code == 2


def test_the_last_entries_are_shown_as_sentences(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(data_dir), "--last", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2025-11-22T08:26:40.{n}Z  #{n}  The card was charged (12.34 EUR, visa ending 4242)"
        "  [chg_bcdfghjk, by service:vault_zone]"
        for n in (298, 299)
    ]
    assert main(["show", str(data_dir), "--last", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["index"], shown["log"], shown["entry"]["type"]) == (299, "zone/log", "charge.succeeded")
    assert main(["show", str(data_dir), "--last", "0"]) == 2


def test_several_logs_are_shown_under_their_names(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(data_dir / "commerce/log", new_signer(tmp_path), short_entries(2), 2)
    assert main(["show", str(data_dir), "--last", "1"]) == 0
    out = capsys.readouterr().out
    assert "commerce/log: 2 entries\n?  #1  Something was recorded: None" in out
    assert "zone/log: 300 entries\n" in out
    assert main(["show", str(data_dir), "--log", "nowhere"]) == 2
    assert "there are: commerce/log, zone/log" in capsys.readouterr().err


def test_an_entry_cannot_command_the_terminal(
    tmp_path: Path, signer: Signer, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = json.dumps({"type": "\x1b]0;owned\x07", "actor": "\u202e", "data": {"reason": "\r"}}).encode()
    write_log(tmp_path / "log", signer, [hostile, b"[1]", b"\xff", b'"x"'], 4)
    assert main(["show", str(tmp_path)]) == 0
    assert all(character.isprintable() or character == "\n" for character in capsys.readouterr().out)


def test_a_damaged_log_is_not_shown(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data_dir / "zone/log/log.vkey").unlink()
    assert main(["show", str(data_dir)]) == 1
    assert "cordon-audit verify names" in capsys.readouterr().err


def test_a_proof_can_be_checked_by_hand(data_dir: Path, signer: Signer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proof", str(data_dir), "--log", "zone/log", "--index", "7"]) == 0
    head, _, note = capsys.readouterr().out.partition("\n\n")
    version, index, *hashes = head.split("\n")
    assert (version, index) == ("c2sp.org/tlog-proof@v1", "index 7")
    checkpoint = Verifier(signer.vkey).open(note.encode())
    verify_inclusion(7, 300, leaf_hash(event_entries(8)[7]), [b64decode(hashed) for hashed in hashes], checkpoint.root)


def test_a_proof_is_that_of_tlog_scales(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlog_scales import cli

    assert main(["proof", str(data_dir), "--log", "zone/log", "--index", "299"]) == 0
    ours = capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["tlog-scales", "gen-proof", str(data_dir / "zone/log"), "299"])
    cli.main()
    assert capsys.readouterr().out == ours


def test_a_proof_of_an_entry_that_is_not_there_is_refused(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["proof", str(data_dir), "--log", "zone/log", "--index", "300"]) == 2
    assert "entries 0 to 299" in capsys.readouterr().err
    write_log(tmp_path / "empty/log", new_signer(tmp_path), [], 1)
    assert main(["proof", str(tmp_path / "empty"), "--log", "log", "--index", "0"]) == 2
    assert "no entries yet" in capsys.readouterr().err


def test_progress_is_shown_for_long_logs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _progress("log", 0, 1_000)
    assert capsys.readouterr().err == ""
    _progress("log", 65_536, 1_000_000)
    assert "6 % of 1,000,000 entries" in capsys.readouterr().err
    _progress("log", 983_040, 1_000_000)
    assert capsys.readouterr().err.endswith("\r\x1b[K")
