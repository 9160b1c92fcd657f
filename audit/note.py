"""Signed checkpoints: C2SP signed-note with Ed25519 (type 0x01) over C2SP tlog-checkpoint."""

import base64
import binascii
import contextlib
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from audit.files import DiskFiles
from audit.layout import VERIFIER_KEY

ED25519: Final = b"\x01"
NOTE_BYTES_MAXIMUM: Final = 1_000_000  # C2SP signed-note: more need not be read
SIZE_MAXIMUM: Final = 2**63 - 1
_KEY_ID_BYTES: Final = 4
_ORIGIN = re.compile(r"[A-Za-z0-9._/:~-]{1,200}", re.ASCII)
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_ORIGIN_LINE = "Log-Origin: "  # stands before the PEM block, where RFC 7468 allows explanatory text


class NoteRefused(ValueError):
    """The note is malformed, or not signed by this key. Do not believe it; fetch it again or treat it as altered."""


class KeyRefused(ValueError):
    """The key file cannot be used as it is; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to: under this origin, the first ``size`` entries have this root. No extension lines."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text (tlog-checkpoint)."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the note's text. Raises NoteRefused for anything but the three lines of one form."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]) or int(lines[1]) > SIZE_MAXIMUM:
            raise NoteRefused("a checkpoint is an origin, a size and a root, a line each")
        root = _bytes_of(lines[2])
        if len(root) != 32:
            raise NoteRefused("a checkpoint's root has 32 bytes")
        return cls(lines[0], int(lines[1]), root)


class Verifier:
    """Opens notes signed by one log, known by its verifier key (``name+hash+key`` of C2SP signed-note)."""

    def __init__(self, vkey: str) -> None:
        """Raises KeyRefused for a text that is no Ed25519 verifier key, or whose hash does not fit its name and key."""
        matched = _VKEY.fullmatch(vkey)
        try:
            key = _bytes_of(matched[3]) if matched else b""
        except NoteRefused:
            key = b""
        if matched is None or len(key) != 33 or key[:1] != ED25519:
            raise KeyRefused("a verifier key is name+hash+key, the key an Ed25519 one in base64")
        self.origin = matched[1]
        self.key_id = _key_id(self.origin, key)
        if self.key_id.hex() != matched[2]:
            raise KeyRefused("the verifier key's hash does not fit its name and key: the text was altered")
        self._key = Ed25519PublicKey.from_public_bytes(key[1:])

    def open(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note that this log signed; other keys' signatures are passed over. Raises NoteRefused."""
        text, signatures = _split(note)
        mine = [
            blob[_KEY_ID_BYTES:]
            for name, blob in signatures
            if (name, blob[:_KEY_ID_BYTES]) == (self.origin, self.key_id)
        ]
        if not mine:
            raise NoteRefused("the note bears no signature of this log's key")
        try:
            for signature in mine:
                self._key.verify(signature, text.encode())
        except InvalidSignature:
            raise NoteRefused("the signature does not fit the note") from None
        checkpoint = Checkpoint.parse(text)
        if checkpoint.origin != self.origin:
            raise NoteRefused("the note speaks for another log than its key")
        return checkpoint


class Signer:
    """Signs one log's checkpoints. Whoever has its key file can rewrite the log: keep it from the log's readers."""

    def __init__(self, key: Ed25519PrivateKey, origin: str) -> None:
        if not _ORIGIN.fullmatch(origin):
            raise KeyRefused("a log's origin is 1 to 200 letters, digits and . _ / : ~ -")
        self._key = key
        self.origin = origin
        public = ED25519 + key.public_key().public_bytes_raw()
        self._key_id = _key_id(origin, public)
        self.vkey = f"{origin}+{self._key_id.hex()}+{_base64(public)}"

    @classmethod
    def create(cls, path: Path, origin: str, log_directory: Path | None = None) -> Self:
        """Makes a key in a new PEM file that only its owner can read, and publishes its public half when told where.

        An origin names one log for ever: give it to no second key or log. Raises KeyRefused, FileExistsError.
        """
        signer = cls(Ed25519PrivateKey.generate(), origin)
        pem = signer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.write(f"{_ORIGIN_LINE}{origin}\n".encode() + pem)
            file.flush()
            os.fsync(file.fileno())
        DiskFiles().sync_directory(path.parent)
        if log_directory is not None:
            log_directory.mkdir(parents=True, exist_ok=True)
            (log_directory / VERIFIER_KEY).write_text(signer.vkey + "\n", encoding="utf-8")
        return signer

    @classmethod
    def open(cls, path: Path) -> Self:
        """The signer of a key file that ``create`` made. Raises KeyRefused, FileNotFoundError."""
        if path.stat().st_mode & 0o077:
            raise KeyRefused("others than its owner can open the log's key file: chmod 600 it")
        data = path.read_bytes()
        first, _, pem = data.partition(b"\n")
        with contextlib.suppress(ValueError, TypeError):  # not PEM, not a key, or a locked one
            key = load_pem_private_key(pem, password=None)
            if isinstance(key, Ed25519PrivateKey) and first.startswith(_ORIGIN_LINE.encode()):
                return cls(key, first.decode().removeprefix(_ORIGIN_LINE))
        raise KeyRefused("a log's key file is a line with its origin and an unencrypted Ed25519 key in PEM")

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """The signed note. Raises ValueError for a checkpoint of another log or one that no log can have."""
        if checkpoint.origin != self.origin or Checkpoint.parse(checkpoint.text()) != checkpoint:
            raise ValueError("a log signs well-formed checkpoints of its own origin")
        text = checkpoint.text()
        signature = _base64(self._key_id + self._key.sign(text.encode()))
        return f"{text}\n\u2014 {self.origin} {signature}\n".encode()


def is_bare(note: bytes) -> bool:
    """Whether the note has one signature and not a byte that the signature does not vouch for. Raises NoteRefused."""
    text, signatures = _split(note)
    again = "".join(f"\u2014 {name} {_base64(blob)}\n" for name, blob in signatures)
    return len(signatures) == 1 and f"{text}\n{again}".encode() == note


def _split(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The text and the signatures (name, key id and signature) of a note."""
    try:
        decoded = note[: NOTE_BYTES_MAXIMUM + 1].decode()
    except UnicodeDecodeError:
        raise NoteRefused("a note is UTF-8") from None
    text, blank, tail = decoded.rpartition("\n\n")
    if len(note) > NOTE_BYTES_MAXIMUM or not blank or not tail.endswith("\n"):
        raise NoteRefused("a note is a text, an empty line and signatures")
    if any(ord(character) < 0x20 and character != "\n" for character in decoded):
        raise NoteRefused("a note holds no control characters")
    return text + "\n", [_signature(line) for line in tail[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1]:
        raise NoteRefused("a signature is a dash, a name and base64, with single spaces")
    blob = _bytes_of(parts[2])
    if len(blob) <= _KEY_ID_BYTES:
        raise NoteRefused("a signature begins with its key's id")
    return parts[1], blob


def _key_id(name: str, key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + key).digest()[:_KEY_ID_BYTES]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes_of(text: str) -> bytes:
    """Standard base64 in its one canonical form: bits that decoding ignores would be bits nobody vouches for."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused("base64 is expected") from None
    if _base64(data) != text:
        raise NoteRefused("base64 has one form for each value")
    return data
