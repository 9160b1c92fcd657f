"""Behind the sweeper no row is past its time, whatever happened before; its bytes are gone from the file and the log."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, update

from audit.transaction import Database
from tests.requirement import requirement
from tests.vault_zone.saving import SHOPPER, count, gauge, recorded, saved_card, sweeper_of
from tests.vault_zone.world import ACTOR, MERCHANT, START_MS, Crash, World, charge_request, zone_world
from tokenization.wire import ChargeState
from vault_zone import models, sweeping
from vault_zone.cli.main import main
from vault_zone.cli.retention import as_text
from vault_zone.key_life import rotate
from vault_zone.key_rows import KeyState, Purpose
from vault_zone.models import capture_session, card_grant, card_record, charge, consent, data_key
from vault_zone.retention import DAY_MS, OPEN_CHARGE_HOLD_MS, RULES, report
from vault_zone.saved_cards import delete_card
from vault_zone.sweeping import Sweeper

DAY_SECONDS = 86_400
anyio = pytest.mark.anyio


def test_every_table_has_one_rule_with_its_requirement() -> None:
    assert sorted(rule_.name for rule_ in RULES) == sorted(models.metadata.tables)
    assert all(rule_.text and rule_.requirement for rule_ in RULES)


async def filled(world: World) -> None:
    """A row in every table that has an end. The charge leaves a notice."""
    await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
    await saved_card(world)
    await saved_card(world, checkout="chk_once", ticked=False)
    now_ms = world.clock.now_ms

    def more(tx):  # type: ignore[no-untyped-def]  # a transaction
        tx.execute(insert(models.webhook_inbox).values(processor="fake", event_id="evt_a", received_ms=now_ms))
        tx.execute(
            insert(models.idempotency).values(
                caller="c", key_digest="d", fingerprint="f", created_ms=now_ms, expires_ms=now_ms + 1000
            )
        )
        tx.execute(
            insert(models.velocity_counter).values(
                merchant=MERCHANT, kind="link", subject="s", window_ms=now_ms, count=1, expires_ms=now_ms + 1000
            )
        )
        tx.execute(
            insert(models.settlement).values(
                id="set_a",
                merchant=MERCHANT,
                processor="fake",
                digest="d",
                state="finished",
                lines=1,
                matched=1,
                started_by="operator:a",
                started_ms=now_ms,
            )
        )
        tx.execute(
            insert(models.settlement_line).values(
                merchant=MERCHANT,
                processor="fake",
                reported_id="txn_a",
                settlement="set_a",
                type="fee",
                gross_minor=0,
                fee_minor=1,
                net_minor=-1,
                currency="USD",
                created_ms=now_ms,
            )
        )
        tx.execute(
            insert(models.rekeying).values(
                id="rky_a",
                merchant=MERCHANT,
                state="finished",
                total=0,
                done=0,
                started_ms=now_ms,
                changed_ms=now_ms,
            )
        )

    await world.database.maintain(more)
    await rotate(world.keys, MERCHANT, Purpose.SEALING, "operator:a")


@anyio
@requirement("3.2.1")
async def test_each_table_is_swept_at_the_millisecond_its_rule_says(database_url: str) -> None:
    """The next expiry of the report is when the gauge first shows a row, and what the sweeper then takes."""
    async with zone_world(database_url) as world:
        await filled(world)
        swept: set[str] = set()
        for _ in range(40):
            kept = await world.database.read(lambda c: report(c, world.clock.now_ms))
            coming = [table.next_expiry_ms for table in kept if table.next_expiry_ms is not None]
            if not coming:
                break
            world.clock.now_ms = min(coming) - 1
            assert await gauge(world) == {}
            world.clock.now_ms += 1
            due = await gauge(world)
            assert due
            swept |= set(due)
            await sweeper_of(world).sweep_all()
            assert await gauge(world) == {}
        assert swept == {rule_.name for rule_ in RULES if rule_.until is not None}
        assert await count(world, card_record) == await count(world, card_grant) == await count(world, consent) == 0
        assert await recorded(world, "records.expired") >= len(swept)


@anyio
@requirement("3.2.1")
async def test_a_swept_card_takes_fingerprint_and_grants_and_says_which_it_was(database_url: str) -> None:
    async with zone_world(database_url) as world:
        saved = await saved_card(world)
        once = await saved_card(world, checkout="chk_once", ticked=False)
        world.clock.advance(DAY_SECONDS)
        await sweeper_of(world).sweep_all()
        assert await recorded(world, "token.erased", once) == 1
        assert await count(world, card_record) == 1
        world.clock.advance(395 * DAY_SECONDS)
        await sweeper_of(world).sweep_all()
        assert await recorded(world, "card.deleted", saved) == 1
        assert await count(world, card_record) == await count(world, card_grant) == 0
        ended = await world.database.read(lambda c: c.execute(select(consent.c.withdrawn_ms)).scalar_one())
        assert ended == world.clock.now_ms


@anyio
@pytest.mark.parametrize("state", [ChargeState.PENDING, ChargeState.UNKNOWN, ChargeState.ACTION_REQUIRED])
async def test_a_card_that_an_open_charge_may_need_stays_for_a_bounded_time(
    database_url: str, state: ChargeState
) -> None:
    async with zone_world(database_url) as world:
        await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
        await world.database.maintain(lambda tx: tx.execute(update(charge).values(state=state)))
        world.clock.now_ms = START_MS + OPEN_CHARGE_HOLD_MS - 1
        await sweeper_of(world).sweep_all()
        assert (await count(world, card_record), await gauge(world)) == (1, {})
        world.clock.now_ms += 1
        assert await gauge(world) == {"card_record": 1}
        await sweeper_of(world).sweep_all()
        assert await count(world, card_record) == 0


@anyio
async def test_a_card_goes_as_soon_as_its_charge_has_ended(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)
        world.clock.advance(DAY_SECONDS)
        await sweeper_of(world).sweep_all()
        assert await count(world, card_record) == 0


@anyio
@requirement("3.7.5")
async def test_a_retired_key_that_seals_nothing_is_destroyed_and_one_that_does_is_not(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await saved_card(world, ticked=False)
        await rotate(world.keys, MERCHANT, Purpose.SEALING, "operator:a")
        await saved_card(world, checkout="chk_saved")
        await rotate(world.keys, MERCHANT, Purpose.SEALING, "operator:a")
        world.clock.advance(31 * DAY_SECONDS)
        await sweeper_of(world).sweep_all()
        found = (
            select(data_key.c.state, func.length(data_key.c.wrapped))
            .where(data_key.c.purpose == Purpose.SEALING)
            .order_by(data_key.c.epoch)
        )
        first, second, third = await world.database.read(lambda c: c.execute(found).all())
        assert tuple(first) == (KeyState.DESTROYED, 0)
        assert [second.state, third.state] == [KeyState.RETIRED, KeyState.ACTIVE]


@anyio
@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("write", range(1, 10))
async def test_a_sweep_that_dies_is_gone_on_with_by_the_next(
    database_url: str, write: int, persisted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """{write} × {lost, persisted}: each card is said to be gone once, and none is left."""
    monkeypatch.setattr(sweeping, "BATCH_ROWS", 2)
    async with zone_world(database_url) as world:
        tokens = [await saved_card(world, checkout=f"chk_{letter}", ticked=False) for letter in "abcde"]
        world.clock.advance(3 * DAY_SECONDS)
        world.database.changes, world.database.crash_at, world.database.persisted = 0, write, persisted
        with pytest.raises(Crash):
            await sweeper_of(world).sweep_all()
        after = world.restart()
        await sweeper_of(after).sweep_all()
        assert await gauge(after) == {}
        assert await count(after, card_record) == 0
        assert [await recorded(after, "token.erased", token) for token in tokens] == [1] * 5


@anyio
async def test_a_planted_rule_without_grants_is_stopped_by_the_database(database_url: str) -> None:
    async with zone_world(database_url) as world:
        token = await saved_card(world)
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            await world.database.maintain(
                lambda tx: tx.execute(delete(card_record).where(card_record.c.token == token))
            )


@anyio
async def test_a_planted_sweeper_that_forgets_a_table_is_found_by_the_gauge(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with zone_world(database_url) as world:
        await filled(world)
        world.clock.now_ms += 600 * DAY_MS
        forgetful = [rule_ for rule_ in RULES if rule_.table is not capture_session]
        monkeypatch.setattr(sweeping, "RULES", forgetful)
        await sweeper_of(world).sweep_all()
        assert set(await gauge(world)) == {"capture_session"}


# The bytes


def bytes_on_disk(database: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(database.parent.glob(f"{database.name}*")))


@anyio
@requirement("3.2.1")
async def test_deleted_bytes_are_in_neither_the_file_nor_the_write_ahead_log(tmp_path: Path) -> None:
    file = tmp_path / "zone.sqlite3"
    async with zone_world(f"sqlite:///{file}") as world:
        token = await saved_card(world)
        await saved_card(world, checkout="chk_other")
        row = await world.database.read(
            lambda c: c.execute(select(card_record).where(card_record.c.token == token)).one()
        )
        assert bytes(row.sealed) in bytes_on_disk(file)
        await world.database.change(
            lambda tx: delete_card(tx, merchant=MERCHANT, shopper=SHOPPER, token=token, actor=ACTOR, reason="asked")
        )
        assert bytes(row.sealed) in bytes_on_disk(file), "the log still holds what the page held before"
        await sweeper_of(world).sweep()
        left = bytes_on_disk(file)
        assert bytes(row.sealed) not in left
        assert row.fingerprint.encode() in left, "the same card, saved again, has the same fingerprint"
        other = await world.database.read(lambda c: c.execute(select(card_record.c.sealed)).scalar_one())
        assert bytes(other) in left, "the search does find what is there"


def test_without_secure_deletion_the_same_search_finds_the_deleted_bytes(tmp_path: Path) -> None:
    file, sealed = tmp_path / "plain.sqlite3", b"\x9a" * 96
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, sealed BLOB)")
        connection.executemany("INSERT INTO t (sealed) VALUES (?)", [(sealed,), (b"other",)])
        connection.commit()
        connection.execute("DELETE FROM t WHERE id = 1")
    connection.close()
    assert sealed in bytes_on_disk(file)


@anyio
async def test_a_reader_in_the_way_leaves_the_log_to_the_next_pass(tmp_path: Path) -> None:
    file = tmp_path / "zone.sqlite3"
    async with zone_world(f"sqlite:///{file}") as world:
        token = await saved_card(world)
        row = await world.database.read(
            lambda c: c.execute(select(card_record).where(card_record.c.token == token)).one()
        )
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM card_record").fetchone()
        await world.database.change(
            lambda tx: delete_card(tx, merchant=MERCHANT, shopper=SHOPPER, token=token, actor=ACTOR, reason="asked")
        )
        sweeper = sweeper_of(world)
        await sweeper.sweep()
        assert bytes(row.sealed) in bytes_on_disk(file)
        reader.close()
        await sweeper.sweep()
        assert bytes(row.sealed) not in bytes_on_disk(file)


# The report


@anyio
async def test_the_report_counts_what_is_there_and_says_what_is_overdue(database_url: str) -> None:
    async with zone_world(database_url) as world:
        await saved_card(world, ticked=False)
        world.clock.advance(DAY_SECONDS)
        kept = {table.table: table for table in await world.database.read(lambda c: report(c, world.clock.now_ms))}
        assert (kept["card_record"].rows, kept["card_record"].expired, kept["card_record"].overdue) == (1, 1, 0)
        assert kept["charge"].next_expiry_ms is None
        world.clock.advance(62)
        later = await world.database.read(lambda c: report(c, world.clock.now_ms))
        assert [table.table for table in later if table.overdue] == ["card_record", "card_grant"]
        text = as_text(later, world.clock.now_ms)
        assert "rows are on disk past their time" in text
        assert max(map(len, text.splitlines())) <= 100


def test_the_command_reports_and_ends_with_one_when_something_is_overdue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make() -> None:
        async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world:
            world.clock.now_ms = START_MS - 400 * DAY_MS  # the command looks at the real clock
            await saved_card(world, ticked=False)

    arguments = ["retention", "report", "--data", str(tmp_path)]
    assert main(arguments) == 1
    assert "is missing" in capsys.readouterr().err
    asyncio.run(make())
    assert main(arguments) == 1
    assert "card_record" in capsys.readouterr().out

    async def sweep() -> None:
        async with AsyncExitStack() as stack:
            from tokenization.clock import now_milliseconds
            from vault_zone.security_codes import SecurityCodes

            database = Database.open(f"sqlite:///{tmp_path / 'zone.sqlite3'}", now_milliseconds)
            stack.push_async_callback(database.close)
            await Sweeper(database, SecurityCodes(lambda: 0.0), now_milliseconds).sweep_all()

    asyncio.run(sweep())
    assert main([*arguments, "--json"]) == 0
    tables = {table["table"]: table for table in json.loads(capsys.readouterr().out)["tables"]}
    assert tables["card_record"]["rows"] == 0
    assert tables["card_record"]["requirement"] == "3.2.1"
