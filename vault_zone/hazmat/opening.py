"""Opens the key provider that ``keys/provider.json`` names; without that file, the local one.

    {"kind": "local"}
    {"kind": "vault", "address": "https://…", "mount": "transit", "namespace": "…", "ca_file": "…", "timeout_seconds": 5,
     "auth": {"kind": "approle", "mount": "approle", "role_id_file": "…", "secret_id_file": "…"}}
     "auth": {"kind": "kubernetes", "mount": "kubernetes", "role": "…", "jwt_file": "…"}}
    {"kind": "pkcs11", "module": "/usr/lib/….so", "token": "its label", "pin_file": "…"}

No secret stands in it: secrets are in files of their own that only their owner may read. Relative paths start at ``keys/``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from vault_zone.hazmat.files import KeyRefused, read_owner_only
from vault_zone.hazmat.local import DEVELOPMENT, KEYSTORE, ROOT_KEY, LocalKeys
from vault_zone.hazmat.provider import KeyProvider

if TYPE_CHECKING:
    from vault_zone.hazmat.vault_session import AppRole, Kubernetes

PROVIDER_FILE: Final = "provider.json"


def open_provider(directory: Path, environment: str) -> KeyProvider:
    """The provider for the keys directory. A local one may still be sealed. Raises KeyRefused with what to mend."""
    named = _read(directory / PROVIDER_FILE)
    kind = _text(named, "kind")
    opener = _KINDS.get(kind)
    if opener is None:
        raise KeyRefused("provider_unknown", f"`kind` in {PROVIDER_FILE} is local, vault or pkcs11")
    return opener(directory, named, environment)


def _open_local(directory: Path, named: dict[str, Any], environment: str) -> KeyProvider:
    _only(named, "kind")
    if environment == DEVELOPMENT and not (directory / KEYSTORE).exists() and not (directory / ROOT_KEY).exists():
        raise KeyRefused("key_file_missing", "run `vault-zone init` first")
    return LocalKeys.open(directory, environment)


def _open_pkcs11(directory: Path, named: dict[str, Any], _: str) -> KeyProvider:
    _only(named, "kind", "module", "token", "pin_file", "timeout_seconds")
    try:
        from vault_zone.hazmat.pkcs11_token import TIMEOUT_SECONDS, Pkcs11Keys, TokenPlace
    except ImportError:
        raise KeyRefused("provider_not_installed", "install the zone with its extra `pkcs11`") from None
    place = TokenPlace(
        module=_existing(directory, named, "module"),
        token=_text(named, "token"),
        pin_file=_secret(directory, named, "pin_file"),
        lock_file=directory / "pkcs11",
    )
    return Pkcs11Keys(place, timeout_seconds=_seconds(named, TIMEOUT_SECONDS))


def _open_vault(directory: Path, named: dict[str, Any], environment: str) -> KeyProvider:
    _only(named, "kind", "address", "mount", "namespace", "ca_file", "key_prefix", "timeout_seconds", "auth")
    try:
        from vault_zone.hazmat.vault_session import TIMEOUT_SECONDS, VaultPlace
        from vault_zone.hazmat.vault_transit import VaultKeys
    except ImportError:
        raise KeyRefused("provider_not_installed", "install the zone with its extra `vault`") from None
    place = VaultPlace(
        address=_address(named, environment),
        auth=_vault_auth(directory, named.get("auth")),
        mount=_text({"mount": "transit", **named}, "mount"),
        namespace=_text(named, "namespace") if "namespace" in named else None,
        ca_file=_existing(directory, named, "ca_file") if "ca_file" in named else None,
        key_prefix=_text({"key_prefix": "cordon", **named}, "key_prefix"),
        timeout_seconds=_seconds(named, TIMEOUT_SECONDS),
    )
    return VaultKeys(place)


def _vault_auth(directory: Path, named: object) -> "AppRole | Kubernetes":
    from vault_zone.hazmat.vault_session import AppRole, Kubernetes

    auth = named if isinstance(named, dict) else {}
    if auth.get("kind") == "approle":
        _only(auth, "kind", "mount", "role_id_file", "secret_id_file")
        ids = (_secret(directory, auth, "role_id_file"), _secret(directory, auth, "secret_id_file"))
        return AppRole(*ids, mount=_text({"mount": "approle", **auth}, "mount"))
    if auth.get("kind") == "kubernetes":
        _only(auth, "kind", "mount", "role", "jwt_file")
        mount = _text({"mount": "kubernetes", **auth}, "mount")
        return Kubernetes(_text(auth, "role"), _existing(directory, auth, "jwt_file"), mount=mount)
    raise KeyRefused("provider_file_malformed", f"`auth` in {PROVIDER_FILE} is of kind approle or kubernetes")


def _address(named: dict[str, Any], environment: str) -> str:
    address = _text(named, "address")
    try:
        parsed = urlsplit(address)
        host, has_secret = parsed.hostname, parsed.username is not None or parsed.password is not None
        _ = parsed.port  # read for its own check
    except ValueError:
        host, has_secret = None, False
    if not host:
        raise _malformed("has an `address` that names no host")
    if has_secret:
        raise _malformed("has a user or a password in its `address`")
    on_this_machine = parsed.scheme == "http" and host in ("127.0.0.1", "localhost", "::1")
    if parsed.scheme != "https" and not (environment == DEVELOPMENT and on_this_machine):
        raise KeyRefused("provider_without_tls", f"`address` in {PROVIDER_FILE} starts with https://")
    return address


_KINDS: Final[dict[str, Callable[[Path, dict[str, Any], str], KeyProvider]]] = {
    "local": _open_local,
    "pkcs11": _open_pkcs11,
    "vault": _open_vault,
}


def _read(path: Path) -> dict[str, Any]:
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"kind": "local"}
    except (OSError, ValueError, RecursionError):
        raise _malformed("is not JSON that can be read") from None
    if not isinstance(named, dict):
        raise _malformed("is not an object")
    return named


def _malformed(fault: str) -> KeyRefused:
    return KeyRefused("provider_file_malformed", f"{PROVIDER_FILE} {fault}; docs/keys.md shows its form")


def _only(named: dict[str, Any], *known: str) -> None:
    if unknown := sorted(set(named) - set(known)):
        raise _malformed(f"has no place for `{unknown[0][:40]}`")


def _text(named: dict[str, Any], name: str) -> str:
    value = named.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _malformed(f"lacks `{name}`")
    return value


def _seconds(named: dict[str, Any], default: float) -> float:
    value = named.get("timeout_seconds", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 60:
        raise _malformed("has a `timeout_seconds` outside 0 to 60")
    return float(value)


def _existing(directory: Path, named: dict[str, Any], name: str) -> Path:
    path = directory / _text(named, name)
    if not path.is_file():
        raise KeyRefused("provider_file_malformed", f"`{name}` in {PROVIDER_FILE} names no file")
    return path


def _secret(directory: Path, named: dict[str, Any], name: str) -> Path:
    path = directory / _text(named, name)
    read_owner_only(path, missing_fix=f"put the secret into {path}, readable by its owner only")
    return path
