"""What can be asked of the zone, and which role may ask it: the whole of the rights in one table (PCI DSS 7.2.1, 7.2.5.1).

There is no verb that reads a card, so no role can have it (I1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What an identity is. A role is for identities of one kind only."""

    SERVICE = "service"
    OPERATOR = "operator"
    CUSTODIAN = "custodian"


class Verb(StrEnum):
    """What can be asked of the internal API."""

    OPEN_CAPTURE = "open_capture"
    READ_CAPTURE = "read_capture"
    CHARGE = "charge"
    READ_CHARGE = "read_charge"
    MODIFY_CHARGE = "modify_charge"  # in one of the three ways that follow, each of which has to be had as well
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    LIST_CHARGES = "list_charges"  # with where they were sent, and what needs attention
    RESOLVE_CHARGE = "resolve_charge"
    READ_DISPUTES = "read_disputes"
    READ_NOTICE_SECRET = "read_notice_secret"  # nosec B105  # a name, not a secret
    LIST_NOTICES = "list_notices"
    REPLAY_NOTICES = "replay_notices"
    FORWARD = "forward"
    READ_FORWARD = "read_forward"
    LIST_GRANTS = "list_grants"
    REVOKE_GRANT = "revoke_grant"
    SAVE_CARD = "save_card"  # and make grants on saved cards
    LIST_CARDS = "list_cards"
    DELETE_CARD = "delete_card"
    HAND_OVER_CARD = "hand_over_card"  # a wallet's, decrypted: the one verb whose request holds a card
    READ_HEALTH = "read_health"
    READ_API = "read_api"
    UNSEAL = "unseal"
    LIST_KEYS = "list_keys"
    ROTATE_KEY = "rotate_key"
    REKEY = "rekey"
    RETIRE_KEY = "retire_key"
    DESTROY_KEYS = "destroy_keys"
    READ_RETENTION = "read_retention"
    MANAGE_FORWARD = "manage_forward"
    READ_LEDGER = "read_ledger"
    READ_VERIFICATION = "read_verification"
    REVERSE_ENTRY = "reverse_entry"
    RECONCILE = "reconcile"  # hand in a processor's report, and explain where it and the books do not agree
    READ_BREAKS = "read_breaks"
    LIST_OPERATIONS = "list_operations"
    REQUEST_OPERATION = "request_operation"
    APPROVE_OPERATION = "approve_operation"


@dataclass(frozen=True, slots=True)
class Role:
    """What a role may ask, and the kind of identity that may have it."""

    kind: Kind
    verbs: frozenset[Verb]


_FOR_ALL: Final = frozenset({Verb.READ_HEALTH, Verb.READ_API})
_FOR_OPERATORS: Final = _FOR_ALL | {Verb.LIST_OPERATIONS, Verb.REQUEST_OPERATION, Verb.APPROVE_OPERATION}

ROLES: Final[Mapping[str, Role]] = {
    # Programs.
    "commerce": Role(
        Kind.SERVICE,
        _FOR_ALL
        | {
            *(Verb.OPEN_CAPTURE, Verb.READ_CAPTURE, Verb.CHARGE, Verb.READ_CHARGE, Verb.FORWARD, Verb.READ_FORWARD),
            *(Verb.MODIFY_CHARGE, Verb.CAPTURE, Verb.VOID, Verb.REFUND),
            *(Verb.LIST_GRANTS, Verb.REVOKE_GRANT, Verb.SAVE_CARD, Verb.LIST_CARDS, Verb.DELETE_CARD),
            *(Verb.READ_DISPUTES, Verb.READ_NOTICE_SECRET),
        },
    ),
    # Who decrypts wallets' tokens holds card data and does nothing else here; commerce holds none and may not hand any over.
    "wallet_server": Role(Kind.SERVICE, _FOR_ALL | {Verb.HAND_OVER_CARD}),
    "monitor": Role(Kind.SERVICE, frozenset({Verb.READ_HEALTH})),
    # People. Nobody who manages keys gives out access, and who reads the record changes nothing (PCI DSS 7.2.1).
    "key_manager": Role(
        Kind.OPERATOR,
        _FOR_OPERATORS | {Verb.LIST_KEYS, Verb.ROTATE_KEY, Verb.REKEY, Verb.RETIRE_KEY, Verb.DESTROY_KEYS},
    ),
    "card_manager": Role(
        Kind.OPERATOR,
        _FOR_OPERATORS | {Verb.LIST_CARDS, Verb.DELETE_CARD, Verb.LIST_GRANTS, Verb.REVOKE_GRANT, Verb.READ_RETENTION},
    ),
    "bookkeeper": Role(
        Kind.OPERATOR,
        _FOR_OPERATORS
        | {Verb.READ_LEDGER, Verb.READ_VERIFICATION, Verb.REVERSE_ENTRY, Verb.RECONCILE, Verb.READ_BREAKS},
    ),
    # Decides what the processor's record does not, always in twos. Charges nothing and refunds nothing itself.
    "payment_manager": Role(
        Kind.OPERATOR,
        _FOR_OPERATORS
        | {Verb.LIST_CHARGES, Verb.RESOLVE_CHARGE}
        | {Verb.READ_DISPUTES, Verb.LIST_NOTICES, Verb.REPLAY_NOTICES},
    ),
    "auditor": Role(
        Kind.OPERATOR,
        _FOR_ALL
        | {Verb.LIST_KEYS, Verb.LIST_GRANTS, Verb.LIST_CHARGES, Verb.READ_RETENTION, Verb.LIST_OPERATIONS}
        | {Verb.READ_LEDGER, Verb.READ_VERIFICATION, Verb.READ_BREAKS, Verb.READ_DISPUTES, Verb.LIST_NOTICES},
    ),
    "custodian": Role(Kind.CUSTODIAN, frozenset({Verb.READ_HEALTH, Verb.UNSEAL})),
}
