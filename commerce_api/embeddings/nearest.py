"""The products nearest to a text, by their vectors: in memory by brand, kept up with the rows, searched by a dot product.

A hundred thousand products are 154 MB here and 38 MB in the database. What is found is only a candidate: prices, stock and the
brand are looked at by the database (asking/finding.py).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from audit.threads import in_thread
from audit.transaction import Database
from commerce_api.embeddings.model import DIMENSIONS, Embedder, MiniLm, is_installed
from commerce_api.embeddings.store import SCALE
from commerce_api.models import product_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAREST: Final = 200
FARTHEST: Final = 0.1  # cosine; what is below has nothing to do with the text


@dataclass(slots=True)
class _Vectors:
    """A brand's vectors as they were at ``made_ms``."""

    matrix: "NDArray[Any]"
    ids: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    made_ms: int = -1


class Nearest:
    """Finds by meaning. One for a process; the model is loaded with the first text."""

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database = database
        self._embedder = embedder
        self._brands: dict[str, _Vectors] = {}
        self._loading = asyncio.Lock()

    async def ids(self, brand: str, text: str) -> list[str]:
        """Product ids, nearest first; none while the brand has no vectors."""
        async with self._loading:
            vectors = await self._current(brand)
            if not vectors.ids:
                return []
            if self._embedder is None:
                self._embedder = await in_thread(MiniLm)
        return await in_thread(_found, vectors, self._embedder, text)

    async def _current(self, brand: str) -> _Vectors:
        """The brand's vectors, with the rows that came since the last time."""
        import numpy as np

        table = product_vector
        known = self._brands.get(brand)
        since_ms = known.made_ms if known is not None else -1

        def newest(connection: Any) -> int | None:
            query = select(func.max(table.c.made_ms)).where(table.c.brand == brand)
            found: int | None = connection.execute(query).scalar()
            return found

        newest_ms = await self._database.read(newest)
        if newest_ms is None or newest_ms == since_ms:
            return known or _Vectors(np.zeros((0, DIMENSIONS), np.float32))
        # Rows of the last millisecond may have come after it was read: they are read again.
        query = select(table.c.product_id, table.c.vector).where(table.c.brand == brand, table.c.made_ms >= since_ms)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        self._brands[brand] = await in_thread(
            _with_rows, known, [(row.product_id, row.vector) for row in rows], newest_ms
        )
        return self._brands[brand]


def nearest_of(database: Database) -> Nearest | None:
    """The search by meaning, where the extra is installed."""
    return Nearest(database) if is_installed() else None


def _with_rows(known: _Vectors | None, rows: Sequence[tuple[str, bytes]], made_ms: int) -> _Vectors:
    """A new matrix: who searches in the old one goes on with it."""
    import numpy as np

    ids = list(known.ids) if known is not None else []
    places = dict(known.places) if known is not None else {}
    for product, _ in rows:
        if product not in places:
            places[product] = len(ids)
            ids.append(product)
    matrix = np.zeros((len(ids), DIMENSIONS), np.float32)
    if known is not None:
        matrix[: len(known.ids)] = known.matrix
    packed = np.frombuffer(b"".join(vector for _, vector in rows), np.int8).reshape(-1, DIMENSIONS)
    matrix[[places[product] for product, _ in rows]] = packed.astype(np.float32) / SCALE
    return _Vectors(matrix, ids, places, made_ms)


def _found(vectors: _Vectors, embedder: Embedder, text: str) -> list[str]:
    import numpy as np

    scores = vectors.matrix @ embedder.embed([text])[0]
    count = min(NEAREST, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    ordered = best[np.argsort(-scores[best], kind="stable")]
    return [vectors.ids[place] for place in ordered if scores[place] >= FARTHEST]
