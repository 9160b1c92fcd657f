"""How often a card, a network, a checkout and a merchant may be tried: counters in the database, keyed, in windows.

Whoever may submit numbers without end can find one out, or find out which of a stolen list are good. What must hold:
 1. A submission is counted in the transaction that acts on it, whatever is wrong with it, before anything depends on it.
 2. What is over a limit is not acted on. Its answer is one and the same for every limit and every card.
 3. A counter's subject is an HMAC under the merchant's capture key: a row names no address and no digit.
 4. No limit tells one guess from another: the card's own limit is never reached before that of its first six and last four
    digits, which every guess of a recovery attack shares.
 5. No row is written by every submission of a merchant: its counter is split, and each part has its share of the maximum.
 6. A row ends with its window and is swept.
"""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from audit.transaction import Transaction
from tokenization.ids import letters_of
from vault_zone.card import Pan
from vault_zone.fingerprint import Fingerprint, neighbours_of
from vault_zone.models import velocity_counter

MERCHANT_PARTS = 16
SWEEP_LIMIT = 500  # rows in one transaction; the next pass takes the rest
_LABEL = "cordon-velocity-v1"


class Kind(StrEnum):
    """What is counted. A link has its own count, in its session (capture.MAXIMUM_TRIES)."""

    MERCHANT = "merchant"
    CHECKOUT = "checkout"  # each link takes one card; a declined card leads to another link for the same checkout
    NETWORK = "network"
    BIN_LAST4 = "bin_last4"
    CARD = "card"


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
    network: str,
    checkout: str,
    pan: Pan | None = None,
    mark: Fingerprint | None = None,
) -> Tried:
    """What a submission counts for. ``key`` is the merchant's capture key, ``network`` as addresses.network_of() gives it."""
    values = {
        Kind.MERCHANT: str(secrets.randbelow(MERCHANT_PARTS)),  # (5)
        Kind.CHECKOUT: checkout,
        Kind.NETWORK: network,
    }
    if pan is not None:
        values[Kind.BIN_LAST4] = neighbours_of(key, pan)
    if mark is not None:
        values[Kind.CARD] = f"{mark.key_id}.{mark.digest}"
    shares = {Kind.MERCHANT: MERCHANT_PARTS}
    return Tried(
        merchant,
        tuple(
            Counted(
                kind,
                _subject(key, kind, value),
                Limit(limits[kind].window_seconds, max(1, limits[kind].maximum // shares.get(kind, 1))),
            )
            for kind, value in values.items()
        ),
    )


def count(tx: Transaction, attempt: Tried) -> float:
    """Counts one submission (1); returns the pressure, this one included. Raises VelocityExceeded (2).

    Who raises it on rolls back, so counters stay at their maximum.
    """
    counts = _raise_counters(tx, attempt)
    over = [each for each in attempt.counted if counts[each.kind] > each.limit.maximum]
    if over:
        last = max(over, key=lambda each: _ends_ms(each, tx.now_ms))
        raise VelocityExceeded(last.kind, last.limit.maximum, _ends_ms(last, tx.now_ms))
    return max(counts[each.kind] / each.limit.maximum for each in attempt.counted if each.kind in _SEEN_BEFORE_A_CARD)


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
    maximum = {each.kind.value: each.limit.maximum for each in looked_at}
    return max((reached / maximum[kind] for kind, reached in rows), default=0.0)


def sweep_counters(tx: Transaction) -> int:
    """Deletes counters whose window is over (6); returns how many."""
    due = (
        select(
            velocity_counter.c.merchant,
            velocity_counter.c.kind,
            velocity_counter.c.subject,
            velocity_counter.c.window_ms,
        )
        .where(velocity_counter.c.expires_ms <= tx.now_ms)
        .limit(SWEEP_LIMIT)
    )
    rows = tx.execute(due).all()
    if rows:
        key = tuple_(*velocity_counter.primary_key.columns)
        tx.execute(delete(velocity_counter).where(key.in_([tuple(row) for row in rows])))
    return len(rows)


def _raise_counters(tx: Transaction, attempt: Tried) -> dict[Kind, int]:
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(velocity_counter).values(
        [
            {
                "merchant": attempt.merchant,
                "kind": each.kind.value,
                "subject": each.subject,
                "window_ms": attempt.window_of(each.kind, tx.now_ms),
                "count": 1,
                "expires_ms": _ends_ms(each, tx.now_ms),
            }
            for each in attempt.counted  # always in one order, so that two submissions cannot wait for each other
        ]
    )
    raised = statement.on_conflict_do_update(
        index_elements=[column.name for column in velocity_counter.primary_key.columns],
        set_={"count": velocity_counter.c.count + 1},
    ).returning(velocity_counter.c.kind, velocity_counter.c.count.label("reached"))
    return {Kind(row.kind): row.reached for row in tx.execute(raised).all()}


def _ends_ms(each: Counted, now_ms: int) -> int:
    window_ms = each.limit.window_seconds * 1000
    return now_ms - now_ms % window_ms + window_ms


def _subject(key: bytes, kind: Kind, value: str) -> str:
    parts: Sequence[bytes] = [part.encode() for part in (_LABEL, kind.value, value)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return letters_of(hmac.digest(key, message, "sha256")[:16])  # (3)
