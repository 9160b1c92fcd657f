"""What every key provider promises, shown on each of them; and that the suite sees a provider that breaks a promise."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.hazmat.harness import HARNESSES, Harness
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyProvider, KeyUnavailable

CONTEXT = KeyContext("harbour-pine", "sealing", "key_a")
OTHER = KeyContext("other-shop", "sealing", "key_a")
QUICKLY_SECONDS = 10


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Each provider in turn."""
    with HARNESSES[request.param](tmp_path) as made:
        yield made


def test_a_data_key_is_fresh_and_256_bits_and_its_wrapped_form_does_not_hold_it(harness: Harness) -> None:
    made = [harness.provider.generate(CONTEXT) for _ in range(20)]
    assert {len(one.key) for one in made} == {32}
    assert len({one.key for one in made}) == 20
    assert len({one.wrapped for one in made}) == 20
    assert [one for one in made if one.key in one.wrapped or one.key.hex().encode() in one.wrapped] == []


@requirement("3.7.7")
@pytest.mark.parametrize("place", range(3))
def test_a_wrapped_key_opens_for_its_own_context_alone(harness: Harness, place: int) -> None:
    provider = harness.provider
    provider.generate(OTHER)  # so that the other merchant is one with keys of its own
    made = provider.generate(CONTEXT)
    assert provider.unwrap(made.wrapped, CONTEXT) == made.key
    for field in (OTHER.merchant, "fingerprint", "key_b", "", CONTEXT[(place + 1) % 3]):
        moved = KeyContext(*(field if at == place else part for at, part in enumerate(CONTEXT)))
        for call in (provider.unwrap, provider.rewrap):
            with pytest.raises(KeyUnavailable):
                call(made.wrapped, moved)


def test_fields_that_run_together_are_still_told_apart(harness: Harness) -> None:
    made = harness.provider.generate(KeyContext("shop", "ab", "c"))
    with pytest.raises(KeyUnavailable):
        harness.provider.unwrap(made.wrapped, KeyContext("shop", "a", "bc"))


def test_no_changed_byte_goes_unseen(harness: Harness) -> None:
    wrapped = harness.provider.generate(CONTEXT).wrapped
    for place in range(len(wrapped)):
        changed = wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        with pytest.raises(KeyUnavailable):
            harness.provider.unwrap(changed, CONTEXT)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=120), cut=st.integers(min_value=0, max_value=100))
def test_junk_is_unavailable(harness: Harness, junk: bytes, cut: int) -> None:
    wrapped = harness.provider.generate(CONTEXT).wrapped
    for bad in (junk, wrapped[:cut] if cut < len(wrapped) else b"", wrapped + junk + b"x"):
        with pytest.raises(KeyUnavailable):
            harness.provider.unwrap(bad, CONTEXT)


@requirement("3.7.4", "3.7.5")
def test_after_a_rotation_the_old_opens_and_a_rewrap_moves_it_to_the_newest(harness: Harness) -> None:
    provider = harness.provider
    old = provider.generate(CONTEXT)
    for _ in range(2):
        provider.rotate(CONTEXT.merchant)
    assert provider.unwrap(old.wrapped, CONTEXT) == old.key
    moved = provider.rewrap(old.wrapped, CONTEXT)
    new = provider.generate(CONTEXT)
    assert version_of(moved) == version_of(new.wrapped) == version_of(old.wrapped) + 2
    assert provider.unwrap(moved, CONTEXT) == old.key


def version_of(wrapped: bytes) -> int:
    """The wrapping key's version, as the wrapped form says it."""
    if wrapped[0] in (2, 4):
        return int.from_bytes(wrapped[9:13], "big")
    return int(wrapped[9:].split(b":")[1][1:])


def test_another_process_opens_wraps_and_rotates_the_same_keys(harness: Harness) -> None:
    made = harness.provider.generate(CONTEXT)
    other = harness.another()
    assert other.unwrap(made.wrapped, CONTEXT) == made.key
    other.rotate(CONTEXT.merchant)
    theirs = other.generate(CONTEXT)
    assert version_of(theirs.wrapped) == 2
    assert harness.provider.unwrap(theirs.wrapped, CONTEXT) == theirs.key
    assert version_of(harness.provider.rewrap(made.wrapped, CONTEXT)) == 2


