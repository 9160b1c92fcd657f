"""What may happen, as a closed set, and the one form in which it is written down.

An entry is canonical JSON (RFC 8785: sorted keys, no spaces, UTF-8, integers only) with the six facts that PCI DSS
10.2.2 asks for: who, what kind, when, with what outcome, from where, about what. What must hold for every entry:
 1. None of the six facts is absent.
 2. ``data`` holds only keys that its type lists, each with a value of that key's kind: no free text, nothing unbounded.
 3. No value anywhere looks like a card number: 13 digits or more, separators left out, in any script's digits.
 4. It fits a log entry (65,535 bytes).
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final, Literal, NamedTuple

from audit.layout import ENTRY_BYTES_MAXIMUM

FORMAT_VERSION: Final = 1
TEXT_MAXIMUM: Final = 200
INTEGER_MAXIMUM: Final = 10**12 - 1  # twelve digits: one more could be a card number
_MOMENT_MAXIMUM: Final = 253_402_300_799_999  # the last millisecond of the year 9999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_OUTCOMES: Final = ("success", "failure")

# No quotes, angle brackets, backslash, control or look-alike characters: safe in a page and in a terminal.
_TEXT: Final = re.compile(r"[A-Za-z0-9 ._:/@+,=#()\[\]*~-]{1,200}", re.ASCII)
_CARD_DIGITS_MINIMUM: Final = 13  # the shortest card number of ISO/IEC 7812
_CARD_DIGITS: Final = re.compile(rf"(?:[0-9][^0-9A-Za-z]*+){{{_CARD_DIGITS_MINIMUM}}}", re.ASCII)
_EVENT_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{7,63}", re.ASCII)


class EventRefused(ValueError):
    """The event may not be written as it is; ``code`` names the rule, never the value. A defect of the caller's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Kind(Enum):
    """What a value in ``data`` may be."""

    TEXT = _TEXT
    CODE = re.compile(r"[a-z0-9][a-z0-9_.,:-]{0,99}", re.ASCII)
    CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
    LAST4 = re.compile(r"[0-9]{4}", re.ASCII)
    INTEGER = range(-INTEGER_MAXIMUM, INTEGER_MAXIMUM + 1)
    COUNT = range(INTEGER_MAXIMUM + 1)
    FLAG = bool


def _keys_of(kind: _Kind, keys: str) -> dict[str, _Kind]:
    return dict.fromkeys(keys.split(), kind)


# Every key that any event's data may have. A key means the same wherever it stands.
_KEYS: Final[Mapping[str, _Kind]] = {
    # Opaque ids of Cordon's own. A processor's id may be digits only, so it stays in the ledger.
    **_keys_of(_Kind.TEXT, "charge checkout delivery feed grant identity key migration offer order payment"),
    **_keys_of(_Kind.TEXT, "reservation session token variant"),
    **_keys_of(_Kind.TEXT, "consent custodian forward operation platform rekeying serial shopper"),
    **_keys_of(_Kind.TEXT, "expires_at name previous reason route software"),
    **_keys_of(_Kind.TEXT, "client entry head settlement"),
    **_keys_of(_Kind.CODE, "algorithm brand channel country decided_by decision environment format from kind method"),
    **_keys_of(_Kind.CODE, "policy processor protocol provider purpose role rule side source state to version"),
    **_keys_of(_Kind.CODE, "act host limit model tool verb wording"),
    **_keys_of(_Kind.COUNT, "added attempt candidates count epoch findings gap_seconds items length lines missing"),
    **_keys_of(_Kind.COUNT, "products quantity refused removed skipped status total tree_size tries units updated"),
    **_keys_of(_Kind.COUNT, "breaks matched"),
    **_keys_of(_Kind.COUNT, "uses uses_left variants cards erased expired grants shares threshold"),
    **_keys_of(_Kind.INTEGER, "amount_minor ceiling_minor discount_minor price_minor"),
    **_keys_of(_Kind.CURRENCY, "currency"),
    **_keys_of(_Kind.LAST4, "last4"),
    **_keys_of(_Kind.FLAG, "dry_run"),
}


