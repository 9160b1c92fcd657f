"""The moves a charge and its modifications may make. Whatever is not in these tables does not happen.

The database checks the old state again when a move is written. Amounts have bounds of their own, as constraints of the
charge's row: captured or being captured within what was authorized, refunded or being refunded within what was captured.
"""

from collections.abc import Mapping

from tokenization.wire import ChargeState as S
from tokenization.wire import DisputeState as D
from tokenization.wire import ModificationState as M

_ANSWERED = frozenset({S.SUCCEEDED, S.AUTHORIZED, S.DECLINED, S.FAILED})

MOVES: Mapping[S, frozenset[S]] = {
    S.PENDING: _ANSWERED | {S.UNKNOWN, S.ACTION_REQUIRED},
    S.UNKNOWN: _ANSWERED | {S.ACTION_REQUIRED, S.VOIDED, S.EXPIRED},
    S.ACTION_REQUIRED: _ANSWERED | {S.VOIDED, S.EXPIRED},
    S.AUTHORIZED: frozenset({S.SUCCEEDED, S.VOIDED, S.EXPIRED}),
    S.SUCCEEDED: frozenset(),
    S.DECLINED: frozenset(),
    S.FAILED: frozenset(),
    S.VOIDED: frozenset(),
    S.EXPIRED: frozenset(),
}

# What two operators may decide of a charge that counts as ended and whose money came late (attention.py), and nobody else.
BY_HAND: Mapping[S, frozenset[S]] = dict.fromkeys(
    (S.DECLINED, S.FAILED, S.VOIDED, S.EXPIRED), frozenset({S.SUCCEEDED, S.AUTHORIZED})
)

MODIFICATION_MOVES: Mapping[M, frozenset[M]] = {
    M.PENDING: frozenset({M.SUCCEEDED, M.DECLINED, M.FAILED, M.UNKNOWN, M.ACCEPTED}),
    M.UNKNOWN: frozenset({M.SUCCEEDED, M.DECLINED, M.FAILED, M.ACCEPTED}),
    M.ACCEPTED: frozenset({M.SUCCEEDED, M.DECLINED}),
    M.SUCCEEDED: frozenset({M.RETURNED}),  # of a refund alone (settling.py, 8)
    M.DECLINED: frozenset(),
    M.FAILED: frozenset(),
    M.RETURNED: frozenset(),
}

DISPUTE_MOVES: Mapping[D, frozenset[D]] = {
    D.NEEDS_RESPONSE: frozenset({D.UNDER_REVIEW, D.WON, D.LOST}),
    D.UNDER_REVIEW: frozenset({D.WON, D.LOST}),
    D.WON: frozenset(),
    D.LOST: frozenset(),
}


def move(source: S, target: S) -> bool:
    """Whether a charge may go from one state to the other. The database checks the old state again when it writes."""
    return target in MOVES[source]


def by_hand(source: S, target: S) -> bool:
    """Whether two operators may decide this move."""
    return target in BY_HAND.get(source, frozenset())


def modification_move(source: M, target: M) -> bool:
    """As move(), for a capture, void or refund."""
    return target in MODIFICATION_MOVES[source]


def dispute_move(source: D, target: D) -> bool:
    """As move(), for a dispute."""
    return target in DISPUTE_MOVES[source]