def test_a_mac_is_the_same_after_a_rotation_and_a_restart_and_never_for_two_merchants(harness: Harness) -> None:
    provider = harness.provider
    first = provider.mac(CONTEXT.merchant, b"message")
    assert len(first) == 32
    provider.generate(CONTEXT)
    provider.rotate(CONTEXT.merchant)
    assert provider.mac(CONTEXT.merchant, b"message") == first
    assert harness.another().mac(CONTEXT.merchant, b"message") == first
    assert provider.mac(CONTEXT.merchant, b"messagf") != first
    assert provider.mac(CONTEXT.merchant, b"") != first
    assert provider.mac(OTHER.merchant, b"message") != first
    with pytest.raises(ValueError, match="at most 64"):
        provider.mac(CONTEXT.merchant, bytes(65))


@requirement("3.7.5")
def test_what_was_wrapped_before_a_destruction_is_destroyed_for_ever(harness: Harness) -> None:
    provider, kept = harness.provider, harness.provider.generate(OTHER)
    destroyed = provider.generate(CONTEXT)
    second = harness.another()
    assert second.unwrap(destroyed.wrapped, CONTEXT) == destroyed.key  # and has the keys at hand
    provider.mac(CONTEXT.merchant, b"m")
    provider.rotate(CONTEXT.merchant)
    provider.destroy(CONTEXT.merchant)
    provider.destroy(CONTEXT.merchant)
    for one in (provider, second, harness.another()):
        for call in (one.unwrap, one.rewrap):
            with pytest.raises(KeyDestroyed):
                call(destroyed.wrapped, CONTEXT)
    assert provider.unwrap(kept.wrapped, OTHER) == kept.key


@requirement("3.7.5")
def test_a_merchant_whose_keys_were_destroyed_gets_none_again_in_any_process(harness: Harness) -> None:
    provider, kept = harness.provider, harness.provider.mac(OTHER.merchant, b"m")
    second = harness.another()
    provider.generate(CONTEXT)
    second.mac(CONTEXT.merchant, b"m")  # and has the keys at hand
    for merchant in (CONTEXT.merchant, "shop"):  # the second never had any
        provider.destroy(merchant)
    for one in (provider, second, harness.another()):
        for merchant in (CONTEXT.merchant, "shop"):
            for call in (
                partial(one.generate, CONTEXT._replace(merchant=merchant)),
                partial(one.mac, merchant, b"m"),
                partial(one.rotate, merchant),
            ):
                with pytest.raises(KeyDestroyed):
                    call()
            one.destroy(merchant)
        assert one.mac(OTHER.merchant, b"m") == kept
        one.check()


@requirement("3.7.5")
def test_whoever_makes_keys_while_they_are_destroyed_leaves_none(harness: Harness) -> None:
    makers, start = [harness.provider, harness.another(), harness.another()], threading.Barrier(4)
    destroyer, told = harness.another(), list[str]()

    def make(provider: KeyProvider) -> None:
        start.wait()
        try:
            for _ in range(50):
                provider.generate(CONTEXT)
        except KeyDestroyed:
            told.append("destroyed")
        except KeyUnavailable:
            told.append("unavailable")

    threads = [threading.Thread(target=make, args=(provider,)) for provider in makers]
    for thread in threads:
        thread.start()
    start.wait()
    destroyer.destroy(CONTEXT.merchant)
    for thread in threads:
        thread.join()
    assert set(told) <= {"destroyed", "unavailable"}
    for provider in (*makers, harness.another()):
        with pytest.raises(KeyDestroyed):
            provider.generate(CONTEXT)


def test_a_merchant_without_keys_has_nothing_to_open(harness: Harness) -> None:
    wrapped = harness.provider.generate(CONTEXT).wrapped
    with pytest.raises(KeyDestroyed):
        harness.provider.unwrap(wrapped, KeyContext("nobody", "sealing", "key_a"))


