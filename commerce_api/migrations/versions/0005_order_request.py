"""What shoppers ask for about their orders: to cancel one, or to send something back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, with at most one open request of a kind for an order."""
    op.create_table(
        "order_request",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("order_id", sa.String(40), sa.ForeignKey("customer_order.id"), nullable=False),
        sa.Column("brand", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("variants", sa.Text(), nullable=False),
        sa.Column("principal", sa.String(100), nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_order_request_order", "order_request", ["order_id"])
    op.create_index("ix_order_request_brand", "order_request", ["brand", "state"])
    is_open = sa.text("state = 'open'")
    op.create_index(
        "uq_order_request_open",
        "order_request",
        ["order_id", "kind"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
