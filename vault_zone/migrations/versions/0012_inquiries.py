"""Disputes that withhold nothing, and in which currency a dispute's fee is."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns. The currency of a fee that was written down before is not known."""
    op.add_column("dispute", sa.Column("fee_currency", sa.String(3), nullable=True))
    op.add_column("dispute", sa.Column("is_inquiry", sa.Boolean(), nullable=False, server_default=sa.false()))
