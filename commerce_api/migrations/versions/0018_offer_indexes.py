"""Which decisions were taken, and indexes for what caps, erasure and a sweep look for."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the moment at which an offer was taken, from the outcomes so far, and the indexes; of decisions whose shopper was
    erased it takes out who asked and what was signed.
    """
    op.add_column("offer_decision", sa.Column("taken_ms", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE offer_decision SET taken_ms = (SELECT MIN(at_ms) FROM offer_outcome "
        "WHERE offer_outcome.decision = offer_decision.id AND offer_outcome.type = 'accepted')"
    )
    op.drop_index("ix_offer_decision_subject", "offer_decision")
    columns = ["brand", "subject", "chosen", "presented_ms", "decided_ms"]
    op.create_index("ix_offer_decision_subject", "offer_decision", columns)
    op.create_index("ix_offer_decision_principal", "offer_decision", ["brand", "principal"])
    op.execute(
        "UPDATE offer_decision SET principal = subject, snapshot = NULL "
        "WHERE subject IS NOT NULL AND record LIKE '%\"erased\": true%'"
    )
    op.drop_index("ix_offer_decision_decided", "offer_decision")
    for name, condition in (("untaken", "taken_ms IS NULL"), ("signed", "snapshot IS NOT NULL")):
        where = sa.text(condition)
        op.create_index(
            f"ix_offer_decision_{name}", "offer_decision", ["decided_ms"], sqlite_where=where, postgresql_where=where
        )
