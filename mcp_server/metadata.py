"""Protected resource metadata (RFC 9728): which resource an endpoint is, at the address its path gives and at the host's root,
and which authorization server lets shoppers in.

The SDK serves the first address only. The root stands for a host with one brand; with several it would name the wrong one.
Where there is no authorization server none is named: the key that such an endpoint takes is the brand's agent key.
"""

from typing import Any

from commerce_api.brands import Brand
from commerce_api.links import Links
from mcp_server.profiles import OPEN, Profile, endpoint_named
from mcp_server.scopes import ALL_SCOPES

WELL_KNOWN = ".well-known/oauth-protected-resource"


def resource_named(parts: list[str], brands: list[str]) -> tuple[str, Profile] | None:
    """The brand and profile whose metadata a path asks for, or None. ``brands`` are all there are."""
    if "/".join(parts[:2]) != WELL_KNOWN:
        return None
    if len(parts) == 2:
        return (brands[0], OPEN) if len(brands) == 1 else None
    named = endpoint_named(parts[2:])
    return named if named is not None and named[0] in brands else None


def metadata(brand: Brand, links: Links, issuer: str | None = None, profile: Profile = OPEN) -> dict[str, Any]:
    """The document. Each profile is a resource of its own: a token for one is worth nothing at another."""
    found: dict[str, Any] = {
        "resource": links.mcp(brand.id, profile.name),
        "resource_name": brand.name,
        "bearer_methods_supported": ["header"],
    }
    if issuer is not None:
        found |= {"authorization_servers": [issuer], "scopes_supported": ALL_SCOPES.split()}
    return found


def challenge(
    brand: Brand,
    links: Links,
    *,
    error: str | None = "invalid_token",
    scope: str | None = None,
    profile: Profile = OPEN,
) -> str:
    """What a refused request is answered with (RFC 6750, 3; RFC 9728, 5.1): constants and an address of ours."""
    said = [f'error="{error}"'] if error else []
    if scope:
        said.append(f'scope="{scope}"')
    path = f"{brand.id}/mcp/{profile.name}".rstrip("/")
    said.append(f'resource_metadata="{links.mcp_url or ""}/{WELL_KNOWN}/{path}"')
    return "Bearer " + ", ".join(said)
