"""``POST /v1/merchants/{merchant}/wallet-tokens``: a wallet's decrypted payment data becomes a grant for one checkout.

What holds, in this order:
 1. The caller has the verb for this merchant; commerce's role has it not. Nothing of the body is parsed before.
 2. The card leaves the parsed body before anything that could fail with a value in its text looks at it (payload.py).
 3. The grant has one use, and names merchant, checkout, ceiling and currency; it ends when it was asked to, or when the wallet
    says, and never later than a cryptogram may be held.
 4. Record, grant and their events commit together. The record outlives the grant by nothing.
 5. The cryptogram goes into memory alone, after the commit, for one authorization (security_codes.py): the charge that finds
    none is refused.
 6. No answer, event or log holds a value of the request but the last four.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, ValidationError

from audit.transaction import Transaction
from tokenization.money import Money, MoneyInvalid
from tokenization.wire import AmountMinor, CardSummary, Currency, Identifier, Wire
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.capture import know_merchant
from vault_zone.delegation.sent_card import BodyRefused, parse_json
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import create_grant
from vault_zone.keyring import KeyRing
from vault_zone.public_pages import BodyIn
from vault_zone.roles import Verb
from vault_zone.security_codes import LIFETIME_SECONDS
from vault_zone.vault import store_card
from vault_zone.wallets.payload import WalletCard, read_payload

router = APIRouter(prefix="/v1/merchants/{merchant}")
SOURCE = "wallet"


class WalletGrantAsked(Wire):
    """What the card may be used for: the request without ``payment``."""

    wallet: Literal["apple_pay", "google_pay"]
    checkout: Identifier
    amount_minor: AmountMinor
    currency: Currency
    lifetime_seconds: Annotated[int, Field(ge=30, le=LIFETIME_SECONDS)] = LIFETIME_SECONDS


class WalletGrant(Wire):
    """The grant to charge with, until when, and what may be shown. The last four are the network token's, not the card's."""

    grant: Identifier
    kind: Literal["card", "network_token"]
    card: CardSummary
    expires_ms: int


@router.post("/wallet-tokens", status_code=201)
async def post_wallet_token(
    merchant: str, zone: ZoneIn, body: BodyIn, caller: Annotated[Permitted, asks(Verb.HAND_OVER_CARD)]
) -> WalletGrant:
    """Takes a wallet's decrypted payment data for one checkout."""
    actor = caller.acting_for(merchant)  # (1)
    payment, content = _parsed(body)
    del body
    asked = _asked(content)
    ceiling = _money(asked)
    now_ms = zone.clock()
    taken = read_payload(asked.wallet, payment, ceiling, now_ms)  # (2)
    ends = [now_ms + asked.lifetime_seconds * 1000, *([taken.expires_ms] if taken.expires_ms is not None else [])]
    expires_ms = min(ends)  # (3)
    await zone.database.maintain(
        lambda tx: know_merchant(tx, merchant)
    )  # a key is some merchant's, so that one comes first
    grant = await zone.keys.change(
        lambda tx: _take(tx, zone.keys, taken, merchant, asked.checkout, ceiling, expires_ms, actor)
    )
    if taken.sent.proof is not None:
        zone.codes.hold(grant, taken.sent.proof, (expires_ms - now_ms) / 1000)  # (5)
    pan = taken.sent.card.pan
    kind: Any = taken.sent.kind
    return WalletGrant(
        grant=grant, kind=kind, card=CardSummary(brand=pan.brand, last4=pan.last4), expires_ms=expires_ms
    )


def _take(
    tx: Transaction,
    keys: KeyRing,
    taken: WalletCard,
    merchant: str,
    checkout: str,
    ceiling: Money,
    expires_ms: int,
    actor: str,
) -> str:
    """Stores record and grant (4)."""
    token = store_card(
        tx,
        keys,
        merchant=merchant,
        card=taken.sent.card,
        expires_ms=expires_ms,
        actor=actor,
        source=SOURCE,
        kind=taken.sent.kind,
    )
    return create_grant(
        tx,
        token=token,
        merchant=merchant,
        checkout=checkout,
        ceiling=ceiling,
        expires_ms=expires_ms,
        actor=actor,
        needs_code=taken.sent.proof is not None,
    )


def _parsed(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The wallet's payload, and the rest of the request."""
    try:
        content = parse_json(body)
    except BodyRefused:
        raise ZoneRefusal(ZoneError.INVALID_REQUEST, ("not_json",)) from None
    payment = content.pop("payment", None)
    if not isinstance(payment, dict):
        raise ZoneRefusal(ZoneError.INVALID_REQUEST, ("payment: missing",))
    return payment, content


def _asked(content: dict[str, Any]) -> WalletGrantAsked:
    try:
        return WalletGrantAsked.model_validate(content)
    except ValidationError as invalid:
        broken = sorted({error["type"] for error in invalid.errors(include_input=False, include_context=False)})
    raise ZoneRefusal(ZoneError.INVALID_REQUEST, tuple(broken))


def _money(asked: WalletGrantAsked) -> Money:
    try:
        return Money(asked.amount_minor, asked.currency)
    except MoneyInvalid as invalid:
        raise ZoneRefusal(ZoneError.INVALID_REQUEST, (invalid.code,)) from None
