"""The sealed format: a known answer that old rows depend on, and no byte that can be changed unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_zone.hazmat.seal import PADDED, PLAIN, SealBroken, associated_data, new_key, seal, seal_with_nonce, unseal

KEY = bytes(range(32))
BOUND = ("card", "1", "tok_a", "shop", "key_a")
# Made once with this key and nonce. If this changes, rows that are in databases no longer open.
KNOWN = "01000102030405060708090a0b"
KNOWN_CIPHERTEXT = "7330e229f1d7f629b973a3b985db4c5f4111a370244db9437279f3aa4f350d4f"

KNOWN_PADDED = (
    "7330e229f1d7f629b973a3b985db4c5f03d68734f07b5f7c3867e5851d6900b20110aefcafc1129874a47fed88872838ee59608d5ad6a3da"
    "3f972a1918e3f5eef03cc67ad3d126611c54aa6eef8f0ee8388ac96276635368fdfd9ecc78f0b98dcbf859e6a441c81a9e1c3eb24875217f"
    "ba6762abe3c5259a4dff57cd82e66e0eca1170adb01ec17a5eb5af2276183732"
)


def test_format_one_is_a_version_a_nonce_and_what_aes_gcm_gives() -> None:
    sealed = seal_with_nonce(KEY, b"4242424242424242", BOUND, bytes(range(12)))
    assert sealed[:13].hex() == KNOWN
    assert len(sealed) == 1 + 12 + 16 + 16
    assert sealed[13:].hex() == KNOWN_CIPHERTEXT
    assert unseal(KEY, sealed, BOUND) == b"4242424242424242"


def test_format_two_is_padded_so_that_short_and_long_names_give_one_length() -> None:
    bound = ("card", "2", "tok_a", "shop", "key_a")
    sealed = seal_with_nonce(KEY, b"4242424242424242", bound, bytes(range(12)), PADDED)
    assert sealed[:13].hex() == KNOWN.replace("01", "02", 1)
    assert sealed[13:].hex() == KNOWN_PADDED
    assert unseal(KEY, sealed, bound) == b"4242424242424242"
    assert {len(seal(KEY, b"x" * length, bound, PADDED)) for length in range(128)} == {len(sealed)}


@given(st.binary(max_size=300))
def test_what_was_padded_comes_back_whatever_it_ends_with(plaintext: bytes) -> None:
    for ending in (b"", b"\0", b"\x80", b"\x80\0\0"):
        assert unseal(KEY, seal(KEY, plaintext + ending, BOUND, PADDED), BOUND) == plaintext + ending


def test_a_format_is_not_taken_for_another() -> None:
    for form, other in ((PLAIN, PADDED), (PADDED, PLAIN)):
        sealed = seal(KEY, b"x", BOUND, form)
        with pytest.raises(SealBroken):
            unseal(KEY, bytes([other]) + sealed[1:], BOUND)


@given(st.binary(max_size=200), st.lists(st.text(max_size=20), max_size=6))
def test_what_was_sealed_opens_for_the_same_fields(plaintext: bytes, fields: list[str]) -> None:
    assert unseal(KEY, seal(KEY, plaintext, tuple(fields)), tuple(fields)) == plaintext


@given(st.lists(st.text(max_size=8), max_size=5), st.lists(st.text(max_size=8), max_size=5))
def test_different_fields_never_give_the_same_associated_data(one: list[str], other: list[str]) -> None:
    assert (associated_data(tuple(one)) == associated_data(tuple(other))) == (one == other)


@given(st.binary(max_size=80))
def test_anything_else_does_not_open(data: bytes) -> None:
    with pytest.raises(SealBroken):
        unseal(KEY, data, BOUND)


def test_another_key_or_another_field_does_not_open() -> None:
    sealed = seal(KEY, b"x", BOUND)
    with pytest.raises(SealBroken):
        unseal(new_key(), sealed, BOUND)
    for place in range(len(BOUND)):
        moved = list(BOUND)
        moved[place] += "x"
        with pytest.raises(SealBroken):
            unseal(KEY, sealed, tuple(moved))


def test_no_nonce_comes_twice() -> None:
    assert len({seal(KEY, b"", BOUND)[1:13] for _ in range(10_000)}) == 10_000
