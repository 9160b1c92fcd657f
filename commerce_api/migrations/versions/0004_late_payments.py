"""Money of a payment that had ended goes back under a key of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the key and when it is asked about."""
    op.add_column("payment", sa.Column("return_request", sa.String(40), nullable=True))
    op.add_column("payment", sa.Column("return_due_ms", sa.BigInteger(), nullable=True))
    due = sa.text("return_due_ms IS NOT NULL")
    op.create_index("ix_payment_return_due", "payment", ["return_due_ms"], sqlite_where=due, postgresql_where=due)
