"""A charge at its processors: one leg after the other, each on disk before its call.

What holds:
 1. A leg is on disk, with why its processor was chosen, before that processor is called.
 2. A further leg begins only when the one before ended without effect: no connection was made, or the processor declined for
    a reason that another one may not have. Never after ``unknown`` or ``action_required``: there the money may be taken.
 3. The outcome of a leg and the beginning of the next commit together, from ``pending`` at the processor that was asked.
    Whoever was told otherwise meanwhile (a notice, another process) ends it there.
 4. The charge's id is the key at every processor, and on every try. Only a try that made no connection is followed by
    another at the same processor, ``TRIES`` in all.
 5. The card and its code live in the request, for the legs of this one call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sqlalchemy import update

from audit.event import EventType
from audit.transaction import Database, Transaction
from tokenization.wire import ChargeState
from vault_zone.breaker import Breakers
from vault_zone.charge_rows import charge_row
from vault_zone.models import charge, charge_leg
from vault_zone.processors.port import Outcome, Processor, ProcessorAnswer, ProcessorCharge
from vault_zone.processors.registry import Processors
from vault_zone.routing import AFTER_DECLINE, AFTER_NO_CONNECTION, Candidate
from vault_zone.settling import Data, Settler, charge_event, end_leg

TRIES = 2
PAUSE_SECONDS = 0.2  # before a connection is tried again
Pause = Callable[[float], Awaitable[None]]


class Legs:
    """Sends charges through their candidates."""

    def __init__(
        self,
        database: Database,
        processors: Processors,
        settler: Settler,
        breakers: Breakers,
        *,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._database = database
        self._processors = processors
        self._settler = settler
        self._breakers = breakers
        self._pause = pause

    async def run(self, request: ProcessorCharge, candidates: Sequence[Candidate]) -> ProcessorAnswer:
        """Sends the charge, whose first leg is on disk, and settles what came of it; returns the last answer."""
        answer = ProcessorAnswer(Outcome.UNKNOWN)
        for number, candidate in enumerate(candidates, 1):
            if number > 1:
                before = candidates[number - 2].processor
                if not await self._go_on(request.reference, number, before, candidate, answer):  # (1) (3)
                    return answer
            processor = self._processors.get(candidate.processor)
            if processor is not None:
                answer = await self._send(processor, request)
            # Dying here leaves `pending`, and the processor's record tells the outcome.
            if number == len(candidates) or not _may_go_on(answer):  # (2)
                await self._end(request.reference, candidate.processor, answer)
                break
        return answer

    async def _end(self, charge_id: str, processor: str, answer: ProcessorAnswer) -> None:
        await self._database.change(lambda tx: self._settler.charge(tx, charge_id, answer, processor))

    async def _send(self, processor: Processor, request: ProcessorCharge) -> ProcessorAnswer:
        answer = ProcessorAnswer(Outcome.UNKNOWN)
        for attempt in range(TRIES):  # (4)
            if attempt:
                await self._pause(PAUSE_SECONDS)
            self._breakers.begin(processor.name)
            well = False
            try:
                answer = await processor.charge(request)
                well = answer.outcome is not Outcome.UNKNOWN and not _made_no_connection(answer)
            finally:
                self._breakers.end(processor.name, well=well)
            if not _made_no_connection(answer):
                break
        return answer

    async def _go_on(
        self, charge_id: str, number: int, before: str, candidate: Candidate, answer: ProcessorAnswer
    ) -> bool:
        def work(tx: Transaction) -> bool:
            moved = tx.execute(
                update(charge)
                .where(charge.c.id == charge_id, charge.c.state == ChargeState.PENDING, charge.c.processor == before)
                .values(processor=candidate.processor)
            )
            row = charge_row(tx.connection, charge_id)
            if moved.rowcount != 1 or row is None:  # (3)
                return False
            end_leg(tx, charge_id, before, answer)
            reason = AFTER_DECLINE if answer.outcome is Outcome.DECLINED else AFTER_NO_CONNECTION
            routed = Routed(row.id, row.merchant, row.payment, row.checkout)
            begin_leg(tx, routed, number, Candidate(candidate.processor, reason, candidate.rule))
            return True

        return await self._database.change(work)


class Routed(NamedTuple):
    """Which charge a leg is of."""

    charge: str
    merchant: str
    payment: str
    checkout: str


def begin_leg(tx: Transaction, routed: Routed, number: int, candidate: Candidate) -> None:
    """Writes a leg down, and on record why its processor was chosen (1)."""
    tx.execute(
        charge_leg.insert(),
        {
            "charge_id": routed.charge,
            "leg": number,
            "processor": candidate.processor,
            "reason": candidate.reason,
            "rule": candidate.rule,
            "started_ms": tx.now_ms,
        },
    )
    data: Data = {"payment": routed.payment, "checkout": routed.checkout, "processor": candidate.processor}
    data |= {"reason": candidate.reason, "attempt": number}
    if candidate.rule:
        data["rule"] = candidate.rule
    tx.record(charge_event(EventType.CHARGE_ROUTED, routed.charge, routed.merchant, "service:vault_zone", data))


def _may_go_on(answer: ProcessorAnswer) -> bool:
    """(2) Whether another processor may be asked."""
    return answer.may_go_elsewhere and answer.outcome in (Outcome.DECLINED, Outcome.NEVER_SENT)


def _made_no_connection(answer: ProcessorAnswer) -> bool:
    """(4) See ProcessorAnswer."""
    return answer.outcome is Outcome.NEVER_SENT and answer.may_go_elsewhere
