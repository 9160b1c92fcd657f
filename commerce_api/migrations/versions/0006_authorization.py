"""The embedded authorization server: clients, requests, sign-in codes, accounts, grants, codes, refresh tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "oauth_client",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("redirect_uris", sa.Text(), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_oauth_client_network", "oauth_client", ["network", "created_ms"])
    op.create_index("ix_oauth_client_used", "oauth_client", ["used_ms"])
    op.create_table(
        "oauth_request",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("browser", sa.String(64), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("client", sa.String(500), nullable=False),
        sa.Column("client_name", sa.String(100), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scope", sa.String(300), nullable=False),
        sa.Column("resource", sa.String(500), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("code_challenge", sa.String(128), nullable=False),
        sa.Column("shopper", sa.String(40), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_oauth_request_expires", "oauth_request", ["expires_ms"])
    op.create_index("ix_oauth_request_network", "oauth_request", ["network", "created_ms"])
    op.create_table(
        "sign_in_code",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("request", sa.String(40), nullable=False),
        sa.Column("mailbox", sa.String(64), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("code_digest", sa.String(64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_sign_in_code_request", "sign_in_code", ["request", "created_ms"])
    op.create_index("ix_sign_in_code_mailbox", "sign_in_code", ["mailbox", "created_ms"])
    op.create_index("ix_sign_in_code_network", "sign_in_code", ["network", "created_ms"])
    op.create_index("ix_sign_in_code_created", "sign_in_code", ["created_ms"])
    op.create_table(
        "shopper_account",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("mailbox", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("brand", "mailbox", name="uq_shopper_account"),
    )
    op.create_index("ix_shopper_account_seen", "shopper_account", ["seen_ms"])
    op.create_table(
        "oauth_grant",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("brand", sa.String(64), sa.ForeignKey("brand.id"), nullable=False),
        sa.Column("client", sa.String(500), nullable=False),
        sa.Column("shopper", sa.String(40), nullable=False),
        sa.Column("scope", sa.String(300), nullable=False),
        sa.Column("resource", sa.String(500), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
    )
    op.create_index("ix_oauth_grant_expires", "oauth_grant", ["expires_ms"])
    op.create_index("ix_oauth_grant_revoked", "oauth_grant", ["revoked_ms"])
    op.create_table(
        "oauth_code",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("grant_id", sa.String(40), sa.ForeignKey("oauth_grant.id"), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.String(128), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_oauth_code_created", "oauth_code", ["created_ms"])
    op.create_index("ix_oauth_code_grant", "oauth_code", ["grant_id"])
    op.create_table(
        "oauth_refresh",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("grant_id", sa.String(40), sa.ForeignKey("oauth_grant.id"), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_oauth_refresh_grant", "oauth_refresh", ["grant_id"])
