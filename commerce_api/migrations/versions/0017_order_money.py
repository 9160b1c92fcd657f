"""How often an order's amounts changed, so that of two answers of the zone the older one never wins; what an offer took off."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the count, and to what may still become an order what its offer takes off: it came first among what is applied."""
    op.add_column("customer_order", sa.Column("money_version", sa.BigInteger(), nullable=False, server_default="0"))
    checkout = sa.table("checkout", sa.column("id"), sa.column("state"), sa.column("document"))
    is_open = checkout.c.state.in_(("draft", "ready", "escalated", "processing", "authentication"))
    for row in op.get_bind().execute(sa.select(checkout.c.id, checkout.c.document).where(is_open)).all():
        document = json.loads(row.document)
        counted, problems = document["priced"]["totals"], document["priced"]["problems"]
        has_offer = document.get("offer_id") and not any(problem["path"] == "$.offer_id" for problem in problems)
        counted["offer_taken_minor"] = counted["applied"][0][2] if has_offer and counted["applied"] else None
        op.execute(sa.update(checkout).where(checkout.c.id == row.id).values(document=json.dumps(document)))
