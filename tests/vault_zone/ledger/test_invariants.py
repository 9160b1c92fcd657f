"""The invariants of a ledger, each as a check that books pass, and each with a planted fault that fails it alone.

The list is that of the ledger-conformance-kit (Apache-2.0), as is the method: sound books pass everything, faulty
ones fail what they are faulty in. The sixteenth is of our own: what was refunded comes back once. Amounts are whole
hundreds where a check is not about small change.
"""

import asyncio
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import and_, delete, select, text, update
from sqlalchemy.exc import DBAPIError

from audit.transaction import Transaction
from tests.requirement import requirement
from tests.vault_zone.ledger.books import Books, fact, open_books
from tests.vault_zone.world import MERCHANT
from tokenization.ids import letters_of
from tokenization.money import Money
from vault_zone.ledger import chain, posting
from vault_zone.ledger.accounts import MOVES, Account, EntryKind, Move
from vault_zone.ledger.balances import balances, projection
from vault_zone.ledger.chain import GENESIS, postings_of
from vault_zone.ledger.events import BooksEvent
from vault_zone.ledger.posting import Outcome, Recorded, Refusal
from vault_zone.ledger.verifying import Finding
from vault_zone.models import ledger_account, ledger_entry, ledger_posting

pytestmark = pytest.mark.anyio
K = EntryKind
WRITERS = 8


async def apply(books: Books, *events: BooksEvent) -> list[str]:
    """Facts that must be applied, one after the other; their entries."""
    done = [await books.submit(event) for event in events]
    assert [one.outcome for one in done] == [Outcome.APPLIED] * len(events)
    return [one.entry or "" for one in done]


async def balanced_per_currency(books: Books) -> None:
    await apply(books, fact(K.CAPTURED, 500, "a"), fact(K.CAPTURED, 700, "b", currency="EUR", charge="chg_b"))
    sums: dict[tuple[str, str], int] = {}
    for entry, _, currency, amount, _ in await books.journal():
        sums[entry, currency] = sums.get((entry, currency), 0) + amount
    assert len(sums) == 2
    assert set(sums.values()) == {0}


