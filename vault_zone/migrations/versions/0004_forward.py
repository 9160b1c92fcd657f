"""Forwarded requests, and the list of where they may go."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two tables."""
    op.create_table(
        "forward_list",
        sa.Column("serial", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("accepted_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "forward",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("idempotency_key", sa.String(64), nullable=False),
        sa.Column("request_mac", sa.String(64), nullable=False),
        sa.Column("mac_key_id", sa.String(40), nullable=False),
        sa.Column("grant_id", sa.String(40), nullable=False),
        sa.Column("token", sa.String(40), nullable=False),
        sa.Column("checkout", sa.String(64), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("reason", sa.String(40), nullable=True),
        sa.Column("intended_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("uq_forward_key", "forward", ["merchant", "idempotency_key"], unique=True)
    op.create_index("ix_forward_state", "forward", ["state"])


def downgrade() -> None:
    """Takes them away; for development only."""
    op.drop_table("forward")
    op.drop_table("forward_list")
