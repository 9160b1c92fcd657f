"""The catalogue's rows: upserted from a feed, read by id, kept searchable."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, case, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from audit.transaction import Transaction
from commerce_api.catalogue.feed_rows import ProductRow
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import variant

_KEPT = {
    "row_id",
    "brand",
    "id",
    "reserved",
    "stock",
}  # an upsert leaves reservations as they are, and stock to its own rule

# Built once: nearly every call of a tool asks one of them.
_FIND = select(variant).where(variant.c.brand == bindparam("brand"), variant.c.id == bindparam("variant"))
_OF_PRODUCTS = (
    select(variant)
    .where(variant.c.brand == bindparam("brand"), variant.c.product_id.in_(bindparam("products", expanding=True)))
    .order_by(variant.c.product_id, variant.c.available.desc(), variant.c.price_minor, variant.c.id)
    .limit(bindparam("limit"))
)


def upsert_rows(tx: Transaction, brand: str, rows: Sequence[ProductRow], *, is_sqlite: bool) -> None:
    """Inserts or updates variants of a brand in this transaction; the database keeps the search index up with them."""
    if not rows:
        return
    values = [_values(brand, row, tx.now_ms) for row in rows]
    insert = sqlite.insert(variant) if is_sqlite else postgresql.insert(variant)
    fresh = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=["brand", "id"],
        set_={
            **{column.name: fresh[column.name] for column in variant.c if column.name not in _KEPT},
            # What is reserved was promised: a feed that counts less than that leaves just that.
            "stock": case((fresh.stock < variant.c.reserved, variant.c.reserved), else_=fresh.stock),
        },
    )
    tx.execute(statement, values)


def find_variant(connection: Connection, brand: str, variant_id: str) -> "Row[Any]":
    """The variant's row. Raises CommerceRefusal(PRODUCT_UNKNOWN)."""
    row = connection.execute(_FIND, {"brand": brand, "variant": variant_id}).first()
    if row is None:
        raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
    return row


def variants_of(connection: Connection, brand: str, product_ids: Sequence[str], limit: int) -> "list[Row[Any]]":
    """The variants of these products, available ones and lower prices first."""
    return list(connection.execute(_OF_PRODUCTS, {"brand": brand, "products": product_ids, "limit": limit}))


def _values(brand: str, row: ProductRow, now_ms: int) -> dict[str, Any]:
    options = [[name, value] for name, value in row.options]
    searched = [row.product_title, row.description, row.brand_name or "", *row.categories, *(v for _, v in row.options)]
    return {
        "brand": brand,
        "id": row.variant_id,
        "product_id": row.product_id,
        "title": row.title,
        "product_title": row.product_title,
        "description": row.description,
        "url": row.url,
        "image_url": row.image_url,
        "price_minor": row.price.amount_minor,
        "list_price_minor": row.list_price.amount_minor if row.list_price else None,
        "availability": str(row.availability),
        "available": int(row.available),
        "stock": row.stock_quantity,
        "options": json.dumps(options),
        "categories": json.dumps(list(row.categories)),
        "brand_name": row.brand_name or "",
        "gtin": row.gtin,
        "condition": row.condition or "",
        "search_text": " ".join(part for part in searched if part),
        "updated_ms": now_ms,
    }
