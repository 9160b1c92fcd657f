"""The hardware provider besides the contract, on a real SoftHSM2 token: what stays inside, and what a token may go through."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, Mechanism, ObjectClass

from tests.requirement import requirement
from tests.vault_zone.hazmat import soft_token
from tests.vault_zone.hazmat.harness import Harness, pkcs11_harness, secret_file
from vault_zone.hazmat.one_thread import OneThread, TookTooLong
from vault_zone.hazmat.pkcs11_token import ANCHOR, Pkcs11Keys
from vault_zone.hazmat.provider import KeyContext, KeyDestroyed, KeyUnavailable

USES = (
    Attribute.WRAP,
    Attribute.UNWRAP,
    Attribute.SIGN,
    Attribute.VERIFY,
    Attribute.ENCRYPT,
    Attribute.DECRYPT,
    Attribute.DERIVE,
)
CONTEXT = KeyContext("harbour-pine", "sealing", "key_a")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A token of its own."""
    with pkcs11_harness(tmp_path) as made:
        yield made


@pytest.fixture
def keys(harness: Harness) -> Pkcs11Keys:
    """The provider on it."""
    assert isinstance(harness.provider, Pkcs11Keys)
    return harness.provider


def on_token(keys: Pkcs11Keys, work: object) -> object:
    """Runs something on the module's thread with the provider's session."""
    return keys._do(work)  # type: ignore[arg-type]


def count_logins(keys: Pkcs11Keys) -> list[str]:
    """The PINs that reach the token from now on."""
    tried: list[str] = []
    inner = keys._log_in

    class Watched:
        def __init__(self, token: pkcs11.Token) -> None:
            self.token = token

        def open(self, *, rw: bool, user_pin: str | None = None) -> pkcs11.Session:
            if user_pin is not None:
                tried.append(user_pin)
            return self.token.open(rw=rw, user_pin=user_pin)

    keys._log_in = lambda token: inner(Watched(token))  # type: ignore[method-assign, arg-type]
    return tried


@requirement("3.6.1.2", "3.6.1.3")
def test_the_keys_in_the_token_cannot_be_read_exported_or_used_for_anything_else(keys: Pkcs11Keys) -> None:
    keys.generate(CONTEXT)

    def look(session: pkcs11.Session) -> int:
        found = [key for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}) if key[Attribute.TOKEN]]
        for key in found:
            with pytest.raises(pkcs11.exceptions.AttributeSensitive):
                key[Attribute.VALUE]
            assert not key[Attribute.EXTRACTABLE]
            assert key[Attribute.SENSITIVE]
            assert key[Attribute.PRIVATE]
        wrap = next(key for key in found if key[Attribute.LABEL].startswith("cordon/wrap/"))
        for key in found:
            uses = {use.name for use in USES if key[use]}
            assert uses == ({"WRAP", "UNWRAP"} if key is wrap else {"SIGN", "VERIFY"})
        with pytest.raises(pkcs11.exceptions.PKCS11Error):
            wrap.wrap_key(found[0], mechanism=Mechanism.AES_KEY_WRAP)  # type: ignore[attr-defined]
        return len(found)

    assert on_token(keys, look) == 4  # anchor, wrap, bind, mac


def test_no_data_key_stays_in_the_token(keys: Pkcs11Keys) -> None:
    made = keys.generate(CONTEXT)
    keys.unwrap(made.wrapped, CONTEXT)
    keys.rewrap(made.wrapped, CONTEXT)
    count = on_token(
        keys,
        lambda session: sum(1 for key in session.get_objects() if not key[Attribute.TOKEN]),
    )
    assert count == 0


def test_sessions_survive_a_module_that_was_finalised(keys: Pkcs11Keys) -> None:
    made, mac = keys.generate(CONTEXT), keys.mac(CONTEXT.merchant, b"m")
    for restart in ("finalize", "reinitialize"):
        keys._thread.call(getattr(pkcs11.lib(str(soft_token.module())), restart), timeout_seconds=5)
        assert keys.unwrap(made.wrapped, CONTEXT) == made.key
        assert keys.mac(CONTEXT.merchant, b"m") == mac


def test_sessions_survive_a_logout_and_a_closed_session(keys: Pkcs11Keys, harness: Harness) -> None:
    made = keys.generate(CONTEXT)
    other = harness.another()
    other.unwrap(made.wrapped, CONTEXT)
    other.close()  # a login is the process's: this logs both out
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    keys._thread.call(lambda: keys._session.close() if keys._session else None, timeout_seconds=5)
    assert keys.mac(CONTEXT.merchant, b"m") == keys.mac(CONTEXT.merchant, b"m")


def test_a_token_that_was_reset_is_unavailable_and_gets_no_keys_by_itself(keys: Pkcs11Keys) -> None:
    """All keys are gone, but nobody asked for that: an operator has to look before cards are sealed under new ones."""
    made = keys.generate(CONTEXT)
    label = keys._place.token
    soft_token.delete_token(label)
    soft_token.make_token(label)
    for call in (lambda: keys.unwrap(made.wrapped, CONTEXT), lambda: keys.generate(CONTEXT), keys.check):
        with pytest.raises(KeyUnavailable) as refused:
            call()
        assert not isinstance(refused.value, KeyDestroyed)


