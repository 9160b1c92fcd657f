"""Disputes, and what is told to commerce."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "dispute",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("charge_id", sa.String(40), sa.ForeignKey("charge.id"), nullable=False),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("processor", sa.String(20), nullable=False),
        sa.Column("processor_dispute", sa.String(80), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("evidence_due_ms", sa.BigInteger(), nullable=True),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("amount_minor > 0 AND fee_minor >= 0", name="ck_dispute_amount"),
    )
    op.create_index("uq_dispute_processor", "dispute", ["processor", "processor_dispute"], unique=True)
    op.create_index("ix_dispute_merchant", "dispute", ["merchant", "state"])
    op.create_index("ix_dispute_charge", "dispute", ["charge_id"])
    op.create_table(
        "notice",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("merchant", sa.String(64), sa.ForeignKey("merchant.id"), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("charge_id", sa.String(40), sa.ForeignKey("charge.id"), nullable=False),
        sa.Column("modification_id", sa.String(40), sa.ForeignKey("modification.id"), nullable=True),
        sa.Column("dispute_id", sa.String(40), sa.ForeignKey("dispute.id"), nullable=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("happened_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notice_due", "notice", ["state", "due_ms"])
    op.create_index("ix_notice_happened", "notice", ["happened_ms"])
