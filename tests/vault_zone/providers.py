"""A key provider for tests and benchmarks that are not about providers."""

from vault_zone.hazmat.keys import LocalKeys
from vault_zone.hazmat.provider import KeyProvider
from vault_zone.hazmat.seal import new_key


def a_provider() -> KeyProvider:
    """A local provider with a root key of its own, in memory."""
    return LocalKeys(new_key(), "root_test")
