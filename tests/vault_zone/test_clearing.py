"""On PostgreSQL the bytes of deleted rows leave the tables' files, the zone's role permitting; the report says where not."""

import json
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import delete, make_url, select, text

from audit.transaction import Database, Transaction, Vacuumed
from tests.requirement import requirement
from tests.vault_zone.saving import SHOPPER, saved_card, sweeper_of
from tests.vault_zone.world import ACTOR, MERCHANT, World, zone_world
from tokenization.clock import now_milliseconds
from vault_zone.clearing import CLEAR_SECONDS, Clearing
from vault_zone.cli import retention as command
from vault_zone.models import card_grant, card_record, data_key, velocity_counter
from vault_zone.retention import report
from vault_zone.saved_cards import delete_card

pytestmark = pytest.mark.anyio


async def on_server(url: str, statement: str) -> str:
    """The first value of what a statement of the server's own user answers, outside a transaction."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()


async def files_of(url: str) -> bytes:
    """Everything in the database's files, as it is on disk after a checkpoint."""
    await on_server(url, "CHECKPOINT")
    where = "current_setting('data_directory') || '/base/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
    directory = Path(await on_server(url, f"SELECT {where}"))
    return contents(directory)


def contents(directory: Path) -> bytes:
    """All its files, one behind the other."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


async def deleted_beside_another(world: World) -> tuple[bytes, bytes]:
    """What was sealed of a card that its shopper had deleted, and of another that stays in the same page.

    The later one goes: as the page is tidied, an earlier one may be written over by what stays, by chance.
    """
    other = await saved_card(world)
    token = await saved_card(world, checkout="chk_other")
    rows = await world.database.read(lambda c: c.execute(select(card_record.c.token, card_record.c.sealed)).all())
    sealed = {row.token: bytes(row.sealed) for row in rows}
    await world.database.change(
        lambda tx: delete_card(tx, merchant=MERCHANT, shopper=SHOPPER, token=token, actor=ACTOR, reason="asked")
    )
    return sealed[token], sealed[other]


@requirement("3.2.1")
async def test_after_a_sweep_a_deleted_cards_bytes_are_in_no_file_of_the_database(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        gone, kept = await deleted_beside_another(world)
        before = await files_of(postgres_url)
        assert gone in before, "without a sweep the page still holds them"
        assert kept in before
        await sweeper_of(world).sweep()
        after = await files_of(postgres_url)
        assert gone not in after
        assert kept in after


async def test_a_plain_vacuum_planted_in_its_place_leaves_the_bytes(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with zone_world(postgres_url) as world:
        monkeypatch.setattr("vault_zone.clearing.SEALED_TABLES", ())
        gone, _ = await deleted_beside_another(world)
        await sweeper_of(world).sweep()
        assert gone in await files_of(postgres_url)


@requirement("3.7.5")
async def test_a_destroyed_keys_wrapped_form_leaves_the_files(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        await saved_card(world)
        wrapped = await world.database.read(
            lambda c: bytes(c.execute(select(data_key.c.wrapped)).scalars().first() or b"")
        )
        sweeper = sweeper_of(world)
        await sweeper.sweep()
        await world.database.maintain(lambda tx: tx.execute(data_key.update().values(wrapped=b"")))
        assert wrapped in await files_of(postgres_url)
        sweeper.note_deletion()
        world.clock.advance(CLEAR_SECONDS)
        await sweeper.sweep()
        assert wrapped not in await files_of(postgres_url)


async def test_a_table_in_use_or_rows_that_are_still_seen_stay_due(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        gone, _ = await deleted_beside_another(world)
        for level, statement in (
            ("read committed", "LOCK TABLE card_record IN ACCESS SHARE MODE"),  # holds VACUUM FULL up
            ("repeatable read", "SELECT count(*) FROM merchant"),  # a snapshot, which may still look at the row
        ):
            sweeper, reader = sweeper_of(world), await asyncpg.connect(postgres_url)
            transaction = reader.transaction(isolation=level.replace(" ", "_"))
            await transaction.start()
            await reader.execute(statement)
            if level == "repeatable read":
                gone, _ = await deleted_beside_another(world)
            await sweeper.sweep()
            assert gone in await files_of(postgres_url)
            await transaction.rollback()
            await reader.close()
            await sweeper.sweep()
            assert gone in await files_of(postgres_url), "its turn comes again after CLEAR_SECONDS"
            world.clock.advance(CLEAR_SECONDS)
            await sweeper.sweep()
            assert gone not in await files_of(postgres_url)


async def test_a_role_that_may_not_is_told_apart_and_the_report_says_what_is_left(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        await deleted_beside_another(world)
        role = f"zone_{make_url(postgres_url).database}"
        for statement in (
            f'CREATE ROLE "{role}" LOGIN',
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role}"',
        ):
            await on_server(postgres_url, statement)
        lesser = Database.open(
            make_url(postgres_url).set(username=role).render_as_string(hide_password=False), world.clock
        )
        try:
            assert await lesser.vacuum(card_record, rewrite=True) is Vacuumed.NOT_PERMITTED
            assert await lesser.vacuum(velocity_counter, rewrite=False) is Vacuumed.NOT_PERMITTED
            await world.database.maintain(_delete_all_and_count)
            await Clearing(lesser, world.clock).clear()
            left = {one.table: one for one in await lesser.read(lambda c: report(c, world.clock()))}
            assert left["card_record"].dead
            shown = command.as_text(list(left.values()), now_milliseconds())
            assert "deleted rows are still in the file of card_record" in shown
            assert max(map(len, shown.splitlines())) <= command.WIDTH_COLUMNS
            await on_server(postgres_url, f'GRANT MAINTAIN ON card_record TO "{role}"')
            assert await lesser.vacuum(card_record, rewrite=True) is Vacuumed.CLEARED
        finally:
            await lesser.close()
            await on_server(postgres_url, f'DROP OWNED BY "{role}"')
            await on_server(postgres_url, f'DROP ROLE "{role}"')
        cleared = {one.table: one for one in await world.database.read(lambda c: report(c, world.clock()))}[
            "card_record"
        ]
        assert (cleared.dead, cleared.cleared_ms is not None) == (0, True)
        assert "still in the file" not in command.as_text([cleared], now_milliseconds())


def _delete_all_and_count(tx: Transaction) -> None:
    """PostgreSQL counts what a connection deleted when it next has time, or when it is told to."""
    tx.execute(delete(card_grant))
    tx.execute(delete(card_record))
    tx.execute(text("SELECT pg_stat_force_next_flush()"))


async def test_what_another_process_deleted_is_cleared_in_its_turn(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        sweeper = sweeper_of(world)
        await saved_card(world)
        sealed = await world.database.read(lambda c: bytes(c.execute(select(card_record.c.sealed)).scalar_one()))
        await sweeper.sweep()
        await world.database.maintain(_delete_all_and_count)  # and this sweeper is not told
        world.clock.advance(CLEAR_SECONDS - 1)
        await sweeper.sweep()
        assert sealed in await files_of(postgres_url)
        world.clock.advance(1)
        await sweeper.sweep()
        assert sealed not in await files_of(postgres_url)


async def test_the_lock_timeout_does_not_stay_on_the_connection(postgres_url: str) -> None:
    async with zone_world(postgres_url) as world:
        await world.database.vacuum(card_record, rewrite=True)
        seen = {await world.database.read(lambda c: c.execute(text("SHOW lock_timeout")).scalar()) for _ in range(3)}
        assert seen == {"0"}


async def test_on_sqlite_nothing_is_counted_as_left(tmp_path: Path) -> None:
    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world:
        assert await world.database.vacuum(card_record, rewrite=True) is Vacuumed.CLEARED
        await sweeper_of(world).sweep_all()
        kept = await world.database.read(lambda c: report(c, world.clock()))
        assert {one.dead for one in kept} == {None}
        assert {one["dead"] for one in json.loads(command.as_json(kept, 0))["tables"]} == {None}
