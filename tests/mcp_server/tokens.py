"""Access tokens as a test wants them: right ones, and ones that are wrong in just one place."""

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import insert

from commerce_api.authorization.issuers import embedded_issuer
from commerce_api.authorization.keys import ALGORITHM, SigningKeys, rotate
from commerce_api.authorization.scopes import MEANINGS
from commerce_api.models import oauth_grant
from tests.commerce_api.world import World
from tokenization.ids import new_id

CLIENT = "https://assistant.example/client.json"


def with_keys(world: World) -> SigningKeys:
    """The world's signing keys, made where there are none."""
    keys = SigningKeys(world.commerce.settings.oauth_keys)
    if not keys.is_there:
        rotate(world.commerce.settings.oauth_keys)
    return keys


async def grant_of(world: World, shopper: str, *, brand: str | None = None, **fields: Any) -> str:
    """A grant that stands, as the consent page makes it."""
    identifier = new_id("agr")
    values = {
        "id": identifier,
        "brand": brand or world.brand,
        "client": CLIENT,
        "shopper": shopper,
        "scope": " ".join(MEANINGS),
        "resource": "",
        "created_ms": world.clock(),
        "expires_ms": world.clock() + 86_400_000,
        **fields,
    }
    await world.commerce.database.maintain(lambda tx: tx.execute(insert(oauth_grant).values(**values)))
    return identifier


async def token_of(
    world: World,
    *scopes: str,
    shopper: str = "shp_" + "b" * 32,
    key: ECKey | None = None,
    header: Mapping[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A token of the embedded server's for the world's brand. ``claims`` replace or, with None, take away."""
    key_id, own = with_keys(world).signing()
    now_seconds = world.clock() // 1000
    said = {
        "iss": embedded_issuer(world.commerce.links, world.brand),
        "sub": shopper,
        "aud": world.commerce.links.mcp(world.brand),
        "client_id": CLIENT,
        "scope": " ".join(scopes),
        "grant": claims.get("grant") or await grant_of(world, shopper),
        "iat": now_seconds,
        "exp": now_seconds + 600,
        **claims,
    }
    kept = {name: value for name, value in said.items() if value is not None}
    head = {"alg": ALGORITHM, "kid": key_id, "typ": "at+jwt", **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(head, kept, key or own, algorithms=[head["alg"]], default_type=None)
