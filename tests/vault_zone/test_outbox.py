"""Commerce is told of what moved: with the change or not at all, until it has it, provably by the zone."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import pytest
from sqlalchemy import select

from audit.event import EventType
from audit.store import audit_event
from audit.transaction import Transaction
from tests.vault_zone.world import MERCHANT, World, charge_request, zone_world
from tokenization.wire import Notice
from vault_zone import outbox as notices
from vault_zone.key_life import rotate
from vault_zone.key_rows import Purpose
from vault_zone.models import notice
from vault_zone.outbox import ATTEMPTS_MAXIMUM, LEASE_SECONDS, NoticeState, announce, claim_due, list_notices, replay
from vault_zone.outbox_courier import NoticeCourier
from vault_zone.outbox_signing import as_text, headers, secret_of

pytestmark = pytest.mark.anyio
URL = "https://commerce.example/zone/notices"
ACTOR = "service:commerce"


@dataclass
class Receiver:
    """Commerce's side: what arrived, and what it answers."""

    answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200)
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Takes a request."""
        self.seen.append(request)
        return self.answer(request)

    @property
    def told(self) -> list[str]:
        """The ids of the notices that arrived."""
        return [Notice.model_validate_json(request.content).notice for request in self.seen]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


def courier(world: World, receiver: Receiver) -> NoticeCourier:
    return NoticeCourier(world.database, world.keys, URL, world.clock, transport=httpx.MockTransport(receiver))


async def a_charge(world: World) -> str:
    return (await world.engine.charge(charge_request(await world.captured_grant()), ACTOR)).charge


async def announced(world: World, charge_id: str, kind: str = EventType.CHARGE_SUCCEEDED) -> str:
    await world.database.maintain(forget_all)
    return await world.database.maintain(lambda tx: announce(tx, kind, merchant=MERCHANT, charge_id=charge_id))


def forget_all(tx: Transaction) -> None:
    tx.execute(notice.delete())


async def state_of(world: World, identifier: str) -> tuple[str, int]:
    rows = await world.database.read(lambda connection: list_notices(connection, None))
    [row] = [row for row in rows if row.notice == identifier]
    return row.state, row.attempts


async def test_a_notice_of_a_change_that_was_rolled_back_is_never_told(world: World) -> None:
    charge_id, receiver = await a_charge(world), Receiver()
    await world.database.maintain(forget_all)

    def dies(tx: Transaction) -> None:
        announce(tx, EventType.CHARGE_SUCCEEDED, merchant=MERCHANT, charge_id=charge_id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.database.change(dies)
    assert await courier(world, receiver).deliver_due() == 0
    assert receiver.seen == []


async def test_what_is_told_holds_ids_and_a_word_and_proves_whose_it_is(world: World) -> None:
    charge_id, receiver = await a_charge(world), Receiver()
    identifier = await announced(world, charge_id)
    assert await courier(world, receiver).deliver_due() == 1
    [request] = receiver.seen
    told = Notice.model_validate_json(request.content)
    assert (told.notice, told.charge, told.kind, told.merchant, told.checkout) == (
        *(identifier, charge_id, "charge.succeeded"),
        *(MERCHANT, "chk_a"),
    )
    secret = await secret_of(world.keys, MERCHANT)
    signed = f"{identifier}.{request.headers['webhook-timestamp']}.".encode() + request.content
    expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == expected
    assert request.headers["webhook-id"] == identifier
    assert await state_of(world, identifier) == (NoticeState.DELIVERED, 1)
    assert await courier(world, receiver).deliver_due() == 0, "what was taken is not told again"


def test_the_signature_is_that_of_the_published_example() -> None:
    # Standard Webhooks, the example of its libraries' own tests.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_each_merchant_and_each_epoch_has_a_secret_of_its_own(world: World) -> None:
    await world.captured_grant()
    first = as_text(await secret_of(world.keys, MERCHANT))
    assert first == as_text(await secret_of(world.keys, MERCHANT))
    await world.captured_grant(merchant="north-bay", checkout="chk_b")
    assert as_text(await secret_of(world.keys, "north-bay")) != first
    await rotate(world.keys, MERCHANT, Purpose.WEBHOOK, "operator:anna")
    assert as_text(await secret_of(world.keys, MERCHANT)) != first


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(500),
        lambda _: httpx.Response(307, headers={"location": "https://elsewhere.example/"}),
        lambda _: httpx.Response(404),
    ],
    ids=["fails", "sends elsewhere", "is not there"],
)
async def test_it_is_told_again_until_it_is_taken_and_nowhere_else(
    world: World, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    charge_id, receiver = await a_charge(world), Receiver(answer)
    identifier = await announced(world, charge_id)
    sender = courier(world, receiver)
    assert await sender.deliver_due() == 0
    assert await sender.deliver_due() == 0, "not before its time"
    assert len(receiver.seen) == 1
    receiver.answer = lambda _: httpx.Response(204)
    world.clock.advance(notices.TRY_AFTER_SECONDS[0])
    assert await sender.deliver_due() == 1
    assert receiver.told == [identifier, identifier], "under the same id, so that it is known"
    assert {str(request.url) for request in receiver.seen} == {URL}


async def test_after_the_last_try_it_is_abandoned_on_record_and_a_replay_tells_it(world: World) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    charge_id, receiver = await a_charge(world), Receiver(away)
    identifier = await announced(world, charge_id)
    sender, began_ms = courier(world, receiver), world.clock()
    for wait_seconds in (*notices.TRY_AFTER_SECONDS, 0):
        assert await sender.deliver_due() == 0
        world.clock.advance(wait_seconds)
    assert await state_of(world, identifier) == (NoticeState.ABANDONED, ATTEMPTS_MAXIMUM)
    assert len(receiver.seen) == ATTEMPTS_MAXIMUM
    kinds = await world.database.read(lambda c: list(c.execute(select(audit_event.c.type)).scalars()))
    assert kinds.count(EventType.NOTICE_ABANDONED) == 1
    receiver.answer = lambda _: httpx.Response(200)
    for merchant, expected in (("north-bay", 0), (MERCHANT, 1)):
        told = await world.database.change(
            lambda tx, whose=merchant: replay(  # type: ignore[misc]  # bound at once
                tx, since_ms=began_ms, until_ms=world.clock(), merchant=whose, only_abandoned=True, actor="operator:a"
            )
        )
        assert told == (expected, None)
    assert await sender.deliver_due() == 1
    assert await state_of(world, identifier) == (NoticeState.DELIVERED, 1)


async def replayed(world: World, *, forgets_its_place: bool = False) -> list[str]:
    """Replays everything in slices while it is delivered between them, as the command does; what was told, in order."""
    told: list[str] = []
    after, until_ms = None, world.clock() + 1
    for _ in range(9):
        done = await world.database.change(
            lambda tx, after=after: replay(  # type: ignore[misc]  # bound at once
                tx,
                since_ms=0,
                until_ms=until_ms,
                merchant=None,
                only_abandoned=False,
                actor="operator:a",
                after=None if forgets_its_place else after,
            )
        )
        claimed = await world.database.maintain(claim_due)
        told += [one.notice.notice for one in claimed]
        for one in claimed:
            await world.database.maintain(lambda tx, one=one: notices.settle_delivered(tx, one.notice.notice, 200))  # type: ignore[misc]
        if (after := done.after) is None:
            break
    return told


@pytest.mark.parametrize("planted", [False, True])
async def test_a_replay_in_slices_tells_each_once_and_comes_to_its_end(
    world: World, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many happened in the same millisecond. The plant begins each slice anew: it tells the first ones again and again."""
    monkeypatch.setattr(notices, "REPLAY_ROWS", 3)
    charge_id = await a_charge(world)
    await world.database.maintain(forget_all)
    names = []
    for number in range(8):
        world.clock.advance(number % 3 == 0)
        names.append(
            await world.database.maintain(
                lambda tx: announce(tx, EventType.CHARGE_SUCCEEDED, merchant=MERCHANT, charge_id=charge_id)
            )
        )
    for one in await world.database.maintain(claim_due):
        await world.database.maintain(lambda tx, one=one: notices.settle_delivered(tx, one.notice.notice, 200))  # type: ignore[misc]
    told = await replayed(world, forgets_its_place=planted)
    assert (sorted(told) == sorted(names)) is not planted


