"""Brands: who sells here, in which currency, under which policy, and the key with which its own agents call."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection, Row

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import brand as brand_table
from commerce_api.offering import budget
from commerce_api.policy import Policy
from tokenization.ids import letters_of

ORIGIN = "commerce_api"
AGENT_KEY_PREFIX = "cak"
_NAME_TO_ID = re.compile(r"[^a-z0-9]+")
_POLICIES_KEPT = 256
_FIND = select(brand_table).where(
    brand_table.c.id == bindparam("identifier")
)  # built once: every call of a tool asks it


@dataclass(frozen=True, slots=True)
class Brand:
    """A brand and its policy. ``id`` is its name in addresses: lower case letters, digits, dashes."""

    id: str
    name: str
    currency: str
    policy: Policy
    agent_key_version: int
    offers_paused: bool = False


def brand_id(name: str) -> str:
    """The id for a name: ``Example Retail`` becomes ``example-retail``. Empty when the name holds no letter or digit."""
    return _NAME_TO_ID.sub("-", name.lower()).strip("-")[:40].strip("-")


def save_brand(tx: Transaction, *, name: str, currency: str, policy: Policy) -> Brand:
    """Makes the brand, or gives an existing one this policy. A brand never changes its currency."""
    identifier = brand_id(name)
    known = tx.execute(select(brand_table).where(brand_table.c.id == identifier)).first()
    document = policy.model_dump_json()
    if known is not None:
        if known.currency != currency:
            raise CommerceRefusal(CommerceError.CURRENCY_MISMATCH)
        tx.execute(brand_table.update().where(brand_table.c.id == identifier).values(name=name, policy=document))
    else:
        tx.execute(
            brand_table.insert().values(
                id=identifier, name=name, currency=currency, policy=document, agent_key_version=1, created_ms=tx.now_ms
            )
        )
    budget.open_for(tx, identifier, policy)
    tx.record(
        Event(
            type=EventType.BRAND_ADDED,
            outcome="success",
            actor="operator",
            origin=ORIGIN,
            resource=identifier,
            merchant=identifier,
            data={"currency": currency},
        )
    )
    return Brand(identifier, name, currency, policy, known.agent_key_version if known is not None else 1)


def pause_offers(tx: Transaction, identifier: str, *, paused: bool) -> None:
    """Stops a brand's offers, or lets them be made again. Raises CommerceRefusal(BRAND_UNKNOWN)."""
    find_brand(tx.connection, identifier)
    since_ms = tx.now_ms if paused else None
    tx.execute(brand_table.update().where(brand_table.c.id == identifier).values(offers_paused_ms=since_ms))
    tx.record(
        Event(
            type=EventType.OFFERS_PAUSED if paused else EventType.OFFERS_RESUMED,
            outcome="success",
            actor="operator",
            origin=ORIGIN,
            resource=identifier,
            merchant=identifier,
            data={},
        )
    )


def find_brand(connection: Connection, identifier: str) -> Brand:
    """The brand. Raises CommerceRefusal(BRAND_UNKNOWN)."""
    # PostgreSQL refuses to look for a NUL; that is no fault of the database.
    row = connection.execute(_FIND, {"identifier": identifier}).first() if "\0" not in identifier else None
    if row is None:
        raise CommerceRefusal(CommerceError.BRAND_UNKNOWN)
    return _brand(row)


def all_brands(connection: Connection) -> list[Brand]:
    """Every brand, by id."""
    return [_brand(row) for row in connection.execute(select(brand_table).order_by(brand_table.c.id))]


def agent_key(brand: Brand, secret: bytes) -> str:
    """The brand's agent key: derived, so nothing is stored that could be stolen from the database."""
    derived = hmac.new(secret, f"agent|{brand.id}|{brand.agent_key_version}".encode(), hashlib.sha256).digest()
    return f"{AGENT_KEY_PREFIX}_{letters_of(derived)}"


def is_agent_key(brand: Brand, secret: bytes, presented: str) -> bool:
    """Whether this is the brand's agent key, in constant time."""
    return hmac.compare_digest(agent_key(brand, secret).encode(), presented.encode("utf-8", "replace"))


def _brand(row: "Row[Any]") -> Brand:
    return Brand(
        row.id, row.name, row.currency, _policy(row.policy), row.agent_key_version, row.offers_paused_ms is not None
    )


@lru_cache(_POLICIES_KEPT)
def _policy(document: str) -> Policy:
    """A policy from its text. It is frozen, so that whoever asks for the same text may have the same one."""
    return Policy.model_validate_json(document)
