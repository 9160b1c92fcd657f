"""``cordon-audit``: verifies the logs of a data directory, shows their entries, writes proofs. Reads only."""

import argparse
import base64
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from audit.event import sentence
from audit.judge import Problem
from audit.note import NOTE_BYTES_MAXIMUM, KeyRefused, NoteRefused
from audit.rehash import read_regular
from audit.tiles import LogDamaged, TileReader
from audit.verify import NothingToVerify, Report, find_logs, locate, verify_data_dir

OK: Final = 0
ALTERED: Final = 1
USAGE: Final = 2
_LONG_LOG_ENTRIES: Final = 200_000  # about a second of work: below it a progress line only flickers
_SHOWN_ENTRIES: Final = 20


class _Usage(ValueError):
    """The call cannot be carried out as it was made; the message says what to change."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 when all is well, 1 when a log was altered, 2 for a call it cannot carry out."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (NothingToVerify, _Usage) as refusal:
        return _complain(f"{refusal}", USAGE)
    except PermissionError as refusal:
        return _complain(f"{refusal.filename} may not be read: run as a user who may read the log", USAGE)
    except (LogDamaged, KeyRefused, NoteRefused) as damage:
        return _complain(f"{damage}\nThe log is damaged: cordon-audit verify names what was altered", ALTERED)
    return status


def _complain(text: str, status: int) -> int:
    sys.stderr.write(f"cordon-audit: {text}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cordon-audit", description="Verifies and reads Cordon's tamper-evident logs."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="re-hash every entry and name whatever was altered")
    verify.add_argument("data_dir", type=Path, metavar="DATA_DIR", help="where the service keeps its data")
    verify.add_argument(
        "--kept", type=Path, metavar="FILE", help="a checkpoint of one of the logs that you kept elsewhere"
    )
    verify.add_argument("--json", action="store_true", help="the report as JSON")
    verify.set_defaults(run=_verify)
    show = commands.add_parser("show", help="print entries in plain language (does not verify)")
    show.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    show.add_argument("--log", metavar="NAME", help="one log of several")
    show.add_argument(
        "--last", type=int, default=_SHOWN_ENTRIES, metavar="N", help="how many entries (default %(default)s)"
    )
    show.add_argument("--json", action="store_true", help="the entries as they are, a line each")
    show.set_defaults(run=_show)
    proof = commands.add_parser("proof", help="write a proof that an entry is in the log (c2sp.org/tlog-proof@v1)")
    proof.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    proof.add_argument("--log", metavar="NAME", required=True, help="the log's name, as verify prints it")
    proof.add_argument("--index", type=int, required=True, metavar="N", help="the entry's index, from 0")
    proof.set_defaults(run=_proof)
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    kept = None
    if arguments.kept is not None:
        kept = read_regular(arguments.kept, NOTE_BYTES_MAXIMUM)
        if kept is None:
            raise _Usage(f"{arguments.kept} is not a file: give the checkpoint that you kept")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    progress = _progress if sys.stderr.isatty() else None
    reports = verify_data_dir(arguments.data_dir, at=at, kept=kept, progress=progress)
    ok = all(report.ok for report in reports)
    if arguments.json:
        _write_json({"ok": ok, "verified_at": at, "logs": [report.as_mapping() for report in reports]})
    else:
        sys.stdout.write("\n".join(_readable(report) for report in reports))
    return OK if ok else ALTERED


def _progress(name: str, done: int, size: int) -> None:
    if size >= _LONG_LOG_ENTRIES:
        sys.stderr.write(f"\r{name}: {100 * done // size} % of {size:,} entries re-hashed\x1b[K")
        if done + 2**17 >= size:
            sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _readable(report: Report) -> str:
    verdict = "whole: not a byte was altered" if report.ok else "ALTERED"
    covered = f"{report.entries:,} of {report.size:,} entries re-hashed ({report.entry_bytes:,} bytes)"
    lines = [
        f"{_printable(report.log)}: {verdict}",
        f"  origin    {_printable(report.origin)}",
        f"  verified  {report.verified_at}",
        f"  covered   {covered}, {report.tiles:,} tiles and bundles compared byte by byte",
        f"  root      {report.root}",
    ]
    if report.first_entry_at:
        lines.insert(4, f"  entries   from {report.first_entry_at} to {report.last_entry_at}")
    if report.kept_size is not None and report.ok:
        lines.append(f"  history   begins with the {report.kept_size:,} entries of the checkpoint kept elsewhere")
    lines += [_readable_problem(problem) for problem in report.problems]
    if report.problems_not_listed:
        lines.append(f"  problem   and {report.problems_not_listed:,} more that are not listed")
    return "\n".join(lines) + "\n"


def _readable_problem(problem: Problem) -> str:
    return f"  problem   {_printable(locate(problem))}: {problem.what}"


def _show(arguments: argparse.Namespace) -> int:
    if arguments.last < 1:
        raise _Usage("--last takes a number from 1 on")
    logs = _chosen(arguments.data_dir, arguments.log)
    for name, directory in logs.items():
        reader = TileReader.open(directory)
        size = reader.checkpoint.size
        if len(logs) > 1 and not arguments.json:
            sys.stdout.write(f"{_printable(name)}: {size:,} entries\n")
        start = max(0, size - arguments.last)
        for index, entry in enumerate(reader.entries(start, size), start):
            _show_entry(name, index, entry, as_json=arguments.json)
    return OK


def _show_entry(name: str, index: int, entry: bytes, *, as_json: bool) -> None:
    try:
        read = json.loads(entry)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        read = {}
    if as_json:
        _write_json({"log": name, "index": index, "entry": read})
        return
    text = (
        f"{read.get('at', '?')}  #{index}  {sentence(read)}  [{read.get('resource', '?')}, by {read.get('actor', '?')}]"
    )
    sys.stdout.write(_printable(text) + "\n")


def _proof(arguments: argparse.Namespace) -> int:
    ((_, directory),) = _chosen(arguments.data_dir, arguments.log).items()
    reader = TileReader.open(directory)
    size = reader.checkpoint.size
    if not 0 <= arguments.index < size:
        raise _Usage(f"the log has entries 0 to {size - 1}" if size else "the log has no entries yet")
    hashes = [base64.b64encode(hashed).decode() for hashed in reader.inclusion_proof(arguments.index, size)]
    lines = ["c2sp.org/tlog-proof@v1", f"index {arguments.index}", *hashes, ""]
    sys.stdout.write("\n".join(lines) + "\n" + reader.note.decode())
    return OK


def _chosen(data_dir: Path, name: str | None) -> dict[str, Path]:
    """All logs, or the one of this name. Raises NothingToVerify, _Usage."""
    logs = find_logs(data_dir)
    if name is None:
        return logs
    if name not in logs:
        raise _Usage(f"no log is named {_printable(name)}; there are: {', '.join(map(_printable, logs))}")
    return {name: logs[name]}


def _write_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, sort_keys=True) + "\n")


def _printable(text: str) -> str:
    """Without the characters by which an altered entry could command a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


if __name__ == "__main__":
    raise SystemExit(main())
