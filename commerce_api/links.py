"""The addresses that this side hands out. None of them holds personal data, and knowing one authenticates nobody."""

from dataclasses import dataclass
from typing import Final

MCP_PROFILES: Final = ("", "claude", "chatgpt")  # what each is: mcp_server/profiles.py


@dataclass(frozen=True, slots=True)
class Links:
    """Built on the address under which shoppers and agents reach this side, and that of the MCP server."""

    commerce_url: str
    mcp_url: str | None = None

    def checkout_page(self, brand: str, checkout: str) -> str:
        """Where the shopper reviews and pays; what is sent into a conversation."""
        return f"{self.commerce_url}/{brand}/checkout/{checkout}"

    def checkout_return(self, brand: str, checkout: str) -> str:
        """Where the card page, and the bank's page, send the shopper back to."""
        return f"{self.commerce_url}/{brand}/checkout/{checkout}/return"

    def checkout_root(self, brand: str) -> str:
        """The address that checkout pages of a brand begin with."""
        return f"{self.commerce_url}/{brand}/checkout"

    def mcp(self, brand: str, profile: str = "") -> str | None:
        """The brand's MCP endpoint, or that of one of its profiles (mcp_server/profiles.py)."""
        if not self.mcp_url:
            return None
        return f"{self.mcp_url}/{brand}/mcp/{profile}" if profile else f"{self.mcp_url}/{brand}/mcp"

    def endpoints(self, brand: str) -> tuple[str, ...]:
        """All of the brand's MCP endpoints, the one that any host gets first."""
        return tuple(found for profile in MCP_PROFILES if (found := self.mcp(brand, profile)) is not None)
