"""What is on record of identities and certificates, and the acts that need a second operator."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "access_identity",
        sa.Column("identity", sa.String(50), primary_key=True),
        sa.Column("role", sa.String(20), nullable=True),
        sa.Column("merchants", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "issued_certificate",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("identity", sa.String(50), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
    )
    op.create_table(
        "operation",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("act", sa.String(30), nullable=False),
        sa.Column("merchant", sa.String(64), nullable=True),
        sa.Column("subject", sa.String(80), nullable=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(40), nullable=True),
        sa.Column("requested_by", sa.String(50), nullable=False),
        sa.Column("decided_by", sa.String(50), nullable=True),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "decided_by IS NULL OR state = 'refused' OR decided_by <> requested_by", name="ck_operation_second"
        ),
    )
    op.create_index("ix_operation_state", "operation", ["state"])
