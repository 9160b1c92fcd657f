"""What became of an order's money: captured, refunded, disputed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns; an order from before was paid in whole."""
    with op.batch_alter_table("customer_order") as table:
        for name in ("captured_minor", "refunded_minor", "disputed_minor"):
            table.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("money_changed_ms", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE customer_order SET captured_minor = "
        "(SELECT payment.amount_minor FROM payment WHERE payment.id = customer_order.payment)"
    )