async def append_only(books: Books) -> None:
    [entry] = await apply(books, fact(K.CAPTURED, 500, "a"))
    of_entry = ledger_entry.c.id == entry
    for statement in (
        update(ledger_entry).where(of_entry).values(amount_minor=1),
        update(ledger_entry).where(of_entry).values(amount_minor=1, place=0, chain_digest="x"),
        delete(ledger_entry).where(of_entry),
        update(ledger_posting).values(amount_minor=1),
        delete(ledger_posting),
        update(ledger_account).values(balance_minor=1),
        delete(ledger_account),
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            await books.database.maintain(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]


async def hash_chain_intact(books: Books) -> None:
    await apply(books, *(fact(K.CAPTURED, 100, f"s{n}") for n in range(4)))
    assert await books.seal() == 4
    await apply(books, fact(K.CAPTURED, 100, "s4"))
    assert await books.seal() == 1
    rows = await books.database.read(lambda c: c.execute(select(ledger_entry).order_by(ledger_entry.c.place)).all())
    digest = GENESIS
    for place, row in enumerate(rows):
        postings = await books.database.read(lambda c, row=row: postings_of(c, [row.id])[row.id])  # type: ignore[misc]
        digest = independent_digest(digest, row._asdict(), [dict(one) for one in postings])
        assert (row.place, row.chain_digest) == (place, digest)


def independent_digest(before: str, entry: Any, postings: list[dict[str, Any]]) -> str:
    """The digest, as docs/ledger.md describes it."""
    own = {name: entry[name] for name in entry if name not in ("place", "chain_digest")}
    parts = [{name: one[name] for name in one if name != "entry"} for one in postings]
    written = json.dumps([before, own, parts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return letters_of(hashlib.sha256(written.encode()).digest())


async def duplicate_is_a_no_op(books: Books) -> None:
    [entry] = await apply(books, fact(K.CAPTURED, 500, "a"))
    again = await books.submit(fact(K.CAPTURED, 500, "a"))
    assert again == Recorded(Outcome.DUPLICATE, entry)
    assert (await books.balance(Account.RECEIVABLE), await books.entries()) == (500, 1)


async def concurrent_duplicates_collapse(books: Books) -> None:
    done = await asyncio.gather(*(books.submit(fact(K.CAPTURED, 500, "a")) for _ in range(WRITERS)))
    assert sorted(one.outcome for one in done) == ["applied"] + ["duplicate"] * (WRITERS - 1)
    assert len({one.entry for one in done}) == 1
    assert await books.balance(Account.RECEIVABLE) == 500


async def no_update_is_lost_on_a_hot_account(books: Books) -> None:
    await asyncio.gather(*(books.submit(fact(K.CAPTURED, 100, f"s{n}", charge=f"c{n}")) for n in range(2 * WRITERS)))
    assert await books.balance(Account.RECEIVABLE) == 2 * WRITERS * 100
    assert await books.balance(Account.SALES) == -2 * WRITERS * 100


async def value_is_conserved(books: Books) -> None:
    await apply(
        books,
        fact(K.AUTHORIZED, 1_000, "a"),
        fact(K.CAPTURED, 700, "b"),
        fact(K.RELEASED, 300, "c"),
        fact(K.REFUNDED, 200, "d"),
        fact(K.FEE_CHARGED, 100, "e"),
        fact(K.PAID_OUT, 400, "f", charge=None),
        fact(K.REFUND_RETURNED, 150, "d"),
    )
    assert await books.balance(Account.RECEIVABLE) == 700 - 200 - 100 - 400 + 150
    assert [await books.balance(one) for one in (Account.HELD, Account.HELD_AGAINST)] == [0, 0]
    assert [await books.balance(one) for one in (Account.FEES, Account.REFUNDS, Account.PAYOUTS)] == [100, 50, 400]


async def balance_is_the_journals_projection(books: Books) -> None:
    await apply(books, fact(K.CAPTURED, 700, "a"), fact(K.FEE_CHARGED, 100, "b"), fact(K.FEE_CHARGED, 100, "c"))
    held, added = await books.database.read(lambda c: (balances(c), projection(c)))
    assert held
    assert held == added


async def overdraft_guard_holds_under_drain(books: Books) -> None:
    await apply(books, fact(K.AUTHORIZED, 1_000, "a"), fact(K.AUTHORIZED, 90_000, "b", charge="chg_b"))
    done = await asyncio.gather(*(books.submit(fact(K.RELEASED, 200, f"r{n}")) for n in range(WRITERS)))
    refused = Recorded(Outcome.REFUSED, refusal=Refusal.MORE_THAN_THERE_IS)
    assert sum(one.outcome is Outcome.APPLIED for one in done) == 5
    assert done.count(refused) == WRITERS - 5
    assert await books.balance(Account.HELD) == 90_000


async def no_precision_drift(books: Books) -> None:
    largest = 10**12 - 1
    amounts = [1, 29, 57, 58, 113, 115, largest, 4_503_599_627]
    await apply(books, *(fact(K.CAPTURED, amount, f"s{n}") for n, amount in enumerate(amounts)))
    assert await books.balance(Account.RECEIVABLE) == sum(amounts)


async def currencies_never_mix(books: Books) -> None:
    for n, currency in enumerate(("USD", "EUR", "JPY", "KWD")):
        await apply(books, fact(K.CAPTURED, 100 * (n + 1), f"s{n}", currency=currency, charge=f"chg_{n}"))
    assert [await books.balance(Account.SALES, one) for one in ("USD", "EUR", "JPY", "KWD")] == [-100, -200, -300, -400]


async def reversal_is_compensation(books: Books) -> None:
    first, second = await apply(books, fact(K.CAPTURED, 500, "a"), fact(K.PAID_OUT, 200, "b", charge=None))
    undone = await books.reverse(first)
    assert undone.outcome is Outcome.APPLIED
    assert await books.reverse(first) == Recorded(Outcome.DUPLICATE, undone.entry)
    assert (await books.reverse(undone.entry or "")).outcome is Outcome.REFUSED
    assert (await books.reverse(second, "other-brand")).outcome is Outcome.REFUSED
    assert [await books.balance(one) for one in (Account.RECEIVABLE, Account.SALES)] == [-200, 0]
    named = await books.database.read(
        lambda c: c.execute(select(ledger_entry.c.reverses).where(ledger_entry.c.id == undone.entry)).scalar_one()
    )
    assert (named, await books.entries()) == (first, 3)


async def state_is_rebuilt_from_the_log(books: Books) -> None:
    """Every fact read back from its entry, and told to another merchant's books, gives the same balances."""
    await apply(
        books,
        fact(K.AUTHORIZED, 900, "a"),
        fact(K.CAPTURED, 600, "b"),
        fact(K.DISPUTE_OPENED, 200, "c"),
        fact(K.DISPUTE_LOST, 200, "d"),
        fact(K.REFUNDED, 100, "e"),
        fact(K.REFUND_RETURNED, 40, "f"),
    )
    rows = await books.database.read(
        lambda c: c.execute(select(ledger_entry).where(ledger_entry.c.merchant == MERCHANT)).all()
    )
    order = ["a", "b", "c", "d", "e", "f"]
    for row in sorted(rows, key=lambda row: order.index(row.source)):
        money = {"amount_minor": row.amount_minor, "source": row.source}
        await apply(books, fact(K(row.kind), **money, charge=row.charge_id, merchant="anew"))
    for account in Account:
        assert await books.balance(account) == await books.balance(account, merchant="anew"), account


async def order_per_account_is_monotonic(books: Books) -> None:
    await asyncio.gather(*(books.submit(fact(K.CAPTURED, 100, f"s{n}", charge=f"c{n}")) for n in range(WRITERS)))
    for account in (Account.RECEIVABLE, Account.SALES):
        places = [place for _, kind, _, _, place in await books.journal() if kind == account]
        assert places == list(range(1, WRITERS + 1))


async def duplicate_of_a_refused_fact_is_not_reported_as_applied(books: Books) -> None:
    await apply(books, fact(K.CAPTURED, 500, "a"))
    refused = Recorded(Outcome.REFUSED, refusal=Refusal.SOURCE_CONFLICT)
    for other in (fact(K.CAPTURED, 600, "a"), fact(K.CAPTURED, 500, "a", charge="chg_b")):
        assert [await books.submit(other) for _ in range(3)] == [refused] * 3
    assert await books.balance(Account.RECEIVABLE) == 500


async def no_more_comes_back_than_was_refunded(books: Books) -> None:
    await apply(books, fact(K.CAPTURED, 900, "a"), fact(K.REFUNDED, 500, "b"))
    await apply(books, fact(K.CAPTURED, 900, "c", charge="chg_b"), fact(K.REFUNDED, 500, "d", charge="chg_b"))
    done = await asyncio.gather(*(books.submit(fact(K.REFUND_RETURNED, 200, f"r{n}")) for n in range(WRITERS)))
    refused = Recorded(Outcome.REFUSED, refusal=Refusal.MORE_THAN_THERE_IS)
    assert sum(one.outcome is Outcome.APPLIED for one in done) == 2
    assert done.count(refused) == WRITERS - 2
    assert await books.submit(fact(K.REFUND_RETURNED, 1, "r", charge="chg_c")) == refused, "of a charge with no refund"
    assert (await books.submit(fact(K.REFUNDED, 800, "e"))).outcome is Outcome.APPLIED, "what came back is there again"
    assert await books.balance(Account.REFUNDS) == 500 - 400 + 800 + 500


Check = Callable[[Books], Awaitable[None]]
INVARIANTS: dict[str, Check] = {
    check.__name__: check
    for check in (
        balanced_per_currency,
        append_only,
        hash_chain_intact,
        duplicate_is_a_no_op,
        concurrent_duplicates_collapse,
        no_update_is_lost_on_a_hot_account,
        value_is_conserved,
        balance_is_the_journals_projection,
        overdraft_guard_holds_under_drain,
        no_precision_drift,
        currencies_never_mix,
        reversal_is_compensation,
        state_is_rebuilt_from_the_log,
        order_per_account_is_monotonic,
        duplicate_of_a_refused_fact_is_not_reported_as_applied,
        no_more_comes_back_than_was_refunded,
    )
}


@requirement("10.3.2")
@pytest.mark.parametrize("name", INVARIANTS)
async def test_the_books_hold_each_invariant(database_url: str, name: str) -> None:
    async with open_books(database_url) as books:
        await INVARIANTS[name](books)
        assert (await books.verify()).findings == ()


# Planted faults, one for each invariant: other functions in place of the real ones, or other verbs.

real_deltas, real_write, real_take = posting._deltas, posting._write, posting._take
real_digest_of = chain.digest_of
Deltas = dict[Account, int]


def short_by_a_dollar(tx: Transaction, entry: str, place: Any, deltas: Deltas) -> None:
    """The credit of a sale in euros is one short."""
    lost = 100 * (place.currency == "EUR")
    real_write(tx, entry, place, {one: delta + lost * (one is Account.SALES) for one, delta in deltas.items()})


class LosesADollar(Books):
    """The credit of a sale is a hundred short, and nobody adds up."""

    planted = ((posting, "_is_balanced", lambda _: True), (posting, "_write", short_by_a_dollar))

    async def balance(self, account: Account, currency: str = "USD", merchant: str = MERCHANT) -> int:
        """What the sales account should hold: the fault is in the postings alone."""
        missing = 100 * (account is Account.SALES and currency == "EUR")
        return await super().balance(account, currency, merchant) - missing


class ForgetsItsTriggers(Books):
    """The database no longer refuses."""

    async def submit(self, event: BooksEvent) -> Recorded:
        await self.unguarded()
        return await super().submit(event)


class ChainsNothing(Books):
    """Each digest stands for its entry alone."""

    planted = ((chain, "digest_of", lambda _, entry, postings: real_digest_of(GENESIS, entry, postings)),)


class TakesDuplicatesAsNew(Books):
    """The second of two like facts is another one, unless they come together."""

    under_way = seen = 0

    async def submit(self, event: BooksEvent) -> Recorded:
        self.under_way += 1
        try:
            await asyncio.sleep(0)
            if self.under_way == 1 and await self._is_known(event):
                self.seen += 1
                event = dataclasses.replace(event, source=f"{event.source}+{self.seen}")
            return await super().submit(event)
        finally:
            self.under_way -= 1

    async def _is_known(self, event: BooksEvent) -> bool:
        known = await self.database.read(lambda c: posting._known(Transaction(c, 0), event))
        return known is not None and posting._judged(known, event).outcome is Outcome.DUPLICATE


class LooksBeforeItWrites(Books):
    """A duplicate is looked for in one transaction, and the fact written in the next, whatever happened meanwhile."""

    writes = 0

    async def submit(self, event: BooksEvent) -> Recorded:
        if await self.database.read(lambda c: posting._known(Transaction(c, 0), event)):
            return await super().submit(event)
        self.writes += 1
        nth = self.writes

        def write(tx: Transaction) -> Recorded:
            taken = posting._known(tx, event)
            return posting.record(tx, dataclasses.replace(event, source=f"{event.source}+{nth}") if taken else event)

        return await self.database.maintain(write)


class WritesWhatItRead(Books):
    """A balance is read, added to, and written back later."""

    async def submit(self, event: BooksEvent) -> Recorded:
        await self.unguarded("ledger_account")
        before = await self.balance(Account.SALES, event.amount.currency, event.merchant)
        done = await super().submit(event)
        if done.outcome is Outcome.APPLIED and event.kind is K.CAPTURED:
            table = ledger_account.c
            row = and_(
                table.kind == Account.SALES,
                table.currency == event.amount.currency,
                table.merchant == event.merchant,
            )
            back = update(ledger_account).where(row).values(balance_minor=before - event.amount.amount_minor)
            await self.database.maintain(lambda tx: tx.execute(back))
        return done


class PaysFeesFromNowhere(Books):
    """A fee is not taken from what the processor holds."""

    planted = ((posting, "MOVES", {**MOVES, K.FEE_CHARGED: Move(Account.FEES, Account.SUSPENSE)}),)


class BalanceOfItsOwn(Books):
    """The row of an account is moved without a posting."""

    async def submit(self, event: BooksEvent) -> Recorded:
        done = await super().submit(event)
        if event.kind is K.FEE_CHARGED and event.source == "c":
            fees = ledger_account.c.kind == Account.FEES
            moved = {"balance_minor": ledger_account.c.balance_minor + 1, "postings": ledger_account.c.postings + 1}
            await self.database.maintain(lambda tx: tx.execute(update(ledger_account).where(fees).values(**moved)))
        return done


class LetsGoOfWhatItHasNot(Books):
    """What a charge holds is not looked at."""

    planted = ((posting, "_take", lambda *of, **how: real_take(*of, **how) or 0),)


class ReckonsInFloats(Books):
    """Minor units become major ones on the way, and minor ones again."""

    planted = ((posting, "_deltas", lambda move, minor: real_deltas(move, int(minor / 100 * 100))),)


class KnowsFewCurrencies(Books):
    """What is not known is taken for dollars."""

    async def submit(self, event: BooksEvent) -> Recorded:
        if event.amount.currency not in ("USD", "EUR"):
            event = dataclasses.replace(event, amount=Money(event.amount.amount_minor, "USD"))
        return await super().submit(event)


def repeated(tx: Transaction, entry: str, place: Any, deltas: Deltas) -> None:
    """A reversal has the postings of what it undoes."""
    undoes = tx.execute(select(ledger_entry.c.reverses).where(ledger_entry.c.id == entry)).scalar_one() is not None
    real_write(tx, entry, place, {one: -delta if undoes else delta for one, delta in deltas.items()})


class ReversesByRepeating(Books):
    """The reversal does the same again."""

    planted = ((posting, "_write", repeated),)


def more_than_said(tx: Transaction, entry: str, place: Any, deltas: Deltas) -> None:
    """A dispute's postings are a hundred more than its entry says."""
    more = 100 * (Account.DISPUTED in deltas and place.merchant == MERCHANT)
    real_write(tx, entry, place, {one: d + more * ((d > 0) - (d < 0)) for one, d in deltas.items()})


class SaysLessThanItDoes(Books):
    """An entry says another amount than its postings move."""

    planted = ((posting, "_write", more_than_said),)


def with_a_gap(tx: Transaction, entry: str, place: Any, deltas: Deltas) -> None:
    """Places leave out a thousand."""
    real_write(tx, entry, place, deltas)
    gap = {"place": ledger_posting.c.place + 1000}
    tx.execute(update(ledger_posting).where(ledger_posting.c.entry == entry).values(**gap))


class LeavesGaps(Books):
    """An account's postings are not numbered one after the other."""

    planted = ((posting, "_write", with_a_gap),)

    async def submit(self, event: BooksEvent) -> Recorded:
        await self.unguarded("ledger_posting")
        return await super().submit(event)


class TakesARefusalForADuplicate(Books):
    """Whatever stands under the source is taken for the same."""

    async def submit(self, event: BooksEvent) -> Recorded:
        done = await super().submit(event)
        is_refused = done.refusal is Refusal.SOURCE_CONFLICT
        return Recorded(Outcome.DUPLICATE, "len_x") if is_refused else done


class TakesBackWhatItNeverGave(Books):
    """What was refunded of a charge is not looked at when some of it comes back."""

    planted = (
        (
            posting,
            "_take",
            lambda tx, place, charge, deltas, **how: (
                0 if deltas.get(Account.REFUNDS, 0) < 0 else real_take(tx, place, charge, deltas, **how)
            ),
        ),
    )


FAULTS: dict[str, type[Books]] = dict(
    zip(
        INVARIANTS,
        (
            LosesADollar,
            ForgetsItsTriggers,
            ChainsNothing,
            TakesDuplicatesAsNew,
            LooksBeforeItWrites,
            WritesWhatItRead,
            PaysFeesFromNowhere,
            BalanceOfItsOwn,
            LetsGoOfWhatItHasNot,
            ReckonsInFloats,
            KnowsFewCurrencies,
            ReversesByRepeating,
            SaysLessThanItDoes,
            LeavesGaps,
            TakesARefusalForADuplicate,
            TakesBackWhatItNeverGave,
        ),
        strict=True,
    )
)


class ReturnsRefundsToSales(Books):
    """Money that came back is a sale."""

    planted = ((posting, "MOVES", {**MOVES, K.REFUND_RETURNED: Move(Account.RECEIVABLE, Account.SALES)}),)


async def broken_by(kind: type[Books], check: Check, database_url: str) -> bool:
    """Whether these books fail the check."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, fault in kind.planted:
            patch.setattr(module, name, fault, raising=False)
        async with open_books(database_url, kind) as books:
            try:
                await check(books)
            except (AssertionError, pytest.fail.Exception):
                return True
    return False


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_found_by_its_invariant(database_url: str, name: str) -> None:
    assert await broken_by(FAULTS[name], INVARIANTS[name], database_url)


async def test_a_refund_that_came_back_and_became_a_sale_is_found(database_url: str) -> None:
    assert await broken_by(ReturnsRefundsToSales, value_is_conserved, database_url)


# Who may write anything at all, also what was written, fails what the triggers keep others from as well.
@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_found_by_no_other_invariant(tmp_path: Path, name: str) -> None:
    async with open_books(f"sqlite:///{tmp_path / 'empty'}"):
        pass
    found = set()
    for other, check in INVARIANTS.items():
        shutil.copy(tmp_path / "empty", tmp_path / other)
        if await broken_by(FAULTS[name], check, f"sqlite:///{tmp_path / other}"):
            found.add(other)
    needs_no_trigger = {"no_update_is_lost_on_a_hot_account", "order_per_account_is_monotonic"}
    also = {"append_only"} if name in needs_no_trigger else set()
    if name == "overdraft_guard_holds_under_drain":  # who looks at nothing that a charge has looks at no refund either
        also = {"no_more_comes_back_than_was_refunded"}
    assert found == {name} | also


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE ledger_posting SET amount_minor = amount_minor + 1 WHERE kind = 'sales'", Finding.UNBALANCED),
        ("DELETE FROM ledger_posting", Finding.UNBALANCED),
        ("UPDATE ledger_posting SET currency = 'EUR' WHERE kind = 'sales'", Finding.MIXED),
        ("UPDATE ledger_account SET balance_minor = balance_minor + 1", Finding.BALANCE_DIFFERS),
        ("DELETE FROM ledger_account", Finding.BALANCE_DIFFERS),
        ("UPDATE ledger_charge SET kept_minor = kept_minor + 1", Finding.BALANCE_DIFFERS),
        ("DELETE FROM ledger_charge", Finding.BALANCE_DIFFERS),
        ("UPDATE ledger_posting SET place = place + 1000 WHERE kind = 'sales'", Finding.ORDER_BROKEN),
        ("UPDATE ledger_posting SET balance_minor = 0", Finding.ORDER_BROKEN),
        ("UPDATE ledger_entry SET reverses = NULL WHERE kind = 'reversed'", Finding.REVERSAL_DIFFERS),
        ("UPDATE ledger_entry SET amount_minor = 1", Finding.CHAIN_BROKEN),
        ("UPDATE ledger_entry SET chain_digest = 'x' WHERE place = 2", Finding.CHAIN_BROKEN),
        ("UPDATE ledger_entry SET chain_digest = NULL, place = NULL WHERE place = 3", Finding.HEAD_DIFFERS),
    ],
)
async def test_verification_finds_what_was_done_behind_the_databases_back(
    database_url: str, statement: str, finding: Finding
) -> None:
    async with open_books(database_url) as books:
        [first, _, _] = await apply(books, *(fact(K.CAPTURED, 500, f"s{n}", charge=f"c{n}") for n in range(3)))
        await books.reverse(first)
        await books.seal()
        assert (await books.verify()).findings == ()
        await books.unguarded()
        await books.database.maintain(lambda tx: tx.execute(text(statement)))
        assert finding in {found for found, _ in (await books.verify()).findings}


KINDS = st.sampled_from(
    [
        *(K.AUTHORIZED, K.RELEASED, K.CAPTURED, K.REFUNDED, K.REFUND_RETURNED, K.FEE_CHARGED),
        *(K.DISPUTE_OPENED, K.DISPUTE_WON, K.DISPUTE_LOST),
    ]
)
STEPS = st.lists(
    st.tuples(
        KINDS, st.integers(1, 400), st.integers(0, 9), st.sampled_from(["c0", "c1"]), st.sampled_from(["USD", "JPY"])
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_is_told_in_whatever_order_the_books_hold_together(database_url: str, steps: list[Any]) -> None:
    async with open_books(database_url) as books:
        merchant = f"m{await books.entries()}-{len(steps)}"
        model: dict[tuple[str, str], int] = {}
        for kind, amount, source, charge, currency in steps:
            told = fact(kind, amount, f"{merchant}-{source}", charge=charge, currency=currency, merchant=merchant)
            done = await books.submit(told)
            if done.outcome is Outcome.APPLIED:
                move = MOVES[kind]
                if kind is not K.AUTHORIZED and kind is not K.RELEASED:
                    model[move.debit, currency] = model.get((move.debit, currency), 0) + amount
                    model[move.credit, currency] = model.get((move.credit, currency), 0) - amount
            assert (await books.submit(told)).outcome is not Outcome.APPLIED
        await books.seal()
        for (account, currency), expected in model.items():
            assert await books.balance(Account(account), currency, merchant) == expected
        assert (await books.verify()).findings == ()
