"""How often a card, a network, an agent platform, a checkout and a merchant may be tried: counters in the database, keyed.

Whoever may submit numbers without end can find one out, or find out which of a stolen list are good. What must hold:
 1. A submission is counted in the transaction that acts on it, whatever is wrong with it, before anything depends on it.
 2. What is over a limit is not acted on. Its answer is one and the same for every limit and every card.
 3. A counter's subject is an HMAC under the merchant's capture key: a row names no address and no digit.
 4. No limit tells one guess from another: the card's own limit is never reached before that of its first six and last four
    digits, which every guess of a recovery attack shares.
 5. No row is written by every submission of a merchant: its counter is split, and each part has its share of the maximum.
 6. A row ends with its window and is swept.
 7. A submission that is over one limit takes nothing of the others: who is stopped does not use up what others share with it.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from sqlalchemy import TextClause, bindparam, select, text, tuple_, update
from sqlalchemy.engine import Connection

from audit.transaction import Transaction
from tokenization.ids import letters_of
from vault_zone.card import Pan
from vault_zone.fingerprint import Fingerprint, neighbours_of
from vault_zone.models import velocity_counter

MERCHANT_PARTS = 16
_LABEL = "cordon-velocity-v1"


class Kind(StrEnum):
    """What is counted. A link has its own count, in its session (capture.MAXIMUM_TRIES)."""

    MERCHANT = "merchant"
    CHECKOUT = "checkout"  # each link takes one card; a declined card leads to another link for the same checkout
    NETWORK = "network"
    PLATFORM = "platform"  # in place of the network: every card of a platform comes from the platform's own
    BIN_LAST4 = "bin_last4"
    CARD = "card"


_PLACES = {kind: place for place, kind in enumerate(Kind)}
_SEEN_BEFORE_A_CARD = frozenset({Kind.MERCHANT, Kind.CHECKOUT, Kind.NETWORK})


class Limit(NamedTuple):
    """At most so many submissions in one window. Windows are fixed: any span of one window's length sees twice as many."""

    window_seconds: int
    maximum: int


Limits = Mapping[Kind, Limit]

DEFAULTS: Limits = {
    Kind.MERCHANT: Limit(60, 1_600),
    Kind.CHECKOUT: Limit(3_600, 20),
    Kind.NETWORK: Limit(3_600, 60),
    Kind.PLATFORM: Limit(60, 800),  # half the merchant's: one platform alone closes nobody's card page
    Kind.BIN_LAST4: Limit(86_400, 30),
    Kind.CARD: Limit(3 * 86_400, 40),
}


class VelocityExceeded(Exception):
    """A limit is reached. Nothing of the submission was acted on. The caller tells when to try again, and not what was hit."""

    def __init__(self, kind: Kind, count: int, again_ms: int) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.count = count
        self.again_ms = again_ms


class Counted(NamedTuple):
    """One thing that a submission counts for: its kind, its keyed subject, its limit."""

    kind: Kind
    subject: str
    limit: Limit


class _Row(NamedTuple):
    """A counter, of what and for how long. In the order of its fields counters are raised, so nobody waits in a circle."""

    place: int
    kind: Kind
    merchant: str
    subject: str
    window_ms: int
    expires_ms: int


class Tried(NamedTuple):
    """What one submission counts for at one merchant."""

    merchant: str
    counted: tuple[Counted, ...]

    def window_of(self, kind: Kind, now_ms: int) -> int:
        """When the current window of a kind began."""
        window_ms = next(each.limit.window_seconds for each in self.counted if each.kind is kind) * 1000
        return now_ms - now_ms % window_ms


