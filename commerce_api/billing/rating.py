"""What an outcome comes to: arithmetic alone, from its terms, its value and what was reversed of it.

What holds:
 1. A share is rounded half up to the minor unit, once, over what is left of the outcome; then the bounds apply.
 2. What an outcome's lines come to is what is left of it costs, at every moment: they add up to the minor unit, and to nothing
    once all of it is reversed.
 3. The amounts depend on what was reported and when it happened, not on the order in which reports came.
 4. What is reversed after ``reversal_days`` stays billed. What comes back is billed again whenever it comes, up to what was
    taken off: an outcome that lasted after all costs what it cost at first.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from commerce_api.billing.contract import Term

CHARGE: Final = "charge"
DAY_MS: Final = 86_400_000


class Reversal(NamedTuple):
    """Part of an outcome that did not last, or, below zero, lasted after all. ``amount_minor`` None: all of it."""

    key: str
    amount_minor: int | None
    at_ms: int


class Due(NamedTuple):
    """What a source (the outcome itself, or one of its reversals) adds to the bill."""

    source: str
    amount_minor: int
    at_ms: int


def fee_minor(term: Term, left_minor: int, value_minor: int) -> int:
    """What is left of an outcome costs (1). Nothing once nothing is left of one that had a value."""
    if value_minor > 0 and left_minor <= 0:
        return 0
    if term.fee_minor is not None:
        return term.fee_minor
    rate = term.rate_basis_points or 0
    share_minor = max(term.minimum_minor, (left_minor * rate + 5_000) // 10_000)
    return share_minor if term.maximum_minor is None else min(share_minor, term.maximum_minor)


def dues(term: Term, value_minor: int, at_ms: int, reversals: Sequence[Reversal]) -> list[Due]:
    """What each source comes to (2), in the order in which things happened (3)."""
    total = fee_minor(term, value_minor, value_minor)
    found = [Due(CHARGE, total, at_ms)]
    gone_minor = 0
    whole = False
    for reversal in sorted(reversals, key=lambda one: (one.at_ms, one.key)):
        if reversal.amount_minor is not None and reversal.amount_minor < 0:
            gone_minor -= min(-reversal.amount_minor, gone_minor)  # (4)
        elif reversal.at_ms <= at_ms + term.reversal_days * DAY_MS:
            whole = whole or reversal.amount_minor is None
            gone_minor += reversal.amount_minor or 0
        left_minor = max(0, value_minor - gone_minor)
        now = 0 if whole else fee_minor(term, left_minor, value_minor)
        found.append(Due(reversal.key, now - total, reversal.at_ms))
        total = now
    return found
