"""What agents brought about, and the lines that it adds to a brand's bill: rows that are never changed."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_REFUSAL = "the bill is append-only"


def upgrade() -> None:
    """Adds contracts, outcomes, reversals and lines, and what keeps them as they are."""
    op.create_table(
        "billing_contract",
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "billed_outcome",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(40), nullable=True),
        sa.Column("conversation", sa.String(64), nullable=True),
        sa.Column("order_id", sa.String(40), nullable=True),
        sa.Column("reference", sa.String(64), nullable=True),
        sa.Column("contract_version", sa.Integer(), nullable=True),
        sa.Column("ruling", sa.String(20), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("brand", "key", name="uq_billed_outcome"),
    )
    op.create_table(
        "billing_reversal",
        sa.Column("outcome", sa.String(40), sa.ForeignKey("billed_outcome.id"), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "billing_line",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("outcome", sa.String(40), sa.ForeignKey("billed_outcome.id"), nullable=False),
        sa.Column("source", sa.String(80), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("posted_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("outcome", "source", "place", name="uq_billing_line"),
    )
    op.create_index("ix_billing_line_posted", "billing_line", ["brand", "posted_ms"])
    for table in ("billing_contract", "billed_outcome", "billing_reversal", "billing_line"):
        _guard(table)


def _guard(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        op.execute(f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} {refuse}")
        return
    run = "EXECUTE FUNCTION bill_is_append_only()"
    op.execute(
        "CREATE OR REPLACE FUNCTION bill_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}")
