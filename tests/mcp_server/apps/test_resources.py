"""What a client reads of the views: the same for all, closed to every address, and made of nothing but the policy."""

import base64
import hashlib
import html
import re

import pytest
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import METHOD_NOT_FOUND, TextResourceContents

from commerce_api.brands import find_brand, save_brand
from commerce_api.policy import Policy
from commerce_api.theme import Theme
from mcp_server import brand_server
from mcp_server.apps import pages, resources
from mcp_server.apps.pages import VIEWS, page
from mcp_server.closed_errors import CURSOR_UNKNOWN, RESOURCE_UNKNOWN
from tests.commerce_api.world import BRAND_NAME, CURRENCY, World
from tests.mcp_server.serving import MODERN, Site, body, client, headers_of, post, result_of

pytestmark = pytest.mark.anyio

MODES = [MODERN, "legacy"]
TOOLS_SEEN_BY_MODELS = 12
NOTHING: dict[str, list[str]] = {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []}


def scripts() -> str:
    return "".join((pages._HERE / name).read_text(encoding="utf-8") for name in pages._SCRIPTS)


@pytest.mark.parametrize("mode", MODES)
async def test_every_view_that_a_tool_names_can_be_read(site: Site, mode: str) -> None:
    async with client(site, mode=mode) as connected:
        listed = {resource.uri: resource for resource in (await connected.list_resources()).resources}
        tools = (await connected.list_tools()).tools
        named = {(tool.meta or {})["ui"]["resourceUri"] for tool in tools if "resourceUri" in (tool.meta or {})["ui"]}
        assert named == set(listed) == {view.uri for view in VIEWS}
        for uri in named:
            content = (await connected.read_resource(uri)).contents[0]
            assert isinstance(content, TextResourceContents)
            assert content.mime_type == listed[uri].mime_type == APP_MIME_TYPE
            assert content.meta == listed[uri].meta == {"ui": {"csp": NOTHING, "prefersBorder": True}}
            assert f"· {html.escape(BRAND_NAME)}" in content.text


async def test_the_extension_is_offered_and_the_answers_may_be_kept(site: Site) -> None:
    offered = result_of(await post(site.endpoint(), body("server/discover")))["result"]["capabilities"]
    assert EXTENSION_ID in offered["extensions"]
    for method, more in (("resources/list", {}), ("resources/read", {"uri": VIEWS[0].uri})):
        content = body(method, **more)
        named = {"mcp-name": VIEWS[0].uri} if more else {}
        told = result_of(await post(site.endpoint(), content, {**headers_of(content), **named}))["result"]
        assert (told["ttlMs"], told["cacheScope"]) == (300_000, "public"), method


async def test_all_see_the_same_tools_and_no_more_of_them(site: Site) -> None:
    """What a client declares changes nothing: lists are kept for all."""
    lists = []
    for key in (None, await site.world.agent_key()):
        async with client(site, key=key) as connected:
            lists.append([(tool.name, tool.meta) for tool in (await connected.list_tools()).tools])
    assert lists[0] == lists[1]
    seen = [name for name, meta in lists[0] if "model" in (meta or {})["ui"]["visibility"]]
    assert len(seen) <= TOOLS_SEEN_BY_MODELS


async def test_pages_may_call_the_tools_that_they_have_buttons_for_and_no_other(site: Site) -> None:
    async with client(site) as connected:
        tools = {tool.name: tool.meta or {} for tool in (await connected.list_tools()).tools}
    by_page = {name for name, meta in tools.items() if "app" in meta["ui"]["visibility"]}
    assert by_page == {name for name in tools if f'"{name}"' in scripts()} == resources.CALLED_BY_PAGES
    assert by_page == {name for name, meta in tools.items() if meta.get("openai/widgetAccessible")}
    for meta in tools.values():
        assert meta.get("openai/outputTemplate") == meta["ui"].get("resourceUri")


async def test_no_other_resource_is_there_and_its_name_is_not_repeated(site: Site) -> None:
    for uri in ("ui://cordon/kangaroo.html", "file:///etc/kangaroo", "ui://cordon/../checkout.html", "kangaroo"):
        content = body("resources/read", uri=uri)
        answer = await post(site.endpoint(), content, {**headers_of(content), "mcp-name": uri})
        assert result_of(answer)["error"]["message"] == RESOURCE_UNKNOWN
        assert "kangaroo" not in answer.text
    told = result_of(await post(site.endpoint(), body("resources/list", cursor="kangaroo")))
    assert told["error"]["message"] == CURSOR_UNKNOWN


async def test_planted_fault_a_view_that_is_not_served(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brand_server, "SERVED_RESOURCES", ())
    content = body("resources/read", uri=VIEWS[0].uri)
    told = result_of(await post(own_site.endpoint(), content, {**headers_of(content), "mcp-name": VIEWS[0].uri}))
    assert told["error"]["code"] == METHOD_NOT_FOUND


async def test_a_new_policy_shows_without_a_restart(own_site: Site, world: World) -> None:
    brand = await world.commerce.database.read(lambda connection: find_brand(connection, world.brand))
    async with client(own_site) as connected:
        before = (await connected.read_resource(VIEWS[0].uri)).contents[0]
        theme = Theme(accent="#7a1fa2", image_hosts=("images.harbour.example",))
        changed = Policy.model_validate({**brand.policy.model_dump(), "theme": theme})
        await world.commerce.database.change(
            lambda tx: save_brand(tx, name=BRAND_NAME, currency=CURRENCY, policy=changed)
        )
        after = (await connected.read_resource(VIEWS[0].uri)).contents[0]
        listed = (await connected.list_resources()).resources[0]
    assert isinstance(before, TextResourceContents)
    assert isinstance(after, TextResourceContents)
    assert "#7a1fa2" in after.text
    assert "#7a1fa2" not in before.text
    images = ["https://images.harbour.example"]
    assert listed.meta == after.meta == {"ui": {"csp": {**NOTHING, "resourceDomains": images}, "prefersBorder": True}}


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
def test_a_view_is_one_document_whose_one_script_is_known_by_its_hash(view: pages.View) -> None:
    made = page(view, 'Kettle & "Sons" <script>alert(1)</script>', Theme())
    inline = re.findall(r"<script[^>]*>(.*?)</script>", made, re.DOTALL)
    assert len(inline) == 1
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', made)[0])
    digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "img-src 'none'" in policy
    assert not re.search(r"""(?:src|href|action)=|url\(|@import|https?://(?!["'])""", made.replace("https?:", ""))
    assert "<noscript>" in made


def test_nothing_in_the_scripts_makes_html_of_a_string_or_leaves_the_page() -> None:
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "localStorage",
    )
    assert not [
        word for word in (*forbidden, "XMLHttpRequest", "WebSocket", "window.open(", "iframe") if word in scripts()
    ]


def test_planted_fault_a_script_that_would_end_its_element_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="end its own element"):
        pages._safe('const text = "</script>";')
