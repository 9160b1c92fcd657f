"""Pictures of a brand's views, from its running endpoint: what a host would show, in both schemes, wide and narrow.

    .venv/bin/python -m tests.mcp_server.apps.pictures http://127.0.0.1:8705/harbour-pine/mcp --query kettle --out pictures

It searches, and starts a checkout with the first thing found, as any guest can. ``--order ord_…`` adds a paid order.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Browser, async_playwright, expect

from tests.mcp_server.apps.host import CHROMIUM, FLAGS, bundled, hosting

WIDTHS = {"wide": 760, "narrow": 360}
SCHEMES = ("light", "dark")


async def shown(client: Client, query: str, order: str | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """A tool and its arguments for each picture."""
    found = (await client.call_tool("search_catalog", {"query": query, "limit": 1})).structured_content or {}
    if not found.get("products"):
        raise SystemExit(f"Nothing was found for “{query}”: give another --query.")
    line = {"variant_id": found["products"][0]["variants"][0]["id"], "quantity": 1}
    orders = {"order": ("get_order", {"order_id": order})} if order else {}
    return {
        "products": ("search_catalog", {"query": query}),
        "checkout": ("create_checkout", {"lines": [line]}),
        **orders,
    }


async def take(browser: Browser, client: Client, script: str, args: argparse.Namespace) -> None:
    """Writes the pictures and says where they are."""
    views = await shown(client, args.query, args.order)
    for size, width in WIDTHS.items():
        async with hosting(browser, client, script, width=width) as host:
            host.fits = host.reaches_out = True
            for scheme in SCHEMES:
                host.context["theme"] = scheme
                for name, (tool, arguments) in views.items():
                    view = await host.show(tool, arguments)
                    await expect(view.locator("main")).to_have_attribute("aria-busy", "false")
                    await host.page.wait_for_load_state("networkidle")
                    path = args.out / f"{name}-{scheme}-{size}.png"
                    await host.page.locator("iframe").screenshot(path=path)
                    sys.stdout.write(f"{path}\n")


async def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="Pictures of a brand's views from its running endpoint.")
    parser.add_argument("endpoint")
    parser.add_argument("--query", default="")
    parser.add_argument("--order")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        script = await bundled(Path(folder))
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30) as http,
        Client(streamable_http_client(args.endpoint, http_client=http)) as client,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        await take(browser, client, script, args)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
