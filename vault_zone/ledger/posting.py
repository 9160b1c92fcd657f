"""One entry for one fact, in the transaction that the fact belongs to.

What holds for an entry:
 1. It is written once for its merchant, kind and source. The same fact again changes nothing and says so; another fact under
    the same source is refused, and so is, again, one that was refused before: a refusal leaves nothing behind.
 2. Its postings are in one currency, one merchant's and one processor's accounts, and add up to zero.
 3. Nobody lets go of, refunds, has returned, or decides more of a charge than there was.
 4. Each account's row moves by its posting in the same transaction, in one statement that takes the rows in the accounts'
    order: no update is lost, and the posting holds its place in the account and the balance behind it.
 5. An entry is undone only by another one with the opposite postings, which names it, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Row, String, TextClause, bindparam, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import new_id
from tokenization.money import Money
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger.accounts import (
    CASH_EFFECT,
    MOVES,
    NEVER_BELOW_ZERO,
    OF_CHARGE,
    RELEASE,
    Account,
    EntryKind,
    Move,
)
from vault_zone.ledger.events import BooksEvent, UnexplainedGain, UnexplainedLoss
from vault_zone.models import ledger_account, ledger_charge, ledger_entry, ledger_posting


class Outcome(StrEnum):
    """What became of a fact."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"  # it is in the books already, just so
    REFUSED = "refused"  # nothing was written


class Refusal(StrEnum):
    """Why nothing was written."""

    SOURCE_CONFLICT = "source_conflict"  # another fact stands under this source
    MORE_THAN_THERE_IS = "more_than_there_is"
    NOT_REVERSIBLE = "not_reversible"  # unknown, itself a reversal, reversed before, or used up since


@dataclass(frozen=True, slots=True)
class Recorded:
    """``entry`` is the entry's id unless the fact was refused; ``refusal`` is why it was."""

    outcome: Outcome
    entry: str | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose accounts an entry is in."""

    merchant: str
    processor: str
    currency: str


def post(tx: Transaction, event: BooksEvent) -> None:
    """Records what the processor stated, whatever the books think of it: the hook for who moves a charge.

    A fact that the books refuse is on record as such; what the processor's balance shows of it goes to suspense.
    """
    done = record(tx, event)
    if done.refusal is None:
        return
    tx.record(
        Event(
            type=EventType.LEDGER_REFUSED,
            outcome="failure",
            actor=f"processor:{event.processor}",
            origin=ORIGIN,
            resource=event.charge or f"merchant:{event.merchant}",
            merchant=event.merchant,
            data={
                "kind": event.kind,
                "reason": done.refusal,
                "amount_minor": event.amount.amount_minor,
                "currency": event.amount.currency,
            },
        )
    )
    effect = CASH_EFFECT.get(event.kind)
    if effect is not None and done.refusal is Refusal.MORE_THAN_THERE_IS:
        fact = UnexplainedGain if effect is EntryKind.UNEXPLAINED_GAIN else UnexplainedLoss
        record(tx, fact(event.merchant, event.charge, event.source, event.amount, event.processor))


def record(tx: Transaction, event: BooksEvent) -> Recorded:
    """Writes the fact into the books, if they allow it, and says what became of it (1)."""
    place = _Place(event.merchant, event.processor, event.amount.currency)
    amount_minor = event.amount.amount_minor
    deltas = _deltas(MOVES[event.kind], amount_minor)
    ends_minor = amount_minor if event.kind is EntryKind.CAPTURED else 0
    ended = _take(tx, place, event.charge, deltas, ends_minor=ends_minor)  # (3)
    if ended:
        deltas |= _deltas(RELEASE, ended)
    entry = new_id("len")
    if ended is not None and _inserted(tx, entry, event.kind, event.source, event.charge, place, amount_minor):
        _write(tx, entry, place, deltas)
        return Recorded(Outcome.APPLIED, entry)
    if ended is not None:
        _take(tx, place, event.charge, _opposite(deltas))  # nothing is left of what is not new
    known = _known(tx, event)
    refusal = Refusal.MORE_THAN_THERE_IS if ended is None else Refusal.SOURCE_CONFLICT
    return _judged(known, event) if known else Recorded(Outcome.REFUSED, refusal=refusal)


def reverse(tx: Transaction, entry: str, merchant: str) -> Recorded:
    """Writes the opposite of an entry of the merchant's, once (5)."""
    found = tx.execute(select(ledger_entry).where(ledger_entry.c.id == entry)).first()
    if found is None or found.merchant != merchant:
        return Recorded(Outcome.REFUSED, refusal=Refusal.NOT_REVERSIBLE)
    undone = tx.execute(select(ledger_entry.c.id).where(ledger_entry.c.reverses == entry)).scalar()
    if undone is not None:
        return Recorded(Outcome.DUPLICATE, undone)
    place = _Place(found.merchant, found.processor, found.currency)
    posted = ledger_posting.c
    rows = tx.execute(select(posted.kind, posted.amount_minor).where(posted.entry == entry))
    deltas = {Account(row.kind): -row.amount_minor for row in rows}
    if found.kind == EntryKind.REVERSED or _would_overdraw(tx, place, deltas):
        return Recorded(Outcome.REFUSED, refusal=Refusal.NOT_REVERSIBLE)
    if _take(tx, place, found.charge_id, deltas) is None:
        return Recorded(Outcome.REFUSED, refusal=Refusal.NOT_REVERSIBLE)
    undoing = new_id("len")
    _inserted(tx, undoing, EntryKind.REVERSED, entry, found.charge_id, place, found.amount_minor, reverses=entry)
    _write(tx, undoing, place, deltas)
    return Recorded(Outcome.APPLIED, undoing)


