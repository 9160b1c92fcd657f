"""The moves a checkout may make, whatever tongue asks for them (decision 6). What is not in the table does not happen."""

from collections.abc import Mapping
from enum import StrEnum


class CheckoutState(StrEnum):
    """Where a checkout stands. In brackets, what UCP calls it."""

    DRAFT = "draft"  # something is missing (incomplete)
    READY = "ready"  # may be paid (ready_for_complete)
    ESCALATED = "escalated"  # handed to the shopper to pay (requires_escalation)
    PROCESSING = "processing"  # the zone is charging, or may have charged (complete_in_progress)
    AUTHENTICATION = "authentication"  # the shopper must authenticate the charge (complete_in_progress)
    COMPLETED = "completed"  # paid; there is an order
    CANCELED = "canceled"
    EXPIRED = "expired"


S = CheckoutState
MOVES: Mapping[S, frozenset[S]] = {
    S.DRAFT: frozenset({S.READY, S.ESCALATED, S.CANCELED, S.EXPIRED}),  # escalated: what was missing is there again
    S.READY: frozenset({S.DRAFT, S.ESCALATED, S.CANCELED, S.EXPIRED}),
    S.ESCALATED: frozenset({S.DRAFT, S.READY, S.PROCESSING, S.CANCELED, S.EXPIRED}),
    S.PROCESSING: frozenset({S.ESCALATED, S.AUTHENTICATION, S.COMPLETED}),
    S.AUTHENTICATION: frozenset({S.ESCALATED, S.PROCESSING, S.COMPLETED}),
    S.COMPLETED: frozenset(),
    S.CANCELED: frozenset(),
    S.EXPIRED: frozenset(),
}
# While money may be moving nothing else may change.
IN_PAYMENT = frozenset({S.PROCESSING, S.AUTHENTICATION})
FINISHED = frozenset({S.COMPLETED, S.CANCELED, S.EXPIRED})
CHANGEABLE = frozenset({S.DRAFT, S.READY, S.ESCALATED})


def may_move(source: CheckoutState, target: CheckoutState) -> bool:
    """Whether a checkout may go from one state to the other. The database checks the old state again when it writes."""
    return target in MOVES[source]
