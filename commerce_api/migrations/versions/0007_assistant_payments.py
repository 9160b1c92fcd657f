"""Browsers that a shopper is signed in at, and what an assistant may spend."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the sessions of the pages, the limit of a grant, and which grant a payment was made under."""
    op.create_table(
        "browser_session",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("shopper", sa.String(40), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_browser_session_expires", "browser_session", ["expires_ms"])
    op.add_column("oauth_grant", sa.Column("limit_minor", sa.BigInteger(), nullable=True))
    op.add_column("payment", sa.Column("oauth_grant", sa.String(40), nullable=True))
    granted = sa.text("oauth_grant IS NOT NULL")
    op.create_index(
        "ix_payment_oauth_grant", "payment", ["oauth_grant"], sqlite_where=granted, postgresql_where=granted
    )
