"""A zone that forwards: its list, its key, and a destination on loopback."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.vault_zone.forward.destination import Destination, destination
from tests.vault_zone.world import MERCHANT, World, zone_world
from tokenization.wire_forward import Forward, ForwardRequest
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import (
    FORMAT,
    LIST_FILE,
    PUBLIC_KEY_FILE,
    SIGNATURE_FILE,
    SIGNATURE_PURPOSE,
    SignedList,
)
from vault_zone.forward.engine import ForwardEngine
from vault_zone.forward.sending import Resolve, Sender, look_up
from vault_zone.hazmat.signing import create_signing_key, sign_file

ACTOR = "service:commerce"
API_KEY = "sk_test_bcdfghjk"


def entry(port: int, **other: Any) -> dict[str, Any]:
    """An entry of the list, for the destination on this port; ``other`` fields instead of the usual ones."""
    usual: dict[str, Any] = {
        "id": "acquirer",
        "host": "localhost",
        "port": port,
        "method": "POST",
        "path": "/v1/payments",
        "headers": {"x-api-version": "2026-01"},
        "caller_headers": ["x-trace"],
        "secret_headers": [{"name": "authorization", "file": "acquirer.key", "prefix": "Bearer "}],
        "body": "json",
        "placeholders": [
            {"at": "/source/number", "holds": "card.number"},
            {"at": "/source/month", "holds": "card.exp_month", "as_number": True},
            {"at": "/source/year", "holds": "card.exp_year"},
            {"at": "/source/code", "holds": "card.cvc"},
            {"at": "/source/name", "holds": "card.name"},
        ],
        "response": ["/id", "/status", "/last4", "/amount", "/list/*"],
        "merchants": [MERCHANT],
        "timeout_seconds": 1,
        "ca_file": "ca.crt",
        "moves_money": True,
        "amount_at": "/amount",
        "currency_at": "/currency",
    }
    return {**usual, **other}


def usual_body(**other: Any) -> dict[str, Any]:
    """A request's body as the usual entry takes it."""
    source = {
        "number": "{{card.number}}",
        "month": "{{card.exp_month}}",
        "year": "{{card.exp_year}}",
        "code": "{{card.cvc}}",
    }
    return {"amount": 10_905, "currency": "USD", "source": source, **other}


def forward_request(grant: str, **other: Any) -> ForwardRequest:
    """A request to forward the card of a grant."""
    fields: dict[str, Any] = {
        "merchant": MERCHANT,
        "idempotency_key": "idk_a",
        "grant": grant,
        "checkout": "chk_a",
        "destination": "acquirer",
        "body": usual_body(),
    }
    return ForwardRequest.model_validate({**fields, **other})


@dataclass
class ForwardWorld:
    """A zone, its list's directory, and the destination."""

    zone: World
    directory: Path
    key_file: Path
    there: Destination
    only_public: bool = False
    resolve: Resolve = look_up
    engine: ForwardEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.make_engine()

    def make_engine(self) -> ForwardEngine:
        """The engine of a process that has just started."""
        return ForwardEngine(
            self.zone.database,
            self.zone.keys,
            self.zone.codes,
            SignedList(self.directory),
            Sender(self.directory, only_public=self.only_public, resolve=self.resolve),
            clock=self.zone.clock,
            log_is_writable=lambda: self.zone.log_writable[0],
        )

    def restart(self) -> None:
        """The process dies and another starts: memory is gone."""
        self.zone = self.zone.restart()
        self.engine = self.make_engine()

    def publish(self, *entries: dict[str, Any], serial: int = 1) -> None:
        """A list, signed by the pinned key."""
        content = json.dumps({"format": FORMAT, "serial": serial, "destinations": list(entries)}).encode()
        (self.directory / LIST_FILE).write_bytes(content)
        signature = sign_file(self.key_file, SIGNATURE_PURPOSE, content)
        (self.directory / SIGNATURE_FILE).write_text(signature, encoding="ascii")

    async def forwarded(self, grant: str | None = None, **other: Any) -> Forward:
        """Forwards the card of a grant, of a new one if none is named."""
        return await self.engine.forward(forward_request(grant or await self.zone.captured_grant(), **other), ACTOR)

    async def refusal(self, grant: str | None = None, **other: Any) -> ZoneError | None:
        """Why the request is refused, or None."""
        try:
            await self.forwarded(grant, **other)
        except ZoneRefusal as refused:
            return refused.kind
        return None


@asynccontextmanager
async def forward_world(
    database_url: str, tmp_path: Path, *, hosts: tuple[str, ...] = ("localhost",)
) -> AsyncIterator[ForwardWorld]:
    """A zone with one destination on its list."""
    directory, key_file = tmp_path / "forward", tmp_path / "outside" / "signing.key"
    (directory / "secrets").mkdir(parents=True)
    secret = directory / "secrets" / "acquirer.key"
    secret.touch(mode=0o600)
    secret.write_text(API_KEY + "\n", encoding="ascii")
    (directory / PUBLIC_KEY_FILE).write_text(create_signing_key(key_file), encoding="ascii")
    async with zone_world(database_url) as zone, destination(tmp_path / "there", hosts=hosts) as there:
        (directory / "ca.crt").write_bytes((tmp_path / "there" / "ca.crt").read_bytes())
        world = ForwardWorld(zone, directory, key_file, there)
        world.publish(entry(there.port))
        yield world
