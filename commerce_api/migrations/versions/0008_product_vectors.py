"""Vectors of products, for finding by meaning."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; the next import of a feed fills it, where the extra is installed."""
    op.create_table(
        "product_vector",
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), primary_key=True),
        sa.Column("product_id", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_product_vector_made", "product_vector", ["brand", "made_ms"])
