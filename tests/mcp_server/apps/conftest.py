"""A Chromium for a module's tests, the host's script with the official bridge in it, and a host over the module's site."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from tests.mcp_server.apps.host import CHROMIUM, FLAGS, Host, bundled, hosting
from tests.mcp_server.serving import Site, client


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a module."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        await chromium.close()


@pytest.fixture(scope="module")
async def host_script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of the host's page."""
    return await bundled(tmp_path_factory.mktemp("host"))


@pytest.fixture
async def host(browser: Browser, host_script: str, site: Site) -> AsyncIterator[Host]:
    """A host that can do everything, connected as a guest."""
    async with client(site) as connected, hosting(browser, connected, host_script) as shown:
        yield shown