def test_a_token_without_its_anchor_but_with_keys_is_not_taken_for_a_new_one(
    keys: Pkcs11Keys, harness: Harness
) -> None:
    made = keys.generate(CONTEXT)
    on_token(keys, lambda session: [key.destroy() for key in session.get_objects({Attribute.LABEL: ANCHOR})])
    with pytest.raises(KeyUnavailable):
        harness.another().unwrap(made.wrapped, CONTEXT)


def test_a_wrong_pin_is_tried_once_and_a_right_one_in_the_file_is_enough(harness: Harness, keys: Pkcs11Keys) -> None:
    made = keys.generate(CONTEXT)
    keys.close()
    secret_file(keys._place.pin_file, "wrong-pin")
    opened = count_logins(keys)
    for _ in range(20):  # a token locks itself after a handful
        with pytest.raises(KeyUnavailable):
            keys.unwrap(made.wrapped, CONTEXT)
    assert opened == ["wrong-pin"]
    secret_file(keys._place.pin_file, soft_token.PIN)
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    keys._place.pin_file.chmod(0o644)
    keys.close()
    with pytest.raises(KeyUnavailable):
        keys.check()


@requirement("3.7.5")
def test_what_another_process_destroys_is_destroyed_here(keys: Pkcs11Keys, tmp_path: Path) -> None:
    made = keys.generate(CONTEXT)
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    program = (
        "import sys; from pathlib import Path\n"
        "from vault_zone.hazmat.pkcs11_token import Pkcs11Keys, TokenPlace\n"
        "keys = Pkcs11Keys(TokenPlace(*map(Path, sys.argv[1:2]), sys.argv[2], *map(Path, sys.argv[3:])))\n"
        "keys.destroy('harbour-pine')\n"
    )
    subprocess.run([sys.executable, "-c", program, *map(str, keys._place)], check=True, timeout=60)
    with pytest.raises(KeyDestroyed):
        keys.unwrap(made.wrapped, CONTEXT)
    with pytest.raises(KeyDestroyed):
        keys.generate(CONTEXT)


def test_a_destruction_that_was_cut_off_is_finished_by_the_next(keys: Pkcs11Keys, harness: Harness) -> None:
    made = keys.generate(CONTEXT)

    def cut_off(session: pkcs11.Session) -> None:
        for key in session.get_objects({Attribute.LABEL: "cordon/wrap/m-harbour-pine"}):
            key.destroy()

    on_token(keys, cut_off)
    keys.destroy(CONTEXT.merchant)
    with pytest.raises(KeyDestroyed):
        harness.another().unwrap(made.wrapped, CONTEXT)
    assert labels(keys) == ["cordon/anchor", "cordon/destroyed/m-harbour-pine"]


def test_a_token_that_lost_part_of_a_merchants_keys_without_a_destruction_makes_them_anew(keys: Pkcs11Keys) -> None:
    made = keys.generate(CONTEXT)

    def lost(session: pkcs11.Session) -> None:
        for key in session.get_objects({Attribute.LABEL: "cordon/wrap/m-harbour-pine"}):
            key.destroy()

    on_token(keys, lost)
    anew = keys.generate(CONTEXT)
    assert keys.unwrap(anew.wrapped, CONTEXT) == anew.key
    with pytest.raises(KeyDestroyed):
        keys.unwrap(made.wrapped, CONTEXT)


def labels(keys: Pkcs11Keys) -> list[str]:
    """Of every key in the token."""
    found = list[str]()

    def look(session: pkcs11.Session) -> None:
        found.extend(
            str(key[Attribute.LABEL]) for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
        )

    on_token(keys, look)
    return sorted(found)


def test_a_wrapped_key_keeps_its_form(keys: Pkcs11Keys) -> None:
    wrapped = keys.generate(CONTEXT).wrapped
    keys.rotate(CONTEXT.merchant)
    assert len(wrapped) == 85
    assert (wrapped[0], wrapped[9:13].hex()) == (4, "00000001")
    assert keys.rewrap(wrapped, CONTEXT)[:13] == wrapped[:12] + b"\x02"


def test_a_device_that_hangs_holds_up_no_caller() -> None:
    thread, hangs = OneThread("test"), threading.Event()
    with pytest.raises(TookTooLong):
        thread.call(lambda: hangs.wait(20), timeout_seconds=0.05)
    with pytest.raises(TookTooLong):
        thread.call(lambda: "never begun", timeout_seconds=0.05)
    hangs.set()
    assert thread.call(lambda: "served again", timeout_seconds=20) == "served again"


def test_what_a_call_raises_its_caller_gets() -> None:
    def work() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="own"):
        OneThread("test").call(work, timeout_seconds=5)
