"""``cordon deps DEPLOYABLE``: what a deployable's lock holds, and why its direct dependencies are there."""

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from commerce_api.cli.refused import CommandRefused

ROOT = Path(__file__).parents[2]
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)
_REASON = re.compile(r'^  "([a-zA-Z0-9_-]+)[^"]*",\s*(?:# (.*))?$', re.MULTILINE)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("deps", help="list what a deployable depends on, from its lock")
    parser.add_argument("deployable", choices=("zone", "commerce", "auditor"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the list. Raises CommandRefused outside a checkout of the repository, where no lock is."""
    lock = ROOT / "deploy" / "locks" / f"{arguments.deployable}.txt"
    if not lock.is_file():
        raise CommandRefused("the locks are in the source repository: run this from a checkout of it")
    pinned = dict(_PINNED.findall(lock.read_text(encoding="utf-8")))
    direct = _direct(arguments.deployable)
    for name in sorted(direct):
        reason = direct[name]
        sys.stdout.write(f"{name:<24}{pinned.get(name, '?'):<16}direct{'   ' + reason if reason else ''}\n")
    for name in sorted(set(pinned) - set(direct)):
        sys.stdout.write(f"{name:<24}{pinned[name]:<16}needed by the above\n")
    return 0


def _direct(deployable: str) -> dict[str, str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split(f"[tool.cordon.deployables.{deployable}]")[1].split("\n[")[0]
    reasons = {name.lower(): reason for name, reason in _REASON.findall(section)}
    declared: list[str] = tomllib.loads(text)["tool"]["cordon"]["deployables"][deployable]["dependencies"]
    names = [re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in declared]
    return {name: reasons.get(name, "") for name in names}
