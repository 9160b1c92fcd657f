"""What a decision earned: outcomes come late, more than once, and are taken back.

What holds for a reward:
 1. A decision that nobody was shown has none. It is left out, never a failure.
 2. An outcome counts once, however often it was sent: of those with one key the one recorded last counts.
 3. An outcome counts within its type's window after the offer was shown; a reversal within its window after the purchase.
 4. A purchase counts whether it was made with what was offered or without it; without it nothing was taken off.
 5. A purchase that came back (refund, return, chargeback) is worth less than none; one of which all was restored (a refund that
    failed, a dispute that was won) is worth what it was, however late that is known.
 6. A decision whose windows are still open is left out, whatever has happened so far; or, where the delays are known, what it
    earned is divided by the probability that it would have been seen by now (inverse probability of censoring).
 7. What became of another order on the same decision takes nothing from the purchase that counts.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
_WITH: Final = "purchased"
_PURCHASES: Final = frozenset({_WITH, "purchased_without"})
_REVERSALS: Final = frozenset({"refunded", "returned", "chargeback"})
_RESTORED: Final = {"refund_returned": "refunded", "dispute_won": "chargeback"}


class Measure(StrEnum):
    """The unit of a reward: 1 for a purchase, or the margin of the chosen candidate in minor units."""

    CONVERSION = "conversion"
    MARGIN = "margin"


class Unknown(StrEnum):
    """Why a decision has no reward."""

    NOT_PRESENTED = "not_presented"
    IMMATURE = "immature"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long after it was shown an offer was taken, sorted, in milliseconds, from decisions whose windows are closed."""

    delays_ms: tuple[int, ...]

    @classmethod
    def of(cls, delays_ms: Iterable[int]) -> "Delays":
        """From delays in any order."""
        return cls(tuple(sorted(delays_ms)))

    def seen_by(self, age_ms: int) -> float:
        """The share of purchases that would have been seen at this age."""
        return bisect.bisect_right(self.delays_ms, age_ms) / max(len(self.delays_ms), 1)


@dataclass(frozen=True, slots=True)
class RewardRule:
    """What is counted, and for how long.

    ``reversal`` is what a purchase that came back earns, as a share of what it had earned. ``least_seen``: with ``delays``, a
    decision counts from the age at which so large a share of purchases would have been seen.
    """

    measure: Measure = Measure.CONVERSION
    purchase_window_ms: int = 7 * DAY_MS
    reversal_window_ms: int = 30 * DAY_MS
    reversal: float = -0.25
    delays: Delays | None = None
    least_seen: float = 0.2

    def reward(self, record: Mapping[str, Any], now_ms: int) -> float | Unknown:
        """The reward of a decision's record (docs/offers-judging.md), as known at ``now_ms``."""
        shown_ms = record.get("presented_ms")
        if shown_ms is None or shown_ms > now_ms:
            return Unknown.NOT_PRESENTED  # (1)
        seen = self._seen(now_ms - shown_ms)
        if seen < self.least_seen:
            return Unknown.IMMATURE  # (6)
        return self._earned(record, shown_ms, now_ms) / seen

    def so_far(self, record: Mapping[str, Any], now_ms: int) -> float:
        """What a decision of any age earned by ``now_ms``; 0.0 where nobody was shown it.

        No reward to learn from: young decisions earned less by then. Two sides that decided over the same time are as young.
        """
        shown_ms = record.get("presented_ms")
        return 0.0 if shown_ms is None or shown_ms > now_ms else self._earned(record, shown_ms, now_ms)

    def _earned(self, record: Mapping[str, Any], shown_ms: int, now_ms: int) -> float:
        outcomes = latest(record.get("outcomes", ()), now_ms)
        purchase = self.purchase(shown_ms, outcomes)
        if purchase is None:
            return 0.0
        outcomes = _without_other_orders(outcomes, purchase)
        worth = self._worth(record, with_it=purchase["type"] == _WITH)
        return self.reversal * abs(worth) if self._came_back(purchase, outcomes) else worth  # (5)

    def _came_back(self, purchase: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]]) -> bool:
        """Whether anything of a purchase is still gone, by the last word on each way in which it can go."""
        gone: set[str] = set()
        for outcome in sorted(outcomes, key=lambda each: int(each["at_ms"])):
            kind, after_ms = outcome["type"], outcome["at_ms"] - purchase["at_ms"]
            if kind in _REVERSALS and 0 <= after_ms <= self.reversal_window_ms:  # (3)
                gone.add(kind)
            elif kind in _RESTORED and outcome["value_minor"] == 0:
                gone.discard(_RESTORED[kind])
        return bool(gone)

    def purchase(self, shown_ms: int, outcomes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The first purchase within its window, or None."""
        purchases = [each for each in outcomes if each["type"] in _PURCHASES]  # (4)
        within = [each for each in purchases if 0 <= each["at_ms"] - shown_ms <= self.purchase_window_ms]  # (3)
        return min(within, key=lambda each: int(each["at_ms"]), default=None)

    def _seen(self, age_ms: int) -> float:
        """The share of purchases that a decision of this age would show.

        It goes by age alone, never by what happened: else young decisions would be known only where they succeeded.
        """
        if self.delays is None:
            return 1.0 if age_ms >= self.purchase_window_ms + self.reversal_window_ms else 0.0
        return 1.0 if age_ms >= self.purchase_window_ms else self.delays.seen_by(age_ms)

    def _worth(self, record: Mapping[str, Any], *, with_it: bool) -> float:
        if self.measure is Measure.CONVERSION:
            return 1.0
        [chosen] = [each for each in record["candidates"] if each["offer"] == record["chosen"]]
        if chosen["version"]:
            taken_minor = 0 if with_it else chosen["discount_minor"]
            return int(chosen["margin_minor"] + taken_minor) + 0.0  # a mean of rewards is no amount of money
        # No offer has no terms, and so no margin of its own: nothing was taken off what the offers would have left.
        whole = (each["margin_minor"] + each["discount_minor"] for each in record["candidates"] if each["version"])
        return max(whole, default=0) + 0.0


def _without_other_orders(
    outcomes: Sequence[Mapping[str, Any]], purchase: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """(7) A purchase has its order for a key, and what went back of it names it: ``money:ORDER:000001:refunded``."""
    others = {each["key"] for each in outcomes if each["type"] in _PURCHASES} - {purchase["key"]}
    return [each for each in outcomes if others.isdisjoint(str(each["key"]).split(":"))]


def latest(outcomes: Iterable[Mapping[str, Any]], now_ms: int) -> list[Mapping[str, Any]]:
    """Of the outcomes recorded by now, one for each key: the one recorded last."""
    by_key: dict[str, Mapping[str, Any]] = {}
    for outcome in sorted(outcomes, key=lambda each: int(each["recorded_ms"])):
        if outcome["recorded_ms"] <= now_ms:
            by_key[outcome["key"]] = outcome  # (2)
    return list(by_key.values())
