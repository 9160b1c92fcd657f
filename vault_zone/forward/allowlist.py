"""Where a card may be forwarded to: a list that is fixed, signed and numbered (PCI DSS 1.3.2). Callers choose by id alone.

What must hold before anything is forwarded:
 1. The list is signed by the key whose public half is pinned in the zone, over just these bytes.
 2. Its serial number is not below one that was accepted before, and one serial number stands for one list: no rollback.
 3. It is well formed; one rule that is broken refuses the whole list.
 4. Host, port, method, path and the headers that carry secrets come from the list, never from the caller.
"""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import select

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.ids import letters_of
from tokenization.wire import Identifier
from vault_zone.forward.pointer import is_pointer
from vault_zone.hazmat.signing import is_signed
from vault_zone.key_rows import ORIGIN
from vault_zone.models import forward_list

SIGNATURE_PURPOSE = "cordon forward allow-list"
FORMAT = "cordon-forward-1"
LIST_FILE, SIGNATURE_FILE, PUBLIC_KEY_FILE = "forward.json", "forward.json.sig", "signing.pub"
LIST_BYTES_MAXIMUM = 1_000_000
_PARAMETER = re.compile(r"\{([a-z][a-z_]{0,29})\}")
# What HTTP itself, or this code, sets: a list that named one of them could change where or what is sent.
_RESERVED_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect",
        "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip

HeaderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
HeaderValue = Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,498}[!-~])?$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Host = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Path_ = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/{}-]{0,300}$")]
Pointer = Annotated[str, Field(max_length=400)]
Placeholder = Literal[
    "card.number",
    "card.exp_month",
    "card.exp_year",
    "card.exp_year2",
    "card.name",
    "card.cvc",
    "card.postal_code",
]


class AllowListRefused(Exception):
    """The list may not be used; ``code`` says why. Nothing is forwarded until a good one is in its place."""

    def __init__(self, code: str, *rules: str) -> None:
        super().__init__(code)
        self.code = code
        self.rules = rules


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Placement(_Closed):
    """Where a placeholder may stand. ``as_number``: the filled value is a JSON number, for dates only."""

    at: Pointer
    holds: Placeholder
    as_number: bool = False


class SecretHeader(_Closed):
    """A header whose value is a prefix and the content of a file in the zone's own directory of secrets."""

    name: HeaderName
    file: FileName
    prefix: Annotated[str, Field(pattern=r"^[ -~]{0,40}$")] = ""