class EventType(StrEnum):
    """All that is ever recorded: the thing, and what happened to it in the past tense."""

    LOG_STARTED = "log.started"
    LOG_STOPPED = "log.stopped"
    LOG_GAP = "log.gap"
    BRAND_ADDED = "brand.added"
    FEED_IMPORTED = "feed.imported"
    CHECKOUT_CREATED = "checkout.created"
    CHECKOUT_UPDATED = "checkout.updated"
    CHECKOUT_HANDED_OFF = "checkout.handed_off"
    CHECKOUT_CANCELED = "checkout.canceled"
    CHECKOUT_EXPIRED = "checkout.expired"
    CHECKOUT_COMPLETED = "checkout.completed"
    STOCK_RESERVED = "stock.reserved"
    STOCK_RELEASED = "stock.released"
    OFFER_DECIDED = "offer.decided"
    OFFER_APPLIED = "offer.applied"
    OFFER_OUTCOME = "offer.outcome"
    OFFERS_PAUSED = "offers.paused"
    OFFERS_RESUMED = "offers.resumed"
    OFFER_MODEL_MOVED = "offer_model.moved"
    FACT_KEPT = "fact.kept"
    FACT_FORGOTTEN = "fact.forgotten"
    MEMORY_CONSENT_GIVEN = "memory.consent_given"
    MEMORY_CONSENT_WITHDRAWN = "memory.consent_withdrawn"
    MEMORY_EXPORTED = "memory.exported"
    MEMORY_ERASED = "memory.erased"
    CONTRACT_SET = "billing.contract_set"
    OUTCOME_REPORTED = "billing.outcome_reported"
    OUTCOME_REVERSED = "billing.outcome_reversed"
    BILLING_LINE_WRITTEN = "billing.line_written"
    PAYMENT_STARTED = "payment.started"
    PAYMENT_SETTLED = "payment.settled"
    PAYMENT_UNKNOWN = "payment.unknown"
    ORDER_CREATED = "order.created"
    ORDER_MONEY_CHANGED = "order.money_changed"
    ORDER_REFUND_ASKED = "order.refund_asked"
    ORDER_REFUND_SETTLED = "order.refund_settled"
    ORDER_REQUEST_MADE = "order_request.made"
    ORDER_REQUEST_ANSWERED = "order_request.answered"
    AGENT_CALLED = "agent.called"
    CLIENT_REGISTERED = "client.registered"
    SIGN_IN_CODE_SENT = "sign_in.code_sent"
    SIGN_IN_REFUSED = "sign_in.refused"
    SIGNED_IN = "sign_in.succeeded"
    PASSKEY_REGISTERED = "passkey.registered"  # nosec B105  # as above
    PASSKEY_USED = "passkey.used"  # nosec B105  # as above
    PASSKEY_REFUSED = "passkey.refused"  # nosec B105  # as above
    PASSKEY_REMOVED = "passkey.removed"  # nosec B105  # as above
    AUTHORIZATION_GRANTED = "authorization.granted"
    AUTHORIZATION_DENIED = "authorization.denied"
    AUTHORIZATION_USED = "authorization.used"
    AUTHORIZATION_REVOKED = "authorization.revoked"
    CAPTURE_SESSION_OPENED = "capture_session.opened"
    CAPTURE_SESSION_CLAIMED = "capture_session.claimed"
    CAPTURE_SESSION_REFUSED = "capture_session.refused"
    CAPTURE_SESSION_CLOSED = "capture_session.closed"
    CARD_CAPTURED = "card.captured"
    CARD_CAPTURE_FAILED = "card.capture_failed"
    TOKEN_CREATED = "token.created"  # nosec B105  # a name, not a secret
    TOKEN_ERASED = "token.erased"  # nosec B105  # as above
    GRANT_CREATED = "grant.created"
    GRANT_CONSUMED = "grant.consumed"
    GRANT_REVOKED = "grant.revoked"
    CHARGE_INTENDED = "charge.intended"
    CHARGE_SENT = "charge.sent"
    CHARGE_SUCCEEDED = "charge.succeeded"
    CHARGE_DECLINED = "charge.declined"
    CHARGE_FAILED = "charge.failed"
    CHARGE_UNKNOWN = "charge.unknown"
    CHARGE_ACTION_REQUIRED = "charge.action_required"
    CHARGE_RESOLVED = "charge.resolved"
    CHARGE_AUTHORIZED = "charge.authorized"
    CHARGE_VOIDED = "charge.voided"
    CHARGE_EXPIRED = "charge.expired"
    CHARGE_ROUTED = "charge.routed"
    CHARGE_NEEDS_ATTENTION = "charge.needs_attention"
    MODIFICATION_INTENDED = "modification.intended"
    MODIFICATION_SETTLED = "modification.settled"
    MODIFICATION_UNKNOWN = "modification.unknown"
    MODIFICATION_RETURNED = "modification.returned"
    LEDGER_REFUSED = "ledger.refused"
    LEDGER_REVERSED = "ledger.reversed"
    LEDGER_SEALED = "ledger.sealed"
    SETTLEMENT_STARTED = "settlement.started"
    SETTLEMENT_MATCHED = "settlement.matched"
    SETTLEMENT_FINISHED = "settlement.finished"
    SETTLEMENT_BREAK_RESOLVED = "settlement.break_resolved"
    SETTLEMENT_BREAK_CHANGED = "settlement.break_changed"
    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_CHANGED = "dispute.changed"
    NOTICE_ABANDONED = "notice.abandoned"
    NOTICES_REPLAYED = "notices.replayed"
    WEBHOOK_RECEIVED = "webhook.received"
    WEBHOOK_REFUSED = "webhook.refused"
    KEY_CREATED = "key.created"
    KEY_USED_FOR_UNSEAL = "key.used_for_unseal"
    KEY_ROTATED = "key.rotated"
    KEY_RETIRED = "key.retired"
    KEY_DESTROYED = "key.destroyed"
    REKEYING_STARTED = "rekeying.started"
    REKEYING_ADVANCED = "rekeying.advanced"
    REKEYING_FINISHED = "rekeying.finished"
    CEREMONY_HELD = "ceremony.held"
    CUSTODIAN_ACKNOWLEDGED = "custodian.acknowledged"
    SHARE_GIVEN = "share.given"
    ZONE_UNSEALED = "zone.unsealed"
    ZONE_SEALED = "zone.sealed"
    CARD_SAVED = "card.saved"
    CARD_DELETED = "card.deleted"
    CONSENT_GIVEN = "consent.given"
    CONSENT_WITHDRAWN = "consent.withdrawn"
    VELOCITY_LIMITED = "velocity.limited"
    DELEGATION_ACCEPTED = "delegation.accepted"
    DELEGATION_REFUSED = "delegation.refused"
    FRAME_ORIGINS_CHANGED = "merchant.frame_origins_changed"
    PLATFORM_ADDED = "platform.added"
    PLATFORM_REMOVED = "platform.removed"
    FORWARD_LIST_ACCEPTED = "forward_list.accepted"
    FORWARD_INTENDED = "forward.intended"
    FORWARD_ANSWERED = "forward.answered"
    FORWARD_UNKNOWN = "forward.unknown"
    FORWARD_REFUSED = "forward.refused"
    OPERATION_REQUESTED = "operation.requested"
    OPERATION_APPROVED = "operation.approved"
    OPERATION_REFUSED = "operation.refused"
    OPERATION_EXECUTED = "operation.executed"
    IDENTITY_REVOKED = "identity.revoked"
    CERTIFICATES_RELOADED = "certificates.reloaded"
    RECORDS_EXPIRED = "records.expired"
    ACCESS_REFUSED = "access.refused"
    ACCESS_CHANGED = "access.changed"
    CARD_TEXT_REFUSED = "card_text.refused"
    IDENTITY_ISSUED = "identity.issued"
    MIGRATION_APPLIED = "migration.applied"


