"""A commerce side in the hands of a test: real database, real desk, the example store; only the zone and the time are made up.

The made-up zone keeps the promises of the real one that commerce builds on (I3, I4): one charge for each payment id, however
often it is asked for; a grant for one payment, up to its amount; a new link closes the older ones of its checkout.
"""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Table, create_engine, make_url, select, text
from sqlalchemy.engine import Row

from audit.transaction import Database
from commerce_api.agent_desk import AgentDesk
from commerce_api.brands import agent_key, find_brand, save_brand
from commerce_api.catalogue.feed import open_feed
from commerce_api.catalogue.importing import import_feed
from commerce_api.links import Links
from commerce_api.migrations import upgrade
from commerce_api.models import metadata
from commerce_api.offering.saying import SayingDesk
from commerce_api.payment import Payments
from commerce_api.policy import load_policy
from commerce_api.policy_assistants import AssistantPayments
from commerce_api.runtime import OFFER_MODELS, Commerce
from commerce_api.serving_rights import RIGHTS
from commerce_api.settings import DEVELOPMENT, CommerceSettings, sqlite_url
from commerce_api.vault_client import SavedCard, VaultClient, VaultRefused, VaultUnavailable
from commerce_api.zone_notices import NoticeDesk
from offer_engine.serving import Rankers
from tests.serving import migrated
from tokenization.ids import new_id
from tokenization.token import new_grant, new_token
from tokenization.wire import (
    FINAL_CHARGE_STATES,
    CaptureSession,
    CaptureState,
    CardSummary,
    Charge,
    ChargeRequest,
    ChargeState,
    Modification,
    ModificationKind,
    ModificationRequest,
    ModificationState,
    OpenCaptureSession,
    ReturnRequest,
)

STORE = Path(__file__).parents[2] / "examples" / "harbour-and-pine"
BRAND, BRAND_NAME, CURRENCY = "harbour-pine", "Harbour & Pine", "USD"
START_MS = 1_795_000_000_000  # 2026-11-18
PUBLIC_URL = "http://127.0.0.1:8703"
MCP_URL = "http://127.0.0.1:8705"
CAPTURE_URL = "http://127.0.0.1:8701"
ACTION_URL = "http://127.0.0.1:8704/authenticate"
OFFER_KEY = b"an offer key for tests"
AGENT_SECRET = b"an agent secret for tests"

Outcome = ChargeState | Exception


SHEET = {"provider": "cordon", "merchant_id": "harbour-pine"}
LEGAL = {"terms_url": "https://harbour.example/terms", "privacy_url": "https://harbour.example/privacy"}


@dataclass
class TestClock:
    """The time, as the test sets it: milliseconds since the epoch."""

    __test__ = False  # pytest: not a test class
    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.now_ms += int(seconds * 1000)


