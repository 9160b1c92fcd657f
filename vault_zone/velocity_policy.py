"""The operator's own limits for a merchant: a JSON file in the zone's data, read once at start.

    {"harbour-pine": {"network": {"window_seconds": 3600, "maximum": 20}}}

``*`` stands for every merchant that is not named. What is not named keeps its default (velocity.DEFAULTS).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_zone.settings import SettingsRefused
from vault_zone.velocity import DEFAULTS, MERCHANT_PARTS, Kind, Limit, Limits

FILE_NAME = "limits.json"
EVERY_MERCHANT = "*"
_LONGEST_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class VelocityPolicy:
    """Each merchant's limits."""

    of_merchants: Mapping[str, Limits] = field(default_factory=dict)

    def limits_of(self, merchant: str) -> Limits:
        """The merchant's limits, of every kind."""
        return self.of_merchants.get(merchant, self.of_merchants.get(EVERY_MERCHANT, DEFAULTS))

    @classmethod
    def read(cls, path: Path) -> "VelocityPolicy":
        """The file's limits; the defaults where there is no file. Raises SettingsRefused with every problem at once."""
        if not path.exists():
            return cls()
        problems: list[str] = []
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise SettingsRefused([f"{path} is not JSON"]) from None
        if not isinstance(written, dict):
            raise SettingsRefused([f"{path} must hold an object with a merchant's id as each name"])
        policy = cls({merchant: _limits(f"{path}: {merchant}", own, problems) for merchant, own in written.items()})
        if problems:
            raise SettingsRefused(problems)
        return policy


def _limits(where: str, own: Any, problems: list[str]) -> Limits:
    limits = dict(DEFAULTS)
    if not isinstance(own, dict):
        problems.append(f"{where}: must be an object of limits")
        return limits
    for name, written in own.items():
        limit = _limit(written)
        if name not in list(Kind):
            problems.append(f"{where}: {name} is not a limit; there are {', '.join(Kind)}")
        elif limit is None:
            problems.append(
                f"{where}: {name} needs window_seconds (1 to {_LONGEST_SECONDS}) and maximum (at least 1), whole numbers"
            )
        else:
            limits[Kind(name)] = limit
    card, shared = limits[Kind.CARD], limits[Kind.BIN_LAST4]
    if card.maximum <= shared.maximum or card.window_seconds < shared.window_seconds:
        # Else a guess that is the card of somebody who paid today would be refused sooner than one that is not.
        problems.append(f"{where}: card must allow more than bin_last4, in a window at least as long")
    if limits[Kind.MERCHANT].maximum < MERCHANT_PARTS:
        problems.append(f"{where}: merchant's maximum must be at least {MERCHANT_PARTS}")
    return limits


def _limit(written: Any) -> Limit | None:
    if not isinstance(written, dict) or set(written) != {"window_seconds", "maximum"}:
        return None
    window_seconds, maximum = written["window_seconds"], written["maximum"]
    if type(window_seconds) is not int or type(maximum) is not int:
        return None
    return Limit(window_seconds, maximum) if 1 <= window_seconds <= _LONGEST_SECONDS and maximum >= 1 else None
