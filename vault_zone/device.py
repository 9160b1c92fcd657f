"""What 3-D Secure asks of a shopper's browser, from the sending of the card to the charge, and no longer.

Source: EMV 3-D Secure Protocol and Core Functions Specification 2.3.1, table A.1, the elements browser* (deviceChannel 02).

What holds:
 1. Every element is bounded and has the form of the table; one that has not is left out, and never keeps anyone from paying.
 2. At rest it is sealed under a key of the merchant for this purpose, bound to its session.
 3. It is opened by the charge of its own session's grant, in the transaction of the intent, and erased in the same.
 4. What was never charged goes with its session (retention.py).
 5. It is nowhere shown: no log, event, error or answer holds any of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, Request
from sqlalchemy import bindparam, select, update

from audit.transaction import Transaction
from tokenization.addresses import UNKNOWN
from vault_zone.addresses import client_address
from vault_zone.hazmat.seal import PADDED, seal, unseal
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.models import capture_session

FIELD: Final = "device"  # of the card form: JSON that the page's script wrote; empty without script
FIELD_MAXIMUM: Final = 300
HEADER_MAXIMUM: Final = 2048  # browserAcceptHeader, browserUserAgent: what is beyond is cut off
PIXELS_MAXIMUM: Final = 999_999  # browserScreenHeight, browserScreenWidth: six digits
MINUTES_MAXIMUM: Final = 900  # browserTZ: no place is further from UTC
COLOR_DEPTHS: Final = (1, 4, 8, 15, 16, 24, 32, 48)  # browserColorDepth: one in between counts as the next lower
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(?![A-Za-z0-9])")  # BCP 47
_INVISIBLE: Final = re.compile(r"[^\x20-\x7e]")


class Client(NamedTuple):
    """Who sends a form, as the request says: address (addresses.py) and three headers."""

    address: str
    accept: str
    user_agent: str
    languages: str


def client_of(request: Request) -> Client:
    """The client of a request."""
    accept, agent, languages = (request.headers.get(name, "") for name in ("accept", "user-agent", "accept-language"))
    return Client(client_address(request), accept, agent, languages)


ClientIn = Annotated[Client, Depends(client_of)]


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """The elements, by their names in the table without ``browser``. None: not known.

    Pixels; bits for each pixel; minutes from local time to UTC, negative east of Greenwich.
    """

    accept_header: str
    user_agent: str
    javascript_enabled: bool
    language: str | None = None
    ip: str | None = None
    java_enabled: bool | None = None
    color_depth: int | None = None
    screen_height: int | None = None
    screen_width: int | None = None
    tz: int | None = None

    def __repr__(self) -> str:  # (5)
        return "Device(****)"


def read_device(fields: Mapping[str, str], client: Client) -> Device:
    """The elements of the browser that sent the form. Never raises: they come from whoever writes a request (1)."""
    said = _said(fields.get(FIELD, ""))
    java = said.get("java")
    return Device(
        accept_header=_header(client.accept),
        user_agent=_header(client.user_agent),
        javascript_enabled=bool(said),
        language=_language(said.get("language")) or _language(client.languages),
        ip=client.address if client.address != UNKNOWN else None,
        java_enabled=java if isinstance(java, bool) else None,
        color_depth=_color_depth(said.get("depth")),
        screen_height=_bounded(said.get("height"), 0, PIXELS_MAXIMUM),
        screen_width=_bounded(said.get("width"), 0, PIXELS_MAXIMUM),
        tz=_bounded(said.get("tz"), -MINUTES_MAXIMUM, MINUTES_MAXIMUM),
    )


def sealed_columns(tx: Transaction, keys: KeyRing, session: str, merchant: str, device: Device) -> dict[str, Any]:
    """The session's columns for it (2). Raises KeyMissing, KeyDestroyed: run by KeyRing.change()."""
    key_id, key = keys.sealing_key(tx, merchant, Purpose.CAPTURE)
    content = json.dumps(asdict(device), separators=(",", ":")).encode()
    return {"device_sealed": seal(key, content, _bound_to(session, merchant, key_id), PADDED), "device_key_id": key_id}


_KEPT = select(capture_session.c.id, capture_session.c.device_sealed, capture_session.c.device_key_id).where(
    capture_session.c.merchant == bindparam("of_merchant"),
    capture_session.c.checkout == bindparam("of_checkout"),
    capture_session.c.grant_id == bindparam("of_grant"),
    capture_session.c.device_sealed.is_not(None),
)


def take_device(tx: Transaction, keys: KeyRing, *, grant: str, merchant: str, checkout: str) -> Device | None:
    """What the browser said from which the grant's card came, once (3); None for a grant that came without a browser.

    Raises KeyMissing, KeyDestroyed, SealBroken (an altered row): run by KeyRing.change().
    """
    columns = capture_session.c
    row = tx.execute(_KEPT, {"of_merchant": merchant, "of_checkout": checkout, "of_grant": grant}).first()
    if row is None:
        return None
    key = keys.opening_key(tx.connection, row.device_key_id, merchant, Purpose.CAPTURE)
    content = unseal(key, bytes(row.device_sealed), _bound_to(row.id, merchant, row.device_key_id))
    tx.execute(
        update(capture_session).where(columns.id == row.id).values(device_sealed=None, device_key_id=None)  # (3)
    )
    return Device(**json.loads(content))


def _bound_to(session: str, merchant: str, key_id: str) -> tuple[str, ...]:
    return ("device", session, merchant, key_id)


def _said(text: str) -> Mapping[str, object]:
    """What the page's script wrote, or nothing."""
    if not 0 < len(text) <= FIELD_MAXIMUM:
        return {}
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _header(text: str) -> str:
    return _INVISIBLE.sub("", text)[:HEADER_MAXIMUM]


def _language(text: object) -> str | None:
    found = _LANGUAGE.match(text) if isinstance(text, str) else None
    return found.group() if found else None


def _bounded(value: object, least: int, most: int) -> int | None:
    return value if type(value) is int and least <= value <= most else None


def _color_depth(value: object) -> int | None:
    bits = _bounded(value, COLOR_DEPTHS[0], 64)
    return None if bits is None else max(depth for depth in COLOR_DEPTHS if depth <= bits)
