"""What is needed of a report's line to judge it again, and what of the books it accounts for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns. A line that agreed accounts for its amount, one that did not for what its break says."""
    op.add_column("settlement_line", sa.Column("reference", sa.String(80), nullable=True))
    op.add_column("settlement_line", sa.Column("processor_ids", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("settlement_line", sa.Column("ours_minor", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE settlement_line SET ours_minor = COALESCE((SELECT b.ours_minor FROM settlement_break b "
        "WHERE b.merchant = settlement_line.merchant AND b.processor = settlement_line.processor "
        "AND b.subject = settlement_line.reported_id AND b.theirs_minor IS NOT NULL), gross_minor)"
    )
