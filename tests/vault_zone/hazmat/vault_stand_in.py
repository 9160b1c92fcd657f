"""A stand-in for HashiCorp Vault: the endpoints that the zone uses, over real HTTP on loopback, with real cryptography.

Follows the Transit, AppRole, Kubernetes and token pages of Vault's API reference: derived keys need a context and derive by
HKDF-SHA-256, ciphertexts are ``vault:vN:`` and base64, decryption refuses versions under ``min_decryption_version``, a key is
deleted only after ``deletion_allowed``, tokens have a lease, a maximum, and die by revocation. It is no judge of what Vault
does where the reference is silent: run the contract suite against a real one for that (docs/keys.md).
"""

import base64
import hashlib
import hmac
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ROLE_ID, SECRET_ID, JWT = "role-of-the-zone", "secret-of-the-zone", "jwt-of-the-pod"
NAME = r"(?P<name>\w(?:[\w.-]*\w)?)"


class Refused(Exception):
    """An answer with a status and Vault's list of errors."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status)
        self.status, self.errors = status, list(errors)


@dataclass
class TransitKey:
    """A named key: its versions, each with an encryption and an HMAC half."""

    derived: bool
    versions: list[tuple[bytes, bytes]] = field(default_factory=list)
    min_decryption_version: int = 1
    deletion_allowed: bool = False
    exportable: bool = True  # unless the request says no: a request that says nothing is seen
    allow_plaintext_backup: bool = True

    def add_version(self) -> None:
        """Rotates."""
        self.versions.append((os.urandom(32), os.urandom(32)))

    def cipher(self, version: int, context: bytes) -> AESGCM:
        """The cipher of a version, derived from the context if the key is a derived one."""
        if self.derived and not context:
            raise Refused(400, "missing 'context' for key derivation; the key was created using a derived key")
        if not 1 <= version <= len(self.versions):
            raise Refused(400, "invalid ciphertext: version is too new")
        if version < self.min_decryption_version:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        key = self.versions[version - 1][0]
        return AESGCM(HKDF(SHA256(), 32, None, context).derive(key) if self.derived else key)

    def encrypt(self, plaintext: bytes, context: bytes) -> str:
        """Under the newest version."""
        nonce = os.urandom(12)
        sealed = nonce + self.cipher(len(self.versions), context).encrypt(nonce, plaintext, None)
        return f"vault:v{len(self.versions)}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, ciphertext: str, context: bytes) -> bytes:
        """Under the version that the ciphertext names."""
        matched = re.fullmatch(r"vault:v(\d+):(.+)", ciphertext)
        if matched is None:
            raise Refused(400, "invalid ciphertext: no prefix")
        cipher = self.cipher(int(matched[1]), context)
        try:
            sealed = base64.b64decode(matched[2], validate=True)
            return cipher.decrypt(sealed[:12], sealed[12:], None)
        except (ValueError, InvalidTag):
            raise Refused(400, "cipher: message authentication failed") from None


@dataclass
class Token:
    """A client token."""

    ends_at: float
    maximum_at: float


@dataclass
class VaultStandIn:
    """The server's state, and the faults that a test may plant. Its clock moves only when told to."""

    address: str = ""
    namespace: str | None = None
    mount: str = "transit"
    lease_seconds: float = 60.0
    maximum_seconds: float = 150.0
    now: float = 1000.0
    is_sealed: bool = False
    is_standby: bool = False
    status: int | None = None
    stall: threading.Event | None = None
    redirect_to: str | None = None
    garbage: bytes | None = None
    forbidden: set[str] = field(default_factory=set)
    keys: dict[str, TransitKey] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    logins: int = 0
    renewals: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def clock(self) -> float:
        """For the provider: the same clock."""
        return self.now

    def answer(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
        """The JSON answer, None for 204. Raises Refused."""
        with self.lock:
            self.seen.append((method, path, headers))
            if self.status is not None:
                raise Refused(self.status, "planted")
            if self.is_sealed:
                raise Refused(503, "Vault is sealed")
            if self.is_standby:
                raise Refused(429, "standby")
            if headers.get("x-vault-request") != "true":
                raise Refused(412, "missing required header")
            if self.namespace != headers.get("x-vault-namespace"):
                raise Refused(403, "permission denied")
            for pattern, method_wanted, needs_token, handler in ROUTES:
                matched = re.fullmatch(pattern.replace("MOUNT", re.escape(self.mount)), path)
                if matched and method == method_wanted:
                    if needs_token:
                        self.authorise(headers.get("x-vault-token", ""), path)
                    return handler(self, body, headers, **matched.groupdict())
            raise Refused(404, f'no handler for route "{path}"')

    def authorise(self, token: str, path: str) -> None:
        """A token that lives, and a policy that allows."""
        held = self.tokens.get(token)
        if held is None or self.now >= min(held.ends_at, held.maximum_at):
            raise Refused(403, "permission denied", "invalid token")
        if any(part in path for part in self.forbidden):
            raise Refused(403, "1 error occurred: * permission denied")

    def revoke_all(self) -> None:
        """Every token is revoked."""
        self.tokens.clear()

    def key(self, name: str) -> TransitKey:
        """A key that must exist."""
        if name not in self.keys:
            raise Refused(400, "encryption key not found")
        return self.keys[name]

    def auth(self, token: str) -> dict[str, Any]:
        """The ``auth`` part of an answer."""
        held = self.tokens[token]
        held.ends_at = min(self.now + self.lease_seconds, held.maximum_at)
        return {
            "auth": {
                "client_token": token,
                "lease_duration": int(held.ends_at - self.now),
                "renewable": True,
                "policies": ["default", "zone"],
            }
        }

    def new_token(self) -> dict[str, Any]:
        """A login that succeeded."""
        self.logins += 1
        token = f"hvs.{os.urandom(12).hex()}"
        self.tokens[token] = Token(0, self.now + self.maximum_seconds)
        return self.auth(token)


Body = dict[str, Any]
Handler = Callable[..., Any]


def _bytes(body: Body, name: str) -> bytes:
    try:
        return base64.b64decode(body.get(name, ""), validate=True)
    except ValueError:
        raise Refused(400, f"failed to base64-decode {name}") from None


def _approle(vault: VaultStandIn, body: Body, _: Body) -> Any:
    if (body.get("role_id"), body.get("secret_id")) != (ROLE_ID, SECRET_ID):
        raise Refused(400, "invalid role or secret ID")
    return vault.new_token()


def _kubernetes(vault: VaultStandIn, body: Body, _: Body) -> Any:
    if (body.get("role"), body.get("jwt")) != ("zone", JWT):
        raise Refused(403, "permission denied")
    return vault.new_token()


def _renew(vault: VaultStandIn, _: Body, headers: Body) -> Any:
    vault.renewals += 1
    return vault.auth(headers["x-vault-token"])


def _revoke(vault: VaultStandIn, _: Body, headers: Body) -> Any:
    vault.tokens.pop(headers["x-vault-token"])


def _create(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    if body.get("type", "aes256-gcm96") != "aes256-gcm96":
        raise Refused(400, "unknown key type")
    if name not in vault.keys:
        vault.keys[name] = TransitKey(
            bool(body.get("derived")),
            exportable=bool(body.get("exportable", True)),
            allow_plaintext_backup=bool(body.get("allow_plaintext_backup", True)),
        )
        vault.keys[name].add_version()
    return _read(vault, body, {}, name)


def _read(vault: VaultStandIn, _: Body, __: Body, name: str) -> Any:
    if name not in vault.keys:
        raise Refused(404)
    key = vault.keys[name]
    return {
        "data": {
            "name": name,
            "type": "aes256-gcm96",
            "derived": key.derived,
            "latest_version": len(key.versions),
            "min_decryption_version": key.min_decryption_version,
            "deletion_allowed": key.deletion_allowed,
            "exportable": key.exportable,
            "allow_plaintext_backup": key.allow_plaintext_backup,
        }
    }


def _delete(vault: VaultStandIn, _: Body, __: Body, name: str) -> Any:
    if name not in vault.keys:
        raise Refused(400, "error deleting policy: could not delete key; not found")
    if not vault.keys[name].deletion_allowed:
        raise Refused(400, f"error deleting policy {name}: deletion is not allowed for this key")
    del vault.keys[name]


def _config(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    if name not in vault.keys:
        raise Refused(400, f"no existing key named {name} could be found")
    key = vault.keys[name]
    key.deletion_allowed = bool(body.get("deletion_allowed", key.deletion_allowed))
    key.min_decryption_version = int(body.get("min_decryption_version", key.min_decryption_version))


def _rotate(vault: VaultStandIn, _: Body, __: Body, name: str) -> Any:
    if name not in vault.keys:
        raise Refused(400, "key not found")
    vault.keys[name].add_version()


def _datakey(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    plaintext = os.urandom(int(body.get("bits", 256)) // 8)
    ciphertext = vault.key(name).encrypt(plaintext, _bytes(body, "context"))
    return {"data": {"plaintext": base64.b64encode(plaintext).decode(), "ciphertext": ciphertext}}


def _decrypt(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    plaintext = vault.key(name).decrypt(body["ciphertext"], _bytes(body, "context"))
    return {"data": {"plaintext": base64.b64encode(plaintext).decode()}}


def _rewrap(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    key, context = vault.key(name), _bytes(body, "context")
    return {"data": {"ciphertext": key.encrypt(key.decrypt(body["ciphertext"], context), context)}}


def _hmac(vault: VaultStandIn, body: Body, _: Body, name: str) -> Any:
    key = vault.key(name)
    version = int(body.get("key_version", 0)) or len(key.versions)
    if not 1 <= version <= len(key.versions):
        raise Refused(400, "cannot generate HMAC: version does not exist")
    if body.get("algorithm", "sha2-256") != "sha2-256":
        raise Refused(400, "unsupported algorithm")
    mac = hmac.digest(key.versions[version - 1][1], _bytes(body, "input"), hashlib.sha256)
    return {"data": {"hmac": f"vault:v{version}:{base64.b64encode(mac).decode()}"}}


ROUTES: tuple[tuple[str, str, bool, Handler], ...] = (
    ("/v1/auth/approle/login", "POST", False, _approle),
    ("/v1/auth/kubernetes/login", "POST", False, _kubernetes),
    ("/v1/auth/token/renew-self", "POST", True, _renew),
    ("/v1/auth/token/revoke-self", "POST", True, _revoke),
    (f"/v1/MOUNT/keys/{NAME}", "POST", True, _create),
    (f"/v1/MOUNT/keys/{NAME}", "GET", True, _read),
    (f"/v1/MOUNT/keys/{NAME}", "DELETE", True, _delete),
    (f"/v1/MOUNT/keys/{NAME}/config", "POST", True, _config),
    (f"/v1/MOUNT/keys/{NAME}/rotate", "POST", True, _rotate),
    (f"/v1/MOUNT/datakey/plaintext/{NAME}", "POST", True, _datakey),
    (f"/v1/MOUNT/decrypt/{NAME}", "POST", True, _decrypt),
    (f"/v1/MOUNT/rewrap/{NAME}", "POST", True, _rewrap),
    (f"/v1/MOUNT/hmac/{NAME}", "POST", True, _hmac),
)


@contextmanager
def running_vault(*, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[VaultStandIn]:
    """The stand-in on a free port of loopback, until the block ends; over TLS if given a server's context."""
    vault = VaultStandIn(**options)

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # one segment for head and body: two would wait for each other's acknowledgement

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            """Stays silent."""

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            if vault.stall is not None:
                vault.stall.wait(20)
            if vault.redirect_to is not None:
                self._send(307, b"", {"location": vault.redirect_to + self.path})
                return
            if vault.garbage is not None:
                self._send(200, vault.garbage)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                answer = vault.answer(self.command, self.path, headers, body)
            except Refused as refused:
                self._send(refused.status, json.dumps({"errors": refused.errors}).encode())
                return
            self._send(204 if answer is None else 200, b"" if answer is None else json.dumps(answer).encode())

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            try:
                self.send_response(status)
                for name, value in {"content-type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client went away while we stalled

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815  # as the base class looks for them

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # many threads connect at once

    server = Server(("127.0.0.1", 0), Requests)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses our certificate
    vault.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield vault
    finally:
        if vault.stall is not None:
            vault.stall.set()
        server.shutdown()
        thread.join()
        server.server_close()