def _inserted(
    tx: Transaction,
    entry: str,
    kind: EntryKind,
    source: str,
    charge: str | None,
    place: _Place,
    amount_minor: int,
    *,
    reverses: str | None = None,
) -> bool:
    """(1) Whether the entry is new: the database tells, also between two transactions."""
    values = {
        "id": entry,
        "merchant": place.merchant,
        "kind": kind,
        "source": source,
        "charge_id": charge,
        "processor": place.processor,
        "currency": place.currency,
        "amount_minor": amount_minor,
        "reverses": reverses,
        "recorded_ms": tx.now_ms,
    }
    return tx.execute(_entry_insert(tx.connection.dialect.name), values).rowcount == 1


def _write(tx: Transaction, entry: str, place: _Place, deltas: Mapping[Account, int]) -> None:
    """(2) (4) Moves the accounts and writes the postings."""
    moved = {account: delta for account, delta in sorted(deltas.items()) if delta}
    if not _is_balanced(moved):
        raise Unbalanced
    behind = {Account(row.kind): row for row in tx.execute(_account_moves(len(moved)), _moves_of(place, moved))}
    tx.execute(
        ledger_posting.insert(),
        [
            {
                "entry": entry,
                "kind": account,
                "merchant": place.merchant,
                "processor": place.processor,
                "currency": place.currency,
                "amount_minor": delta,
                "place": behind[account].postings,
                "balance_minor": behind[account].balance_minor,
            }
            for account, delta in moved.items()
        ],
    )


def _is_balanced(moved: Mapping[Account, int]) -> bool:
    return sum(moved.values()) == 0


class Unbalanced(RuntimeError):
    """An entry's postings do not add up to zero. A defect of ours; nothing is committed."""


@cache
def _account_moves(count: int) -> TextClause:
    """(4) One statement for all ``count`` accounts of an entry, new ones among them, as both databases understand it.

    A database checks the row that is proposed before it finds the one that is there, so what would be proposed below zero for
    an account that never is goes in as zero; such an account exists by then (3).
    """
    each = range(count)
    rows = ", ".join(f"(:merchant, :processor, :currency, :kind_{n}, :proposed_{n}, 1)" for n in each)
    deltas = " ".join(f"WHEN :kind_{n} THEN :delta_{n}" for n in each)
    statement = (
        "INSERT INTO ledger_account (merchant, processor, currency, kind, balance_minor, postings) "  # nosec B608
        f"VALUES {rows} ON CONFLICT (merchant, processor, currency, kind) DO UPDATE "  # only names that are made here
        f"SET balance_minor = ledger_account.balance_minor + CASE ledger_account.kind {deltas} END, "
        "postings = ledger_account.postings + 1 RETURNING kind, balance_minor, postings"
    )
    names = (*(f"proposed_{n}" for n in each), *(f"delta_{n}" for n in each))
    texts = ("merchant", "processor", "currency", *(f"kind_{n}" for n in each))
    return text(statement).bindparams(
        *(bindparam(name, type_=BigInteger) for name in names), *(bindparam(name, type_=String) for name in texts)
    )


def _moves_of(place: _Place, moved: Mapping[Account, int]) -> dict[str, str | int]:
    values: dict[str, str | int] = {
        "merchant": place.merchant,
        "processor": place.processor,
        "currency": place.currency,
    }
    for n, (account, delta) in enumerate(moved.items()):
        proposed = max(delta, 0) if account in NEVER_BELOW_ZERO else delta
        values |= {f"kind_{n}": account.value, f"delta_{n}": delta, f"proposed_{n}": proposed}
    return values


@cache
def _entry_insert(dialect: str) -> Any:
    """The database's own INSERT: what to do on a conflict is not in the common one. To build it takes longer than to run it."""
    insert = (sqlite if dialect == "sqlite" else postgresql).insert
    return insert(ledger_entry).on_conflict_do_nothing(index_elements=["merchant", "kind", "source"])


