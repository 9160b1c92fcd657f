"""Refresh tokens by the end of their time, which a sweep looks for."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index."""
    op.create_index("ix_oauth_refresh_expires", "oauth_refresh", ["expires_ms"])
