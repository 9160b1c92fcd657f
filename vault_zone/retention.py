"""How long each row of the zone is kept, as data: one rule for each table, complete by test (PCI DSS 3.2.1, 3.7.5, 10.5.1).

A rule says which rows are past their time; the sweeper (sweeping.py) deletes by it, and the report counts by it, so what is
reported is what is done. A table without an end says that it is kept, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Table, and_, cast, exists, false, func, null, or_, select, text
from sqlalchemy.engine import Connection

from tokenization.wire import ChargeState
from vault_zone import models
from vault_zone.key_rows import KeyState, Purpose

DAY_MS = 86_400_000
CARD_SWEEP_SECONDS = 1  # cards go at once, each with an event of its own
SWEEP_SECONDS = 60  # what goes together in one event, so that the record does not grow by it every second
SLOW_SWEEP_SECONDS = 3600  # tables without an index on their time, which are read through for it
LATENESS_SECONDS = (
    60  # how much later than its interval a sweep may come before the report says that something is wrong
)

# The processor's own record of a charge is asked for this long; a card that one may still need is kept until then at most.
OPEN_CHARGE_HOLD_MS = 7 * DAY_MS
SESSION_KEPT_MS = DAY_MS  # past its end, so that a shopper who comes back by an old link is told what happened
WEBHOOK_KEPT_MS = 30 * DAY_MS  # longer than a processor repeats one, and far longer than its signature is good
NOTICE_KEPT_MS = 30 * DAY_MS  # so that commerce can have a month told again
CONSENT_KEPT_MS = 540 * DAY_MS  # past its end: the longest time in which a charge can be disputed
SETTLEMENT_LINE_KEPT_MS = 540 * DAY_MS
KEY_KEPT_MS = 30 * DAY_MS  # a retired key that nothing is sealed or marked under
KEY_ROW_KEPT_MS = 400 * DAY_MS  # the row of a destroyed key; the log keeps its end for good
REKEYING_KEPT_MS = 400 * DAY_MS  # past its end: an assessor's year
_NO_TIME: ColumnElement[int] = cast(null(), BigInteger)  # of a row whose time is that of another one
OPEN_CHARGE = (ChargeState.PENDING, ChargeState.UNKNOWN, ChargeState.ACTION_REQUIRED)


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a table's rows are kept. ``since`` is when a row's time began; ``until``, with ``lag_ms`` added, when it ends
    (None: it is kept).
    """

    table: Table
    text: str
    requirement: str
    since: ColumnElement[int]
    until: ColumnElement[int] | None = None
    lag_ms: int = 0
    every_seconds: int = SWEEP_SECONDS

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    def expired(self, now_ms: int) -> ColumnElement[bool]:
        """The rows that must be gone by now; none of a table that is kept."""
        if self.until is None:
            return false()
        past = self.until <= now_ms - self.lag_ms
        if self.table is models.card_record:
            return and_(past, models.card_record.c.token.not_in(_needed_tokens(now_ms)))
        if self.table is models.data_key:
            return and_(past, _unused_key())
        return past


class Kept(NamedTuple):
    """What is on disk of one table. Times in milliseconds since 1970; None where there is none."""

    table: str
    rows: int
    oldest_ms: int | None
    expired: int  # past their time now
    overdue: int  # … for longer than the sweep's interval explains
    next_expiry_ms: int | None
    rule: str
    requirement: str
    dead: int | None = (
        None  # deleted rows whose bytes may still be in the table's file; None where a deletion overwrites
    )
    cleared_ms: int | None = None  # when they were last taken out


def _needed_tokens(now_ms: int):  # type: ignore[no-untyped-def]  # a subquery
    charge = models.charge.c
    return select(charge.token).where(charge.state.in_(OPEN_CHARGE), charge.intended_ms > now_ms - OPEN_CHARGE_HOLD_MS)


def _unused_key() -> ColumnElement[bool]:
    """Keys under which no record is sealed or marked, and whose epoch is not the last one, which numbers the next."""
    key, record, later = models.data_key.c, models.card_record.c, models.data_key.alias("later")
    used = exists().where(or_(record.key_id == key.id, record.fingerprint_key_id == key.id))
    followed = exists().where(
        later.c.merchant == key.merchant, later.c.purpose == key.purpose, later.c.epoch > key.epoch
    )
    gone = exists().where(models.merchant.c.id == key.merchant, models.merchant.c.keys_destroyed_ms.is_not(None))
    return and_(~used, or_(followed, gone))


