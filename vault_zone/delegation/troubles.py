"""Why a handover of a well-formed request came to nothing: a closed set, for which each protocol has its own words."""

from enum import Enum, auto

from sqlalchemy.exc import SQLAlchemyError

from audit.transaction import DatabaseBusy
from vault_zone.delegation.platform_limits import TooManyTries
from vault_zone.hazmat.provider import KeyDestroyed, KeyUnavailable
from vault_zone.idempotency import InFlight, KeyConflict
from vault_zone.platforms import PlatformUnknown


class Trouble(Enum):
    """What the caller can do about it is the protocol's to say."""

    UNKNOWN_PLATFORM = auto()
    IN_FLIGHT = auto()
    KEY_CONFLICT = auto()
    TAKES_NO_CARDS = auto()  # the merchant's keys are destroyed
    TOO_MANY_TRIES = auto()
    UNAVAILABLE = auto()  # nothing was done, and the same request may be sent again
    OURS = auto()


_TROUBLES: tuple[tuple[tuple[type[Exception], ...], Trouble], ...] = (
    ((PlatformUnknown,), Trouble.UNKNOWN_PLATFORM),
    ((InFlight,), Trouble.IN_FLIGHT),
    ((KeyConflict,), Trouble.KEY_CONFLICT),
    ((KeyDestroyed,), Trouble.TAKES_NO_CARDS),
    ((TooManyTries,), Trouble.TOO_MANY_TRIES),
    ((KeyUnavailable, DatabaseBusy, SQLAlchemyError, OSError), Trouble.UNAVAILABLE),
)


def trouble_of(failure: Exception) -> Trouble:
    """Which trouble a failure is."""
    return next((trouble for kinds, trouble in _TROUBLES if isinstance(failure, kinds)), Trouble.OURS)
