"""How long things take at the sandbox, in seconds; what makes times and ids is given to it."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], int]  # milliseconds since the epoch
IdMaker = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Timing:
    """The two kinds of tardy card, a refund that waits for the bank, an authorization's life, and the time for evidence."""

    timeout_hold_seconds: float = 30.0
    slow_seconds: float = 2.0
    refund_seconds: float = 2.0
    authorization_seconds: float = 604_800.0  # seven days, as Stripe documents for online card payments
    evidence_seconds: float = 604_800.0
