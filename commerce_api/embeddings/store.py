"""Products' vectors as rows: made after a feed was imported, anew only where a product's text changed.

What holds:
 1. A row belongs to a brand and is read for that brand alone.
 2. A vector is of the text that its digest names, by the model that its digest names: another model makes all of them anew.
 3. A stopped pass is finished by the next one: each batch is committed, and what is up to date is passed over.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from audit.threads import in_thread
from audit.transaction import Database, Transaction
from commerce_api.catalogue.store import variants_of
from commerce_api.embeddings.model import Embedder
from commerce_api.models import product_vector, variant

BATCH_PRODUCTS: Final = 64
_VARIANTS_READ: Final = 60
_VALUES_OF_AN_OPTION: Final = 8
_DESCRIPTION_LENGTH: Final = 300
SCALE: Final = 127  # a unit vector's numbers as int8


def document(rows: "Sequence[Row[Any]]") -> str:
    """What a product's vector is made of: title, category, options, description; the model reads the beginning."""
    first = rows[0]
    options: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in json.loads(row.options):
            options.setdefault(name, {})[value] = None
    told = [f"{name}: {', '.join(list(values)[:_VALUES_OF_AN_OPTION])}" for name, values in options.items()]
    category = " ".join(json.loads(first.categories)[:1])
    description = first.description[:_DESCRIPTION_LENGTH]
    parts = (first.product_title, category, description if description != first.product_title else "", *told)
    return ". ".join(part for part in parts if part)


async def refresh(
    database: Database, brand: str, embedder: Embedder, on_progress: Callable[[int], None] = lambda products: None
) -> int:
    """Makes the vectors that are missing or out of date. Returns how many were made."""
    made, last = 0, ""
    while found := await database.read(partial(_next_products, brand=brand, after=last)):
        last = found[-1][0]
        digests = {product: _digest(embedder.name, text) for product, text, _ in found}
        stale = [(product, text) for product, text, known in found if known != digests[product]]
        if stale:
            vectors = await in_thread(_packed, embedder, [text for _, text in stale])
            rows = [
                {"brand": brand, "product_id": product, "digest": digests[product], "vector": vector}
                for (product, _), vector in zip(stale, vectors, strict=True)
            ]
            await database.maintain(partial(_write, rows=rows, is_sqlite=database.is_sqlite))
            made += len(rows)
        on_progress(len(found))
    return made


def _next_products(connection: Connection, brand: str, after: str) -> list[tuple[str, str, str | None]]:
    """The next products by id: id, text, and the digest of the vector that is there."""
    ids = list(
        connection.execute(
            select(variant.c.product_id)
            .where(variant.c.brand == brand, variant.c.product_id > after)
            .group_by(variant.c.product_id)
            .order_by(variant.c.product_id)
            .limit(BATCH_PRODUCTS)
        ).scalars()
    )
    digests = connection.execute(
        select(product_vector.c.product_id, product_vector.c.digest).where(
            product_vector.c.brand == brand, product_vector.c.product_id.in_(ids)
        )
    )
    known = {row.product_id: row.digest for row in digests}
    groups: dict[str, list[Row[Any]]] = {}
    for row in variants_of(connection, brand, ids, limit=len(ids) * _VARIANTS_READ):
        groups.setdefault(row.product_id, []).append(row)
    return [
        (product, document(sorted(rows, key=lambda row: row.id)), known.get(product))
        for product, rows in groups.items()
    ]


def _packed(embedder: Embedder, texts: list[str]) -> list[bytes]:
    import numpy as np

    vectors = np.clip(np.rint(embedder.embed(texts) * SCALE), -SCALE, SCALE).astype(np.int8)
    return [vector.tobytes() for vector in vectors]


def _digest(model: str, text: str) -> str:
    return hashlib.sha256(f"{model}\0{text}".encode()).hexdigest()[:32]


def _write(tx: Transaction, rows: list[dict[str, Any]], *, is_sqlite: bool) -> None:
    insert = sqlite.insert(product_vector) if is_sqlite else postgresql.insert(product_vector)
    values = [{**row, "made_ms": tx.now_ms} for row in rows]
    changed = {name: insert.excluded[name] for name in ("digest", "vector", "made_ms")}
    tx.execute(insert.on_conflict_do_update(index_elements=["brand", "product_id"], set_=changed), values)
