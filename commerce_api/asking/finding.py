"""Finds what could fit a need: by all of its words first, then by any, in bounds and in stock before what is not.

Prices, stock and brand are filters of the database. What is found here is only looked at: fitting.py says what fits.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.engine import Connection

from commerce_api.asking.fitting import Match, match
from commerce_api.asking.need import MAXIMUM_WORDS, Need
from commerce_api.asking.words import stem, words_of
from commerce_api.catalogue.search import WORD, Search, grouped, matching
from commerce_api.models import variant

LOOKED_AT = 20  # products that are held against the need
TOLD = 5
VARIANTS_LOOKED_AT = 60  # of each
_UNBOUNDED = 2**53
_FUSION = 60  # the paper's constant; not tuned


def find(
    connection: Connection, brand: str, currency: str, need: Need, near: Sequence[str] = (), *, is_sqlite: bool
) -> list[Match]:
    """The products nearest to the need, best first, at most TOLD. Those that fit stand before all others.

    ``near`` are ids nearest in meaning, if there are vectors.
    """
    words = query_words(need.words)
    in_bounds, *wider = _searches(need)
    with_all = matching(connection, brand, in_bounds, words, "AND", is_sqlite=is_sqlite) if words else []
    fitting = [held for held in _matches(connection, brand, currency, need, with_all) if held.fits]
    if fitting:
        return fitting[:TOLD]
    ids: list[str] = []
    for search in (in_bounds, *wider):
        known = with_all if search is in_bounds else None
        found = by_words(connection, brand, search, words, known, is_sqlite=is_sqlite)
        ids = fused(found, _in_bounds(connection, brand, search, near)) if near else found
        if ids:
            break

    def rank(held: Match) -> tuple[bool, bool, bool, int]:
        """Words that are missing count only where nothing else says how near a product is."""
        return (not held.fits, not held.in_bounds, not held.can_be_bought, 0 if near else len(held.unsaid))

    # sorted() is stable: within a rank the order of retrieval stays.
    ordered = sorted(_matches(connection, brand, currency, need, ids[:LOOKED_AT]), key=rank)
    fitting = [held for held in ordered if held.fits]
    return (fitting or ordered)[:TOLD]


def _matches(connection: Connection, brand: str, currency: str, need: Need, ids: Sequence[str]) -> list[Match]:
    groups = grouped(connection, brand, ids, VARIANTS_LOOKED_AT)
    return [held for rows in groups if (held := match(rows, need, currency)) is not None]


def fused(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Two orders as one, by the sum of reciprocal ranks (Cormack, Clarke, Büttcher 2009)."""
    scores: dict[str, float] = {}
    for order in (first, second):
        for place, product in enumerate(order, 1):
            scores[product] = scores.get(product, 0.0) + 1 / (_FUSION + place)
    return sorted(scores, key=lambda product: -scores[product])


def by_words(
    connection: Connection,
    brand: str,
    search: Search,
    words: list[str],
    with_all: list[str] | None = None,
    *,
    is_sqlite: bool,
) -> list[str]:
    """Ids of the products with all of the words, then of those with any. ``with_all`` is the first part, if it is known."""
    if not words:
        return []
    ids = with_all
    if ids is None:
        ids = matching(connection, brand, search, words, "AND", is_sqlite=is_sqlite)
    if len(ids) >= LOOKED_AT or len(words) == 1:  # of one word, any is all
        return ids
    return list(dict.fromkeys([*ids, *matching(connection, brand, search, words, "OR", is_sqlite=is_sqlite)]))


def _in_bounds(connection: Connection, brand: str, search: Search, near: Sequence[str]) -> list[str]:
    """Those of the ids that the filters let through, in their order."""
    kept = set(
        connection.execute(
            select(variant.c.product_id).where(
                variant.c.brand == brand,
                variant.c.product_id.in_(near),
                variant.c.price_minor.between(search.minimum_minor, search.maximum_minor),
                variant.c.available >= int(search.available_only),
            )
        ).scalars()
    )
    return [product for product in near if product in kept][:LOOKED_AT]


def with_places_read_as_goods(connection: Connection, brand: str, need: Need, *, is_sqlite: bool) -> Need:
    """ "In Navy" is a colour where the catalogue has it as one; what was taken for a place is then looked for."""
    unplaced = need.destination.unplaced
    words = words_of(unplaced or "")
    if unplaced is None or not words:
        return need
    search = Search("", limit=LOOKED_AT)
    ids = matching(connection, brand, search, query_words(words), "AND", is_sqlite=is_sqlite)
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


def query_words(words: Sequence[str]) -> list[str]:
    """The words as the index has them: stems, and the parts of a compound; no more of them than a need has words.

    The database scores what each of them finds, and one word can be a compound of hundreds.
    """
    parts = [part for word in words for part in WORD.findall(stem(word))]
    return list(dict.fromkeys(part for part in parts if part != "_"))[:MAXIMUM_WORDS]
