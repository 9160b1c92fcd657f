"""Every key provider with what a test needs besides it: the same state after a restart, and an outage."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.vault_zone.hazmat import soft_token, vault_stand_in
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
    merchants: list[str] = field(default_factory=lambda: ["harbour-pine", "other-shop", "shop", "new-shop"])


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
    place = TokenPlace(module, label, secret_file(directory / "pin", soft_token.PIN), directory / "pkcs11")
    made = [Pkcs11Keys(place)]

    def another() -> KeyProvider:
        made.append(Pkcs11Keys(place))
        return made[-1]

    yield Harness(made[0], another, soft_token.tokens_away)
    for provider in made:
        provider.close()
    soft_token.delete_token(label)


@contextmanager
def vault_harness(directory: Path) -> Iterator[Harness]:
    """The key-service provider: on the stand-in, or on the real server that CORDON_TEST_VAULT_ADDR names (docs/keys.md)."""
    from vault_zone.hazmat.vault_session import AppRole, VaultPlace
    from vault_zone.hazmat.vault_transit import VaultKeys

    address = os.environ.get("CORDON_TEST_VAULT_ADDR")
    role_id = os.environ.get("CORDON_TEST_VAULT_ROLE_ID", vault_stand_in.ROLE_ID)
    secret_id = os.environ.get("CORDON_TEST_VAULT_SECRET_ID", vault_stand_in.SECRET_ID)
    auth = AppRole(secret_file(directory / "role-id", role_id), secret_file(directory / "secret-id", secret_id))
    ca_file = os.environ.get("CORDON_TEST_VAULT_CA_FILE")
    with vault_stand_in.running_vault() as stand_in:
        place = VaultPlace(
            address or stand_in.address,
            auth,
            mount=os.environ.get("CORDON_TEST_VAULT_MOUNT", "transit"),
            namespace=os.environ.get("CORDON_TEST_VAULT_NAMESPACE"),
            ca_file=Path(ca_file) if ca_file else None,
            key_prefix=new_id("test"),
        )
        made = [VaultKeys(place)]

        def another() -> KeyProvider:
            made.append(VaultKeys(place))
            return made[-1]

        @contextmanager
        def outage() -> Iterator[None]:
            adapter = made[0]._session._client.adapter
            reached, adapter.base_uri = adapter.base_uri, "http://127.0.0.1:9"  # the discard port: nobody listens
            try:
                yield
            finally:
                adapter.base_uri = reached

        harness = Harness(made[0], another, outage)
        yield harness
        for merchant in harness.merchants:  # a real server keeps nothing of the test
            made[0].destroy(merchant)
            made[0]._delete(made[0]._name("destroyed", merchant))
        for provider in made:
            provider.close()


def secret_file(path: Path, secret: str) -> Path:
    """A file of mode 0600 with a secret in it."""
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n", encoding="utf-8")
    return path


HARNESSES: dict[str, Callable[[Path], AbstractContextManager[Harness]]] = {
    "local": local_harness,
    "pkcs11": pkcs11_harness,
    "vault": vault_harness,
}
