"""The commerce side's revisions give just the tables that the code speaks of, on both databases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

import commerce_api.migrations
from audit.transaction import Database
from commerce_api.migrations import upgrade
from commerce_api.models import checkout, metadata
from tests.vault_zone.test_migrations import differences


@pytest.mark.anyio
async def test_the_commerce_revisions_give_its_tables(database_url: str) -> None:
    assert await differences(database_url, upgrade, metadata) == []


def to(revision: str) -> Callable[[Connection], None]:
    """Brings commerce's schema to a revision."""

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(commerce_api.migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return run


OFFER, CODE = ["fifteen", "15% off", 1_185], ["WELCOME5", "$5 off", 500]
INVALID = {"severity": "warning", "code": "offer_invalid", "content": "It no longer holds.", "path": "$.offer_id"}


def priced(applied: list[list[Any]], *problems: dict[str, str]) -> dict[str, Any]:
    return {"totals": {"applied": applied}, "problems": [*problems]}


OLD_CHECKOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "with_offer": ("processing", {"offer_id": "off_a", "priced": priced([OFFER, CODE])}),
    "with_code": ("ready", {"priced": priced([CODE])}),
    "where_it_does_not_hold": ("escalated", {"offer_id": "off_a", "priced": priced([CODE], INVALID)}),
    "paid": ("completed", {"offer_id": "off_a", "priced": priced([OFFER])}),
}


@pytest.mark.anyio
async def test_a_checkout_that_is_open_says_afterwards_what_its_offer_takes_off(database_url: str) -> None:
    def before(connection: Connection) -> None:
        to("0016")(connection)
        connection.exec_driver_sql(
            "INSERT INTO brand (id, name, currency, policy, agent_key_version, created_ms) VALUES ('b', 'B', 'USD', '{}', 1, 0)"
        )
        given = {"brand": "b", "principal": "anonymous", "channel": "test", "version": 1}
        times = {"created_ms": 0, "updated_ms": 0, "expires_ms": 0}
        for name, (state, document) in OLD_CHECKOUTS.items():
            row = {"id": name, "state": state, "document": json.dumps(document), **given, **times}
            connection.execute(insert(checkout).values(row))

    database = Database.open(database_url, lambda: 0)
    try:
        await database.migrate(before)
        await database.migrate(upgrade)
        rows = await database.read(lambda connection: connection.execute(select(checkout)).all())
    finally:
        await database.close()
    totals = {row.id: json.loads(row.document)["priced"]["totals"] for row in rows}
    assert [totals[name]["offer_taken_minor"] for name in list(OLD_CHECKOUTS)[:3]] == [1_185, None, None]
    assert totals["paid"] == OLD_CHECKOUTS["paid"][1]["priced"]["totals"]
