"""Protected resource metadata (RFC 9728): which resource an endpoint is, at the address its path gives and at the host's root.

The SDK serves the first address only. The root stands for a host with one brand; with several it would name the wrong one.
No authorization server is named, because there is none: the key that an endpoint takes is the brand's agent key.
"""

from typing import Any

from commerce_api.brands import Brand
from commerce_api.links import Links

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


def metadata(brand: Brand, links: Links) -> dict[str, Any]:
    """The document."""
    return {
        "resource": links.mcp(brand.id),
        "resource_name": brand.name,
        "bearer_methods_supported": ["header"],
    }


def challenge(brand: Brand, links: Links) -> str:
    """What a refused key is answered with (RFC 6750, RFC 9728 5.1)."""
    return f'Bearer error="invalid_token", resource_metadata="{links.mcp_url or ""}/{WELL_KNOWN}/{brand.id}/mcp"'