@dataclass
class FakeVault:
    """The zone as commerce sees it, in memory.

    ``next_outcome`` is how charges come out: one for all to come, or a list that is used up from its front and followed by
    success. An exception in it is raised and nothing is charged. With ``lose_reply`` the charge happens and its answer is
    lost. While ``down``, every call raises VaultUnavailable. ``calls`` has the name of every call, in order, ``came_back`` what
    shoppers brought back from their banks.
    """

    clock: TestClock
    sessions: dict[str, CaptureSession] = field(default_factory=dict)
    opened: dict[str, OpenCaptureSession] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    asked: list[ChargeRequest] = field(default_factory=list)
    next_outcome: Outcome | list[Outcome] = ChargeState.SUCCEEDED
    decline_code: str = "insufficient_funds"
    down: bool = False
    lose_reply: bool = False
    secret: bytes = b"n" * 32  # what notices are signed with
    secrets_given: int = 0
    came_back: list[str] = field(default_factory=list)
    modified: dict[str, Modification] = field(default_factory=dict)
    next_modification: ModificationState = ModificationState.SUCCEEDED
    calls: list[str] = field(default_factory=list)
    saved: dict[tuple[str, str], list[SavedCard]] = field(default_factory=dict)  # by merchant and shopper
    _used_by: dict[str, str] = field(default_factory=dict)

    def capture(self, session_id: str | None = None, brand: str = "visa", last4: str = "4242") -> CaptureSession:
        """The shopper enters a card on the card page of a session (the newest one): a fresh token and grant."""
        session = self._current(session_id or list(self.sessions)[-1])
        if session.state not in (CaptureState.OPEN, CaptureState.CLAIMED):
            raise ValueError("no card can be entered in this session any more")
        captured = session.model_copy(
            update={
                "state": CaptureState.CAPTURED,
                "token": new_token(),
                "grant": new_grant(),
                "card": CardSummary(brand=brand, last4=last4),
            }
        )
        self.sessions[session.session] = captured
        return captured

    def delegate(self, checkout: str, amount_minor: int, *, merchant: str = BRAND, currency: str = CURRENCY) -> str:
        """An assistant's platform hands the zone the shopper's card for a checkout: the token that it gets."""
        session = CaptureSession(
            session=new_id("cap"),
            state=CaptureState.CAPTURED,
            checkout=checkout,
            expires_ms=self.clock() + 86_400_000,
            token=new_token(),
            grant=new_id("vt"),
            card=CardSummary(brand="visa", last4="4242"),
        )
        self.sessions[session.session] = session
        self.opened[session.session] = OpenCaptureSession(
            merchant=merchant,
            merchant_name=merchant,
            checkout=checkout,
            amount_minor=amount_minor,
            currency=currency,
            summary=(),
            return_url="https://shop.example/r",
            cancel_url="https://shop.example/c",
            lifetime_seconds=600,
        )
        return session.grant or ""

    def settle(self, payment: str, state: ChargeState) -> None:
        """The processor's own record says at last how a charge ended."""
        code = self.decline_code if state is ChargeState.DECLINED else None
        self.charges[payment] = self.charges[payment].model_copy(
            update={"state": state, "decline_code": code, "action_url": None}
        )

    async def open_capture(self, asked: OpenCaptureSession) -> CaptureSession:
        """As VaultClient.open_capture."""
        self._called("open_capture")
        for session in self.sessions.values():
            if session.checkout == asked.checkout and session.state in (CaptureState.OPEN, CaptureState.CLAIMED):
                self.sessions[session.session] = session.model_copy(update={"state": CaptureState.CLOSED})
        session = CaptureSession(
            session=new_id("cap"),
            state=CaptureState.OPEN,
            checkout=asked.checkout,
            expires_ms=self.clock() + asked.lifetime_seconds * 1000,
        )
        self.sessions[session.session] = session
        self.opened[session.session] = asked
        await asyncio.sleep(0)  # as in charge()
        return session.model_copy(update={"url": f"{CAPTURE_URL}/c/{session.session}"})

    async def read_capture(self, merchant: str, session: str) -> CaptureSession:
        """As VaultClient.read_capture."""
        self._called("read_capture")
        if session not in self.sessions or self.opened[session].merchant != merchant:
            raise VaultRefused("not_found")
        return self._current(session)

    async def charge(self, asked: ChargeRequest) -> Charge:
        """As VaultClient.charge: asking again with the same payment id never charges twice."""
        self._called("charge")
        self.asked.append(asked)
        known = self.charges.get(asked.payment)
        if known is None or known.state not in FINAL_CHARGE_STATES:
            self._check_no_other(asked)
            self._check_grant(asked)
            self.charges[asked.payment] = self._charged(asked)
        await asyncio.sleep(0)  # the reply is on its way; somebody else may act meanwhile
        if self.lose_reply:
            raise VaultUnavailable
        return self.charges[asked.payment]

    async def find_charge(self, merchant: str, payment: str) -> Charge | None:
        """As VaultClient.find_charge."""
        self._called("find_charge")
        found = self.charges.get(payment)
        return found if found is not None and found.merchant == merchant else None

    async def returned(self, asked: ReturnRequest) -> Charge:
        """As VaultClient.returned."""
        self._called("returned")
        self.came_back.append(asked.query)
        found = self.charges.get(asked.payment)
        if found is None or found.merchant != asked.merchant:
            raise VaultRefused("not_found")
        return found

    async def modify(self, asked: ModificationRequest) -> Modification:
        """As VaultClient.modify: the same request again is the same act."""
        self._called("modify")
        known = self.modified.get(asked.request)
        charge = self.charges[asked.payment]
        left = charge.captured_minor - charge.refunded_minor - charge.disputed_minor
        if known is None and asked.kind is ModificationKind.REFUND and left <= 0:
            raise VaultRefused("amount_not_available")
        if known is None:
            known = Modification(
                modification=new_id("mod"),
                request=asked.request,
                kind=asked.kind,
                state=ModificationState.PENDING,
                amount_minor=left,
                currency=charge.currency,
                charge=charge,
            )
            self.modified[asked.request] = known
            self.end_modification(asked.request, self.next_modification)
        if self.lose_reply:
            raise VaultUnavailable
        return self.modified[asked.request]

    def end_modification(self, request: str, state: ModificationState) -> None:
        """The processor's record says how a modification stands; a refund that succeeds, or comes back, moves the charge."""
        known = self.modified[request]
        self.modified[request] = known.model_copy(update={"state": state})
        moved = {ModificationState.SUCCEEDED: 1, ModificationState.RETURNED: -1}.get(state, 0) * (
            known.amount_minor or 0
        )
        payment = known.charge.payment
        self.amend(payment, refunded_minor=self.charges[payment].refunded_minor + moved)

    async def find_modification(self, _: str, request: str) -> Modification | None:
        """As VaultClient.find_modification."""
        self._called("find_modification")
        return self.modified.get(request)

    async def saved_cards(self, merchant: str, shopper: str) -> tuple[SavedCard, ...]:
        """As VaultClient.saved_cards."""
        self._called("saved_cards")
        return tuple(self.saved.get((merchant, shopper), ()))

    async def notice_secret(self, merchant: str) -> str:
        """As VaultClient.notice_secret."""
        self._called("notice_secret")
        self.secrets_given += 1
        if merchant != BRAND:
            raise VaultRefused("caller_unknown")
        return "whsec_" + base64.b64encode(self.secret).decode()

    def amend(self, payment: str, **amounts: int) -> None:
        """The processor's record says what became of a charge's money."""
        self.charges[payment] = self.charges[payment].model_copy(update=amounts)

    async def close(self) -> None:
        """As VaultClient.close."""
        self._called("close", even_down=True)

    def _called(self, name: str, *, even_down: bool = False) -> None:
        self.calls.append(name)
        if self.down and not even_down:
            raise VaultUnavailable

    def _current(self, session_id: str) -> CaptureSession:
        session = self.sessions[session_id]
        if session.state in (CaptureState.OPEN, CaptureState.CLAIMED) and session.expires_ms <= self.clock():
            session = self.sessions[session_id] = session.model_copy(update={"state": CaptureState.CLOSED})
        return session

    def _check_no_other(self, asked: ChargeRequest) -> None:
        """I3: a checkout has at most one charge that took, or may yet take, money."""
        for other in self.charges.values():
            live = other.state not in FINAL_CHARGE_STATES or other.state is ChargeState.SUCCEEDED
            if live and other.checkout == asked.checkout and other.payment != asked.payment:
                raise VaultRefused("checkout_already_charged")

    def _check_grant(self, asked: ChargeRequest) -> None:
        """I4: the grant's merchant, checkout and currency, at most its amount, one payment."""
        for session in self.sessions.values():
            if session.grant == asked.grant:
                bound = self.opened[session.session]
                if (bound.merchant, bound.checkout, bound.currency) != (asked.merchant, asked.checkout, asked.currency):
                    break
                if asked.amount_minor > bound.amount_minor:
                    raise VaultRefused("grant_not_usable")
                if self._used_by.get(asked.grant, asked.payment) != asked.payment:
                    break
                return
        raise VaultRefused("grant_not_usable")

    def _charged(self, asked: ChargeRequest) -> Charge:
        outcome = self._outcome()
        if isinstance(outcome, Exception):
            raise outcome
        self._used_by[asked.grant] = asked.payment
        card = next(session.card for session in self.sessions.values() if session.grant == asked.grant)
        if card is None:
            raise VaultRefused("grant_not_usable")
        known = self.charges.get(asked.payment)
        return Charge(
            charge=known.charge if known is not None else new_id("chg"),
            payment=asked.payment,
            merchant=asked.merchant,
            checkout=asked.checkout,
            state=outcome,
            amount_minor=asked.amount_minor,
            currency=asked.currency,
            card=card,
            decline_code=self.decline_code if outcome is ChargeState.DECLINED else None,
            action_url=ACTION_URL if outcome is ChargeState.ACTION_REQUIRED else None,
            sandbox=True,
        )

    def _outcome(self) -> Outcome:
        if not isinstance(self.next_outcome, list):
            return self.next_outcome
        return self.next_outcome.pop(0) if self.next_outcome else ChargeState.SUCCEEDED