class Destination(_Closed):
    """One request that may be made. Field by field in docs/forward.md."""

    id: Identifier
    processor: Identifier | None = None  # what a grant that is bound to a processor calls it; the id when absent
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    method: Literal["POST", "PUT", "PATCH"]
    path: Path_
    headers: dict[HeaderName, HeaderValue] = {}
    caller_headers: tuple[HeaderName, ...] = ()
    secret_headers: tuple[SecretHeader, ...] = ()
    body: Literal["json", "form"]
    placeholders: Annotated[tuple[Placement, ...], Field(min_length=1, max_length=20)]
    response: Annotated[tuple[Pointer, ...], Field(max_length=50)] = ()
    merchants: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    ca_file: FileName | None = None
    idempotency_header: HeaderName | None = None
    idempotency_seconds: Annotated[int, Field(ge=0, le=31 * 86_400)] = 23 * 3600  # less than the destination keeps keys
    moves_money: bool
    amount_at: Pointer | None = None
    currency_at: Pointer | None = None

    @property
    def bound_to(self) -> str:
        """The name under which a grant may be bound to this destination."""
        return self.processor or self.id

    @property
    def parameters(self) -> frozenset[str]:
        """The names in the path that the caller gives values for."""
        return frozenset(_PARAMETER.findall(self.path))

    @model_validator(mode="after")
    def _holds_together(self) -> "Destination":
        names = [*self.headers, *self.caller_headers, *(secret.name for secret in self.secret_headers)]
        names += [self.idempotency_header] if self.idempotency_header else []
        pointers = [placement.at for placement in self.placeholders]
        money = [pointer for pointer in (self.amount_at, self.currency_at) if pointer is not None]
        rules = {
            "header_twice": len(set(names)) == len(names),
            "header_reserved": _RESERVED_HEADERS.isdisjoint(names),
            "pointer_malformed": all(map(is_pointer, [*pointers, *self.response, *money])),
            "placeholder_twice_at_one_place": len(set(pointers)) == len(pointers),
            "placeholder_at_an_array": not any("/*" in pointer for pointer in pointers + money),
            "number_only_for_dates": not any(
                placement.as_number and not placement.holds.startswith("card.exp_") for placement in self.placeholders
            ),
            "number_not_in_a_form": self.body == "json" or not any(one.as_number for one in self.placeholders),
            "money_fields_of_what_moves_money": len(money) == (2 if self.moves_money else 0),
            "money_field_is_a_placeholder": not set(money) & set(pointers),
            "path_malformed": "{" not in _PARAMETER.sub("", self.path) and "}" not in _PARAMETER.sub("", self.path),
            "path_climbs": not {".", ".."} & set(self.path.split("/")) and "//" not in self.path,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError(" ".join(broken))
        return self

    @property
    def placed(self) -> dict[str, Placement]:
        """Placements by their pointer."""
        return {placement.at: placement for placement in self.placeholders}


class AllowList(_Closed):
    """A list in force. ``serial`` only ever rises."""

    format: Literal["cordon-forward-1"]
    serial: Annotated[int, Field(strict=True, ge=1, lt=10**9)]
    destinations: Annotated[tuple[Destination, ...], Field(max_length=200)]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "AllowList":
        ids = [destination.id for destination in self.destinations]
        if len(set(ids)) != len(ids):
            raise ValueError("destination_twice")
        return self

    def find(self, destination: str, merchant: str) -> Destination | None:
        """The destination of this id, if the merchant may use it."""
        found = (one for one in self.destinations if one.id == destination and merchant in one.merchants)
        return next(found, None)


class SignedList:
    """The list, its signature and the pinned key, as they lie in a directory. Read anew for each call: no reload to miss."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets = directory / "secrets"

    def read(self) -> tuple[AllowList, str]:
        """The list and the digest of its bytes. Raises AllowListRefused."""
        try:
            public = (self.directory / PUBLIC_KEY_FILE).read_text(encoding="ascii").strip()
            content = (self.directory / LIST_FILE).read_bytes()
            signature = (self.directory / SIGNATURE_FILE).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise AllowListRefused("list_missing") from None
        return read_list(content, signature, public), letters_of(sha256(content).digest())


def read_list(content: bytes, signature: str, public: str) -> AllowList:
    """The list, if the pinned key signed these bytes (1). Raises AllowListRefused."""
    if len(content) > LIST_BYTES_MAXIMUM:
        raise AllowListRefused("list_too_long")
    if not is_signed(public, SIGNATURE_PURPOSE, content, signature):
        raise AllowListRefused("list_signature_wrong")
    return parse_list(content)


def parse_list(content: bytes) -> AllowList:
    """The list, checked for form alone (3). Raises AllowListRefused with the rules that are broken."""
    try:
        return AllowList.model_validate(json.loads(content, object_pairs_hook=_without_repeats))
    except ValidationError as failure:
        rules = sorted({".".join(map(str, one["loc"])) + ": " + _rule(one) for one in failure.errors()})
        raise AllowListRefused("list_malformed", *rules) from None
    except (ValueError, RecursionError):
        raise AllowListRefused("list_malformed") from None


def accept(tx: Transaction, listed: AllowList, digest: str, actor: str) -> None:
    """Takes note of the list's serial number in this transaction (2). Raises AllowListRefused for an older or another list."""
    newest = tx.execute(
        select(forward_list.c.serial, forward_list.c.digest).order_by(forward_list.c.serial.desc()).limit(1)
    ).first()
    if newest is not None and listed.serial < newest.serial:
        raise AllowListRefused("list_rolled_back")
    if newest is not None and listed.serial == newest.serial:
        if newest.digest != digest:
            raise AllowListRefused("list_serial_used_twice")
        return
    tx.execute(forward_list.insert().values(serial=listed.serial, digest=digest, accepted_ms=tx.now_ms))
    tx.record(
        Event(
            type=EventType.FORWARD_LIST_ACCEPTED,
            outcome="success",
            actor=actor,
            origin=ORIGIN,
            resource="forward:list",
            data={"serial": str(listed.serial), "count": len(listed.destinations)},
        )
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _rule(error: Any) -> str:
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else str(error["type"])
