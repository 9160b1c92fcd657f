"""The books over HTTP: balances, entries, verification. Undoing an entry is an operation of two people (operations_api.py)."""

from typing import Annotated

from fastapi import APIRouter, Query

from tokenization.wire import Wire
from vault_zone.access import EVERY_MERCHANT, Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.ledger.accounts import Account, EntryKind
from vault_zone.ledger.balances import balances
from vault_zone.ledger.entries import PAGE_LIMIT, journal
from vault_zone.ledger.verifying import Finding, verify
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1")


class BalanceView(Wire):
    """An account: debits less credits, and of how many postings."""

    processor: str
    currency: str
    account: Account
    balance_minor: int
    postings: int


class BalanceList(Wire):
    """A merchant's accounts, by processor, currency and account."""

    balances: tuple[BalanceView, ...]


class PostingView(Wire):
    """A debit, or below zero a credit, and the account's balance behind it."""

    account: Account
    amount_minor: int
    balance_minor: int


class EntryView(Wire):
    """An entry. ``place`` and ``digest`` are None until the sealing pass has come by."""

    entry: str
    kind: EntryKind
    charge: str | None
    source: str
    processor: str
    currency: str
    amount_minor: int
    reverses: str | None
    recorded_ms: int
    place: int | None
    digest: str | None
    postings: tuple[PostingView, ...]


class EntryList(Wire):
    """Newest first. The last one's id, as ``before``, asks for the page behind it."""

    entries: tuple[EntryView, ...]


class FindingView(Wire):
    """What is wrong, and where."""

    finding: Finding
    where: str


class Verification(Wire):
    """``findings`` is empty when the books hold together. ``head`` is the chain's newest digest."""

    entries: int
    sealed: int
    accounts: int
    head: str
    findings: tuple[FindingView, ...]


@router.get("/merchants/{merchant}/ledger/balances")
async def get_balances(
    merchant: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_LEDGER)]
) -> BalanceList:
    """What the merchant's accounts hold."""
    rows = await zone.database.read(lambda connection: balances(connection, merchant))
    return BalanceList(
        balances=tuple(
            BalanceView(
                processor=key.processor,
                currency=key.currency,
                account=key.kind,
                balance_minor=row.balance_minor,
                postings=row.postings,
            )
            for key, row in sorted(rows.items())
        )
    )


@router.get("/merchants/{merchant}/ledger/entries")
async def get_entries(
    merchant: str,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.READ_LEDGER)],
    charge: Annotated[str | None, Query(max_length=40)] = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 50,
) -> EntryList:
    """The merchant's journal, of one charge or of all."""
    found = await zone.database.read(
        lambda connection: journal(connection, merchant, charge=charge, before=before, limit=limit)
    )
    return EntryList(
        entries=tuple(
            EntryView(
                entry=row.id,
                kind=EntryKind(row.kind),
                charge=row.charge_id,
                source=row.source,
                processor=row.processor,
                currency=row.currency,
                amount_minor=row.amount_minor,
                reverses=row.reverses,
                recorded_ms=row.recorded_ms,
                place=row.place,
                digest=row.chain_digest,
                postings=tuple(
                    PostingView(account=Account(account), amount_minor=amount, balance_minor=behind)
                    for account, amount, behind in postings
                ),
            )
            for row, postings in found
        )
    )


@router.get("/ledger/verification")
async def get_verification(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_VERIFICATION)]) -> Verification:
    """Whether the books of all merchants hold together, from the rows themselves."""
    caller.acting_for(EVERY_MERCHANT)
    done = await verify(zone.database)
    return Verification(
        entries=done.entries,
        sealed=done.sealed,
        accounts=done.accounts,
        head=done.head,
        findings=tuple(FindingView(finding=finding, where=where) for finding, where in done.findings),
    )