class _Meaning(NamedTuple):
    """What an event type says to a person, and the keys its data may have."""

    sentence: str
    keys: frozenset[str]


def _means(sentence: str, keys: str) -> _Meaning:
    return _Meaning(sentence, frozenset(keys.split()))


_MONEY = "amount_minor currency"
_CHECKOUT = f"protocol channel state from to lines items reason discount_minor order payment offer {_MONEY}"
_CHARGE = f"payment checkout grant token order processor from to reason attempt source brand last4 {_MONEY}"
_MODIFICATION = f"payment charge kind from to state reason processor {_MONEY}"
_DISPUTE = f"payment charge checkout kind from to state reason processor expires_at {_MONEY}"
_SESSION = "checkout token grant reason tries channel state from to expires_at"
_KEY = "key purpose epoch algorithm provider previous uses expires_at count reason"
_REKEYING = "rekeying key purpose cards total count reason"
_FORWARD = "forward token grant host method route status reason attempt"
_OPERATION = "operation act verb key reason decided_by expires_at"
_GRANT = f"token checkout charge payment uses uses_left ceiling_minor expires_at reason {_MONEY}"

MEANINGS: Final[Mapping[EventType, _Meaning]] = {
    EventType.LOG_STARTED: _means("Recording began", "software version environment tree_size reason"),
    EventType.LOG_STOPPED: _means("Recording was stopped in order", "tree_size reason"),
    EventType.LOG_GAP: _means("Recording had been interrupted", "gap_seconds missing tree_size reason"),
    EventType.BRAND_ADDED: _means("A brand was added", "name currency country environment"),
    EventType.FEED_IMPORTED: _means(
        "A product feed was imported",
        "feed format source added updated removed refused skipped total products variants dry_run reason",
    ),
    EventType.CHECKOUT_CREATED: _means("A checkout was started", _CHECKOUT),
    EventType.CHECKOUT_UPDATED: _means("The checkout was changed", _CHECKOUT),
    EventType.CHECKOUT_HANDED_OFF: _means("The shopper was handed over to the secure page", f"{_CHECKOUT} session"),
    EventType.CHECKOUT_CANCELED: _means("The checkout was canceled", _CHECKOUT),
    EventType.CHECKOUT_EXPIRED: _means("The checkout ran out of time", _CHECKOUT),
    EventType.CHECKOUT_COMPLETED: _means("The checkout was completed", f"{_CHECKOUT} charge"),
    EventType.STOCK_RESERVED: _means(
        "Stock was set aside for the checkout", "checkout reservation variant lines units quantity expires_at"
    ),
    EventType.STOCK_RELEASED: _means(
        "Stock was given back or taken out for good", "checkout reservation variant lines units quantity reason order"
    ),
    EventType.OFFER_DECIDED: _means(
        "It was decided what to offer",
        "checkout offer decision decided_by policy rule candidates discount_minor currency variant reason",
    ),
    EventType.OFFER_APPLIED: _means(
        "An offer was applied", "checkout offer discount_minor price_minor currency variant lines"
    ),
    EventType.OFFER_OUTCOME: _means("Something came of an offer", "offer kind amount_minor"),
    EventType.OFFERS_PAUSED: _means("A brand makes no offers for now", "reason"),
    EventType.OFFERS_RESUMED: _means("A brand makes offers again", ""),
    EventType.OFFER_MODEL_MOVED: _means(
        "A model came to decide for another share of a brand's shoppers", "model from to reason"
    ),
    EventType.FACT_KEPT: _means("A fact about a shopper was kept", "shopper kind source"),
    EventType.FACT_FORGOTTEN: _means("A fact about a shopper was forgotten", "shopper kind"),
    EventType.MEMORY_CONSENT_GIVEN: _means("A shopper agreed to be remembered", "consent purpose wording"),
    EventType.MEMORY_CONSENT_WITHDRAWN: _means("A shopper no longer agrees to be remembered", "purpose erased"),
    EventType.MEMORY_EXPORTED: _means("All that is remembered of a shopper was handed out", "count"),
    EventType.MEMORY_ERASED: _means("All that was remembered of a shopper was deleted", "erased"),
    EventType.CONTRACT_SET: _means("What outcomes cost a brand was agreed", "version"),
    EventType.OUTCOME_REPORTED: _means("An agent brought something about, and it was rated", "kind reason order"),
    EventType.OUTCOME_REVERSED: _means("What an agent brought about did not last", "kind reason order"),
    EventType.BILLING_LINE_WRITTEN: _means("A line was added to a brand's bill", f"kind entry order {_MONEY}"),
    EventType.PAYMENT_STARTED: _means(
        "A payment was started", f"checkout payment grant charge processor attempt {_MONEY}"
    ),
    EventType.PAYMENT_SETTLED: _means(
        "The payment came to its end", f"checkout payment charge order processor state from to reason {_MONEY}"
    ),
    EventType.PAYMENT_UNKNOWN: _means(
        "It is not known yet whether the payment went through",
        f"checkout payment charge processor reason attempt {_MONEY}",
    ),
    EventType.ORDER_CREATED: _means(
        "An order was placed", f"order checkout payment charge lines items discount_minor {_MONEY}"
    ),
    EventType.ORDER_MONEY_CHANGED: _means("What the order brought in has changed", f"payment charge reason {_MONEY}"),
    EventType.ORDER_REFUND_ASKED: _means(
        "An operator asked for money of the order to be given back", "payment reason state amount_minor"
    ),
    EventType.ORDER_REFUND_SETTLED: _means(
        "What became of a refund that an operator asked for", "payment reason state amount_minor"
    ),
    EventType.ORDER_REQUEST_MADE: _means(
        "The shopper asked for an order to be canceled or taken back", "operation kind reason variants channel"
    ),
    EventType.ORDER_REQUEST_ANSWERED: _means("The merchant answered the shopper's request", "operation kind state"),
    EventType.AGENT_CALLED: _means(
        "An agent called a tool", "tool software client host identity protocol reason checkout order offer"
    ),
    EventType.CLIENT_REGISTERED: _means("A program registered itself, to ask shoppers for access", "count reason"),
    EventType.SIGN_IN_CODE_SENT: _means("A shopper was sent a code to sign in with", "reason"),
    EventType.SIGN_IN_REFUSED: _means("A code that a shopper typed was refused", "reason"),
    EventType.SIGNED_IN: _means("A shopper signed in", "reason"),
    EventType.PASSKEY_REGISTERED: _means("A shopper added a passkey", "shopper count"),
    EventType.PASSKEY_USED: _means("A shopper showed a passkey", "shopper"),
    EventType.PASSKEY_REFUSED: _means("A passkey was refused", "shopper reason"),
    EventType.PASSKEY_REMOVED: _means("A shopper removed a passkey", "shopper"),
    EventType.AUTHORIZATION_GRANTED: _means(
        "A shopper let a program act for them", "shopper host count expires_at amount_minor"
    ),
    EventType.AUTHORIZATION_DENIED: _means("A shopper did not let a program act for them", "shopper host reason"),
    EventType.AUTHORIZATION_USED: _means("A program was given an access token for a shopper", "shopper kind"),
    EventType.AUTHORIZATION_REVOKED: _means("A program may act for a shopper no longer", "shopper reason"),
    EventType.CAPTURE_SESSION_OPENED: _means("A secure page for the card was opened", _SESSION),
    EventType.CAPTURE_SESSION_CLAIMED: _means("The secure page was opened in the shopper's browser", _SESSION),
    EventType.CAPTURE_SESSION_REFUSED: _means("The secure page was refused", _SESSION),
    EventType.CAPTURE_SESSION_CLOSED: _means("The secure page was closed", _SESSION),
    EventType.CARD_CAPTURED: _means(
        "A card was taken on the secure page and sealed", f"{_SESSION} session brand last4 key"
    ),
    EventType.CARD_CAPTURE_FAILED: _means("A card was not taken", f"{_SESSION} session brand"),
    EventType.TOKEN_CREATED: _means("A token was made for the card", "brand last4 session key expires_at"),
    EventType.TOKEN_ERASED: _means("The card behind the token was erased", "reason"),
    EventType.GRANT_CREATED: _means("Permission to charge the card was given", _GRANT),
    EventType.GRANT_CONSUMED: _means("The permission to charge was used", _GRANT),
    EventType.GRANT_REVOKED: _means("The permission to charge was taken back", _GRANT),
    EventType.CHARGE_INTENDED: _means("A charge was decided on, and nothing sent yet", _CHARGE),
    EventType.CHARGE_SENT: _means("The charge was sent to the processor", _CHARGE),
    EventType.CHARGE_SUCCEEDED: _means("The card was charged", _CHARGE),
    EventType.CHARGE_DECLINED: _means("The card was declined, and nothing was charged", _CHARGE),
    EventType.CHARGE_FAILED: _means("The charge did not take place", _CHARGE),
    EventType.CHARGE_UNKNOWN: _means(
        "It is not known yet whether the card was charged; the processor is being asked", _CHARGE
    ),
    EventType.CHARGE_ACTION_REQUIRED: _means("The bank asks the shopper to confirm the charge", _CHARGE),
    EventType.CHARGE_RESOLVED: _means("The processor's record settled what had not been known", f"{_CHARGE} state"),
    EventType.CHARGE_AUTHORIZED: _means("The money for the charge is held, and not taken yet", _CHARGE),
    EventType.CHARGE_VOIDED: _means("What was held for the charge was let go, and nothing taken", _CHARGE),
    EventType.CHARGE_EXPIRED: _means("What was held for the charge ran out, and nothing was taken", _CHARGE),
    EventType.CHARGE_ROUTED: _means("It was decided which processor the charge goes to", f"{_CHARGE} rule"),
    EventType.CHARGE_NEEDS_ATTENTION: _means(
        "A person has to look at the charge", f"{_CHARGE} state decision decided_by"
    ),
    EventType.MODIFICATION_INTENDED: _means(
        "A capture, release or refund was decided on, and nothing sent yet", _MODIFICATION
    ),
    EventType.MODIFICATION_SETTLED: _means("A capture, release or refund came to its end", _MODIFICATION),
    EventType.MODIFICATION_UNKNOWN: _means(
        "It is not known yet whether a capture, release or refund took effect; the processor is being asked",
        _MODIFICATION,
    ),
    EventType.MODIFICATION_RETURNED: _means(
        "A refund came back: the shopper's bank did not take it, and the money is with the processor again",
        _MODIFICATION,
    ),
    EventType.LEDGER_REFUSED: _means(
        "What the processor stated does not fit the books; it stands in suspense", f"kind reason {_MONEY}"
    ),
    EventType.LEDGER_REVERSED: _means("An entry of the books was undone by another one", "entry operation"),
    EventType.LEDGER_SEALED: _means("New entries of the books were chained to those before them", "count total head"),
    EventType.SETTLEMENT_STARTED: _means("A processor's report began to be read", "processor"),
    EventType.SETTLEMENT_MATCHED: _means(
        "Lines of a processor's report were held against the books", "processor lines matched breaks"
    ),
    EventType.SETTLEMENT_FINISHED: _means("A processor's report was read to its end", "processor lines matched breaks"),
    EventType.SETTLEMENT_BREAK_RESOLVED: _means(
        "Somebody explained where a report and the books did not agree", "settlement reason processor"
    ),
    EventType.SETTLEMENT_BREAK_CHANGED: _means(
        "A report and the books still do not agree, but in another way than before", "settlement from to processor"
    ),
    EventType.DISPUTE_OPENED: _means("A cardholder disputed the charge", _DISPUTE),
    EventType.DISPUTE_CHANGED: _means("A dispute of the charge moved on", _DISPUTE),
    EventType.NOTICE_ABANDONED: _means(
        "Commerce could not be told in the time there is for it", "charge kind attempt status"
    ),
    EventType.NOTICES_REPLAYED: _means("What had been told to commerce is told again", "count reason"),
    EventType.WEBHOOK_RECEIVED: _means(
        "A notice from the processor was received", "processor delivery kind charge payment state"
    ),
    EventType.WEBHOOK_REFUSED: _means(
        "A notice that did not prove to be the processor's was refused", "processor delivery kind reason count"
    ),
    EventType.KEY_CREATED: _means("A key was made", "key purpose epoch algorithm provider expires_at"),
    EventType.KEY_USED_FOR_UNSEAL: _means(
        "A key was used to open a sealed card", "key purpose epoch token charge payment uses"
    ),
    EventType.KEY_ROTATED: _means("A new key took over from an older one", _KEY),
    EventType.KEY_RETIRED: _means("A key was retired: it opens what it sealed, and seals nothing more", _KEY),
    EventType.KEY_DESTROYED: _means("Keys were destroyed, and with them every card under them", f"{_KEY} cards grants"),
    EventType.REKEYING_STARTED: _means("Re-keying of stored cards began", _REKEYING),
    EventType.REKEYING_ADVANCED: _means("Stored cards were sealed anew under a newer key", _REKEYING),
    EventType.REKEYING_FINISHED: _means("Re-keying of stored cards came to its end", _REKEYING),
    EventType.CEREMONY_HELD: _means(
        "A key ceremony was held, and the root key was given out in shares", "key shares threshold environment reason"
    ),
    EventType.CUSTODIAN_ACKNOWLEDGED: _means(
        "A custodian took a share and acknowledged the duty", "custodian key reason"
    ),
    EventType.SHARE_GIVEN: _means(
        "A custodian gave a share to unseal the zone", "custodian key shares threshold reason"
    ),
    EventType.ZONE_UNSEALED: _means("The zone was unsealed", "key shares threshold provider reason"),
    EventType.ZONE_SEALED: _means("The zone was sealed", "key provider reason"),
    EventType.CARD_SAVED: _means(
        "A card was saved for later purchases", "token brand last4 shopper consent expires_at"
    ),
    EventType.CARD_DELETED: _means(
        "A card, its fingerprint and its grants were deleted", "token shopper grants reason"
    ),
    EventType.CONSENT_GIVEN: _means("A shopper agreed to have the card saved", "consent token shopper wording purpose"),
    EventType.CONSENT_WITHDRAWN: _means("A shopper took back the consent", "consent token shopper wording purpose"),
    EventType.VELOCITY_LIMITED: _means(
        "Too many tries: no more are looked at for a while", "limit session platform protocol count refused reason"
    ),
    EventType.DELEGATION_ACCEPTED: _means(
        "An agent platform handed over a card, bound to its allowance",
        f"platform protocol {_GRANT} grant brand last4 kind",
    ),
    EventType.DELEGATION_REFUSED: _means(
        "A card that an agent platform sent was refused", "platform protocol reason status"
    ),
    EventType.FRAME_ORIGINS_CHANGED: _means(
        "It was changed whose pages may frame the card fields", "added removed count reason"
    ),
    EventType.PLATFORM_ADDED: _means(
        "An agent platform was allowed to hand over cards", "platform name protocol reason"
    ),
    EventType.PLATFORM_REMOVED: _means(
        "An agent platform may no longer hand over cards", "platform name protocol reason"
    ),
    EventType.FORWARD_LIST_ACCEPTED: _means(
        "A new list of where cards may be forwarded to came into force", "serial count"
    ),
    EventType.FORWARD_INTENDED: _means("A request with a card was decided on, and nothing sent yet", _FORWARD),
    EventType.FORWARD_ANSWERED: _means("The processor answered the request with the card", _FORWARD),
    EventType.FORWARD_UNKNOWN: _means("It is not known whether the request with the card took effect", _FORWARD),
    EventType.FORWARD_REFUSED: _means("A request with a card was not sent", _FORWARD),
    EventType.OPERATION_REQUESTED: _means("An operator asked for a dangerous act", _OPERATION),
    EventType.OPERATION_APPROVED: _means("A second operator approved the act", _OPERATION),
    EventType.OPERATION_REFUSED: _means("The act was refused or lapsed", _OPERATION),
    EventType.OPERATION_EXECUTED: _means("The approved act was carried out", _OPERATION),
    EventType.IDENTITY_REVOKED: _means("An identity was revoked", "identity kind role side name serial reason"),
    EventType.CERTIFICATES_RELOADED: _means(
        "Certificates and permissions were read anew", "count serial expires_at reason"
    ),
    EventType.RECORDS_EXPIRED: _means("Records past their time were deleted", "kind erased expired count reason"),
    EventType.ACCESS_REFUSED: _means("Access was refused", "reason route method status side role protocol count"),
    EventType.ACCESS_CHANGED: _means("What an identity may do was set", "identity role count reason"),
    EventType.CARD_TEXT_REFUSED: _means(
        "Text that looked like a card number was refused before it went any further",
        "channel side route method protocol kind rule findings length checkout session reason count",
    ),
    EventType.IDENTITY_ISSUED: _means(
        "An identity was issued", "identity kind role side name serial expires_at algorithm"
    ),
    EventType.MIGRATION_APPLIED: _means("The database's form was changed", "migration previous from to side count"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Identify people and things by opaque ids only; nothing here can ever be erased.

    ``actor`` acts (``service:…``, ``agent:…``); ``principal`` is whom it acts for. ``origin`` is the component or the
    peer, never a shopper's address. ``resource`` is what it happened to; ``merchant`` the brand it concerns, if any.
    """

    type: EventType
    outcome: Literal["success", "failure"]
    actor: str
    origin: str
    resource: str
    merchant: str = ""
    principal: str = ""
    data: Mapping[str, str | int | bool] = field(default_factory=dict)


def encode(event: Event, *, event_id: str, at_milliseconds: int) -> bytes:
    """The entry for the log. Raises EventRefused. Numbers as in the module's docstring."""
    if not isinstance(event.type, EventType):
        raise EventRefused("type_unknown")  # (1)
    if event.outcome not in _OUTCOMES:
        raise EventRefused("outcome_unknown")
    if not _EVENT_ID.fullmatch(event_id):
        raise EventRefused("event_id_malformed")
    entry: dict[str, Any] = {
        "actor": _required(event.actor, "actor"),
        "at": moment(at_milliseconds),
        "id": event_id,
        "origin": _required(event.origin, "origin"),
        "outcome": event.outcome,
        "resource": _required(event.resource, "resource"),
        "type": event.type.value,
        "v": FORMAT_VERSION,
    }
    if event.merchant:
        entry["merchant"] = _text(event.merchant, "merchant")
    if event.principal:
        entry["principal"] = _text(event.principal, "principal")
    if event.data:
        allowed = MEANINGS[event.type].keys
        entry["data"] = {key: _value(key, value, allowed) for key, value in event.data.items()}
    encoded = _CANONICAL.encode(entry).encode()
    if len(encoded) > ENTRY_BYTES_MAXIMUM:
        raise EventRefused("entry_too_long")  # (4)
    return encoded


def moment(at_milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds. Raises EventRefused for a moment outside the years 1970 to 9999."""
    if type(at_milliseconds) is not int or not 0 <= at_milliseconds <= _MOMENT_MAXIMUM:
        raise EventRefused("at_out_of_bounds")
    at = _EPOCH + timedelta(milliseconds=at_milliseconds)
    return f"{at.isoformat(timespec='milliseconds')[:-6]}Z"


def looks_like_card(text: str) -> bool:
    """Whether 13 digits or more stand in a row, in any script, with nothing but separators between them."""
    if text.isascii():
        return _CARD_DIGITS.search(text) is not None
    run = 0
    for character in unicodedata.normalize("NFKC", text):
        if unicodedata.digit(character, None) is not None:
            run += 1
            if run >= _CARD_DIGITS_MINIMUM:
                return True
        elif character.isalpha():
            run = 0
    return False


def _required(text: str, name: str) -> str:
    if not text:
        raise EventRefused(f"{name}_absent")  # (1)
    return _text(text, name)


def _text(text: str | int, name: str) -> str:
    if not isinstance(text, str):
        raise EventRefused(f"{name}_not_text")
    if looks_like_card(text[:TEXT_MAXIMUM]):
        raise EventRefused(f"{name}_looks_like_card")  # (3)
    if not _TEXT.fullmatch(text):
        raise EventRefused(f"{name}_outside_alphabet")
    return text


def _value(key: str, value: str | int | bool, allowed: frozenset[str]) -> str | int | bool:
    """(2) The value, if the event's type lists the key and the value is of its kind."""
    if key not in allowed:
        raise EventRefused("data_key_not_listed")
    kind = _KEYS[key].value
    if isinstance(kind, re.Pattern):
        fits = kind.fullmatch(_text(value, key)) is not None
    elif isinstance(kind, range):
        fits = type(value) is int and value in kind
    else:
        fits = type(value) is bool
    if not fits:
        raise EventRefused(f"{key}_not_of_its_kind")
    return value


# ISO 4217: currencies whose minor unit is not a hundredth. Only for reading aloud; no amount is reckoned here.
_MINOR_DIGITS: Final[Mapping[str, int]] = {
    "BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0,
    "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0,
    "XOF": 0, "XPF": 0,
}  # fmt: skip
_MINOR_LABELS: Final = {
    "amount_minor": "",
    "discount_minor": "discount ",
    "price_minor": "price ",
    "ceiling_minor": "at most ",
}
_READ_ALOUD: Final[Mapping[str, str]] = {
    "reason": "reason: {}",
    "from": "was {}",
    "to": "now {}",
    "state": "now {}",
    "processor": "by {}",
}


def sentence(entry: Mapping[str, Any]) -> str:
    """The entry in plain language, for receipts and timelines; says something sensible of any entry, old or new."""
    kind = entry.get("type")
    known = kind in EventType.__members__.values()
    base = MEANINGS[EventType(str(kind))].sentence if known else f"Something was recorded: {kind}"
    data = entry.get("data")
    details = _details(data) if isinstance(data, Mapping) else []
    if entry.get("outcome") == "failure" and not details:
        details = ["without success"]
    return f"{base} ({', '.join(details)})" if details else base


def _details(data: Mapping[str, Any]) -> list[str]:
    currency = data.get("currency")
    details = [
        label + _money(data[key], currency)
        for key, label in _MINOR_LABELS.items()
        if isinstance(data.get(key), int) and isinstance(currency, str)
    ]
    if "brand" in data and "last4" in data:
        details.append(f"{data['brand']} ending {data['last4']}")
    for key, value in data.items():
        kind = _KEYS.get(key)
        if key in _READ_ALOUD:
            details.append(_READ_ALOUD[key].format(value))
        elif kind is _Kind.COUNT:
            details.append(f"{key.replace('_', ' ')} {value}")
    return details


def _money(amount_minor: int, currency: str) -> str:
    digits = _MINOR_DIGITS.get(currency, 2)
    sign, units = "-" if amount_minor < 0 else "", abs(amount_minor)
    fraction = f".{units % 10**digits:0{digits}d}" if digits else ""
    return f"{sign}{units // 10**digits}{fraction} {currency}"
