"""Providers with a planted fault: the contract suite finds each of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vault_zone.hazmat import test_provider_contract as contract
from tests.vault_zone.hazmat.harness import Harness
from vault_zone.hazmat.keystore import Keystore
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import DataKey, KeyContext, KeyDestroyed, KeyProvider, KeyUnavailable

STANDARD = KeyContext("harbour-pine", "sealing", "the one")


class BindsMerchantOnly(LocalKeys):
    """Forgets purpose and key id."""

    def generate(self, context: KeyContext) -> DataKey:
        return super().generate(STANDARD._replace(merchant=context.merchant))

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return super().unwrap(wrapped, STANDARD._replace(merchant=context.merchant))


class JoinsFields(LocalKeys):
    """Puts the fields behind each other without their lengths."""

    def generate(self, context: KeyContext) -> DataKey:
        return super().generate(KeyContext(context.merchant, context.purpose + context.key_id, ""))

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return super().unwrap(wrapped, KeyContext(context.merchant, context.purpose + context.key_id, ""))


class SameKeyTwice(LocalKeys):
    """Gives the same data key again."""

    kept: DataKey | None = None

    def generate(self, context: KeyContext) -> DataKey:
        self.kept = self.kept or super().generate(context)
        return self.kept


class RewrapDoesNothing(LocalKeys):
    """Says it rewrapped."""

    def rewrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        self.unwrap(wrapped, context)
        return wrapped


class RotationForgetsTheOld(LocalKeys):
    """Keeps the newest version only."""

    def rotate(self, merchant: str) -> None:
        super().rotate(merchant)
        keys = self._keys(merchant)
        newest = keys._replace(wrapping={keys.newest: keys.wrapping[keys.newest]})
        self._change(lambda keystore, root: keystore.with_set(root, merchant, newest))


class MacFollowsRotation(LocalKeys):
    """Keys the MAC with the newest version."""

    def mac(self, merchant: str, message: bytes) -> bytes:
        return super().mac(merchant, message + bytes([self._keys(merchant, make=True).newest]))


class OneMacForAll(LocalKeys):
    """Keys the MAC of every merchant alike."""

    def mac(self, merchant: str, message: bytes) -> bytes:
        return super().mac("everybody", message)


class DestroysNothing(LocalKeys):
    """Says it destroyed."""

    def destroy(self, merchant: str) -> None:
        self._keys(merchant, make=True)


class ForgetsThatItDestroyed(LocalKeys):
    """Destroys, and keeps no mark of it."""

    def destroy(self, merchant: str) -> None:
        super().destroy(merchant)
        self._change(
            lambda keystore, root: replace(keystore, destroyed=frozenset()).at_serial(root, keystore.serial + 1)
        )


class RemembersTheDestroyed(LocalKeys):
    """Keeps opened keys over a change of the file."""

    def _take(self, keystore: Keystore, root: object) -> None:
        opened = dict(self._sets)
        super()._take(keystore, root)  # type: ignore[arg-type]
        self._sets.update(opened)


class SaysDestroyedWhenAway(LocalKeys):
    """Takes a file that is away for keys that are gone."""

    def check(self) -> None:
        try:
            super().check()
        except KeyUnavailable:
            raise KeyDestroyed from None


class ShowsItsKeys(LocalKeys):
    """Prints what it holds."""

    def __repr__(self) -> str:
        return f"LocalKeys({self.last.hex()})"

    last = b""

    def generate(self, context: KeyContext) -> DataKey:
        made = super().generate(context)
        self.last = made.key
        return made


@contextmanager
def faulty_harness(directory: Path, kind: type[LocalKeys]) -> Iterator[Harness]:
    """As the local harness, over the faulty class."""
    keys = directory / "keys"

    @contextmanager
    def outage() -> Iterator[None]:
        (keys / "keystore.json").rename(directory / "away.json")
        yield
        (directory / "away.json").rename(keys / "keystore.json")

    def another() -> KeyProvider:
        return kind.open(keys, "development")

    yield Harness(kind.for_development(keys, "development"), another, outage)


FAULTS: dict[type[LocalKeys], Callable[[Harness], None]] = {
    BindsMerchantOnly: lambda harness: contract.test_a_wrapped_key_opens_for_its_own_context_alone(harness, 1),
    JoinsFields: contract.test_fields_that_run_together_are_still_told_apart,
    SameKeyTwice: contract.test_a_data_key_is_fresh_and_256_bits_and_its_wrapped_form_does_not_hold_it,
    RewrapDoesNothing: contract.test_after_a_rotation_the_old_opens_and_a_rewrap_moves_it_to_the_newest,
    RotationForgetsTheOld: contract.test_after_a_rotation_the_old_opens_and_a_rewrap_moves_it_to_the_newest,
    MacFollowsRotation: contract.test_a_mac_is_the_same_after_a_rotation_and_a_restart_and_never_for_two_merchants,
    OneMacForAll: contract.test_a_mac_is_the_same_after_a_rotation_and_a_restart_and_never_for_two_merchants,
    DestroysNothing: contract.test_what_was_wrapped_before_a_destruction_is_destroyed_for_ever,
    ForgetsThatItDestroyed: contract.test_a_merchant_whose_keys_were_destroyed_gets_none_again_in_any_process,
    RemembersTheDestroyed: contract.test_what_was_wrapped_before_a_destruction_is_destroyed_for_ever,
    SaysDestroyedWhenAway: contract.test_in_an_outage_every_call_is_unavailable_and_never_destroyed_and_then_it_serves_again,
    ShowsItsKeys: contract.test_nothing_that_is_shown_of_a_provider_holds_a_key,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_the_suite_finds_a_planted_fault(kind: type[LocalKeys], tmp_path: Path) -> None:
    broken = (AssertionError, pytest.fail.Exception, KeyUnavailable)
    with pytest.raises(broken), faulty_harness(tmp_path, kind) as harness:
        FAULTS[kind](harness)


@pytest.mark.parametrize("shown", list(dict.fromkeys(FAULTS.values())))
def test_without_the_fault_the_same_checks_pass(shown: Callable[[Harness], None], tmp_path: Path) -> None:
    with faulty_harness(tmp_path, LocalKeys) as harness:
        shown(harness)
