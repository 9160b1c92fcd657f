"""What the zone's serving role may do to each table on PostgreSQL (audit/serving_role.py). To others it may do nothing.

What is only ever added to has no UPDATE and no DELETE; of a ledger entry its place in the chain is said once. Rows are taken
away where retention.py says when, and the tables that it takes them from are vacuumed.
"""

from typing import Final

from audit.serving_role import ALL, APPEND, CHANGE, MAINTAIN, RECORD, REMOVE, Rights

RIGHTS: Final[Rights] = {
    **RECORD,
    "merchant": CHANGE,
    "data_key": (*ALL, MAINTAIN),
    "card_record": (*ALL, MAINTAIN),
    "consent": (*ALL, MAINTAIN),
    "card_grant": (*ALL, MAINTAIN),
    "capture_session": (*ALL, MAINTAIN),
    "charge": CHANGE,
    "charge_leg": CHANGE,
    "modification": CHANGE,
    "dispute": CHANGE,
    "notice": (*ALL, MAINTAIN),
    "webhook_inbox": (*REMOVE, MAINTAIN),
    "idempotency": (*ALL, MAINTAIN),
    "agent_platform": CHANGE,
    "velocity_counter": (*ALL, MAINTAIN),
    "rekeying": (*ALL, MAINTAIN),
    "access_identity": CHANGE,
    "issued_certificate": CHANGE,
    "operation": CHANGE,
    "forward_list": APPEND,
    "forward": CHANGE,
    "ledger_account": (*APPEND, "UPDATE (balance_minor)", "UPDATE (postings)"),
    "ledger_charge": ALL,
    "ledger_entry": (*APPEND, "UPDATE (place)", "UPDATE (chain_digest)"),
    "ledger_posting": APPEND,
    "settlement": CHANGE,
    "settlement_line": (*ALL, MAINTAIN),
    "settlement_break": CHANGE,
}
