"""The moves a charge may make. Whatever is not in this table does not happen."""

from collections.abc import Mapping

from tokenization.wire import ChargeState as S

MOVES: Mapping[S, frozenset[S]] = {
    S.PENDING: frozenset({S.SUCCEEDED, S.DECLINED, S.FAILED, S.UNKNOWN, S.ACTION_REQUIRED}),
    S.UNKNOWN: frozenset({S.SUCCEEDED, S.DECLINED, S.FAILED, S.ACTION_REQUIRED}),
    S.ACTION_REQUIRED: frozenset({S.SUCCEEDED, S.DECLINED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.DECLINED: frozenset(),
    S.FAILED: frozenset(),
}


def move(source: S, target: S) -> bool:
    """Whether a charge may go from one state to the other. The database checks the old state again when it writes."""
    return target in MOVES[source]
