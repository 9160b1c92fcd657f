"""A zone in a test: a real database, a processor whose record can be read, faults where a test wants them, a settable clock."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from audit.transaction import Database, Transaction
from tests.serving import migrated
from tests.vault_zone.fake_processor import FakeProcessor
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import Charge, ChargeRequest, ModificationKind, ModificationRequest, OpenCaptureSession
from vault_zone.breaker import Breakers
from vault_zone.capture import capture_card, claim_link, open_session
from vault_zone.card import Card, CardholderName, Cvc, Expiry, Pan, PostalCode
from vault_zone.charge import ChargeEngine
from vault_zone.hazmat.local import LocalKeys
from vault_zone.keyring import KeyRing
from vault_zone.lapsing import Lapses
from vault_zone.ledger.events import BooksEvent
from vault_zone.models import metadata
from vault_zone.modifications import Modifications
from vault_zone.processors.registry import Processors
from vault_zone.routing_policy import RoutingPolicy
from vault_zone.security_codes import SecurityCodes
from vault_zone.serving_rights import RIGHTS

T = TypeVar("T")
START_MS = 1_795_000_000_000
MERCHANT = "harbour-pine"
VISA, AMEX = "4242424242424242", "378282246310005"
ACTOR = "service:commerce"


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing in the code under test may catch it."""


@dataclass
class TestClock:
    """Milliseconds that move only when told to."""

    __test__ = False
    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now_ms += int(seconds * 1000)

    def seconds(self) -> float:
        """The same clock, as a monotonic one."""
        return self.now_ms / 1000


class FaultyDatabase(Database):
    """Dies at one chosen change: before it is committed (lost) or right after (persisted)."""

    crash_at: int | None = None
    persisted: bool = False
    changes: int = 0

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """As Database.change, but for the fault. A change that raises writes nothing and does not count."""
        if self.crash_at != self.changes + 1:
            result = await super().change(work)
            self.changes += 1
            return result
        if self.persisted:
            await super().change(work)
        self.changes += 1
        raise Crash


@dataclass
class World:
    """The parts of a zone, and short ways to do what a test needs done."""

    database: FaultyDatabase
    processor: FakeProcessor
    clock: TestClock
    keys: KeyRing
    codes: SecurityCodes
    engine: ChargeEngine
    modifications: Modifications
    log_writable: list[bool]
    processors: Processors
    booked: list[BooksEvent]
    lapses: Lapses
    policy: RoutingPolicy | None = None

    async def captured_grant(
        self, *, checkout: str = "chk_a", amount_minor: int = 10_905, number: str = VISA, merchant: str = MERCHANT
    ) -> str:
        """A shopper enters a card for a checkout; the grant that comes of it."""
        asked = capture_request(checkout=checkout, amount_minor=amount_minor, merchant=merchant)
        _, secret = await self.database.change(lambda tx: open_session(tx, asked, ACTOR))
        _, claim = await self.database.change(lambda tx: claim_link(tx, secret, None))
        card = a_card(number)
        _, grant = await self.keys.change(lambda tx: capture_card(tx, self.keys, secret=secret, claim=claim, card=card))
        self.codes.hold(grant, Cvc.parse("737" if number != AMEX else "7373", None))
        return grant

    def restart(self) -> "World":
        """The process dies and another starts over the same database: memory is gone, the processor's record is not."""
        self.database.crash_at = None
        self.database.changes = 0
        return self._over(self.processors)

    def connect(self, *processors: FakeProcessor) -> None:
        """The zone is served with these processors instead, the first of them the default."""
        other = self._over(Processors(*processors))
        self.processors, self.processor = other.processors, other.processor
        self.codes, self.engine, self.modifications, self.lapses = (
            other.codes,
            other.engine,
            other.modifications,
            other.lapses,
        )

    def _over(self, processors: Processors) -> "World":
        return _world(self.database, processors, self.clock, self.keys, self.log_writable, self.booked, self.policy)


