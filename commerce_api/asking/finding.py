"""Finds what could fit a need: by all of its words first, then by any, in bounds and in stock before what is not.

Prices, stock and brand are filters of the database. What is found here is only looked at: fitting.py says what fits.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from commerce_api.asking.fitting import Match, match
from commerce_api.asking.need import Need
from commerce_api.asking.words import stem, words_of
from commerce_api.catalogue.search import WORD, Search, grouped, matching

LOOKED_AT = 20  # products that are held against the need
TOLD = 5
VARIANTS_LOOKED_AT = 60  # of each
_UNBOUNDED = 2**53


def find(connection: Connection, brand: str, currency: str, need: Need, *, is_sqlite: bool) -> list[Match]:
    """The products nearest to the need, best first, at most TOLD. Those that fit stand before all others."""
    ids: list[str] = []
    for search in _searches(need):
        words = _query_words(need.words)
        for joiner in ("AND", "OR"):
            if len(ids) < LOOKED_AT and words:
                found = matching(connection, brand, search, words, joiner, is_sqlite=is_sqlite)
                ids += [product for product in found if product not in ids]
        if ids:
            break
    groups = grouped(connection, brand, ids[:LOOKED_AT], VARIANTS_LOOKED_AT)
    matches = [held for rows in groups if (held := match(rows, need, currency)) is not None]
    # sorted() is stable: within a rank the order of retrieval stays.
    ordered = sorted(
        matches, key=lambda held: (not held.fits, len(held.unsaid), not held.in_bounds, not held.can_be_bought)
    )
    if ordered and ordered[0].fits:
        return [held for held in ordered if held.fits][:TOLD]
    return ordered[:TOLD]


def with_places_read_as_goods(connection: Connection, brand: str, need: Need, *, is_sqlite: bool) -> Need:
    """ "In Navy" is a colour where the catalogue has it as one; what was taken for a place is then looked for."""
    unplaced = need.destination.unplaced
    words = words_of(unplaced or "")
    if unplaced is None or not words:
        return need
    search = Search("", limit=LOOKED_AT)
    ids = matching(connection, brand, search, _query_words(words), "AND", is_sqlite=is_sqlite)
    values = {
        value.lower()
        for rows in grouped(connection, brand, ids, VARIANTS_LOOKED_AT)
        for row in rows
        for _, value in json.loads(row.options)
    }
    if unplaced.lower() not in values:
        return need
    return replace(need, words=(*need.words, *words), destination=replace(need.destination, unplaced=None))


def _searches(need: Need) -> list[Search]:
    """What fits; then whatever the price; then whatever the stock."""
    maximum_minor = need.maximum_minor if need.maximum_minor is not None else _UNBOUNDED
    fitting = Search("", need.minimum_minor, maximum_minor, available_only=True, limit=LOOKED_AT)
    return [fitting, Search("", available_only=True, limit=LOOKED_AT), Search("", limit=LOOKED_AT)]


def _query_words(words: Sequence[str]) -> list[str]:
    """The words as the index has them: stems, and the parts of a compound."""
    parts = [part for word in words for part in WORD.findall(stem(word))]
    return list(dict.fromkeys(part for part in parts if part != "_"))
