"""``cordon``: the merchant's command line. Each command is one file beside this one."""

import argparse
import sys

from audit.serving_role import NotPermitted
from commerce_api.cli import (
    brand,
    contract,
    deps,
    doctor,
    init,
    migrate,
    models,
    oauth,
    offers,
    order,
    request,
    scan,
    serve,
    statement,
    up,
)
from commerce_api.cli.refused import CommandRefused

COMMANDS = (
    up,
    brand,
    order,
    request,
    offers,
    models,
    contract,
    statement,
    oauth,
    doctor,
    scan,
    deps,
    init,
    migrate,
    serve,
)


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 done, 1 refused or found something, 2 not understood."""
    parser = argparse.ArgumentParser(
        prog="cordon",
        description="Sell inside conversations; cards stay in the vault zone.",
        epilog="First time? `cordon up` runs everything on this machine; `cordon doctor` says what is missing.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except CommandRefused as refused:
        for line in refused.lines:
            sys.stderr.write(f"cordon: {line}\n")
        return 1
    except NotPermitted:
        sys.stderr.write(f"cordon: {migrate.OWNER_FIRST}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return code
