"""Every key provider with what a test needs besides it: the same state after a restart, and an outage."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vault_zone.hazmat import soft_token
from tokenization.ids import new_id
from vault_zone.hazmat.local import KEYSTORE, LocalKeys
from vault_zone.hazmat.provider import KeyProvider


@dataclass
class Harness:
    """A provider, another one over the same state (a restart, or a second process), and a way to cut it off."""

    provider: KeyProvider
    another: Callable[[], KeyProvider]
    outage: Callable[[], AbstractContextManager[None]]
    copies_of_state_help: bool = (
        False  # whether a copy of the provider's files, made before destroy(), brings keys back
    )


@contextmanager
def local_harness(directory: Path) -> Iterator[Harness]:
    """The local provider with its development root key."""
    keys = directory / "keys"

    @contextmanager
    def outage() -> Iterator[None]:
        (keys / KEYSTORE).rename(directory / "away.json")
        try:
            yield
        finally:
            (directory / "away.json").rename(keys / KEYSTORE)

    provider = LocalKeys.for_development(keys, "development")
    yield Harness(provider, lambda: LocalKeys.open(keys, "development"), outage, copies_of_state_help=True)
    provider.close()


@contextmanager
def pkcs11_harness(directory: Path) -> Iterator[Harness]:
    """The hardware provider on a SoftHSM2 token of its own."""
    from vault_zone.hazmat.pkcs11_token import Pkcs11Keys, TokenPlace

    module = soft_token.module()
    if module is None:
        if os.environ.get("CI") == "true":
            pytest.fail("SoftHSM2 is required in CI: deploy/test-needs.sh installs it")
        pytest.skip("no SoftHSM2 here: apt-get install softhsm2")
    label = new_id("tok")[:32]
    soft_token.make_token(label)
    (directory / "pin").touch(mode=0o600)
    (directory / "pin").write_text(f"{soft_token.PIN}\n", encoding="utf-8")
    place = TokenPlace(module, label, directory / "pin", directory / "pkcs11")
    made = [Pkcs11Keys(place)]

    def another() -> KeyProvider:
        made.append(Pkcs11Keys(place))
        return made[-1]

    yield Harness(made[0], another, soft_token.tokens_away)
    for provider in made:
        provider.close()
    soft_token.delete_token(label)


HARNESSES: dict[str, Callable[[Path], AbstractContextManager[Harness]]] = {
    "local": local_harness,
    "pkcs11": pkcs11_harness,
}
