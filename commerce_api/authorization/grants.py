"""What shoppers allowed: a grant for one client, one endpoint, some scopes; the code that begins it, the tokens that renew it.

What holds:
 1. A code and a refresh token are 256 random bits; what is stored are their digests.
 2. A code lasts CODE_SECONDS and is taken once; so is a refresh token, which is replaced by another one. Taking one takes every
    other that is left of its grant, and those have no grace (7): two successors never live on side by side.
 3. A code or refresh token that comes a second time ends its grant: one of the two who had it is a thief (RFC 9700, 4.14.2).
 4. A grant lasts GRANT_SECONDS, whatever renews it, and a refresh token IDLE_SECONDS. What is revoked stays so.
 5. A grant is renewed once in PACE_SECONDS at most, and its refresh tokens are deleted KEPT_SECONDS after their time, used or
    not: a client cannot fill the log or the table. One that is too early has used nothing up.
 6. Access tokens live as long as access_tokens.LIFETIME_SECONDS, and no longer than their grant (mcp_server/bearer.py asks).
 7. An answer may be lost on its way. Within GRACE_SECONDS of its use the same client may present a refresh token again, and
    gets another successor with the same end, SUCCESSORS of them in all. No successor can have been used by then, which (5) sees
    to: so a token from before the last renewal never has this, and (3) holds for it. Should a thief be the one who comes again,
    the next renewal by one of the two ends the other's, and with that other's next try, however soon, the grant.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Row

from audit.event import Event, EventType, looks_like_card
from audit.transaction import Transaction
from commerce_api.authorization import browser_session, document_fetches
from commerce_api.authorization.clients import UNUSED_SECONDS
from commerce_api.authorization.scopes import known
from commerce_api.brands import ORIGIN
from commerce_api.models import (
    oauth_client,
    oauth_code,
    oauth_grant,
    oauth_refresh,
    oauth_request,
    passkey,
    shopper_account,
    sign_in_code,
)
from tokenization.clock import as_text
from tokenization.ids import digest, is_id, new_id

CODE_SECONDS: Final = 60
IDLE_SECONDS: Final = 30 * 86_400
GRANT_SECONDS: Final = 90 * 86_400
PACE_SECONDS: Final = 10
GRACE_SECONDS: Final = PACE_SECONDS
SUCCESSORS: Final = 3
KEPT_SECONDS: Final = 86_400
ENDED_KEPT_SECONDS: Final = 30 * 86_400  # of grants that ended, to see reuse for what it is
REQUEST_KEPT_SECONDS: Final = 3_600
SIGN_IN_KEPT_SECONDS: Final = 86_400
ACCOUNT_KEPT_SECONDS: Final = 400 * 86_400
_OUTSIDE_ANY_GRACE_MS: Final = 0  # of a token that another one's use took with it, whatever the clock does
CODE_PREFIX: Final = "acd"
REFRESH_PREFIX: Final = "art"


@dataclass(frozen=True, slots=True)
class Granted:
    """A code or a refresh token with its grant, as Authlib asks for it."""

    row: "Row[Any]"
    grant: "Row[Any]"

    @property
    def comes_again(self) -> bool:
        """Whether it was used before (7)."""
        return self.row.used_ms is not None

    @property
    def code_challenge(self) -> str:
        """Of a code: what its verifier must come to."""
        return str(self.row.code_challenge)

    @property
    def code_challenge_method(self) -> str:
        """The only one there is."""
        return "S256"

    def get_redirect_uri(self) -> str:
        """Of a code: where it was sent."""
        return str(self.row.redirect_uri)

    def get_scope(self) -> str:
        """What was allowed."""
        return str(self.grant.scope)

    def check_client(self, client: Any) -> bool:
        """Whether it was given to this client."""
        return bool(client.id == self.grant.client)


def grant(
    tx: Transaction,
    code: str,
    *,
    brand: str,
    client: str,
    shopper: str,
    scope: str,
    resource: str,
    redirect_uri: str,
    challenge: str,
    limit_minor: int | None = None,
) -> None:
    """A new grant, and the code that begins it. ``limit_minor`` is what the client may pay under it in all.

    It counts for the earlier grants of this client too: what a shopper chose last is what they mean.
    """
    of = (oauth_grant.c.brand == brand, oauth_grant.c.client == client, oauth_grant.c.shopper == shopper)
    tx.execute(update(oauth_grant).where(*of, oauth_grant.c.revoked_ms.is_(None)).values(limit_minor=limit_minor))
    identifier = new_id("agr")
    expires_ms = tx.now_ms + GRANT_SECONDS * 1000
    tx.execute(
        insert(oauth_grant).values(
            id=identifier,
            brand=brand,
            client=client,
            shopper=shopper,
            scope=scope,
            resource=resource,
            created_ms=tx.now_ms,
            expires_ms=expires_ms,
            limit_minor=limit_minor,
        )
    )
    tx.execute(
        insert(oauth_code).values(
            digest=digest(code),
            grant_id=identifier,
            redirect_uri=redirect_uri,
            code_challenge=challenge,
            created_ms=tx.now_ms,
            expires_ms=tx.now_ms + CODE_SECONDS * 1000,
        )
    )
    data: dict[str, str | int | bool] = {
        "count": len(known(scope)),
        "expires_at": as_text(expires_ms),
        **({} if limit_minor is None else {"amount_minor": limit_minor}),
        **host_of(client),
    }
    _record(tx, EventType.AUTHORIZATION_GRANTED, brand, identifier, shopper, data)


def take_code(tx: Transaction, brand: str, text: str) -> Granted | None:
    """The code that a client presents, if it stands (2). One that was taken before ends its grant (3)."""
    return _presented(tx, brand, text, oauth_code)


def take_refresh(tx: Transaction, brand: str, text: str, client: str) -> Granted | None:
    """As take_code(), for a refresh token; ``client`` presents it, which may do so again for a moment (7)."""
    return _presented(tx, brand, text, oauth_refresh, client)


def _presented(tx: Transaction, brand: str, text: str, table: Any, client: str | None = None) -> Granted | None:
    row = tx.execute(select(table).where(table.c.digest == digest(text))).first()
    if row is None:
        return None
    of = tx.execute(select(oauth_grant).where(oauth_grant.c.id == row.grant_id, oauth_grant.c.brand == brand)).first()
    if of is None:
        return None
    may_come_again = client == of.client and row.used_ms is not None and tx.now_ms - row.used_ms < GRACE_SECONDS * 1000
    if row.used_ms is not None and not may_come_again:
        revoke(tx, of, "reused")  # (3)
        return None
    if of.revoked_ms is not None or min(row.expires_ms, of.expires_ms) <= tx.now_ms:
        return None
    return Granted(row, of)


def is_early(tx: Transaction, granted: Granted) -> bool:
    """Whether a refresh token was given out by a renewal that is just over (5). One that came with the first code was not.

    One that comes again is early where it has had all its successors (7).
    """
    if granted.comes_again:
        successors = select(func.count()).where(
            oauth_refresh.c.grant_id == granted.grant.id,
            oauth_refresh.c.created_ms >= granted.row.used_ms,
            oauth_refresh.c.digest != granted.row.digest,
        )
        return (tx.execute(successors).scalar() or 0) >= SUCCESSORS
    if tx.now_ms - granted.row.created_ms >= PACE_SECONDS * 1000:
        return False
    first_ms = tx.execute(select(oauth_code.c.used_ms).where(oauth_code.c.grant_id == granted.grant.id)).scalar()
    return bool(granted.row.created_ms != first_ms)


def spend(tx: Transaction, granted: Granted) -> None:
    """Takes a code, or a refresh token with those beside it (2). One that comes again was taken already, and when stays (7)."""
    if "code_challenge" in granted.row._mapping:
        tx.execute(update(oauth_code).where(oauth_code.c.digest == granted.row.digest).values(used_ms=tx.now_ms))
    elif not granted.comes_again:
        own = oauth_refresh.c.digest == granted.row.digest
        tx.execute(update(oauth_refresh).where(own).values(used_ms=tx.now_ms))
        left = (oauth_refresh.c.grant_id == granted.grant.id) & oauth_refresh.c.used_ms.is_(None)
        tx.execute(update(oauth_refresh).where(left).values(used_ms=_OUTSIDE_ANY_GRACE_MS))


def keep_refresh(tx: Transaction, grant_id: str, secret: str, grant_expires_ms: int) -> None:
    """Stores a refresh token that is being given out (1)."""
    tx.execute(
        insert(oauth_refresh).values(
            digest=digest(secret),
            grant_id=grant_id,
            created_ms=tx.now_ms,
            expires_ms=min(tx.now_ms + IDLE_SECONDS * 1000, grant_expires_ms),
        )
    )


def find_grant(tx: Transaction, brand: str, identifier: str) -> "Row[Any] | None":
    """A grant of a brand's."""
    if not is_id(identifier, "agr"):
        return None
    return tx.execute(select(oauth_grant).where(oauth_grant.c.id == identifier, oauth_grant.c.brand == brand)).first()


