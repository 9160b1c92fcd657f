"""The local provider besides the contract: shares, the sealed state, files that are used only where they may be (I9)."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic import Share, split_ems  # type: ignore[import-untyped]
from shamir_mnemonic.shamir import EncryptedMasterSecret  # type: ignore[import-untyped]

from tests.requirement import requirement
from vault_zone.hazmat import keystore_file, local
from vault_zone.hazmat.ceremony import NewRoot
from vault_zone.hazmat.files import KeyRefused
from vault_zone.hazmat.keystore import KeySet, Keystore, Root
from vault_zone.hazmat.local import KEYSTORE, ROOT_KEY, LocalKeys, Progress
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.shares import ShareFault, ShareRefused, split

CONTEXT = KeyContext("harbour-pine", "sealing", "key_a")
PRODUCTION = "production"


@pytest.fixture
def held(tmp_path: Path) -> tuple[Path, list[str]]:
    """A keys directory of production after a ceremony with two of three, and the shares."""
    new = NewRoot.make(environment=PRODUCTION, threshold=2, shares=3)
    new.install(tmp_path / "production")
    return tmp_path / "production", list(new.shares)


@pytest.fixture
def development(tmp_path: Path) -> Path:
    """A keys directory of development."""
    LocalKeys.for_development(tmp_path / "development", "development").close()
    return tmp_path / "development"


def opened(directory: Path, *shares: str) -> LocalKeys:
    """The production provider, given these shares."""
    keys = LocalKeys.open(directory, PRODUCTION)
    for share in shares:
        keys.unseal(share)
    return keys


def refusal(call: Callable[[], object]) -> str:
    """The code with which a call is refused."""
    with pytest.raises((KeyRefused, ShareRefused)) as refused:
        call()
    if isinstance(refused.value, ShareRefused):
        return refused.value.fault.value
    return str(getattr(refused.value, "code", ""))


@requirement("3.6.1.2", "3.7.6")
def test_any_two_of_three_shares_open_it_and_one_does_not(held: tuple[Path, list[str]]) -> None:
    directory, shares = held
    wrapped = opened(directory, *shares[:2]).generate(CONTEXT).wrapped
    for first, second in itertools.permutations(shares, 2):
        keys = LocalKeys.open(directory, PRODUCTION)
        assert keys.is_sealed
        assert keys.progress() == Progress(0, 2)
        assert keys.unseal(first) == Progress(1, 2)
        assert keys.is_sealed
        with pytest.raises(KeyUnavailable):
            keys.check()
        assert keys.unseal(second) == Progress(2, 2)
        assert not keys.is_sealed
        assert len(keys.unwrap(wrapped, CONTEXT)) == 32


@requirement("3.7.6")
@pytest.mark.parametrize(("threshold", "shares"), [(1, 1), (1, 3), (0, 2), (3, 2), (2, 17)])
def test_no_ceremony_is_held_for_one_custodian_alone_or_for_impossible_numbers(threshold: int, shares: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NewRoot.make(environment=PRODUCTION, threshold=threshold, shares=shares)


def test_sealed_it_serves_nothing(held: tuple[Path, list[str]]) -> None:
    keys = LocalKeys.open(held[0], PRODUCTION)
    wrapped = opened(held[0], *held[1][:2]).generate(CONTEXT).wrapped
    for call in (
        keys.check,
        lambda: keys.generate(CONTEXT),
        lambda: keys.unwrap(wrapped, CONTEXT),
        lambda: keys.rewrap(wrapped, CONTEXT),
        lambda: keys.mac(CONTEXT.merchant, b"m"),
        lambda: keys.rotate(CONTEXT.merchant),
        lambda: keys.destroy(CONTEXT.merchant),
    ):
        with pytest.raises(KeyUnavailable) as refused:
            call()
        assert not isinstance(refused.value, KeyDestroyed)


def test_sealed_again_it_needs_all_shares_again(held: tuple[Path, list[str]]) -> None:
    keys = opened(held[0], *held[1][:2])
    keys.generate(CONTEXT)
    keys.seal()
    assert keys.is_sealed
    with pytest.raises(KeyUnavailable):
        keys.generate(CONTEXT)
    assert keys.unseal(held[1][2]) == Progress(1, 2)


def test_a_share_is_refused_with_its_fault_and_changes_nothing(held: tuple[Path, list[str]]) -> None:
    directory, shares = held
    keys = LocalKeys.open(directory, PRODUCTION)
    keys.unseal(shares[0])
    words = shares[1].split()
    swapped = " ".join([*words[:10], words[11], words[10], *words[12:]])
    other = "academic" if words[20] != "academic" else "acid"
    foreign = split(bytes(32), threshold=2, shares=3)[1]
    for bad, fault in (
        ("", ShareFault.MISTYPED),
        ("word " * 33, ShareFault.MISTYPED),
        (swapped, ShareFault.MISTYPED),
        (" ".join([*words[:20], other, *words[21:]]), ShareFault.MISTYPED),
        (" ".join(words[:-1]), ShareFault.MISTYPED),
        (shares[1] + " academic", ShareFault.MISTYPED),
        (shares[1] * 5, ShareFault.MISTYPED),
        (foreign, ShareFault.FOREIGN),
        (shares[0], ShareFault.REPEATED),
        (f"  {shares[0].upper()}\n", ShareFault.REPEATED),
    ):
        assert refusal(lambda bad=bad: keys.unseal(bad)) == fault  # type: ignore[misc]
        assert keys.progress() == Progress(1, 2)
    keys.unseal("\t".join(words).title())
    assert not keys.is_sealed
    assert refusal(lambda: keys.unseal(shares[2])) == ShareFault.NOT_SEALED


def test_a_forged_share_opens_nothing_and_all_that_was_given_is_forgotten(held: tuple[Path, list[str]]) -> None:
    """Made to look as if it were of the same ceremony: same number, right checksum, a place nobody has given."""
    directory, shares = held
    real = Share.from_mnemonic(shares[0])
    forged = dataclasses.replace(Share.from_mnemonic(shares[1]), value=bytes(32)).mnemonic()
    other_secret = EncryptedMasterSecret.from_master_secret(
        bytes(32), b"", real.identifier, real.extendable, real.iteration_exponent
    )
    whole_other = [share.mnemonic() for share in split_ems(1, [(2, 3)], other_secret)[0]]
    keys = LocalKeys.open(directory, PRODUCTION)
    for first, second in ((shares[0], forged), (whole_other[0], whole_other[1])):
        keys.unseal(first)
        assert refusal(lambda second=second: keys.unseal(second)) == ShareFault.WRONG_TOGETHER  # type: ignore[misc]
        assert keys.progress() == Progress(0, 2)
        assert keys.is_sealed
    keys.unseal(shares[0])
    keys.unseal(shares[2])
    assert not keys.is_sealed


@requirement("3.6.1.3")
def test_no_refusal_and_no_representation_holds_a_word_of_a_share(held: tuple[Path, list[str]]) -> None:
    directory, shares = held
    keys = LocalKeys.open(directory, PRODUCTION)
    keys.unseal(shares[0])
    words = shares[1].split()
    with pytest.raises(ShareRefused) as raised:
        keys.unseal(" ".join(reversed(words)))
    refused = raised.value
    shown = [repr(refused), str(refused), repr(refused.__cause__), str(vars(keys)), repr(keys)]
    assert refused.__suppress_context__
    keys.unseal(shares[1])
    shown.append(str(vars(keys)))
    told = {word for text in shown for word in text.replace("'", " ").split()}
    assert not told & {word for word in words if len(word) > 6}


@requirement("3.7.5", "3.7.7")
def test_after_a_reshare_the_old_shares_are_worth_nothing_and_the_cards_still_open(
    held: tuple[Path, list[str]],
) -> None:
    directory, old = held
    keys = opened(directory, *old[:2])
    made, mac = keys.generate(CONTEXT), keys.mac(CONTEXT.merchant, b"m")
    keys.rotate(CONTEXT.merchant)
    keys.destroy("other-shop")
    running = opened(directory, *old[1:])
    running.check()
    new = NewRoot.make(environment=PRODUCTION, threshold=3, shares=4)
    keys.reseal(*new.for_reseal())
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    with pytest.raises(KeyUnavailable):  # another process still has the old root key, and is sealed by it
        running.unwrap(made.wrapped, CONTEXT)
    assert running.is_sealed
    fresh = LocalKeys.open(directory, PRODUCTION)
    assert refusal(lambda: fresh.unseal(old[0])) == ShareFault.FOREIGN
    for share in new.shares[1:]:
        running.unseal(share)
        fresh.unseal(share)
    for one in (running, fresh):
        assert one.unwrap(made.wrapped, CONTEXT) == made.key
        assert one.mac(CONTEXT.merchant, b"m") == mac
        with pytest.raises(KeyDestroyed):
            one.generate(CONTEXT._replace(merchant="other-shop"))


@requirement("2.2.2", "6.5.3")
def test_a_development_key_does_not_open_in_production_not_even_by_lying_there(
    development: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert refusal(lambda: LocalKeys.open(development, PRODUCTION)) == "development_key_in_production"
    assert refusal(lambda: LocalKeys.for_development(development, PRODUCTION)) == "development_key_in_production"
    production = tmp_path_factory.mktemp("production")
    NewRoot.make(environment=PRODUCTION, threshold=2, shares=2).install(production)
    (production / ROOT_KEY).write_bytes((development / ROOT_KEY).read_bytes())
    assert refusal(lambda: LocalKeys.open(production, PRODUCTION)) == "development_key_in_production"


@requirement("6.5.3")
def test_a_keystore_of_one_environment_does_not_open_in_another(held: tuple[Path, list[str]]) -> None:
    assert refusal(lambda: LocalKeys.open(held[0], "development")) == "key_of_another_environment"


@requirement("3.6.1", "8.6.3")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o777])
@pytest.mark.parametrize("name", [ROOT_KEY, KEYSTORE])
def test_a_key_file_that_others_can_read_is_not_used(development: Path, name: str, mode: int) -> None:
    (development / name).chmod(mode)
    assert refusal(lambda: LocalKeys.open(development, "development")) == "key_file_readable_by_others"


def test_key_files_are_never_overwritten(held: tuple[Path, list[str]], development: Path) -> None:
    before = {path: path.read_bytes() for path in held[0].iterdir()}
    with pytest.raises(FileExistsError):
        local.create_development_root(development, "root_b")
    assert (
        refusal(lambda: NewRoot.make(environment=PRODUCTION, threshold=2, shares=2).install(held[0]))
        == "keystore_exists"
    )
    assert {path: path.read_bytes() for path in held[0].iterdir()} == before


@pytest.mark.parametrize("name", [ROOT_KEY, KEYSTORE])
@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "[" * 100_000, '{"key": "zz", "environment": "development", "id": "a"}', '"kind"']
)
def test_a_broken_key_file_says_what_to_do_and_not_what_is_in_it(development: Path, name: str, content: str) -> None:
    key = json.loads((development / ROOT_KEY).read_text(encoding="utf-8"))["key"]
    (development / name).write_text(content, encoding="utf-8")
    with pytest.raises(KeyRefused) as refused:
        LocalKeys.open(development, "development")
    assert refused.value.code in ("key_file_malformed", "keystore_malformed")
    assert key not in str(refused.value)


def test_a_missing_keystore_is_made_in_development_and_asked_for_in_production(development: Path) -> None:
    (development / KEYSTORE).unlink()
    LocalKeys.open(development, "development").check()
    (development / KEYSTORE).unlink()
    (development / ROOT_KEY).unlink()
    assert refusal(lambda: LocalKeys.open(development, PRODUCTION)) == "key_file_missing"


def test_a_short_root_key_and_one_of_another_keystore_are_refused(development: Path) -> None:
    held = json.loads((development / ROOT_KEY).read_text(encoding="utf-8"))
    (development / ROOT_KEY).write_text(json.dumps({**held, "key": held["key"][:32]}), encoding="utf-8")
    assert refusal(lambda: LocalKeys.open(development, "development")) == "key_file_malformed"
    (development / ROOT_KEY).write_text(json.dumps({**held, "key": "ab" * 32}), encoding="utf-8")
    assert refusal(lambda: LocalKeys.open(development, "development")) == "key_of_another_keystore"


@requirement("3.7.7")
@pytest.mark.parametrize(
    "alter",
    [
        lambda held: held["merchants"]["a"].update(held["merchants"]["b"]),
        lambda held: held["merchants"].pop("a"),
        lambda held: held["merchants"]["a"]["wrapping"].pop("2"),
        lambda held: held["merchants"]["a"]["wrapping"].update({"3": held["merchants"]["a"]["wrapping"]["1"]}),
        lambda held: held.update(serial=held["serial"] + 1),
        lambda held: held.update(merchants={}),
    ],
)
def test_a_keystore_that_the_root_keys_holder_did_not_write_is_refused(
    development: Path, alter: Callable[[dict[str, object]], object]
) -> None:
    keys = LocalKeys.open(development, "development")
    wrapped = keys.generate(KeyContext("a", "sealing", "k")).wrapped
    keys.generate(KeyContext("b", "sealing", "k"))
    keys.rotate("a")
    whole = (development / KEYSTORE).read_bytes()
    held = json.loads(whole)
    alter(held)
    (development / KEYSTORE).write_text(json.dumps(held), encoding="utf-8")
    assert refusal(lambda: LocalKeys.open(development, "development")) == "keystore_altered"
    with pytest.raises(KeyUnavailable) as refused:
        keys.unwrap(wrapped, KeyContext("a", "sealing", "k"))
    assert not isinstance(refused.value, KeyDestroyed)
    (development / KEYSTORE).write_bytes(whole)
    assert len(keys.unwrap(wrapped, KeyContext("a", "sealing", "k"))) == 32


def test_a_running_process_does_not_take_an_older_keystore(development: Path) -> None:
    keys = LocalKeys.open(development, "development")
    made = keys.generate(CONTEXT)
    before = (development / KEYSTORE).read_bytes()
    keys.destroy(CONTEXT.merchant)
    (development / KEYSTORE).write_bytes(before)
    with pytest.raises(KeyUnavailable):
        keys.unwrap(made.wrapped, CONTEXT)


@requirement("3.7.5")
def test_destroying_overwrites_the_bytes_of_the_file_that_held_the_keys(development: Path) -> None:
    keys = LocalKeys.open(development, "development")
    keys.generate(CONTEXT)
    with (development / KEYSTORE).open("rb") as old:
        before = old.read()
        keys.destroy(CONTEXT.merchant)
        old.seek(0)
        after = old.read()
    assert CONTEXT.merchant.encode() in before
    assert after == bytes(len(before))
    left = json.loads((development / KEYSTORE).read_bytes())
    assert (left["merchants"], len(left["destroyed"])) == ({}, 1)
    assert CONTEXT.merchant not in json.dumps(left)
    assert sorted(path.name for path in development.iterdir()) == [KEYSTORE, KEYSTORE + ".lock", ROOT_KEY]


def test_a_copy_of_the_keystore_made_before_a_destruction_brings_the_keys_back(development: Path) -> None:
    """The limit that docs/keys.md states: with the root key, a copy of the file is as good as the file."""
    keys = LocalKeys.open(development, "development")
    made = keys.generate(CONTEXT)
    copy = (development / KEYSTORE).read_bytes()
    keys.destroy(CONTEXT.merchant)
    (development / KEYSTORE).write_bytes(copy)
    assert LocalKeys.open(development, "development").unwrap(made.wrapped, CONTEXT) == made.key


def test_a_disk_that_refuses_a_change_leaves_the_keys_as_they_were(
    development: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = LocalKeys.open(development, "development")
    made = keys.generate(CONTEXT)
    before = (development / KEYSTORE).read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for call in (
            lambda: keys.rotate(CONTEXT.merchant),
            lambda: keys.destroy(CONTEXT.merchant),
            lambda: keys.generate(KeyContext("new", "sealing", "key_a")),
        ):
            with pytest.raises(KeyUnavailable):
                call()
    assert (development / KEYSTORE).read_bytes() == before
    assert not (development / f"{KEYSTORE}.new").exists()
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    keys.rotate(CONTEXT.merchant)


@settings(max_examples=40, deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"kind": "cordon-keystore", "format": 1, "merchants": value}).encode()
    )
)
def test_any_content_is_a_keystore_or_refused(content: bytes) -> None:
    with pytest.raises(KeyRefused):
        Keystore.parse(content)


# Made once. If one of these changes, keystores and rows that exist no longer open.
ROOT = bytes(range(32))
SET = KeySet(bytes(range(8)), bytes(range(32, 64)), {1: bytes(range(64, 96)), 2: bytes(range(96, 128))})
KNOWN_KEYSTORE = Path(__file__).with_name("known_keystore.json")
KNOWN_WRAPPED = (
    "02000102030405060700000002015ca712036db7cc8ba9e905e21d8903fd5ee699762fa2138f3526462732d0b9"
    "a2c591ad8f6552e05bffaff124d3413035cb271dfd2866aa3888afde6b"
)
KNOWN_MAC = "4d6540edd07cf616682b56dc029c4479394fcca487be039e2f65f25faaa15bf9"


def test_the_keystore_and_wrapped_form_of_before_still_open() -> None:
    keystore = Keystore.parse(KNOWN_KEYSTORE.read_bytes().strip())
    root = Root(ROOT)
    assert keystore.is_under(root)
    assert keystore.open_set(root, "harbour-pine") == SET
    assert keystore.encode() == KNOWN_KEYSTORE.read_bytes().strip()
    keys = LocalKeys(keystore_file.KeystoreInMemory(keystore.encode()), keystore, root)
    assert keys.unwrap(bytes.fromhex(KNOWN_WRAPPED), CONTEXT) == bytes(range(128, 160))
    assert keys.mac("harbour-pine", b"known").hex() == KNOWN_MAC
    assert keys.generate(CONTEXT).wrapped[:13].hex() == "02000102030405060700000002"
    assert isinstance(keys.generate(CONTEXT), DataKey)


def test_the_published_test_vector_of_slip_39_opens() -> None:
    """Vector 19 of SLIP-39 ("Valid mnemonic without sharing, 256 bits"), passphrase TREZOR, read by the library in use."""
    from shamir_mnemonic import combine_mnemonics

    words = (
        "theory painting academic academic armed sweater year military elder discuss acne wildlife boring employer "
        "fused large satoshi bundle carbon diagnose anatomy hamster leaves tracks paces beyond phantom capital marvel "
        "lips brave detect luck"
    )
    secret = "989baf9dcaad5b10ca33dfd8cc75e42477025dce88ae83e75a230086a0e00e92"
    assert combine_mnemonics([words], b"TREZOR").hex() == secret
