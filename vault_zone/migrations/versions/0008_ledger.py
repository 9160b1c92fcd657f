"""The books, append-only by trigger, and what processors' reports are held against them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UNSEALED = sa.text("place IS NULL")
_REFUSAL = "the ledger is append-only"
_ENTRY = (
    *("id", "merchant", "kind", "source", "charge_id", "processor", "currency"),
    *("amount_minor", "reverses", "recorded_ms"),
)
_SEALS = "old.place IS NULL AND new.place IS NOT NULL AND new.chain_digest IS NOT NULL AND " + " AND ".join(
    f"new.{name} IS {{same}} old.{name}" for name in _ENTRY
)
_COUNTS = (
    "new.postings = old.postings + 1 AND new.merchant = old.merchant AND new.processor = old.processor "
    "AND new.currency = old.currency AND new.kind = old.kind"
)


def upgrade() -> None:
    """Adds the tables, then the triggers that keep the books as they were written."""
    _books()
    _reports()
    for table, allowed in (("ledger_posting", ""), ("ledger_entry", _SEALS), ("ledger_account", _COUNTS)):
        _guard(table, allowed)


def _books() -> None:
    op.create_table(
        "ledger_account",
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("postings", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant", "processor", "currency", "kind"),
        sa.CheckConstraint(
            "kind NOT IN ('held', 'disputed') OR balance_minor >= 0", name="ck_ledger_account_overdraft"
        ),
    )
    op.create_table(
        "ledger_charge",
        sa.Column("charge_id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("held_minor", sa.BigInteger(), nullable=False),
        sa.Column("kept_minor", sa.BigInteger(), nullable=False),
        sa.Column("disputed_minor", sa.BigInteger(), nullable=False),
        sa.Column("ended_minor", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("charge_id", "merchant", "processor", "currency"),
        sa.CheckConstraint(
            "held_minor >= 0 AND kept_minor >= 0 AND disputed_minor >= 0", name="ck_ledger_charge_overdraft"
        ),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("source", sa.String(80), nullable=False),
        sa.Column("charge_id", sa.String(40), nullable=True),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reverses", sa.String(40), sa.ForeignKey("ledger_entry.id"), nullable=True),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("chain_digest", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("reverses"),
        sa.UniqueConstraint("place"),
        sa.CheckConstraint("amount_minor > 0", name="ck_ledger_entry_amount"),
    )
    op.create_index("uq_ledger_entry_source", "ledger_entry", ["merchant", "kind", "source"], unique=True)
    op.create_index("ix_ledger_entry_charge", "ledger_entry", ["charge_id"])
    op.create_index("ix_ledger_entry_merchant", "ledger_entry", ["merchant", "recorded_ms"])
    op.create_index(
        "ix_ledger_entry_unsealed",
        "ledger_entry",
        ["recorded_ms"],
        sqlite_where=_UNSEALED,
        postgresql_where=_UNSEALED,
    )
    op.create_table(
        "ledger_posting",
        sa.Column("entry", sa.String(40), sa.ForeignKey("ledger_entry.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry", "kind"),
        sa.CheckConstraint("amount_minor <> 0", name="ck_ledger_posting_amount"),
    )
    op.create_index(
        "uq_ledger_posting_place",
        "ledger_posting",
        ["merchant", "processor", "currency", "kind", "place"],
        unique=True,
    )


def _reports() -> None:
    op.create_table(
        "settlement",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_ms", sa.BigInteger(), nullable=True),
        sa.Column("started_by", sa.String(50), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("uq_settlement_digest", "settlement", ["merchant", "processor", "digest"], unique=True)
    op.create_table(
        "settlement_line",
        sa.Column("merchant", sa.String(64), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("reported_id", sa.String(80), nullable=False),
        sa.Column("settlement", sa.String(40), sa.ForeignKey("settlement.id"), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("charge_id", sa.String(40), nullable=True),
        sa.Column("modification_id", sa.String(40), nullable=True),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("payout", sa.String(80), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant", "processor", "reported_id"),
    )
    op.create_index("ix_settlement_line_charge", "settlement_line", ["charge_id"])
    op.create_index("ix_settlement_line_settlement", "settlement_line", ["settlement"])
    op.create_table(
        "settlement_break",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("settlement", sa.String(40), sa.ForeignKey("settlement.id"), nullable=False),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("code", sa.String(30), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("charge_id", sa.String(40), nullable=True),
        sa.Column("ours_minor", sa.BigInteger(), nullable=True),
        sa.Column("theirs_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("entry", sa.String(40), sa.ForeignKey("ledger_entry.id"), nullable=True),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
        sa.Column("resolved_ms", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by", sa.String(50), nullable=True),
        sa.Column("reason", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("(resolved_ms IS NULL) = (resolved_by IS NULL)", name="ck_settlement_break_resolved"),
    )
    op.create_index(
        "uq_settlement_break_subject",
        "settlement_break",
        ["merchant", "processor", "code", "subject"],
        unique=True,
    )
    op.create_index("ix_settlement_break_resolved", "settlement_break", ["resolved_ms"])


def _guard(table: str, allowed: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        when = f"WHEN NOT ({allowed.format(same='')}) " if allowed else ""
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        op.execute(f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} {when}{refuse}")
        op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} {refuse}")
        return
    when = f"WHEN (NOT ({allowed.format(same='NOT DISTINCT FROM')})) " if allowed else ""
    run = "EXECUTE FUNCTION ledger_is_append_only()"
    op.execute(
        "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} FOR EACH ROW {when}{run}")
    op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}")
