"""Full-text search over a brand's catalogue: SQLite FTS5 or PostgreSQL's own, with the same answers for the same words.

A query is words; whatever else is in it (quotes, operators, instructions) has no meaning here. All words must be found; if
nothing has them all, any of them will do. Words match by their beginning, so "kettle" finds "kettles". A single letter among
other words matches whole: it begins something in every text, and the database would score them all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.engine import Connection, Row

from commerce_api.catalogue.store import variants_of
from commerce_api.models import variant

MAXIMUM_WORDS = 12  # a longer query is a story; its first words decide
MAXIMUM_PRODUCTS = 20
# Best matches that filters and grouping look at: few at first, more for a narrow filter or a far page. A query that is broader
# than the last is too broad to page through.
SCORED_VARIANTS = (500, 5_000)
VARIANTS_SHOWN = 12  # of each product
WORD = re.compile(r"\w+", re.UNICODE)

_FTS5 = text(
    # The scores come first: FTS5 cannot work them out inside a join. Rows are ordered, not products, and ties by row: what the
    # first few give is then the beginning of what more would give, and pages fit each other.
    "WITH found AS MATERIALIZED ("
    "SELECT rowid AS row_id, bm25(variant_search, 0, 4.0, 1.0) AS score FROM variant_search "
    "WHERE variant_search MATCH :query ORDER BY score, rowid LIMIT :scored) "
    # What the filters leave out is null, so that the rows tell how many matched.
    "SELECT v.product_id FROM found LEFT JOIN variant v ON v.row_id = found.row_id "
    "AND v.brand = :brand AND v.price_minor <= :maximum AND v.price_minor >= :minimum AND v.available >= :available "
    "ORDER BY found.score, found.row_id"
)
_TSVECTOR = text(
    "SELECT product_id, MAX(ts_rank(search_vector, to_tsquery('simple', :query))) AS score FROM variant "
    "WHERE search_vector @@ to_tsquery('simple', :query) AND brand = :brand "
    "AND price_minor <= :maximum AND price_minor >= :minimum AND available >= :available "
    "GROUP BY product_id ORDER BY score DESC, product_id LIMIT :limit OFFSET :offset"
)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. Prices are minor units of the brand's currency."""

    query: str
    minimum_minor: int = 0
    maximum_minor: int = 2**53
    available_only: bool = False
    limit: int = 10
    offset: int = 0


def search_products(connection: Connection, brand: str, search: Search, *, is_sqlite: bool) -> "list[list[Row[Any]]]":
    """The products found, best first, each as its variants' rows."""
    words = [word.lower() for word in WORD.findall(search.query)][:MAXIMUM_WORDS]
    if not words:
        return grouped(connection, brand, _browse(connection, brand, search))
    found = matching(connection, brand, search, words, "AND", is_sqlite=is_sqlite)
    if not found and not (search.offset and _have_all(connection, brand, search, words, is_sqlite=is_sqlite)):
        found = matching(connection, brand, search, words, "OR", is_sqlite=is_sqlite)
    return grouped(connection, brand, found)


def matching(
    connection: Connection, brand: str, search: Search, words: Sequence[str], joiner: str, *, is_sqlite: bool
) -> list[str]:
    """Ids of the products that hold all of the words (``AND``) or any of them (``OR``), best first. Words are of WORD alone."""
    given = {
        "brand": brand,
        "maximum": search.maximum_minor,
        "minimum": search.minimum_minor,
        "available": int(search.available_only),
    }
    limit = min(search.limit, MAXIMUM_PRODUCTS)
    if not is_sqlite:
        given["query"] = (" & " if joiner == "AND" else " | ").join(
            f"{word}:*" if _is_beginning(word, words) else word for word in words
        )
        return list(connection.execute(_TSVECTOR, {**given, "limit": limit, "offset": search.offset}).scalars())
    wanted = f" {joiner} ".join(f'"{word}"*' if _is_beginning(word, words) else f'"{word}"' for word in words)
    products: list[str] = []
    for scored in SCORED_VARIANTS:
        rows = connection.execute(_FTS5, {**given, "query": wanted, "scored": scored}).scalars().all()
        products = [product for product in dict.fromkeys(rows) if product is not None]
        if len(products) >= search.offset + limit or len(rows) < scored:
            break
        # The brand is a column of the index, for other brands' products must not use up the scored ones. It has no weight in
        # the score, but costs as much as all the rest: the first look goes without.
        wanted = f'(brand : "{brand}") AND ({wanted})'
    return products[search.offset : search.offset + limit]


def _is_beginning(word: str, words: Sequence[str]) -> bool:
    """Whether a word matches by its beginning, beside the others."""
    return len(word) > 1 or len(words) == 1


def _have_all(connection: Connection, brand: str, search: Search, words: Sequence[str], *, is_sqlite: bool) -> bool:
    """Whether an earlier page holds products with all of the words: the last of these is then the end."""
    first = replace(search, offset=0, limit=1)
    return bool(matching(connection, brand, first, words, "AND", is_sqlite=is_sqlite))


def _browse(connection: Connection, brand: str, search: Search) -> list[str]:
    rows = connection.execute(
        select(variant.c.product_id)
        .where(
            variant.c.brand == brand,
            variant.c.price_minor.between(search.minimum_minor, search.maximum_minor),
            variant.c.available >= int(search.available_only),
        )
        .group_by(variant.c.product_id)
        .order_by(variant.c.product_id)
        .limit(min(search.limit, MAXIMUM_PRODUCTS))
        .offset(search.offset)
    )
    return list(rows.scalars())


def grouped(
    connection: Connection, brand: str, product_ids: Sequence[str], each: int = VARIANTS_SHOWN
) -> "list[list[Row[Any]]]":
    """The rows of these products' variants, at most so many of each, in the products' order."""
    groups: dict[str, list[Row[Any]]] = {product: [] for product in product_ids}
    for row in variants_of(connection, brand, product_ids, limit=len(product_ids) * 200):
        if len(groups[row.product_id]) < each:
            groups[row.product_id].append(row)
    return [rows for rows in groups.values() if rows]
