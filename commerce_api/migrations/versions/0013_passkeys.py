"""Passkeys, and what one signs in a request."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table. A request that was begun before has no challenge, so no passkey is taken in it."""
    op.create_table(
        "passkey",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("shopper", sa.String(40), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("credential", name="uq_passkey_credential"),
    )
    op.create_index("ix_passkey_shopper", "passkey", ["shopper", "created_ms"])
    op.add_column("oauth_request", sa.Column("challenge", sa.String(64), nullable=True))
    op.add_column("oauth_request", sa.Column("passkey_tries", sa.Integer(), nullable=True))
