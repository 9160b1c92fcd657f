"""A model's stage as one look sees it: as a whole, and its last days by themselves where it has no end (looks.py)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from offer_engine.judging.guards import Comparison
from offer_engine.judging.looks import Look, newest_look
from offer_engine.judging.promotion import Measured, Stage
from offer_engine.learning.log import LogInvalid
from offer_engine.learning.registry import Change

_DAY_MS: Final = 86_400_000


def look_of(stage: Change, now_ms: int) -> Look | None:
    """The last look at a stage of a history that is due, or None before the first."""
    return newest_look(stage.at_ms, now_ms, lasts=has_no_end(stage))


def has_no_end(stage: Change) -> bool:
    """Whether nothing comes after a stage but to be taken back."""
    return Stage(stage.stage) is Stage.FULL


class Watch:
    """The comparisons of one look at a stage that began at ``began_ms``. ``groupings`` names some of guards.GROUPINGS."""

    def __init__(self, model: str, began_ms: int, look: Look, groupings: Sequence[str] = ()) -> None:
        self.whole = Comparison(model, look.sees_from(began_ms), look, groupings)
        self.lately = {
            days: Comparison(model, look.at_ms - days * _DAY_MS, look, groupings) for days in look.lately_days
        }

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes in a decision as it is exported, wherever it counts."""
        for comparison in (self.whole, *self.lately.values()):
            comparison.add(record)

    def add_lines(self, lines: Iterable[str | bytes]) -> None:
        """Takes in an exported log. Raises LogInvalid."""
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    self.add(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise LogInvalid(f"line {number} is no decision record") from None

    def measured(self) -> Measured:
        """What the look shows."""
        lately = {days: comparison.measured().guards for days, comparison in self.lately.items()}
        return replace(self.whole.measured(), lately=lately)
