"""A processor as the world has them: it keeps its record, and the way to it loses, delays and repeats.

At most one charge for a reference and one modification for a reference, as real ones promise for an idempotency key.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.simulation.store import Faults
from tokenization.money import Money
from tokenization.wire import ModificationKind
from vault_zone.processors.port import (
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
)

LIFETIME_SECONDS = 15.0
TIMEOUT_SECONDS = 10.0
HELD_SECONDS = 7 * 86_400.0


@dataclass
class Account:
    """What the processor knows of one charge."""

    reference: str
    merchant: str
    amount_minor: int
    currency: str
    outcome: Outcome
    action: bool
    capture: bool
    decline_code: str | None = None
    may_go_elsewhere: bool = False
    captured_minor: int = 0
    refunded_minor: int = 0
    is_open: bool = True  # something can still be captured

    def answer(self) -> ProcessorAnswer:
        """As the processor tells it."""
        return ProcessorAnswer(
            self.outcome,
            processor_charge=f"pc_{self.reference}",
            decline_code=self.decline_code,
            action_url="https://bank.example/acs" if self.outcome is Outcome.ACTION_REQUIRED else None,
            captured_minor=self.captured_minor if self.outcome is Outcome.SUCCEEDED else None,
            may_go_elsewhere=self.may_go_elsewhere,
        )

    @property
    def took_money(self) -> bool:
        """Whether money is held or was taken."""
        return self.outcome in (Outcome.AUTHORIZED, Outcome.SUCCEEDED)


class SimulatedProcessor:
    """See the port. ``deliver`` brings an event to whoever of the zone is alive."""

    is_sandbox = True
    features = frozenset(Feature)
    request_lifetime_seconds = LIFETIME_SECONDS
    authorization_lifetime_seconds = HELD_SECONDS

    def __init__(
        self,
        name: str,
        rng: random.Random,
        faults: Faults,
        deliver: Callable[[ProcessorEvent, str], Awaitable[None]],
        effect: Callable[[], None],
        spawn: Callable[[Awaitable[None]], None],
    ) -> None:
        self.name = name
        self.accounts: dict[str, Account] = {}
        self.modifications: dict[str, tuple[ProcessorModification, ModificationAnswer]] = {}
        self.calls: dict[str, int] = {}
        self._rng = rng
        self._faults = faults
        self._deliver = deliver
        self._effect = effect
        self._spawn = spawn
        self._events = 0

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """As Processor.charge, over a way that may fail."""
        answer = await self._over_the_way(request.reference, lambda: self._charged(request))
        if answer is None:
            return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
        return answer if isinstance(answer, ProcessorAnswer) else ProcessorAnswer(Outcome.UNKNOWN)

    async def find(
        self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None
    ) -> ProcessorAnswer | None:
        """As Processor.find."""
        await self._latency()
        if self._rng.random() < self._faults.network:
            return ProcessorAnswer(Outcome.UNKNOWN)
        account = self.accounts.get(reference)
        await self._latency()
        return account.answer() if account else None

    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        """As Processor.modify, over a way that may fail."""
        answer = await self._over_the_way(request.reference, lambda: self._modified(request))
        if answer is None:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        return answer if isinstance(answer, ModificationAnswer) else ModificationAnswer(ModificationOutcome.UNKNOWN)

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """As Processor.find_modification."""
        await self._latency()
        if self._rng.random() < self._faults.network:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        known = self.modifications.get(request.reference)
        await self._latency()
        return known[1] if known else None

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """Events are handed over as they are here."""
        return ()

    async def close(self) -> None:
        """Nothing to close."""

    async def _over_the_way(self, reference: str, effect: Callable[[], object]) -> object:
        """The effect's answer; None when nothing left; the word "silence" when no answer came."""
        await self._latency()
        is_well = self._rng.random() >= self._faults.network
        fate = self._rng.randrange(5)
        if not is_well and fate == 0:
            return None
        self.calls[reference] = self.calls.get(reference, 0) + 1
        if is_well:
            answer = effect()
            await self._latency()
            return answer
        if fate == 1:
            effect()  # and the reply is lost
        elif fate == 2:
            self._spawn(self._late(effect))
        elif fate == 3:
            await asyncio.sleep(self._rng.random() * TIMEOUT_SECONDS)
            return effect()
        await asyncio.sleep(self._rng.random() * TIMEOUT_SECONDS)
        return "silence"

    async def _late(self, effect: Callable[[], object]) -> None:
        await asyncio.sleep(TIMEOUT_SECONDS + self._rng.random() * (LIFETIME_SECONDS - TIMEOUT_SECONDS) * 0.9)
        effect()

    async def _latency(self) -> None:
        await asyncio.sleep(self._rng.expovariate(20))

    def _charged(self, request: ProcessorCharge) -> ProcessorAnswer:
        known = self.accounts.get(request.reference)
        if known is None:
            known = self.accounts[request.reference] = self._decided(request)
            self._effect()
            self._tell(known)
            if known.outcome is Outcome.ACTION_REQUIRED:
                self._spawn(self._at_the_bank(known))
        return known.answer()

    def _decided(self, request: ProcessorCharge) -> Account:
        fate = self._rng.random()
        account = Account(
            request.reference,
            request.merchant,
            request.amount.amount_minor,
            request.amount.currency,
            Outcome.DECLINED,
            action=fate > 0.8,
            capture=request.capture,
        )
        if fate < 0.1:
            account.decline_code = "insufficient_funds"
        elif fate < 0.2:
            account.decline_code, account.may_go_elsewhere = "processing_error", True
        elif account.action:
            account.outcome = Outcome.ACTION_REQUIRED
        else:
            self._take(account)
        return account

    def _take(self, account: Account) -> None:
        account.outcome = Outcome.SUCCEEDED if account.capture else Outcome.AUTHORIZED
        account.captured_minor = account.amount_minor if account.capture else 0
        account.is_open = not account.capture

    async def _at_the_bank(self, account: Account) -> None:
        """The shopper comes back from the bank, or does not."""
        await asyncio.sleep(self._rng.random() * 90)
        if account.outcome is not Outcome.ACTION_REQUIRED:
            return
        if self._rng.random() < 0.3:
            account.outcome, account.decline_code = Outcome.DECLINED, "authentication_failed"
        else:
            self._take(account)
        self._effect()
        self._tell(account)

    def _modified(self, request: ProcessorModification) -> ModificationAnswer:
        known = self.modifications.get(request.reference)
        if known is not None:
            return known[1]
        account = self.accounts.get(request.charge)
        accepted = account is not None and self._rng.random() > 0.1 and self._fits(account, request)
        if not accepted or account is None:
            answer = ModificationAnswer(ModificationOutcome.DECLINED, decline_code="not_possible")
        elif request.kind is ModificationKind.REFUND and self._rng.random() < 0.3:
            answer = ModificationAnswer(ModificationOutcome.ACCEPTED, f"pm_{request.reference}")
            self._apply(account, request)
            self._spawn(self._ends_later(request))
        else:
            answer = ModificationAnswer(ModificationOutcome.SUCCEEDED, f"pm_{request.reference}")
            self._apply(account, request)
        self.modifications[request.reference] = (request, answer)
        self._effect()
        self._tell_modification(request, answer)
        return answer

    async def _ends_later(self, request: ProcessorModification) -> None:
        """What was accepted comes to its end: with effect, which may yet come back."""
        await asyncio.sleep(self._rng.random() * 60)
        answer = ModificationAnswer(ModificationOutcome.SUCCEEDED, f"pm_{request.reference}")
        self.modifications[request.reference] = (request, answer)
        self._tell_modification(request, answer)
        if self._rng.random() < 0.3:
            await self._comes_back(request)

    async def _comes_back(self, request: ProcessorModification) -> None:
        """The shopper's bank does not take the refund. Only a webhook tells, so that one is not lost here."""
        await asyncio.sleep(self._rng.random() * 60)
        answer = ModificationAnswer(ModificationOutcome.DECLINED, f"pm_{request.reference}", "bank_refused")
        self.modifications[request.reference] = (request, answer)
        self.accounts[request.charge].refunded_minor -= request.amount.amount_minor if request.amount else 0
        self._effect()
        self._tell_modification(request, answer, is_lost=False)

    @staticmethod
    def _fits(account: Account, request: ProcessorModification) -> bool:
        minor = request.amount.amount_minor if request.amount else 0
        if request.kind is ModificationKind.CAPTURE:
            return account.is_open and account.took_money and account.captured_minor + minor <= account.amount_minor
        if request.kind is ModificationKind.REFUND:
            return account.refunded_minor + minor <= account.captured_minor
        return account.outcome is Outcome.ACTION_REQUIRED or (account.took_money and account.is_open)

    @staticmethod
    def _apply(account: Account, request: ProcessorModification) -> None:
        minor = request.amount.amount_minor if request.amount else 0
        if request.kind is ModificationKind.CAPTURE:
            account.captured_minor += minor
            account.outcome = Outcome.SUCCEEDED
            account.is_open = not request.is_final
        elif request.kind is ModificationKind.REFUND:
            account.refunded_minor += minor
        else:
            account.is_open = False
            if not account.captured_minor:
                account.outcome = Outcome.VOIDED

    def _tell(self, account: Account) -> None:
        self._send(account.reference, account.answer())

    def _tell_modification(
        self, request: ProcessorModification, answer: ModificationAnswer, *, is_lost: bool | None = None
    ) -> None:
        amount: Money | None = request.amount
        news = ModificationNews(request.kind, request.reference, answer, amount)
        self._send(request.charge, news, is_lost=is_lost)

    def _send(self, reference: str, news: ProcessorAnswer | ModificationNews, *, is_lost: bool | None = None) -> None:
        """A webhook: lost, late, out of order, more than once."""
        self._events += 1
        event = ProcessorEvent(f"evt_{self.name}_{self._events}", reference, news, f"pc_{reference}")
        if self._rng.random() < self._faults.lost_webhooks if is_lost is None else is_lost:
            return
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            self._spawn(self._deliver_after(event, self._rng.choice((0.0, 0.05, 1.0, 30.0)) * self._rng.random()))

    async def _deliver_after(self, event: ProcessorEvent, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._deliver(event, self.name)