@dataclass
class World:
    """A running commerce side and the strings that move what is around it."""

    commerce: Commerce
    vault: FakeVault
    clock: TestClock
    directory: Path
    brand: str = BRAND

    @property
    def desk(self) -> AgentDesk:
        """What agents ask."""
        return self.commerce.desk

    async def agent_key(self, brand: str = BRAND) -> str:
        """The key with which the brand's own agents call."""
        known = await self.commerce.database.read(lambda connection: find_brand(connection, brand))
        return agent_key(known, self.commerce.agent_secret)

    async def add_brand(self, name: str) -> str:
        """Another brand with the same policy and catalogue; returns its id."""
        return await _import_store(self.commerce.database, name)

    async def let_assistants_pay(self, **changes: Any) -> None:
        """The brand's policy lets them, guests' too, from now on."""
        given = {"maximum_minor": 50_000, "limits_minor": (10_000, 25_000), "guests": True, **changes}
        payments = AssistantPayments.model_validate(given)
        policy = load_policy(STORE / "policy.json").model_copy(update={"assistant_payments": payments, **LEGAL})
        await self.commerce.database.change(
            lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=policy)
        )

    async def rows(self, table: Table) -> "list[Row[Any]]":
        """Every row of a table."""
        return await self.commerce.database.read(lambda connection: list(connection.execute(select(table)).all()))

    async def as_owner(self, statement: str) -> None:
        """Has a statement carried out by the owner of the tables, who may do what a side that serves may not."""
        database = Database.open(self.commerce.settings.database_url, self.clock)
        try:
            await database.maintain(lambda tx: tx.execute(text(statement)))
        finally:
            await database.close()

    async def events(self, kind: str | None = None) -> "list[Row[Any]]":
        """The record's rows, oldest first; of one type only if it is given."""
        rows = await self.rows(metadata.tables["audit_event"])
        return [row for row in sorted(rows, key=lambda row: int(row.id)) if kind in (None, row.type)]


