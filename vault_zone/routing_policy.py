"""The operator's rules for which processor a charge goes to: routing.json in the zone's data, read once at start.

    {"rules": [{"name": "european_cards", "when": {"currencies": ["EUR"], "bins": [{"from": "40000000", "to": "49999999"}]},
                "processors": ["adyen", "stripe"]}],
     "default": ["stripe"],
     "legs_maximum": 2,
     "patience": {"abandon_seconds": 1800, "unknown_seconds": 3600, "accepted_seconds": 604800}}

The first rule of which every condition holds decides; what is not named in ``when`` does not matter. Without a file the first
processor of the zone gets everything.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_zone.settings import SettingsRefused

FILE_NAME = "routing.json"
LEGS_LIMIT = 5
_NAME = re.compile(r"[a-z][a-z_]{0,39}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_BRAND = re.compile(r"[a-z]{2,20}")
_MERCHANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BIN = re.compile(r"[0-9]{6,8}")
_LISTS = {"brands": _BRAND, "currencies": _CURRENCY, "merchants": _MERCHANT}


@dataclass(frozen=True, slots=True)
class Question:
    """What a charge is routed by. ``bin8``: the first eight digits of the number."""

    merchant: str
    brand: str
    bin8: str = field(repr=False)
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its conditions; None is no condition."""

    name: str
    processors: tuple[str, ...]
    brands: frozenset[str] | None = None
    currencies: frozenset[str] | None = None
    merchants: frozenset[str] | None = None
    bins: tuple[tuple[str, str], ...] | None = None
    amount_from_minor: int = 0
    amount_to_minor: int | None = None

    def holds(self, asked: Question) -> bool:
        """Whether every condition holds."""
        return (
            (self.brands is None or asked.brand in self.brands)
            and (self.currencies is None or asked.currency in self.currencies)
            and (self.merchants is None or asked.merchant in self.merchants)
            and (self.bins is None or any(_in_range(asked.bin8, *bounds) for bounds in self.bins))
            and asked.amount_minor >= self.amount_from_minor
            and (self.amount_to_minor is None or asked.amount_minor <= self.amount_to_minor)
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """After how many seconds a shopper who does not come back from the bank has abandoned the charge, and after how many a
    person is told of what still has no end.
    """

    abandon_seconds: int = 1800
    unknown_seconds: int = 3600
    accepted_seconds: int = 7 * 86_400


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The rules in their order, what holds where none does, and how many processors one charge may be sent to."""

    default: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    legs_maximum: int = 2
    patience: Patience = field(default_factory=Patience)

    def decide(self, asked: Question) -> tuple[tuple[str, ...], str | None]:
        """The processors in the order in which they are to be asked, and the name of the rule that says so."""
        for rule in self.rules:
            if rule.holds(asked):
                return rule.processors, rule.name
        return self.default, None

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> "RoutingPolicy":
        """The file's policy over the processors of these names. Raises SettingsRefused with every problem at once."""
        if not path.exists():
            return cls(default=(names[0],))
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise SettingsRefused([f"{path} is not JSON"]) from None
        reading = _Reading(str(path), names)
        policy = reading.policy(written)
        if policy is None or reading.problems:
            raise SettingsRefused(reading.problems)
        return policy


def _in_range(bin8: str, lowest: str, highest: str) -> bool:
    """Whether the number begins within a range; bounds of six digits cover all that begin with them."""
    return lowest <= bin8[: len(lowest)] and bin8[: len(highest)] <= highest


class _Reading:
    """Reads the file and gathers what is wrong with it."""

    def __init__(self, where: str, names: Sequence[str]) -> None:
        self._where = where
        self._names = names
        self.problems: list[str] = []

    def policy(self, written: Any) -> RoutingPolicy | None:
        allowed = {"rules", "default", "legs_maximum", "patience"}
        if not isinstance(written, dict) or "default" not in written or not written.keys() <= allowed:
            self.problems.append(
                f"{self._where} must hold an object of default and, as needed, {', '.join(sorted(allowed))}"
            )
            return None
        rules = written.get("rules", [])
        if not isinstance(rules, list):
            self.problems.append(f"{self._where}: rules must be a list")
            return None
        read = tuple(rule for rule in map(self._rule, rules) if rule is not None)
        if len({rule.name for rule in read}) != len(read):
            self.problems.append(f"{self._where}: two rules have the same name")
        legs = written.get("legs_maximum", 2)
        if type(legs) is not int or not 1 <= legs <= LEGS_LIMIT:
            self.problems.append(f"{self._where}: legs_maximum must be a whole number from 1 to {LEGS_LIMIT}")
        default = self._processors("default", written["default"])
        return RoutingPolicy(default, read, legs, self._patience(written.get("patience", {})))

    def _rule(self, written: Any) -> Rule | None:
        if not isinstance(written, dict) or written.keys() != {"name", "when", "processors"}:
            self.problems.append(f"{self._where}: a rule has name, when and processors, and nothing else")
            return None
        name, when = written["name"], written["when"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self.problems.append(f"{self._where}: a rule's name is up to 40 small letters and underscores")
            return None
        if not isinstance(when, dict) or not when.keys() <= {*_LISTS, "bins", "amount_minor"}:
            self.problems.append(
                f"{self._where}: {name}: when may hold brands, currencies, merchants, bins, amount_minor"
            )
            return None
        lowest, highest = self._amounts(name, when.get("amount_minor", {}))
        return Rule(
            name=name,
            processors=self._processors(name, written["processors"]),
            brands=self._texts(name, "brands", when),
            currencies=self._texts(name, "currencies", when),
            merchants=self._texts(name, "merchants", when),
            bins=self._bins(name, when),
            amount_from_minor=lowest,
            amount_to_minor=highest,
        )

    def _processors(self, name: str, written: Any) -> tuple[str, ...]:
        known = isinstance(written, list) and written and all(one in self._names for one in written)
        if not known or len(set(written)) != len(written):
            self.problems.append(f"{self._where}: {name}: processors are some of {', '.join(self._names)}, each once")
            return ()
        return tuple(written)

    def _texts(self, name: str, key: str, when: Mapping[str, Any]) -> frozenset[str] | None:
        if key not in when:
            return None
        written = when[key]
        if (
            not isinstance(written, list)
            or not written
            or not all(isinstance(one, str) and _LISTS[key].fullmatch(one) for one in written)
        ):
            self.problems.append(f"{self._where}: {name}: {key} must be a list of at least one, each in its usual form")
            return None
        return frozenset(written)

    def _bins(self, name: str, when: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
        if "bins" not in when:
            return None
        written = when["bins"]
        ranges = [
            (one["from"], one["to"])
            for one in (written if isinstance(written, list) else [])
            if isinstance(one, dict)
            and one.keys() == {"from", "to"}
            and all(isinstance(end, str) for end in one.values())
        ]
        fit = [
            len(low) == len(high) and low <= high and _BIN.fullmatch(low) and _BIN.fullmatch(high)
            for low, high in ranges
        ]
        if not ranges or len(ranges) != len(written) or not all(fit):
            self.problems.append(
                f"{self._where}: {name}: bins are ranges from and to, both of six, seven or eight digits"
            )
            return None
        return tuple(ranges)

    def _amounts(self, name: str, written: Any) -> tuple[int, int | None]:
        fits = isinstance(written, dict) and written.keys() <= {"from", "to"}
        lowest, highest = (written.get("from", 0), written.get("to")) if fits else (0, None)
        whole = (
            type(lowest) is int and lowest >= 0 and (highest is None or (type(highest) is int and highest >= lowest))
        )
        if not fits or not whole:
            self.problems.append(
                f"{self._where}: {name}: amount_minor has from, to or both, whole numbers in that order"
            )
            return 0, None
        return lowest, highest

    def _patience(self, written: Any) -> Patience:
        names = Patience.__dataclass_fields__.keys()
        if not isinstance(written, dict) or not written.keys() <= names:
            self.problems.append(f"{self._where}: patience may hold {', '.join(names)}")
            return Patience()
        if not all(type(seconds) is int and 1 <= seconds <= 90 * 86_400 for seconds in written.values()):
            self.problems.append(f"{self._where}: patience is in whole seconds, from 1 to 90 days")
            return Patience()
        return Patience(**written)
