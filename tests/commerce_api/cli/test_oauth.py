"""`cordon oauth` as an operator meets it: keys are made and replaced, and what a shopper allowed can be ended."""

import asyncio
from pathlib import Path

import pytest

from commerce_api.authorization.keys import SigningKeys
from commerce_api.cli import main
from commerce_api.models import oauth_grant
from tests.commerce_api.world import BRAND, commerce_world
from tests.mcp_server.tokens import grant_of


def test_keys_are_made_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["oauth", "rotate-keys", "--data", str(tmp_path)]
    assert main(arguments) == 1
    assert "cordon init" in capsys.readouterr().err
    (tmp_path / "commerce" / "keys").mkdir(parents=True)
    said = []
    for more in ([], [], ["--drop-previous"]):
        assert main([*arguments, *more]) == 0
        said.append(capsys.readouterr().out.split()[0])
    keys = SigningKeys(tmp_path / "commerce" / "keys" / "oauth")
    assert keys.signing()[0] == said[-1]
    assert len(keys.public()["keys"]) == 1


def test_what_a_shopper_allowed_can_be_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def made() -> tuple[str, str]:
        async with commerce_world(tmp_path) as world:
            return await grant_of(world, "shp_" + "b" * 32), world.commerce.settings.database_url

    grant, url = asyncio.run(made())
    options = ["--data", str(tmp_path), "--database-url", url]
    assert main(["oauth", "revoke", "another-brand", grant, *options]) == 1
    assert main(["oauth", "revoke", BRAND, grant, *options]) == 0
    assert capsys.readouterr().out.startswith(grant)

    async def stored() -> list[int | None]:
        async with commerce_world(tmp_path, url) as world:
            assert len(await world.events("authorization.revoked")) == 1
            return [row.revoked_ms for row in await world.rows(oauth_grant)]

    assert None not in asyncio.run(stored())
