"""The chart of accounts, and between which two of them each kind of entry moves its amount.

Every account exists once for each merchant, processor and currency. Debits are positive: what the merchant owns or has spent;
credits negative: what was earned, and the other side of a memorandum.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Account(StrEnum):
    """What an account is for."""

    HELD = "held"  # memorandum: authorizations that may yet be captured
    HELD_AGAINST = "held_against"  # … and its other side
    RECEIVABLE = "receivable"  # what the processor holds for the merchant; below zero when the merchant owes it
    SALES = "sales"
    REFUNDS = "refunds"
    FEES = "fees"
    DISPUTED = "disputed"  # reserve: taken back by the processor until a dispute is decided
    CHARGEBACKS = "chargebacks"  # disputes that were lost
    PAYOUTS = "payouts"  # sent to the merchant's bank; whether it arrived is the bank's statement to tell
    SUSPENSE = "suspense"  # what the processor reported and the books cannot explain


class EntryKind(StrEnum):
    """What an entry records. ``reversed`` undoes another one."""

    AUTHORIZED = "authorized"
    RELEASED = "released"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    REFUND_RETURNED = "refund_returned"
    FEE_CHARGED = "fee_charged"
    FEE_RETURNED = "fee_returned"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    PAID_OUT = "paid_out"
    PAYOUT_RETURNED = "payout_returned"
    UNEXPLAINED_GAIN = "unexplained_gain"
    UNEXPLAINED_LOSS = "unexplained_loss"
    REVERSED = "reversed"


class Move(NamedTuple):
    """An amount goes to the debit of one account and to the credit of another."""

    debit: Account
    credit: Account


MOVES: Final[Mapping[EntryKind, Move]] = {
    EntryKind.AUTHORIZED: Move(Account.HELD, Account.HELD_AGAINST),
    EntryKind.RELEASED: Move(Account.HELD_AGAINST, Account.HELD),
    EntryKind.CAPTURED: Move(Account.RECEIVABLE, Account.SALES),
    EntryKind.REFUNDED: Move(Account.REFUNDS, Account.RECEIVABLE),
    EntryKind.REFUND_RETURNED: Move(Account.RECEIVABLE, Account.REFUNDS),
    EntryKind.FEE_CHARGED: Move(Account.FEES, Account.RECEIVABLE),
    EntryKind.FEE_RETURNED: Move(Account.RECEIVABLE, Account.FEES),
    EntryKind.DISPUTE_OPENED: Move(Account.DISPUTED, Account.RECEIVABLE),
    EntryKind.DISPUTE_WON: Move(Account.RECEIVABLE, Account.DISPUTED),
    EntryKind.DISPUTE_LOST: Move(Account.CHARGEBACKS, Account.DISPUTED),
    EntryKind.PAID_OUT: Move(Account.PAYOUTS, Account.RECEIVABLE),
    EntryKind.PAYOUT_RETURNED: Move(Account.RECEIVABLE, Account.PAYOUTS),
    EntryKind.UNEXPLAINED_GAIN: Move(Account.RECEIVABLE, Account.SUSPENSE),
    EntryKind.UNEXPLAINED_LOSS: Move(Account.SUSPENSE, Account.RECEIVABLE),
}
RELEASE: Final = MOVES[EntryKind.RELEASED]

# Accounts that never fall below zero, by the database's own check: nobody lets go of, or decides, more than there was.
NEVER_BELOW_ZERO: Final = frozenset({Account.HELD, Account.DISPUTED})

# What of one charge is held, kept, refunded and disputed, as sums of its postings: account, and the sign it counts with.
OF_CHARGE: Final[Mapping[str, Mapping[Account, int]]] = {
    "held_minor": {Account.HELD: 1},
    "kept_minor": {Account.SALES: -1, Account.REFUNDS: -1},
    "refunded_minor": {Account.REFUNDS: 1},
    "disputed_minor": {Account.DISPUTED: 1},
}
# What the processor's balance shows of a fact that the books refuse; a kind that is not here moves nothing there.
CASH_EFFECT: Final[Mapping[EntryKind, EntryKind]] = {
    EntryKind.REFUNDED: EntryKind.UNEXPLAINED_LOSS,
    EntryKind.REFUND_RETURNED: EntryKind.UNEXPLAINED_GAIN,
    EntryKind.DISPUTE_WON: EntryKind.UNEXPLAINED_GAIN,
}
