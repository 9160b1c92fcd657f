"""Bugs of the kind that cost others money, each planted into the engine for a history or more."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from audit.transaction import Transaction
from tests.simulation.store import Disk
from vault_zone import charge as charging
from vault_zone import charge_rows, legs, modifications, settling
from vault_zone.ledger import posting
from vault_zone.ledger.events import BooksEvent, Refunded
from vault_zone.processors.port import ModificationOutcome, Outcome, ProcessorAnswer


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


async def _no_pass(*_: Any, **__: Any) -> int:
    """Does nothing."""
    return 0


async def _fail_what_is_pending(engine: Any, *, idle_seconds: float = 0) -> int:
    """What a dead process left is taken for not charged, without asking."""
    before_ms = engine._clock() - int(idle_seconds * 1000)
    rows = await engine._database.read(lambda connection: charge_rows.charges_pending_since(connection, before_ms))
    for row in rows:
        await engine._settle(row.id, ProcessorAnswer(Outcome.NEVER_SENT), row.processor)
    return len(rows)


def _forgets_refunds(tx: Transaction, event: BooksEvent) -> None:
    if not isinstance(event, Refunded):
        posting.post(tx, event)


@contextmanager
def _without_live_index() -> Iterator[None]:
    fill = Disk.fill

    def filled(disk: Disk, template: bytes) -> None:
        fill(disk, template)
        disk.rows_changed("DROP INDEX uq_charge_live")

    with mock.patch.object(Disk, "fill", filled):
        yield


Plant = Callable[[], AbstractContextManager[Any]]
PLANTED: dict[str, Plant] = {
    "what the processor does not know yet is taken for never charged": lambda: mock.patch.object(
        charging, "_verdict_of_absence", return_value=Outcome.NEVER_SENT
    ),
    "after silence a second processor is asked": lambda: mock.patch.object(
        legs, "_may_go_on", lambda answer: answer.outcome in (Outcome.UNKNOWN, Outcome.DECLINED, Outcome.NEVER_SENT)
    ),
    "a checkout may have two live charges": _without_live_index,
    "what a dead process left counts as not charged": lambda: mock.patch.object(
        charging.ChargeEngine, "recover", _fail_what_is_pending
    ),
    "nobody asks about what is unknown": lambda: mock.patch.object(charging.ChargeEngine, "resolve_unknown", _no_pass),
    "a refund is held back nowhere while it is under way": lambda: mock.patch.object(modifications, "hold", _nothing),
    "an absent refund is taken for never made": lambda: mock.patch.object(
        modifications, "_verdict_of_absence", return_value=ModificationOutcome.NEVER_SENT
    ),
    "a refund that came back stays counted": lambda: mock.patch.object(settling.Settler, "_returned", _nothing),
    "the books forget refunds": lambda: mock.patch("tests.simulation.history.post", _forgets_refunds),
}
