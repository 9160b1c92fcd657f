"""Balances: as the accounts' rows hold them, and as the journal adds up to."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from vault_zone.ledger.accounts import Account
from vault_zone.models import ledger_account, ledger_posting


class Key(NamedTuple):
    """An account."""

    merchant: str
    processor: str
    currency: str
    kind: Account


class Balance(NamedTuple):
    """What an account holds: debits less credits in minor units, and of how many postings."""

    balance_minor: int
    postings: int


def balances(connection: Connection, merchant: str | None = None) -> Mapping[Key, Balance]:
    """The accounts' rows, of one merchant or of all."""
    table = ledger_account.c
    statement = select(table.merchant, table.processor, table.currency, table.kind, table.balance_minor, table.postings)
    if merchant is not None:
        statement = statement.where(table.merchant == merchant)
    return _read(connection, statement)


def projection(connection: Connection) -> Mapping[Key, Balance]:
    """The same, by adding up the journal: what the rows must equal, and how they are had again if they were lost."""
    table = ledger_posting.c
    account = (table.merchant, table.processor, table.currency, table.kind)
    return _read(connection, select(*account, func.sum(table.amount_minor), func.count()).group_by(*account))


def _read(connection: Connection, statement) -> Mapping[Key, Balance]:  # type: ignore[no-untyped-def]  # six columns
    return {
        Key(merchant, processor, currency, Account(kind)): Balance(int(total), count)
        for merchant, processor, currency, kind, total, count in connection.execute(statement)
    }
