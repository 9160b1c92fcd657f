"""What memory is used for: a few numbers for ranking, and words for slots of a presentation. Nothing sensitive is in either.

Language stays out of ranking: it says where somebody comes from.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.memory.asker import Asker
from commerce_api.memory.consents import has_consent
from commerce_api.memory.facts import recall
from commerce_api.memory.terms import Level, Sensitivity
from offer_engine.offers import Verification
from tokenization.money import MoneyInvalid, exponent

_CLOTHING: Final = ("XXS", "XS", "S", "M", "L", "XL", "XXL", "XXXL")
_OCCASIONS: Final = ("birthday", "wedding", "housewarming", "graduation", "retirement", "farewell")
_BUDGET: Final = re.compile(r"([A-Z]{3}) ([0-9]{1,9})(?:\.([0-9]{1,3}))?")
_LEVELS: Final = {Verification.CLAIMED: Level.CLAIMED, Verification.VERIFIED: Level.VERIFIED}
SLOT_KEYS: Final = frozenset({"name.preferred", "size.clothing", "size.shoe", "gift.occasion", "delivery.wish"})


def features_of(facts: Mapping[str, str], currency: str) -> dict[str, float]:
    """Numbers for ranking, by names of the offer engine's list: clothing size from 0 (XXS) to 7, budget in minor units of
    ``currency``, 1.0 where a gift is looked for, 1.0 where it has to come fast. What is not known or not of its form is absent.
    """
    found: dict[str, float] = {}
    if facts.get("size.clothing") in _CLOTHING:
        found["memory.size"] = float(_CLOTHING.index(facts["size.clothing"]))
    budget = _budget(facts.get("budget", ""), currency)
    if budget is not None:
        found["memory.budget_minor"] = budget
    if facts.get("gift.occasion") in _OCCASIONS:
        found["memory.gift"] = 1.0
    if facts.get("delivery.wish") == "fast":
        found["memory.fast_delivery"] = 1.0
    return found


def slots_of(facts: Mapping[str, str]) -> dict[str, str]:
    """Values that a presentation may fill slots with, by ``memory.KEY``. Data of the shopper's, never instructions."""
    return {f"memory.{key}": value for key, value in facts.items() if key in SLOT_KEYS}


def facts_for_offers(
    connection: Connection, brand: Brand, subject: str, verification: Verification, now_ms: int
) -> dict[str, str] | None:
    """Facts by key that an offer may use, none that is sensitive or near payment; None without consent to personal offers."""
    level = _LEVELS.get(verification)
    return None if level is None else _facts(connection, brand, subject, level, now_ms)


def facts_at(connection: Connection, brand: Brand, subject: str, level: Level, now_ms: int) -> dict[str, str]:
    """The same for a shopper who is known this well; none without consent."""
    return _facts(connection, brand, subject, level, now_ms) or {}


def _facts(connection: Connection, brand: Brand, subject: str, level: Level, now_ms: int) -> dict[str, str] | None:
    if not has_consent(connection, brand.id, subject, "personal_offers"):
        return None
    asker = Asker(brand.id, brand.currency, "", subject, "", level, brand.policy.memory, "service:commerce")
    usable = (Sensitivity.PUBLIC, Sensitivity.PERSONAL)
    rows: list[Any] = recall(connection, asker, now_ms)
    return {row.key: row.value for row in rows if row.sensitivity in usable}


def _budget(text: str, currency: str) -> float | None:
    said = _BUDGET.fullmatch(text)
    try:
        digits = exponent(currency)
    except MoneyInvalid:
        return None
    if said is None or said[1] != currency or len(said[3] or "") > digits:
        return None
    return float(int(said[2]) * 10**digits + int((said[3] or "").ljust(digits, "0") or 0))
