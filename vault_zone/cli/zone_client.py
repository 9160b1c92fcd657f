"""How a command speaks to a running zone: mutual TLS 1.3 as one identity, bounded in time, a refusal in one line with its mend.

For every group of commands that acts on a zone over the network::

    def add(commands):
        parser = commands.add_parser("keys", help="…")
        zone_client.add_arguments(parser)
        parser.set_defaults(run=_run)

    def _run(arguments):
        with zone_client.open_client(arguments) as zone:
            rows = zone.call("GET", "/v1/keys", query={"merchant": arguments.merchant})
"""

import argparse
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from vault_zone.cli.refused import CommandRefused

CALL_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 3.0
ANSWER_BYTES_MAXIMUM = 8 * 1024 * 1024  # the longest list the zone gives is far below


class ZoneRefused(CommandRefused):
    """The zone answered with a refusal. ``code`` is one of its closed set; ``status`` the HTTP status."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"the zone refused this ({code}): {message}")
        self.code = code
        self.status = status


class ZoneClient:
    """Calls to one zone as one identity. Use as a context manager; not for several threads."""

    def __init__(self, zone_url: str, identity: Path, *, transport: httpx.BaseTransport | None = None) -> None:
        """``identity`` is DIR/NAME: DIR holds ``NAME.key``, ``NAME.crt`` and ``ca.crt``, as `vault-zone identity` writes them.

        Raises CommandRefused when the files are missing or do not belong together, or the address is not https.
        """
        if not zone_url.startswith("https://"):
            raise CommandRefused(
                f"--zone must be the zone's https:// address, for example https://127.0.0.1:8702, not {zone_url}"
            )
        self._url, self._identity = zone_url, identity
        self._client = httpx.Client(
            base_url=zone_url,
            verify=_context(identity),
            timeout=httpx.Timeout(CALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,  # a proxy of the environment has no business between an operator and the zone
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str | int | None] | None = None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> Any:
        """Makes one call and returns the answer's JSON, or None for an answer without a body.

        ``query`` leaves out what is None. Raises ZoneRefused for the zone's refusals, CommandRefused when the zone cannot be
        reached or does not answer like a zone. After a timeout of a change, look before you ask again: it may have happened.
        """
        try:
            answer = self._client.request(
                method,
                path,
                json=body,
                params={name: value for name, value in (query or {}).items() if value is not None},
                timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            )
        except httpx.TimeoutException:
            raise CommandRefused(
                f"the zone at {self._url} did not answer in {timeout_seconds:g} s: see whether it runs, and look before "
                "you ask again"
            ) from None
        except httpx.HTTPError as failure:
            raise CommandRefused(self._unreachable(failure)) from None
        return self._read(answer)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _read(self, answer: httpx.Response) -> Any:
        if not answer.content and answer.is_success:
            return None
        try:
            content = answer.json() if len(answer.content) <= ANSWER_BYTES_MAXIMUM else {}
            if answer.is_success:
                return content
            error = content["error"]
            code, message = str(error["code"]), str(error["message"])
        except (ValueError, LookupError, TypeError):
            raise CommandRefused(
                f"what answers at {self._url} does not speak as a zone (HTTP {answer.status_code}): see --zone"
            ) from None
        raise ZoneRefused(code, message, answer.status_code)

    def _unreachable(self, failure: httpx.HTTPError) -> str:
        text = str(failure).lower()
        if "certificate verify failed" in text:
            return f"the certificate shown at {self._url} is not of the authority in {self._identity.parent / 'ca.crt'}"
        if "alert" in text:
            return (
                f"the zone does not take the certificate {self._identity}.crt: it has ended, was revoked, or is another "
                "authority's; renew it with `vault-zone identity renew`"
            )
        return f"no zone answers at {self._url}: see whether `vault-zone serve` runs there, and --zone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--zone`` and ``--as``, which open_client() reads."""
    parser.add_argument("--zone", required=True, metavar="URL", help="the zone's internal address, https://…:8702")
    parser.add_argument(
        "--as",
        dest="identity",
        type=Path,
        required=True,
        metavar="DIR/NAME",
        help="who you are: NAME.key and NAME.crt in DIR, with ca.crt beside them",
    )


def open_client(arguments: argparse.Namespace) -> ZoneClient:
    """The client that the command line asks for. Raises CommandRefused."""
    return ZoneClient(arguments.zone, arguments.identity)


def _context(identity: Path) -> ssl.SSLContext:
    certificate, key, authority = (
        identity.parent / f"{identity.name}.crt",
        identity.parent / f"{identity.name}.key",
        identity.parent / "ca.crt",
    )
    for path in (certificate, key, authority):
        if not path.is_file():
            raise CommandRefused(
                f"{path} is missing: --as takes DIR/NAME of an identity that `vault-zone identity` wrote"
            )
    if key.stat().st_mode & 0o077:
        raise CommandRefused(f"{key} can be read by others: `chmod 600 {key}`, and renew it if somebody may have")
    try:
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, ValueError, OSError):
        raise CommandRefused(f"{certificate} and {key} do not belong together: issue the identity anew") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
