"""Sign-in by a one-time code, sent to the shopper's mailbox. Having the mailbox is having the account.

What holds:
 1. A code is 32 random bits as eight letters, for one request, one browser and one use; it lasts LIFETIME_SECONDS.
 2. It may be tried TRIES times. Each try is counted in the transaction that compares, right or wrong. What comes after that, or
    where there is no code, changes and records nothing: who has a request's cookie cannot fill the log.
 3. The comparison takes the same time wherever the first difference is, also where there is nothing to compare with.
 4. What is stored are keyed digests: of the code, of the mailbox, of the network. There is no e-mail address in the database.
 5. Codes are limited for each request, network, mailbox, and for what one network asks for a mailbox: who asks in somebody
    else's name locks out nobody but their own network, unless they have several. Past a mailbox's limits none is sent, and the
    page says what it always says.
 6. Nothing that is answered depends on whether a mailbox has an account: signing in the first time is what makes one.
 7. A letter holds no word of the program's that asks: anybody can have one sent to anybody, in the brand's name.
"""

import hashlib
import hmac
import re
import secrets
from typing import Any, Final

from sqlalchemy import func, insert, select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.authorization.mail import Letter
from commerce_api.authorization.refusals import OAuthError, OAuthRefused
from commerce_api.authorization.requests import new_challenge
from commerce_api.brands import ORIGIN, Brand
from commerce_api.models import oauth_request, shopper_account, sign_in_code
from tokenization.addresses import network_of
from tokenization.ids import letters_of, new_id

LIFETIME_SECONDS: Final = 600
TRIES: Final = 5
PER_MAILBOX_AN_HOUR: Final = 20
PER_MAILBOX_OF_A_NETWORK_AN_HOUR: Final = 5
PER_REQUEST: Final = 3
PER_NETWORK_AN_HOUR: Final = 30
_HOUR_MS: Final = 3_600_000
# What is not taken besides what ends a header: "=?", which begins an encoded word there (RFC 2047, 2).
_MAILBOX: Final = re.compile(r"(?!.*=\?)[^@\s\x00-\x1f\x7f<>,;:\"()\[\]\\]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)+")


def mailbox_in(text: str) -> str | None:
    """The address as it is compared and written to, in lower case; None where it is none."""
    address = text.strip().lower()
    return address if len(address) <= 254 and address.isascii() and _MAILBOX.fullmatch(address) else None


def network_digest(pepper: bytes, host: str | None) -> str:
    """Who is counted together: an IPv4 address, or an IPv6 network of 64 bits (4)."""
    return _keyed(pepper, "network", network_of(host or ""))


def send_code(tx: Transaction, pepper: bytes, brand: Brand, request: Any, mailbox: str, network: str) -> Letter | None:
    """A new code for a request, in place of those before it: the letter that brings it, or None past the mailbox's limit (5).

    Raises OAuthRefused(TEMPORARILY_UNAVAILABLE) past those of the request and of the network, which say nothing of a mailbox.
    """
    digest = _keyed(pepper, "mailbox", brand.id, mailbox)
    since_ms = tx.now_ms - _HOUR_MS
    if _count(tx, sign_in_code.c.request == request.id) >= PER_REQUEST:
        raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
    if _count(tx, sign_in_code.c.network == network, sign_in_code.c.created_ms > since_ms) >= PER_NETWORK_AN_HOUR:
        raise OAuthRefused(OAuthError.TEMPORARILY_UNAVAILABLE)
    of_mailbox = (sign_in_code.c.mailbox == digest, sign_in_code.c.created_ms > since_ms)
    limited = (
        _count(tx, *of_mailbox, sign_in_code.c.network == network) >= PER_MAILBOX_OF_A_NETWORK_AN_HOUR
        or _count(tx, *of_mailbox) >= PER_MAILBOX_AN_HOUR
    )
    code = letters_of(secrets.token_bytes(4))  # (1)
    earlier = update(sign_in_code).where(sign_in_code.c.request == request.id, sign_in_code.c.used_ms.is_(None))
    tx.execute(earlier.values(used_ms=tx.now_ms))
    tx.execute(
        insert(sign_in_code).values(
            id=new_id("sic"),
            brand=brand.id,
            request=request.id,
            mailbox=digest,
            network=network,
            # One that was not sent can be tried like any other, and is never right.
            code_digest=_keyed(pepper, "unsent" if limited else "code", request.id, code),
            tries=0,
            created_ms=tx.now_ms,
            expires_ms=tx.now_ms + LIFETIME_SECONDS * 1000,
        )
    )
    _record(tx, EventType.SIGN_IN_CODE_SENT, brand.id, request.id, "anonymous", "mailbox_limit" if limited else None)
    return None if limited else _letter(brand, mailbox, code)