def tried(
    key: bytes,
    limits: Limits,
    *,
    merchant: str,
    network: str | None = None,
    platform: str | None = None,
    checkout: str | None = None,
    pan: Pan | None = None,
    mark: Fingerprint | None = None,
) -> Tried:
    """What a submission counts for. ``key`` is the merchant's capture key, ``network`` as addresses.network_of() gives it.

    A shopper's has a network, an agent platform's has its platform.
    """
    values = {
        Kind.MERCHANT: str(secrets.randbelow(MERCHANT_PARTS)),  # (5)
        Kind.CHECKOUT: checkout,
        Kind.NETWORK: network,
        Kind.PLATFORM: platform,
        Kind.BIN_LAST4: neighbours_of(key, pan) if pan else None,
        Kind.CARD: f"{mark.key_id}.{mark.digest}" if mark else None,
    }
    shares = {Kind.MERCHANT: MERCHANT_PARTS}
    return Tried(
        merchant,
        tuple(
            Counted(
                kind,
                _subject(key, kind, value),
                Limit(limits[kind].window_seconds, limits[kind].maximum // shares.get(kind, 1)),
            )
            for kind, value in values.items()
            if value is not None
        ),
    )


def count(tx: Transaction, attempt: Tried) -> float:
    """Counts one submission (1); returns the pressure, this one included. Raises VelocityExceeded (2).

    Who raises it on rolls back, so counters stay at their maximum (7).
    """
    rows = _rows_of(attempt, tx.now_ms)
    counts = _raise_counters(tx, Counter(rows))
    if exceeded := _exceeded(attempt, rows, counts, tx.now_ms):
        raise exceeded
    return max(
        counts[row] / each.limit.maximum
        for row, each in zip(rows, attempt.counted, strict=True)
        if each.kind in _SEEN_BEFORE_A_CARD
    )


def count_all(tx: Transaction, attempts: Sequence[Tried]) -> list[VelocityExceeded | None]:
    """Counts a group in one transaction (1), in its order: for each None, or what it is over (2).

    As if each came alone: what is over a limit is taken out of the counters again, in this transaction (7).
    """
    rows = [_rows_of(attempt, tx.now_ms) for attempt in attempts]
    asked = Counter(row for own in rows for row in own)
    reached = _raise_counters(tx, asked)
    standing = {row: reached[row] - asked[row] for row in asked}
    answers: list[VelocityExceeded | None] = []
    for attempt, own in zip(attempts, rows, strict=True):
        counts = {row: standing[row] + 1 for row in own}
        exceeded = _exceeded(attempt, own, counts, tx.now_ms)
        if exceeded is None:
            standing |= counts
        answers.append(exceeded)
    for row in sorted(row for row in asked if standing[row] < reached[row]):
        _set_counter(tx, row, standing[row])
    return answers


def pressure(connection: Connection, attempt: Tried, now_ms: int) -> float:
    """How near the merchant, the network and the checkout are to their limits: 0 for not at all, 1 for there.

    For a read that shares no lock with who counts. Cards have no part in it: what it decides is seen before a card is typed.
    """
    looked_at = [each for each in attempt.counted if each.kind in _SEEN_BEFORE_A_CARD]
    rows = connection.execute(
        select(velocity_counter.c.kind, velocity_counter.c.count).where(
            velocity_counter.c.merchant == attempt.merchant,
            tuple_(velocity_counter.c.kind, velocity_counter.c.subject, velocity_counter.c.window_ms).in_(
                [(each.kind.value, each.subject, attempt.window_of(each.kind, now_ms)) for each in looked_at]
            ),
        )
    ).all()
    reached: dict[str, int] = dict(map(tuple, rows))
    return float(max(reached.get(each.kind.value, 0) / max(each.limit.maximum, 1) for each in looked_at))


def _exceeded(attempt: Tried, rows: Sequence[_Row], counts: Mapping[_Row, int], now_ms: int) -> VelocityExceeded | None:
    over = [each for row, each in zip(rows, attempt.counted, strict=True) if counts[row] > each.limit.maximum]
    if not over:
        return None
    last = max(over, key=lambda each: _ends_ms(each, now_ms))
    return VelocityExceeded(last.kind, last.limit.maximum, _ends_ms(last, now_ms))


def _rows_of(attempt: Tried, now_ms: int) -> list[_Row]:
    return [
        _Row(
            _PLACES[each.kind],
            each.kind,
            attempt.merchant,
            each.subject,
            attempt.window_of(each.kind, now_ms),
            _ends_ms(each, now_ms),
        )
        for each in attempt.counted
    ]


def _raise_counters(tx: Transaction, asked: Mapping[_Row, int]) -> dict[_Row, int]:
    if not asked:
        return {}
    values: dict[str, str | int] = {}
    for n, row in enumerate(sorted(asked)):  # always in one order, so that two submissions cannot wait for each other
        own: tuple[str | int, ...] = (
            row.merchant,
            row.kind.value,
            row.subject,
            row.window_ms,
            asked[row],
            row.expires_ms,
        )
        values |= {f"{name}_{n}": value for name, value in zip(_RAISED, own, strict=True)}
    reached = {tuple(found[:4]): found.reached for found in tx.execute(_raise_statement(len(asked)), values)}
    return {row: reached[row.merchant, row.kind.value, row.subject, row.window_ms] for row in asked}


_RAISED: Final = ("merchant", "kind", "subject", "window_ms", "count", "expires_ms")


@lru_cache(maxsize=512)
def _raise_statement(rows: int) -> TextClause:
    """One statement for so many counters, as both databases understand it, made once: an insert of many rows that is built
    anew each time costs more than all the rest of a submission's statements.
    """
    places = ", ".join(f"({', '.join(f':{name}_{n}' for name in _RAISED)})" for n in range(rows))
    statement = (
        f"INSERT INTO velocity_counter ({', '.join(_RAISED)}) VALUES {places} "  # nosec B608  # only names that are made here
        "ON CONFLICT (merchant, kind, subject, window_ms) "
        "DO UPDATE SET count = velocity_counter.count + excluded.count "
        "RETURNING merchant, kind, subject, window_ms, velocity_counter.count AS reached"
    )
    types = {name: velocity_counter.c[name].type for name in _RAISED}
    return text(statement).bindparams(
        *(bindparam(f"{name}_{n}", type_=types[name]) for name in _RAISED for n in range(rows))
    )


def _set_counter(tx: Transaction, row: _Row, value: int) -> None:
    columns = velocity_counter.c
    tx.connection.execute(  # not by tx.execute(): the counter is as it was, so there is nothing to record (I5)
        update(velocity_counter)
        .where(
            columns.merchant == row.merchant,
            columns.kind == row.kind.value,
            columns.subject == row.subject,
            columns.window_ms == row.window_ms,
        )
        .values(count=value)
    )


def _ends_ms(each: Counted, now_ms: int) -> int:
    window_ms = each.limit.window_seconds * 1000
    return now_ms - now_ms % window_ms + window_ms


def _subject(key: bytes, kind: Kind, value: str) -> str:
    parts: Sequence[bytes] = [part.encode() for part in (_LABEL, kind.value, value)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return letters_of(hmac.digest(key, message, "sha256")[:16])  # (3)
