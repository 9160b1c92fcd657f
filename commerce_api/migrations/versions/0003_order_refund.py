"""Refunds that an operator asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, with at most one refund of an order whose outcome is not known."""
    op.create_table(
        "order_refund",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("order_id", sa.String(40), sa.ForeignKey("customer_order.id"), nullable=False),
        sa.Column("payment", sa.String(40), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("code", sa.String(40), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_order_refund_order", "order_refund", ["order_id"])
    live = sa.text("state = 'asked'")
    op.create_index(
        "uq_order_refund_live", "order_refund", ["order_id"], unique=True, sqlite_where=live, postgresql_where=live
    )