def grant_of_refresh(tx: Transaction, brand: str, text: str) -> "Row[Any] | None":
    """The grant of a refresh token, used or not: for who wants it ended."""
    row = tx.execute(select(oauth_refresh.c.grant_id).where(oauth_refresh.c.digest == digest(text))).first()
    return None if row is None else find_grant(tx, brand, row.grant_id)


def revoke(tx: Transaction, row: "Row[Any]", reason: str) -> None:
    """Ends a grant, and with it every token under it (4)."""
    if row.revoked_ms is not None:
        return
    tx.execute(update(oauth_grant).where(oauth_grant.c.id == row.id).values(revoked_ms=tx.now_ms))
    _record(tx, EventType.AUTHORIZATION_REVOKED, row.brand, row.id, row.shopper, {"reason": reason})


def note_use(tx: Transaction, row: "Row[Any]", kind: str) -> None:
    """Records that an access token is being given out."""
    _record(tx, EventType.AUTHORIZATION_USED, row.brand, row.id, row.shopper, {"kind": kind})


def forget_old(tx: Transaction) -> None:
    """Deletes what is past its time: requests, sign-in codes, ended grants with all of theirs, unused clients, accounts.

    With an account its passkeys go.
    """
    ended_ms = tx.now_ms - ENDED_KEPT_SECONDS * 1000
    ended = select(oauth_grant.c.id).where(
        (oauth_grant.c.expires_ms < ended_ms) | (oauth_grant.c.revoked_ms < ended_ms)
    )
    tx.execute(delete(oauth_code).where(oauth_code.c.grant_id.in_(ended)))
    tx.execute(delete(oauth_refresh).where(oauth_refresh.c.grant_id.in_(ended)))
    tx.execute(delete(oauth_grant).where(oauth_grant.c.id.in_(ended)))
    tx.execute(delete(oauth_refresh).where(oauth_refresh.c.expires_ms < tx.now_ms - KEPT_SECONDS * 1000))  # (5)
    tx.execute(delete(oauth_request).where(oauth_request.c.expires_ms < tx.now_ms - REQUEST_KEPT_SECONDS * 1000))
    tx.execute(delete(sign_in_code).where(sign_in_code.c.created_ms < tx.now_ms - SIGN_IN_KEPT_SECONDS * 1000))
    browser_session.forget_old(tx)
    document_fetches.forget_old(tx)
    tx.execute(delete(oauth_client).where(oauth_client.c.used_ms < tx.now_ms - UNUSED_SECONDS * 1000))
    unused = (
        shopper_account.c.seen_ms < tx.now_ms - ACCOUNT_KEPT_SECONDS * 1000,
        shopper_account.c.id.not_in(select(oauth_grant.c.shopper)),
    )
    tx.execute(delete(passkey).where(passkey.c.shopper.in_(select(shopper_account.c.id).where(*unused))))
    tx.execute(delete(shopper_account).where(*unused))


def host_of(client: str) -> dict[str, str]:
    """The host that vouches for a client, as the record may hold it."""
    host = urlsplit(client).hostname if client.startswith("https://") else None
    return {"host": host[:100]} if host and not looks_like_card(host) else {}


def _record(
    tx: Transaction, kind: EventType, brand: str, identifier: str, shopper: str, data: dict[str, str | int | bool]
) -> None:
    tx.record(
        Event(
            type=kind,
            outcome="success",
            actor=f"shopper:{shopper}",
            origin=ORIGIN,
            resource=identifier,
            merchant=brand,
            data={"shopper": shopper, **data},
        )
    )
