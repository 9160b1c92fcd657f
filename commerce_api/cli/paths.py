"""Where the development stack keeps everything unless told otherwise."""

import os
from pathlib import Path

from commerce_api.settings import sqlite_url

DEFAULT_DATA = Path(".cordon")


def database_url(named: str | None, commerce_data: Path) -> str:
    """Commerce's database: the one that is named, or that `cordon up` made for this data directory, or SQLite."""
    kept = commerce_data / "database.url"
    given = named or os.environ.get("CORDON_DATABASE_URL")
    if given:
        return given
    return kept.read_text(encoding="utf-8").strip() if kept.is_file() else sqlite_url(commerce_data)
