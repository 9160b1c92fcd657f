"""What of each charge was refunded and has not come back, in the books."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SAME_CHARGE = " AND ".join(f"e.{name} = ledger_charge.{name}" for name in ("merchant", "processor", "currency"))


def upgrade() -> None:
    """Adds the column with its bound, and counts it from the postings."""
    op.execute(  # as text: SQLite takes a check together with its column, and Alembic writes it after
        "ALTER TABLE ledger_charge ADD COLUMN refunded_minor BIGINT DEFAULT 0 NOT NULL "
        "CONSTRAINT ck_ledger_charge_refunded CHECK (refunded_minor >= 0)"
    )
    op.execute(
        sa.text(
            "UPDATE ledger_charge SET refunded_minor = COALESCE((SELECT SUM(p.amount_minor) FROM ledger_posting p "
            "JOIN ledger_entry e ON e.id = p.entry WHERE p.kind = 'refunds' "
            f"AND e.charge_id = ledger_charge.charge_id AND {_SAME_CHARGE}), 0)"  # only names that stand here
        )
    )
