"""The command line's entry: finds the command, runs it, and turns a refusal into one line on how to mend it."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Protocol

import structlog

from audit.sequencer import SequencerRunning
from audit.serving_role import NotPermitted
from tokenization import logs
from vault_zone.admission import AdmissionRefused
from vault_zone.cli import (
    access,
    ceremony,
    charges,
    disputes,
    forward,
    harden,
    identity,
    keys,
    ledger,
    merchants,
    migrate,
    notices,
    operations,
    platforms,
    reconcile,
    retention,
    serve,
    setup,
    unseal,
)
from vault_zone.cli.refused import CommandRefused
from vault_zone.hazmat.files import KeyRefused
from vault_zone.settings import SettingsRefused

Run = Callable[[argparse.Namespace], int]


class Group(Protocol):
    """A file of commands: ``add`` puts them into the parser, each with the function that runs it as ``run``."""

    def add(self, commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        """Adds the group's commands."""


GROUPS: tuple[Group, ...] = (
    access,
    ceremony,
    charges,
    disputes,
    forward,
    harden,
    identity,
    keys,
    ledger,
    merchants,
    migrate,
    notices,
    operations,
    platforms,
    reconcile,
    retention,
    serve,
    setup,
    unseal,
)


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns 0 when done, 1 when refused, 2 for a call that cannot be understood."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["sandbox-processor"]:  # has a command line of its own
        from vault_zone.processors.sandbox_server.serve import serve as serve_sandbox

        return serve_sandbox(arguments[1:])
    parsed = _parser().parse_args(arguments)
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install()
    logging.getLogger("alembic").setLevel(
        logging.WARNING
    )  # a person reads this; that a schema is up to date is no news
    run: Run = parsed.run
    try:
        return run(parsed)
    except (CommandRefused, SettingsRefused) as refused:
        problems = refused.problems
    except (KeyRefused, SequencerRunning, AdmissionRefused) as refused:
        problems = [str(refused) or type(refused).__name__]
    except NotPermitted:
        problems = [migrate.OWNER_FIRST]
    for problem in problems:
        sys.stderr.write(f"vault-zone: {problem}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vault-zone", description="Cordon's cardholder-data environment.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    commands.add_parser("sandbox-processor", help="run the sandbox card processor (its own --help)")
    return parser
