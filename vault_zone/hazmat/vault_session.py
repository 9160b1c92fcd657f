"""A session with HashiCorp Vault or OpenBao: logged in from files, its token renewed before the lease ends.

What must hold:
 1. Whatever goes wrong on the way (refused, sealed, standby, slow, token lost) is KeyUnavailable; the next call tries anew.
 2. A token that was refused is replaced by a new login, once for a call; what the policy forbids stays refused.
 3. Nothing of the environment takes part: no proxy, no token of the user, no CA but the configured one. No redirect is
    followed: the token would go with it.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import hvac
import requests
from hvac import exceptions

from tokenization.clock import monotonic_seconds
from vault_zone.hazmat.files import KeyRefused, read_secret_line
from vault_zone.hazmat.provider import KeyUnavailable

CONNECT_SECONDS: Final = 2.0
TIMEOUT_SECONDS: Final = 5.0
RENEW_AT: Final = 2 / 3  # of the lease
POOL_SIZE: Final = 16
# A lease that a renewal no longer makes longer has come to its end.
_WORTH_RENEWING: Final = 1 / 2


class AppRole(NamedTuple):
    """AppRole: both ids from files, read again at every login, so that they may be replaced while the zone runs."""

    role_id_file: Path
    secret_id_file: Path
    mount: str = "approle"

    def log_in(self, client: hvac.Client) -> Any:
        """Vault's answer."""
        return client.auth.approle.login(
            role_id=read_secret_line(self.role_id_file),
            secret_id=read_secret_line(self.secret_id_file),
            use_token=False,
            mount_point=self.mount,
        )


class Kubernetes(NamedTuple):
    """Kubernetes: the pod's own service account token, from the file where the kubelet keeps it fresh."""

    role: str
    jwt_file: Path
    mount: str = "kubernetes"

    def log_in(self, client: hvac.Client) -> Any:
        """Vault's answer."""
        # The kubelet's file belongs to root and is readable inside the pod: that is its own protection, not the mode.
        jwt = self.jwt_file.read_text(encoding="utf-8").strip()
        return client.auth.kubernetes.login(role=self.role, jwt=jwt, use_token=False, mount_point=self.mount)


class VaultPlace(NamedTuple):
    """Where Vault is, and how to log in. ``ca_file`` None means the system's certificate authorities."""

    address: str
    auth: AppRole | Kubernetes
    mount: str = "transit"
    namespace: str | None = None
    ca_file: Path | None = None
    key_prefix: str = "cordon"
    timeout_seconds: float = TIMEOUT_SECONDS


class VaultSession:
    """Calls Vault under a token that is kept alive. Safe to use from several threads."""

    def __init__(self, place: VaultPlace, now_seconds: Callable[[], float] = monotonic_seconds) -> None:
        http = requests.Session()
        http.trust_env = False  # (3)
        http.verify = str(place.ca_file) if place.ca_file else True
        http.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=POOL_SIZE))
        self._http = http
        self._client = hvac.Client(
            url=place.address,
            token="",  # nosec B106  # none yet; not given, it would be taken from the environment
            timeout=(min(CONNECT_SECONDS, place.timeout_seconds), place.timeout_seconds),
            verify=http.verify,
            allow_redirects=False,
            session=http,
            namespace=place.namespace,
        )
        self._auth = place.auth
        self._now_seconds = now_seconds
        self._lock = threading.Lock()
        self._lease_seconds = 0.0
        self._renew_at_seconds = 0.0
        self._ends_at_seconds = 0.0
        self._is_renewable = False

    def __repr__(self) -> str:
        return "VaultSession(****)"

    def call(self, work: Callable[[hvac.Client], Any]) -> Mapping[str, Any]:
        """The ``data`` of Vault's answer, empty for an answer without a body.

        Raises KeyUnavailable, and hvac's InvalidRequest and InvalidPath, which say something of the key.
        """
        try:
            token = self._kept_alive()
            try:
                answer = work(self._client)
            except (exceptions.Forbidden, exceptions.Unauthorized):
                self._log_in(instead_of=token)  # (2)
                answer = work(self._client)
        except (exceptions.InvalidRequest, exceptions.InvalidPath):
            raise
        except (exceptions.VaultError, requests.RequestException, KeyRefused, OSError, ValueError):
            raise KeyUnavailable from None  # (1)
        return _data(answer)

    def close(self) -> None:
        """Revokes the token, if Vault can be reached, and closes the connections."""
        with self._lock:
            if self._client.token:
                with suppress(exceptions.VaultError, requests.RequestException):  # it ends with its lease anyway
                    self._client.auth.token.revoke_self()
            self._client.token = ""  # nosec B105  # none
            self._ends_at_seconds = 0.0
        self._http.close()

    def _kept_alive(self) -> str:
        now_seconds = self._now_seconds()
        token: str = self._client.token
        if not token or now_seconds >= self._ends_at_seconds:
            return self._log_in(instead_of=token)
        if now_seconds >= self._renew_at_seconds:
            return self._renew(token)
        return token

    def _renew(self, token: str) -> str:
        with self._lock:
            if self._client.token != token or self._now_seconds() < self._renew_at_seconds:
                return str(self._client.token)  # another thread did it
            try:
                granted = self._client.auth.token.renew_self() if self._is_renewable else None
            except (exceptions.Forbidden, exceptions.InvalidRequest, exceptions.InvalidPath):
                granted = None
            except (exceptions.VaultError, requests.RequestException):
                return token  # still good for the rest of its lease
            if granted is not None and _lease_seconds(granted) >= self._lease_seconds * _WORTH_RENEWING:
                self._hold(granted)
                return token
        return self._log_in(instead_of=token)

    def _log_in(self, *, instead_of: str) -> str:
        with self._lock:
            if self._client.token != instead_of:
                return str(self._client.token)  # another thread did it
            try:
                answer = self._auth.log_in(self._client)
                self._client.token = answer["auth"]["client_token"]
                self._hold(answer)
            except (exceptions.InvalidRequest, exceptions.InvalidPath, KeyError, TypeError):
                raise KeyUnavailable from None
            return str(self._client.token)

    def _hold(self, answer: Any) -> None:
        now_seconds, lease_seconds = self._now_seconds(), _lease_seconds(answer)
        self._is_renewable = bool(answer["auth"].get("renewable"))
        # A lease of 0 is a token that does not end.
        self._ends_at_seconds = now_seconds + lease_seconds if lease_seconds else float("inf")
        self._renew_at_seconds = now_seconds + lease_seconds * RENEW_AT if lease_seconds else float("inf")
        self._lease_seconds = max(lease_seconds, self._lease_seconds)


def _lease_seconds(answer: Any) -> float:
    return float(answer["auth"]["lease_duration"])


def _data(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, Mapping):
        data = answer.get("data")
        return data if isinstance(data, Mapping) else {}
    if getattr(answer, "status_code", 0) == 204:
        return {}
    raise KeyUnavailable  # a redirect, or something that is not Vault
