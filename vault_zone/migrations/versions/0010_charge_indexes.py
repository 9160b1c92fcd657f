"""What a charge and the housekeeping look up among all charges, by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the indexes."""
    has_one = sa.text("authorized_until_ms IS NOT NULL")
    op.create_index("ix_charge_token", "charge", ["merchant", "token"])
    op.create_index(
        "ix_charge_authorized_until",
        "charge",
        ["is_closed", "authorized_until_ms"],
        sqlite_where=has_one,
        postgresql_where=has_one,
    )
