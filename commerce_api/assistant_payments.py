"""Step 4 begun by an assistant: a checkout paid with a token that the assistant's platform got from the zone for it.

The shopper is not on a page of ours then, so what the page would see to is seen to here. What holds before the payment exists:
 1. The brand lets assistants pay, up to an amount. The token has the form of one that the zone gives to platforms; grants of
    ours have another. Merchant, checkout, amount, currency, expiry and use of a token are the zone's to check (I4).
 2. Who asks has seen the checkout as it is priced now: goods, total, address (checkout/confirmation.py). A price that changed
    since it was last told goes back to the assistant, and nothing is paid.
 3. For a shopper who signed in: their grant has a limit, and all that this program paid or may yet pay for them, this included,
    is within, whichever of their grants it came under. A grant that was revoked pays nothing, nor does a sign-in that is not
    ours, nor a guest where the policy does not say so.
 4. Two payments under one limit count one after the other: the grants' rows are written first.
 5. A token begins one payment of a checkout. The same again begins nothing, and tells how that one stands.
From there on it is a payment like any other (payment.py): on disk before the zone is asked, and one at a time.
"""

from typing import Final

from sqlalchemy import func, select, update

from audit.transaction import Transaction
from commerce_api import stock
from commerce_api.checkout import service
from commerce_api.checkout.confirmation import confirmation_of
from commerce_api.checkout.pricing import price
from commerce_api.checkout.service import ANONYMOUS, Caller, Checkout
from commerce_api.checkout.states import CheckoutState
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.models import oauth_grant, payment
from commerce_api.payment import begin_payment, to_agent_again
from tokenization.ids import is_id

TOKEN_PREFIXES: Final = ("vt", "uct")  # of ACP's and UCP's tokens: vault_zone/delegation
_COUNTED: Final = ("pending", "action_required", "succeeded")


def pay_with_token(
    tx: Transaction, current: Checkout, caller: Caller, token: str, confirmation: str | None, offer_key: bytes
) -> None:
    """Begins the payment, or gives the checkout back with its new price (2).

    Raises CommerceRefusal: PAYMENT_TOKEN_INVALID, PAYMENT_NOT_ALLOWED, SPENDING_LIMIT, CONFIRMATION_STALE, CHECKOUT_NOT_READY,
    CHECKOUT_FINISHED, OUT_OF_STOCK.
    """
    allowed = current.brand.policy.assistant_payments
    if allowed is None:  # (1)
        raise CommerceRefusal(CommerceError.PAYMENT_NOT_ALLOWED)
    if not any(is_id(token, prefix) for prefix in TOKEN_PREFIXES):
        raise CommerceRefusal(CommerceError.PAYMENT_TOKEN_INVALID)
    if _has_begun(tx, current.id, token):  # (5)
        return
    service.require_changeable(current, tx.now_ms)
    if current.state is CheckoutState.ESCALATED:
        fresh = price(tx.connection, current.brand, current.document, current.principal, offer_key, tx.now_ms)
        if fresh.totals != current.priced.totals or not fresh.is_ready:
            to_agent_again(tx, current, fresh, caller.principal)  # (2)
            return
    if not current.priced.is_ready:
        raise CommerceRefusal(CommerceError.CHECKOUT_NOT_READY)
    if confirmation != confirmation_of(current):  # (2)
        raise CommerceRefusal(CommerceError.CONFIRMATION_STALE)
    total_minor = current.priced.totals.total_minor
    if total_minor > allowed.maximum_minor:  # (1)
        raise CommerceRefusal(CommerceError.SPENDING_LIMIT)
    if caller.principal == ANONYMOUS and not allowed.guests:  # (3)
        raise CommerceRefusal(CommerceError.PAYMENT_NOT_ALLOWED)
    if not caller.is_brand(current.brand.id) and caller.principal != ANONYMOUS:
        _within_limit(tx, caller.grant, total_minor)  # (3)
    handed = service.hand_off(tx, current, caller, confirmed=True)
    stock.pin(tx, brand=current.brand.id, checkout=current.id, quantities=current.quantities)
    begin_payment(tx, handed, token, card=None, oauth_grant=caller.grant)


def _within_limit(tx: Transaction, grant: str | None, amount_minor: int) -> None:
    """(3) (4) Raises CommerceRefusal(PAYMENT_NOT_ALLOWED, SPENDING_LIMIT)."""
    live = (oauth_grant.c.id == (grant or ""), oauth_grant.c.revoked_ms.is_(None), oauth_grant.c.expires_ms > tx.now_ms)
    held = tx.execute(select(oauth_grant).where(*live)).first()
    if held is None:
        raise CommerceRefusal(CommerceError.PAYMENT_NOT_ALLOWED)
    theirs = (
        oauth_grant.c.brand == held.brand,
        oauth_grant.c.client == held.client,
        oauth_grant.c.shopper == held.shopper,
    )
    # Changes nothing, and makes others under the same limit wait (4); what it is by now is read again.
    tx.execute(update(oauth_grant).where(*theirs).values(limit_minor=oauth_grant.c.limit_minor))
    held = tx.execute(select(oauth_grant.c.limit_minor).where(*live)).first()
    if held is None or held.limit_minor is None:
        raise CommerceRefusal(CommerceError.PAYMENT_NOT_ALLOWED)
    paid = select(func.coalesce(func.sum(payment.c.amount_minor), 0)).where(
        payment.c.oauth_grant.in_(select(oauth_grant.c.id).where(*theirs)), payment.c.state.in_(_COUNTED)
    )
    if int(tx.execute(paid).scalar_one()) + amount_minor > held.limit_minor:
        raise CommerceRefusal(CommerceError.SPENDING_LIMIT)


def _has_begun(tx: Transaction, checkout: str, token: str) -> bool:
    begun = select(payment.c.id).where(payment.c.checkout == checkout, payment.c.grant_id == token)
    return tx.execute(begun).first() is not None
