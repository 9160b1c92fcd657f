"""The MCP server on a loopback port over a commerce side: one for a module's tests, or one of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_server import waiting
from tests.commerce_api.world import SHEET, World, commerce_world
from tests.mcp_server.oauth_site import OAuthSite, oauth_site
from tests.mcp_server.paying import allowed
from tests.mcp_server.serving import Site, mcp_site


async def at_once(_: float) -> None:
    """A pause that takes no time."""


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits for a shopper looks as often as ever, and at once."""
    monkeypatch.setattr(waiting, "pause", at_once)


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Shared by the tests of a module, which leave the clock alone and count only what is their own."""
    async with commerce_world(tmp_path_factory.mktemp("site")) as built, mcp_site(built) as served:
        yield served


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A commerce side of the test's own, on SQLite. For tests marked ``anyio``."""
    async with commerce_world(tmp_path) as built:
        yield built


@pytest.fixture
async def own_site(world: World) -> AsyncIterator[Site]:
    """The MCP server over it."""
    async with mcp_site(world) as served:
        yield served


@pytest.fixture
async def flow(world: World) -> AsyncIterator[OAuthSite]:
    """Both programs of the commerce side, at the addresses that they name."""
    async with oauth_site(world) as served:
        yield served


@pytest.fixture
async def paying(flow: OAuthSite) -> OAuthSite:
    """Both programs, of a brand that lets assistants pay."""
    await flow.world.let_assistants_pay()
    return flow


@pytest.fixture
async def sheet(paying: OAuthSite) -> tuple[str, str]:
    """ChatGPT's endpoint of a brand that takes part in the payment sheet, and the token of a shopper who signed in there."""
    await paying.world.let_assistants_pay(chatgpt_sheet=SHEET)
    url = f"{paying.resource}/chatgpt"
    return url, (await allowed(paying, "10000", resource=url))["access_token"]
