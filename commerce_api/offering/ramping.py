"""Models that are on their way go back by themselves, and go on where their brand wants it so.

What holds:
 1. A brand's model is looked at at set moments of its stage, over the decisions of that stage alone
    (offer_engine/judging/looks.py). A process that starts anew looks as the last one did.
 2. Where a guard is worse beyond doubt, the model's traffic ends with a line of the history. It goes on to more of it only
    where the brand's policy says ``"models": {"ramp": "automatic"}``; else that is a person's act.
 3. A line is written behind the one that was judged, or not at all: of two processes that look at once, one writes.
 4. Each line of a history, whoever wrote it, has one event on record. A process that dies in between leaves that to the next.
 5. At most DECISIONS_MAXIMUM are read for a look, the newest, PAGE at a time: requests have their turn in between.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.store import event_count
from audit.threads import in_thread
from audit.transaction import Database, Transaction
from commerce_api.brands import ORIGIN, Brand, all_brands
from commerce_api.offering.export import PAGE, Before, last_of, newest_decisions
from offer_engine.judging.looks import Look
from offer_engine.judging.promotion import SHARE_PERCENT, Measured, Move, Reason, Rules, Stage, advance
from offer_engine.judging.standing import reason_of
from offer_engine.judging.watching import Watch, look_of
from offer_engine.learning.registry import Change, HistoryMoved, Registry
from tokenization.clock import Clock
from tokenization.logs import cause_of

INTERVAL_SECONDS: Final = 30.0
DECISIONS_MAXIMUM: Final = 200_000
BY: Final = "service:commerce"
RULES: Final = Rules()
_BY_HAND: Final = "by_hand"
_MODEL_DIGITS: Final = 12  # thirteen digits in a row could be a card number
log = structlog.get_logger("commerce_api")


@dataclass(slots=True)
class Ramp:
    """The models of every brand. ``directory`` holds a registry for each (offer_engine/serving.py)."""

    database: Database
    directory: Path
    clock: Clock
    _kept: dict[str, int] = field(default_factory=dict)  # lines on record, by brand
    _looked: dict[str, tuple[Change, Look]] = field(default_factory=dict)

    async def run(self) -> None:
        """Passes until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.sweep()
            except Exception as failure:  # noqa: BLE001  # the database may be away for a while; what is due stays due
                log.warning("models_not_looked_at", cause=cause_of(failure))

    async def sweep(self) -> None:
        """One pass over every brand."""
        for brand in await self.database.read(all_brands):
            try:
                await self._sweep_one(brand)
            except Exception as failure:  # noqa: BLE001  # one brand's trouble must not keep the others from their turn
                log.warning("model_not_looked_at", brand=brand.id, cause=cause_of(failure))

    async def _sweep_one(self, brand: Brand) -> None:
        registry = Registry(self.directory / brand.id)
        history = registry.history()
        await self._keep(brand.id, history)
        if not history or not SHARE_PERCENT[Stage(history[-1].stage)]:
            return
        stage = history[-1]
        look = look_of(stage, self.clock())
        if look is None or self._looked.get(brand.id) == (stage, look):
            return
        measured = await self._measured(brand, stage, look)
        move = advance(Stage(stage.stage), measured, RULES, Reason.PASSED)
        if _is_by_itself(move, stage, brand):  # (2)
            change = Change(self.clock(), stage.model, move.stage.value, BY, reason_of(move, measured, RULES))
            with contextlib.suppress(HistoryMoved):  # (3)
                registry.record_after(change, stage)
            await self._keep(brand.id, registry.history())
        self._looked[brand.id] = (stage, look)

    async def _measured(self, brand: Brand, stage: Change, look: Look) -> Measured:
        """(1) (5)"""
        watch, since_ms = watch_of(brand, stage, look), look.sees_from(stage.at_ms)
        before: Before | None = Before(look.at_ms)
        for _ in range(0, DECISIONS_MAXIMUM, PAGE):
            if before is None:
                break
            page = await self.database.read(partial(_page, brand=brand.id, since_ms=since_ms, before=before))
            await in_thread(_add_all, watch, page)
            before = last_of(page)
        return await in_thread(watch.measured)

    async def _keep(self, brand: str, history: Sequence[Change]) -> None:
        """(4)"""
        if self._kept.get(brand, 0) >= len(history):
            return
        if await self.database.read(partial(event_count, resource=_resource(brand))) < len(history):
            await self.database.change(partial(_keep_lines, brand=brand, history=history))
        self._kept[brand] = len(history)


def watch_of(brand: Brand, stage: Change, look: Look) -> Watch:
    """The comparison of a stage that its brand wants, with nothing in it yet."""
    return Watch(stage.model, stage.at_ms, look, brand.policy.models.groups)


def _is_by_itself(move: Move, stage: Change, brand: Brand) -> bool:
    """Whether a move is made without a person's word (2)."""
    if move.stage.value == stage.stage:
        return False
    return move.stage is Stage.ROLLED_BACK or brand.policy.models.ramp == "automatic"


def _page(connection: Connection, brand: str, since_ms: int, before: Before) -> list[dict[str, Any]]:
    return newest_decisions(connection, brand, since_ms, before, PAGE)


def _add_all(watch: Watch, records: Sequence[Mapping[str, Any]]) -> None:
    for record in records:
        watch.add(record)


def _resource(brand: str) -> str:
    return f"offer_models:{brand}"


def _keep_lines(tx: Transaction, brand: str, history: Sequence[Change]) -> None:
    """Those lines that are not on record: there is one event for each, and for nothing else that is theirs."""
    for line in range(event_count(tx.connection, _resource(brand)), len(history)):
        change = history[line]
        stood = [each.stage for each in history[:line] if each.model == change.model]
        tx.record(
            Event(
                type=EventType.OFFER_MODEL_MOVED,
                outcome="success",
                actor=BY if change.by == BY else "operator",
                origin=ORIGIN,
                resource=_resource(brand),
                merchant=brand,
                data={
                    "model": change.model[:_MODEL_DIGITS],
                    "from": stood[-1] if stood else Stage.APPRENTICE.value,
                    "to": change.stage,
                    "reason": _reason(change),
                },
            )
        )


def _reason(change: Change) -> str:
    """A code; a person's own words stay in the history."""
    code = change.reason.partition(":")[0]
    return code if code in set(Reason) else _BY_HAND
