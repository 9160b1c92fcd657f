"""A zone in a test: a real database, a processor whose record can be read, faults where a test wants them, a settable clock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from audit.transaction import Database, Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from tokenization.wire import ChargeRequest, OpenCaptureSession
from vault_zone.capture import capture_card, claim_link, open_session
from vault_zone.card import Card, CardholderName, Cvc, Expiry, Pan, PostalCode
from vault_zone.charge import ChargeEngine
from vault_zone.device import Device
from vault_zone.hazmat.local import LocalKeys
from vault_zone.keyring import KeyRing
from vault_zone.models import metadata
from vault_zone.processors.port import (
    Feature,
    ModificationAnswer,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
)
from vault_zone.security_codes import SecurityCodes

T = TypeVar("T")
START_MS = 1_795_000_000_000
MERCHANT = "harbour-pine"
VISA, AMEX = "4242424242424242", "378282246310005"
ACTOR = "service:commerce"
LIFETIME_SECONDS = 15.0


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


@dataclass
class FakeProcessor:
    """Keeps a record as a processor does: at most one charge for a reference; and loses what a test tells it to lose."""

    name: str = "fake"
    is_sandbox: bool = True
    features: frozenset[Feature] = frozenset({Feature.QUERY})
    request_lifetime_seconds: float = LIFETIME_SECONDS
    authorization_lifetime_seconds: float = 7 * 86_400.0
    outcome: Outcome = Outcome.SUCCEEDED
    lose_request: bool = False
    lose_reply: bool = False
    unreachable: bool = False
    unreachable_find: bool = False
    during: Callable[[], None] | None = None
    while_charging: Callable[[], Awaitable[int]] | None = None
    taken: list[int] | None = None
    before_answering_find: Callable[[], None] | None = None
    record: dict[str, ProcessorAnswer] = field(default_factory=dict)
    seen: list[tuple[str, int, str, str | None]] = field(default_factory=list)
    cryptograms: list[tuple[str, str | None]] = field(default_factory=list)
    devices: list[Device | None] = field(default_factory=list)
    calls: int = 0

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """As Processor.charge."""
        from vault_zone.card import Exposure

        self.calls += 1
        if self.unreachable:
            return ProcessorAnswer(Outcome.NEVER_SENT)
        if self.lose_request:
            return ProcessorAnswer(Outcome.UNKNOWN)
        number = request.card.pan.expose(Exposure.PROCESSOR)
        code = request.cvc.expose(Exposure.PROCESSOR) if request.cvc else None
        self.seen.append((request.reference, request.amount.amount_minor, number, code))
        self.devices.append(request.device)
        if request.cryptogram:
            self.cryptograms.append(request.cryptogram.expose(Exposure.PROCESSOR))
        self.record.setdefault(request.reference, self._answer(request.reference))
        if self.during:
            self.during()
        if self.while_charging and self.taken is not None:
            self.taken.append(await self.while_charging())
        return ProcessorAnswer(Outcome.UNKNOWN) if self.lose_reply else self.record[request.reference]

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """As Processor.find."""
        found = self.record.get(reference)
        if self.before_answering_find:
            self.before_answering_find()
        return ProcessorAnswer(Outcome.UNKNOWN) if self.unreachable or self.unreachable_find else found

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """As Processor.modify."""
        return ModificationAnswer(ModificationOutcome.NEVER_SENT)

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """As Processor.find_modification."""
        return None

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """Not spoken by this processor."""
        return ()

    async def close(self) -> None:
        """Nothing to close."""

    def money_taken(self) -> int:
        """How many charges took money."""
        return sum(answer.outcome is Outcome.SUCCEEDED for answer in self.record.values())

    def _answer(self, reference: str) -> ProcessorAnswer:
        action = "https://bank.example/acs" if self.outcome is Outcome.ACTION_REQUIRED else None
        reason = "card_declined" if self.outcome is Outcome.DECLINED else None
        return ProcessorAnswer(self.outcome, f"ch_{reference}", reason, action)


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
    log_writable: list[bool]

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
        codes = SecurityCodes(self.clock.seconds)
        return World(
            self.database,
            self.processor,
            self.clock,
            self.keys,
            codes,
            _engine(self.database, self.keys, codes, self.processor, self.clock, self.log_writable),
            self.log_writable,
        )


@asynccontextmanager
async def zone_world(database_url: str) -> AsyncIterator[World]:
    """A zone over this database, migrated."""
    clock, processor, log_writable = TestClock(), FakeProcessor(), [True]
    database = FaultyDatabase.open(database_url, clock)
    await database.migrate(metadata.create_all)  # test_migrations shows that the revisions give the same
    keys = KeyRing(LocalKeys.in_memory(), database, clock, clock.seconds)
    codes = SecurityCodes(clock.seconds)
    try:
        engine = _engine(database, keys, codes, processor, clock, log_writable)
        yield World(database, processor, clock, keys, codes, engine, log_writable)
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


def _engine(
    database: Database,
    keys: KeyRing,
    codes: SecurityCodes,
    processor: FakeProcessor,
    clock: TestClock,
    log_writable: list[bool],
) -> ChargeEngine:
    return ChargeEngine(database, keys, codes, processor, clock=clock, log_is_writable=lambda: log_writable[0])