@asynccontextmanager
async def zone_world(
    database_url: str, *others: FakeProcessor, policy: RoutingPolicy | None = None
) -> AsyncIterator[World]:
    """A zone over this database, migrated; with other processors beside ``world.processor``, which is the default one.

    On PostgreSQL it is served by the role that a deployment serves it by.
    """
    clock = TestClock()
    tables = {name: rights for name, rights in RIGHTS.items() if name in metadata.tables}
    # test_migrations shows that the revisions give the same
    database = FaultyDatabase.open(await migrated(database_url, metadata.create_all, tables), clock)
    keys = KeyRing(LocalKeys.in_memory(), database, clock, clock.seconds)
    try:
        yield _world(database, Processors(FakeProcessor(), *others), clock, keys, [True], [], policy)
    finally:
        await database.close()


def a_card(number: str = VISA) -> Card:
    """A card with a published test number."""
    return Card(
        pan=Pan.parse(number),
        expiry=Expiry.parse("12/34", datetime.fromtimestamp(START_MS / 1000, UTC)),
        name=CardholderName.parse("Robin Field"),
        postal_code=PostalCode.parse("97209"),
    )


def capture_request(
    *,
    checkout: str = "chk_a",
    amount_minor: int = 10_905,
    merchant: str = MERCHANT,
    lifetime_seconds: int = 900,
    **other: Any,
) -> OpenCaptureSession:
    """What commerce asks for before the shopper is sent to the card page."""
    return OpenCaptureSession(
        merchant=merchant,
        merchant_name="Harbour & Pine",
        checkout=checkout,
        amount_minor=amount_minor,
        currency="USD",
        summary=("1 kettle",),
        return_url="http://127.0.0.1:8704/return",
        cancel_url="http://127.0.0.1:8704/back",
        lifetime_seconds=lifetime_seconds,
        **other,
    )


def charge_request(grant: str, **other: object) -> ChargeRequest:
    """A charge of the grant that captured_grant() made; ``other`` fields instead of the right ones."""
    fields: dict[str, object] = {
        "payment": new_id("pay"),
        "merchant": MERCHANT,
        "checkout": "chk_a",
        "grant": grant,
        "amount_minor": 10_905,
        "currency": "USD",
        "return_url": "http://127.0.0.1:8704/return",
    }
    return ChargeRequest.model_validate({**fields, **other})


def usd(amount_minor: int) -> Money:
    """Dollars, in cents."""
    return Money(amount_minor, "USD")


def modification_request(charge: Charge, kind: ModificationKind, **other: object) -> ModificationRequest:
    """A capture, void or refund of a charge."""
    fields: dict[str, object] = {
        "request": new_id("req"),
        "merchant": charge.merchant,
        "payment": charge.payment,
        "kind": kind,
    }
    return ModificationRequest.model_validate({**fields, **other})


def _world(
    database: FaultyDatabase,
    processors: Processors,
    clock: TestClock,
    keys: KeyRing,
    log_writable: list[bool],
    booked: list[BooksEvent],
    policy: RoutingPolicy | None = None,
) -> World:
    codes = SecurityCodes(clock.seconds)

    def writable() -> bool:
        return log_writable[0]

    def book(_: Transaction, event: BooksEvent) -> None:
        booked.append(event)

    async def no_pause(_: float) -> None:
        return

    engine = ChargeEngine(
        database,
        keys,
        codes,
        processors,
        clock=clock,
        log_is_writable=writable,
        policy=policy,
        breakers=Breakers(clock.seconds),
        books=book,
        pause=no_pause,
    )
    modifications = Modifications(database, processors, clock=clock, log_is_writable=writable, books=book)
    lapses = Lapses(
        database, processors, engine, modifications, clock=clock, patience=policy.patience if policy else None
    )
    default = cast(FakeProcessor, processors.default)
    return World(
        database,
        default,
        clock,
        keys,
        codes,
        engine,
        modifications,
        log_writable,
        processors,
        booked,
        lapses,
        policy,
    )
