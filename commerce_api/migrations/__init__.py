"""The commerce schema, as a chain of Alembic revisions."""

from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

HEAD = "0018"  # the newest revision under versions/


def upgrade(connection: Connection) -> None:
    """Brings the schema to the newest revision in the open transaction."""
    if _revision(connection) == HEAD:
        return
    from alembic import command  # slow to load, and seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
