"""A host of MCP Apps for tests: the official client on the server's side, the official bridge on the view's, Chromium between.

The bridge is ``AppBridge`` of ``@modelcontextprotocol/ext-apps``, so that what a view says is read by a program that this
project did not write. The frame has no origin (``sandbox="allow-scripts"``) and the policy that the resource's metadata asks
for, as the specification builds it (SEP-1865, revision 2026-01-26, "Content Security Policy").
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server.apps import APP_MIME_TYPE
from mcp_types import CallToolResult, TextResourceContents, Tool
from playwright.async_api import Browser, FrameLocator, Page, Route

from tests.mcp_server.conformance.suite import TOOLS, node

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOST, VIEW = "http://host.test/", "http://view.test/"
EVERYTHING: dict[str, Any] = {
    "openLinks": {},
    "serverTools": {},
    "message": {"text": {}},
    "updateModelContext": {"text": {}},
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Host</title>
<style>body { margin: 0 } iframe { display: block; border: 0; height: 2000px }</style><body><script src="/host.js"></script>"""
_ROLLDOWN = TOOLS / "node_modules" / "rolldown" / "bin" / "cli.mjs"
_APP_BRIDGE = TOOLS / "node_modules" / "@modelcontextprotocol" / "ext-apps" / "dist" / "src" / "app-bridge.js"
_SHEET = "window.openai = { requestCheckout: (session) => window.cordonSheet(session) };"
_GLUE = Path(__file__).with_name("host.js")

needs_host = pytest.mark.skipif(
    not (CHROMIUM.exists() and (TOOLS / ".installed").is_file()),
    reason="no Chromium or no official bridge: deploy/test-needs.sh brings both",
)


async def bundled(folder: Path) -> str:
    """The page's script with the official bridge in it, put together by rolldown."""
    entry, made = folder / "host.mjs", folder / "host.js"
    entry.write_text(_GLUE.read_text(encoding="utf-8").replace("__APP_BRIDGE__", str(_APP_BRIDGE)), encoding="utf-8")
    done = await node(_ROLLDOWN, str(entry), "--file", str(made), "--format", "iife", "--platform", "browser")
    assert done.code == 0, done.errors + done.out
    return made.read_text(encoding="utf-8")


def policy_of(meta: dict[str, Any]) -> str:
    """The policy that a host builds from a resource's metadata (SEP-1865)."""
    csp = meta.get("ui", {}).get("csp", {})
    static = " ".join(csp.get("resourceDomains", []))
    calls = " ".join(csp.get("connectDomains", [])) or "'none'"
    frames = " ".join(csp.get("frameDomains", [])) or "'none'"
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-inline' {static}; style-src 'self' 'unsafe-inline' {static}; "
        f"img-src 'self' data: {static}; font-src 'self' {static}; connect-src {calls}; frame-src {frames}; "
        "object-src 'none'; base-uri 'self'"
    )


