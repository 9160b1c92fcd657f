"""Agent platforms that may hand over cards, and the key behind each fingerprint of a repeated request."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table and the column."""
    op.create_table(
        "agent_platform",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("bearer_digest", sa.String(64), nullable=False),
        sa.Column("signature_algorithm", sa.String(10), nullable=True),
        sa.Column("signature_key", sa.Text(), nullable=True),
        sa.Column("protocols", sa.Text(), nullable=False),
        sa.Column("merchants", sa.Text(), nullable=False),
        sa.Column("ceiling_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("bearer_digest"),
    )
    op.add_column("idempotency", sa.Column("key_id", sa.String(40), nullable=True))