async def test_two_processes_do_not_tell_the_same_thing_at_once(world: World) -> None:
    identifier = await announced(world, await a_charge(world))
    [first] = await world.database.maintain(claim_due)
    assert await world.database.maintain(claim_due) == []
    world.clock.advance(LEASE_SECONDS)
    [second] = await world.database.maintain(claim_due)
    assert (first.notice.notice, second.notice.notice, second.attempts) == (identifier, identifier, 2)
    # The first process comes back late and says that it failed: the second one's attempt stands.
    assert await world.database.maintain(lambda tx: notices.settle_failed(tx, first, 500)) is False
    assert await state_of(world, identifier) == (NoticeState.PENDING, 2)


async def test_a_process_that_dies_after_the_answer_has_it_told_again_and_not_lost(world: World) -> None:
    identifier, receiver = await announced(world, await a_charge(world)), Receiver()
    await world.database.maintain(claim_due)  # claimed, sent, and dead before the mark
    assert await courier(world, receiver).deliver_due() == 0
    world.clock.advance(LEASE_SECONDS)
    assert await courier(world, receiver).deliver_due() == 1
    assert receiver.told == [identifier]


async def test_one_that_hangs_does_not_keep_the_others_waiting(world: World) -> None:
    charge_id = await a_charge(world)
    await world.database.maintain(forget_all)
    names = [
        await world.database.maintain(
            lambda tx: announce(tx, EventType.CHARGE_SUCCEEDED, merchant=MERCHANT, charge_id=charge_id)
        )
        for _ in range(5)
    ]
    hanging = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["webhook-id"] == names[0]:
            await hanging.wait()
        arrived.append(request.headers["webhook-id"])
        if len(arrived) == len(names) - 1:
            hanging.set()
        return httpx.Response(200)

    arrived: list[str] = []
    sender = NoticeCourier(world.database, world.keys, URL, world.clock, transport=httpx.MockTransport(answer))
    assert await sender.deliver_due() == len(names)
    assert arrived[-1] == names[0]
