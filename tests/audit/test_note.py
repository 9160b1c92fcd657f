"""Signed notes: the specification's form, one key file, and a second opinion by OpenSSL."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from audit.note import Checkpoint, KeyRefused, NoteRefused, Signer, Verifier, is_bare
from audit.tree import EMPTY_ROOT, leaf_hash
from tests.audit.logs import ORIGIN, new_signer

# The example of golang.org/x/mod/sumdb/note, where the form comes from: not ours, and not a checkpoint.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
CHECKPOINT = Checkpoint(ORIGIN, 7, leaf_hash(b"x"))


def test_a_signed_checkpoint_opens_with_the_verifier_key(signer: Signer) -> None:
    note = signer.sign(CHECKPOINT)
    assert Verifier(signer.vkey).open(note) == CHECKPOINT
    assert is_bare(note)
    lines = note.decode().split("\n")
    assert lines[:4] == [ORIGIN, "7", base64.b64encode(CHECKPOINT.root).decode(), ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")


def test_a_checkpoint_has_three_lines_and_never_an_extension(signer: Signer) -> None:
    assert CHECKPOINT.text().count("\n") == 3
    with pytest.raises(NoteRefused):
        Checkpoint.parse(CHECKPOINT.text() + "extension\n")
    with pytest.raises(NoteRefused):
        signer.sign(Checkpoint(ORIGIN, -1, EMPTY_ROOT))
    with pytest.raises(ValueError, match="own origin"):
        signer.sign(Checkpoint("cordon.example/other", 7, EMPTY_ROOT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "\n1\nAAAA\n",
        f"o\n01\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
        f"o\n-1\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
        f"o\n٣\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
        f"o\n{2**63}\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
        f"o\n1\n{base64.b64encode(EMPTY_ROOT[:31]).decode()}\n",
        "o\n1\nnot base64!\n",
        f"o\n1\n{base64.b64encode(EMPTY_ROOT).decode()[:-2]}V=\n",
    ],
)
def test_a_checkpoint_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Checkpoint.parse(text)


@given(st.data())
def test_a_note_with_any_bit_flipped_is_refused(signer: Signer, data: st.DataObject) -> None:
    note = bytearray(signer.sign(CHECKPOINT))
    at = data.draw(st.integers(0, len(note) - 1))
    note[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NoteRefused):
        Verifier(signer.vkey).open(bytes(note))


def test_signatures_of_other_keys_are_passed_over_and_seen(signer: Signer, tmp_path: Path) -> None:
    note = signer.sign(CHECKPOINT)
    other = new_signer(tmp_path, "auditor.example/witness")
    line = other.sign(Checkpoint(other.origin, 7, CHECKPOINT.root)).rpartition(b"\n\n")[2]
    cosigned = note + line
    assert Verifier(signer.vkey).open(cosigned) == CHECKPOINT
    assert not is_bare(cosigned)
    with pytest.raises(NoteRefused, match="no signature"):
        Verifier(other.vkey).open(note)


def test_a_known_key_with_one_failing_signature_refuses_the_note(signer: Signer) -> None:
    note = signer.sign(CHECKPOINT)
    line = note.rpartition(b"\n\n")[2]
    failing = signer.sign(Checkpoint(ORIGIN, 8, CHECKPOINT.root)).rpartition(b"\n\n")[2]
    with pytest.raises(NoteRefused, match="does not fit"):
        Verifier(signer.vkey).open(note + failing)
    with pytest.raises(NoteRefused, match="does not fit"):
        Verifier(signer.vkey).open(note.replace(line, failing + line))


def test_a_note_of_one_origin_signed_under_anothers_key_name_is_refused(signer: Signer) -> None:
    other = Signer(signer._key, "cordon.example/other")
    text = CHECKPOINT.text()
    signature = base64.b64encode(other._key_id + other._key.sign(text.encode())).decode()
    with pytest.raises(NoteRefused, match="another log"):
        Verifier(other.vkey).open(f"{text}\n\u2014 {other.origin} {signature}\n".encode())


@pytest.mark.parametrize(
    "note",
    [b"", b"\xff\n\n", b"text\n", b"a\n\n\xe2\x80\x94 name\n", b"a\x07\n\n\xe2\x80\x94 n AAAAAAAA\n", bytes(1_000_001)],
)
def test_what_is_no_note_is_refused(signer: Signer, note: bytes) -> None:
    with pytest.raises(NoteRefused):
        Verifier(signer.vkey).open(note)


def test_the_form_is_that_of_the_go_checksum_database() -> None:
    verifier = Verifier(GO_VKEY)
    with pytest.raises(NoteRefused, match="an origin, a size and a root"):  # the signature was accepted
        verifier.open(GO_NOTE.encode())
    with pytest.raises(NoteRefused, match="does not fit"):
        verifier.open(GO_NOTE.replace("answer", "Answer").encode())


def test_a_verifier_key_in_another_form_is_refused(signer: Signer) -> None:
    for vkey in [GO_VKEY.replace("c74f20a3", "c74f20a4"), GO_VKEY.replace("c74f20a3", "C74F20A3"), GO_VKEY[:-1], ""]:
        with pytest.raises(KeyRefused):
            Verifier(vkey)
    name, key_id, key = signer.vkey.split("+", 2)
    with pytest.raises(KeyRefused):
        Verifier(f"{name}x+{key_id}+{key}")


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "log.key"
    signer = Signer.create(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        Signer.create(path, ORIGIN)
    assert path.read_bytes() == before
    assert Signer.open(path).vkey == signer.vkey


def test_a_key_file_that_others_can_open_is_refused(tmp_path: Path) -> None:
    new_signer(tmp_path)
    (tmp_path / "log.key").chmod(0o640)
    with pytest.raises(KeyRefused, match="chmod 600"):
        Signer.open(tmp_path / "log.key")


def pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Log-Origin: o\nnot a key",
        pem(Ed25519PrivateKey.generate()),
        b"Log-Origin: o\n" + pem(X25519PrivateKey.generate()),
        b"Log-Origin: with space\n" + pem(Ed25519PrivateKey.generate()),
    ],
)
def test_a_file_that_is_no_log_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyRefused):
        Signer.open(path)


def test_the_public_key_is_published_on_request(tmp_path: Path) -> None:
    signer = Signer.create(tmp_path / "log.key", ORIGIN, tmp_path / "log")
    assert (tmp_path / "log" / "log.vkey").read_text(encoding="utf-8") == signer.vkey + "\n"


def test_openssl_accepts_the_signature_and_refuses_another_text(signer: Signer, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH")
    text, _, tail = signer.sign(CHECKPOINT).partition(b"\n\n")
    (tmp_path / "signature").write_bytes(base64.b64decode(tail.split()[2])[4:])
    public = base64.b64decode(signer.vkey.split("+", 2)[2])[1:]
    (tmp_path / "public.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + public)
    for name, message, status in [("right", text + b"\n", 0), ("wrong", text + b"\n\n", 1)]:
        (tmp_path / name).write_bytes(message)
        command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "public.der"]
        command += ["-in", name, "-sigfile", "signature"]
        assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == status