@asynccontextmanager
async def commerce_world(
    directory: Path, database_url: str | None = None, *, by_owner: bool = False
) -> AsyncIterator[World]:
    """A commerce side on SQLite in the directory, or on the database given, with the example store in its catalogue.

    On PostgreSQL it is served by the role that a deployment serves it by, or ``by_owner`` of the tables.
    A second one on the same database is another process of the same side: same keys, same catalogue, its own made-up zone.
    """
    url = database_url or sqlite_url(directory)
    clock = TestClock()
    vault = FakeVault(clock)
    settings = CommerceSettings(
        data=directory,
        environment=DEVELOPMENT,
        database_url=url,
        host="127.0.0.1",
        port=0,
        public_url=PUBLIC_URL,
        mcp_url=MCP_URL,
        zone_url="https://127.0.0.1:8702",
        capture_url=CAPTURE_URL,
    )
    links = Links(settings.public_url, settings.mcp_url)
    _lay_down(url)
    database = Database.open(await migrated(url, upgrade, None if by_owner else RIGHTS), clock)
    try:
        await _import_store(database, BRAND_NAME)
        payments = Payments(database, cast(VaultClient, vault), links, OFFER_KEY, clock)
        rankers = Rankers(directory / OFFER_MODELS, lambda: clock.now_ms / 1000, beside=lambda work: work())
        desk = AgentDesk(database, payments, links, rankers, OFFER_KEY, clock)
        notices = NoticeDesk(database, cast(VaultClient, vault), payments, clock)
        saying = SayingDesk(database, OFFER_KEY, clock)
        commerce = Commerce(settings, clock, database, desk, payments, links, AGENT_SECRET, notices, saying)
        yield World(commerce, vault, clock, directory)
    finally:
        await database.close()


def _lay_down(url: str) -> None:
    """Begins a SQLite file that is not there yet with the newest schema: making it takes longer than most tests do."""
    file = make_url(url).database
    if url.startswith("sqlite") and file is not None and not Path(file).exists():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    """A SQLite file as the revisions make it."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "migrated"
        engine = create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            upgrade(connection)
        engine.dispose()
        return file.read_bytes()


async def _import_store(database: Database, name: str) -> str:
    policy = load_policy(STORE / "policy.json")
    brand = await database.change(lambda tx: save_brand(tx, name=name, currency=CURRENCY, policy=policy))
    await import_feed(database, brand.id, CURRENCY, open_feed(STORE / "products.csv"), lambda _: None)
    return brand.id
