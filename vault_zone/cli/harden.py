"""``vault-zone harden-report``: what this host lets the zone do to keep its memory to itself."""

import argparse
import os
import sys
from collections.abc import Sequence

from vault_zone.environment import Kept, lock_environment, refused_variables
from vault_zone.hazmat.process import Measure, harden_process
from vault_zone.last_words import quieten
from vault_zone.settings import DEVELOPMENT


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    report = commands.add_parser("harden-report", help="show what this host lets the zone do to protect its memory")
    report.set_defaults(run=_report)


def harden(environment: str) -> tuple[tuple[Measure, ...], Kept]:
    """Everything that is done before the zone holds a key. Raises SettingsRefused: a variable that must not be set."""
    kept = lock_environment(os.environ, environment)
    quieten()
    return harden_process(), kept


def as_text(measures: Sequence[Measure], kept: Kept) -> str:
    """The report for a terminal: one line for each measure, the refused ones last, with what would mend them."""
    width = max(len(measure.name) for measure in measures)
    ordered = sorted(measures, key=lambda measure: not measure.is_held)
    lines = [f"{m.outcome.value:<8} {m.name.replace('_', ' '):<{width}}  {m.detail}" for m in ordered]
    lines.append(f"{'held':<8} {'environment':<{width}}  {kept.kept} variables kept, {kept.dropped} dropped")
    return "\n".join(lines) + "\n"


def _report(_: argparse.Namespace) -> int:
    """Returns 0 when every measure is in force, 1 when the host refused one or production would not start like this."""
    refused = refused_variables(os.environ)
    measures, kept = harden(
        DEVELOPMENT
    )  # in a process of its own, with this shell's limits: a service has those of its unit
    sys.stdout.write(as_text(measures, kept))
    sys.stdout.writelines(f"refused  {problem} (production does not start)\n" for problem in refused)
    return int(bool(refused) or not all(measure.is_held for measure in measures))
