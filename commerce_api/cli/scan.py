"""``cordon scan``: finds card-like text in a file or on standard input, and never prints what it found."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from commerce_api.cli.refused import CommandRefused
from tokenization.scanner import find_cards

BLOCK_CHARACTERS = 64 * 1024
OVERLAP_CHARACTERS = 512  # longer than any written form of a card, so that none is lost between two blocks


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("scan", help="look for card-like text; exit 1 when there is some")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--lines", action="store_true", help="each line is one message: print one JSON object for it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Scans. Returns 1 when something was found."""
    if arguments.file == "-":
        return _scan(sys.stdin, by_line=arguments.lines, name="standard input")
    try:
        with Path(arguments.file).open(encoding="utf-8", errors="replace") as stream:
            return _scan(stream, by_line=arguments.lines, name=arguments.file)
    except OSError:
        raise CommandRefused(
            "this file cannot be read: give the path of a text file, or - for standard input"
        ) from None


def _scan(stream: TextIO, *, by_line: bool, name: str) -> int:
    if by_line:
        return _scan_lines(stream)
    count = 0
    for block in _blocks(stream):
        count += len(find_cards(block))
    sys.stdout.write(f"{name}: {count} card-like text{'s' if count != 1 else ''} found\n")
    return 1 if count else 0


def _scan_lines(stream: TextIO) -> int:
    found_any = False
    for number, line in enumerate(stream, start=1):
        count = len(find_cards(line.rstrip("\r\n")))
        found_any = found_any or count > 0
        sys.stdout.write(json.dumps({"line": number, "found": count > 0, "count": count}) + "\n")
    return 1 if found_any else 0


def _blocks(stream: TextIO) -> Iterator[str]:
    """The text in bounded pieces. A card across an overlap may be counted twice, never missed."""
    carried = ""
    while block := stream.read(BLOCK_CHARACTERS):
        yield carried + block
        carried = block[-OVERLAP_CHARACTERS:]
