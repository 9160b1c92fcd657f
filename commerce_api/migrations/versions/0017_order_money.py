"""How often an order's amounts changed; what the offer in a checkout takes off, and which checkout it is used in."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_USED = sa.text("checkout IS NOT NULL")


def upgrade() -> None:
    """Adds the count, and the index that finds what a checkout holds.

    To what may still become an order, what its offer takes off: that came first among what is applied.
    """
    op.add_column("customer_order", sa.Column("money_version", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_offer_decision_checkout", "offer_decision", ["checkout"], sqlite_where=_USED, postgresql_where=_USED
    )
    checkout = sa.table("checkout", sa.column("id"), sa.column("state"), sa.column("document"))
    is_open = checkout.c.state.in_(("draft", "ready", "escalated", "processing", "authentication"))
    for row in op.get_bind().execute(sa.select(checkout.c.id, checkout.c.document).where(is_open)).all():
        document = json.loads(row.document)
        counted, problems = document["priced"]["totals"], document["priced"]["problems"]
        has_offer = document.get("offer_id") and not any(problem["path"] == "$.offer_id" for problem in problems)
        counted["offer_taken_minor"] = counted["applied"][0][2] if has_offer and counted["applied"] else None
        op.execute(sa.update(checkout).where(checkout.c.id == row.id).values(document=json.dumps(document)))
