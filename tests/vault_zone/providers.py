"""A key provider for tests and benchmarks that are not about providers."""

from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import KeyProvider


def a_provider() -> KeyProvider:
    """A local provider with a root key of its own, in memory."""
    return LocalKeys.in_memory()
