"""Whether the books hold together, from the rows themselves: no figure is believed because it was written down."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.engine import Connection

from audit.store import audit_event
from audit.transaction import Database
from vault_zone.ledger.accounts import OF_CHARGE, EntryKind
from vault_zone.ledger.balances import balances, projection
from vault_zone.ledger.chain import GENESIS, RESOURCE, digest_of, postings_of
from vault_zone.models import ledger_charge, ledger_entry, ledger_posting

FINDINGS_LIMIT: Final = 100
PAGE: Final = 1_000  # entries hashed at a time: the zone serves on between two pages


class Finding(StrEnum):
    """What is wrong."""

    UNBALANCED = "unbalanced"  # an entry's postings do not add up to zero, or are missing
    MIXED = "mixed"  # a posting is not in its entry's currency, or at another merchant's or processor's account
    BALANCE_DIFFERS = "balance_differs"  # an account's row is not what its postings add up to
    ORDER_BROKEN = "order_broken"  # an account's postings are not numbered from 1 without a gap, each with its balance
    REVERSAL_DIFFERS = "reversal_differs"  # a reversal is not the opposite of what it names
    CHAIN_BROKEN = "chain_broken"  # a digest is not that of its entry behind the one before
    HEAD_DIFFERS = "head_differs"  # the signed record holds another digest, or more entries than there are


@dataclass(frozen=True, slots=True)
class Verified:
    """``findings`` are pairs of what is wrong and where, at most FINDINGS_LIMIT; none means that the books hold."""

    entries: int
    sealed: int
    accounts: int
    head: str
    findings: tuple[tuple[Finding, str], ...]


async def verify(database: Database) -> Verified:
    """Looks at every entry, posting, account and digest. Takes a second for some ten thousand entries."""
    found = await database.read(lambda connection: list(_of_rows(connection)))
    entries, accounts, anchors = await database.read(_counts)
    place, digest = 0, GENESIS
    while page := await database.read(lambda connection, place=place: _page(connection, place)):  # type: ignore[misc]
        for row, postings in page:
            expected = digest_of(digest, row, postings)
            if row["place"] != place or row["chain_digest"] != expected:
                found.append((Finding.CHAIN_BROKEN, row["id"]))
            digest, place = row["chain_digest"], row["place"] + 1
            if anchors.pop(place, digest) != digest:
                found.append((Finding.HEAD_DIFFERS, f"place {place}"))
    found += [(Finding.HEAD_DIFFERS, f"place {missing}") for missing in sorted(anchors) if missing > place]
    return Verified(entries, place, accounts, digest, tuple(found[:FINDINGS_LIMIT]))


def _of_rows(connection: Connection) -> Iterator[tuple[Finding, str]]:
    yield from ((Finding.UNBALANCED, name) for name in _unbalanced(connection))
    yield from ((Finding.MIXED, name) for name in _mixed(connection))
    held, added = balances(connection), projection(connection)
    yield from (
        (Finding.BALANCE_DIFFERS, "/".join(key)) for key in sorted({*held, *added}) if held.get(key) != added.get(key)
    )
    yield from ((Finding.BALANCE_DIFFERS, name) for name in _charges_that_differ(connection))
    yield from ((Finding.ORDER_BROKEN, name) for name in _out_of_order(connection))
    yield from ((Finding.REVERSAL_DIFFERS, name) for name in _wrong_reversals(connection))


def _unbalanced(connection: Connection) -> list[str]:
    entry, posting = ledger_entry.c, ledger_posting.c
    statement = (
        select(entry.id)
        .select_from(ledger_entry.outerjoin(ledger_posting, posting.entry == entry.id))
        .group_by(entry.id)
        .having(or_(func.count(posting.entry) == 0, func.sum(posting.amount_minor) != 0))
        .limit(FINDINGS_LIMIT)
    )
    return list(connection.execute(statement).scalars())


def _mixed(connection: Connection) -> list[str]:
    entry, posting = ledger_entry.c, ledger_posting.c
    differs = or_(
        posting.currency != entry.currency,
        posting.merchant != entry.merchant,
        posting.processor != entry.processor,
    )
    statement = select(entry.id).join(ledger_posting, posting.entry == entry.id).where(differs).distinct()
    return list(connection.execute(statement.limit(FINDINGS_LIMIT)).scalars())


def _charges_that_differ(connection: Connection) -> list[str]:
    """Charges whose row is not what their entries' postings add up to, or that have none."""
    entry, posting, row = ledger_entry.c, ledger_posting.c, ledger_charge.c
    key = (entry.charge_id, entry.merchant, entry.processor, entry.currency)
    sums = [
        func.sum(case({account.value: sign for account, sign in of.items()}, value=posting.kind, else_=0) * amount)
        for of, amount in ((of, posting.amount_minor) for of in OF_CHARGE.values())
    ]
    added = (
        select(*key, *(total.label(name) for name, total in zip(OF_CHARGE, sums, strict=True)))
        .select_from(ledger_entry.join(ledger_posting, posting.entry == entry.id))
        .where(entry.charge_id.is_not(None))
        .group_by(*key)
        .subquery()
    )
    same = and_(*(row[name] == added.c[name] for name in ("charge_id", "merchant", "processor", "currency")))
    missing = or_(*(func.coalesce(row[name], 0) != added.c[name] for name in OF_CHARGE))
    statement = select(added.c.charge_id).select_from(added.outerjoin(ledger_charge, same)).where(missing)
    return list(connection.execute(statement.limit(FINDINGS_LIMIT)).scalars())


