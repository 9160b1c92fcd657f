"""The processors this zone charges through, by name. A name is stored with every charge, so it never changes its meaning."""

from collections.abc import Sequence

from vault_zone.processors.port import Feature, Processor


class Processors:
    """The connectors, the default one first. Raises ValueError for none at all and for two of one name."""

    def __init__(self, *connectors: Processor) -> None:
        self._by_name = {connector.name: connector for connector in connectors}
        if not connectors or len(self._by_name) != len(connectors):
            raise ValueError("there must be at least one processor, and each has a name of its own")

    @property
    def names(self) -> Sequence[str]:
        """Every name, the default one first."""
        return tuple(self._by_name)

    @property
    def default(self) -> Processor:
        """The one that is asked where nothing else is decided."""
        return next(iter(self._by_name.values()))

    @property
    def is_sandbox(self) -> bool:
        """Whether a charge may go to a sandbox: shown before it is known where it goes."""
        return any(connector.is_sandbox for connector in self._by_name.values())

    def get(self, name: str) -> Processor | None:
        """The connector of a name; None for one that this zone has no more."""
        return self._by_name.get(name)

    def has(self, name: str, feature: Feature) -> bool:
        """Whether the processor of a name is there and declares the feature."""
        connector = self._by_name.get(name)
        return connector is not None and feature in connector.features

    async def close(self) -> None:
        """Lets every connection go."""
        for connector in self._by_name.values():
            await connector.close()
