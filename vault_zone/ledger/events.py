"""What moves money, as the ledger is told it. Each is a fact that the processor stated, in one currency, above zero.

``source`` makes a fact idempotent within its merchant and kind: the charge's id for its authorization, the modification's id
for a capture, release, refund or its return, the processor's id of its balance transaction for what a settlement report tells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from audit.transaction import Transaction
from tokenization.money import Money, MoneyInvalid
from vault_zone.ledger.accounts import EntryKind


@dataclass(frozen=True, slots=True)
class _Fact:
    """``charge`` is None only for what belongs to no charge: payouts, and fees of the account. Raises MoneyInvalid."""

    kind: ClassVar[EntryKind]

    merchant: str
    charge: str | None
    source: str
    amount: Money
    processor: str

    def __post_init__(self) -> None:
        if self.amount.amount_minor <= 0:
            raise MoneyInvalid("amount_not_positive")


class Authorized(_Fact):
    """Money is held at the shopper's bank; nothing of it is ours yet."""

    __slots__ = ()
    kind = EntryKind.AUTHORIZED


class AuthorizationReleased(_Fact):
    """Held money was let go: a void, an expiry, or what a final capture left over."""

    __slots__ = ()
    kind = EntryKind.RELEASED


class Captured(_Fact):
    """Money was taken. Of what is held for the charge as much ends with it; a charge captured at once held nothing."""

    __slots__ = ()
    kind = EntryKind.CAPTURED


class Refunded(_Fact):
    """Money went back to the shopper."""

    __slots__ = ()
    kind = EntryKind.REFUNDED


class RefundReturned(_Fact):
    """A refund came back: the shopper's bank did not take it, and the processor holds the money again."""

    __slots__ = ()
    kind = EntryKind.REFUND_RETURNED


class FeeCharged(_Fact):
    """The processor kept something for its services."""

    __slots__ = ()
    kind = EntryKind.FEE_CHARGED


class FeeReturned(_Fact):
    """The processor gave a fee back."""

    __slots__ = ()
    kind = EntryKind.FEE_RETURNED


class DisputeOpened(_Fact):
    """The processor took disputed money back until the dispute is decided."""

    __slots__ = ()
    kind = EntryKind.DISPUTE_OPENED


class DisputeWon(_Fact):
    """Disputed money came back."""

    __slots__ = ()
    kind = EntryKind.DISPUTE_WON


class DisputeLost(_Fact):
    """Disputed money is gone."""

    __slots__ = ()
    kind = EntryKind.DISPUTE_LOST


class PaidOut(_Fact):
    """The processor sent money to the merchant's bank."""

    __slots__ = ()
    kind = EntryKind.PAID_OUT


class PayoutReturned(_Fact):
    """The bank sent a payout back to the processor."""

    __slots__ = ()
    kind = EntryKind.PAYOUT_RETURNED


class UnexplainedGain(_Fact):
    """The processor holds more for the merchant than the books can explain."""

    __slots__ = ()
    kind = EntryKind.UNEXPLAINED_GAIN


class UnexplainedLoss(_Fact):
    """The processor holds less for the merchant than the books can explain."""

    __slots__ = ()
    kind = EntryKind.UNEXPLAINED_LOSS


BooksEvent = (
    Authorized
    | AuthorizationReleased
    | Captured
    | Refunded
    | RefundReturned
    | FeeCharged
    | FeeReturned
    | DisputeOpened
    | DisputeWon
    | DisputeLost
    | PaidOut
    | PayoutReturned
    | UnexplainedGain
    | UnexplainedLoss
)
Books = Callable[[Transaction, BooksEvent], None]  # ledger.posting.post, for who moves a charge


def unbooked(tx: Transaction, event: BooksEvent) -> None:
    """Keeps no books."""