RULES: Sequence[Rule] = (
    Rule(
        models.card_record,
        "a card of one purchase one day; a saved card 13 months from its last charge, not past its own last month; 7 days "
        "more at most while a charge is open",
        "3.2.1",
        models.card_record.c.created_ms,
        models.card_record.c.expires_ms,
        every_seconds=CARD_SWEEP_SECONDS,
    ),
    Rule(
        models.card_grant,
        "until it ends: 15 minutes after capture, or as long as it was asked for; with its card at the latest",
        "3.2.1",
        models.card_grant.c.created_ms,
        models.card_grant.c.expires_ms,
    ),
    Rule(
        models.capture_session,
        "one day past its end; what its browser said for 3-D Secure is erased by the charge",
        "3.2.1",
        models.capture_session.c.created_ms,
        models.capture_session.c.expires_ms,
        lag_ms=SESSION_KEPT_MS,
    ),
    Rule(
        models.idempotency,
        "until the caller's key ends",
        "3.2.1",
        models.idempotency.c.created_ms,
        models.idempotency.c.expires_ms,
    ),
    Rule(
        models.velocity_counter,
        "until its window is over",
        "3.2.1",
        models.velocity_counter.c.window_ms,
        models.velocity_counter.c.expires_ms,
    ),
    Rule(
        models.webhook_inbox,
        "30 days, so that a repeated notice is known",
        "3.2.1",
        models.webhook_inbox.c.received_ms,
        models.webhook_inbox.c.received_ms,
        lag_ms=WEBHOOK_KEPT_MS,
        every_seconds=SLOW_SWEEP_SECONDS,
    ),
    Rule(
        models.notice,
        "30 days, so that what was told can be told again",
        "3.2.1",
        models.notice.c.happened_ms,
        models.notice.c.happened_ms,
        lag_ms=NOTICE_KEPT_MS,
    ),
    Rule(
        models.dispute,
        "kept with its charge: what was disputed, and how it ended",
        "3.2.1",
        models.dispute.c.opened_ms,
    ),
    Rule(
        models.consent,
        "540 days past its end, as long as a charge can be disputed; while it stands, as long as the card",
        "3.2.1",
        models.consent.c.given_ms,
        models.consent.c.withdrawn_ms,
        lag_ms=CONSENT_KEPT_MS,
        every_seconds=SLOW_SWEEP_SECONDS,
    ),
    Rule(
        models.data_key,
        "destroyed, 400 days; a retired one that nothing is sealed under is destroyed after 30 days",
        "3.7.5",
        models.data_key.c.created_ms,
        models.data_key.c.destroyed_ms,
        lag_ms=KEY_ROW_KEPT_MS,
        every_seconds=SLOW_SWEEP_SECONDS,
    ),
    Rule(
        models.rekeying,
        "400 days past its end",
        "3.7.4",
        models.rekeying.c.started_ms,
        models.rekeying.c.changed_ms,
        lag_ms=REKEYING_KEPT_MS,
        every_seconds=SLOW_SWEEP_SECONDS,
    ),
    Rule(
        models.charge,
        "kept: what was paid, with brand and last four; its time is the operator's to set by the law of its books",
        "3.2.1",
        models.charge.c.intended_ms,
    ),
    Rule(
        models.charge_leg,
        "kept with its charge: which processor was asked, and why that one",
        "3.2.1",
        models.charge_leg.c.started_ms,
    ),
    Rule(
        models.modification,
        "kept with its charge: what was captured, let go and refunded",
        "3.2.1",
        models.modification.c.intended_ms,
    ),
    Rule(
        models.ledger_account,
        "kept: what an account holds; it is never deleted",
        "10.3.2",
        _NO_TIME,
    ),
    Rule(models.ledger_charge, "kept: what the books hold of one charge", "10.3.2", _NO_TIME),
    Rule(
        models.ledger_entry,
        "kept: the books, which are only added to; their time is the operator's to set by the law of its books",
        "10.3.2",
        models.ledger_entry.c.recorded_ms,
    ),
    Rule(
        models.ledger_posting,
        "kept with its entry",
        "10.3.2",
        _NO_TIME,
    ),
    Rule(
        models.settlement,
        "kept: which processor's report was read by whom",
        "3.2.1",
        models.settlement.c.started_ms,
    ),
    Rule(
        models.settlement_line,
        "540 days, as long as a charge can be disputed: a line that comes again in another report is known",
        "3.2.1",
        models.settlement_line.c.created_ms,
        models.settlement_line.c.created_ms,
        lag_ms=SETTLEMENT_LINE_KEPT_MS,
        every_seconds=SLOW_SWEEP_SECONDS,
    ),
    Rule(
        models.settlement_break,
        "kept: where a report and the books did not agree, and who explained it how",
        "3.2.1",
        models.settlement_break.c.found_ms,
    ),
    Rule(
        models.agent_platform,
        "kept: who may hand over cards, and who might once",
        "7.2.4",
        models.agent_platform.c.created_ms,
    ),
    Rule(
        models.forward,
        "kept: what was sent where, without card data; its key stays known, so that nothing is sent twice",
        "3.2.1",
        models.forward.c.intended_ms,
    ),
    Rule(
        models.forward_list,
        "kept: which signed list was in force, so that an older one is refused",
        "6.5.1",
        models.forward_list.c.accepted_ms,
    ),
    Rule(
        models.access_identity,
        "kept: who may ask what, as it was last recorded; the log has what it was before",
        "7.2.4",
        models.access_identity.c.changed_ms,
    ),
    Rule(
        models.issued_certificate,
        "kept: which certificate was whose, and until when",
        "4.2.1.1",
        models.issued_certificate.c.issued_ms,
    ),
    Rule(
        models.operation,
        "kept: which dangerous act was asked for by whom and approved by whom",
        "7.2.5.1",
        models.operation.c.requested_ms,
    ),
    Rule(models.merchant, "kept: a name and its addresses, no account data", "3.2.1", models.merchant.c.created_ms),
    Rule(
        models.metadata.tables["audit_event"],
        "kept: the record, a year at least, three months of it at hand",
        "10.5.1",
        models.metadata.tables["audit_event"].c.at_ms,
    ),
)


