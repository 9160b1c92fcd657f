"""What commerce's serving role may do to each table on PostgreSQL (audit/serving_role.py). To others it may do nothing.

What is only ever added to has no UPDATE and no DELETE. Of what is kept for a time (model calls, outcomes of offers) the sweep
takes rows away, and nothing changes them.
"""

from typing import Final

from audit.serving_role import ALL, APPEND, CHANGE, MAINTAIN, RECORD, REMOVE, Rights

RIGHTS: Final[Rights] = {
    **RECORD,
    "brand": CHANGE,
    "variant": CHANGE,
    "product_vector": CHANGE,
    "reservation": ALL,
    "checkout": CHANGE,
    "payment": CHANGE,
    "customer_order": CHANGE,
    "order_refund": CHANGE,
    "order_request": CHANGE,
    "offer_decision": ALL,
    "offer_policy": APPEND,
    "offer_outcome": REMOVE,
    "offer_budget": CHANGE,
    "offer_reservation": ALL,
    "shopper_fact": (*REMOVE, MAINTAIN),
    "shopper_consent": (*ALL, MAINTAIN),
    "billing_contract": APPEND,
    "billed_outcome": APPEND,
    "billing_reversal": APPEND,
    "billing_line": APPEND,
    "model_call": REMOVE,
    "idempotency": REMOVE,
    "oauth_client": ALL,
    "oauth_request": ALL,
    "client_document_fetch": REMOVE,
    "sign_in_code": ALL,
    "shopper_account": ALL,
    "passkey": ALL,
    "oauth_grant": ALL,
    "oauth_code": ALL,
    "oauth_refresh": ALL,
    "browser_session": REMOVE,
}
