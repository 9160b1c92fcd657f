"""Protected resource metadata (RFC 9728): which resource an endpoint is, at the address its path gives and at the host's root,
and which authorization server lets shoppers in.

The SDK serves the first address only. The root stands for a host with one brand; with several it would name the wrong one.
Where there is no authorization server none is named: the key that such an endpoint takes is the brand's agent key.
"""

from typing import Any

from commerce_api.brands import Brand
from commerce_api.links import Links
from mcp_server.scopes import ALL_SCOPES

WELL_KNOWN = ".well-known/oauth-protected-resource"


def brand_named(parts: list[str], brands: list[str]) -> str | None:
    """The brand whose metadata a path asks for, or None. ``brands`` are all there are."""
    if "/".join(parts[:2]) != WELL_KNOWN:
        return None
    match parts[2:]:
        case []:
            return brands[0] if len(brands) == 1 else None
        case [brand, "mcp"]:
            return brand if brand in brands else None
    return None


def metadata(brand: Brand, links: Links, issuer: str | None = None) -> dict[str, Any]:
    """The document."""
    found: dict[str, Any] = {
        "resource": links.mcp(brand.id),
        "resource_name": brand.name,
        "bearer_methods_supported": ["header"],
    }
    if issuer is not None:
        found |= {"authorization_servers": [issuer], "scopes_supported": ALL_SCOPES.split()}
    return found


def challenge(brand: Brand, links: Links, *, error: str | None = "invalid_token", scope: str | None = None) -> str:
    """What a refused request is answered with (RFC 6750, 3; RFC 9728, 5.1): constants and an address of ours."""
    said = [f'error="{error}"'] if error else []
    if scope:
        said.append(f'scope="{scope}"')
    said.append(f'resource_metadata="{links.mcp_url or ""}/{WELL_KNOWN}/{brand.id}/mcp"')
    return "Bearer " + ", ".join(said)
