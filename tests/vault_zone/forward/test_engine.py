"""A card is forwarded at most once for a key, within its grant, and is accounted for whatever dies in between (I3, I4, I8)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from audit.store import audit_event
from tests.requirement import requirement
from tests.tokenization.test_opaque_keys import UNLUCKY
from tests.vault_zone.forward.destination import Seen, http
from tests.vault_zone.forward.world import API_KEY, ForwardWorld, entry, forward_world, usual_body
from tests.vault_zone.world import MERCHANT, VISA, Crash
from tokenization.wire_forward import Forward, ForwardState
from vault_zone.card import Cryptogram
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import Purpose
from vault_zone.models import card_grant, forward
from vault_zone.security_codes import LIFETIME_SECONDS

pytestmark = pytest.mark.anyio

NO_CODE = {"number": "{{card.number}}"}
NO_MONEY = {"moves_money": False, "amount_at": None, "currency_at": None}


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[ForwardWorld]:
    """A zone on either database, with a destination."""
    async with forward_world(database_url, tmp_path) as made:
        yield made


async def events(world: ForwardWorld) -> list[str]:
    found = await world.zone.database.read(lambda c: c.execute(select(audit_event.c.type)).scalars().all())
    return [str(one) for one in found]


async def uses_left(world: ForwardWorld, grant: str) -> int:
    query = select(card_grant.c.uses_left).where(card_grant.c.id == grant)
    return int(await world.zone.database.read(lambda c: c.execute(query).scalar_one()))


@requirement("10.2.1.1")
async def test_the_card_is_filled_in_and_the_answer_comes_back_by_allowed_fields(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    answer = await world.forwarded(grant, headers={"x-trace": "abc"})
    assert answer.state is ForwardState.ANSWERED
    assert (answer.status, answer.fields) == (200, {"/id": "ch_abc", "/status": "succeeded", "/last4": "4242"})
    [seen] = world.there.seen
    assert seen.line == "POST /v1/payments HTTP/1.1"
    assert json.loads(seen.body)["source"] == {"number": VISA, "month": 12, "year": "2034", "code": "737"}
    assert seen.headers["authorization"] == f"Bearer {API_KEY}"
    assert seen.headers["host"] == f"localhost:{world.there.port}"
    assert (seen.headers["x-trace"], seen.headers["x-api-version"]) == ("abc", "2026-01")
    assert await uses_left(world, grant) == 0
    assert [one for one in await events(world) if one.startswith(("forward", "grant.consumed"))] == [
        "forward_list.accepted",
        "grant.consumed",
        "forward.intended",
        "forward.answered",
    ]


async def test_a_form_is_filled_and_sent_as_one(world: ForwardWorld) -> None:
    places = [{"at": "/card[number]", "holds": "card.number"}, {"at": "/card[cvc]", "holds": "card.cvc"}]
    money = {"amount_at": "/amount", "currency_at": "/currency"}
    world.publish(entry(world.there.port, body="form", placeholders=places, **money))
    body = {"card[number]": "{{card.number}}", "card[cvc]": "{{card.cvc}}", "amount": "10905", "currency": "usd"}
    await world.forwarded(body=body)
    assert world.there.seen[0].body == f"card%5Bnumber%5D={VISA}&card%5Bcvc%5D=737&amount=10905&currency=usd".encode()


async def test_asked_again_it_is_answered_from_the_record_and_sent_once(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    first = await world.forwarded(grant)
    world.restart()
    assert await world.forwarded(grant) == first
    assert len(world.there.seen) == 1


async def test_a_uuid_that_reads_like_a_card_is_a_key_and_is_stored_nowhere(
    world: ForwardWorld, tmp_path: Path
) -> None:
    grant = await world.zone.captured_grant()
    for key in (UNLUCKY[0], UNLUCKY[0]):
        answer = await world.forwarded(grant, idempotency_key=key)
        assert answer.idempotency_key == key
    assert len(world.there.seen) == 1
    assert await world.engine.find(MERCHANT, UNLUCKY[0]) == answer
    assert await world.engine.find(MERCHANT, UNLUCKY[1]) is None
    stored = await everything_stored(world, tmp_path)
    assert UNLUCKY[0].encode() not in stored
    assert answer.forward.encode() in stored, "the search would find what is stored"


async def test_another_request_under_the_same_key_is_refused(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    await world.forwarded(grant)
    for other in ({"body": usual_body(amount=1)}, {"headers": {"x-trace": "b"}}, {"destination": "other"}):
        assert await world.refusal(grant, **other) is ZoneError.FORWARD_CONFLICT
    assert len(world.there.seen) == 1


async def test_asked_many_times_at_once_it_is_sent_once(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()

    async def one() -> object:
        try:
            return await world.forwarded(grant)
        except ZoneRefusal as refused:
            return refused.kind

    answers = await asyncio.gather(*(one() for _ in range(6)))
    assert len(world.there.seen) == 1
    assert all(isinstance(one, Forward) or one is ZoneError.FORWARD_IN_FLIGHT for one in answers)
    assert any(isinstance(one, Forward) for one in answers)


@requirement("7.2.5")
async def test_a_grant_is_used_once_and_not_over_its_binding(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    assert await world.refusal(grant, body=usual_body(amount=10_906)) is ZoneError.GRANT_NOT_USABLE
    assert await world.refusal(grant, body=usual_body(currency="EUR")) is ZoneError.GRANT_NOT_USABLE
    assert await world.refusal(grant, checkout="chk_b") is ZoneError.GRANT_NOT_USABLE
    for body in ({"amount": "1.5"}, {"amount": 0}, {"amount": True}, {"amount": None}, {"currency": 1}):
        assert await world.refusal(grant, body=usual_body(**body)) is ZoneError.FORWARD_AMOUNT_REFUSED
    assert not world.there.seen
    await world.forwarded(grant)
    assert await world.refusal(grant, idempotency_key="idk_b") is ZoneError.GRANT_NOT_USABLE
    assert len(world.there.seen) == 1


async def test_what_moves_no_money_takes_a_use_and_none_of_the_ceiling(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, **NO_MONEY))
    grant = await world.zone.captured_grant()
    await world.forwarded(grant, body={"source": NO_CODE})
    assert await uses_left(world, grant) == 0
    used = select(card_grant.c.used_minor).where(card_grant.c.id == grant)
    assert await world.zone.database.read(lambda c: c.execute(used).scalar_one()) == 0
    assert await world.refusal(grant, body={"source": NO_CODE}, idempotency_key="idk_b") is ZoneError.GRANT_NOT_USABLE


async def test_a_grant_for_one_processor_goes_to_no_other(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    bound = card_grant.update().where(card_grant.c.id == grant).values(processor="elsewhere")
    await world.zone.database.maintain(lambda tx: tx.execute(bound))
    assert await world.refusal(grant) is ZoneError.GRANT_NOT_USABLE
    world.publish(entry(world.there.port, processor="elsewhere"), serial=2)
    assert (await world.forwarded(grant)).state is ForwardState.ANSWERED


@requirement("3.3.1")
async def test_a_security_code_that_is_gone_stops_the_request_and_takes_no_use(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    world.zone.clock.advance(LIFETIME_SECONDS + 1)
    assert await world.refusal(grant) is ZoneError.SECURITY_CODE_GONE
    assert not world.there.seen
    assert await uses_left(world, grant) == 1


async def test_a_network_tokens_cryptogram_is_not_sent_as_a_code_and_is_kept_for_its_charge(
    world: ForwardWorld,
) -> None:
    grant = await world.zone.captured_grant()
    world.zone.codes.take(grant)
    world.zone.codes.hold(grant, Cryptogram.parse("AgAAAAAAAIR8CQrXcIhbQAAAAAA=", "05"))
    assert await world.refusal(grant) is ZoneError.SECURITY_CODE_GONE
    assert not world.there.seen
    assert isinstance(world.zone.codes.take(grant), Cryptogram)


async def test_money_is_not_moved_without_the_code_that_the_grant_asks_for(world: ForwardWorld) -> None:
    assert await world.refusal(body=usual_body(source=NO_CODE)) is ZoneError.PLACEHOLDER_REFUSED
    assert not world.there.seen


@requirement("3.3.1")
async def test_a_code_is_used_once_and_not_held_afterwards(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    await world.forwarded(grant)
    assert world.zone.codes.take(grant) is None


async def test_a_refused_request_leaves_the_code_for_the_right_one(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    assert await world.refusal(grant, checkout="chk_b") is ZoneError.GRANT_NOT_USABLE
    assert (await world.forwarded(grant)).state is ForwardState.ANSWERED


async def test_nothing_is_sent_while_the_log_cannot_be_written(world: ForwardWorld) -> None:
    world.zone.log_writable[0] = False
    assert await world.refusal() is ZoneError.AUDIT_UNAVAILABLE
    assert not world.there.seen


@requirement("10.2.1.4")
async def test_a_refusal_is_on_record_and_names_nothing_that_was_said(world: ForwardWorld) -> None:
    assert await world.refusal(destination="elsewhere") is ZoneError.DESTINATION_UNKNOWN
    assert "forward.refused" in await events(world)
    written = await world.zone.database.read(lambda c: list(c.execute(select(audit_event))))
    assert "elsewhere" not in str(written)


BEHAVIOURS: dict[str, tuple[dict[str, Any], ForwardState]] = {
    "answers": ({}, ForwardState.ANSWERED),
    "loses its answer": ({"close_before_answer": True}, ForwardState.UNKNOWN),
    "cannot be reached": ({"port": 1}, ForwardState.FAILED),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize(("write", "fate"), list(itertools.product((None, 1, 2), ("lost", "persisted"))))
async def test_whatever_dies_at_any_write_the_request_is_sent_once_at_most_and_accounted_for(
    world: ForwardWorld, behaviour: str, write: int | None, fate: str
) -> None:
    """The table {write} × {lost, persisted} × {what the destination does}, with a restart and the same call again."""
    changed, calm_state = BEHAVIOURS[behaviour]
    for name, value in changed.items():
        setattr(world.there, name, value)
    world.publish(entry(world.there.port))
    grant = await world.zone.captured_grant()
    await world.zone.keys.ready("harbour-pine", Purpose.IDEMPOTENCY)
    database = world.zone.database
    database.changes, database.crash_at, database.persisted = 0, write, fate == "persisted"
    try:
        await world.forwarded(grant)
    except Crash:
        world.restart()
        await world.engine.recover()
    database.crash_at = None

    sent = len(world.there.seen)
    again = await world.refusal(grant)
    assert len(world.there.seen) <= max(sent, 1), "it was sent a second time"
    assert len(world.there.seen) <= 1
    final = await world.engine.find("harbour-pine", "idk_a")
    if final is None:
        assert again is ZoneError.SECURITY_CODE_GONE, "nothing was begun; the code went with the process"
        assert not world.there.seen
        assert await uses_left(world, grant) == 1
        return
    assert await uses_left(world, grant) == 0
    died_after_intent = write in (1, 2) and not (write == 2 and fate == "persisted")
    assert final.state is (ForwardState.UNKNOWN if died_after_intent else calm_state)
    assert final.state is not ForwardState.FAILED or not world.there.seen, (
        "what is said never to have left had not left"
    )


async def test_an_unknown_request_is_sent_again_only_where_the_destination_knows_repetitions(
    world: ForwardWorld,
) -> None:
    honours = {"idempotency_header": "idempotency-key", "idempotency_seconds": 600}
    world.publish(entry(world.there.port, **NO_MONEY, **honours))
    grant = await world.zone.captured_grant()
    body = {"source": NO_CODE}
    world.there.close_before_answer = True
    assert (await world.forwarded(grant, body=body)).state is ForwardState.UNKNOWN
    world.there.close_before_answer = False
    final = await world.forwarded(grant, body=body)
    assert (final.state, final.attempts) == (ForwardState.ANSWERED, 2)
    assert len(world.there.seen) == 2
    assert list(world.there.effects.values()) == [2], "both attempts bore one key"
    assert await uses_left(world, grant) == 0


async def test_an_unknown_request_is_not_sent_again_after_the_destinations_memory_of_keys(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, **NO_MONEY, idempotency_header="idempotency-key", idempotency_seconds=600))
    grant = await world.zone.captured_grant()
    world.there.close_before_answer = True
    await world.forwarded(grant, body={"source": NO_CODE})
    world.zone.clock.advance(600)
    assert (await world.forwarded(grant, body={"source": NO_CODE})).state is ForwardState.UNKNOWN
    assert len(world.there.seen) == 1


async def test_an_unknown_request_that_carried_a_code_is_never_sent_again(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, idempotency_header="idempotency-key"))
    grant = await world.zone.captured_grant()
    world.there.close_before_answer = True
    await world.forwarded(grant)
    assert (await world.forwarded(grant)).state is ForwardState.UNKNOWN
    assert len(world.there.seen) == 1


async def test_a_further_attempt_that_does_not_leave_says_nothing_about_the_first(world: ForwardWorld) -> None:
    honours = {"idempotency_header": "idempotency-key"}
    world.publish(entry(world.there.port, **NO_MONEY, **honours))
    grant = await world.zone.captured_grant()
    world.there.close_before_answer = True
    await world.forwarded(grant, body={"source": NO_CODE})
    world.publish(entry(1, **NO_MONEY, **honours), serial=2)
    assert (await world.forwarded(grant, body={"source": NO_CODE})).state is ForwardState.UNKNOWN


async def test_a_request_under_way_is_not_answered_and_not_given_up(world: ForwardWorld) -> None:
    grant = await world.zone.captured_grant()
    refusals: list[object] = []

    async def asked_meanwhile(_: Seen) -> bytes:
        refusals.append(await world.refusal(grant))
        refusals.append(await world.engine.recover())
        return http(b'{"id": "ch_abc"}')

    world.there.answer = asked_meanwhile
    assert (await world.forwarded(grant)).state is ForwardState.ANSWERED
    assert refusals == [ZoneError.FORWARD_IN_FLIGHT, 0]


async def test_an_answer_that_comes_after_it_was_given_up_elsewhere_is_believed(world: ForwardWorld) -> None:
    other = world.make_engine()

    async def given_up(_: Seen) -> bytes:
        await other.recover()
        return http(b'{"id": "ch_abc"}')

    world.there.answer = given_up
    assert (await world.forwarded()).state is ForwardState.ANSWERED


async def test_one_row_stands_for_one_request(world: ForwardWorld) -> None:
    await world.forwarded()
    count = select(func.count()).select_from(forward)
    assert await world.zone.database.read(lambda c: c.execute(count).scalar_one()) == 1


@requirement("3.5.1")
async def test_neither_card_nor_code_nor_body_is_in_the_database(world: ForwardWorld, tmp_path: Path) -> None:
    """The whole store is searched, with a control that shows that the search finds what is there."""

    async def echo(seen: Seen) -> bytes:
        return http(seen.body)

    world.there.answer = echo
    answer = await world.forwarded(headers={"x-trace": "negative-control"})
    assert answer.fields == {}
    entries = await world.zone.database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
    assert sum(b'"reason":"card_echoed"' in bytes(entry) for entry in entries) == 1, "on record, not told to the caller"
    assert answer.reason is None
    stored = await everything_stored(world, tmp_path)
    assert VISA.encode() not in stored
    assert b"{{card.number}}" not in stored
    assert API_KEY.encode() not in stored
    assert answer.forward.encode() in stored, "the search would find what is stored"


async def everything_stored(world: ForwardWorld, tmp_path: Path) -> bytes:
    """The database's files for SQLite; every row of every table for PostgreSQL."""
    if world.zone.database.is_sqlite:
        return await asyncio.to_thread(files_of, tmp_path)
    tables = forward.metadata.tables.values()
    rows = await world.zone.database.read(lambda c: [str(list(c.execute(select(table)))) for table in tables])
    return "".join(rows).encode()


def files_of(directory: Path) -> bytes:
    """The database's file and its write-ahead log."""
    files = [path for path in directory.rglob("*.sqlite3*") if path.is_file()]
    assert any(path.name.endswith("-wal") for path in files)
    return b"".join(path.read_bytes() for path in files)
