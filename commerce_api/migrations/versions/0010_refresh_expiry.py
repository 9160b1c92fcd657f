"""Refresh tokens by the end of their time, which a sweep looks for; how many documents a network had fetched."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index and the table."""
    op.create_index("ix_oauth_refresh_expires", "oauth_refresh", ["expires_ms"])
    op.create_table(
        "client_document_fetch",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_client_document_fetch_network", "client_document_fetch", ["network", "created_ms"])
    op.create_index("ix_client_document_fetch_created", "client_document_fetch", ["created_ms"])