def _deltas(move: Move, amount_minor: int) -> dict[Account, int]:
    return {move.debit: amount_minor, move.credit: -amount_minor}


def _opposite(deltas: Mapping[Account, int]) -> dict[Account, int]:
    return {account: -delta for account, delta in deltas.items()}


# (3) Written as an insert that meets the row it is for: a row that is looked up first is, to PostgreSQL's serializable
# transactions, a read of its neighbours too, and writers of other charges would fail each other.
_TAKE: Final = text(
    "INSERT INTO ledger_charge (charge_id, merchant, processor, currency, "
    "held_minor, kept_minor, refunded_minor, disputed_minor, ended_minor, facts) "
    "VALUES (:charge, :merchant, :processor, :currency, :new_held, :new_kept, :new_refunded, :new_disputed, 0, 1) "
    "ON CONFLICT (charge_id, merchant, processor, currency) DO UPDATE SET "
    "ended_minor = CASE WHEN ledger_charge.held_minor < :ends THEN ledger_charge.held_minor ELSE :ends END, "
    "held_minor = ledger_charge.held_minor + :held "
    "- CASE WHEN ledger_charge.held_minor < :ends THEN ledger_charge.held_minor ELSE :ends END, "
    "kept_minor = ledger_charge.kept_minor + :kept, refunded_minor = ledger_charge.refunded_minor + :refunded, "
    "disputed_minor = ledger_charge.disputed_minor + :disputed, facts = ledger_charge.facts + 1 "
    "WHERE ledger_charge.held_minor + :held >= 0 AND ledger_charge.kept_minor + :kept >= 0 "
    "AND ledger_charge.refunded_minor + :refunded >= 0 AND ledger_charge.disputed_minor + :disputed >= 0 "
    "RETURNING ended_minor, facts"
).bindparams(
    *(bindparam(name, type_=String) for name in ("charge", "merchant", "processor", "currency")),
    *(bindparam(name, type_=BigInteger) for name in ("held", "kept", "refunded", "disputed", "ends")),
    *(bindparam(name, type_=BigInteger) for name in ("new_held", "new_kept", "new_refunded", "new_disputed")),
)


def _take(
    tx: Transaction, place: _Place, charge: str | None, deltas: Mapping[Account, int], *, ends_minor: int = 0
) -> int | None:
    """(3) Moves what the books hold of the charge; how much of what was held ends with it, None when there is not enough."""
    moved = {
        name.removesuffix("_minor"): sum(sign * deltas.get(account, 0) for account, sign in accounts.items())
        for name, accounts in OF_CHARGE.items()
    }
    takes = min(moved.values()) < 0
    if charge is None:
        return None if takes else 0
    if not any(moved.values()):
        return 0
    key = {"charge": charge, "merchant": place.merchant, "processor": place.processor, "currency": place.currency}
    new = {f"new_{name}": max(value, 0) for name, value in moved.items()}
    row = tx.execute(_TAKE, {**key, **moved, **new, "ends": ends_minor}).first()
    if row is not None and takes and row.facts == 1:  # there was nothing to take from
        row_of = ledger_charge.c
        tx.execute(
            delete(ledger_charge).where(
                row_of.charge_id == charge,
                row_of.merchant == place.merchant,
                row_of.processor == place.processor,
                row_of.currency == place.currency,
            )
        )
        return None
    return None if row is None else int(row.ended_minor)


def _would_overdraw(tx: Transaction, place: _Place, deltas: Mapping[Account, int]) -> bool:
    table = ledger_account.c
    taken = {account: delta for account, delta in deltas.items() if delta < 0 and account in NEVER_BELOW_ZERO}
    rows = tx.execute(
        select(table.kind, table.balance_minor).where(
            table.merchant == place.merchant,
            table.processor == place.processor,
            table.currency == place.currency,
            table.kind.in_(taken),
        )
    )
    return any(row.balance_minor + taken[Account(row.kind)] < 0 for row in rows)


def _known(tx: Transaction, event: BooksEvent) -> "Row[Any] | None":
    entry = ledger_entry.c
    return tx.execute(
        select(ledger_entry).where(
            entry.merchant == event.merchant, entry.kind == event.kind, entry.source == event.source
        )
    ).first()


def _judged(known: "Row[Any]", event: BooksEvent) -> Recorded:
    """(1) The same fact is a duplicate; another one under its source is not."""
    same = (
        known.charge_id == event.charge
        and known.processor == event.processor
        and Money(known.amount_minor, known.currency) == event.amount
    )
    return Recorded(Outcome.DUPLICATE, known.id) if same else Recorded(Outcome.REFUSED, refusal=Refusal.SOURCE_CONFLICT)
