"""A processor in a test: its record can be read, and it loses what a test tells it to lose."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tokenization.wire import ModificationKind
from vault_zone.card import Exposure
from vault_zone.device import Device
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

LIFETIME_SECONDS = 15.0
AUTHORIZATION_SECONDS = 7 * 86_400.0


@dataclass
class Account:
    """What the processor holds of one charge. Amounts in minor units."""

    amount: int
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    is_closed: bool = False


@dataclass
class FakeProcessor:
    """Keeps a record as a processor does: at most one charge or modification for a reference, within the amounts there are.

    A fault (``lose_request``, ``lose_reply``, ``unreachable``) is of every call that asks for something; ``unreachable_find``
    of every question. ``modification_outcome``: ACCEPTED is settled by the test, with ``settle``.
    """

    name: str = "fake"
    is_sandbox: bool = True
    features: frozenset[Feature] = frozenset(Feature)
    request_lifetime_seconds: float = LIFETIME_SECONDS
    authorization_lifetime_seconds: float = AUTHORIZATION_SECONDS
    outcome: Outcome = Outcome.SUCCEEDED
    modification_outcome: ModificationOutcome = ModificationOutcome.SUCCEEDED
    lose_request: bool = False
    lose_reply: bool = False
    unreachable: bool = False
    unreachable_find: bool = False
    during: Callable[[], None] | None = None
    while_charging: Callable[[], Awaitable[int]] | None = None
    taken: list[int] | None = None
    before_answering_find: Callable[[], None] | None = None
    record: dict[str, ProcessorAnswer] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    modified: dict[str, tuple[ProcessorModification, ModificationAnswer]] = field(default_factory=dict)
    requests: list[ProcessorCharge] = field(default_factory=list)
    seen: list[tuple[str, int, str, str | None]] = field(default_factory=list)
    cryptograms: list[tuple[str, str | None]] = field(default_factory=list)
    devices: list[Device | None] = field(default_factory=list)
    may_go_elsewhere: bool = False
    connections_refused: int = 0
    calls: int = 0
    modify_calls: int = 0

    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        """As Processor.charge."""
        if self.unreachable:
            self.connections_refused += 1
            return ProcessorAnswer(Outcome.NEVER_SENT, may_go_elsewhere=True)
        self.calls += 1
        if self.lose_request:
            return ProcessorAnswer(Outcome.UNKNOWN)
        number = request.card.pan.expose(Exposure.PROCESSOR)
        code = request.cvc.expose(Exposure.PROCESSOR) if request.cvc else None
        self.requests.append(request)
        self.seen.append((request.reference, request.amount.amount_minor, number, code))
        self.devices.append(request.device)
        if request.cryptogram:
            self.cryptograms.append(request.cryptogram.expose(Exposure.PROCESSOR))
        if request.reference not in self.record:
            self._make(request)
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
        self.modify_calls += 1
        if self.unreachable:
            return ModificationAnswer(ModificationOutcome.NEVER_SENT)
        if self.lose_request:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        if request.reference not in self.modified:
            answer = self._modify(request)
            self.modified[request.reference] = (request, answer)
        if self.during:
            self.during()
        answer = self.modified[request.reference][1]
        return ModificationAnswer(ModificationOutcome.UNKNOWN) if self.lose_reply else answer

    async def find_modification(self, request: ProcessorModification) -> ModificationAnswer | None:
        """As Processor.find_modification."""
        if self.before_answering_find:
            self.before_answering_find()
        if self.unreachable or self.unreachable_find:
            return ModificationAnswer(ModificationOutcome.UNKNOWN)
        found = self.modified.get(request.reference)
        return found[1] if found else None

    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        """Not spoken by this processor."""
        return ()

    async def close(self) -> None:
        """Nothing to close."""

    def settle(self, reference: str, outcome: ModificationOutcome) -> ModificationAnswer:
        """The processor makes up its mind about a modification it accepted."""
        request, _ = self.modified[reference]
        answer = self._effect(request) if outcome is ModificationOutcome.SUCCEEDED else self._refused(request)
        self.modified[reference] = (request, answer)
        return answer

    def become(self, reference: str, outcome: Outcome) -> None:
        """The charge moves at the processor, by the shopper's bank or by time."""
        account = self.accounts[reference]
        if outcome is Outcome.SUCCEEDED:
            account.authorized = account.captured = account.amount
        elif outcome is Outcome.AUTHORIZED:
            account.authorized = account.amount
        account.is_closed = outcome is not Outcome.AUTHORIZED
        self.record[reference] = self._answer(reference, outcome)

    def money_taken(self) -> int:
        """How many charges took money."""
        return sum(answer.outcome is Outcome.SUCCEEDED for answer in self.record.values())

    def _make(self, request: ProcessorCharge) -> None:
        outcome = self.outcome
        if outcome is Outcome.SUCCEEDED and not request.capture:
            outcome = Outcome.AUTHORIZED
        self.accounts[request.reference] = Account(request.amount.amount_minor)
        self.record[request.reference] = self._answer(request.reference, outcome)
        if outcome in (Outcome.SUCCEEDED, Outcome.AUTHORIZED):
            self.become(request.reference, outcome)

    def _answer(self, reference: str, outcome: Outcome) -> ProcessorAnswer:
        action = "https://bank.example/acs" if outcome is Outcome.ACTION_REQUIRED else None
        reason = "card_declined" if outcome is Outcome.DECLINED else None
        return ProcessorAnswer(
            outcome,
            f"ch_{reference}",
            reason,
            action,
            network_reference=f"net_{reference}",
            may_go_elsewhere=outcome is Outcome.DECLINED and self.may_go_elsewhere,
        )

    def _modify(self, request: ProcessorModification) -> ModificationAnswer:
        if self.modification_outcome is ModificationOutcome.SUCCEEDED:
            return self._effect(request)
        if self.modification_outcome is ModificationOutcome.DECLINED:
            return self._refused(request)
        return ModificationAnswer(self.modification_outcome, f"re_{request.reference}")

    def _refused(self, request: ProcessorModification) -> ModificationAnswer:
        return ModificationAnswer(ModificationOutcome.DECLINED, f"re_{request.reference}", "refused")

    def _effect(self, request: ProcessorModification) -> ModificationAnswer:
        """Moves the amounts, or refuses what is beyond them: as the processor's own books, they do not trust the caller."""
        account = self.accounts[request.charge]
        amount = request.amount.amount_minor if request.amount else 0
        waits = self.record[request.charge].outcome is Outcome.ACTION_REQUIRED
        if request.kind is ModificationKind.REFUND:
            if account.refunded + amount > account.captured:
                return self._refused(request)
            account.refunded += amount
        elif account.is_closed or account.captured + amount > account.authorized + waits:
            return self._refused(request)
        elif request.kind is ModificationKind.CAPTURE:
            account.captured += amount
            account.is_closed = request.is_final
            self.record[request.charge] = ProcessorAnswer(
                Outcome.SUCCEEDED, f"ch_{request.charge}", captured_minor=account.captured
            )
        else:
            account.is_closed = True
            if not account.captured:
                self.record[request.charge] = ProcessorAnswer(Outcome.VOIDED, f"ch_{request.charge}")
        return ModificationAnswer(ModificationOutcome.SUCCEEDED, f"re_{request.reference}")