@requirement("3.7.3")
@pytest.mark.timeout(60)
def test_in_an_outage_every_call_is_unavailable_and_never_destroyed_and_then_it_serves_again(harness: Harness) -> None:
    provider = harness.provider
    made, mac = provider.generate(CONTEXT), provider.mac(CONTEXT.merchant, b"m")
    provider.check()
    with harness.outage():
        for call in (
            provider.check,
            lambda: provider.generate(CONTEXT),
            lambda: provider.generate(KeyContext("new-shop", "sealing", "key_a")),
            lambda: provider.unwrap(made.wrapped, CONTEXT),
            lambda: provider.rewrap(made.wrapped, CONTEXT),
            lambda: provider.rotate(CONTEXT.merchant),
            lambda: provider.destroy(CONTEXT.merchant),
        ):
            with pytest.raises(KeyUnavailable) as refused:
                call()
            assert not isinstance(refused.value, KeyDestroyed)
    provider.check()
    assert provider.unwrap(made.wrapped, CONTEXT) == made.key
    assert provider.mac(CONTEXT.merchant, b"m") == mac
    assert version_of(provider.generate(CONTEXT).wrapped) == version_of(made.wrapped)


def test_many_threads_may_call_at_once(harness: Harness) -> None:
    provider, seen, start = harness.provider, list[tuple[bool, bytes]](), threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        for turn in range(6):
            context = KeyContext(CONTEXT.merchant, "sealing", f"key_{number}_{turn}")
            made = provider.generate(context)
            if number == 0 and turn % 2:
                provider.rotate(CONTEXT.merchant)
            opens = provider.unwrap(made.wrapped, context) == made.key
            seen.append((opens, provider.mac(CONTEXT.merchant, b"m")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 36  # a thread that failed saw less
    assert set(seen) == {(True, provider.mac(CONTEXT.merchant, b"m"))}


def test_the_first_keys_of_a_merchant_are_made_once_whoever_asks_first(harness: Harness) -> None:
    providers = [harness.provider, harness.another(), harness.another()]
    start, made, macs = threading.Barrier(3), dict[int, DataKey](), dict[int, bytes]()

    def work(number: int) -> None:
        start.wait()
        made[number] = providers[number].generate(CONTEXT)
        macs[number] = providers[number].mac(CONTEXT.merchant, b"m")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(macs.values())) == 1
    for provider in providers:
        assert [provider.unwrap(made[n].wrapped, CONTEXT) == made[n].key for n in range(3)] == [True] * 3


@pytest.mark.parametrize("merchant", ["Shop", "a/b", "../x", "a b", "ключ", "x" * 200, "a.", "-", "M-shop", "m-shop"])
def test_a_merchant_may_have_any_name_and_shares_its_keys_with_no_other(harness: Harness, merchant: str) -> None:
    context = KeyContext(merchant, "sealing", "key_a")
    made = harness.provider.generate(context)
    assert harness.provider.unwrap(made.wrapped, context) == made.key
    for other in (merchant.lower(), merchant.upper(), "shop", merchant + "x"):
        if other != merchant:
            with pytest.raises(KeyUnavailable):
                harness.provider.unwrap(made.wrapped, context._replace(merchant=other))


@requirement("3.6.1.3")
def test_nothing_that_is_shown_of_a_provider_holds_a_key(harness: Harness) -> None:
    made = harness.provider.generate(CONTEXT)
    shown = [repr(made), str(made), repr(harness.provider), str(harness.provider), repr(vars(harness.provider))]
    with pytest.raises(KeyUnavailable) as refused:
        harness.provider.unwrap(made.wrapped[:-1], CONTEXT)
    shown += [repr(refused.value), str(refused.value), repr(refused.value.__cause__)]
    for text in shown:
        assert made.key.hex() not in text
        assert repr(made.key)[2:-1] not in text


def test_a_closed_provider_can_be_closed_again(harness: Harness) -> None:
    harness.provider.generate(CONTEXT)
    harness.provider.close()
    harness.provider.close()
