"""A request as it is asked for, checked against its destination's entry, which says what is fixed, free and secret."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from tokenization.wire_forward import ForwardRequest
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import AllowListRefused, Destination
from vault_zone.forward.placeholders import Template
from vault_zone.forward.sending import Outgoing

_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,498}[!-~])?")
_PARAMETER_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # no dot, slash or percent: one segment, and no other
_MEDIA_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that may be made, with placeholders where the card will be."""

    destination: Destination
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # the processor's key is among them
    secrets: tuple[str, ...] = field(repr=False)  # what of the headers must not come back in an answer
    template: Template = field(repr=False)

    def filled(self, body: bytes, reference: str) -> Outgoing:
        """The request with its filled body; ``reference`` is the same on every attempt."""
        name = self.destination.idempotency_header
        return Outgoing(self.path, (*self.headers, *([(name, reference)] if name else [])), body)


def prepare(asked: ForwardRequest, destination: Destination, secrets: Path) -> Prepared:
    """Checks the request. Raises ZoneRefusal (FORWARD_REQUEST_REFUSED, PLACEHOLDER_REFUSED), AllowListRefused."""
    secret = {one.name: _secret(secrets / one.file) for one in destination.secret_headers}
    headers = {
        "content-type": _MEDIA_TYPES[destination.body],
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        **destination.headers,
        **_callers_headers(asked.headers, destination),
        **{one.name: one.prefix + secret[one.name] for one in destination.secret_headers},
    }
    path = _path(asked.parameters, destination)
    return Prepared(
        destination, path, tuple(headers.items()), tuple(secret.values()), Template(asked.body, destination)
    )


def _callers_headers(asked: dict[str, str], destination: Destination) -> dict[str, str]:
    for name, value in asked.items():
        if name not in destination.caller_headers or not _HEADER_VALUE.fullmatch(value):
            raise ZoneRefusal(ZoneError.FORWARD_REQUEST_REFUSED)
        if "{{" in value or "}}" in value:
            raise ZoneRefusal(ZoneError.PLACEHOLDER_REFUSED)
    return asked


def _path(asked: dict[str, str], destination: Destination) -> str:
    if asked.keys() != destination.parameters or not all(map(_PARAMETER_VALUE.fullmatch, asked.values())):
        raise ZoneRefusal(ZoneError.FORWARD_REQUEST_REFUSED)
    return destination.path.format_map(asked)


def _secret(path: Path) -> str:
    """A secret header's value. Raises AllowListRefused: the zone is not set up as its list says."""
    try:
        readable_by_others = path.stat().st_mode & 0o077
        value = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise AllowListRefused("secret_missing") from None
    if readable_by_others or not _HEADER_VALUE.fullmatch(value):
        raise AllowListRefused("secret_refused")
    return value
