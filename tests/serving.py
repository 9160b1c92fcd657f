"""A side's database as a deployment serves it: on PostgreSQL the owner migrates, and a role with the stated rights serves."""

from collections.abc import Callable

from sqlalchemy import make_url
from sqlalchemy.engine import Connection

from audit.serving_role import Rights, serve_as
from audit.transaction import Database

ROLE = "tests_serving"


async def migrated(url: str, upgrade: Callable[[Connection], None], rights: Rights | None) -> str:
    """Brings the schema up as the owner. Returns the URL to serve by: the same one on SQLite, and where no rights are given."""
    owner = Database.open(url, lambda: 0)

    def prepare(connection: Connection) -> None:
        upgrade(connection)
        if rights is not None and not owner.is_sqlite:
            serve_as(connection, ROLE, rights)

    try:
        await owner.migrate(prepare)
    finally:
        await owner.close()
    if rights is None or owner.is_sqlite:
        return url
    return make_url(url).set(username=ROLE, password=None).render_as_string(hide_password=False)
