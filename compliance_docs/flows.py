"""The data flows as data: who sends what to whom, over which channel, under what protection; and what is stored where.

Complete by test: every file that connects or listens is named by a flow, every table is in a store, every lifetime given in
seconds is the one in the code.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """On which side of the wall a place stands."""

    OUTSIDE = "outside"
    ZONE = "card environment"
    COMMERCE = "commerce"
    AUDIT = "audit"


class Data(StrEnum):
    """The most sensitive thing a flow or a store holds."""

    SECURITY_CODE = "card number and security code"
    CARD = "card number"
    KEYS = "keys"
    REFERENCE = "tokens, grants, brand and last four"
    PERSONAL = "personal data of the shopper"
    PUBLIC = "no account data"


ACCOUNT_DATA: Final = frozenset({Data.SECURITY_CODE, Data.CARD})


@dataclass(frozen=True, slots=True)
class Place:
    """A process, a person or a party that data flows from or to."""

    id: str
    title: str
    side: Side
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Data that moves. ``code`` names the files that open, accept or shape the connection."""

    source: str
    target: str
    what: str
    data: Data
    channel: str
    protection: str
    code: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Data that stays. ``tables`` are the tables it consists of; ``seconds`` is its lifetime where the code fixes one."""

    where: str
    side: Side
    holds: str
    data: Data
    protection: str
    retention: str
    seconds: int | None = None
    tables: tuple[str, ...] = ()
    code: tuple[str, ...] = ()


PLACES: Final = (
    Place("shopper", "Shopper's browser", Side.OUTSIDE, "enters the card on the card page, and nowhere else"),
    Place("assistant", "Assistant and its model", Side.OUTSIDE, "converses, searches, builds a checkout, hands over"),
    Place("brand_agent", "Brand's own agents", Side.OUTSIDE, "the same by the agents' API"),
    Place("operator", "Operators", Side.OUTSIDE, "look after the zone by command, each with a certificate"),
    Place("platform", "Agent platforms", Side.OUTSIDE, "hand over cards for one purchase, bound to an allowance"),
    Place(
        "wallet_server",
        "Merchant's wallet server",
        Side.OUTSIDE,
        "decrypts wallets' tokens in a card environment of the merchant's own, and hands them over",
    ),
    Place("processor", "Card processor", Side.OUTSIDE, "authorises and charges the card"),
    Place("feed", "Brand's product feed", Side.OUTSIDE, "tells what is sold"),
    Place("zone", "Zone", Side.ZONE, "captures, seals, grants, charges"),
    Place("zone_db", "Zone's database", Side.ZONE, "sealed cards, grants, charges, the zone's events"),
    Place(
        "key_provider", "Key service or module", Side.ZONE, "holds merchants' wrapping and MAC keys, where one is used"
    ),
    Place("zone_log", "Zone's log", Side.ZONE, "the signed record of the zone"),
    Place("commerce", "Commerce", Side.COMMERCE, "catalogue, checkouts, orders, pages"),
    Place("mcp", "MCP server", Side.COMMERCE, "each brand's tools for assistants"),
    Place(
        "commerce_db", "Commerce's database", Side.COMMERCE, "catalogue, checkouts, payments, orders, commerce's events"
    ),
    Place("commerce_log", "Commerce's log", Side.COMMERCE, "the signed record of commerce"),
    Place("client_host", "Assistant's web host", Side.OUTSIDE, "publishes the document that says who an assistant is"),
    Place("mail_server", "Brand's mail server", Side.OUTSIDE, "brings sign-in codes to shoppers' mailboxes"),
    Place("login_server", "Brand's own login", Side.OUTSIDE, "signs access tokens, where a brand has one"),
    Place(
        "model", "Model providers", Side.OUTSIDE, "word offers, where a brand uses a model; never asked for a figure"
    ),
    Place("auditor", "Auditor's tools", Side.AUDIT, "verify and read the logs"),
)

_LOOPBACK: Final = "in development plain HTTP on the machine itself"

FLOWS: Final = (
    Flow(
        source="assistant",
        target="mcp",
        what="searches, checkout contents, the shopper's name, address and e-mail; card-like text is refused",
        data=Data.PERSONAL,
        channel="MCP, or A2A, over HTTP",
        protection="operator's TLS; a rate for each client; the brand's key where one is presented; card guard before "
        "anything reads the body",
        code=(
            *("mcp_server/app.py", "mcp_server/cli.py", "mcp_server/workers.py", "commerce_api/serve.py"),
            *("commerce_api/rate_limit.py", "tokenization/edge.py"),
        ),
    ),
    Flow(
        source="assistant",
        target="commerce",
        what="asks for access on a shopper's behalf: codes, access and refresh tokens",
        data=Data.PUBLIC,
        channel="OAuth 2.1 over HTTP",
        protection="operator's TLS; PKCE; tokens for one brand's endpoint, short-lived, never in an address; card guard",
        code=("commerce_api/authorization/endpoints.py", "commerce_api/authorization/protocol.py"),
    ),
    Flow(
        source="shopper",
        target="commerce",
        what="signs in with an e-mail address and the code that was sent there; allows an assistant or does not",
        data=Data.PERSONAL,
        channel="HTTPS, forms",
        protection=f"operator's TLS ({_LOOPBACK}); no script, strict policy, a cookie for each request; tries are limited",
        code=("commerce_api/authorization/endpoints.py", "commerce_api/authorization/sign_in.py"),
    ),
    Flow(
        source="commerce",
        target="client_host",
        what="fetches the document at an assistant's client id; nothing is sent along",
        data=Data.PUBLIC,
        channel="HTTPS",
        protection="public addresses alone, looked at before they are connected to; no redirects; bounded",
        code=("commerce_api/authorization/client_documents.py",),
    ),
    Flow(
        source="commerce",
        target="mail_server",
        what="a sign-in code and the address that it goes to",
        data=Data.PERSONAL,
        channel="SMTP",
        protection="TLS, always; in development a file instead",
        code=("commerce_api/authorization/mail.py",),
    ),
    Flow(
        source="mcp",
        target="login_server",
        what="fetches the public keys that access tokens are verified with",
        data=Data.PUBLIC,
        channel="HTTPS",
        protection="the configured address alone; no redirects; bounded",
        code=("commerce_api/authorization/external.py",),
    ),
    Flow(
        source="commerce",
        target="model",
        what="what the shopper said last, card-like text redacted; which slots offers have, and that a size, an occasion or a "
        "name is remembered: no figure, no title, no value",
        data=Data.PERSONAL,
        channel="HTTPS, server-sent events back",
        protection="the configured addresses alone, certificate verified, no redirect, no proxy; refused while it reads like a "
        "card; each call on record with a keyed hash of what left; bounded in size and time",
        code=("offer_engine/models/egress.py", "commerce_api/offering/saying.py"),
    ),
    Flow(
        source="operator",
        target="operator",
        what="sums of decisions and their rewards, offers' names, edges of histograms, between machines that train one model "
        "(offer-engine train --machines); no subject, and no decision as it was",
        data=Data.PUBLIC,
        channel="TCP, our own frames, then LightGBM's sockets",
        protection="none: a network of their own, for as long as it takes; bounded in size and time, never a pickle",
        code=("offer_engine/learning/machines.py", "offer_engine/learning/together.py"),
    ),
    Flow(
        source="brand_agent",
        target="commerce",
        what="the same, by the agents' API; card-like text is refused",
        data=Data.PERSONAL,
        channel="HTTP",
        protection="operator's TLS; a rate for each client; the brand's key; card guard",
        code=(
            *("commerce_api/agents_api.py", "commerce_api/offering/saying_api.py"),
            *("commerce_api/serve.py", "commerce_api/rate_limit.py", "tokenization/edge.py"),
        ),
    ),
    Flow(
        source="shopper",
        target="commerce",
        what="looks at the checkout, presses pay, comes back; the page has no field, its button a secret of this browser",
        data=Data.PERSONAL,
        channel="HTTPS",
        protection=f"operator's TLS ({_LOOPBACK}); no script, strict policy, masked address",
        code=("commerce_api/checkout_pages.py", "commerce_api/pages/headers.py", "commerce_api/serve.py"),
    ),
    Flow(
        source="shopper",
        target="zone",
        what="card number, expiry, security code, name and postal code, once, on a one-time link; what 3-D Secure asks of a "
        "browser",
        data=Data.SECURITY_CODE,
        channel="HTTPS, one form",
        protection=f"operator's TLS, which ends inside the card environment ({_LOOPBACK}); link claimed by one browser",
        code=(
            "vault_zone/serve.py",
            "vault_zone/listeners.py",
            "vault_zone/public_pages.py",
            "vault_zone/capture_form.py",
            "vault_zone/device.py",
        ),
    ),
    Flow(
        source="operator",
        target="zone",
        what="acts on keys, and asks for or approves dangerous acts: ids, counts and states; never a key, never a card",
        data=Data.REFERENCE,
        channel="HTTPS, JSON",
        protection="TLS 1.3 with certificates of the zone's authority on both ends; verbs by identity",
        code=("vault_zone/cli/zone_client.py", "vault_zone/keys_api.py", "vault_zone/operations_api.py"),
    ),
    Flow(
        source="platform",
        target="zone",
        what="a card with what it may be used for (ACP delegate_payment, UCP tokenize); gets a token back, never a card",
        data=Data.SECURITY_CODE,
        channel="HTTPS, JSON",
        protection=f"operator's TLS, which ends inside the card environment ({_LOOPBACK}); bearer key, and a signature where "
        "one is agreed",
        code=("vault_zone/delegation/acp.py", "vault_zone/delegation/ucp.py", "vault_zone/serve.py"),
    ),
    Flow(
        source="wallet_server",
        target="zone",
        what="a wallet's decrypted payment data: network token with its cryptogram, or a card's number; gets a grant back",
        data=Data.SECURITY_CODE,
        channel="HTTPS, JSON",
        protection="TLS 1.3 with certificates of the zone's authority on both ends; a role that has this verb alone",
        code=("vault_zone/wallets/api.py", "vault_zone/wallets/door.py", "vault_zone/serve.py"),
    ),
    Flow(
        source="zone",
        target="shopper",
        what="the card page and what to mend; never a number or a code that was typed",
        data=Data.PUBLIC,
        channel="HTTPS",
        protection="one script with its integrity, strict policy, nothing stored, never framed",
        code=("vault_zone/pages/render.py", "vault_zone/public_pages.py"),
    ),
    Flow(
        source="commerce",
        target="zone",
        what="asks for a capture link, for a session's state, for a charge; gets token, grant, brand, last four, state",
        data=Data.REFERENCE,
        channel="HTTPS, JSON",
        protection="TLS 1.3 with certificates of the zone's authority on both ends; verbs by identity; card guard",
        code=(
            "commerce_api/vault_client.py",
            "vault_zone/serve.py",
            "vault_zone/listeners.py",
            "vault_zone/internal_api.py",
            "vault_zone/access.py",
        ),
    ),
    Flow(
        source="mcp",
        target="zone",
        what="as commerce, when a tool call takes a payment further",
        data=Data.REFERENCE,
        channel="HTTPS, JSON",
        protection="as commerce",
        code=("commerce_api/vault_client.py", "mcp_server/tools.py"),
    ),
    Flow(
        source="zone",
        target="processor",
        what="card number, expiry, security code, name, postal code, what the browser said for 3-D Secure, amount, our "
        "reference; later the reference alone",
        data=Data.SECURITY_CODE,
        channel="HTTPS, JSON, one request",
        protection=f"on this machine alone, refused in production; no redirect, no proxy ({_LOOPBACK}); bearer key",
        code=("vault_zone/processors/sandbox.py", "vault_zone/processors/port.py"),
    ),
    Flow(
        source="zone",
        target="processor",
        what="the same, to Stripe or Adyen by their own clients: api.stripe.com, checkout-test.adyen.com, "
        "PREFIX-checkout-live.adyenpayments.com, port 443; afterwards captures, voids, refunds and questions, without a card",
        data=Data.SECURITY_CODE,
        channel="HTTPS; a form (Stripe) or JSON (Adyen); one request each, none repeated",
        protection="https demanded but for this machine, certificate verified, no redirect, no proxy, answers bounded; "
        "bearer key; the clients' logs and figures are off",
        code=(
            "vault_zone/processors/stripe_transport.py",
            "vault_zone/processors/stripe_connector.py",
            "vault_zone/processors/adyen_transport.py",
            "vault_zone/processors/adyen_connector.py",
        ),
    ),
    Flow(
        source="zone",
        target="processor",
        what="a request that commerce wrote, its placeholders filled with the card; of the answer, allowed fields go back",
        data=Data.SECURITY_CODE,
        channel="HTTPS, JSON or a form, one request",
        protection="signed list of destinations; TLS 1.2 or newer, certificate verified, address checked, no redirect, no "
        "proxy; answer searched for the card",
        code=("vault_zone/forward/sending.py", "vault_zone/forward/allowlist.py", "vault_zone/forward/scrubbing.py"),
    ),
    Flow(
        source="processor",
        target="zone",
        what="outcome of a charge, as a webhook",
        data=Data.REFERENCE,
        channel="HTTPS, JSON",
        protection="signature over time and body, applied once",
        code=(
            "vault_zone/public_pages.py",
            "vault_zone/processors/sandbox.py",
            "vault_zone/processors/stripe_webhooks.py",
            "vault_zone/processors/adyen_webhooks.py",
        ),
    ),
    Flow(
        source="zone",
        target="commerce",
        what="that a charge, a refund or a dispute moved: ids and a word, no card data; commerce asks for the rest",
        data=Data.REFERENCE,
        channel="HTTPS, JSON",
        protection=f"https demanded in production, certificate verified, no redirect, no proxy ({_LOOPBACK}); signed over id, "
        "time and body by a key of the merchant",
        code=("vault_zone/outbox_courier.py", "vault_zone/outbox.py", "commerce_api/zone_notices.py"),
    ),
    Flow(
        source="processor",
        target="processor",
        what="the sandbox that stands in for a processor in development: its store and its webhooks; test numbers only",
        data=Data.REFERENCE,
        channel="HTTP on the machine itself",
        protection="bearer key, signed webhooks; does not start in production",
        code=(
            "vault_zone/processors/sandbox_server/serve.py",
            "vault_zone/processors/sandbox_server/webhooks.py",
            "vault_zone/processors/sandbox_server/store.py",
        ),
    ),
    Flow(
        source="zone",
        target="zone_db",
        what="sealed cards, wrapped keys, grants, charges, events",
        data=Data.CARD,
        channel="PostgreSQL or a file",
        protection="a card is sealed before it leaves the process; credentials that commerce does not have",
        code=("audit/transaction.py", "vault_zone/models.py", "vault_zone/vault.py"),
    ),
    Flow(
        source="zone",
        target="key_provider",
        what="data keys to wrap, or wrapped ones to open; digests of 32 bytes to mark; a login by role and secret, or a PIN",
        data=Data.KEYS,
        channel="HTTPS, JSON, to HashiCorp Vault or OpenBao; or calls of a PKCS#11 module",
        protection="https demanded in production, certificate verified, no redirect, no proxy, a token of its own "
        f"that is renewed and revoked ({_LOOPBACK}); a module's way to its device is the vendor's",
        code=(
            "vault_zone/hazmat/opening.py",
            "vault_zone/hazmat/vault_session.py",
            "vault_zone/hazmat/vault_transit.py",
            "vault_zone/hazmat/pkcs11_token.py",
        ),
    ),
    Flow(
        source="zone",
        target="zone_log",
        what="events",
        data=Data.REFERENCE,
        channel="files",
        protection="refused when card-like; signed tree",
        code=("audit/sequencer.py", "audit/tiles.py"),
    ),
    Flow(
        source="commerce",
        target="commerce_db",
        what="catalogue, checkouts, payments by grant, orders, events",
        data=Data.PERSONAL,
        channel="PostgreSQL or a file",
        protection="credentials of its own",
        code=("audit/transaction.py", "commerce_api/models.py", "commerce_api/cli/databases.py"),
    ),
    Flow(
        source="mcp",
        target="commerce_db",
        what="the same",
        data=Data.PERSONAL,
        channel="PostgreSQL or a file",
        protection="credentials of commerce",
        code=("audit/transaction.py", "mcp_server/cli.py"),
    ),
    Flow(
        source="commerce",
        target="commerce_log",
        what="events",
        data=Data.REFERENCE,
        channel="files",
        protection="refused when card-like; signed tree",
        code=("audit/sequencer.py", "audit/tiles.py"),
    ),
    Flow(
        source="feed",
        target="commerce",
        what="products, read from a file that the operator names",
        data=Data.PUBLIC,
        channel="file",
        protection="bounded, cleaned, card-like rows refused",
        code=("commerce_api/catalogue/importing.py", "commerce_api/catalogue/feed.py"),
    ),
    Flow(
        source="commerce",
        target="commerce",
        what="the command line starts the programs on one machine and asks for their health; it looks at databases and ports",
        data=Data.PUBLIC,
        channel="HTTP on the machine itself",
        protection="no proxy; nothing but a health word is read",
        code=("commerce_api/cli/stack.py", "commerce_api/cli/ports.py", "commerce_api/cli/doctor.py"),
    ),
    Flow(
        source="zone_log",
        target="auditor",
        what="entries, tiles, checkpoints",
        data=Data.REFERENCE,
        channel="files, or a copy of them",
        protection="every byte verified against a signature, and against a checkpoint kept elsewhere",
        code=("audit/cli.py", "audit/verify.py"),
    ),
    Flow(
        source="commerce_log",
        target="auditor",
        what="entries, tiles, checkpoints",
        data=Data.REFERENCE,
        channel="files, or a copy of them",
        protection="as the zone's log",
        code=("audit/cli.py", "audit/verify.py"),
    ),
)

STORES: Final = (
    Store(
        where="zone's memory: card",
        side=Side.ZONE,
        holds="a card while it is captured, and while it is charged",
        data=Data.SECURITY_CODE,
        protection="types that cannot be printed, copied or serialised; no core dumps, no reading by other processes",
        retention="the request",
        code=("vault_zone/card.py", "vault_zone/hazmat/process.py"),
    ),
    Store(
        where="zone's memory: security code",
        side=Side.ZONE,
        holds="the security code of a captured card until its authorisation, sealed under a key of the process",
        data=Data.SECURITY_CODE,
        protection="AES-256-GCM; taken once; never written",
        retention="ten minutes from when it was put there; put back when a charge is refused before it is begun (3.2.1)",
        seconds=600,
        code=("vault_zone/security_codes.py",),
    ),
    Store(
        where="zone's database: cards",
        side=Side.ZONE,
        holds="number, expiry, name, postal code, sealed; brand and last four beside them",
        data=Data.CARD,
        protection="AES-256-GCM under the merchant's data key, bound to token, merchant and key",
        retention="one day, then deleted; a saved card 13 months from its last charge, or until its shopper says (3.2.1)",
        seconds=86_400,
        tables=("zone.card_record",),
        code=("vault_zone/vault.py",),
    ),
    Store(
        where="zone's database: keys",
        side=Side.ZONE,
        holds="data keys, wrapped by the root key",
        data=Data.KEYS,
        protection="AES-256-GCM under the root key, bound to merchant, purpose and key",
        retention="as long as a record needs them; kept",
        tables=("zone.data_key", "zone.rekeying"),
        code=("vault_zone/keyring.py",),
    ),
    Store(
        where="key service or module: keys",
        side=Side.ZONE,
        holds="merchants' wrapping and MAC keys, and that a merchant's were destroyed; no data key, no card",
        data=Data.KEYS,
        protection="cannot be exported or read in clear; each bound to its merchant; destroyed there by two operators",
        retention="until the merchant's keys are destroyed; the mark of that is kept",
        code=("vault_zone/hazmat/vault_transit.py", "vault_zone/hazmat/pkcs11_token.py"),
    ),
    Store(
        where="zone's files: keys",
        side=Side.ZONE,
        holds="root key, log key, processor's secrets, TLS keys, the authority",
        data=Data.KEYS,
        protection="owner-only files; looser ones are refused for root key and log key",
        retention="until replaced; identities a day, 90 days at most",
        code=("vault_zone/settings.py", "vault_zone/hazmat/pki.py"),
    ),
    Store(
        where="zone's database: grants",
        side=Side.ZONE,
        holds="what a token may be used for",
        data=Data.REFERENCE,
        protection="worth nothing outside merchant, checkout, amount, currency, time and uses",
        retention="15 minutes, or as long as one on a saved card was asked for; deleted when they end, or with their card",
        seconds=900,
        tables=("zone.card_grant",),
        code=("vault_zone/grants.py",),
    ),
    Store(
        where="zone's database: saved cards' consents",
        side=Side.ZONE,
        holds="which shopper agreed to have which card saved, in which words, until when",
        data=Data.REFERENCE,
        protection="shopper and token by opaque ids",
        retention="with the card, and 540 days past its end, as long as a charge can be disputed",
        seconds=46_656_000,
        tables=("zone.consent",),
        code=("vault_zone/saved_cards.py", "vault_zone/retention.py"),
    ),
    Store(
        where="zone's database: limits and repeated requests",
        side=Side.ZONE,
        holds="how often a link, network or card was tried; answers already given, by the caller's key",
        data=Data.REFERENCE,
        protection="subjects and requests as keyed digests; no body is kept",
        retention="until their window or their time is over",
        tables=("zone.velocity_counter", "zone.idempotency"),
        code=("vault_zone/models.py",),
    ),
    Store(
        where="zone's database: sessions and charges",
        side=Side.ZONE,
        holds="capture sessions (links as digests; what the browser said for 3-D Secure), charges with brand and last four, "
        "merchants, webhooks seen",
        data=Data.PERSONAL,
        protection="no account data beyond last four; what the browser said is sealed, bound to its session and key",
        retention="a session one day past its end, a webhook 30 days; what the browser said until its charge; charges, "
        "merchants and platforms are kept",
        tables=(
            "zone.capture_session",
            "zone.charge",
            "zone.charge_leg",
            "zone.modification",
            "zone.dispute",
            "zone.notice",
            "zone.merchant",
            "zone.webhook_inbox",
            "zone.agent_platform",
        ),
        code=(
            "vault_zone/capture.py",
            "vault_zone/charge.py",
            "vault_zone/settling.py",
            "vault_zone/modifications.py",
            "vault_zone/device.py",
        ),
    ),
    Store(
        where="zone's database: books",
        side=Side.ZONE,
        holds="accounts, entries and postings of each merchant, by charge; amounts and times",
        data=Data.REFERENCE,
        protection="only added to, by triggers; chained by digests whose newest is in the signed record",
        retention="kept",
        tables=("zone.ledger_account", "zone.ledger_charge", "zone.ledger_entry", "zone.ledger_posting"),
        code=("vault_zone/ledger/posting.py", "vault_zone/ledger/append_only.py", "vault_zone/ledger/chain.py"),
    ),
    Store(
        where="zone's database: processors' reports",
        side=Side.ZONE,
        holds="lines of settlement reports by the processor's ids, and where they and the books did not agree",
        data=Data.REFERENCE,
        protection="card-like text refused at the edge; nothing of a line but ids, amounts and times",
        retention="a line 540 days, as long as a charge can be disputed; what did not agree is kept",
        seconds=46_656_000,
        tables=("zone.settlement", "zone.settlement_line", "zone.settlement_break"),
        code=("vault_zone/reconciliation/importing.py",),
    ),
    Store(
        where="zone's database: forwarded requests",
        side=Side.ZONE,
        holds="where each forwarded request stands, what was told of its answer, serial numbers of destination lists",
        data=Data.REFERENCE,
        protection="requests as keyed digests, answers scrubbed; no body is kept",
        retention="kept",
        tables=("zone.forward", "zone.forward_list"),
        code=("vault_zone/forward/records.py", "vault_zone/forward/allowlist.py"),
    ),
    Store(
        where="zone's database: access and operations",
        side=Side.ZONE,
        holds="what is on record of identities and certificates; dangerous acts with who asked and who approved",
        data=Data.PUBLIC,
        protection="names of services and operators; no key, no card",
        retention="kept",
        tables=("zone.access_identity", "zone.issued_certificate", "zone.operation"),
        code=("vault_zone/inventory.py", "vault_zone/operations.py"),
    ),
    Store(
        where="zone's record",
        side=Side.ZONE,
        holds="events in the database, and the log of tiles",
        data=Data.REFERENCE,
        protection="card-like text refused; signed tree",
        retention="kept (10.5.1)",
        tables=("zone.audit_event",),
        code=("audit/store.py", "audit/tiles.py"),
    ),
    Store(
        where="commerce's database: sales",
        side=Side.COMMERCE,
        holds="checkouts and orders with name, address and e-mail; payments with grant, brand and last four; offers",
        data=Data.PERSONAL,
        protection="no field for a card; card-like text refused at the edge",
        retention="kept",
        tables=(
            "commerce.checkout",
            "commerce.payment",
            "commerce.customer_order",
            "commerce.order_refund",
            "commerce.order_request",
            *("commerce.offer_decision", "commerce.offer_outcome"),
            *("commerce.offer_budget", "commerce.offer_reservation", "commerce.offer_policy"),
        ),
        code=("commerce_api/models.py",),
    ),
    Store(
        where="commerce's database: what shoppers let be remembered",
        side=Side.COMMERCE,
        holds="facts about shoppers, and the words in which they agreed; some are sensitive; nothing that could take money",
        data=Data.PERSONAL,
        protection="shoppers by keyed pseudonym; the query leaves out what a shopper is not known well enough for; values that "
        "look like payment data refused",
        retention="a fact as long as the brand's policy says, 400 days by default, 1,095 at most, or until its consent is "
        "withdrawn; a consent 540 days past its end; all of it until its shopper says",
        seconds=46_656_000,
        tables=("commerce.shopper_fact", "commerce.shopper_consent"),
        code=("commerce_api/memory/facts.py", "commerce_api/memory/consents.py", "commerce_api/memory/erasing.py"),
    ),
    Store(
        where="commerce's database: bills for outcomes",
        side=Side.COMMERCE,
        holds="contracts, what agents brought about with its evidence by id and digest, what was reversed, lines of the bill",
        data=Data.REFERENCE,
        protection="only added to, by triggers; no shopper's name or pseudonym, no word of a conversation",
        retention="kept",
        tables=(
            *("commerce.billing_contract", "commerce.billed_outcome"),
            *("commerce.billing_reversal", "commerce.billing_line"),
        ),
        code=("commerce_api/billing/outcomes.py", "commerce_api/billing/contract.py"),
    ),
    Store(
        where="commerce's database: calls of language models",
        side=Side.COMMERCE,
        holds="when which model was asked, for which decision, how that ended, tokens, cost and verdict; a keyed hash of what "
        "was sent",
        data=Data.REFERENCE,
        protection="only added to, by triggers; no word of what was sent or came back",
        retention="400 days, as decisions; not deleted before that, by the same triggers",
        seconds=34_560_000,
        tables=("commerce.model_call",),
        code=("commerce_api/offering/model_calls.py",),
    ),
    Store(
        where="commerce's database: repeated requests",
        side=Side.COMMERCE,
        holds="answers already given, by the caller's key",
        data=Data.PERSONAL,
        protection="as sales",
        retention="two days",
        seconds=172_800,
        tables=("commerce.idempotency",),
        code=("commerce_api/idempotency.py",),
    ),
    Store(
        where="commerce's database: shoppers' sign-in",
        side=Side.COMMERCE,
        holds="assistants that registered themselves, what shoppers allowed them, codes and tokens, accounts, passkeys",
        data=Data.REFERENCE,
        protection="codes and tokens as digests; e-mail addresses and networks as keyed digests; no address in clear; of a "
        "passkey its id, public key and counter",
        retention="requests and fetches of documents an hour, sign-in codes a day, signed-in browsers 30 days, what was "
        "allowed 30 days after its end, unused assistants 90 days, unused accounts, with their passkeys, 400 days",
        tables=(
            *("commerce.oauth_client", "commerce.oauth_request", "commerce.sign_in_code", "commerce.shopper_account"),
            *("commerce.oauth_grant", "commerce.oauth_code", "commerce.oauth_refresh", "commerce.browser_session"),
            *("commerce.client_document_fetch", "commerce.passkey"),
        ),
        code=(
            *("commerce_api/authorization/grants.py", "commerce_api/authorization/sign_in.py"),
            *("commerce_api/authorization/browser_session.py", "commerce_api/authorization/passkeys.py"),
        ),
    ),
    Store(
        where="commerce's files: letters, in development",
        side=Side.COMMERCE,
        holds="sign-in codes with the address that they would go to",
        data=Data.PERSONAL,
        protection="an owner-only file; production has none",
        retention="until deleted",
        code=("commerce_api/authorization/mail.py",),
    ),
    Store(
        where="commerce's database: catalogue",
        side=Side.COMMERCE,
        holds="brands, variants, reservations, the index for searching, vectors of products' texts",
        data=Data.PUBLIC,
        protection="card-like rows refused at import",
        retention="until the next feed",
        tables=("commerce.brand", "commerce.variant", "commerce.reservation", "commerce.product_vector"),
        code=("commerce_api/catalogue/store.py", "commerce_api/embeddings/store.py"),
    ),
    Store(
        where="commerce's record",
        side=Side.COMMERCE,
        holds="events in the database, and the log of tiles",
        data=Data.REFERENCE,
        protection="card-like text refused; signed tree",
        retention="kept (10.5.1)",
        tables=("commerce.audit_event",),
        code=("audit/store.py", "audit/tiles.py"),
    ),
    Store(
        where="commerce's files: keys",
        side=Side.COMMERCE,
        holds="offer key, agents' key, MCP state key, keys of access tokens, sign-in, mail and the log, its certificate",
        data=Data.KEYS,
        protection="owner-only files; none of them opens a card",
        retention="until replaced; the certificate a day, 90 days at most",
        code=("commerce_api/settings.py", "commerce_api/cli/init.py", "commerce_api/authorization/keys.py"),
    ),
    Store(
        where="logs of the programs",
        side=Side.OUTSIDE,
        holds="JSON lines of what the programs did",
        data=Data.PUBLIC,
        protection="every line redacted by the scanner, whatever wrote it; no URLs, no values",
        retention="the operator's",
        code=("tokenization/logs.py",),
    ),
)


def carries_account_data(flow: Flow) -> bool:
    """Whether the flow carries a card number or a security code."""
    return flow.data in ACCOUNT_DATA


def misplaced_account_data(flows: tuple[Flow, ...] = FLOWS) -> list[str]:
    """Flows of account data that do not begin or end in the zone, or lead anywhere but where cards come from and go to."""
    sides = {place.id: place.side for place in PLACES}
    ends = {"shopper", "platform", "wallet_server", "processor"} | {
        place for place, side in sides.items() if side is Side.ZONE
    }
    return [
        f"{flow.source} → {flow.target}: {flow.data}"
        for flow in flows
        if carries_account_data(flow)
        and not ({flow.source, flow.target} <= ends and Side.ZONE in (sides[flow.source], sides[flow.target]))
    ]
