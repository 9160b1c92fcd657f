"""How often an order's amounts changed, so that of two answers of the zone the older one never wins."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the count."""
    op.add_column("customer_order", sa.Column("money_version", sa.BigInteger(), nullable=False, server_default="0"))
