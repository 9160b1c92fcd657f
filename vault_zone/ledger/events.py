"""What the books are told: one event for each movement of money, in the transaction that writes the movement down.

``source`` is the id of what caused it (a charge, a modification): with the kind of the event it makes the posting idempotent.
"""

from collections.abc import Callable
from dataclasses import dataclass

from audit.transaction import Transaction
from tokenization.money import Money


@dataclass(frozen=True, slots=True)
class _Movement:
    merchant: str
    charge: str
    source: str
    amount: Money
    processor: str


class Authorized(_Movement):
    """Money is held for a charge."""


class AuthorizationReleased(_Movement):
    """What was held is let go, or ran out, without being taken."""


class Captured(_Movement):
    """Money that was held is taken."""


class Refunded(_Movement):
    """Money that was taken is given back."""


BooksEvent = Authorized | AuthorizationReleased | Captured | Refunded
Books = Callable[[Transaction, BooksEvent], None]


def unbooked(tx: Transaction, event: BooksEvent) -> None:
    """Keeps no books."""
