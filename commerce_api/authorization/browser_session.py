"""A browser in which a shopper signed in, so that the pages that are theirs know them again.

What holds:
 1. The cookie is 256 random bits, new with each sign-in; what is stored is its digest, and whose it is.
 2. Browsers send it to one brand's pages alone, out of reach of scripts, and never with another site's form.
 3. It lasts LIFETIME_SECONDS, whatever uses it. Signing out ends it here, not only in the browser.
 4. It opens pages. It is no access token and no endpoint of a client takes it.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from audit.transaction import Transaction
from commerce_api.models import browser_session
from tokenization.ids import digest, is_secret, new_secret

LIFETIME_SECONDS: Final = 30 * 86_400
PREFIX: Final = "bss"
_SHOPPER = select(browser_session.c.shopper).where(
    browser_session.c.digest == bindparam("of"),
    browser_session.c.brand == bindparam("at"),
    browser_session.c.expires_ms > bindparam("now"),
)


@dataclass(frozen=True, slots=True)
class Cookie:
    """The cookie of a brand's pages. ``https``: whether this site is reached by it."""

    brand: str
    https: bool

    @property
    def name(self) -> str:
        """With a prefix that browsers hold to https (RFC 6265bis, 4.1.3)."""
        return "__Secure-cordon-shopper" if self.https else "cordon-shopper"

    def read(self, request: Request) -> str:
        """What the browser sent; empty where that is nothing of ours."""
        presented = request.cookies.get(self.name, "")
        return presented if is_secret(presented, PREFIX) else ""

    def write(self, answer: Response, secret: str) -> None:
        """(2)"""
        answer.set_cookie(
            self.name,
            secret,
            max_age=LIFETIME_SECONDS,
            path=f"/{self.brand}",
            secure=self.https,
            httponly=True,
            samesite="lax",
        )

    def remove(self, answer: Response) -> None:
        """Has the browser forget it."""
        answer.delete_cookie(self.name, path=f"/{self.brand}", secure=self.https, httponly=True, samesite="lax")


def begin(tx: Transaction, brand: str, shopper: str) -> str:
    """A session for a shopper who signed in just now: the cookie's secret (1)."""
    secret = new_secret(PREFIX)
    tx.execute(
        insert(browser_session).values(
            digest=digest(secret),
            brand=brand,
            shopper=shopper,
            created_ms=tx.now_ms,
            expires_ms=tx.now_ms + LIFETIME_SECONDS * 1000,
        )
    )
    return secret


def shopper_of(connection: Connection, brand: str, secret: str, now_ms: int) -> str | None:
    """Who is signed in, or None (3)."""
    if not secret:
        return None
    found: str | None = connection.execute(_SHOPPER, {"of": digest(secret), "at": brand, "now": now_ms}).scalar()
    return found


def end(tx: Transaction, brand: str, secret: str) -> None:
    """Signs out (3)."""
    tx.execute(
        delete(browser_session).where(browser_session.c.digest == digest(secret), browser_session.c.brand == brand)
    )


def forget_old(tx: Transaction) -> None:
    """Deletes what is past its time."""
    tx.execute(delete(browser_session).where(browser_session.c.expires_ms <= tx.now_ms))
