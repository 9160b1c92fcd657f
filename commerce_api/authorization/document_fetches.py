"""How many documents a network has had fetched, over all processes of a deployment (client_documents.py bounds each by itself).

What holds: in any WINDOW_SECONDS a network begins MAXIMUM fetches at most, whichever process it reaches. The count and the
leave to begin are one transaction. A network is a keyed digest, and is forgotten within the hour.
"""

from typing import Final

from sqlalchemy import delete, func, insert, select

from audit.transaction import Transaction
from commerce_api.models import client_document_fetch
from tokenization.ids import new_id

WINDOW_SECONDS: Final = 60
MAXIMUM: Final = 12  # what one process lets a network begin in that time, with the refill of a few seconds
KEPT_SECONDS: Final = 3_600


def may_begin(tx: Transaction, network: str) -> bool:
    """Whether a network may begin a fetch now, which is then counted."""
    recent = select(func.count()).where(
        client_document_fetch.c.network == network,
        client_document_fetch.c.created_ms > tx.now_ms - WINDOW_SECONDS * 1000,
    )
    if (tx.execute(recent).scalar() or 0) >= MAXIMUM:
        return False
    tx.execute(insert(client_document_fetch).values(id=new_id("cdf"), network=network, created_ms=tx.now_ms))
    return True


def forget_old(tx: Transaction) -> None:
    """Deletes what counts no more."""
    past = client_document_fetch.c.created_ms < tx.now_ms - KEPT_SECONDS * 1000
    tx.execute(delete(client_document_fetch).where(past))
