"""What of each charge was refunded and has not come back, in the books."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column with its bound, and counts it from the postings."""
    op.execute(  # as text: SQLite takes a check together with its column, and Alembic writes it after
        "ALTER TABLE ledger_charge ADD COLUMN refunded_minor BIGINT DEFAULT 0 NOT NULL "
        "CONSTRAINT ck_ledger_charge_refunded CHECK (refunded_minor >= 0)"
    )
    op.execute(
        "UPDATE ledger_charge SET refunded_minor = COALESCE((SELECT SUM(p.amount_minor) FROM ledger_posting p "
        "JOIN ledger_entry e ON e.id = p.entry WHERE p.kind = 'refunds' "
        "AND e.charge_id = ledger_charge.charge_id AND e.merchant = ledger_charge.merchant "
        "AND e.processor = ledger_charge.processor AND e.currency = ledger_charge.currency), 0)"
    )
