"""``cordon brand add``: a brand from a product feed. Importing again updates what is there."""

import argparse
from pathlib import Path
from typing import Any

from commerce_api.cli.paths import DEFAULT_DATA


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds the command."""
    parser = commands.add_parser("brand", help="add a brand from its product feed")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a brand, or update its catalogue and policy")
    add.add_argument("name", metavar="NAME", help="the brand's name, as shoppers see it")
    add.add_argument(
        "--feed", type=Path, required=True, help="a directory with products.jsonl and metadata.json, or a CSV file"
    )
    add.add_argument("--policy", type=Path, help="shipping, tax, codes and offers as JSON (see docs/feeds.md)")
    add.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    add.add_argument("--database-url", help="the commerce database (default: SQLite in the data directory)")
    add.add_argument("--report", type=Path, metavar="FILE", help="write every rejected row as a JSON line")
    add.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from commerce_api.cli.brand_add import run  # databases and progress bars are slow to load, and only this needs them

    return run(arguments)