def _out_of_order(connection: Connection) -> list[str]:
    """Accounts whose postings are not numbered 1, 2, 3 …, or hold another balance than the running one."""
    posting = ledger_posting.c
    account = (posting.merchant, posting.processor, posting.currency, posting.kind)
    running = select(
        *account,
        posting.place,
        posting.balance_minor,
        func.row_number().over(partition_by=account, order_by=posting.place).label("nth"),
        func.sum(posting.amount_minor).over(partition_by=account, order_by=posting.place).label("total"),
    ).subquery()
    wrong = or_(running.c.place != running.c.nth, running.c.balance_minor != running.c.total)
    names = select(running.c.merchant, running.c.processor, running.c.currency, running.c.kind).where(wrong).distinct()
    return ["/".join(row) for row in connection.execute(names.limit(FINDINGS_LIMIT))]


def _wrong_reversals(connection: Connection) -> list[str]:
    """Reversals that, together with what they name, leave something in an account."""
    entry, posting = ledger_entry.c, ledger_posting.c
    statement = (
        select(entry.id)
        .join(ledger_posting, or_(posting.entry == entry.id, posting.entry == entry.reverses))
        .where(entry.reverses.is_not(None))
        .group_by(entry.id, posting.merchant, posting.processor, posting.currency, posting.kind)
        .having(func.sum(posting.amount_minor) != 0)
        .distinct()
        .limit(FINDINGS_LIMIT)
    )
    named = and_(entry.kind == EntryKind.REVERSED, entry.reverses.is_(None))
    unnamed = select(entry.id).where(or_(named, and_(entry.kind != EntryKind.REVERSED, entry.reverses.is_not(None))))
    return [*connection.execute(statement).scalars(), *connection.execute(unnamed.limit(FINDINGS_LIMIT)).scalars()]


def _counts(connection: Connection) -> tuple[int, int, dict[int, str]]:
    """Entries, accounts, and what the signed record says: the digest behind so many entries."""
    entries: int = connection.execute(select(func.count()).select_from(ledger_entry)).scalar_one()
    event = audit_event.c
    told = connection.execute(select(event.entry).where(event.resource == RESOURCE).order_by(event.id)).scalars()
    anchors = {data["total"]: data["head"] for data in (json.loads(entry)["data"] for entry in told)}
    return entries, len(balances(connection)), anchors


def _page(connection: Connection, place: int):  # type: ignore[no-untyped-def]  # rows with their postings
    rows = connection.execute(
        select(ledger_entry).where(ledger_entry.c.place >= place).order_by(ledger_entry.c.place).limit(PAGE)
    ).all()
    postings = postings_of(connection, [row.id for row in rows])
    return [(row._asdict(), postings.get(row.id, ())) for row in rows]