def try_code(tx: Transaction, pepper: bytes, brand: Brand, request: Any, typed: str) -> str | None:
    """The shopper's id if the code is right; notes who it is in the request. None for a wrong, used or lapsed one."""
    unused = select(sign_in_code).where(sign_in_code.c.request == request.id, sign_in_code.c.used_ms.is_(None))
    row = tx.execute(unused).first()  # there is one at most: a new code takes the place of those before it
    code = "".join(char for char in typed.lower() if char.isalpha())
    given = _keyed(pepper, "code", request.id, code)
    right = hmac.compare_digest(given, row.code_digest if row is not None else _keyed(pepper, "code", "none"))  # (3)
    if row is None or row.tries >= TRIES:  # (2)
        return None
    usable = row.expires_ms > tx.now_ms
    used_ms = tx.now_ms if right and usable else None
    tx.execute(
        update(sign_in_code)
        .where(sign_in_code.c.id == row.id)
        .values(tries=sign_in_code.c.tries + 1, used_ms=used_ms)  # (2)
    )
    if not (right and usable):
        _record(tx, EventType.SIGN_IN_REFUSED, brand.id, request.id, "anonymous", "code" if usable else "spent")
        return None
    shopper = _account(tx, brand.id, row.mailbox)
    known = {"shopper": shopper, "challenge": new_challenge()}  # by which a passkey may be added (passkeys.py, 7)
    tx.execute(update(oauth_request).where(oauth_request.c.id == request.id).values(known))
    _record(tx, EventType.SIGNED_IN, brand.id, request.id, f"shopper:{shopper}", None)
    return shopper


def has_code(tx: Transaction, request: str) -> bool:
    """Whether a code was asked for in this request."""
    return _count(tx, sign_in_code.c.request == request) > 0


def _account(tx: Transaction, brand: str, mailbox: str) -> str:
    """The account of a mailbox, made where there is none (6)."""
    known: str | None = tx.execute(
        update(shopper_account)
        .where(shopper_account.c.brand == brand, shopper_account.c.mailbox == mailbox)
        .values(seen_ms=tx.now_ms)
        .returning(shopper_account.c.id)
    ).scalar()
    if known is not None:
        return known
    identifier = new_id("shp")
    tx.execute(
        insert(shopper_account).values(
            id=identifier, brand=brand, mailbox=mailbox, created_ms=tx.now_ms, seen_ms=tx.now_ms
        )
    )
    return identifier


def _letter(brand: Brand, mailbox: str, code: str) -> Letter:
    """(7)"""
    shown = f"{code[:4]}-{code[4:]}".upper()
    text = (
        f"Your code for {brand.name} is\n\n    {shown}\n\nType it on the page that asked for it. It lasts ten minutes.\n\n"
        f"You get this because somebody typed this address to connect a program to their account at {brand.name}. If you "
        f"did not start this yourself, do nothing, and give the code to nobody: nobody from {brand.name} will ever ask you "
        "for it.\n"
    )
    return Letter(mailbox, brand.name, f"Your sign-in code for {' '.join(brand.name.split())}", text)


def _keyed(pepper: bytes, *parts: str) -> str:
    return letters_of(hmac.new(pepper, "\0".join(parts).encode(), hashlib.sha256).digest())


def _count(tx: Transaction, *conditions: Any) -> int:
    found: int | None = tx.execute(select(func.count()).select_from(sign_in_code).where(*conditions)).scalar()
    return found or 0


def _record(tx: Transaction, kind: EventType, brand: str, request: str, actor: str, reason: str | None) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="failure" if kind is EventType.SIGN_IN_REFUSED else "success",
            actor=actor,
            origin=ORIGIN,
            resource=request,
            merchant=brand,
            data={} if reason is None else {"reason": reason},
        )
    )
