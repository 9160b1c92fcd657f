"""What the two sides' ``migrate`` commands share: the serving role's options, its password, and the migration itself."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a command that asks for no database does not wait for it
    from sqlalchemy.engine import Connection

    from audit.serving_role import Rights
    from audit.transaction import Database

PASSWORD_FILE: Final = "CORDON_SERVING_PASSWORD_FILE"  # nosec B105  # in the environment: a file's name


def add_role_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--serve-as`` and ``--password-file``."""
    parser.add_argument(
        "--serve-as",
        metavar="ROLE",
        help="a role that gets what serving needs and loses the rest; made if it is not there",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"holds that role's password, which is set anew (default: ${PASSWORD_FILE}, or it stays as it is)",
    )


def password_of(named: Path | None) -> str | None:
    """The password in the file that was named, or in the environment's; None without either. Raises OSError, ValueError."""
    path = named or (Path(os.environ[PASSWORD_FILE]) if PASSWORD_FILE in os.environ else None)
    return path.read_text(encoding="ascii").strip() if path is not None else None


async def migrate(
    database: "Database",
    upgrade: "Callable[[Connection], None]",
    role: str | None,
    rights: "Rights",
    password: str | None,
) -> None:
    """Brings the schema up to date as its owner, gives the role its rights in the same transaction, and closes the database.

    Raises RoleRefused, NotPermitted, DatabaseBusy, and what SQLAlchemy raises.
    """
    from audit.serving_role import serve_as

    def prepare(connection: "Connection") -> None:
        upgrade(connection)
        if role:
            serve_as(connection, role, rights, password=password)

    try:
        await database.migrate(prepare)
    finally:
        await database.close()