def retired_unused(now_ms: int) -> ColumnElement[bool]:
    """Retired keys for cards and fingerprints that nothing needs any more; the other purposes' keys seal nothing that stays."""
    key = models.data_key.c
    return and_(
        key.state == KeyState.RETIRED,
        key.retired_ms <= now_ms - KEY_KEPT_MS,
        key.purpose.in_((Purpose.SEALING, Purpose.FINGERPRINT)),
        _unused_key(),
    )


def expired_rows(connection: Connection, now_ms: int) -> dict[str, int]:
    """How many rows of each table are on disk past their time: the gauge that must stand at 0 behind the sweeper."""
    return {rule.name: _count(connection, rule, rule.expired(now_ms)) for rule in RULES if rule.until is not None}


def report(connection: Connection, now_ms: int) -> list[Kept]:
    """What is kept of each table, in the order of RULES."""
    kept = [_kept(connection, rule, now_ms) for rule in RULES]
    if connection.dialect.name != "postgresql":
        return kept
    dead = {row.relname: row for row in connection.execute(_DEAD_ROWS)}
    return [
        one._replace(dead=dead[one.table].dead, cleared_ms=dead[one.table].cleared_ms) if one.table in dead else one
        for one in kept
    ]


# PostgreSQL's own count of each table's deleted rows, and when it was last vacuumed; every role may read it.
_DEAD_ROWS = text(
    "SELECT relname, n_dead_tup AS dead, (extract(epoch FROM greatest(last_vacuum, last_autovacuum)) * 1000)::bigint "
    "AS cleared_ms FROM pg_stat_user_tables WHERE schemaname = current_schema()"
)


def _kept(connection: Connection, rule: Rule, now_ms: int) -> Kept:
    rows, oldest_ms = connection.execute(select(func.count(), func.min(rule.since)).select_from(rule.table)).one()
    expired = overdue = 0
    next_ms: int | None = None
    if rule.until is not None:
        expired = _count(connection, rule, rule.expired(now_ms))
        overdue = _count(connection, rule, _overdue(rule, now_ms)) if expired else 0
        next_ms = connection.execute(
            select(func.min(rule.until)).where(rule.until > now_ms - rule.lag_ms)
        ).scalar_one_or_none()
    return Kept(
        rule.name,
        rows,
        oldest_ms,
        expired,
        overdue,
        None if next_ms is None else next_ms + rule.lag_ms,
        rule.text,
        rule.requirement,
    )


def _overdue(rule: Rule, now_ms: int) -> ColumnElement[bool]:
    """Expired for longer than an interval. A card whose charge came to its end just now was not, until then."""
    before_ms = now_ms - (rule.every_seconds + LATENESS_SECONDS) * 1000
    late = rule.expired(before_ms)
    if rule.table is models.card_record:
        settled = select(models.charge.c.token).where(models.charge.c.changed_ms > before_ms)
        return and_(late, models.card_record.c.token.not_in(settled))
    return late


def _count(connection: Connection, rule: Rule, condition: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(rule.table).where(condition)).scalar_one()