@dataclass
class Host:
    """A conversation with one view at a time. What the view asked for is kept in lists, oldest first."""

    page: Page
    client: Client
    tools: dict[str, Tool]
    capabilities: dict[str, Any]
    opens: bool = True
    fits: bool = False  # the frame is made as high as what is in it
    fails: int = 0  # so many calls of the view's are lost on their way back
    when_opened: Callable[[], Awaitable[None]] | None = None
    context: dict[str, Any] = field(default_factory=lambda: {"theme": "light", "displayMode": "inline"})
    images: dict[str, bytes] = field(default_factory=dict)  # what other servers have
    reaches_out: bool = False  # for a developer's eyes alone: no test asks other servers for anything
    called: list[dict[str, Any]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sheets: list[dict[str, Any]] = field(default_factory=list)
    when_sheet: Callable[[dict[str, Any]], Awaitable[Any]] | None = None  # what the shopper does in the payment sheet
    _html: str = ""
    _policy: str = ""

    async def show(
        self,
        tool: str,
        arguments: dict[str, Any],
        *,
        result: CallToolResult | dict[str, Any] | None = None,
        pending: bool = False,
    ) -> FrameLocator:
        """Calls a tool as the model does and shows its view. ``result`` stands in for what the call would give.

        With ``pending`` the view is shown and no result is told to it.
        """
        uri = (self.tools[tool].meta or {})["ui"]["resourceUri"]
        content = (await self.client.read_resource(uri)).contents[0]
        assert isinstance(content, TextResourceContents)
        assert content.mime_type == APP_MIME_TYPE
        self._html, self._policy = content.text, policy_of(content.meta or {})
        told = await self.client.call_tool(tool, arguments) if result is None and not pending else result
        await self.page.evaluate(
            "given => window.show(given)",
            {
                "address": VIEW,
                "capabilities": self.capabilities,
                "context": self.context,
                "input": arguments,
                "result": as_json(told) if told is not None else None,
                "fits": self.fits,
            },
        )
        return self.frame

    @property
    def frame(self) -> FrameLocator:
        """The view."""
        return self.page.frame_locator("iframe")

    async def ask(self, script: str, argument: Any = None) -> Any:
        """What a script finds in the view."""
        return await self.page.frames[-1].evaluate(script, argument)

    async def change(self, **context: Any) -> None:
        """Tells the view that the host's surroundings changed."""
        self.context = {**self.context, **context}
        await self.page.evaluate("context => window.bridge.setHostContext(context)", self.context)

    async def tell(self, result: CallToolResult | dict[str, Any]) -> None:
        """Tells the view another result of its tool."""
        await self.page.evaluate("result => window.bridge.sendToolResult(result)", as_json(result))

    async def call(self, params: dict[str, Any]) -> dict[str, Any]:
        """A view's call. One of a tool that is the model's alone is refused, as the specification asks."""
        name = params["name"]
        self.called.append(params)
        if "app" not in (self.tools[name].meta or {}).get("ui", {}).get("visibility", ["model", "app"]):
            self.refused.append(name)
            raise PermissionError(name)
        told = as_json(await self.client.call_tool(name, params.get("arguments", {})))
        if self.fails:
            self.fails -= 1
            raise ConnectionError(name)
        return told

    async def open(self, params: dict[str, Any]) -> dict[str, Any]:
        """A view's wish to have an address opened. ``when_opened`` is what the shopper does there."""
        self.opened.append(params["url"])
        if self.when_opened is not None:
            await self.when_opened()
        return {} if self.opens else {"isError": True}

    async def sheet(self, session: dict[str, Any]) -> Any:
        """A view's wish to have ChatGPT's payment sheet opened."""
        self.sheets.append(session)
        return await self.when_sheet(session) if self.when_sheet is not None else {}

    def say(self, params: dict[str, Any]) -> dict[str, Any]:
        """A message of a view's in the shopper's name."""
        self.said.append(params["content"][0]["text"])
        return {}

    def remember(self, params: dict[str, Any]) -> dict[str, Any]:
        """What a view tells the model for later."""
        self.remembered.append(params["content"][0]["text"])
        return {}

    async def serve(self, route: Route, script: str) -> None:
        """Answers for both pages and for images; everything else that a browser asks for is a complaint."""
        if route.request.url == HOST:
            await route.fulfill(body=PAGE, content_type="text/html; charset=utf-8")
        elif route.request.url == f"{HOST}host.js":
            await route.fulfill(body=script, content_type="text/javascript; charset=utf-8")
        elif route.request.url == VIEW:
            headers = {"content-security-policy": self._policy, "content-type": "text/html; charset=utf-8"}
            await route.fulfill(body=self._html, headers=headers)
        elif route.request.url in self.images:
            await route.fulfill(body=self.images[route.request.url], content_type="image/png")
        elif self.reaches_out:
            await route.continue_()
        else:
            self.complaints.append(f"asked for {route.request.url}")
            await route.abort()


def as_json(result: CallToolResult | dict[str, Any]) -> dict[str, Any]:
    """A result as it is on the wire."""
    if isinstance(result, dict):
        return result
    told: dict[str, Any] = json.loads(result.model_dump_json(by_alias=True, exclude_none=True))
    return told


@asynccontextmanager
async def hosting(
    browser: Browser,
    client: Client,
    script: str,
    *,
    capabilities: dict[str, Any] | None = None,
    width: int = 800,
    has_sheet: bool = False,
) -> AsyncIterator[Host]:
    """A host in a browser context of its own. With ``has_sheet`` it puts ``window.openai`` into the view, as ChatGPT does."""
    context = await browser.new_context(viewport={"width": width, "height": 900}, service_workers="block")
    page = await context.new_page()
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    host = Host(page, client, tools, EVERYTHING if capabilities is None else capabilities)

    async def serve(route: Route) -> None:
        await host.serve(route, script)

    await context.route("**/*", serve)
    page.on("console", lambda said: host.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: host.complaints.append(str(error)))
    for name, answer in {
        "cordonCall": host.call,
        "cordonOpen": host.open,
        "cordonSaid": host.say,
        "cordonRemembered": host.remember,
        "cordonSheet": host.sheet,
    }.items():
        await page.expose_function(name, answer)
    if has_sheet:
        await page.add_init_script(_SHEET)
    await page.goto(HOST)
    try:
        yield host
    finally:
        await context.close()
